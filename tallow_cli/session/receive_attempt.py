"""One connection of a receiver's transfer: its machine, fed from the channels, and what of it the transfer is told."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from tallow_cli.errors import SLIPS, TallowError
from tallow_cli.ranges import RangeSet
from tallow_cli.session.attempt import Attempt
from tallow_cli.session.connection import Connection
from tallow_cli.session.end_use import memory_fraction
from tallow_cli.session.events import ChannelStats, LastWords, Notice
from tallow_cli.session.landing import Report
from tallow_cli.session.meter import Sample
from tallow_cli.session.verdicts import UseTeller, silent
from tallow_cli.session.words import for_the_peer, kind_for_the_peer
from tallow_cli.transfer.driving import (
    Failed,
    FileReady,
    FileWithdrawn,
    Finished,
    OfferArrived,
    PieceDigested,
    Reported,
)
from tallow_cli.transfer.options import ReceiveOptions
from tallow_cli.transfer.receiver import ReceiveMachine, ReceiverEvent

if TYPE_CHECKING:
    from tallow_cli.session.receiving import ReceiveTransfer


class ReceiveAttempt:
    """One connection of a ReceiveTransfer. Use once: `await run()`."""

    def __init__(self, transfer: ReceiveTransfer, connection: Connection) -> None:
        self._transfer = transfer
        self._connection = connection
        self._is_accepted = False
        self._is_endless = False  # a stream, whose length nobody knows
        self._deciding: asyncio.Task[None] | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None  # that everything arrived and is verified
        self._is_told = False
        self._use_teller = UseTeller()
        self._machine = ReceiveMachine(
            channels=len(connection.data),
            now=monotonic(),
            options=ReceiveOptions(
                sealed=connection.sealed,
                max_message_bytes=connection.max_message_bytes,
                idle_timeout_s=transfer.settings.waits.idle_s,
                names=transfer.settings.names,
            ),
        )
        self._attempt = Attempt(self._machine, connection, self._on_turn)
        self.fail, self.outcome = self._attempt.fail, self._attempt.outcome

    def channel_stats(self) -> tuple[ChannelStats, ...]:
        return self._attempt.channel_stats()

    async def run(self) -> None:
        """Return once the transfer is done and the sender knows, or cannot be told. Raises what ended it."""
        self._ticker = self._attempt.watch(asyncio.create_task(self._tick()))
        try:
            await self._attempt.run()
        except asyncio.CancelledError:
            if self._transfer.done is None:
                self._transfer.emit(LastWords(heard=bool(self._attempt.peer_told)))
            raise
        finally:
            for task in (self._ticker, self._telling):
                if task is not None:
                    task.cancel()
            self._attempt.stop()
            if self._deciding is not None:
                self._deciding.cancel()
                await asyncio.wait([self._deciding])

    # A turn of the shell

    def _on_turn(self, now: float) -> None:
        for event in self._machine.events():
            self._handle(event)
        if self._is_endless and not self._attempt.outcome.done():
            self._transfer.check_size(self._machine.received_bytes)
        if self._is_accepted and self._transfer.disk is not None:
            self._transfer.disk.feed(self._machine)

    def _handle(self, event: ReceiverEvent | Failed) -> None:
        match event:
            case OfferArrived(manifest=encoded):
                self._deciding = asyncio.create_task(self._consider(encoded))
            case PieceDigested() if self._transfer.disk is not None:
                self._transfer.disk.piece_digested(event)
            case FileReady() if self._transfer.disk is not None:
                self._transfer.disk.file_ready(event)
            case FileWithdrawn() if self._transfer.disk is not None:
                if event.index in self._transfer.disk.dropped:
                    self._machine.file_dropped(monotonic(), event.index)
                else:
                    self._transfer.disk.file_withdrawn(event)
            case Reported():
                self._succeeded()
            case Finished():
                self._attempt.finish()
            case Failed(error=error):
                self._attempt.fail(error)

    async def _consider(self, encoded: bytes) -> None:
        """Accept or refuse."""
        try:
            manifest = await self._transfer.consider(encoded)
            held, kept = await self._transfer.already_here()
        except TallowError as error:
            kind = kind_for_the_peer(error)
            self._machine.refuse(monotonic(), kind, for_the_peer(error).removesuffix("."))
            if kind in SLIPS:
                self._transfer.emit(Notice("The sender goes on waiting: run this again, with the same code."))
            self._attempt.fail(error)
            return
        except Exception as error:  # noqa: BLE001 - a task nobody awaits hands every error on
            self._attempt.fail(error)
            return
        now = monotonic()
        self._is_endless = manifest.total_bytes is None
        self._is_accepted = True
        self._transfer.accepted(now)
        ends = None if manifest.kind == "stream" else [span.end for span in manifest.file_spans]
        disk = self._transfer.disk
        if disk is not None and manifest.kind == "files":
            self._machine.accept(now, ends, held, kept, RangeSet(disk.claims))
            disk.unclaim(self._machine.claims)
        else:
            self._machine.accept(now, ends, held, kept)
        self._attempt.wake()

    def _succeeded(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        if self._transfer.done is None:
            self._transfer.succeeded(self._sample())
        self._telling = self._attempt.watch(asyncio.create_task(self._deliver_report()))

    async def _deliver_report(self) -> None:
        await asyncio.sleep(0)  # the turn that we are in hands it over first
        if await self._connection.link.drain(None):
            self._is_told = True
            self._machine.report_delivered(monotonic())
            self._attempt.wake()

    # The disk

    @property
    def owes_report(self) -> bool:
        """Whether the path was lost before the sender knew that all is done."""
        lost = self._machine.parted_by
        return lost is not None and not self._is_told and self._connection.goes_on_after(lost)

    def hand_over(self) -> None:
        """The connection has ended; what came over it is for the transfer."""
        if self._is_accepted and self._transfer.disk is not None:
            self._transfer.disk.take_over(self._machine)

    def take_report(self, report: Report) -> None:
        """What the disk has done of what came over this connection."""
        if not self._is_accepted:  # that came over the one before
            return
        now = monotonic()
        for offset, size in report.written:
            self._machine.written(now, offset, size)
        for piece in report.proved:
            self._machine.piece_proved(now, piece.index)
        for piece in report.refuted:
            self._machine.piece_refuted(now, piece.index)
        for gone in report.dropped:
            self._machine.file_dropped(now, gone.index)
        for file in report.published:
            self._machine.file_verified(now, file.file_index)
        self._attempt.wake()

    # What people see

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._transfer.settings.pace.tick_s)
            if self._is_accepted and self._transfer.meter is not None and self._transfer.disk is not None:
                self._transfer.disk.publish_due()
                self._tell_use(monotonic())
                self._transfer.meter.tick(monotonic(), self._sample(), self._attempt.channel_stats())

    def _tell_use(self, now: float) -> None:
        if self._transfer.use is None:
            return
        use = self._transfer.use.look(now, memory_fraction())
        if self._use_teller.is_due(use):
            self._machine.report_use(now, use)
            self._attempt.wake()

    def _sample(self) -> Sample:
        figures, disk = self._machine.figures, self._transfer.disk
        return Sample(
            bytes_done=figures.bytes_written,
            unproven_bytes=figures.unproven_bytes,
            path=figures.path,
            files_done=0 if disk is None else disk.files_verified,
            silence_s=self._connection.link.silence_s,
            verdict=silent(self._connection.link.silence_s) or figures.verdict,
            whole_verdict=figures.whole_verdict,
        )
