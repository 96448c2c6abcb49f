"""session.send and session.receive together: one transfer from the code to the report, over links in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tallow_cli.crypto.codes import parse_code
from tallow_cli.errors import (
    BadOption,
    Declined,
    DiskFull,
    InputNeeded,
    IntegrityError,
    NoAnswer,
    NoPathError,
    PeerCancelled,
    PeerFailed,
    PeerNeverCame,
    PeerProtocolError,
    PeerRefused,
    PeerVanished,
    ReaderGone,
    ReportMissing,
    SourceChanged,
    SourceMissing,
    TallowError,
    TargetExists,
    TooLarge,
    TransferStalled,
    Unsendable,
    WrongCodeError,
)
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest
from tallow_cli.offer.name_rules import MACOS, POSIX, WINDOWS, NameRules
from tallow_cli.session.events import (
    CodeReady,
    Connected,
    Done,
    FileFinished,
    LastWords,
    LeftOut,
    Notice,
    Offered,
    PeerAuthenticated,
    Progress,
    Stats,
    TextReceived,
    Waiting,
)
from tallow_cli.session.pace import DiskPace, Pace
from tallow_cli.session.settings import LinkSettings, Waits
from tallow_cli.store.directory_sink import DirectorySink
from tallow_cli.store.file_source import FileSource
from tallow_cli.store.memory_source import RandomSource, TextSource
from tallow_cli.store.sequential_sink import NullSink, StdoutSink, TextSink
from tallow_cli.store.sink import Published, Sink
from tallow_cli.store.stream_source import StreamSource
from tallow_cli.transfer.options import ReceiveOptions
from tests.support.disk import temporaries, tree
from tests.support.sessions import Decide, Sessions, Side, opened_sessions


@pytest.fixture
async def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sessions]:
    async with opened_sessions(tmp_path, monkeypatch) as opened:
        yield opened


ONE_CONNECTION = Waits(reconnect_s=0)


def into(directory: Path) -> Decide:
    directory.mkdir(exist_ok=True)

    async def decide(_manifest: Manifest) -> Sink:
        return DirectorySink(directory)

    return decide


def refusing(error: TallowError) -> Decide:
    async def decide(_manifest: Manifest) -> Sink:
        raise error

    return decide


async def never(_manifest: Manifest) -> Sink:
    return await asyncio.get_running_loop().create_future()


# What is there to lose: bytes, and the truth about them


async def test_files_arrive_and_both_sides_say_the_same(sessions: Sessions, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    (root / "a").mkdir(parents=True)
    (root / "a" / "one.jpg").write_bytes(random.Random(1).randbytes(700_000))
    (root / "empty").touch()
    (root / "nothing").mkdir()
    target = tmp_path / "in"

    sender = sessions.send(FileSource([root]))
    receiver = sessions.receive(into(target))
    sent, received = await sender.done(), await receiver.done()

    assert tree(target / "photos") == tree(root)
    assert (sent.bytes, sent.files) == (received.bytes, received.files) == (700_000, 2)
    for side in (sender, receiver):
        assert isinstance(side.events[-1], Done)
        assert side.of(Progress)[-1].bytes == 700_000
        assert {file.path for file in side.of(FileFinished)} == {"photos/a/one.jpg", "photos/empty"}
        assert side.of(Offered)[0].total_bytes == 700_000
        kinds = [type(event) for event in side.events]
        assert kinds.index(PeerAuthenticated) < kinds.index(Connected) < kinds.index(Offered)


async def test_a_stream_arrives_whole_and_its_length_is_told_at_the_end(
    sessions: Sessions, tmp_path: Path
) -> None:
    data = random.Random(2).randbytes(300_000)
    ours, theirs = os.pipe()
    source = StreamSource(ours)
    sender, receiver = sessions.send(source), sessions.receive(into(tmp_path / "in"))
    await receiver.event(Offered)
    with os.fdopen(theirs, "wb") as pipe:
        await asyncio.to_thread(pipe.write, data)
        pipe.flush()
    assert (await sender.done()).bytes == (await receiver.done()).bytes == 300_000
    os.close(ours)
    assert (tmp_path / "in" / "stdin").read_bytes() == data


@pytest.mark.parametrize("size", [0, 1])
async def test_an_almost_empty_offer_is_a_transfer_like_any_other(
    sessions: Sessions, tmp_path: Path, size: int
) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    sender = sessions.send(FileSource([tmp_path / "file"]))
    receiver = sessions.receive(into(tmp_path / "in"))
    assert (await sender.done()).bytes == (await receiver.done()).bytes == size
    assert (tmp_path / "in" / "file").read_bytes() == b"x" * size


async def test_an_empty_stream_arrives(sessions: Sessions, tmp_path: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    sender, receiver = sessions.send(StreamSource(nothing)), sessions.receive(into(tmp_path / "in"))
    assert (await sender.done()).bytes == (await receiver.done()).bytes == 0
    os.close(nothing)
    assert (tmp_path / "in" / "stdin").read_bytes() == b""


async def test_directories_without_any_file_arrive(sessions: Sessions, tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep" / "down").mkdir(parents=True)
    sender = sessions.send(FileSource([tmp_path / "tree"]))
    receiver = sessions.receive(into(tmp_path / "in"))
    assert (await sender.done()).files == (await receiver.done()).files == 0
    assert (tmp_path / "in" / "tree" / "deep" / "down").is_dir()


async def test_a_text_is_an_event_and_no_file(sessions: Sessions) -> None:
    async def decide(_manifest: Manifest) -> Sink:
        return TextSink()

    sender, receiver = sessions.send(TextSource("see you at eight")), sessions.receive(decide)
    await sender.done()
    await receiver.done()
    assert receiver.of(TextReceived) == [TextReceived("see you at eight")]
    assert sender.of(FileFinished) == receiver.of(FileFinished) == []


async def test_a_hundred_files_go_without_a_round_trip_each(sessions: Sessions) -> None:
    sender = sessions.send(RandomSource(100_000, files=100))
    receiver = sessions.receive()
    assert (await sender.done()).files == (await receiver.done()).files == 100


@pytest.mark.parametrize(
    "link", [LinkSettings(reliable=True), LinkSettings(encrypt=False), LinkSettings(channels=2)], ids=str
)
async def test_the_ways_to_connect_all_carry_a_transfer(sessions: Sessions, link: LinkSettings) -> None:
    sender = sessions.send(RandomSource(400_000), link=link)
    receiver = sessions.receive(link=link)
    assert (await sender.done()).bytes == (await receiver.done()).bytes == 400_000
    assert sender.of(Connected)[0].encrypted is link.encrypt
    assert sender.of(Connected)[0].channels == link.channels


async def test_messages_lost_on_the_way_are_sent_again(sessions: Sessions) -> None:
    rng = random.Random(3)

    def lossy(_role: str, index: int, message: bytes) -> list[bytes]:
        return [] if index and rng.random() < 0.1 else [message]

    sessions.network.tamper = lossy
    sender, receiver = sessions.send(RandomSource(2_000_000)), sessions.receive()
    assert (await sender.done()).bytes == (await receiver.done()).bytes == 2_000_000


async def test_standard_output_gets_its_bytes_in_order_however_they_come(
    sessions: Sessions, tmp_path: Path
) -> None:
    rng = random.Random(4)
    waiting: list[bytes] = []

    def shuffle(role: str, index: int, message: bytes) -> list[bytes]:
        """Every so often a message waits for one that was sent later; some never arrive."""
        if role == "joiner" or index == 0:
            return [message]
        if rng.random() < 0.05:
            return []
        if not waiting and rng.random() < 0.5:
            waiting.append(message)
            return []
        return [message, waiting.pop()] if waiting else [message]

    def same_channel(role: str, index: int, message: bytes) -> list[bytes]:
        return shuffle(role, index, message) if index == 1 else [message]

    sessions.network.tamper = same_channel
    data = random.Random(5).randbytes(3_000_000)
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "out").open("wb") as out:

        async def decide(_manifest: Manifest) -> Sink:
            return StdoutSink(out.fileno())

        sender, receiver = sessions.send(FileSource([tmp_path / "file"])), sessions.receive(decide)
        await sender.done()
        await receiver.done()
    assert (tmp_path / "out").read_bytes() == data


async def test_a_sink_that_does_not_take_bytes_stops_the_sender_within_its_credit(
    sessions: Sessions,
) -> None:
    may_write = threading.Event()

    class Stuck(NullSink):
        def take(self, data: memoryview) -> None:
            may_write.wait(20)

    async def decide(_manifest: Manifest) -> Sink:
        return Stuck()

    size, window = 60_000_000, ReceiveOptions().window_bytes
    sender, receiver = sessions.send(RandomSource(size)), sessions.receive(decide)
    await receiver.event(Stats)
    sent, before = sessions.network.sent_bytes, -1
    while sent["host"] > before:  # until it has stopped
        before = sent["host"]
        await asyncio.sleep(0.3)
    assert 0 < before < window * 1.1
    may_write.set()
    assert (await sender.done()).bytes == (await receiver.done()).bytes == size


# Saying no


async def test_a_persons_no_ends_the_sender(sessions: Sessions) -> None:
    error = Declined()
    sender, receiver = sessions.send(TextSource("x")), sessions.receive(refusing(error))
    assert await receiver.failure() is error
    refused = await sender.failure()
    assert isinstance(refused, PeerRefused)
    assert refused.sentence == "The other side refused: its user does not want this."


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BadOption("--output", "/home/me is a terminal"), "its options leave no place"),
        (InputNeeded("Your consent", "--yes"), "--yes accepts"),
        (TargetExists("/home/me/private/report.txt"), "has a file of that name"),
        (DiskFull("/home/me/private", 5), "disk is full"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_a_receivers_slip_is_told_to_the_sender_without_paths_and_the_code_still_holds(
    sessions: Sessions, error: TallowError, words: str
) -> None:
    sender, receiver = sessions.send(TextSource("x")), sessions.receive(refusing(error))
    assert await receiver.failure() is error
    assert "run this again, with the same code" in receiver.of(Notice)[-1].message
    told = (await sender.event(Notice)).message
    assert words in told
    assert told.endswith("The code still holds.")
    assert "/home" not in told
    assert ".." not in told
    await sessions.receive().done()
    await sender.done()
    assert len(sender.of(CodeReady)) == 1
    assert len(sender.of(Waiting)) == 2
    assert all(each.closed for each in sessions.network.gathered.values())


async def test_a_receiver_that_is_gone_before_it_accepts_leaves_the_code_to_the_next(
    sessions: Sessions,
) -> None:
    async def undecided(_manifest: Manifest) -> Sink:
        return await asyncio.get_running_loop().create_future()

    sender, first = sessions.send(TextSource("x")), sessions.receive(undecided, waits=ONE_CONNECTION)
    await sender.event(Offered)
    sessions.network.cut()
    told = (await sender.event(Notice)).message
    assert told == (
        "The receiver was lost before it had accepted (the other side no longer answers). The code still holds."
    )
    assert isinstance(await first.failure(), PeerVanished)
    await sessions.receive().done()
    await sender.done()
    assert len(sender.of(CodeReady)) == 1
    assert len(sender.of(Waiting)) == 2


async def test_a_receiver_that_is_gone_after_it_accepted_ends_the_sender(sessions: Sessions) -> None:
    sender = sessions.send(RandomSource(3_000_000), link=LinkSettings(limit_bytes_per_s=6_000_000))
    receiver = sessions.receive(waits=ONE_CONNECTION)
    await sender.event(Progress)
    sessions.network.cut()
    assert isinstance(await sender.failure(), PeerVanished)
    assert isinstance(await receiver.failure(), PeerVanished)


async def test_two_slips_and_a_wrong_guess_later_the_file_still_arrives(
    sessions: Sessions, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 1000)
    with contextlib.closing(FileSource([file])) as source:
        sender = sessions.send(source, code=None)
        first = await sender.code()
        for count in (1, 2):
            slipped = sessions.receive(refusing(TargetExists("file")), code=first)
            assert isinstance(await slipped.failure(), TargetExists)
            await sender.event(Notice, count)
        wrong = replace(first, words=("acorn", "acorn", "acorn"))
        assert isinstance(await sessions.receive(code=wrong).failure(), WrongCodeError)
        second = parse_code((await sender.event(CodeReady, 2)).code)
        out = tmp_path / "out"
        await sessions.receive(into(out), code=second).done()
        await sender.done()
    assert (out / "file").read_bytes() == file.read_bytes()


async def test_after_a_slip_the_wait_has_its_whole_length_again_and_an_end(sessions: Sessions) -> None:
    sender = sessions.send(TextSource("x"), waits=Waits(peer_s=0.3))
    assert isinstance(await sessions.receive(refusing(DiskFull("here"))).failure(), DiskFull)
    assert isinstance(await sender.failure(), PeerNeverCame)


async def test_a_disk_that_gets_its_writes_in_pieces_and_publishes_in_between_loses_none(
    sessions: Sessions, tmp_path: Path
) -> None:
    sessions.pace = Pace(tick_s=0.0005, disk=DiskPace(most_s=0.0, batch_bytes=1))
    root = tmp_path / "many"
    root.mkdir()
    for number in range(300):
        (root / f"{number}").write_bytes(b"%d" % number * 3_000)
    sender = sessions.send(FileSource([root]))
    await sessions.receive(into(tmp_path / "in")).done()
    await sender.done()
    assert tree(tmp_path / "in" / "many") == tree(root)


async def test_a_failure_is_said_before_a_slow_disk_has_kept_what_arrived_and_a_hung_one_is_left(
    sessions: Sessions, tmp_path: Path
) -> None:
    sessions.pace = Pace(disk=DiskPace(say_after_s=0.01, keep_s=0.2))
    never = threading.Event()

    class Hung(NullSink):
        def abort(self) -> tuple[Published, ...]:
            never.wait(20)
            return ()

    async def decide(_manifest: Manifest) -> Sink:
        return Hung()

    reading, writing = os.pipe()
    sender = sessions.send(StreamSource(reading))
    receiver = sessions.receive(decide)
    os.write(writing, b"some")
    await receiver.event(Progress)
    sender.cancel()
    assert isinstance(await receiver.failure(), PeerCancelled)
    messages = [notice.message for notice in receiver.of(Notice)]
    assert messages[-2].startswith("The transfer has ended (The other side cancelled the transfer.)")
    assert messages[-1] == "The disk does not answer, so it was left as it is."
    never.set()
    os.close(writing)
    os.close(reading)


async def test_an_offer_larger_than_allowed_is_refused_before_anybody_is_asked(sessions: Sessions) -> None:
    asked: list[Manifest] = []

    async def decide(manifest: Manifest) -> Sink:
        asked.append(manifest)
        return NullSink()

    sender = sessions.send(RandomSource(1_000_001))
    receiver = sessions.receive(decide, max_bytes=1_000_000)
    error = await receiver.failure()
    assert isinstance(error, TooLarge)
    assert (error.limit_bytes, error.offered_bytes, error.exit_code) == (1_000_000, 1_000_001, 7)
    refusal = await sender.failure()
    assert isinstance(refusal, PeerRefused)
    assert "more than its user allows" in refusal.sentence
    assert asked == []


async def test_an_offer_of_just_what_is_allowed_is_taken(sessions: Sessions) -> None:
    sender = sessions.send(RandomSource(1_000_000))
    assert (await sessions.receive(max_bytes=1_000_000).done()).bytes == 1_000_000
    await sender.done()


async def test_a_stream_is_stopped_where_it_gets_larger_than_allowed(
    sessions: Sessions, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    sender = sessions.send(StreamSource(reading))
    receiver = sessions.receive(into(tmp_path / "in"), max_bytes=100_000)
    os.write(writing, bytes(50_000))
    await receiver.event(Progress)
    os.write(writing, bytes(50_001))
    error = await receiver.failure()
    assert isinstance(error, TooLarge)
    assert error.offered_bytes is None
    assert isinstance(await sender.failure(), PeerFailed)
    assert tree(tmp_path / "in") == {}
    os.close(writing)
    os.close(reading)


async def test_an_error_of_ours_at_consent_is_told_too(sessions: Sessions) -> None:
    async def broken(_manifest: Manifest) -> Sink:
        raise ZeroDivisionError

    sender, receiver = sessions.send(TextSource("x")), sessions.receive(broken)
    assert isinstance(await receiver.failure(), ZeroDivisionError)
    assert isinstance(await sender.failure(), PeerFailed)


async def test_a_receiver_who_does_not_answer_is_not_waited_for_forever(sessions: Sessions) -> None:
    sender = sessions.send(TextSource("x"), waits=Waits(peer_s=0.2))
    receiver = sessions.receive(never)
    assert isinstance(await sender.failure(), NoAnswer)
    told = await receiver.failure()
    assert isinstance(told, PeerFailed)
    assert "waited for too long" in told.sentence


async def test_a_wait_is_announced_only_if_it_takes_a_moment(sessions: Sessions) -> None:
    sender = sessions.send(TextSource("x"))
    receiver = sessions.receive(never)
    await receiver.event(Offered)
    assert [event.what for event in sender.of(Waiting)] == ["for the receiver"]
    assert await sender.event(Waiting, 2) == Waiting("for the receiver to accept", Waits().peer_s)


# Stopping


async def test_cancelling_the_sender_in_the_middle_tells_the_receiver_and_leaves_nothing(
    sessions: Sessions, tmp_path: Path
) -> None:
    link = LinkSettings(limit_bytes_per_s=1_000_000)
    sender = sessions.send(RandomSource(50_000_000), link=link)
    receiver = sessions.receive(into(tmp_path / "in"))
    await receiver.event(Progress)
    sender.cancel()
    assert isinstance(await sender.failure(), asyncio.CancelledError)
    assert isinstance(await receiver.failure(), PeerCancelled)
    assert temporaries(tmp_path) == []
    assert list((tmp_path / "in").iterdir()) == []


async def test_cancelling_the_receiver_in_the_middle_tells_the_sender_and_leaves_nothing(
    sessions: Sessions, tmp_path: Path
) -> None:
    sender = sessions.send(RandomSource(50_000_000), link=LinkSettings(limit_bytes_per_s=1_000_000))
    receiver = sessions.receive(into(tmp_path / "in"))
    await receiver.event(Progress)
    receiver.cancel()
    assert isinstance(await receiver.failure(), asyncio.CancelledError)
    assert isinstance(await sender.failure(), PeerCancelled)
    assert list((tmp_path / "in").iterdir()) == []


async def test_cancelling_at_the_question_tells_the_sender(sessions: Sessions) -> None:
    sender, receiver = sessions.send(TextSource("x")), sessions.receive(never)
    await receiver.event(Offered)
    receiver.cancel()
    assert isinstance(await receiver.failure(), asyncio.CancelledError)
    assert isinstance(await sender.failure(), PeerCancelled)


async def test_a_sender_that_stops_while_the_question_stands_ends_the_question(sessions: Sessions) -> None:
    sender, receiver = sessions.send(TextSource("x")), sessions.receive(never)
    await receiver.event(Offered)
    sender.cancel()
    assert isinstance(await receiver.failure(), PeerCancelled)
    assert isinstance(await sender.failure(), asyncio.CancelledError)


async def test_cancelling_a_sender_that_waits_for_standard_input_ends_at_once(sessions: Sessions) -> None:
    ours, theirs = os.pipe()
    sender, receiver = sessions.send(StreamSource(ours)), sessions.receive()
    await receiver.event(Progress)  # accepted; the read waits
    sender.cancel()
    assert isinstance(await sender.failure(), asyncio.CancelledError)
    assert isinstance(await receiver.failure(), PeerCancelled)
    os.close(ours)
    os.close(theirs)


async def test_cancelling_a_receiver_whose_output_nobody_reads_ends_at_once(sessions: Sessions) -> None:
    ours, theirs = os.pipe()

    async def decide(_manifest: Manifest) -> Sink:
        return StdoutSink(theirs)

    sender, receiver = sessions.send(RandomSource(5_000_000)), sessions.receive(decide)
    await receiver.event(Stats)
    receiver.cancel()
    assert isinstance(await asyncio.wait_for(receiver.failure(), 5), asyncio.CancelledError)
    assert "cannot be resumed" in receiver.of(Notice)[-1].message
    assert isinstance(await sender.failure(), PeerCancelled)
    os.close(ours)
    os.close(theirs)


async def test_both_ends_of_a_stream_that_is_broken_off_say_that_it_begins_anew(
    sessions: Sessions, tmp_path: Path
) -> None:
    ours, theirs = os.pipe()
    sender, receiver = sessions.send(StreamSource(ours)), sessions.receive(into(tmp_path / "in"))
    os.write(theirs, bytes(50_000))
    while not (seen := receiver.of(Progress)) or not seen[-1].bytes:
        await receiver.event(Progress, len(seen) + 1)
    receiver.cancel()
    assert isinstance(await receiver.failure(), asyncio.CancelledError)
    assert isinstance(await sender.failure(), PeerCancelled)
    for side in (sender, receiver):
        assert "tandard input cannot be resumed" in side.of(Notice)[-1].message
    os.close(ours)
    os.close(theirs)


async def test_a_reader_of_standard_output_who_goes_away_ends_both_with_the_truth(sessions: Sessions) -> None:
    ours, theirs = os.pipe()

    async def decide(_manifest: Manifest) -> Sink:
        return StdoutSink(theirs)

    sender, receiver = sessions.send(RandomSource(5_000_000)), sessions.receive(decide)
    await receiver.event(Stats)
    os.close(ours)
    assert isinstance(await receiver.failure(), ReaderGone)
    told = await sender.failure()
    assert isinstance(told, PeerFailed)
    assert told.sentence == "The other side had to stop: nobody reads its output any more."
    os.close(theirs)


# What breaks


async def test_a_connection_that_breaks_ends_both_sides(sessions: Sessions, tmp_path: Path) -> None:
    sender = sessions.send(
        RandomSource(50_000_000), link=LinkSettings(limit_bytes_per_s=1_000_000), waits=ONE_CONNECTION
    )
    receiver = sessions.receive(into(tmp_path / "in"))
    await receiver.event(Progress)
    sessions.network.cut()
    assert isinstance(await sender.failure(), PeerVanished)
    assert isinstance(await receiver.failure(), PeerVanished)
    assert list((tmp_path / "in").iterdir()) == []


async def test_silence_ends_both_sides_after_the_idle_timeout(sessions: Sessions, tmp_path: Path) -> None:
    waits = Waits(idle_s=0.4, reconnect_s=0)
    sender = sessions.send(
        RandomSource(50_000_000), link=LinkSettings(limit_bytes_per_s=1_000_000), waits=waits
    )
    receiver = sessions.receive(into(tmp_path / "in"), waits=waits)
    await receiver.event(Progress)
    sessions.network.silent = True
    assert isinstance(await sender.failure(), (TransferStalled, PeerVanished))
    assert isinstance(await receiver.failure(), PeerVanished)
    assert list((tmp_path / "in").iterdir()) == []


class SlowToPublish(NullSink):
    """A disk that takes its time over the last step; `release` lets it end."""

    def __init__(self) -> None:
        super().__init__()
        self.publishing = threading.Event()
        self.release = threading.Event()

    def complete(self) -> tuple[Published, ...]:
        self.publishing.set()
        assert self.release.wait(10)
        return super().complete()


@pytest.mark.parametrize("end", ["cancel", "break"])
async def test_a_receiver_that_has_everything_ends_well_whatever_becomes_of_the_sender(
    sessions: Sessions, end: str
) -> None:
    sink = SlowToPublish()

    async def decide(_manifest: Manifest) -> Sink:
        return sink

    sender = sessions.send(RandomSource(1_000_000), waits=ONE_CONNECTION)
    receiver = sessions.receive(decide)
    await asyncio.to_thread(sink.publishing.wait, 10)
    if end == "cancel":
        sender.cancel()
        assert isinstance(await sender.failure(), asyncio.CancelledError)
        assert sender.of(LastWords) == [LastWords(heard=True, all_arrived=True, can_go_on=True)]
    else:
        sessions.network.cut()
        failure = await sender.failure()
        assert isinstance(failure, ReportMissing)
        assert "no longer answers" in failure.sentence
    sink.release.set()
    assert (await receiver.done()).bytes == 1_000_000
    assert isinstance(receiver.events[-1], Done)


async def test_success_is_said_at_once_and_stays_success_while_the_report_is_on_its_way(
    sessions: Sessions,
) -> None:
    held_back: list[bytes] = []

    def hold_back(role: str, index: int, message: bytes) -> list[bytes]:
        if role == "joiner" and index == 0 and receiver.of(FileFinished):
            held_back.append(message)
            return []
        return [message]

    sender = sessions.send(RandomSource(100_000), waits=ONE_CONNECTION)
    receiver = sessions.receive()
    sessions.network.tamper = hold_back
    await receiver.event(Done)
    assert receiver.task is not None
    assert not receiver.task.done()
    assert held_back
    receiver.cancel()
    assert (await receiver.done()).bytes == 100_000
    assert not receiver.of(LastWords)
    assert [type(event) for event in receiver.events[-1:]] == [Done]
    assert isinstance(await sender.failure(), ReportMissing)


async def test_one_lost_data_channel_is_no_loss(sessions: Sessions) -> None:
    sender = sessions.send(RandomSource(3_000_000), link=LinkSettings(limit_bytes_per_s=6_000_000))
    receiver = sessions.receive()
    await receiver.event(Progress)
    for link in sessions.network.links:
        link.data[0].lost()
    assert (await sender.done()).bytes == (await receiver.done()).bytes == 3_000_000


async def test_a_path_that_leads_nowhere_ends_both_sides(sessions: Sessions) -> None:
    sessions.network.unreachable = True
    sender, receiver = sessions.send(TextSource("x")), sessions.receive()
    assert isinstance(await sender.failure(), NoPathError)
    assert isinstance(await receiver.failure(), NoPathError)


async def test_a_changed_byte_on_the_way_is_a_broken_protocol_and_nothing_is_kept(
    sessions: Sessions, tmp_path: Path
) -> None:
    def flip(role: str, index: int, message: bytes) -> list[bytes]:
        if role == "host" and index:
            message = message[:-1] + bytes([message[-1] ^ 1])
        return [message]

    sessions.network.tamper = flip
    sender = sessions.send(RandomSource(1_000_000))
    receiver = sessions.receive(into(tmp_path / "in"))
    assert isinstance(await receiver.failure(), PeerProtocolError)
    told = await sender.failure()
    assert isinstance(told, PeerFailed)
    assert "breaks the protocol" in told.sentence
    assert list((tmp_path / "in").iterdir()) == []


async def test_a_source_that_fails_tells_the_receiver_without_naming_its_file(sessions: Sessions) -> None:
    class Changed(RandomSource):
        def read_at(self, offset: int, size: int) -> bytes:
            raise SourceChanged("/home/me/secret.txt", "it became shorter")

    sender, receiver = sessions.send(Changed(1000)), sessions.receive()
    assert isinstance(await sender.failure(), SourceChanged)
    told = await receiver.failure()
    assert isinstance(told, PeerFailed)
    assert "changed meanwhile" in told.sentence
    assert "secret" not in told.sentence


async def test_an_error_nobody_foresaw_in_the_disk_thread_tells_the_sender(sessions: Sessions) -> None:
    class Broken(NullSink):
        def take(self, data: memoryview) -> None:
            raise ZeroDivisionError

    async def decide(_manifest: Manifest) -> Sink:
        return Broken()

    sender, receiver = sessions.send(RandomSource(100_000)), sessions.receive(decide)
    assert isinstance(await receiver.failure(), ZeroDivisionError)
    told = await sender.failure()
    assert isinstance(told, PeerFailed)
    assert "error of its own" in told.sentence


@pytest.mark.parametrize("event", [Offered, FileFinished, Stats], ids=lambda kind: kind.__name__)
async def test_a_renderer_that_fails_ends_both_sides_and_hangs_neither(
    sessions: Sessions, event: type[object]
) -> None:
    sender = sessions.send(RandomSource(500_000), link=LinkSettings(limit_bytes_per_s=1_000_000))
    receiver = sessions.receive()
    receiver.fails_at = event
    assert isinstance(await receiver.failure(), OSError)
    assert isinstance(await sender.failure(), PeerFailed)


async def test_an_offer_whose_names_are_dangerous_is_refused_before_anybody_is_asked(
    sessions: Sessions,
) -> None:
    class Evil(RandomSource):
        @property
        def manifest(self) -> Manifest:
            return Manifest("files", (Entry("../.ssh/authorized_keys", EntryKind.FILE, 10, 0o644, 0),))

    asked: list[Manifest] = []

    async def decide(manifest: Manifest) -> Sink:
        asked.append(manifest)
        return NullSink()

    sender, receiver = sessions.send(Evil(10)), sessions.receive(decide)
    assert isinstance(await receiver.failure(), PeerProtocolError)
    assert isinstance(await sender.failure(), PeerRefused)
    assert asked == []


async def test_what_a_source_leaves_out_and_a_sink_cannot_do_is_said(sessions: Sessions) -> None:
    class Noted(TextSource):
        @property
        def notices(self) -> tuple[str, ...]:
            return ("a socket was left out",)

    class Wanting(NullSink):
        @property
        def notices(self) -> tuple[str, ...]:
            return ("a link could not be made",)

    async def decide(_manifest: Manifest) -> Sink:
        return Wanting()

    sender, receiver = sessions.send(Noted("x")), sessions.receive(decide)
    await sender.done()
    await receiver.done()
    assert Notice("a socket was left out") in sender.events
    assert Notice("a link could not be made") in receiver.events


async def test_the_sink_is_closed_whatever_happens(sessions: Sessions) -> None:
    closed: list[str] = []

    class Closing(NullSink):
        def close(self) -> None:
            closed.append("sink")

        def open(self, manifest: Manifest) -> None:
            raise IntegrityError("a defect")

    async def decide(_manifest: Manifest) -> Sink:
        return Closing()

    sender, receiver = sessions.send(TextSource("x")), sessions.receive(decide)
    await sender.failure()
    await receiver.failure()
    assert closed == ["sink"]


# What is left out


@pytest.fixture
def some_tree(tmp_path: Path) -> Path:
    """Five files, of which Windows takes three; the last is longer than what is read ahead."""
    root = tmp_path / "some"
    root.mkdir()
    for name in ("README", "readme", "12:30.log", "a"):
        (root / name).write_text(name)
    (root / "z").write_bytes(random.Random(5).randbytes(3_000_000))
    return root


def items(side: Side) -> list[tuple[str, str]]:
    return [(item.path.rpartition("/")[2], item.why) for event in side.of(LeftOut) for item in event.items]


@pytest.mark.parametrize("names", [POSIX, MACOS, WINDOWS])
async def test_the_receivers_own_rules_decide_which_names_go(
    sessions: Sessions, tmp_path: Path, some_tree: Path, names: NameRules
) -> None:
    refused = {POSIX: [], MACOS: ["readme"], WINDOWS: ["12:30.log", "readme"]}[names]
    with contextlib.closing(FileSource([some_tree], skip_unsendable=True)) as source:
        sender = sessions.send(source)
        receiver = sessions.receive(into(tmp_path / "in"), names=names)
        sent, received = await sender.done(), await receiver.done()
    arrived = set(tree(tmp_path / "in" / "some"))
    assert arrived == {"README", "readme", "12:30.log", "a", "z"} - set(refused)
    assert sorted(items(sender)) == sorted((name, "name") for name in refused)
    (offer,) = receiver.of(Offered)
    assert offer.left_out == ({"name": len(refused)} if refused else {})
    assert sent.missed == received.missed == len(refused)


async def test_a_name_that_cannot_be_there_ends_the_transfer_unless_the_rest_may_go(
    sessions: Sessions, tmp_path: Path, some_tree: Path
) -> None:
    with contextlib.closing(FileSource([some_tree])) as source:
        sender = sessions.send(source)
        receiver = sessions.receive(into(tmp_path / "in"), names=WINDOWS)
        failure = await sender.failure()
        assert isinstance(failure, Unsendable)
        assert len(failure.items) == 2
        assert isinstance(await receiver.failure(), PeerFailed)
    assert tree(tmp_path / "in") == {}


async def test_a_receiver_refuses_names_that_its_rules_forbid_whatever_the_sender_thinks(
    sessions: Sessions, tmp_path: Path, some_tree: Path
) -> None:
    class Deaf(FileSource):
        def prepare(self, names: NameRules) -> None:
            super().prepare(POSIX)

    with contextlib.closing(Deaf([some_tree])) as source:
        sessions.send(source)
        receiver = sessions.receive(into(tmp_path / "in"), names=WINDOWS)
        assert isinstance(await receiver.failure(), PeerProtocolError)
    assert tree(tmp_path / "in") == {}


async def test_a_file_that_vanishes_after_the_offer_is_left_out_at_both_ends(
    sessions: Sessions, tmp_path: Path, some_tree: Path
) -> None:
    async def decide(manifest: Manifest) -> Sink:
        (some_tree / "a").unlink()
        (some_tree / "z").write_bytes(b"short")
        return await into(tmp_path / "in")(manifest)

    with contextlib.closing(FileSource([some_tree])) as source:
        sender = sessions.send(source)
        receiver = sessions.receive(decide)
        sent, received = await sender.done(), await receiver.done()
    assert items(sender) == items(receiver) == [("a", "vanished"), ("z", "changed")]
    assert set(tree(tmp_path / "in" / "some")) == {"README", "readme", "12:30.log"}
    assert (
        (sent.missed, sent.left_out, sent.files)
        == (received.missed, received.left_out, received.files)
        == (2, 2, 3)
    )
    assert temporaries(tmp_path / "in") == []


async def test_a_sink_that_keeps_order_passes_over_what_does_not_come(
    sessions: Sessions, some_tree: Path
) -> None:
    sink = NullSink()

    async def decide(_manifest: Manifest) -> Sink:
        (some_tree / "a").unlink()
        return sink

    with contextlib.closing(FileSource([some_tree])) as source:
        sessions.send(source)
        receiver = sessions.receive(decide)
        assert (await receiver.done()).files == 4
    assert sink.files_verified == 4


async def test_a_transfer_of_which_nothing_is_left_is_a_failure(
    sessions: Sessions, tmp_path: Path, some_tree: Path
) -> None:
    async def decide(manifest: Manifest) -> Sink:
        (some_tree / "z").unlink()
        return await into(tmp_path / "in")(manifest)

    with contextlib.closing(FileSource([some_tree / "z"])) as source:
        sender = sessions.send(source)
        sessions.receive(decide)
        assert isinstance(await sender.failure(), SourceMissing)


async def test_holes_are_not_sent_and_not_counted(sessions: Sessions, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(200_000_000)
        file.seek(100_000_000)
        file.write(b"data")
    with contextlib.closing(FileSource([tmp_path / "sparse"])) as source:
        if not source.manifest.entries[0].holes:
            pytest.skip("this file system has no holes")
        sessions.send(source)
        receiver = sessions.receive(into(tmp_path / "in"))
        assert (await receiver.done()).bytes < 100_000
    (finished,) = receiver.of(FileFinished)
    assert finished.size == 200_000_000
    got = tmp_path / "in" / "sparse"
    assert got.stat().st_blocks * 512 < 1_000_000
    assert got.read_bytes() == (tmp_path / "sparse").read_bytes()
