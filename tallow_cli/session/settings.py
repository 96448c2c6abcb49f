"""What a session needs to be told. Defaults are the documented ones; every field is validated here.

All sizes are bytes, all times seconds, all rates bytes per second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from tallow_cli.crypto.codes import Code
from tallow_cli.errors import BadOption
from tallow_cli.link.channels import (
    DEFAULT_CHANNELS,
    check_channel_count,
    check_max_retransmits,
)
from tallow_cli.link.link import DEFAULT_ENGINE, IceServer, PrepareLink, check_udp_ports
from tallow_cli.offer.name_rules import POSIX, NameRules
from tallow_cli.session.pace import Pace
from tallow_cli.tracing import Trace
from tallow_cli.transfer.buffer_marks import DEFAULT_BUFFER_HIGH, DEFAULT_BUFFER_LOW, check_buffer_marks
from tallow_cli.webrtc.prepare import prepare

Mode = Literal["aggressive", "balanced", "conservative"]
MODES: tuple[Mode, ...] = ("aggressive", "balanced", "conservative")

DEFAULT_WAIT_S = 600.0  # a person has to read the code to another and be understood
DEFAULT_FIND_S = 20.0  # the sender may be starting only now; after that its number is more likely mistyped
DEFAULT_IDLE_S = 60.0  # twice what consent lasts (RFC 7675): after an outage SCTP's backoff comes on top
DEFAULT_CONNECT_S = 30.0
DEFAULT_RECONNECT_S = 120.0  # a lift, a tunnel, a router that starts anew
MAX_WAIT_S = 30 * 24 * 3600  # as long as event loops can be trusted to count
FOREVER_S = math.inf  # for a wait for people: no timer is set


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How the connection is made and used.

    Raises BadOption for values outside their range.
    """

    engine: str = DEFAULT_ENGINE
    channels: int = DEFAULT_CHANNELS
    reliable: bool = False
    max_retransmits: int | None = None  # None: the engine's own
    encrypt: bool = True
    mode: Mode = "balanced"
    buffer_high: int = DEFAULT_BUFFER_HIGH
    buffer_low: int = DEFAULT_BUFFER_LOW
    limit_bytes_per_s: float | None = None
    interface: str | None = None  # the name of one of this machine's, or an address: only that is used
    udp_ports: tuple[int, int] | None = None  # of this machine, both ends included
    ice_servers: tuple[IceServer, ...] = ()  # asked before those that the signaling server names
    relay_only: bool = False  # no address of this machine is shown to the other side
    trace: Trace | None = None  # told what the connection does (docs/reference/trace.md)
    via: tuple[str, int] | None = None  # a UDP relay to speak to in place of the peer (`LinkOptions.via`)

    def __post_init__(self) -> None:
        check_channel_count(self.channels)
        check_max_retransmits(self.max_retransmits, reliable=self.reliable)
        check_buffer_marks(self.buffer_high, self.buffer_low)
        check_udp_ports(self.udp_ports)
        if self.mode not in MODES:
            raise BadOption("--mode", f"{self.mode!r} is not one of {', '.join(MODES)}")


@dataclass(frozen=True, slots=True)
class Waits:
    """How long to wait for what before giving up: for the other side's person, for a sender that is not there yet
    (either may be `FOREVER_S`), for the connection, while nothing moves, and for another connection once one is lost
    (0: not at all).
    """

    peer_s: float = DEFAULT_WAIT_S
    find_s: float = DEFAULT_FIND_S
    connect_s: float = DEFAULT_CONNECT_S
    idle_s: float = DEFAULT_IDLE_S
    reconnect_s: float = DEFAULT_RECONNECT_S

    def __post_init__(self) -> None:
        people = tuple(wait_s for wait_s in (self.peer_s, self.find_s) if wait_s != FOREVER_S)
        for wait_s in (*people, self.connect_s, self.idle_s):
            if not 0 < wait_s <= MAX_WAIT_S:  # so that NaN is neither
                raise BadOption("--timeout", f"it must be more than 0 and at most {MAX_WAIT_S:,} seconds")
        if self.reconnect_s != FOREVER_S and not 0 <= self.reconnect_s <= MAX_WAIT_S:
            raise BadOption(
                "--reconnect-for", f"it must be at most {MAX_WAIT_S:,} seconds; 0 switches it off"
            )


LISTEN_ANYWHERE = "any"


@dataclass(frozen=True, slots=True)
class SendSettings:
    """`code` None: make one. `server` None: start one here and announce it; it listens on loopback and on the addresses
    that this machine has in networks of its own, or where `listen` says: on one address, or `LISTEN_ANYWHERE`; at
    `port`, or any (None).
    """

    code: Code | None = None
    server: str | None = None
    listen: str | None = None
    port: int | None = None
    link: LinkSettings = field(default_factory=LinkSettings)
    waits: Waits = field(default_factory=Waits)
    prepare_link: PrepareLink = prepare  # what makes links
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True)
class ReceiveSettings:
    """`server` None: look on this machine and the local network."""

    code: Code
    server: str | None = None
    link: LinkSettings = field(default_factory=LinkSettings)
    waits: Waits = field(default_factory=Waits)
    prepare_link: PrepareLink = prepare  # what makes links
    max_bytes: int | None = None  # refuse an offer that is larger, and stop a stream there
    names: NameRules = POSIX  # what names have to keep where it goes; store.name_probe finds out
    pace: Pace = field(default_factory=Pace)
