"""One connection of a transfer: its machine and its channels, in the shell that transfer.driving's contract asks for.

A transfer outlives its connections; an `Attempt` is one of them, with a machine, keys and packet numbers of its own.
Inputs (messages, drained channels, finished reads and writes) call `wake`, which runs one turn soon: however many came
meanwhile, a turn drains everything once. Packets are opened and sealed here, on the event loop: a 64 KiB packet costs
about as much as a thread switch would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Final, Protocol

from tallow_cli.errors import PeerProtocolError, PeerVanished, TallowError
from tallow_cli.session.connection import Connection
from tallow_cli.session.events import ChannelStats
from tallow_cli.session.words import for_the_peer, kind_for_the_peer
from tallow_cli.transfer.channel import Channel
from tallow_cli.transfer.driving import CONTROL_CHANNEL, ChannelState, OutgoingPacket
from tallow_cli.transfer.frames import HEADER_BYTES, parse_header_untrusted

_GOODBYE_S = 2.0  # for the last words to leave a slow link


class Machine(Protocol):
    """What SendMachine and ReceiveMachine have in common."""

    def channel_state(self, now: float, channel: int, state: ChannelState) -> None: ...
    def connection_lost(self, now: float, error: PeerVanished) -> None: ...
    def buffered(self, now: float, channel: int, size_bytes: int) -> None: ...
    def receive(self, now: float, channel: int, number: int, payload: bytes | memoryview) -> None: ...
    def protocol_broken(self, now: float, error: PeerProtocolError) -> None: ...
    def packets(self, now: float) -> list[OutgoingPacket]: ...
    def next_timeout(self) -> float | None: ...
    def handle_timeout(self, now: float) -> None: ...
    def cancel(self, now: float) -> None: ...
    def abort(self, now: float, kind: str, sentence: str) -> None: ...
    @property
    def channels(self) -> Mapping[int, Channel]: ...


class Attempt:
    """Drives `machine` over `connection` until `finish` or `fail` is called; `outcome` is the awaitable end.

    `on_turn(now)` drains the machine's own outputs (events, reads, writes) and may feed it; it is called in every
    turn, before packets are taken. All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        machine: Machine,
        connection: Connection,
        on_turn: Callable[[float], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.connection: Final = connection
        self._machine = machine
        self._channels = (connection.control, *connection.data)
        self._data = tuple(enumerate(connection.data, start=1))
        self._seal = connection.sealer.seal_packet
        self._open = connection.opener.open
        self._on_turn = on_turn
        self._is_silent = False  # the path is lost, and the other side is not told that this is the end
        self._turn_due = False
        self._timer: asyncio.TimerHandle | None = None
        self.outcome: Final[asyncio.Future[None]] = self._loop.create_future()
        self.peer_told: bool | None = None  # after `run`: whether the last words are known to have arrived
        for index, channel in enumerate(self._channels):
            channel.on_message = partial(self._received, index)
            channel.on_close = partial(self._closed, index)
        for channel in connection.data:
            channel.on_low = self.wake  # a turn begins with a report of what is buffered
        connection.link.on_lost = self._lost

    def start(self) -> None:
        """Tell the machine that its channels are open, and what happened before anybody listened; take a turn."""
        now = monotonic()
        for index in range(len(self._channels)):
            self._machine.channel_state(now, index, ChannelState.OPEN)
        for message in self.connection.early:
            self._received(CONTROL_CHANNEL, message)
        lost = self.connection.link.lost
        if lost is not None:
            self._lost(lost)
        for index, channel in enumerate(self._channels):
            if channel.state != "open":
                self._closed(index)
        self.wake()

    def wake(self) -> None:
        """Take a turn soon. Cheap to call again and again."""
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def finish(self) -> None:
        """The transfer is over as it should be."""
        if not self.outcome.done():
            self.outcome.set_result(None)

    def fail(self, error: BaseException) -> None:
        """The transfer is over; `outcome` raises `error`."""
        if not self.outcome.done():
            self._is_silent = self.connection.goes_on_after(error)
            self.outcome.set_exception(error)

    def watch(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """`task`, whose failure is the transfer's: nobody awaits it."""

        def ended(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self.fail(error)

        task.add_done_callback(ended)
        return task

    async def run(self) -> None:
        """Drive the machine to its end, and let its last words leave.

        Raises what `fail` was given. The peer is told why, of a cancellation too; `peer_told`, here and of a
        TallowError raised, says whether that has arrived.
        """
        failure: TallowError | None = None
        try:
            self.start()
            await self.outcome
        except asyncio.CancelledError:
            self._machine.cancel(monotonic())
            raise
        except Exception as error:
            failure = error if isinstance(error, TallowError) else None
            self._machine.abort(monotonic(), kind_for_the_peer(error), for_the_peer(error))
            raise
        finally:
            self._turn()
            if not self._is_silent:
                self.peer_told = await self.connection.link.say_last(_GOODBYE_S)
            if failure is not None:
                failure.peer_told = self.peer_told

    def channel_stats(self) -> tuple[ChannelStats, ...]:
        """The data channels as they are now, for people."""
        records = self._machine.channels
        return tuple(ChannelStats.of(channel.label, records[index]) for index, channel in self._data)

    def stop(self) -> None:
        """Take no more turns and let go of the channels' callbacks."""
        self._turn_due = True
        if self._timer is not None:
            self._timer.cancel()
        for channel in self._channels:
            channel.on_message = channel.on_low = channel.on_close = None
        self.connection.link.on_lost = None
        if not self.outcome.done():
            self.outcome.cancel()

    # Inputs. Callbacks of channels and loop: an error left to them would be unheard, and the session would hang.

    def _received(self, channel: int, message: bytes) -> None:
        if self.outcome.done():
            return
        try:
            header = parse_header_untrusted(message)
            if header.channel != channel:
                raise PeerProtocolError(f"a packet of channel {header.channel} on channel {channel}")
            view = memoryview(message)
            payload = self._open(channel, header.number, view[:HEADER_BYTES], view[HEADER_BYTES:])
            self._machine.receive(monotonic(), channel, header.number, payload)
        except PeerProtocolError as error:
            self._machine.protocol_broken(monotonic(), error)
        except Exception as error:  # noqa: BLE001 - see above
            self.fail(error)
        self.wake()

    def _closed(self, channel: int) -> None:
        try:
            self._machine.channel_state(monotonic(), channel, ChannelState.CLOSED)
        except Exception as error:  # noqa: BLE001 - see above
            self.fail(error)
        self.wake()

    def _lost(self, error: PeerVanished) -> None:
        """The connection is gone; its channels report their own ends after this."""
        try:
            self._machine.connection_lost(monotonic(), error)
        except Exception as failure:  # noqa: BLE001 - see above
            self.fail(failure)
        self.wake()

    def _timed_out(self) -> None:
        self._timer = None
        try:
            self._machine.handle_timeout(monotonic())
        except Exception as error:  # noqa: BLE001 - see above
            self.fail(error)
        self._turn()

    # One turn

    def _turn(self) -> None:
        self._turn_due = False
        now = monotonic()
        try:
            for index, channel in self._data:
                self._machine.buffered(now, index, channel.buffered_amount)
            self._on_turn(now)
            if self._is_silent:
                return
            packets = self._machine.packets(now)
            for packet in packets:
                self._send(now, packet)
            if packets:
                self.wake()  # there may be more; the network gets its turn first
        except Exception as error:  # noqa: BLE001 - a callback of the loop: unheard, it would leave a session that hangs
            self.fail(error)
        self._arm(now)

    def _send(self, now: float, packet: OutgoingPacket) -> None:
        message = self._seal(packet.channel, packet.number, packet.header, packet.payload)
        try:
            self._channels[packet.channel].send(message)
        except PeerVanished:
            self._machine.channel_state(now, packet.channel, ChannelState.CLOSED)

    def _arm(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._machine.next_timeout()
        if due is not None and not self.outcome.done():
            # uvloop's own clock counts whole milliseconds, too coarse to measure a LAN by; only its timers are used.
            self._timer = self._loop.call_later(max(0.0, due - now), self._timed_out)
