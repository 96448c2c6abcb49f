"""A STUN request that is repeated until it is answered, in place of aioice's, which doubles its patience each time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from aioice import stun

Address = tuple[Any, ...]


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

    def fail(self, error: Exception) -> None:
        """There will be no answer."""
        if not self._answer.done():
            self._answer.set_exception(error)

    async def answered(self, pauses_s: Iterator[float]) -> tuple[stun.Message, Address]:
        """Send, and again after each pause, until the answer comes. Cancelling sends no more.

        Raises stun.TransactionFailed for an answer that says no, stun.TransactionTimeout behind the last pause, and
        what `fail` was given.
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
