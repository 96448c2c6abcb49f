"""A shell in virtual time around both transfer machines: the loop of driving.py over two `Wire`s.

It reads from bytes, writes to bytes through a disk of limited rate, and checks as it goes: every byte is
written exactly once, nothing is sent that is held, kept, or claimed and not wanted, memory stays within its bounds,
nobody sleeps without a deadline, no packet number is used twice.

One `Simulation` is one attempt. `Ends` is what outlives it: pass it on to the next.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import accumulate
from random import Random

from blake3 import blake3

from tallow_cli.errors import PeerVanished, TallowError
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.driving import (
    Accepted,
    ChannelState,
    Failed,
    FileReady,
    FileWithdrawn,
    Finished,
    OfferArrived,
    OutgoingPacket,
    PeerReady,
    PieceDigested,
)
from tallow_cli.transfer.frames import HEADER_BYTES, Data, parse_frames_untrusted, parse_header_untrusted
from tallow_cli.transfer.messages import NOT_PROVEN, Why
from tallow_cli.transfer.options import ReceiveOptions, SendOptions
from tallow_cli.transfer.pieces import SEGMENT_BYTES, Piece, Pieces
from tallow_cli.transfer.receiver import ReceiveMachine, ReceiveState
from tallow_cli.transfer.sender import SendMachine, SendState
from tests.sim.channels import CONTROL, Profile, Wire

TAG = b"t" * 16  # stands for the AEAD tag


@dataclass
class FixedChunks:
    chunk_size: int = 65_536


@dataclass
class Scenario:
    """One simulated transfer. Times in seconds, rates in bytes per second."""

    files: tuple[int, ...] = (200_000,)
    seed: int = 0
    there: Profile = field(default_factory=Profile)
    back: Profile = field(default_factory=Profile)
    channels: int = 3
    chunk_bytes: int = 65_536
    unknown_length: bool = False
    withdrawn: dict[int, int] = field(default_factory=dict)  # file -> bytes of it that can be read
    held: tuple[tuple[int, int], ...] = ()
    kept: tuple[int, ...] = ()  # files that are there and verified
    claims: tuple[tuple[int, int], ...] = ()
    wrong: tuple[tuple[int, int], ...] = ()  # what is on the disk there is something else
    hash_rate: float = 1e9  # of claims, at both ends
    cut_at: float | None = None  # the connection ends
    attempt: int = 0  # another one has another network
    disk_rate: float = 1e9
    read_delay: float = 0.0005
    consent_after: float = 0.1
    deaths: tuple[tuple[float, int], ...] = ()  # (time, channel)
    pauses: tuple[tuple[float, float, int], ...] = ()  # (from, until, channel): nothing of it leaves
    segment_bytes: int = SEGMENT_BYTES
    send: SendOptions = field(default_factory=SendOptions)
    receive: ReceiveOptions = field(default_factory=ReceiveOptions)
    reports_late: bool = False  # an ACK is fed before the departures that caused it are reported
    wakes_at_departures: bool = True  # False: only inputs and timeouts wake the shell, as in asyncio
    give_up_at: float = 600.0


@dataclass
class Ends:
    """What the two processes have beside their connection: the bytes to send, and the disk."""

    content: bytes
    disk: bytearray
    taken: RangeSet  # of the stream: on disk, and known to be right
    claims: RangeSet
    verified: set[int]
    stream_bytes: int = 0  # of a stream of unknown length: read so far

    @classmethod
    def at_first(cls, scenario: Scenario, content: bytes) -> Ends:
        starts = [0, *accumulate(scenario.files)]
        taken = RangeSet((*scenario.held, *((starts[i], starts[i + 1]) for i in scenario.kept)))
        disk = bytearray(len(content))
        for start, end in (*taken, *scenario.claims):
            disk[start:end] = content[start:end]
        for start, end in scenario.wrong:
            disk[start:end] = bytes(255 - byte for byte in content[start:end])
        return cls(content, disk, taken, RangeSet(scenario.claims), set(scenario.kept))


@dataclass
class Outcome:
    seconds: float  # from the first data to the sender's end
    finished_at: float
    sender_error: TallowError | None
    receiver_error: TallowError | None
    data: bytes
    most_retained: int
    most_backlog: int
    most_queued: int
    wakes: int
    sender: SendMachine
    receiver: ReceiveMachine


class Simulation:
    def __init__(self, scenario: Scenario, ends: Ends | None = None) -> None:
        self.scenario = s = scenario
        rng = Random(s.seed)
        content = rng.randbytes(sum(s.files))
        for _ in range(s.attempt):
            rng.random()
        self.ends = ends = ends or Ends.at_first(s, content)
        self.content = ends.content
        self.now = 0.0
        self.there = Wire(s.there, Random(rng.random()))
        self.back = Wire(s.back, Random(rng.random()))
        self.sender = SendMachine(
            channels=s.channels,
            chunk_sizer=FixedChunks(s.chunk_bytes),
            now=0.0,
            options=replace(s.send, segment_bytes=s.segment_bytes),
        )
        self.receiver = ReceiveMachine(
            channels=s.channels, now=0.0, options=replace(s.receive, segment_bytes=s.segment_bytes)
        )
        self.disk, self.on_disk = ends.disk, ends.taken
        self.unsendable = RangeSet()  # the receiver has it, or says so
        self.sent_bytes = 0  # distinct or not
        self.put_bytes = self.refuted_bytes = 0  # written; claimed, and found to be something else
        self._writing: dict[int, memoryview] = {}
        self._numbers: dict[tuple[str, int], int] = {}
        self._untold = RangeSet()  # files that are neither kept nor settled
        self.disk_free_at = 0.0
        self.errors: dict[str, TallowError | None] = {"sender": None, "receiver": None}
        self.finished: dict[str, float] = {}
        self.most_retained = self.most_backlog = 0
        self.wakes = 0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_order = 0
        self._dead: set[int] = set()
        self._starts = [0, *accumulate(s.files)][: len(s.files)]
        self._known = RangeSet()  # read, or not to be read
        for channel in range(s.channels + 1):
            self.sender.channel_state(0.0, channel, ChannelState.OPEN)
            self.receiver.channel_state(0.0, channel, ChannelState.OPEN)
        if s.cut_at is not None:
            self.at(s.cut_at, self._cut)
        for at, channel in s.deaths:
            self.at(at, lambda channel=channel: self._kill(channel))  # type: ignore[misc]
        for start, end, channel in s.pauses:
            self.at(start, lambda channel=channel: self.there.hold(self.now, channel))  # type: ignore[misc]
            self.at(end, lambda channel=channel: self.there.let_go(self.now, channel))  # type: ignore[misc]

    def at(self, time: float, action: Callable[[], None]) -> None:
        self._timer_order += 1
        heapq.heappush(self._timers, (time, self._timer_order, action))

    # The loop -----------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        asleep = False
        while not self._over:
            if not asleep:
                self._drain()
            if self._over:
                break
            self.now = max(self.now, self._next_time())
            assert self.now < self.scenario.give_up_at, f"no end by {self.now:.1f} s: {self._describe()}"
            asleep = not self.scenario.wakes_at_departures and not self._something_due()
            if asleep:
                continue
            self.wakes += 1
            self._feed()
        self._drain()
        self.keep_what_came()
        began = self.sender.figures.first_data_at or self.now
        ended = self.finished.get("sender", self.now)
        return Outcome(
            seconds=ended - began,
            finished_at=self.now,
            sender_error=self.errors["sender"],
            receiver_error=self.errors["receiver"],
            data=bytes(self.disk),
            most_retained=self.most_retained,
            most_backlog=self.most_backlog,
            most_queued=self.there.largest_queue,
            wakes=self.wakes,
            sender=self.sender,
            receiver=self.receiver,
        )

    def run_until(self, until: float) -> bool:
        """Runs as far as that time; returns whether both sides have ended before."""
        self._drain()
        while not self._over:
            at = self._next_time()
            if at > until:
                self.now = max(self.now, until)
                return False
            self.now = max(self.now, at)
            self._feed()
            self._drain()
        return True

    def cut(self) -> None:
        """The connection ends, now, for both sides."""
        self._cut()
        self._drain()

    def keep_what_came(self) -> None:
        """The receiver lives: what has arrived is written."""
        for offset, data in (*self._writing.items(), *self.receiver.remains()):
            self._put(offset, data)
        self._writing.clear()

    @property
    def _over(self) -> bool:
        sides = [name in self.finished or self.errors[name] is not None for name in self.errors]
        return all(sides)

    def _something_due(self) -> bool:
        """Whether anything but a departure happens now."""
        self.there.advance(self.now)
        self.back.advance(self.now)
        deadlines = [
            self._timers[0][0] if self._timers else None,
            self.there.next_arrival(),
            self.back.next_arrival(),
            self.sender.next_timeout(),
            self.receiver.next_timeout(),
        ]
        return any(deadline is not None and deadline <= self.now for deadline in deadlines)

    def _next_time(self) -> float:
        times = [
            self._timers[0][0] if self._timers else None,
            self.there.next_timeout(),
            self.back.next_timeout(),
            self.sender.next_timeout(),
            self.receiver.next_timeout(),
        ]
        return min(time for time in times if time is not None)

    def _feed(self) -> None:
        now = self.now
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        arrived = self.there.receive(now)  # also moves the local queue
        if not self.scenario.reports_late:
            self._report_departures()
        for channel, message in arrived:
            self._receive(self.receiver, channel, message)
        for channel, message in self.back.receive(now):
            self._receive(self.sender, channel, message)
        for machine in (self.sender, self.receiver):
            deadline = machine.next_timeout()
            if deadline is not None and deadline <= now:
                machine.handle_timeout(now)
        self._report_departures()

    def _receive(self, machine: SendMachine | ReceiveMachine, channel: int, message: bytes) -> None:
        header = parse_header_untrusted(message)
        assert header.channel == channel
        machine.receive(self.now, channel, header.number, memoryview(message)[HEADER_BYTES : -len(TAG)])

    def _drain(self) -> None:
        self._drain_sender()
        self._drain_receiver()
        self.most_retained = max(self.most_retained, self.sender.figures.retained_bytes)
        self.most_backlog = max(self.most_backlog, self.receiver.figures.backlog_bytes)

    # The sender's shell ---------------------------------------------------------------------------------------

    def _drain_sender(self) -> None:
        for event in self.sender.events():
            match event:
                case Failed(error):
                    self.errors["sender"] = error
                case Finished():
                    self.finished["sender"] = self.now
                case PeerReady():
                    ends = None if self.scenario.unknown_length else list(accumulate(self.scenario.files))
                    self.sender.offer(self.now, b"manifest", ends, self.ends.stream_bytes)
                case Accepted(_, claims, kept):
                    self._accepted(claims, kept)
        while (request := self.sender.next_read(self.now)) is not None:
            offset, size = request
            self.at(self.now + self.scenario.read_delay, lambda o=offset, n=size: self._read(o, n))  # type: ignore[misc]
        while packets := self.sender.packets(self.now):
            for packet in packets:
                self._hand_over(self.there, packet)
            self._report_departures()

    def _accepted(self, claims: Pieces, kept: RangeSet) -> None:
        """Begin to hash what is there already. After a reconnect the files that will not come are known."""
        files = len(self.scenario.files)
        self._untold = RangeSet(gap for gap in kept.gaps(0, files))
        for start, end in (
            *self.on_disk,
            *((0, self.ends.stream_bytes) for _ in range(1) if self.ends.stream_bytes),
        ):
            self._known.add(start, end)
        if self.scenario.attempt:
            for index in self.scenario.withdrawn:
                if index in self._untold:
                    self._withdraw(index)
        at = self.now
        for index, piece in enumerate(claims):
            at += piece.size / self.scenario.hash_rate
            self.at(at, lambda i=index, p=piece: self._hash(i, p))  # type: ignore[misc]
        self._give_digests()

    def _hash(self, index: int, piece: Piece) -> None:
        """The sender has read a piece, unless it cannot, or its file is gone by now."""
        if self.sender.state not in (SendState.SENDING, SendState.COMPLETING):
            return
        file = bisect_right(self._starts, piece.start) - 1
        readable = self.scenario.withdrawn.get(file)
        digest = NOT_PROVEN
        if file in self._untold and (readable is None or piece.end <= self._starts[file] + readable):
            digest = blake3(self.content[piece.start : piece.end]).digest()
        elif file in self._untold:
            self._withdraw(file)
        self.sender.piece_digests(self.now, index, [digest])
        self._known.add(*piece)
        self._give_digests()

    def _withdraw(self, index: int) -> None:
        start, size = self._starts[index], self.scenario.files[index]
        self.sender.withdraw(self.now, index, start, start + size, Why.CHANGED)
        self._known.add(start, start + size)
        self._untold.remove(index, index + 1)

    def _read(self, offset: int, size: int) -> None:
        data = self.content[offset : offset + size]
        self.sender.chunk_read(self.now, offset, data)
        if self.scenario.unknown_length:
            self.ends.stream_bytes = max(self.ends.stream_bytes, offset + len(data))
        self._known.add(offset, offset + len(data))
        self._give_digests()

    def _give_digests(self) -> None:
        """Settle every file whose turn it is, as a source does: in order, and none before it is read."""
        while self._untold:
            first, _ = next(iter(self._untold))
            start, size = self._starts[first], self.scenario.files[first]
            readable = self.scenario.withdrawn.get(first, size)
            if not self._known.covers(start, start + readable):
                break
            if first in self.scenario.withdrawn:
                self._withdraw(first)
            else:
                self.sender.digests(self.now, first, [blake3(self.content[start : start + size]).digest()])
                self._untold.remove(first, first + 1)

    def _report_departures(self) -> None:
        for channel in range(1, self.scenario.channels + 1):
            if channel not in self._dead:
                self.sender.buffered(self.now, channel, self.there.buffered(channel))

    def _cut(self) -> None:
        for machine in (self.sender, self.receiver):
            machine.connection_lost(self.now, PeerVanished("cut"))

    def _kill(self, channel: int) -> None:
        self._dead.add(channel)
        for wire, machine in ((self.there, self.sender), (self.back, self.receiver)):
            wire.kill(channel)
            machine.channel_state(self.now, channel, ChannelState.CLOSED)

    # The receiver's shell -------------------------------------------------------------------------------------

    def _drain_receiver(self) -> None:
        for event in self.receiver.events():
            match event:
                case OfferArrived(manifest):
                    assert manifest == b"manifest"
                    self.at(self.now + self.scenario.consent_after, self._accept)
                case FileReady(index, digest):
                    start = sum(self.scenario.files[:index])
                    data = self.disk[start : start + self.scenario.files[index]]
                    assert blake3(data).digest() == digest, f"file {index} is not whole"
                    self.at(self.now + 0.001, lambda i=index: self._verified(i))  # type: ignore[misc]
                case PieceDigested(index, start, end, digest):
                    took = (end - start) / self.scenario.hash_rate
                    self.at(self.now + took, lambda i=index, d=digest: self._prove(i, d))  # type: ignore[misc]
                case FileWithdrawn(index, why):
                    assert index in self.scenario.withdrawn
                    assert why is Why.CHANGED
                    self.at(self.now + 0.001, lambda i=index: self.receiver.file_dropped(self.now, i))  # type: ignore[misc]
                case Failed(error):
                    self.errors["receiver"] = error
                case Finished():
                    self.finished["receiver"] = self.now
        for offset, data in self.receiver.writes() if self.disk_free_at <= self.now else ():
            self.disk_free_at = max(self.disk_free_at, self.now) + len(data) / self.scenario.disk_rate
            self._writing[offset] = data
            self.at(self.disk_free_at, lambda o=offset, d=data: self._write(o, d))  # type: ignore[misc]
        while packets := self.receiver.packets(self.now):
            for packet in packets:
                self._hand_over(self.back, packet)

    def _accept(self) -> None:
        ends = None if self.scenario.unknown_length else list(accumulate(self.scenario.files))
        kept = RangeSet((index, index + 1) for index in self.ends.verified if ends is not None)
        held, claims = RangeSet(self.on_disk), RangeSet(self.ends.claims)
        self.receiver.accept(self.now, ends, held, kept, claims)
        self.unsendable = RangeSet((*held, *self.receiver.claims))

    def _prove(self, index: int, digest: bytes) -> None:
        if self.receiver.state is ReceiveState.FAILED:
            return
        piece = self.receiver.claims[index]
        self.ends.claims.remove(*piece)
        if blake3(self.disk[piece.start : piece.end]).digest() == digest:
            self.on_disk.add(*piece)
            self.receiver.piece_proved(self.now, index)
        else:
            self.unsendable.remove(*piece)
            self.refuted_bytes += piece.size
            self.receiver.piece_refuted(self.now, index)

    def _verified(self, index: int) -> None:
        self.ends.verified.add(index)
        self.receiver.file_verified(self.now, index)

    def _write(self, offset: int, data: memoryview) -> None:
        del self._writing[offset]
        self._put(offset, data)
        self.receiver.written(self.now, offset, len(data))

    def _put(self, offset: int, data: memoryview) -> None:
        end = offset + len(data)
        assert self.on_disk.add(offset, end) == len(data), f"bytes of {offset}..{end} were written twice"
        self.disk[offset:end] = data
        self.put_bytes += len(data)

    def _hand_over(self, wire: Wire, packet: OutgoingPacket) -> None:
        way = ("there" if wire is self.there else "back", packet.channel)
        assert packet.number == self._numbers.get(way, 0), (
            f"a packet number used twice, or left out, on {way}"
        )
        self._numbers[way] = packet.number + 1
        if wire is self.there and packet.channel != CONTROL:
            self._check_sent(packet)
        message = b"".join((packet.header, packet.payload, TAG))
        limit = self.scenario.send.max_message_bytes
        assert len(message) <= limit, f"a message of {len(message)} bytes"
        wire.send(self.now, packet.channel, message)

    def _check_sent(self, packet: OutgoingPacket) -> None:
        for frame in parse_frames_untrusted(packet.payload):
            if isinstance(frame, Data):
                start, end = frame.offset, frame.offset + len(frame.data)
                assert self.unsendable.gaps(start, end) == [(start, end)], (
                    f"{start}..{end} is sent, and was there"
                )
                self.sent_bytes += end - start

    def _describe(self) -> str:
        return (
            f"seed {self.scenario.seed}, sender {self.sender.state.value} {self.sender.figures}, "
            f"receiver {self.receiver.state.value} {self.receiver.figures}, control {CONTROL}"
        )


def simulate(scenario: Scenario) -> Outcome:
    """Runs it to the end of both machines; checks what must hold in every run."""
    simulation = Simulation(scenario)
    outcome = simulation.run()
    assert outcome.most_retained <= scenario.send.memory_bytes, f"seed {scenario.seed}"
    assert outcome.most_backlog <= scenario.receive.window_bytes, f"seed {scenario.seed}"
    return outcome


def simulate_success(scenario: Scenario) -> Outcome:
    """As `simulate`; the transfer must succeed and every byte be where it belongs."""
    simulation = Simulation(scenario)
    outcome = simulation.run()
    check_success(simulation, outcome)
    return outcome


def check_success(simulation: Simulation, outcome: Outcome) -> None:
    scenario = simulation.scenario
    about = f"seed {scenario.seed}"
    assert outcome.sender_error is None, about
    assert outcome.receiver_error is None, about
    start = 0
    for index, size in enumerate(scenario.files):
        if index not in scenario.withdrawn:
            assert outcome.data[start : start + size] == simulation.content[start : start + size], about
            assert simulation.on_disk.covers(start, start + size), about
        start += size
    assert outcome.most_retained <= scenario.send.memory_bytes, about
    assert outcome.most_backlog <= scenario.receive.window_bytes, about
