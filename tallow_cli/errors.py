"""Every way a Tallow command can end, with one sentence for the user and one exit code each.

    TallowError
    ├── UsageError            2    BadOption  InvalidCode  InputNeeded  HiddenInHome  NameplateTaken
    ├── SignalingError        3    ServerUnreachable (NothingListens)  ServerRefused  ServerProtocolError
    ├── NoPeerError           4    PeerNeverCame  UnknownNameplate
    ├── WrongCodeError        5    ProofNotTaken
    ├── NoPathError           6    NoNetwork  NoRelay
    ├── RefusedError          7    PeerRefused  PeerCancelled  Declined  TooLarge
    ├── BrokenOffError        8    PeerVanished (ReportMissing)  TransferStalled  NoAnswer  PeerFailed
    ├── IntegrityError        9    DigestMismatch  PeerProtocolError (IncompatiblePeer)
    ├── LocalFileError       10    SourceMissing  SourceUnreadable  SourceChanged  Unsendable  TargetExists
    │                              TargetNotDirectory (TargetMissing)  TargetUnwritable (ReaderGone)  TargetChanged
    │                              DiskFull (DiskNearlyFull)  ReportExists  OutputUnwritable
    ├── BelowThresholdError  11
    ├── UnsupportedCrypto  UnfitLibrary  1
    └── Stopped                    Interrupted (130)  Terminated (143)

A sentence says what happened, why, and what to do next. It may quote the peer or the server, so it is
*untrusted text* until `ui.sanitize` has seen it. Errors never hold keys, codes or tracebacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import ClassVar, Final

_LONGEST_PATH: Final = (
    160  # characters, in the sentence about things that cannot be sent; JSON has all of them
)


def _seconds(count: float) -> str:
    """`600`, `86,400`, `2.5`, `0.1`: what somebody asked for is not rounded away."""
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"


def _ends(path: str) -> str:
    """A path short enough for a sentence: one that is too long to be sent has thousands of letters."""
    return (
        path if len(path) <= _LONGEST_PATH else f"{path[: _LONGEST_PATH // 2]}…{path[-_LONGEST_PATH // 2 :]}"
    )


class ExitCode(IntEnum):
    """The process exit codes; `kind` is their name in JSON."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    SIGNALING_UNREACHABLE = 3
    NO_PEER = 4
    WRONG_CODE = 5
    NO_PATH = 6
    REFUSED = 7
    BROKEN_OFF = 8
    INTEGRITY = 9
    LOCAL_FILE = 10
    BELOW_THRESHOLD = 11
    PARTIAL = 12
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def kind(self) -> str:
        """The name scripts match on: `wrong-code`, `no-path`, …"""
        return self.name.lower().replace("_", "-")


# What the table in docs/reference/exit-codes.md calls worth retrying unchanged.
RETRYABLE_CODES: Final = frozenset(
    {
        ExitCode.SIGNALING_UNREACHABLE,
        ExitCode.NO_PEER,
        ExitCode.NO_PATH,
        ExitCode.BROKEN_OFF,
        ExitCode.INTERRUPTED,
        ExitCode.TERMINATED,
    }
)


class TallowError(Exception):
    """Base of all. Raise a subclass.

    Attributes: `exit_code`; `retryable`, whether the same command may succeed if run again unchanged; `peer_told`,
    whether the other side is known to have heard how this ended (None: it was not told, or nothing is known); `items`,
    all that the sentence only counts, as (path, reason).
    """

    exit_code: ClassVar[ExitCode] = ExitCode.UNEXPECTED
    retryable: bool = False
    peer_told: bool | None = None
    items: Sequence[tuple[str, str]] = ()

    @property
    def kind(self) -> str:
        return self.exit_code.kind

    @property
    def sentence(self) -> str:
        """What to show the user, with what was added on the way (`add_note`). Untrusted: sanitize before printing."""
        return " ".join([str(self), *getattr(self, "__notes__", ())])


class UsageError(TallowError):
    exit_code = ExitCode.USAGE


class BadOption(UsageError):
    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}")
        self.option = option
        self.problem = problem


class InvalidCode(UsageError):
    """Text that cannot be a code. The text itself is not kept: it may be nearly right.

    `holder` is the variable or file that holds it, where nobody has just typed it.
    """

    def __init__(self, problem: str, holder: str | None = None) -> None:
        what = "That" if holder is None else f"What {holder} holds"
        super().__init__(f"{what} is not a Tallow code: {problem}. A code looks like 4821-acorn-blend-crisp.")
        self.problem = problem


class InputNeeded(UsageError):
    def __init__(self, what: str, option: str) -> None:
        super().__init__(f"{what} is needed, and there is nobody to ask here. Pass {option}.")
        self.option = option


class HiddenInHome(UsageError):
    """--yes would put names that begin with a dot, which programs read by themselves, into a home directory."""

    def __init__(self, paths: Sequence[str]) -> None:
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        super().__init__(
            f"{paths[0]}{more} would be put into your home directory, where programs act on names that begin with a "
            "dot, and --yes asks nobody. Name a directory with --output, or look at the offer without --yes."
        )
        self.paths = tuple(paths)


class NameplateTaken(UsageError):
    """Somebody else has, or lately had, the number of the code that was chosen."""

    retryable = True

    def __init__(self, nameplate: str) -> None:
        super().__init__(
            f"Another sender waits under the number {nameplate}, or did a moment ago. "
            "Choose another code, or leave it to Tallow to make one."
        )
        self.nameplate = nameplate


class SignalingError(TallowError):
    exit_code = ExitCode.SIGNALING_UNREACHABLE
    retryable = True


class ServerUnreachable(SignalingError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"The signaling server at {url} cannot be reached ({reason}). "
            "Check the address and that `tallow serve` runs there."
        )
        self.url = url
        self.reason = reason


class NothingListens(ServerUnreachable):
    """The machine is there, and says that no program listens at that port."""


class ServerRefused(SignalingError):
    """The server answered, and said no (a limit, an unsupported version)."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"The signaling server at {url} refused: {reason}. Try again later or use another server."
        )
        self.url = url
        self.reason = reason


class ServerProtocolError(SignalingError):
    retryable = False

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(
            f"The server at {url} sent something that is not Tallow signaling ({detail}). "
            "Check the address; both ends must run compatible versions."
        )
        self.url = url


class NoPeerError(TallowError):
    exit_code = ExitCode.NO_PEER
    retryable = True


class PeerNeverCame(NoPeerError):
    def __init__(self, waited_s: float) -> None:
        super().__init__(
            f"Nobody came within {_seconds(waited_s)} s. Run the command again, or wait longer with --timeout."
        )
        self.waited_s = waited_s


class UnknownNameplate(NoPeerError):
    def __init__(self, nameplate: str, where: str) -> None:
        super().__init__(
            f"No sender is waiting under the number {nameplate} {where}. "
            "Check the code, that the sender is still running, and that nobody has used the code before you."
        )
        self.nameplate = nameplate


class WrongCodeError(TallowError):
    exit_code = ExitCode.WRONG_CODE

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            detail
            or "The code was wrong, so the two sides do not share a secret; nothing was sent. "
            "A code works once: ask the sender for a fresh one."
        )


class ProofNotTaken(WrongCodeError):
    """The receiver's: the sender has proved that it knows the code, but does not take our proof."""

    def __init__(self) -> None:
        super().__init__(
            "The sender knows the code, but did not get this side's proof of it as it was sent, so the code is spent "
            "and nothing was sent. The signaling server may be altering messages. Ask the sender for a fresh code, or "
            "use another server."
        )


class NoPathError(TallowError):
    exit_code = ExitCode.NO_PATH
    retryable = True

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"No network path between the two machines was found ({detail}). "
            "A firewall may block UDP; both must reach each other directly."
        )


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
        return f"{self}, and the sender {_heard(self.peer_told)}."


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
            f"Nothing moved for {_seconds(waited_s)} s while {what}. Check the network and run both commands again."
        )
        self.waited_s = waited_s


class NoAnswer(BrokenOffError):
    """A person was asked, and did not answer in time: nothing is wrong with the network."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(
            f"The receiver did not answer the offer within {_seconds(waited_s)} s. "
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


class LocalFileError(TallowError):
    exit_code = ExitCode.LOCAL_FILE


class SourceMissing(LocalFileError):
    def __init__(self, path: str) -> None:
        super().__init__(f"{path} does not exist. Check the name.")
        self.path = path


class SourceUnreadable(LocalFileError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be read ({reason}). Check its permissions or leave it out.")
        self.path = path


class Unsendable(LocalFileError):
    """Some of what was named cannot be sent. `items` are all of them, as (path, reason): untrusted text."""

    SHOWN: ClassVar[int] = 5

    def __init__(self, items: Sequence[tuple[str, str]]) -> None:
        shown = "; ".join(f"{_ends(path)} ({reason})" for path, reason in items[: self.SHOWN])
        more = f"; and {len(items) - self.SHOWN:,} more" if len(items) > self.SHOWN else ""
        what = "1 thing" if len(items) == 1 else f"{len(items):,} things"
        super().__init__(
            f"{what} cannot be sent: {shown}{more}. "
            "Rename or mend them, leave them out with --exclude, or send the rest with --skip-unsendable."
        )
        self.items = tuple(items)


class SourceChanged(LocalFileError):
    def __init__(self, path: str, how: str) -> None:
        super().__init__(
            f"{path} changed while it was being sent ({how}). Send it again once it is finished."
        )
        self.path = path


class TargetExists(LocalFileError):
    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} exists and is not overwritten. Use --on-conflict rename, update or overwrite, or another --output."
        )
        self.path = path


class TargetNotDirectory(LocalFileError):
    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is not a directory, so nothing can be received into it. Choose another --output."
        )
        self.path = path


class TargetMissing(TargetNotDirectory):
    """The directory to receive into is not there."""

    def __init__(self, path: str) -> None:
        super(TargetNotDirectory, self).__init__(
            f"{path} does not exist, so nothing can be received into it. Make it first, or choose another --output."
        )
        self.path = path


class TargetUnwritable(LocalFileError):
    """`option` is the one that names the place."""

    def __init__(self, path: str, reason: str, *, option: str = "--output") -> None:
        super().__init__(
            f"{path} cannot be written ({reason}). Choose another {option} or check its permissions."
        )
        self.path = path


class ReaderGone(TargetUnwritable):
    """Whoever read the payload from standard output has closed it (SIGPIPE)."""

    def __init__(self) -> None:
        super(TargetUnwritable, self).__init__(
            "Whoever read standard output has gone, so the rest was not received. Standard output cannot be resumed: "
            "to have all of it, run both commands again."
        )
        self.path = "standard output"


class ReportExists(LocalFileError):
    """A report is not written over what is there."""

    def __init__(self, path: str, option: str) -> None:
        super().__init__(f"{path} exists and is not replaced. Remove it, or name another file with {option}.")
        self.path = path


class OutputUnwritable(LocalFileError):
    """Standard output does not take what is said there (which is not the payload: that is TargetUnwritable)."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Standard output cannot be written ({reason}), so what was to be said there is missing. "
            "Check where it leads."
        )
        self.reason = reason


class DiskFull(LocalFileError):
    def __init__(self, path: str, needed: int | None = None) -> None:
        amount = f"; {needed:,} more bytes are needed" if needed else ""
        super().__init__(
            f"There is no room for {path} on its disk{amount}. Free some space or choose another --output."
        )
        self.path = path
        self.needed = needed


class DiskNearlyFull(DiskFull):
    """A stream came to the part of the disk that is left to others."""

    def __init__(self, path: str, free: int, reserve: int) -> None:
        super(DiskFull, self).__init__(
            f"A stream may not fill the disk of {path}: {free:,} bytes are free, and {reserve:,} of them are left to "
            "other programs. Free some space or choose another --output."
        )
        self.path = path
        self.needed = reserve - free


class TargetChanged(LocalFileError):
    """What was to be replaced is not what the user agreed to have replaced."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} was made or changed while this was being received, so it is not replaced. "
            "Look at it, and run both commands again."
        )
        self.path = path


class BelowThresholdError(TallowError):
    exit_code = ExitCode.BELOW_THRESHOLD

    def __init__(self, measured_mbps: float, threshold_mbps: float) -> None:
        super().__init__(
            f"The benchmark measured {measured_mbps:.1f} Mbit/s, below the threshold of {threshold_mbps:.1f} Mbit/s."
        )
        self.measured_mbps = measured_mbps
        self.threshold_mbps = threshold_mbps


class UnsupportedCrypto(TallowError):
    """This machine's `cryptography` (or the OpenSSL in it) lacks an algorithm Tallow cannot do without."""

    def __init__(self, algorithm: str) -> None:
        super().__init__(
            f"The installed `cryptography` package does not offer {algorithm}, which Tallow needs. "
            "Upgrade it: pip install --upgrade cryptography."
        )
        self.algorithm = algorithm


class UnfitLibrary(TallowError):
    """An installed library is of a version Tallow does not know: it lacks the `missing` parts."""

    def __init__(self, library: str, missing: tuple[str, ...]) -> None:
        super().__init__(
            f"The installed `{library}` is of a version that Tallow was not made for (it lacks {', '.join(missing[:3])}"
            f"{' and more' if len(missing) > 3 else ''}). Install Tallow anew, in an environment of its own: "
            "pipx reinstall tallow-transfer."
        )
        self.library = library
        self.missing = missing


class Stopped(TallowError):
    """A signal ended it. `connected`: there was a connection, over which the other side may have heard of it.
    `all_arrived`: it had everything by then, and needs nobody to verify and keep it.
    """

    retryable = True
    how: ClassVar[str]

    def __init__(self, *, connected: bool = False) -> None:
        super().__init__(self.how)
        self.connected = connected
        self.all_arrived = False
        self.can_go_on = False
        self.is_stream = False

    @property
    def sentence(self) -> str:
        if not self.connected:
            return f"{self.how}."
        if self.all_arrived:
            return (
                f"{self.how}, but everything had arrived there already. See what the other side says of it."
            )
        go_on = ""
        if self.can_go_on:
            go_on = " Send the same again to go on: what it has kept is not sent twice."
        elif self.is_stream:
            go_on = " Standard input cannot be resumed: what is sent next begins anew."
        return f"{self.how}. The other side {_heard(self.peer_told)}.{go_on}"


class Interrupted(Stopped):
    exit_code = ExitCode.INTERRUPTED
    how = "Interrupted"


class Terminated(Stopped):
    exit_code = ExitCode.TERMINATED
    how = "Terminated"


def _heard(told: bool | None) -> str:
    """Whether it was told is known only where its transport acknowledged it."""
    return "was told" if told else "did not confirm that it heard of this"
