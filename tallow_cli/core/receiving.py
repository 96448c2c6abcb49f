"""The receiver of a transfer, as a state machine. The driver contract stands in driving.py.

WAITING_OFFER ──Offer──▶ OFFERED ──accept()──▶ RECEIVING ──every byte written──▶ VERIFYING
                            │ refuse()                                               │ every file verified
                            ▼                                                        ▼ (Complete is sent)
                         FAILED ◀── Cancel, Failed, broken protocol, silence     REPORTED ──Bye──▶ DONE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tallow_cli.core.driving import (
    ChannelCounters,
    ChannelState,
    OutgoingPacket,
    ReceiveEvent,
    ReceiveFigures,
)


class ReceiveState(Enum):
    WAITING_OFFER = "waiting-offer"
    OFFERED = "offered"
    RECEIVING = "receiving"
    VERIFYING = "verifying"
    REPORTED = "reported"  # all is published and the sender is being told
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReceiveOptions:
    sealed: bool = True
    max_message_bytes: int = 262_144
    window_bytes: int = 32 * 1024 * 1024  # bound of data received and not yet written
    max_manifest_bytes: int = 32 * 1024 * 1024
    idle_timeout_s: float = 30.0
    bye_timeout_s: float = 5.0  # how long to wait for the sender's goodbye once everything is published


class ReceiveMachine:
    """Receives one manifest and one byte stream over `channels` data channels and a control channel."""

    def __init__(self, *, channels: int, now: float, options: ReceiveOptions | None = None) -> None:
        raise NotImplementedError

    @property
    def state(self) -> ReceiveState:
        raise NotImplementedError

    @property
    def figures(self) -> ReceiveFigures:
        raise NotImplementedError

    @property
    def counters(self) -> Mapping[int, ChannelCounters]:
        raise NotImplementedError

    def channel_state(self, now: float, channel: int, state: ChannelState) -> None:
        raise NotImplementedError

    def receive(self, now: float, channel: int, number: int, payload: bytes | memoryview) -> None:
        """A packet's plaintext. The machine keeps views of `payload` until `writes` has given them out."""
        raise NotImplementedError

    def accept(
        self, now: float, file_ends: Sequence[int] | None, held: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Agree to the offer.

        `file_ends` has the stream offset at which each FILE entry of the manifest ends, in order (an empty file
        ends where it begins); the last is the length of the stream. None: one file of unknown length.
        `held` are half-open ranges of the stream already on disk: they will not be sent, nor come in `writes`.
        """
        raise NotImplementedError

    def refuse(self, now: float, reason: str) -> None:
        """Decline the offer; `reason` is shown to the sender's user. State becomes FAILED, without an event."""
        raise NotImplementedError

    def writes(self) -> list[tuple[int, memoryview]]:
        """(offset, data) to write, each byte of the stream exactly once, in order of arrival."""
        raise NotImplementedError

    def written(self, now: float, offset: int, size: int) -> None:
        """A range `writes` gave has been written (a sink that must write in order reports it only then)."""
        raise NotImplementedError

    def file_verified(self, now: float, index: int) -> None:
        """The file of a `FileReady` is verified, synced and published. After the last one the sender is told."""
        raise NotImplementedError

    def cancel(self, now: float) -> None:
        raise NotImplementedError

    def abort(self, now: float, kind: str, sentence: str) -> None:
        """This side cannot go on (disk full, digest mismatch). `sentence` is shown to the peer's user."""
        raise NotImplementedError

    def events(self) -> list[ReceiveEvent]:
        raise NotImplementedError

    def packets(self, now: float) -> list[OutgoingPacket]:
        raise NotImplementedError

    def next_timeout(self) -> float | None:
        raise NotImplementedError

    def handle_timeout(self, now: float) -> None:
        raise NotImplementedError
