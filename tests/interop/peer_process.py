"""A foreign peer in its own process, driven over JSON lines as peers/peer_protocol.py says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

Event = dict[str, Any]

TIMEOUT_S: Final = 20.0
QUIT_TIMEOUT_S: Final = 5.0
# An SDP or a long list of digests is one line.
_LINE_BYTES: Final = 4 * 1024 * 1024


class PeerError(AssertionError):
    """The peer failed, or did not say in time what was waited for."""


class PeerProcess:
    """Make it with `running`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.events: list[Event] = []
        self._process = process
        self._changed = asyncio.Event()
        self._ended = False
        self._errors: list[str] = []
        self._tasks = [asyncio.create_task(self._read_events()), asyncio.create_task(self._read_errors())]

    def command(self, do: str, **fields: Any) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps({"do": do, **fields}).encode() + b"\n")

    def of(self, event: str, **fields: Any) -> list[Event]:
        """The events so far of that name whose fields are these."""
        wanted = {"event": event, **fields}
        return [each for each in self.events if all(each.get(key) == wanted[key] for key in wanted)]

    async def wait(self, event: str, count: int = 1, timeout_s: float = TIMEOUT_S, **fields: Any) -> Event:
        """The `count`th such event. Raises PeerError with all that was said when it does not come."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(found := self.of(event, **fields)) < count:
                    if self._ended:
                        raise PeerError(f"the peer ended before {event} {fields}: {self.report()}")
                    if errors := self.of("error"):
                        raise PeerError(f"{errors}: {self.report()}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise PeerError(f"no {event} number {count} {fields} in {timeout_s} s: {self.report()}") from None
        return found[count - 1]

    def report(self) -> str:
        said = [{key: str(value)[:60] for key, value in each.items()} for each in self.events[-12:]]
        return f"exit {self._process.returncode}; last events {said}; stderr {self._errors[-12:]}"

    async def quit(self) -> int:
        """Let it close its connection and exit; returns its exit code."""
        self.command("quit")
        try:
            return await asyncio.wait_for(self._process.wait(), QUIT_TIMEOUT_S)
        except TimeoutError:
            raise PeerError(f"still running {QUIT_TIMEOUT_S} s after quit: {self.report()}") from None

    async def end(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._tasks)
        if self._process.stdin is not None:
            self._process.stdin.close()
            with suppress(ConnectionError):
                await self._process.stdin.wait_closed()

    async def _read_events(self) -> None:
        stream = self._process.stdout
        while stream is not None and (line := await stream.readline()):
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self._errors.append(f"not JSON: {line[:200]!r}")
            self._changed.set()
        self._ended = True
        self._changed.set()

    async def _read_errors(self) -> None:
        stream = self._process.stderr
        while stream is not None and (line := await stream.readline()):
            self._errors.append(line.decode(errors="replace").rstrip())


@asynccontextmanager
async def running(command: Sequence[str | Path]) -> AsyncIterator[PeerProcess]:
    """Start the peer and wait until it is ready; it is ended on leaving, whatever happened."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )
    peer = PeerProcess(process)
    try:
        await peer.wait("ready")
        yield peer
    finally:
        await peer.end()
