"""What a resume reads: the journal on the disk, what a receiver says it has, and what a sender says of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from itertools import accumulate
from pathlib import Path

import msgspec
import pytest

from tallow_cli.errors import LocalFileError, PeerProtocolError
from tallow_cli.offer.name_rules import POSIX
from tallow_cli.ranges import RangeSet
from tallow_cli.session.disk_reader import DiskReader
from tallow_cli.store.file_source import FileSource
from tallow_cli.transfer.driving import Accepted, Failed
from tallow_cli.transfer.frames import encode_control
from tallow_cli.transfer.messages import (
    Accept,
    ControlMessage,
    Digests,
    Offer,
    PieceDigests,
    Ready,
    Want,
    Why,
    Withdraw,
    encode_message,
    pack_kept,
)
from tallow_cli.transfer.receiver import ReceiveMachine
from tallow_cli.transfer.sender import SendMachine, SendState
from tests.fuzz.harness import probing
from tests.fuzz.hostile_input import mutated
from tests.security.test_journal_attacks import CONTENTS, DATA, OFFER, hostile_records, journal_of
from tests.support.disk import tree
from tests.support.transfer_peer import HandPeer
from tests.unit.store.test_resuming import die, go_on, resuming

pytestmark = pytest.mark.timeout(0)

FILES = [0, 1, 70_000, 5, 30_000, 0]
ENDS = list(accumulate(FILES))
TURNS = 400  # of a machine; none needs so many


def left_behind(base: Path) -> Path:
    target = base / "left"
    target.mkdir()
    (base / "mine").write_bytes(b"this is mine")
    sink = resuming(target)
    sink.open(OFFER)
    sink.write(0, DATA[:500_000])
    assert sink._journal is not None
    sink._journal.flush()
    die(sink)
    return target


def test_no_journal_and_no_partial_leads_to_wrong_bytes(tmp_path: Path) -> None:
    left = left_behind(tmp_path)

    async def fuzz() -> None:
        async with probing("journal") as probe:
            while probe.goes_on():
                rng, target = probe.rng, tmp_path / "target"
                shutil.copytree(left, target)
                path = journal_of(target)
                data = path.read_bytes()
                if rng.random() < 0.5:
                    data += hostile_records(target, rng)
                path.write_bytes(mutated(rng, data))
                if rng.random() < 0.3:
                    (part,) = target.rglob("*.part")
                    part.write_bytes(mutated(rng, part.read_bytes(), 2))
                with contextlib.suppress(LocalFileError):  # one clear sentence is as good
                    go_on(resuming(target), OFFER, CONTENTS)
                for name in CONTENTS.keys() & tree(target).keys():
                    assert tree(target)[name] == CONTENTS[name]
                assert (tmp_path / "mine").read_bytes() == b"this is mine"
                shutil.rmtree(target)
                await asyncio.sleep(0)

    asyncio.run(fuzz())


def some_ranges(rng: random.Random, most: int = 6) -> tuple[tuple[int, int], ...]:
    edges = [0, 1, 2, 70_000, 70_001, 70_006, ENDS[-1], ENDS[-1] + 1, 2**62, rng.randrange(ENDS[-1])]
    ranges = [(rng.choice(edges), rng.choice(edges)) for _ in range(rng.randrange(1, most))]
    if rng.random() < 0.7:  # right but for being a lie
        ranges = list(RangeSet((min(pair), max(pair)) for pair in ranges if pair[0] != pair[1]))
        ranges = [(start, min(end, ENDS[-1])) for start, end in ranges if start < ENDS[-1]]
    return tuple(ranges) or ((0, 1),)


def say(peer: HandPeer, rng: random.Random, message: ControlMessage) -> None:
    raw = encode_message(message)
    peer.feed(0, encode_control(mutated(rng, raw) if rng.random() < 0.1 else raw, more=False))


def failure(events: list[object]) -> Failed | None:
    return next((event for event in events if isinstance(event, Failed)), None)


class Chunks:
    chunk_size = 16_384


def test_no_claim_of_a_receiver_has_a_sender_fail_otherwise_than_by_blaming_it(tmp_path: Path) -> None:
    rng = random.Random(1)
    for number, size in enumerate(FILES):
        (tmp_path / f"{number}").write_bytes(rng.randbytes(size))

    async def fuzz() -> None:
        async with probing("claims") as probe:
            while probe.goes_on():
                claim(probe.rng, FileSource([tmp_path / f"{number}" for number in range(len(FILES))]))
                await asyncio.sleep(0)

    asyncio.run(fuzz())


def claim(rng: random.Random, source: FileSource) -> None:
    machine = SendMachine(channels=2, chunk_sizer=Chunks(), now=0.0)
    peer, reader = HandPeer(machine), DiskReader(source)
    peer.say(Ready(1, POSIX))
    source.prepare(POSIX)
    machine.events()
    machine.offer(0.0, b"manifest", [span.end for span in source.manifest.file_spans])
    kept = pack_kept(RangeSet((n, n + 1) for n in range(8) if rng.random() < 0.2))
    held = some_ranges(rng) if rng.random() < 0.5 else ()
    claims = some_ranges(rng) if rng.random() < 0.7 else ()
    say(peer, rng, Accept(rng.choice([0, 10, 10**6, 2**62]), held, kept, claims))
    is_accepted = False
    for _ in range(TURNS):
        peer.now += 0.01
        for event in machine.events():
            if isinstance(event, Accepted):
                is_accepted = True
                reader.begin(event.kept, event.claims)
            if isinstance(event, Failed):
                assert isinstance(event.error, PeerProtocolError), event.error
        if machine.state is SendState.FAILED or not is_accepted:
            break
        while (request := machine.next_read(peer.now)) is not None:
            reader.want(request)
        job = reader.next_job(machine.read_position)
        if job is not None:
            news = job()
            reader.finished(news)
            for offset, data in news.chunks:
                machine.chunk_read(peer.now, offset, data)
            if news.piece_digests:
                machine.piece_digests(peer.now, news.first_piece, news.piece_digests)
            if news.digested is not None:
                machine.digests(peer.now, news.digested.first, news.digested.digests)
        peer.collect()
        if rng.random() < 0.05:
            say(peer, rng, Want(some_ranges(rng)))
        elif job is None and not machine.packets(peer.now):
            break
    source.close()


def test_nothing_that_a_sender_says_of_claims_has_a_receiver_fail_otherwise_than_by_blaming_it() -> None:
    async def fuzz() -> None:
        async with probing("pieces") as probe:
            while probe.goes_on():
                be_told(probe.rng)
                await asyncio.sleep(0)

    asyncio.run(fuzz())


def be_told(rng: random.Random) -> None:
    machine = ReceiveMachine(channels=2, now=0.0)
    peer = HandPeer(machine)
    peer.say(Offer(1, b"manifest"))
    machine.events()
    claimed = RangeSet([(0, 40_000), (70_001, 70_006), (80_000, 90_000)])
    machine.accept(
        0.0, ENDS, RangeSet([(40_000, 50_000)]), RangeSet([(3, 4)] if rng.random() < 0.5 else []), claimed
    )
    proofs: list[int] = []
    for _ in range(60):
        peer.now += 0.01
        first, count = rng.choice([0, 0, 1, 2, 3, 2**40]), rng.choice([1, 1, 2, 3, 50])
        digests = tuple(rng.randbytes(32) for _ in range(count))
        message = rng.choice(
            [
                PieceDigests(first, digests),
                PieceDigests(len(proofs), digests[:1]),
                Digests(rng.randrange(8), digests),
                Withdraw(rng.randrange(8), rng.choice([0, 1, 70_000, 2**40]), Why.CHANGED),
            ]
        )
        try:
            say(peer, rng, message)
        except msgspec.ValidationError:
            raise AssertionError(f"{message} was not taken for hostile") from None
        for event in machine.events():
            if isinstance(event, Failed):
                assert isinstance(event.error, PeerProtocolError), event.error
                return
            if type(event).__name__ == "PieceDigested":
                proofs.append(event.index)  # type: ignore[union-attr]
                settle = machine.piece_proved if rng.random() < 0.5 else machine.piece_refuted
                settle(peer.now, event.index)  # type: ignore[union-attr]
        assert len(proofs) == len(set(proofs)), "a piece is settled once"
        peer.collect()
