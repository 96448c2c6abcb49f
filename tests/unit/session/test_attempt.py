"""session.attempt: the shell of a machine over one connection keeps the contract of transfer.driving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tallow_cli.errors import DiskFull, Loss, PeerProtocolError, PeerVanished
from tallow_cli.session.attempt import Attempt
from tallow_cli.session.connection import Connection
from tallow_cli.transfer.channel import Channel
from tallow_cli.transfer.driving import CONTROL_CHANNEL, ChannelState, OutgoingPacket
from tallow_cli.transfer.frames import encode_header
from tests.support.fake_link import FakeLink, FakeNetwork
from tests.support.sessions import connections


class Machine:
    """Does what it is told, and remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.outgoing: list[list[OutgoingPacket]] = []
        self.records = {index: Channel(index, sealed=True) for index in (1, 2, 3)}
        self.buffers: dict[int, int] = {}
        self.timeout: float | None = None
        self.on_receive: Callable[[], None] = lambda: None

    def channel_state(self, now: float, channel: int, state: ChannelState) -> None:
        self.calls.append(("state", channel, state))

    @property
    def channels(self) -> dict[int, Channel]:
        return self.records

    def buffered(self, now: float, channel: int, size_bytes: int) -> None:
        self.buffers[channel] = size_bytes

    def receive(self, now: float, channel: int, number: int, payload: bytes | memoryview) -> None:
        self.calls.append(("receive", channel, number, bytes(payload)))
        self.on_receive()

    def connection_lost(self, now: float, error: PeerVanished) -> None:
        self.calls.append(("lost", error.detail, error.loss))

    def protocol_broken(self, now: float, error: PeerProtocolError) -> None:
        self.calls.append(("broken", error.kind))

    def packets(self, now: float) -> list[OutgoingPacket]:
        return self.outgoing.pop(0) if self.outgoing else []

    def next_timeout(self) -> float | None:
        timeout, self.timeout = self.timeout, None
        return timeout

    def handle_timeout(self, now: float) -> None:
        self.calls.append(("timeout",))

    def cancel(self, now: float) -> None:
        self.calls.append(("cancel",))

    def abort(self, now: float, kind: str, sentence: str) -> None:
        self.calls.append(("abort", kind))


class End:
    """A machine, its shell, and the end of a connection."""

    def __init__(self, connection: Connection, on_turn: Callable[[float], None] | None = None) -> None:
        self.connection = connection
        self.machine = Machine()
        self.turns = 0
        self.attempt = Attempt(self.machine, connection, on_turn or self._turn)

    def _turn(self, now: float) -> None:
        self.turns += 1

    def packet(self, channel: int, number: int, payload: bytes = b"payload") -> OutgoingPacket:
        header = encode_header(self.connection.sealed, channel, number)
        return OutgoingPacket(channel, number, header, payload)

    def say(self, *packets: OutgoingPacket) -> None:
        self.machine.outgoing.append(list(packets))
        self.attempt.wake()

    @property
    def received(self) -> list[tuple[object, ...]]:
        return [call for call in self.machine.calls if call[0] == "receive"]


@pytest.fixture
def network() -> FakeNetwork:
    return FakeNetwork()


@pytest.fixture
async def ends(network: FakeNetwork) -> tuple[End, End]:
    host, joiner = await connections(network)
    return End(host), End(joiner)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def link_of(end: End) -> FakeLink:
    link: object = end.connection.link
    assert isinstance(link, FakeLink)
    return link


@pytest.mark.parametrize("clear", [False, True], ids=["sealed", "clear"])
async def test_a_packet_arrives_as_it_was_given(network: FakeNetwork, clear: bool) -> None:
    host, joiner = await connections(network, clear=clear)
    ours, theirs = End(host), End(joiner)
    ours.say(ours.packet(0, 0, b"control"), ours.packet(2, 7, b"data"))
    await settle()
    assert theirs.received == [("receive", 0, 0, b"control"), ("receive", 2, 7, b"data")]


async def test_every_channel_is_reported_open_at_the_start_and_what_came_early_follows(
    ends: tuple[End, End],
) -> None:
    ours, theirs = ends
    early: list[bytes] = []
    theirs.connection.control.on_message = early.append
    ours.say(ours.packet(0, 0, b"offer"))
    await settle()
    theirs.connection.early.extend(early)
    theirs.attempt.start()
    states = [call for call in theirs.machine.calls if call[0] == "state"]
    assert states == [("state", channel, ChannelState.OPEN) for channel in (0, 1, 2, 3)]
    assert theirs.received == [("receive", 0, 0, b"offer")]


async def test_a_changed_byte_breaks_the_protocol_and_the_machine_decides_what_that_means(
    ends: tuple[End, End], network: FakeNetwork
) -> None:
    ours, theirs = ends
    network.tamper = lambda _role, _index, message: [message[:-1] + bytes([message[-1] ^ 1])]
    ours.say(ours.packet(1, 0))
    await settle()
    assert theirs.machine.calls == [("broken", "integrity")]
    assert not theirs.attempt.outcome.done()


async def test_a_packet_on_another_channel_than_its_own_breaks_the_protocol(
    ends: tuple[End, End],
) -> None:
    ours, theirs = ends
    packet = ours.packet(1, 0)
    message = ours.connection.sealer.seal_packet(1, 0, packet.header, packet.payload)
    ours.connection.data[1].send(message)
    await settle()
    assert theirs.machine.calls == [("broken", "integrity")]


async def test_a_packet_played_again_is_not_the_shells_to_refuse(
    ends: tuple[End, End], network: FakeNetwork
) -> None:
    """Numbers are the machine's business: it sees both."""
    ours, theirs = ends
    network.tamper = lambda _role, _index, message: [message, message]
    ours.say(ours.packet(1, 5))
    await settle()
    assert [call[2] for call in theirs.received] == [5, 5]


async def test_wake_ups_in_one_moment_are_one_turn(ends: tuple[End, End]) -> None:
    ours, _ = ends
    for _ in range(50):
        ours.attempt.wake()
    await settle()
    assert ours.turns == 1


async def test_what_waits_in_each_channel_is_reported_after_handing_over_and_when_one_has_drained(
    ends: tuple[End, End],
) -> None:
    ours, _ = ends
    channel = link_of(ours).data[1]
    channel.buffered_amount = 5_000
    ours.say(ours.packet(2, 0))
    await settle()
    assert ours.machine.buffers == {1: 0, 2: 5_000, 3: 0}
    channel.buffered_amount = 100
    assert channel.on_low is not None
    channel.on_low()
    await settle()
    assert ours.machine.buffers[2] == 100


async def test_people_are_told_of_each_channel_by_its_label(ends: tuple[End, End]) -> None:
    ours, _ = ends
    record = ours.machine.records[2]
    record.become(ChannelState.PAUSED)
    record.packet(bytes(1000))
    record.counters.chunks_sent = 3
    second = ours.attempt.channel_stats()[1]
    assert (second.label, second.index, second.state) == ("tallow-group-transfer", 2, "open")
    assert second.paused
    assert (second.bytes_sent, second.chunks_sent) == (record.counters.bytes_sent, 3)
    assert [each.state for each in ours.attempt.channel_stats()] == ["closed", "open", "closed"]


async def test_a_channel_that_closed_before_anybody_listened_is_noticed_at_the_start(
    network: FakeNetwork,
) -> None:
    host, _ = await connections(network)
    host.data[1].close()
    ours = End(host)
    ours.attempt.start()
    states = [call[1:] for call in ours.machine.calls if call[0] == "state"]
    assert states[-1] == (2, ChannelState.CLOSED)
    assert states[:-1] == [(channel, ChannelState.OPEN) for channel in (0, 1, 2, 3)]


async def test_a_closed_channel_is_reported_and_sending_on_it_is_no_error(ends: tuple[End, End]) -> None:
    ours, _ = ends
    link_of(ours).data[0].lost()
    ours.say(ours.packet(1, 0))
    await settle()
    assert ours.machine.calls == [("state", 1, ChannelState.CLOSED)] * 2
    link_of(ours).control.lost()
    assert ours.machine.calls[-1] == ("state", CONTROL_CHANNEL, ChannelState.CLOSED)
    assert not ours.attempt.outcome.done()


async def test_why_a_connection_ended_is_told_before_its_channels_report_their_ends(
    ends: tuple[End, End],
) -> None:
    ours, _ = ends
    link_of(ours).lose(PeerVanished("the program on the other side is gone", Loss.PEER_GONE))
    assert ours.machine.calls[0] == ("lost", "the program on the other side is gone", Loss.PEER_GONE)
    assert {call[0] for call in ours.machine.calls[1:]} == {"state"}


async def test_a_connection_that_ended_before_anybody_listened_is_noticed_at_the_start(
    network: FakeNetwork,
) -> None:
    host, joiner = await connections(network)
    await host.link.close()
    theirs = End(joiner)
    theirs.attempt.start()
    assert theirs.machine.calls[4] == ("lost", "the other side closed the connection", Loss.CLOSED)
    assert [call[2] for call in theirs.machine.calls if call[0] == "state"] == [ChannelState.OPEN] * 4 + [
        ChannelState.CLOSED
    ] * 4


@pytest.mark.parametrize("method", ["receive", "channel_state", "connection_lost", "handle_timeout"])
async def test_a_machine_that_fails_at_an_input_ends_the_session(
    ends: tuple[End, End], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = ends

    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(theirs.machine, method, broken)
    theirs.machine.timeout = 0.0
    theirs.attempt.wake()
    if method == "receive":
        ours.say(ours.packet(1, 0))
    elif method != "handle_timeout":
        link_of(theirs).lose(PeerVanished("gone"))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(theirs.attempt.outcome, 1)


@pytest.mark.parametrize("heard", [True, False])
async def test_whether_the_peer_was_told_is_known_by_its_transport(
    ends: tuple[End, End], heard: bool
) -> None:
    ours, _ = ends
    link_of(ours).hears_last_words = heard
    failure = DiskFull("/home/me/diary")
    ours.attempt.fail(failure)
    with pytest.raises(DiskFull):
        await ours.attempt.run()
    assert (failure.peer_told, ours.attempt.peer_told) == (heard, heard)


async def test_the_machine_is_called_when_its_time_has_come(ends: tuple[End, End]) -> None:
    ours, _ = ends
    ours.machine.timeout = 0.0  # long ago
    ours.attempt.wake()
    await asyncio.sleep(0.02)
    assert ("timeout",) in ours.machine.calls


async def test_an_error_in_a_turn_ends_the_session(network: FakeNetwork) -> None:
    host, _joiner = await connections(network)

    def broken(_now: float) -> None:
        raise ZeroDivisionError

    end = End(host, broken)
    end.attempt.wake()
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(end.attempt.outcome, 1)


async def test_a_watched_task_that_fails_ends_the_session(ends: tuple[End, End]) -> None:
    ours, _ = ends

    async def fails() -> None:
        raise ZeroDivisionError

    ours.attempt.watch(asyncio.create_task(fails()))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(ours.attempt.outcome, 1)


async def test_nothing_moves_after_stop(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    theirs.attempt.stop()
    theirs.attempt.wake()
    ours.say(ours.packet(1, 0))
    await settle()
    assert theirs.machine.calls == []
    assert theirs.turns == 0
    assert theirs.attempt.outcome.cancelled()


async def test_the_last_words_are_sent_before_the_end(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    ours.machine.outgoing.append([ours.packet(0, 0, b"bye")])
    ours.attempt.finish()
    await asyncio.wait_for(ours.attempt.run(), 1)
    assert ("receive", 0, 0, b"bye") in theirs.received


async def test_a_cancelled_run_cancels_the_machine_and_lets_its_last_words_leave(
    ends: tuple[End, End],
) -> None:
    ours, theirs = ends
    running = asyncio.create_task(ours.attempt.run())
    await settle()
    ours.machine.outgoing.append([ours.packet(0, 0, b"cancel")])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "cancel" in [call[0] for call in ours.machine.calls]
    assert ("receive", 0, 0, b"cancel") in theirs.received


async def test_a_failed_run_tells_the_peer_the_kind_of_failure_and_no_path(ends: tuple[End, End]) -> None:
    ours, _ = ends
    ours.attempt.fail(DiskFull("/home/me/diary"))
    with pytest.raises(DiskFull):
        await ours.attempt.run()
    aborts = [call for call in ours.machine.calls if call[0] == "abort"]
    assert aborts == [("abort", "local-file")]
