"""They met, and it came to nothing: no path (6), a refusal (7), a lost connection (8), what cannot be believed (9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from tallow_cli.errors.base import RETRYABLE_CODES, ExitCode, TallowError, heard, seconds_text


class NoPathError(TallowError):
    """`detail`: what was found, in words. `findings`: the same for programs; see `link.no_path`."""

    exit_code = ExitCode.NO_PATH
    retryable = True

    def __init__(
        self,
        detail: str,
        *,
        advice: str = "Try another network.",
        findings: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"No network path between the two machines was found ({detail}). {advice}")
        self.detail = detail
        self.findings = findings


class NoRelay(NoPathError):
    """`--relay-only`, and there is none. `why`: what the relays that were asked have said, one part each."""

    def __init__(self, why: Sequence[str] = ()) -> None:
        problem = "; ".join(why) or "the signaling server names none"
        super(NoPathError, self).__init__(
            f"--relay-only needs a relay, and there is none to use ({problem}). Name one by --ice-server turn:HOST, or "
            "a server that was started with --relay or --turn."
        )
        self.why = tuple(why)


class NoNetwork(NoPathError):
    """No interface of this machine has an address, or not the one that leads to itself (`only_loopback`)."""

    def __init__(self, *, only_loopback: bool = False) -> None:
        problem = "This machine has no network: none of its interfaces has an address. Connect it"
        if only_loopback:
            problem = "This machine cannot reach itself: loopback is down. Set it up (`ip link set lo up`)"
        super(NoPathError, self).__init__(f"{problem} and run the command again.")


class RefusedError(TallowError):
    exit_code = ExitCode.REFUSED


# What a receiver that takes nothing may end with and come again after: its options or its disk are amiss, and nobody
# said no.
SLIPS = frozenset({ExitCode.USAGE.kind, ExitCode.LOCAL_FILE.kind})


class PeerRefused(RefusedError):
    """The receiver does not take what is offered. `kind` is the name of the exit code it ends with itself."""

    def __init__(self, reason: str, kind: str = ExitCode.REFUSED.kind) -> None:
        super().__init__(f"The other side refused: {reason}.")
        self.reason = reason
        self.kind_there = kind

    @property
    def can_be_mended_there(self) -> bool:
        """Whether it was a slip (an option, a name, the disk) and not a person's no."""
        return self.kind_there in SLIPS


class PeerCancelled(RefusedError):
    def __init__(self) -> None:
        super().__init__("The other side cancelled the transfer.")


class Declined(RefusedError):
    """The person here said no."""

    def __init__(self) -> None:
        super().__init__("Declined; nothing was received")

    @property
    def sentence(self) -> str:
        return f"{self}, and the sender {heard(self.peer_told)}."


class TooLarge(RefusedError):
    """More is offered, or comes, than the user here allows. `offered_bytes` None: a stream of unknown length."""

    def __init__(self, limit_bytes: int, offered_bytes: int | None) -> None:
        super().__init__(
            f"The stream is longer than the {limit_bytes:,} bytes that --max-size allows, so it was stopped."
            if offered_bytes is None
            else f"{offered_bytes:,} bytes are offered, and --max-size allows {limit_bytes:,}, so nothing was received."
        )
        self.limit_bytes = limit_bytes
        self.offered_bytes = offered_bytes


class BrokenOffError(TallowError):
    exit_code = ExitCode.BROKEN_OFF
    retryable = True


class Loss(StrEnum):
    """In which way a connection ended, as far as this side can tell. None of them says that the other side will not be
    back: one that looks for a new path closes its end of the old one, or leaves a closed port behind.
    """

    SILENT = "silent"  # nothing is heard of it
    PATH_GONE = "path-gone"  # the address of this machine that it began at is not there any more
    PEER_GONE = "peer-gone"  # its system says that nobody listens there any more
    CLOSED = "closed"  # it said so


class PeerVanished(BrokenOffError):
    def __init__(self, detail: str, loss: Loss = Loss.SILENT) -> None:
        super().__init__(f"The connection to the other side was lost ({detail}). Run both commands again.")
        self.detail = detail
        self.loss = loss


class ReportMissing(PeerVanished):
    """The sender's: the receiver has acknowledged everything, but never said that it is verified and published."""

    def __init__(self, detail: str, loss: Loss = Loss.SILENT) -> None:
        super(PeerVanished, self).__init__(
            f"The connection to the other side was lost ({detail}) when everything had arrived there, but before it "
            "said that all of it was verified. See what it says there before you run both commands again."
        )
        self.detail = detail
        self.loss = loss


class TransferStalled(BrokenOffError):
    def __init__(self, what: str, waited_s: float) -> None:
        super().__init__(
            f"Nothing moved for {seconds_text(waited_s)} s while {what}. Check the network and run both commands again."
        )
        self.waited_s = waited_s


class NoAnswer(BrokenOffError):
    """A person was asked, and did not answer in time: nothing is wrong with the network."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(
            f"The receiver did not answer the offer within {seconds_text(waited_s)} s. "
            "Run both commands again, or wait longer with --timeout."
        )
        self.waited_s = waited_s


class PeerFailed(BrokenOffError):
    """The other side met an error of its own and said so.

    `peer_kind` is the name of the exit code it ends with, as it says; untrusted text. `retryable` follows it: a full
    disk there stays full.
    """

    def __init__(self, reason: str, peer_kind: str) -> None:
        super().__init__(f"The other side had to stop: {reason}")
        self.reason = reason
        self.peer_kind = peer_kind
        self.retryable = any(peer_kind == code.kind for code in RETRYABLE_CODES)


class IntegrityError(TallowError):
    exit_code = ExitCode.INTEGRITY


class DigestMismatch(IntegrityError):
    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} did not arrive as it was sent (its BLAKE3 differs), so it was discarded. Run both commands again."
        )
        self.path = path


class PeerProtocolError(IntegrityError):
    """The peer broke the protocol: malformed, oversized, out of order, or failing authentication."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"The other side sent something that breaks the protocol ({detail}), so the transfer was stopped. "
            "Check that both ends run compatible versions."
        )
        self.detail = detail


class IncompatiblePeer(PeerProtocolError):
    """The two sides have no version of the protocol in common."""

    def __init__(self, detail: str) -> None:
        super(PeerProtocolError, self).__init__(
            f"The two sides run versions of Tallow that cannot talk to each other: {detail}. "
            "Upgrade the older of the two."
        )
        self.detail = detail
