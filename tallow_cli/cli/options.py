"""The options several commands share, written once, and how their text becomes settings.

All values are texts until they are read here, so that every mistake gets a sentence of ours, whether it was typed or
came from the environment or the config file.
"""

from __future__ import annotations

import enum
import math
import os
import re
from collections.abc import Callable, Iterable
from typing import Annotated, overload

import typer

from tallow_cli.errors import BadOption
from tallow_cli.link.link import DEFAULT_ENGINE, MAX_PORT
from tallow_cli.quantities import parse_rate, parse_seconds, parse_size
from tallow_cli.webrtc.engines import ENGINES

ARGUMENTS = "Arguments"
RENDEZVOUS = "Finding each other"
NETWORK = "Network"
SPEED = "Speed"
OUTPUT = "Output"

# Repeated from session.settings, which `--help` must not pay to import; a test keeps them equal.
DEFAULT_TIMEOUT = "10m"
DEFAULT_FIND = "20s"
DEFAULT_RECONNECT = "2m"
DEFAULT_CHANNELS = "3"
MAX_CHANNELS = "4"  # a receiver takes as many as the sender opens


class ModeChoice(enum.StrEnum):
    aggressive = "aggressive"
    balanced = "balanced"
    conservative = "conservative"


class ConflictChoice(enum.StrEnum):
    refuse = "refuse"
    rename = "rename"
    skip = "skip"
    update = "update"
    overwrite = "overwrite"


_NEVER = frozenset({"never", "forever", "inf", "infinity"})
_NOTHING = r"0+(?:\.0+)?\s*s?"


def completing(choices: Iterable[str]) -> Callable[[str], list[str]]:
    """For the shell's Tab: those of the choices that begin as what is typed."""
    offered = list(choices)
    return lambda incomplete: [choice for choice in offered if choice.startswith(incomplete.lower())]


def metavar(choices: Iterable[str]) -> str:
    """How help shows them: `<aggressive|balanced|conservative>`."""
    return f"<{'|'.join(choices)}>"


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
Local = Annotated[
    bool,
    typer.Option(
        "--local",
        help="Use no server, even if TALLOW_SERVER or the config file names one.",
        rich_help_panel=RENDEZVOUS,
    ),
]
CodeOption = Annotated[
    str | None,
    typer.Option(
        "--code",
        envvar="TALLOW_CODE",
        metavar="CODE",
        help="Use this code: the sender makes none then, and the receiver asks for none.",
        rich_help_panel=RENDEZVOUS,
    ),
]
Timeout = Annotated[
    str,
    typer.Option(
        "--timeout",
        metavar="TIME",
        help="How long to wait for the receiver, like 90s, 10m or 2h; 0 or never: as long as it takes.",
        rich_help_panel=RENDEZVOUS,
    ),
]
ReconnectFor = Annotated[
    str,
    typer.Option(
        "--reconnect-for",
        envvar="TALLOW_RECONNECT_FOR",
        metavar="TIME",
        help="How long to look for the other side again when the connection is lost; 0: not at all, never: do not give "
        "up.",
        rich_help_panel=RENDEZVOUS,
    ),
]
Interface = Annotated[
    str | None,
    typer.Option(
        "--interface",
        metavar="NAME",
        help="Use only this network interface of this machine, like eth0, or this address of one.",
        rich_help_panel=NETWORK,
    ),
]
UdpPorts = Annotated[
    str | None,
    typer.Option(
        "--udp-ports",
        metavar="A-B",
        help="Use only these UDP ports of this machine for data, like 50000-50099.",
        rich_help_panel=NETWORK,
    ),
]
IceServers = Annotated[
    list[str] | None,
    typer.Option(
        "--ice-server",
        envvar="TALLOW_ICE_SERVERS",
        metavar="URL",
        help="A STUN or TURN server to use as well, like turn:host:3478; may be given again.",
        rich_help_panel=NETWORK,
    ),
]
IceUser = Annotated[
    str | None,
    typer.Option(
        "--ice-user",
        envvar="TALLOW_ICE_USER",
        metavar="NAME",
        help="Your name at that TURN server; the password goes into TALLOW_ICE_PASSWORD.",
        rich_help_panel=NETWORK,
    ),
]
RelayOnly = Annotated[
    bool,
    typer.Option(
        "--relay-only",
        help="Show the other side no address of this machine: connect through a relay or not at all.",
        rich_help_panel=NETWORK,
    ),
]
Channels = Annotated[
    str, typer.Option("--channels", metavar="2..4", help="Parallel data channels.", rich_help_panel=SPEED)
]
Mode = Annotated[
    str,
    typer.Option(
        "--mode",
        metavar=metavar(ModeChoice),
        help="How quickly the chunk size follows the network.",
        autocompletion=completing(ModeChoice),
        rich_help_panel=SPEED,
    ),
]
Reliable = Annotated[
    bool,
    typer.Option(
        "--reliable", help="Let SCTP order and retransmit instead of Tallow.", rich_help_panel=SPEED
    ),
]
MaxRetransmits = Annotated[
    str | None,
    typer.Option(
        "--max-retransmits",
        metavar="0..8",
        help="How often SCTP repeats a lost packet before Tallow sends its bytes anew; 2 (turbo) or 0 (aiortc) unless "
        "given.",
        rich_help_panel=SPEED,
    ),
]
BufferHigh = Annotated[
    str | None,
    typer.Option(
        "--buffer-high",
        metavar="SIZE",
        help="Pause a channel above this much queued data; 16MiB unless given.",
        rich_help_panel=SPEED,
    ),
]
BufferLow = Annotated[
    str | None,
    typer.Option(
        "--buffer-low",
        metavar="SIZE",
        help="Resume it below this much; a quarter of --buffer-high unless given.",
        rich_help_panel=SPEED,
    ),
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
        autocompletion=completing(sorted(ENGINES)),
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
Trace = Annotated[
    str | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="Write what the connection does to a new file, as JSON lines: paths, round trips, losses, rates.",
        rich_help_panel=OUTPUT,
    ),
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


def seconds_option(option: str, text: str) -> float:
    """Parse a time given for `option`, more than 0. Raises BadOption."""
    try:
        seconds = parse_seconds(text)
    except ValueError as error:
        raise BadOption(option, str(error)) from error
    if seconds <= 0:
        raise BadOption(option, f"{text!r} is no time to wait; it must be more than 0")
    return seconds


def wait_option(option: str, text: str) -> float:
    """Parse how long to wait for people: a time, or infinity for `never` (giving up) and 0. Raises BadOption."""
    plain = text.strip().lower()
    if plain in _NEVER or re.fullmatch(_NOTHING, plain):
        return math.inf
    return seconds_option(option, text)


def reconnect_option(text: str) -> float:
    """Parse `--reconnect-for`: a time, 0 for not at all, infinity for `never` (giving up). Raises BadOption."""
    plain = text.strip().lower()
    if plain in _NEVER:
        return math.inf
    if re.fullmatch(_NOTHING, plain):
        return 0.0
    return seconds_option("--reconnect-for", text)


def count_option(option: str, text: str, least: int, most: int) -> int:
    """Parse a whole number given for `option`. Raises BadOption."""
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,9}\s*", text):
        raise BadOption(option, f"{text!r} is not a whole number; give one from {least} to {most:,}")
    if not least <= int(text) <= most:
        raise BadOption(option, f"{int(text)} is not between {least} and {most:,}")
    return int(text)


def ports_option(option: str, text: str | None) -> tuple[int, int] | None:
    """Parse a range of ports given for `option`, both ends included, or one port. Raises BadOption."""
    if text is None:
        return None
    first, dash, last = (part.strip() for part in text.partition("-"))
    ends = (first, last if dash else first)
    if not all(re.fullmatch(r"[0-9]{1,9}", end) for end in ends):
        raise BadOption(option, f"{text!r} is no range of ports; write it like 50000-50099")
    low, high = (int(end) for end in ends)
    if not 1 <= low <= high <= MAX_PORT:
        raise BadOption(option, f"{text!r} is no range of ports: they go from 1 to {MAX_PORT}, upwards")
    return low, high


def mbps_option(option: str, text: str | None) -> float | None:
    """Parse a rate given for `option` in Mbit/s, unless it names another unit. Raises BadOption."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return (rate_option(option, text) or 0.0) * 8 / 1e6
    if not (math.isfinite(number) and number > 0):
        raise BadOption(option, f"{text!r} is no rate to reach; write it like 80 (Mbit/s), 80Mbit or 10MB")
    return number


def choice_option(option: str, text: str, choices: Iterable[str]) -> str:
    """The one of the choices that `text` names, whatever its case. Raises BadOption."""
    offered = list(choices)
    wanted = text.strip().casefold()
    if wanted not in offered:
        raise BadOption(option, f"{text!r} is not one of {', '.join(offered)}")
    return wanted


@overload
def path_option(option: str, text: str) -> str: ...
@overload
def path_option(option: str, text: str | None) -> str | None: ...
def path_option(option: str, text: str | None) -> str | None:
    """A path, with a leading `~/` or `~name/` as the shell would expand it. Raises BadOption.

    Shells leave `--output=~/x` alone, and a config file has no shell.
    """
    if text is None or not text.startswith("~"):
        return text
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        home = text.partition("/")[0]
        raise BadOption(
            option, f"{home} stands for a home directory, and there is none; write ./{text} for the name"
        )
    return expanded
