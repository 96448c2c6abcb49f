"""STUN requests that are repeated until they are answered, however much the network loses.

aioice repeats a request after 0.5, 1, 2, 4 and 8 s. Where 30 % of the datagrams are lost each way, half of all tries
fail: one request in thirty is then without an answer after 8 s, and an ICE check has to succeed from both sides. What
RFC 8445 (section 14.3) wants bounded is how much all checks send together, so here that is what slows them down: each
is repeated at even intervals, which grow with the number of requests that wait for an answer at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any, Final

from aioice import stun

Address = tuple[Any, ...]

# Above the round trip of most ways. A longer one costs a few datagrams of 100 bytes that were not needed.
REPEAT_S: Final = 0.2
_REPEATS: Final = 10
REPEAT_LATER_S: Final = 0.5
LASTS_S: Final = 60.0  # whoever connects gives up before
# RFC 8445 section 14.2 has a Ta of 50 ms between two checks, and RTO grow with Ta times the checks under way. aioice
# begins one every 20 ms.
PACE_S: Final = 0.02


def pauses(under_way: int = 1) -> Iterator[float]:
    """How long to wait for the answer before each repetition, while so many requests are under way; then give up."""
    paced_s = PACE_S * under_way
    first_s, later_s = max(REPEAT_S, paced_s), max(REPEAT_LATER_S, paced_s)
    rest = int((LASTS_S - _REPEATS * first_s) / later_s)
    return chain(repeat(first_s, _REPEATS), repeat(later_s, max(rest, 1)))


class StunRequest:
    """Stands where aioice's protocols look for the transaction of a response. `accepts` tells an answer from what is
    none: one without the right integrity, or from another address.
    """

    def __init__(self, send: Callable[[], None], accepts: Callable[[stun.Message, Address], bool]) -> None:
        self._send = send
        self._accepts = accepts
        self._answer: asyncio.Future[tuple[stun.Message, Address]] = (
            asyncio.get_running_loop().create_future()
        )

    def response_received(self, message: stun.Message, address: Address) -> None:
        if self._answer.done() or not self._accepts(message, address):
            return
        if message.message_class == stun.Class.RESPONSE:
            self._answer.set_result((message, address))
        else:
            self._answer.set_exception(stun.TransactionFailed(message))

    async def answered(self, pauses_s: Iterator[float]) -> tuple[stun.Message, Address]:
        """Send, and again after each pause, until the answer comes. Cancelling sends no more.

        Raises stun.TransactionFailed for an answer that says no, stun.TransactionTimeout behind the last pause.
        """
        try:
            for pause_s in pauses_s:
                self._send()
                await asyncio.wait([self._answer], timeout=pause_s)
                if self._answer.done():
                    return self._answer.result()
        finally:
            self._answer.cancel()
        raise stun.TransactionTimeout
