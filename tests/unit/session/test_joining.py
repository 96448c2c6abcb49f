"""session.joining: the receiver's way to a sender that is not there yet, not honest, or not alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tallow_cli.errors import (
    NoPathError,
    PeerProtocolError,
    PeerVanished,
    ServerUnreachable,
    UnknownNameplate,
)
from tallow_cli.link.link import GatheredLink, LinkOptions, LinkRole
from tallow_cli.meeting.signaling_client import SignalingClient
from tallow_cli.session.events import Notice, Waiting
from tallow_cli.session.settings import Waits
from tallow_cli.store.memory_source import TextSource
from tests.support.sessions import CODE, Sessions, opened_sessions, running_server


@pytest.fixture
async def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sessions]:
    async with opened_sessions(tmp_path, monkeypatch) as opened:
        yield opened


async def test_a_sender_that_talks_nonsense_is_left(sessions: Sessions) -> None:
    async with running_server() as url, await SignalingClient.connect(url) as client:
        await client.allocate(CODE.nameplate)
        receiver = sessions.receive(server=url)
        await client.wait_for_peer(5)
        await client.recv()
        await client.send(b"\x01" * 2000)
        assert isinstance(await receiver.failure(), PeerProtocolError)
        assert await client.recv()  # the abort


async def test_users_of_the_api_get_one_error_and_no_group(
    sessions: Sessions,
) -> None:
    receiver = sessions.receive(waits=Waits(find_s=0.1))
    assert isinstance(await receiver.failure(), UnknownNameplate)

    async def fails(_role: LinkRole, _options: LinkOptions) -> GatheredLink:
        raise NoPathError("no network at all")

    sessions.prepare_link = fails
    assert isinstance(await sessions.receive().failure(), NoPathError)


async def test_a_client_that_joined_is_closed_when_the_link_cannot_be_prepared(
    sessions: Sessions,
) -> None:
    async with running_server() as url, await SignalingClient.connect(url) as client:
        await client.allocate(CODE.nameplate)

        async def fails_late(_role: LinkRole, _options: LinkOptions) -> GatheredLink:
            await client.wait_for_peer(5)
            raise NoPathError("no network at all")

        sessions.prepare_link = fails_late
        assert isinstance(await sessions.receive(server=url).failure(), NoPathError)
        with pytest.raises(PeerVanished):
            await client.recv(5)


async def test_a_receiver_may_come_before_its_sender_at_a_server(sessions: Sessions) -> None:
    async with running_server() as url:
        receiver = sessions.receive(server=url)
        await asyncio.sleep(0.3)  # it has asked in vain by now
        assert receiver.events == []
        sender = sessions.send(TextSource("x"), server=url)
        await receiver.done()
        await sender.done()


async def test_a_receiver_may_come_before_a_sender_that_runs_its_own_server(sessions: Sessions) -> None:
    receiver = sessions.receive()
    await asyncio.sleep(0.05)
    sender = sessions.send(TextSource("x"))
    await receiver.done()
    await sender.done()


async def test_a_sender_that_never_comes_is_announced_as_a_wait_and_then_given_up(sessions: Sessions) -> None:
    async with running_server() as url:
        receiver = sessions.receive(server=url, waits=Waits(find_s=2.0))
        assert await receiver.event(Waiting) == Waiting("for the sender", 2.0)
        assert isinstance(await receiver.failure(), UnknownNameplate)


async def test_a_receiver_that_waits_goes_back_to_a_server_that_restarts(sessions: Sessions) -> None:
    async with running_server() as url:
        port = int(url.rpartition(":")[2])
        receiver = sessions.receive(server=url)
        await asyncio.sleep(0.5)
    await receiver.event(Notice)
    async with running_server(port=port):
        sender = sessions.send(TextSource("x"), server=url)
        await receiver.done()
        await sender.done()


async def test_a_receiver_gives_a_server_up_that_stays_away(sessions: Sessions) -> None:
    async with running_server() as url:
        receiver = sessions.receive(server=url, waits=Waits(find_s=1.5))
        await asyncio.sleep(0.5)
    assert isinstance(await receiver.failure(), ServerUnreachable)


async def test_who_waited_for_a_sender_that_served_somebody_else_and_left_hears_that_nobody_is_there(
    sessions: Sessions,
) -> None:
    """And not that a signaling server which it never named has stopped."""
    sender = sessions.send(TextSource("x"))
    ends = [sessions.receive(), sessions.receive()]
    tasks = [end.task for end in ends if end.task is not None]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await sender.done()
    assert [type(each) for each in outcomes if isinstance(each, BaseException)] == [UnknownNameplate]
