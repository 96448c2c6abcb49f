"""session.hosting: meeting receivers, and everything a stranger or a server can do meanwhile."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from signaling.limits import ServerLimits
from tallow_cli.crypto import kem
from tallow_cli.crypto.codes import Code, parse_code
from tallow_cli.crypto.handshake import JoinerHandshake, abort_body
from tallow_cli.errors import (
    IncompatiblePeer,
    NameplateTaken,
    PeerNeverCame,
    PeerVanished,
    ServerUnreachable,
    SignalingError,
    TallowError,
    UnknownNameplate,
    UnsupportedCrypto,
    WrongCodeError,
)
from tallow_cli.meeting.signaling_client import SignalingClient
from tallow_cli.session.events import CodeReady, Connected, Notice, PeerAuthenticated, Waiting
from tallow_cli.session.hosting import pause_after
from tallow_cli.session.pace import Pace
from tallow_cli.session.settings import FOREVER_S, Waits
from tallow_cli.store.memory_source import TextSource
from tests.support.hostile_server import HostileServer, Wire, text
from tests.support.sessions import CODE, Sessions, opened_sessions, running_server

WRONG = parse_code("4821-acorn-blend-acorn")


@pytest.fixture
async def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sessions]:
    async with opened_sessions(tmp_path, monkeypatch) as opened:
        yield opened


def wrong_words(code: Code) -> Code:
    return Code(code.nameplate, tuple("acorn" if word != "acorn" else "blend" for word in code.words))


# Guessing


async def test_a_wrong_guess_is_told_to_both_and_gives_nothing_away(sessions: Sessions) -> None:
    sender = sessions.send(TextSource("secret"))
    await sender.event(CodeReady)
    thief = sessions.receive(code=WRONG)
    assert isinstance(await thief.failure(), WrongCodeError)
    spent = await sender.failure()
    assert isinstance(spent, WrongCodeError)
    assert "one guess" in spent.sentence
    assert sender.of(PeerAuthenticated) == thief.of(PeerAuthenticated) == []
    assert sessions.network.sent.total() == 0


async def test_a_spent_code_of_our_own_making_is_replaced_by_another(sessions: Sessions) -> None:
    sender = sessions.send(TextSource("x"), code=None)
    first = await sender.code()
    assert isinstance(await sessions.receive(code=wrong_words(first)).failure(), WrongCodeError)
    second = parse_code((await sender.event(CodeReady, 2)).code)
    assert second.nameplate != first.nameplate
    assert second.words != first.words
    assert "wrong words" in sender.of(Notice)[0].message

    late = sessions.receive(code=first, waits=Waits(find_s=0.3))
    assert isinstance(await late.failure(), UnknownNameplate)
    receiver = sessions.receive(code=second)
    await receiver.done()
    await sender.done()


async def test_after_five_wrong_guesses_the_sender_gives_up(sessions: Sessions) -> None:
    sender = sessions.send(TextSource("x"), code=None)
    for attempt in range(1, 6):
        code = parse_code((await sender.event(CodeReady, attempt)).code)
        assert isinstance(await sessions.receive(code=wrong_words(code)).failure(), WrongCodeError)
    assert isinstance(await sender.failure(), WrongCodeError)
    assert [event.attempt for event in sender.of(CodeReady)] == [1, 2, 3, 4, 5]
    assert len({event.code for event in sender.of(CodeReady)}) == 5


async def test_a_second_joiner_finds_nobody_once_the_first_has_come(sessions: Sessions) -> None:
    async with running_server() as url:
        sender = sessions.send(TextSource("x"), server=url)
        await sender.event(CodeReady)
        asked = asyncio.Event()

        async def wait(_manifest: object) -> object:
            asked.set()
            return await asyncio.get_running_loop().create_future()

        sessions.receive(wait, server=url)  # type: ignore[arg-type]
        await asked.wait()
        second = sessions.receive(server=url, waits=Waits(find_s=0.3))
        assert isinstance(await second.failure(), UnknownNameplate)


# Visits in vain


async def visit(url: str, nameplate: str, body: bytes | None = None) -> None:
    """Join, say `body` or nothing, and leave."""
    async with await SignalingClient.connect(url) as client:
        await client.join(nameplate, wait_s=5)
        if body is not None:
            await client.send(body)
            with suppress(PeerVanished):
                await client.recv(5)  # the abort


async def test_seven_visitors_who_join_and_leave_take_no_code(sessions: Sessions) -> None:
    """Any host of a local network can do that, and has guessed nothing."""
    sessions.pace = Pace(first_pause_s=0.002)
    async with running_server() as url:
        sender = sessions.send(TextSource("x"), code=None, server=url)
        code = await sender.code()
        for count in range(1, 8):
            await visit(url, code.nameplate)
            notice = await sender.event(Notice, count)
            assert "left without trying the code" in notice.message
            assert notice.detail is (count > 1), "one line is enough for people"
        await sessions.receive(code=code, server=url).done()
        await sender.done()
        assert len(sender.of(CodeReady)) == 1


async def test_visitors_do_not_prolong_the_wait(sessions: Sessions) -> None:
    async with running_server() as url:
        sender = sessions.send(TextSource("x"), server=url, waits=Waits(peer_s=0.5))
        await sender.event(CodeReady)
        begun = time.monotonic()
        with suppress(UnknownNameplate):
            while time.monotonic() - begun < 5:
                await visit(url, CODE.nameplate)
        assert isinstance(await sender.failure(), PeerNeverCame)
        assert len(sender.of(Waiting)) == 1


def test_the_pause_after_a_visit_in_vain_grows() -> None:
    pauses = [pause_after(visits, Pace().first_pause_s) for visits in range(1, 8)]
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "does not speak"),
        (b"hello", "version of Tallow"),
        (b"\x01" * 2000, "does not speak"),
        (abort_body(WrongCodeError()), "left without trying"),
    ],
    ids=["empty", "another format", "long", "an abort"],
)
async def test_somebody_who_talks_nonsense_has_not_guessed(
    sessions: Sessions, body: bytes, words: str
) -> None:
    async with running_server() as url:
        sender = sessions.send(TextSource("x"), server=url)
        await sender.event(CodeReady)
        await visit(url, CODE.nameplate, body)
        assert words in (await sender.event(Notice)).message
        await sessions.receive(server=url).done()
        await sender.done()


async def test_somebody_who_fills_the_room_with_words_does_not_end_the_sender(sessions: Sessions) -> None:
    async with running_server() as url:
        sender = sessions.send(TextSource("x"), server=url)
        await sender.event(CodeReady)
        async with await SignalingClient.connect(url) as client:
            await client.join(CODE.nameplate)
            with suppress(TallowError):
                for _ in range(100):
                    await client.send(b"x" * 10_000)
        await sender.event(Notice)
        await sessions.receive(server=url).done()
        await sender.done()


async def test_somebody_who_asks_and_leaves_before_proving_anything_has_guessed(sessions: Sessions) -> None:
    """The reply has told them whether their words were right."""
    async with running_server() as url:
        sender = sessions.send(TextSource("x"), code=None, server=url)
        code = await sender.code()
        async with await SignalingClient.connect(url) as client:
            await client.join(code.nameplate)
            await client.send(JoinerHandshake(wrong_words(code), version="1", entropy=os.urandom).hello())
            await client.recv(5)
        assert parse_code((await sender.event(CodeReady, 2)).code).nameplate != code.nameplate
        assert "left before proving" in sender.of(Notice)[0].message


async def test_a_servers_own_limit_of_a_wait_does_not_shorten_ours(sessions: Sessions) -> None:
    sessions.pace = Pace(shortest_wait_s=0.05)
    async with running_server(ServerLimits(unjoined_s=0.2)) as url:
        sender = sessions.send(TextSource("x"), server=url, waits=Waits(peer_s=FOREVER_S))
        await sender.event(CodeReady)
        await asyncio.sleep(0.7)  # three such limits
        await sessions.receive(server=url).done()
        await sender.done()
        assert sender.of(Waiting)[0] == Waiting("for the receiver", None)
        assert len(sender.of(CodeReady)) == 1


async def test_a_number_that_another_sender_took_meanwhile_is_given_up_for_a_fresh_code(
    sessions: Sessions,
) -> None:
    sessions.pace = Pace(first_pause_s=0.3)
    async with running_server() as url, await SignalingClient.connect(url) as other:
        sender = sessions.send(TextSource("x"), code=None, server=url)
        first = await sender.code()
        await visit(url, first.nameplate)
        await other.allocate(first.nameplate)
        second = parse_code((await sender.event(CodeReady, 2)).code)
        await sessions.receive(code=second, server=url).done()
        await sender.done()


# What is told


@pytest.mark.parametrize("failing", ["host", "joiner"])
async def test_a_machine_without_the_cryptography_tells_the_other_side(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def missing(*_arguments: object) -> None:
        raise UnsupportedCrypto("ML-KEM-768")

    if failing == "host":
        monkeypatch.setattr(kem, "encapsulate", missing)
    else:
        monkeypatch.setattr(kem.KemKey, "decapsulate", missing)
    sender = sessions.send(TextSource("x"))
    await sender.event(CodeReady)
    receiver = sessions.receive()
    ours, theirs = (sender, receiver) if failing == "host" else (receiver, sender)
    assert isinstance(await ours.failure(), UnsupportedCrypto)
    told = await asyncio.wait_for(theirs.failure(), 5)
    assert isinstance(told, (IncompatiblePeer, WrongCodeError)), told


# Waiting


async def test_a_receiver_that_never_comes_is_given_up(sessions: Sessions) -> None:
    sender = sessions.send(TextSource("x"), waits=Waits(peer_s=0.2))
    assert isinstance(await sender.failure(), PeerNeverCame)
    assert sender.of(Waiting) == [Waiting("for the receiver", 0.2)]


async def test_nothing_stays_behind_when_the_sender_is_cancelled_while_it_waits(sessions: Sessions) -> None:
    before = asyncio.all_tasks()
    sender = sessions.send(TextSource("x"))
    await sender.event(Waiting)
    sender.cancel()
    assert isinstance(await sender.failure(), asyncio.CancelledError)
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before
    assert all(each.closed for each in sessions.network.gathered.values())


# Servers


async def test_a_server_that_is_not_there_is_unreachable_for_both(sessions: Sessions) -> None:
    url = "ws://127.0.0.1:9"
    assert isinstance(await sessions.send(TextSource("x"), server=url).failure(), ServerUnreachable)
    assert isinstance(await sessions.receive(server=url).failure(), ServerUnreachable)


async def test_a_taken_nameplate_is_refused(sessions: Sessions) -> None:
    async with running_server() as url:
        first = sessions.send(TextSource("x"), server=url)
        await first.event(CodeReady)
        named = await sessions.send(TextSource("y"), server=url).failure()
    third = sessions.send(TextSource("z"))
    await third.event(CodeReady)
    embedded = await sessions.send(TextSource("y")).failure()
    assert isinstance(named, NameplateTaken)
    assert isinstance(embedded, NameplateTaken)
    assert str(named) == str(embedded), "one sentence, whichever server it is"


async def test_a_server_that_hands_out_no_number_gets_no_words_from_us(sessions: Sessions) -> None:
    async def hand_out(wire: Wire) -> None:
        await wire.welcome()
        await wire.raw(text('{"type":"allocated","nameplate":"12; rm -rf /"}'))
        await wire.hear()

    async with HostileServer(hand_out) as url:
        sender = sessions.send(TextSource("x"), code=None, server=url)
        assert isinstance(await sender.failure(), SignalingError)
    assert sender.of(CodeReady) == []


async def test_the_server_is_left_once_the_two_know_each_other(sessions: Sessions) -> None:
    async with running_server() as url:
        sender, receiver = sessions.send(TextSource("x"), server=url), sessions.receive(server=url)
        await receiver.event(Connected)
        await sender.event(Connected)
        async with AsyncExitStack() as stack:
            other = await stack.enter_async_context(await SignalingClient.connect(url))
            assert await other.allocate(CODE.nameplate) == CODE.nameplate  # the room is closed
        await receiver.done()
        await sender.done()


# A server that goes away while we wait (field case F32)


async def test_a_server_that_restarts_is_gone_back_to_and_the_same_code_holds(sessions: Sessions) -> None:
    async with running_server() as url:
        port = int(url.rpartition(":")[2])
        sender = sessions.send(TextSource("x"), code=None, server=url)
        code = await sender.code()
    assert "Trying again; the code still holds" in (await sender.event(Notice)).message
    await asyncio.sleep(0.3)
    async with running_server(port=port):
        assert (await sender.event(Notice, 2)).message == "The signaling server is there again."
        await sessions.receive(code=code, server=url).done()
        await sender.done()
    assert len(sender.of(CodeReady)) == 1


async def test_a_server_that_stays_away_ends_the_wait_when_its_time_is_over(sessions: Sessions) -> None:
    async with running_server() as url:
        sender = sessions.send(TextSource("x"), server=url, waits=Waits(peer_s=1.0))
        await sender.event(CodeReady)
    assert isinstance(await sender.failure(), ServerUnreachable)
    assert len(sender.of(Notice)) == 1, "said once, however often it is tried"


async def test_a_number_that_our_lost_connection_still_has_is_claimed_until_it_is_free(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_server() as url:
        port = int(url.rpartition(":")[2])
        sender = sessions.send(TextSource("x"), code=None, server=url)
        code = await sender.code()
    async with running_server(port=port), await SignalingClient.connect(url) as ghost:
        await ghost.allocate(code.nameplate)
        await asyncio.sleep(1.0)
        await ghost.close()
        await sessions.receive(code=code, server=url).done()
        await sender.done()
    assert len(sender.of(CodeReady)) == 1


async def test_a_server_that_is_lost_in_the_middle_of_a_guess_ends_it(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_server() as url:
        sender = sessions.send(TextSource("x"), code=None, server=url)
        code = await sender.code()
        client = await SignalingClient.connect(url)
        await client.join(code.nameplate)
        await client.send(JoinerHandshake(code, version="1", entropy=os.urandom).hello())
        await client.recv(5)
    assert isinstance(await sender.failure(), ServerUnreachable)
    await client.close()
