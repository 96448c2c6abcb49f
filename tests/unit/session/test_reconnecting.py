"""session.reconnecting: a transfer goes on over another connection, and only where its path was lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tallow_cli.errors import Declined, Loss, PeerCancelled, PeerVanished, TallowError, TransferStalled
from tallow_cli.offer.manifest import Manifest
from tallow_cli.session import reconnecting
from tallow_cli.session.events import (
    CodeReady,
    Connected,
    Done,
    FileFinished,
    LeftOut,
    Offered,
    PeerAuthenticated,
    Progress,
    Reconnected,
    Reconnecting,
    Resuming,
    Stats,
    Unfinished,
    Waiting,
)
from tallow_cli.session.pace import Pace
from tallow_cli.session.settings import LinkSettings, Waits
from tallow_cli.store.directory_sink import DirectorySink
from tallow_cli.store.file_source import FileSource
from tallow_cli.store.memory_source import RandomSource
from tallow_cli.store.sequential_sink import StdoutSink
from tallow_cli.store.sink import Sink
from tallow_cli.store.stream_source import StreamSource
from tests.support.disk import temporaries, tree
from tests.support.sessions import Decide, Sessions, Side, opened_sessions, running_server

SLOWLY = LinkSettings(limit_bytes_per_s=4_000_000)


@pytest.fixture
async def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sessions]:
    async with opened_sessions(tmp_path, monkeypatch) as opened:
        yield opened


def into(directory: Path, *, resume: bool = False) -> Decide:
    directory.mkdir(exist_ok=True)

    async def decide(_manifest: Manifest) -> Sink:
        return DirectorySink(directory, resume=resume)

    return decide


def files(directory: Path, *sizes: int) -> Path:
    root = directory / "from"
    root.mkdir()
    for number, size in enumerate(sizes):
        (root / f"{number}.bin").write_bytes(random.Random(number).randbytes(size))
    return root


async def moving(side: Side, count: int = 1) -> None:
    """Until some more has arrived."""
    await side.event(Progress, len(side.of(Progress)) + count)


async def test_files_arrive_over_three_connections_and_each_byte_is_sent_about_once(
    sessions: Sessions, tmp_path: Path
) -> None:
    root = files(tmp_path, 900_000, 0, 1_500_000, 10, 2_000_000)
    with contextlib.closing(FileSource([root])) as source:
        sender = sessions.send(source, link=SLOWLY)
        receiver = sessions.receive(into(tmp_path / "in"))
        for count in (1, 2):
            await moving(receiver)
            sessions.network.cut()
            assert (await receiver.event(Reconnected, count)).attempt == count + 1
            await sender.event(Reconnected, count)
        sent, received = await sender.done(), await receiver.done()
    assert tree(tmp_path / "in" / "from") == tree(root)
    assert sent.bytes == received.bytes == 4_400_010
    assert sessions.network.sent_bytes["host"] < 4_400_010 * 1.6
    for side in (sender, receiver):
        assert len(side.of(CodeReady)) <= 1
        assert len(side.of(Offered)) == 1, "the offer is shown once"
        assert len(side.of(Connected)) == len(side.of(Done)) == 1
        assert len(side.of(FileFinished)) == 5, "and so is each file"
        bytes_done = [event.bytes for event in side.of(Progress)]
        assert bytes_done == sorted(bytes_done), "progress never falls"
    assert 0 < received.outage_s < received.seconds
    assert temporaries(tmp_path) == []


async def test_both_meet_again_at_the_server_they_used(sessions: Sessions) -> None:
    async with running_server() as url:
        sender = sessions.send(RandomSource(3_000_000), server=url, link=SLOWLY)
        receiver = sessions.receive(server=url)
        await moving(receiver)
        sessions.network.cut()
        await receiver.done()
        await sender.done()
    lost = receiver.of(Reconnecting)[0]
    assert (lost.reason, lost.for_s) == ("the other side no longer answers", 120)


async def test_a_server_that_was_away_meanwhile_does_not_matter(sessions: Sessions) -> None:
    async with running_server() as url:
        port = int(url.rpartition(":")[2])
        sender = sessions.send(RandomSource(3_000_000), server=url, link=SLOWLY)
        receiver = sessions.receive(server=url)
        await moving(receiver)
    sessions.network.cut()
    await sender.event(Reconnecting)
    await asyncio.sleep(0.5)
    async with running_server(port=port):
        await receiver.done()
        await sender.done()


async def test_a_stream_goes_on_and_stays_in_order(sessions: Sessions, tmp_path: Path) -> None:
    data = random.Random(7).randbytes(2_000_000)
    reading, writing = os.pipe()
    with (tmp_path / "out").open("wb") as out, os.fdopen(writing, "wb") as pipe:

        async def decide(_manifest: Manifest) -> Sink:
            return StdoutSink(out.fileno())

        sender = sessions.send(StreamSource(reading), link=SLOWLY)
        receiver = sessions.receive(decide)
        await receiver.event(Offered)
        for start in range(0, len(data), 500_000):
            await asyncio.to_thread(pipe.write, data[start : start + 500_000])
            await asyncio.to_thread(pipe.flush)
            await moving(receiver)
            sessions.network.cut()
            await receiver.event(Reconnected, start // 500_000 + 1)
        pipe.close()
        assert (await sender.done()).bytes == (await receiver.done()).bytes == len(data)
    os.close(reading)
    assert (tmp_path / "out").read_bytes() == data


async def test_messages_lost_and_out_of_order_before_the_cut_do_no_harm(
    sessions: Sessions, tmp_path: Path
) -> None:
    rng = random.Random(3)

    def lossy(_role: str, index: int, message: bytes) -> list[bytes]:
        return [] if index and rng.random() < 0.2 else [message]

    sessions.network.tamper = lossy
    root = files(tmp_path, 2_000_000, 1_000_000)
    with contextlib.closing(FileSource([root])) as source, (tmp_path / "out").open("wb"):
        sender = sessions.send(source, link=SLOWLY)
        receiver = sessions.receive(into(tmp_path / "in"))
        for count in (1, 2, 3):
            await moving(receiver)
            sessions.network.cut()
            await receiver.event(Reconnected, count)
        await sender.done()
        await receiver.done()
    assert tree(tmp_path / "in" / "from") == tree(root)


async def test_a_path_lost_at_the_question_does_not_ask_again(sessions: Sessions, tmp_path: Path) -> None:
    asked: list[Manifest] = []
    answer: asyncio.Future[Sink] = asyncio.get_running_loop().create_future()

    async def decide(manifest: Manifest) -> Sink:
        asked.append(manifest)
        return await answer

    sender, receiver = sessions.send(RandomSource(100_000)), sessions.receive(decide)
    await receiver.event(Offered)
    sessions.network.cut()
    await receiver.event(Reconnected)
    (tmp_path / "in").mkdir()
    answer.set_result(DirectorySink(tmp_path / "in"))
    await sender.done()
    await receiver.done()
    assert len(asked) == 1


async def test_a_no_without_a_connection_ends_the_receiver_at_once(sessions: Sessions) -> None:
    answer: asyncio.Future[Sink] = asyncio.get_running_loop().create_future()

    async def decide(_manifest: Manifest) -> Sink:
        return await answer

    async with running_server() as url:
        sessions.send(RandomSource(100_000), server=url)
        receiver = sessions.receive(decide, server=url)
        await receiver.event(Offered)
    sessions.network.cut()
    await receiver.event(Reconnecting)
    answer.set_exception(Declined())
    assert isinstance(await receiver.failure(), Declined)


async def test_a_withdrawn_file_is_withdrawn_again_and_told_once(sessions: Sessions, tmp_path: Path) -> None:
    root = files(tmp_path, 300_000, 300_000, 2_000_000)

    async def decide(manifest: Manifest) -> Sink:
        (root / "1.bin").unlink()
        return await into(tmp_path / "in")(manifest)

    with contextlib.closing(FileSource([root])) as source:
        sender, receiver = sessions.send(source, link=SLOWLY), sessions.receive(decide)
        await receiver.event(LeftOut)
        await moving(receiver)
        sessions.network.cut()
        assert (await sender.done()).missed == (await receiver.done()).missed == 1
    assert len(sender.of(LeftOut)) == len(receiver.of(LeftOut)) == 1
    assert set(tree(tmp_path / "in" / "from")) == {"0.bin", "2.bin"}


async def test_a_file_changed_during_the_outage_is_withdrawn(sessions: Sessions, tmp_path: Path) -> None:
    root = files(tmp_path, 300_000, 12_000_000)
    async with running_server() as url:
        with contextlib.closing(FileSource([root])) as source:
            sender = sessions.send(source, link=SLOWLY, server=url)
            receiver = sessions.receive(into(tmp_path / "in"), server=url)
            await receiver.event(FileFinished)
            await moving(receiver)
            os.truncate(root / "1.bin", 7)
            sessions.network.cut()
            assert (await sender.done()).missed == (await receiver.done()).missed == 1
    assert set(tree(tmp_path / "in" / "from")) == {"0.bin"}


async def test_a_resumed_transfer_goes_on_over_another_connection_too(
    sessions: Sessions, tmp_path: Path
) -> None:
    root = files(tmp_path, 6_000_000, 3_000_000)
    for ends in (False, True):
        with contextlib.closing(FileSource([root])) as source:
            sender = sessions.send(source, link=LinkSettings(limit_bytes_per_s=6_000_000))
            receiver = sessions.receive(into(tmp_path / "in", resume=True))
            await moving(receiver, 3)
            if not ends:
                receiver.cancel()
                await receiver.failure()
                await sender.failure()
                assert receiver.of(Unfinished)
                continue
            sessions.network.cut()
            sent, received = await sender.done(), await receiver.done()
    held = receiver.of(Resuming)[0].held_bytes
    assert held == sender.of(Resuming)[0].held_bytes > 0
    assert tree(tmp_path / "in" / "from") == tree(root)
    for done in (sent, received):
        assert done.mbps * 1e6 / 8 * (done.seconds - done.outage_s) == pytest.approx(
            9_000_000 - held, rel=0.01
        )


# What does not reconnect


async def test_a_cancelling_is_final(sessions: Sessions) -> None:
    sender, receiver = sessions.send(RandomSource(50_000_000), link=SLOWLY), sessions.receive()
    await moving(receiver)
    sender.cancel()
    assert isinstance(await receiver.failure(), PeerCancelled)
    assert receiver.of(Reconnecting) == sender.of(Reconnecting) == []


@pytest.mark.parametrize("without", ["sender", "receiver"])
async def test_where_one_side_does_not_reconnect_neither_does(sessions: Sessions, without: str) -> None:
    off = Waits(reconnect_s=0)
    sender = sessions.send(RandomSource(50_000_000), link=SLOWLY, waits=off if without == "sender" else None)
    receiver = sessions.receive(waits=off if without == "receiver" else None)
    await moving(receiver)
    sessions.network.cut()
    for side in (sender, receiver):
        assert isinstance(await side.failure(), PeerVanished)
        assert side.of(Reconnecting) == []


# When it is given up


async def test_who_does_not_come_back_in_time_is_given_up_with_why_and_for_how_long(
    sessions: Sessions,
) -> None:
    waits = Waits(reconnect_s=0.3)
    async with running_server() as url:
        sender = sessions.send(RandomSource(50_000_000), link=SLOWLY, server=url, waits=waits)
        receiver = sessions.receive(server=url, waits=waits)
        await moving(receiver)
    sessions.network.cut()
    for side in (sender, receiver):
        failure = await side.failure()
        assert isinstance(failure, PeerVanished)
        assert failure.detail == "the other side no longer answers, and did not come back within 0 s"
        assert [event.for_s for event in side.of(Reconnecting)] == [0.3]
    assert [event.what for event in sender.of(Waiting)] == ["for the receiver"]


async def test_a_sender_whose_own_server_is_gone_is_not_waited_for(sessions: Sessions) -> None:
    sessions.pace = Pace(gone_s=0.4)
    sender = sessions.send(RandomSource(50_000_000), link=SLOWLY)
    receiver = sessions.receive()
    await moving(receiver)
    sessions.network.silent = True
    sender.cancel()
    await sender.failure()
    sessions.network.cut()
    failure = await receiver.failure()
    assert isinstance(failure, PeerVanished)
    assert "its signaling server is gone, too" in failure.detail


@pytest.mark.parametrize(("loss", "for_s"), [(Loss.PEER_GONE, 10), (Loss.CLOSED, 30)])
async def test_what_is_known_of_the_other_side_decides_how_long_it_is_waited_for(
    sessions: Sessions, loss: Loss, for_s: float
) -> None:
    sender, receiver = sessions.send(RandomSource(2_000_000), link=SLOWLY), sessions.receive()
    await moving(receiver)
    for link in sessions.network.links:
        link.lose(PeerVanished("it is lost", loss))
    assert (await receiver.event(Reconnecting)).for_s == for_s
    await receiver.done()
    await sender.done()


async def test_connections_over_which_nothing_moves_are_not_made_for_ever(sessions: Sessions) -> None:
    waits = Waits(idle_s=1.0, reconnect_s=1.5)
    sender = sessions.send(RandomSource(3_000_000), link=SLOWLY, waits=waits)
    receiver = sessions.receive(waits=waits)
    await moving(receiver)
    sessions.network.tamper = lambda role, index, message: [] if index and role == "host" else [message]
    failures = await asyncio.gather(sender.failure(), receiver.failure())
    assert {failure.exit_code for failure in failures if isinstance(failure, TallowError)} == {8}
    assert len(failures) == 2
    assert len(sender.of(Reconnected)) >= 1


async def test_a_quiet_connection_is_no_failure_of_the_path(sessions: Sessions) -> None:
    """Somebody thinks about the question, and the laptop sleeps now and then."""
    patience = reconnecting._Patience(Waits(idle_s=60, reconnect_s=120))
    lost = PeerVanished("silence")
    assert patience.left_s(lost, 0, 1_000.0) == 120
    patience.connected_at = 1_010.0
    assert patience.left_s(lost, 0, 1_050.0) == 70, "it was lost again at once"
    patience.connected_at = 1_060.0
    assert patience.left_s(lost, 0, 1_500.0) == 120
    patience.connected_at = 1_510.0
    assert patience.left_s(TransferStalled("data was on its way", 60), 0, 1_590.0) == 30
    assert patience.left_s(lost, 1, 1_600.0) == 120


# Who comes


async def test_cancelling_while_there_is_no_connection_ends_at_once_and_leaves_nothing(
    sessions: Sessions, tmp_path: Path
) -> None:
    before = asyncio.all_tasks()
    async with running_server() as url:
        sender = sessions.send(RandomSource(50_000_000), link=SLOWLY, server=url)
        receiver = sessions.receive(into(tmp_path / "in"), server=url)
        await moving(receiver)
    sessions.network.cut()
    for side in (sender, receiver):
        await side.event(Reconnecting)
        side.cancel()
        assert isinstance(await side.failure(), asyncio.CancelledError)
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before
    assert all(link.closed for link in sessions.network.links)


async def test_a_receiver_that_was_done_when_the_path_was_lost_comes_back_to_say_so(
    sessions: Sessions,
) -> None:
    def mute(role: str, index: int, message: bytes) -> list[bytes]:
        return [] if role == "joiner" and index == 0 and receiver.of(FileFinished) else [message]

    sender, receiver = sessions.send(RandomSource(1_000_000)), sessions.receive()
    sessions.network.tamper = mute
    await receiver.event(Done)
    sessions.network.tamper = lambda _role, _index, message: [message]
    for link in sessions.network.links:
        link.hears_last_words = False
    sessions.network.cut()
    assert (await sender.done()).bytes == 1_000_000
    assert (await receiver.done()).bytes == 1_000_000
    assert isinstance(receiver.events[-1], Done), "and says nothing more to its user"


async def test_the_other_side_is_not_shown_again(sessions: Sessions) -> None:
    sender, receiver = sessions.send(RandomSource(2_000_000), link=SLOWLY), sessions.receive()
    await moving(receiver)
    sessions.network.cut()
    await receiver.done()
    await sender.done()
    for side in (sender, receiver):
        assert len(side.of(PeerAuthenticated)) == 1
        kinds = [type(event) for event in side.events]
        assert Stats not in kinds[kinds.index(Reconnecting) : kinds.index(Reconnected)]
