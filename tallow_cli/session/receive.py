"""Receive one transfer: the public entry point of the receiving side.

async def main() -> None:
    async def decide(manifest: Manifest) -> Sink:
        return DirectorySink(Path("Downloads"))
    await receive(ReceiveSettings(parse_code("4821-acorn-blend-crisp")), print, decide)
"""

from __future__ import annotations

from collections.abc import Callable

from tallow_cli.crypto.keys import Role
from tallow_cli.meeting.addresses import require_network
from tallow_cli.session.connection import connect
from tallow_cli.session.events import Done, SessionEvent
from tallow_cli.session.joining import join
from tallow_cli.session.receiving import Decide, ReceiveTransfer
from tallow_cli.session.settings import ReceiveSettings


async def receive(settings: ReceiveSettings, emit: Callable[[SessionEvent], None], decide: Decide) -> Done:
    """Find the sender, ask `decide` about its offer, receive, and return once everything is verified and published.

    `decide(manifest)` returns an unopened sink, which this closes, or raises the TallowError that refuses. `emit` is
    called on the event loop with every event, Done last. Cancelling tells the sender and removes what is unfinished.
    Raises a TallowError for every way this can end but success.
    """
    require_network()
    async with join(settings, emit) as meeting:
        connection = await connect(
            meeting.link, Role.JOINER, meeting.handshake, settings.link, settings.waits, emit, meeting
        )
        await meeting.leave()
        transfer = ReceiveTransfer(settings, emit, decide)
        try:
            return await transfer.carry(connection)
        finally:
            await transfer.close()
