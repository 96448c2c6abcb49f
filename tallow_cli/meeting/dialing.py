"""A TCP connection to a host of several addresses, some of which may be dead (RFC 8305, "Happy Eyeballs").

The event loops try a name's addresses one after the other, each until the system gives it up after minutes: a server
whose first address is dead, as on a network with half an IPv6, would be unreachable. Here the next address gets its
chance after a quarter of a second, families take turns, and the first to answer wins.

A system repeats a lost SYN after a second, and the answer to it more and more seldom. Here another connection is begun
beside the first before that, and whichever is there first is used.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from aiohappyeyeballs import AddrInfoType, start_connection

from signaling.listening import zoned_address
from signaling.lossy_tcp import stay_impatient

ATTEMPT_DELAY_S = 0.25  # RFC 8305 section 8 recommends it
# When another connection is begun. All but the first are spared where the way takes less than half a second.
HEDGES_S: Final = (0.0, 0.5, 1.0, 1.5, 2.5, 3.5, 5.0, 7.0)


_Won = TypeVar("_Won")


async def dial(host: str, port: int) -> socket.socket:
    """A connected, non-blocking socket; the caller closes it and sets the timeout.

    Raises OSError: socket.gaierror for a name nobody knows, else what the attempts met.
    """
    loop = asyncio.get_running_loop()
    zoned = zoned_address(host)
    found: list[AddrInfoType]
    if zoned is not None:
        found = [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (zoned[0], port, 0, zoned[1]))]
    else:
        found = list(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    connected = await hedged(
        lambda: start_connection(found, happy_eyeballs_delay=ATTEMPT_DELAY_S, interleave=1),
        HEDGES_S,
        socket.socket.close,
    )
    stay_impatient(connected)
    return connected


async def hedged(
    attempt: Callable[[], Coroutine[Any, Any, _Won]],
    begin_at_s: Sequence[float],
    give_up: Callable[[_Won], None],
) -> _Won:
    """The result of the first of several attempts, begun at these times, to have one. The others are cancelled, and
    what they may have got all the same is given to `give_up`.

    Raises what the last attempt did where all that were begun have failed: what answers "no" is not asked again.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    tasks: list[asyncio.Task[_Won]] = []
    winner: asyncio.Task[_Won] | None = None
    try:
        while winner is None:
            waits = begin_at_s[len(tasks) :]
            if waits and loop.time() - began >= waits[0]:
                tasks.append(asyncio.create_task(attempt()))
                waits = waits[1:]
            pause_s = max(0.0, began + waits[0] - loop.time()) if waits else None
            pending = [task for task in tasks if not task.done()]
            if not pending:
                return tasks[-1].result()
            await asyncio.wait(pending, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            winner = next((task for task in tasks if task.done() and task.exception() is None), None)
        return winner.result()
    finally:
        others = [task for task in tasks if task is not winner]
        for task in others:
            task.cancel()
        for outcome in await asyncio.gather(*others, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                give_up(outcome)
