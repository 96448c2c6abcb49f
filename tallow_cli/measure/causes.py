"""What a transfer's time goes to: the causes, by name and by their number on the wire (docs/spec/transfer.md)."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final


class Cause(StrEnum):
    """What the transfer waited for at a moment. Exactly one at every moment."""

    NETWORK_CAPACITY = "network-capacity"
    NETWORK_DELAY = "network-delay"
    NETWORK_LOSS = "network-loss"
    SENDER_DISK = "sender-disk"
    SENDER_INPUT = "sender-input"  # whoever writes to the sender's standard input
    SENDER_CPU = "sender-cpu"
    RECEIVER_CPU = "receiver-cpu"
    RECEIVER_DISK = "receiver-disk"
    RECEIVER_OUTPUT = "receiver-output"  # whoever reads the receiver's standard output
    SENDER_LIMIT = "sender-limit"
    RECEIVER_LIMIT = "receiver-limit"
    BUFFERS = "buffers"  # as much is on its way as may be, and neither end nor the path is why
    RELAY = "relay"
    MEMORY = "memory"
    PERSON = "person"
    PEER_SILENT = "peer-silent"
    VERIFYING = "verifying"
    NOTHING = "nothing"

    @property
    def number(self) -> int:
        """On the wire, from 1."""
        return _NUMBERS[self]


# The order above is the wire's: a new cause goes to the end.
_NUMBERS: Final = {cause: number for number, cause in enumerate(Cause, 1)}
BY_NUMBER: Final = {number: cause for cause, number in _NUMBERS.items()}


class Stop(Enum):
    """What stopped the sender's scheduler at the end of a turn, as far as it can see. Why it was so, the workers, the
    path and the receiver know: `diagnosis` asks them."""

    NOT_STOPPED = "there was more to send"
    DATA = "nothing was read yet"
    CREDIT = "the receiver takes no more"
    LIMIT = "--limit"
    IN_FLIGHT = "as much is on its way as may be"
    QUEUE = "what was handed over has not left"
    PAUSED = "every channel is paused"
    ALL_SENT = "everything was sent, and not yet acknowledged"
    ALL_ACKNOWLEDGED = "everything was acknowledged"
