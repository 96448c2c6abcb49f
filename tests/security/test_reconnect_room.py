"""The room where two sides meet again gives nothing to a stranger, to a replay, nor to the server that carries it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from tallow_cli.crypto.codes import parse_code
from tallow_cli.crypto.handshake import HostHandshake, JoinerHandshake
from tallow_cli.crypto.keys import KeySchedule, Rendezvous, Role, SessionKeys
from tallow_cli.errors import TallowError
from tallow_cli.meeting.signaling_client import SignalingClient
from tallow_cli.session.events import Notice, PeerAuthenticated, SessionEvent
from tallow_cli.session.meet_again import host_again, join_again
from tallow_cli.session.meeting import Meeting
from tallow_cli.session.meeting_place import MeetingPlace
from tallow_cli.session.settings import ReceiveSettings, SendSettings
from tests.support.fake_link import FakeNetwork
from tests.support.sessions import CODE, opened_sessions, running_server

KEYS = KeySchedule(bytes(32), bytes(32), bytes(64)).session_keys(Role.HOST, bytes(64))
RENDEZVOUS = KEYS.rendezvous()


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    async with opened_sessions(tmp_path, monkeypatch), running_server() as url:
        yield url


@pytest.fixture
def overheard(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every body that the server carries: what it, and whoever reads ws://, has."""
    bodies: list[bytes] = []
    send = SignalingClient.send

    async def listening(client: SignalingClient, body: bytes) -> None:
        bodies.append(body)
        await send(client, body)

    monkeypatch.setattr(SignalingClient, "send", listening)
    return bodies


class Ends:
    def __init__(self, url: str) -> None:
        self.events: list[SessionEvent] = []
        self.stack = AsyncExitStack()
        self._network = FakeNetwork()
        self._url = url

    async def host(self) -> Meeting:
        async def nothing(_name: str = "") -> None:
            pass

        place = MeetingPlace(self._url, self._url, None, nothing, nothing)
        return await self.stack.enter_async_context(
            host_again(
                place, RENDEZVOUS, SendSettings(prepare_link=self._network.prepare), self.events.append
            )
        )

    async def join(self) -> Meeting:
        return await self.stack.enter_async_context(
            join_again(
                self._url,
                True,
                RENDEZVOUS,
                ReceiveSettings(CODE, prepare_link=self._network.prepare),
                self.events.append,
            )
        )

    async def meet(self) -> tuple[Meeting, Meeting]:
        async with asyncio.timeout(10):
            return await asyncio.gather(self.host(), self.join())

    async def passed_over(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len([event for event in self.events if isinstance(event, Notice)]) < count:
                await asyncio.sleep(0.01)


async def speak(url: str, bodies: list[bytes], *, is_host: bool = False) -> list[bytes]:
    """Come to the room with the right token, say these things, and hear what is answered."""
    heard = []
    async with await SignalingClient.connect(url) as client:
        await client.meet_again(RENDEZVOUS.nameplate, is_host=is_host)
        with suppress(TallowError):
            for body in bodies:
                if is_host:
                    heard.append(await client.recv(5))
                await client.send(body)
                if not is_host:
                    heard.append(await client.recv(5))
    return heard


def secrets(keys: SessionKeys) -> set[bytes]:
    return {keys.seal_key, keys.open_key, keys.link_key_own, keys.link_key_peer, keys.resume_key}


async def test_no_key_of_two_meetings_is_the_same_so_packet_numbers_may_begin_anew(server: str) -> None:
    found: list[set[bytes]] = [secrets(KEYS)]
    for _ in range(3):
        ends = Ends(server)
        host, joiner = await ends.meet()
        assert secrets(host.handshake.keys) == secrets(joiner.handshake.keys)
        found.append(secrets(host.handshake.keys))
        await ends.stack.aclose()
    assert len(set.union(*found)) == sum(map(len, found))


async def test_what_was_overheard_is_never_said_again_and_holds_neither_token_nor_secret(
    server: str, overheard: list[bytes]
) -> None:
    for _ in range(2):
        ends = Ends(server)
        await ends.meet()
        await ends.stack.aclose()
    assert len(overheard) == len(set(overheard)) == 6
    for body in overheard:
        assert RENDEZVOUS.secret not in body
        assert RENDEZVOUS.nameplate.encode() not in body


async def test_a_replayed_joiner_is_passed_over_and_the_right_one_gets_in(
    server: str, overheard: list[bytes]
) -> None:
    first = Ends(server)
    await first.meet()
    await first.stack.aclose()
    hello, _reply, confirm = list(overheard)
    ends = Ends(server)
    hosting = asyncio.create_task(ends.host())
    for count in (1, 2, 3):
        await speak(server, [hello, confirm])
        await ends.passed_over(count)
    host, joiner = await asyncio.gather(hosting, ends.join())
    assert secrets(host.handshake.keys) == secrets(joiner.handshake.keys)
    assert not any(isinstance(event, PeerAuthenticated) for event in ends.events)
    await ends.stack.aclose()


async def test_a_replayed_host_is_passed_over_and_the_right_one_is_met(
    server: str, overheard: list[bytes]
) -> None:
    first = Ends(server)
    await first.meet()
    await first.stack.aclose()
    _hello, reply, _confirm = list(overheard)
    ends = Ends(server)
    joining = asyncio.create_task(ends.join())
    await speak(server, [reply], is_host=True)
    await ends.passed_over(1)
    host, joiner = await asyncio.gather(ends.host(), joining)
    assert secrets(host.handshake.keys) == secrets(joiner.handshake.keys)
    await ends.stack.aclose()


async def test_a_stranger_with_the_token_and_any_other_secret_is_no_peer(server: str) -> None:
    others = [
        Rendezvous(RENDEZVOUS.nameplate, RENDEZVOUS.announced_as, os.urandom(32)),
        Rendezvous(RENDEZVOUS.nameplate, RENDEZVOUS.announced_as, KEYS.resume_key),
        parse_code("4821-acorn-blend-crisp"),  # the words of the first meeting open nothing here
    ]
    ends = Ends(server)
    hosting = asyncio.create_task(ends.host())
    for count, known in enumerate(others, 1):
        handshake = JoinerHandshake(known, version="1", entropy=os.urandom)
        (reply,) = await speak(server, [handshake.hello()])
        with pytest.raises(TallowError):
            handshake.receive_reply(reply, b"a description")
        await ends.passed_over(count)
    assert not hosting.done(), "and nobody's guesses are counted"
    await asyncio.gather(hosting, ends.join())
    await ends.stack.aclose()


async def test_a_server_in_the_middle_cannot_join_the_two_meetings(
    server: str, overheard: list[bytes]
) -> None:
    """Bodies of the first room, under a code, mean nothing in the second."""
    code = parse_code("4821-acorn-blend-crisp")
    host = HostHandshake(code, version="1", entropy=os.urandom)
    joiner = JoinerHandshake(code, version="1", entropy=os.urandom)
    hello = joiner.hello()
    confirm, _ = joiner.receive_reply(host.receive_hello(hello, b"d"), b"d")
    ends = Ends(server)
    hosting = asyncio.create_task(ends.host())
    await speak(server, [hello, confirm])
    await ends.passed_over(1)
    await asyncio.gather(hosting, ends.join())
    await ends.stack.aclose()
