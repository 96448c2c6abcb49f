"""Send one source to one receiver: the public entry point of the sending side.

async def main() -> None:
    with contextlib.closing(FileSource([Path("big.iso")])) as source:
        await send(source, SendSettings(), print)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from tallow_cli.crypto.keys import Rendezvous, Role
from tallow_cli.errors import PeerRefused, PeerVanished
from tallow_cli.meeting.addresses import require_network
from tallow_cli.session.events import Done, Notice, SessionEvent
from tallow_cli.session.hosting import hosting
from tallow_cli.session.meet_again import host_again
from tallow_cli.session.meeting import Meeting
from tallow_cli.session.offer_events import left_out
from tallow_cli.session.reconnecting import carry_through
from tallow_cli.session.searching import Emit
from tallow_cli.session.sending import SendTransfer
from tallow_cli.session.session_trace import traced
from tallow_cli.session.settings import SendSettings
from tallow_cli.store.source import Source


async def send(source: Source, settings: SendSettings, emit: Callable[[SessionEvent], None]) -> Done:
    """Show a code, wait for a receiver, send, and return once it has verified everything.

    `emit` is called on the event loop with every event, CodeReady first, Done last; it must not block. The caller
    closes `source`. A receiver that knew the code and could not take what is offered (its options, its disk), or is
    lost before it has accepted, may come again: the wait goes on under the same code. A connection whose path is lost
    is replaced by another one (`Waits.reconnect_s`). Cancelling tells the receiver.
    Raises a TallowError for every way this can end but success.
    """
    require_network()
    with traced(emit, settings.link.trace) as told:
        return await _send(source, settings, told)


async def _send(source: Source, settings: SendSettings, emit: Emit) -> Done:
    for notice in source.notices:
        emit(Notice(notice))
    if source.left_out:
        emit(left_out(source.left_out))
    async with hosting(settings, emit) as host:

        def again(_server: str, rendezvous: Rendezvous, emit: Emit) -> AbstractAsyncContextManager[Meeting]:
            return host_again(host.place, rendezvous, settings, emit)

        while True:
            transfer = SendTransfer(source, settings, emit)
            try:
                return await carry_through(
                    transfer,
                    Role.HOST,
                    host.meeting(),
                    again,
                    settings.link,
                    settings.waits,
                    settings.pace,
                    emit,
                )
            except PeerRefused as refusal:
                if not refusal.can_be_mended_there:
                    raise
                emit(Notice(f"The receiver could not take it: {refusal.reason}. The code still holds."))
            except PeerVanished as lost:
                if transfer.meter is not None:  # it had accepted
                    raise
                emit(
                    Notice(
                        f"The receiver was lost before it had accepted ({lost.detail}). The code still holds."
                    )
                )
