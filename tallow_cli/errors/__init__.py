"""Every way a Tallow command can end, with one sentence for the user and one exit code each.

    TallowError
    ├── UsageError            2    BadOption  InvalidCode  InputNeeded  HiddenInHome  NameplateTaken
    ├── SignalingError        3    ServerUnreachable (NothingListens)  SenderUnreachable  ServerRefused
    │                              ServerProtocolError
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

from tallow_cli.errors.base import RETRYABLE_CODES, ExitCode, TallowError
from tallow_cli.errors.connection import (
    SLIPS,
    BrokenOffError,
    Declined,
    DigestMismatch,
    IncompatiblePeer,
    IntegrityError,
    Loss,
    NoAnswer,
    NoNetwork,
    NoPathError,
    NoRelay,
    PeerCancelled,
    PeerFailed,
    PeerProtocolError,
    PeerRefused,
    PeerVanished,
    RefusedError,
    ReportMissing,
    TooLarge,
    TransferStalled,
)
from tallow_cli.errors.files import (
    DiskFull,
    DiskNearlyFull,
    LocalFileError,
    OutputUnwritable,
    ReaderGone,
    ReportExists,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    TargetChanged,
    TargetExists,
    TargetMissing,
    TargetNotDirectory,
    TargetUnwritable,
    Unsendable,
)
from tallow_cli.errors.meeting import (
    NoPeerError,
    NothingListens,
    PeerNeverCame,
    ProofNotTaken,
    SenderUnreachable,
    ServerProtocolError,
    ServerRefused,
    ServerUnreachable,
    SignalingError,
    UnknownNameplate,
    WrongCodeError,
)
from tallow_cli.errors.program import (
    BelowThresholdError,
    Interrupted,
    Stopped,
    Terminated,
    UnfitLibrary,
    UnsupportedCrypto,
)
from tallow_cli.errors.usage import (
    BadOption,
    HiddenInHome,
    InputNeeded,
    InvalidCode,
    NameplateTaken,
    UsageError,
)

__all__ = [
    "RETRYABLE_CODES",
    "SLIPS",
    "BadOption",
    "BelowThresholdError",
    "BrokenOffError",
    "Declined",
    "DigestMismatch",
    "DiskFull",
    "DiskNearlyFull",
    "ExitCode",
    "HiddenInHome",
    "IncompatiblePeer",
    "InputNeeded",
    "IntegrityError",
    "Interrupted",
    "InvalidCode",
    "LocalFileError",
    "Loss",
    "NameplateTaken",
    "NoAnswer",
    "NoNetwork",
    "NoPathError",
    "NoPeerError",
    "NoRelay",
    "NothingListens",
    "OutputUnwritable",
    "PeerCancelled",
    "PeerFailed",
    "PeerNeverCame",
    "PeerProtocolError",
    "PeerRefused",
    "PeerVanished",
    "ProofNotTaken",
    "ReaderGone",
    "RefusedError",
    "ReportExists",
    "ReportMissing",
    "SenderUnreachable",
    "ServerProtocolError",
    "ServerRefused",
    "ServerUnreachable",
    "SignalingError",
    "SourceChanged",
    "SourceMissing",
    "SourceUnreadable",
    "Stopped",
    "TallowError",
    "TargetChanged",
    "TargetExists",
    "TargetMissing",
    "TargetNotDirectory",
    "TargetUnwritable",
    "Terminated",
    "TooLarge",
    "TransferStalled",
    "UnfitLibrary",
    "UnknownNameplate",
    "Unsendable",
    "UnsupportedCrypto",
    "UsageError",
    "WrongCodeError",
]
