"""session.hosting: meeting receivers, and everything a stranger or a server can do meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tallow_cli.crypto import kem
from tallow_cli.crypto.codes import Code, parse_code
from tallow_cli.errors import (
    IncompatiblePeer,
    InvalidCode,
    PeerNeverCame,
    ServerRefused,
    ServerUnreachable,
    UnknownNameplate,
    UnsupportedCrypto,
    WrongCodeError,
)
from tallow_cli.net.signaling_client import SignalingClient
from tallow_cli.session.events import CodeReady, Connected, Notice, PeerAuthenticated, Waiting
from tallow_cli.session.settings import Waits
from tallow_cli.store.memory_source import TextSource
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


async def test_somebody_who_joins_and_leaves_spends_the_code(sessions: Sessions) -> None:
    async with running_server() as url:
        sender = sessions.send(TextSource("x"), code=None, server=url)
        client = await SignalingClient.connect(url)
        await client.join((await sender.code()).nameplate)
        await client.close()
        await sender.event(CodeReady, 2)
        assert "left before proving" in sender.of(Notice)[0].message


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"", "does not speak"), (b"hello", "version of Tallow"), (b"\x01" * 2000, "does not speak")],
    ids=["empty", "another format", "long"],
)
async def test_somebody_who_talks_nonsense_spends_the_code(
    sessions: Sessions, body: bytes, words: str
) -> None:
    async with running_server() as url:
        sender = sessions.send(TextSource("x"), code=None, server=url)
        async with await SignalingClient.connect(url) as client:
            await client.join((await sender.code()).nameplate)
            await client.send(body)
            await sender.event(CodeReady, 2)
        assert words in sender.of(Notice)[0].message


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
    assert all(link.closed for link in sessions.network.links.values())


# Servers


async def test_a_server_that_is_not_there_is_unreachable_for_both(sessions: Sessions) -> None:
    url = "ws://127.0.0.1:9"
    assert isinstance(await sessions.send(TextSource("x"), server=url).failure(), ServerUnreachable)
    assert isinstance(await sessions.receive(server=url).failure(), ServerUnreachable)


async def test_a_taken_nameplate_is_refused(sessions: Sessions) -> None:
    async with running_server() as url:
        first = sessions.send(TextSource("x"), server=url)
        await first.event(CodeReady)
        assert isinstance(await sessions.send(TextSource("y"), server=url).failure(), ServerRefused)


async def test_a_server_that_hands_out_no_number_gets_no_words_from_us(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def allocate(_client: SignalingClient, _nameplate: str | None = None) -> str:
        return "12; rm -rf /"

    monkeypatch.setattr(SignalingClient, "allocate", allocate)
    sender = sessions.send(TextSource("x"), code=None)
    assert isinstance(await sender.failure(), InvalidCode)
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
