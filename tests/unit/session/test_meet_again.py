"""session.meet_again: the two that lost each other find each other, whoever else comes and whatever the server does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from signaling.protocol import is_token
from tallow_cli.crypto.handshake import JoinerHandshake
from tallow_cli.crypto.keys import KeySchedule, Rendezvous, Role
from tallow_cli.errors import TallowError
from tallow_cli.meeting.signaling_client import SignalingClient
from tallow_cli.session.events import Notice, SessionEvent
from tallow_cli.session.meet_again import SenderGone, host_again, join_again
from tallow_cli.session.meeting import Meeting
from tallow_cli.session.meeting_place import MeetingPlace, open_meeting_place
from tallow_cli.session.pace import Pace
from tallow_cli.session.settings import ReceiveSettings, SendSettings
from tests.support.fake_link import FakeNetwork
from tests.support.sessions import CODE, opened_sessions, running_server

KEYS = KeySchedule(bytes(32), bytes(32), bytes(64)).session_keys(Role.HOST, bytes(64))
RENDEZVOUS = KEYS.rendezvous()
OTHERS = Rendezvous(RENDEZVOUS.nameplate, RENDEZVOUS.announced_as, bytes(32))


@pytest.fixture(autouse=True)
async def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    async with opened_sessions(tmp_path, monkeypatch):
        yield


async def at(url: str) -> MeetingPlace:
    """A server somebody named."""

    async def nothing(_name: str = "") -> None:
        pass

    return MeetingPlace(url, url, None, nothing, nothing)


class Two:
    """Both sides, and what they emit."""

    def __init__(
        self,
        place: MeetingPlace,
        *,
        named: bool = True,
        server: str | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.events: list[SessionEvent] = []
        self.stack = AsyncExitStack()
        self._network = FakeNetwork()
        self._place = place
        self._named = named
        self._pace = pace or Pace()
        self._server = server or place.connect_url

    async def host(self, rendezvous: Rendezvous = RENDEZVOUS) -> Meeting:
        return await self.stack.enter_async_context(
            host_again(
                self._place, rendezvous, SendSettings(prepare_link=self._network.prepare), self.events.append
            )
        )

    async def join(self, rendezvous: Rendezvous = RENDEZVOUS) -> Meeting:
        return await self.stack.enter_async_context(
            join_again(
                self._server,
                self._named,
                rendezvous,
                ReceiveSettings(CODE, prepare_link=self._network.prepare, pace=self._pace),
                self.events.append,
            )
        )

    @property
    def notices(self) -> list[Notice]:
        return [event for event in self.events if isinstance(event, Notice)]


async def meet(*sides: Awaitable[Meeting]) -> list[Meeting]:
    async with asyncio.timeout(10):
        return list(await asyncio.gather(*sides))


@pytest.mark.parametrize("first", ["host", "joiner"])
async def test_they_agree_on_fresh_keys_whoever_comes_first(first: str) -> None:
    async with running_server() as url:
        keys = []
        for _ in range(2):
            two = Two(await at(url))
            waiting = asyncio.create_task(two.host() if first == "host" else two.join())
            await asyncio.sleep(0.1)
            host, joiner = await meet(waiting, two.join() if first == "host" else two.host())
            assert host.handshake.keys.seal_key in (
                joiner.handshake.keys.open_key,
                joiner.handshake.keys.seal_key,
            )
            keys += [host.handshake.keys.seal_key, host.handshake.keys.open_key]
            await two.stack.aclose()
        assert len(set(keys)) == 4, "no key is ever used for a second connection"
        assert not set(keys) & {KEYS.seal_key, KEYS.open_key}


async def test_a_server_that_is_not_there_yet_is_waited_for() -> None:
    async with running_server() as url:
        port = int(url.rpartition(":")[2])
    two = Two(await at(url))
    both = asyncio.gather(two.host(), two.join())
    await asyncio.sleep(0.6)
    async with running_server(port=port), asyncio.timeout(10):
        await both
        await two.stack.aclose()


async def test_a_server_that_restarts_while_they_wait_is_gone_to_again() -> None:
    async with running_server() as url:
        port = int(url.rpartition(":")[2])
        two = Two(await at(url))
        hosting = asyncio.create_task(two.host())
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.2)
    async with running_server(port=port):
        await meet(hosting, two.join())
        await two.stack.aclose()


# Who else comes


async def stranger_without_the_secret(client: SignalingClient) -> None:
    handshake = JoinerHandshake(OTHERS, version="1", entropy=os.urandom)
    await client.send(handshake.hello())
    with suppress(TallowError):
        handshake.receive_reply(await client.recv(5), b"x")
    await client.send(b"\x03\x01\x00\x20" + bytes(32) + b"\x00\x10" + bytes(16))


async def talks_nonsense(client: SignalingClient) -> None:
    await client.send(b"\x01" * 2000)


async def says_nothing(_client: SignalingClient) -> None:
    return


@pytest.mark.parametrize("visitor", [stranger_without_the_secret, talks_nonsense, says_nothing])
async def test_a_stranger_at_the_right_room_is_passed_over_however_often_he_comes(
    visitor: Callable[[SignalingClient], Awaitable[None]],
) -> None:
    async with running_server() as url:
        two = Two(await at(url))
        hosting = asyncio.create_task(two.host())
        for count in range(1, 4):
            async with await SignalingClient.connect(url) as client:
                await client.meet_again(RENDEZVOUS.nameplate, is_host=False)
                await visitor(client)
            while len(two.notices) < count:
                await asyncio.sleep(0.01)
        await meet(hosting, two.join())
        assert all(notice.detail for notice in two.notices), "only --verbose tells"
        await two.stack.aclose()


async def test_a_stranger_who_hosts_the_room_is_left_by_the_joiner() -> None:
    async with running_server() as url:
        two, thief = Two(await at(url)), Two(await at(url))
        hosting = asyncio.create_task(thief.host(OTHERS))
        await asyncio.sleep(0.1)
        joining = asyncio.create_task(two.join())
        while not two.notices:
            await asyncio.sleep(0.01)
        hosting.cancel()
        await asyncio.gather(hosting, return_exceptions=True)
        await meet(joining, two.host())
        assert not thief.events or all(isinstance(event, Notice) for event in thief.events)
        await two.stack.aclose()
        await thief.stack.aclose()


# A sender that runs the server itself


async def test_a_sender_whose_address_has_changed_is_found_by_the_name_it_announces() -> None:
    async with open_meeting_place(None, lambda _event: None) as place:
        async with running_server() as url:
            nobody = url  # the port is free again
        two = Two(place, named=False, server=nobody)
        host, joiner = await meet(two.host(), two.join())
        assert joiner.server != nobody
        assert host.handshake.keys.seal_key == joiner.handshake.keys.open_key
        await two.stack.aclose()


async def test_what_is_announced_opens_no_room() -> None:
    assert is_token(RENDEZVOUS.announced_as)
    async with running_server() as url:
        two = Two(await at(url))
        hosting = asyncio.create_task(two.host())
        async with await SignalingClient.connect(url) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.meet_again(RENDEZVOUS.announced_as, is_host=False)
        hosting.cancel()
        await asyncio.gather(hosting, return_exceptions=True)


async def test_a_sender_whose_own_server_does_not_listen_any_more_is_gone() -> None:
    two = Two(await at("ws://127.0.0.1:9"), named=False, pace=Pace(gone_s=0.3))
    with pytest.raises(SenderGone):
        await two.join()


async def test_a_server_that_was_named_may_be_away_for_longer() -> None:
    two = Two(await at("ws://127.0.0.1:9"), pace=Pace(gone_s=0.3))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await two.join()


async def test_nothing_stays_behind_when_it_is_cancelled() -> None:
    before = asyncio.all_tasks()
    async with running_server() as url:
        two = Two(await at(url))
        tasks = [asyncio.create_task(two.host())]
        await asyncio.sleep(0.1)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before
