"""How the peers of the interop tests talk to the tests: one JSON object a line, commands in, events out.

Commands (standard input), each an object with "do":
    channel      label, ordered=true, max_retransmits=null, id=null   open one; with an id it is negotiated
    offer                                                             -> description
    remote       type, sdp                                            an offer is answered -> description
    send         label, sizes                                         random bytes of these sizes -> sent
    send_text    label, texts                                         -> sent
    close_channel label                                               -> closed
    sink         label                                                count that channel's bytes, report no messages
    flood        label, size, seconds     send as fast as it drains -> flooded: cpu, seconds of this process's CPU time
    report       label                    -> report: bytes, seconds from first to last, cpu since `sink`
    quit                                                              close the connection, then -> quit, exit
Events (standard output), each an object with "event":
    ready, description(type, sdp), connection(state), open(label, protocol, ordered, id), sent(label, digests),
    message(label, kind, size, digest), closed(label), flooded(label, cpu), report(label, bytes, seconds, cpu),
    quit, error(message)

Descriptions hold all candidates. A channel is known by its label. Runs on any Python from 3.11 on, alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

Command = dict[str, Any]
HIGH_WATER_BYTES = 4 * 1024 * 1024
LOW_WATER_BYTES = 1024 * 1024


def emit(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def digest(message: bytes | str) -> str:
    data = message.encode() if isinstance(message, str) else bytes(message)
    return hashlib.sha256(data).hexdigest()[:16]


class Receiving:
    """What a channel receives: told message by message, or only counted."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.is_sink = False
        self.size_bytes = 0
        self._first = self._last = self._cpu = 0.0

    def count_only(self) -> None:
        self.is_sink = True
        self._cpu = time.process_time()

    def add(self, message: bytes | str) -> None:
        if self.is_sink:
            self._last = time.perf_counter()
            if not self.size_bytes:
                self._first = self._last
            self.size_bytes += len(message)
            return
        kind = "text" if isinstance(message, str) else "bytes"
        emit("message", label=self.label, kind=kind, size=len(message), digest=digest(message))

    def report(self) -> None:
        cpu = time.process_time() - self._cpu
        emit("report", label=self.label, bytes=self.size_bytes, seconds=self._last - self._first, cpu=cpu)


def random_messages(sizes: list[int]) -> list[bytes]:
    return [os.urandom(size) for size in sizes]


async def serve(handle: Callable[[Command], Awaitable[None]]) -> None:
    """Hand each command to `handle`, in order, until "quit" or the end of standard input."""
    loop = asyncio.get_running_loop()
    emit("ready")
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        command: Command = json.loads(line) if line else {"do": "quit"}
        try:
            await handle(command)
        except Exception as error:  # noqa: BLE001  # whatever it is, the test is told
            traceback.print_exc()
            emit("error", message=f"{command['do']}: {type(error).__name__}: {error}")
        if command["do"] == "quit":
            emit("quit")
            return
