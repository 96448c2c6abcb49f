"""The options several commands share, written once, and how their text becomes settings."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from tallow_cli.core.quantities import parse_rate, parse_size
from tallow_cli.errors import BadOption
from tallow_cli.net.engines import DEFAULT_ENGINE, ENGINES

ARGUMENTS = "Arguments"
RENDEZVOUS = "Finding each other"
SPEED = "Speed"
OUTPUT = "Output"

# Repeated from session.settings, which `--help` must not pay to import; a test keeps them equal.
DEFAULT_TIMEOUT = 600.0
DEFAULT_FIND = 20.0
DEFAULT_CHANNELS = 3
MAX_CHANNELS = 4  # a receiver takes as many as the sender opens


class ModeChoice(enum.StrEnum):
    aggressive = "aggressive"
    balanced = "balanced"
    conservative = "conservative"


class ConflictChoice(enum.StrEnum):
    refuse = "refuse"
    rename = "rename"
    overwrite = "overwrite"


Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="TALLOW_SERVER",
        metavar="URL",
        help="Signaling server, like ws://host:8765. Without it the sender runs one and the receiver looks for it.",
        rich_help_panel=RENDEZVOUS,
    ),
]
CodeOption = Annotated[
    str | None,
    typer.Option(
        "--code",
        envvar="TALLOW_CODE",
        metavar="CODE",
        help="Use this code instead of making or asking for one.",
        rich_help_panel=RENDEZVOUS,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        help="How long to wait for the receiver.",
        rich_help_panel=RENDEZVOUS,
    ),
]
Channels = Annotated[
    int, typer.Option("--channels", metavar="2..4", help="Parallel data channels.", rich_help_panel=SPEED)
]
Mode = Annotated[
    ModeChoice,
    typer.Option("--mode", help="How quickly the chunk size follows the network.", rich_help_panel=SPEED),
]
Reliable = Annotated[
    bool,
    typer.Option(
        "--reliable", help="Let SCTP order and retransmit instead of Tallow.", rich_help_panel=SPEED
    ),
]
BufferHigh = Annotated[
    str,
    typer.Option(
        "--buffer-high",
        metavar="SIZE",
        help="Pause a channel above this much queued data.",
        rich_help_panel=SPEED,
    ),
]
BufferLow = Annotated[
    str,
    typer.Option("--buffer-low", metavar="SIZE", help="Resume it below this much.", rich_help_panel=SPEED),
]
Limit = Annotated[
    str | None,
    typer.Option(
        "--limit", metavar="RATE", help="Send no faster, like 20Mbit or 5MB.", rich_help_panel=SPEED
    ),
]
NoEncrypt = Annotated[
    bool,
    typer.Option(
        "--no-encrypt",
        help="Skip Tallow's own encryption where both sides ask for that; DTLS stays.",
        rich_help_panel=SPEED,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help=f"Data plane: {' or '.join(sorted(ENGINES))}; {DEFAULT_ENGINE} unless given.",
        rich_help_panel=SPEED,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON object per line on standard output.", rich_help_panel=OUTPUT)
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Say only what is needed.", rich_help_panel=OUTPUT)
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say more about what happens.", rich_help_panel=OUTPUT)
]
NoInput = Annotated[
    bool,
    typer.Option("--no-input", help="Never ask; fail where an answer is needed.", rich_help_panel=OUTPUT),
]


def size_option(option: str, text: str) -> int:
    """Parse a size given for `option`. Raises BadOption."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise BadOption(option, str(error)) from error


def rate_option(option: str, text: str | None) -> float | None:
    """Parse a rate given for `option`, in bytes per second. Raises BadOption."""
    if text is None:
        return None
    try:
        return parse_rate(text)
    except ValueError as error:
        raise BadOption(option, str(error)) from error
