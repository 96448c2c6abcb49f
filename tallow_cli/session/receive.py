"""Receive one transfer: the public entry point of the receiving side.

async def main() -> None:
    async def decide(manifest: Manifest) -> Sink:
        return DirectorySink(Path("Downloads"))
    await receive(ReceiveSettings(parse_code("4821-acorn-blend-crisp")), print, decide)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from tallow_cli.crypto.keys import Rendezvous, Role
from tallow_cli.meeting.addresses import require_network
from tallow_cli.session.events import Done, SessionEvent
from tallow_cli.session.joining import join
from tallow_cli.session.meet_again import join_again
from tallow_cli.session.meeting import Meeting
from tallow_cli.session.receiving import Decide, Foresee, ReceiveTransfer
from tallow_cli.session.reconnecting import carry_through
from tallow_cli.session.searching import Emit
from tallow_cli.session.session_trace import traced
from tallow_cli.session.settings import ReceiveSettings


async def receive(
    settings: ReceiveSettings,
    emit: Callable[[SessionEvent], None],
    decide: Decide,
    foresee: Foresee | None = None,
) -> Done:
    """Find the sender, ask `decide` about its offer, receive, and return once everything is verified and published.

    `decide(manifest)` returns an unopened sink, which this closes, or raises the TallowError that refuses. Before it,
    and before the offer is told, `foresee(manifest)` says what of it is there already (`Offered.here`). `emit` is
    called on the event loop with every event, Done last. A connection whose path is lost is replaced by another one
    (`Waits.reconnect_s`). Cancelling tells the sender.
    Raises a TallowError for every way this can end but success.
    """
    require_network()
    with traced(emit, settings.link.trace) as told:
        return await _receive(settings, told, decide, foresee)


async def _receive(settings: ReceiveSettings, emit: Emit, decide: Decide, foresee: Foresee | None) -> Done:
    def again(server: str, rendezvous: Rendezvous, emit: Emit) -> AbstractAsyncContextManager[Meeting]:
        is_named = settings.server is not None
        return join_again(server, is_named, rendezvous, settings, emit)

    return await carry_through(
        ReceiveTransfer(settings, emit, decide, foresee),
        Role.JOINER,
        join(settings, emit),
        again,
        settings.link,
        settings.waits,
        settings.pace,
        emit,
    )
