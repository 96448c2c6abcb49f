"""The engines: what carries SCTP once ICE has found a path. `--engine NAME` chooses one.

An engine makes aiortc's transports, or subclasses of them, and wraps their data channels. Factories import
their engine when called, so that listing names costs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from tallow_cli.errors import BadOption, UnfitLibrary
from tallow_cli.link.channels import Channel
from tallow_cli.link.link import PathFigures
from tallow_cli.tracing import Trace

if TYPE_CHECKING:
    from aiortc import RTCCertificate, RTCDataChannel, RTCDtlsTransport, RTCIceTransport, RTCSctpTransport

    from tallow_cli.link.description import Description, DtlsRole


class LinkChannel(Channel, Protocol):
    """A `Channel` that its link can also close when the connection under it is gone."""

    def lost(self) -> None: ...


class Engine(Protocol):
    """One connection's engine; made anew for each link.

    The link calls `capabilities` and `max_message_size` first, then `dtls` and `sctp` once ICE has chosen a
    pair, then `channel` for each data channel, and at the end `close`.
    """

    @property
    def name(self) -> str:
        """The engine in use; after a fall-back not the one asked for."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Fall-backs taken, one sentence each, for --verbose."""
        ...

    @property
    def capabilities(self) -> tuple[str, ...]: ...

    @property
    def max_message_size(self) -> int: ...

    @property
    def window_bytes(self) -> int:
        """How much data, sent and not acknowledged, this engine is best at."""
        ...

    @property
    def network_packet_bytes(self) -> int:
        """How much of a message one network packet carries now."""
        ...

    @property
    def retransmissions(self) -> int:
        """How often its unreliable channels send a packet again before they give the message up (RFC 7496)."""
        ...

    def dtls(self, ice: RTCIceTransport, certificate: RTCCertificate, role: DtlsRole) -> RTCDtlsTransport: ...

    def sctp(self, dtls: RTCDtlsTransport, port: int, peer: Description) -> RTCSctpTransport: ...

    def channel(self, rtc_channel: RTCDataChannel) -> LinkChannel: ...

    def path_figures(self) -> PathFigures | None:
        """None from an engine that does not see packets."""
        ...

    def all_acknowledged(self) -> bool:
        """Whether the peer has acknowledged everything that was sent and not given up."""
        ...

    async def keep_only(self, stream_id: int) -> None:
        """The connection is about to end: what is queued on this stream leaves now, all else is given up."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """`offload`: let the kernel cut and glue datagrams (GSO, GRO) where it can. `trace`: told what the engine sees."""

    offload: bool = True
    trace: Trace | None = None


def _aiortc(options: EngineOptions) -> Engine:
    return _stock()


def _stock(*notes: str) -> Engine:
    from tallow_cli.webrtc.aiortc_hooks import SHARED, missing_hooks

    missing = missing_hooks(SHARED)
    if missing:
        raise UnfitLibrary("aiortc", missing)

    from tallow_cli.webrtc.stock_engine import StockEngine

    return StockEngine(notes=notes)


def _turbo(options: EngineOptions) -> Engine:
    from tallow_cli.webrtc.aiortc_hooks import SHARED, TURBO, missing_hooks

    if sys.platform == "win32":
        return _stock("The turbo engine needs POSIX sockets, so aiortc's own engine is used.")
    missing = missing_hooks(TURBO)
    if missing or missing_hooks(SHARED):
        return _stock(f"The installed aiortc lacks {', '.join(missing)}, so its own engine is used.")

    from tallow_cli.webrtc.turbo_engine import TurboEngine

    return TurboEngine(offload=options.offload, trace=options.trace)


ENGINES: Final[dict[str, Callable[[EngineOptions], Engine]]] = {"aiortc": _aiortc, "turbo": _turbo}


def make_engine(name: str, options: EngineOptions | None = None) -> Engine:
    """Raises BadOption for a name that is not registered, UnfitLibrary for an aiortc that no engine can use."""
    factory = ENGINES.get(name)
    if factory is None:
        raise BadOption("--engine", f"{name!r} is not one of {', '.join(sorted(ENGINES))}")
    return factory(options or EngineOptions())
