"""Both ends of a session in this process, over a FakeNetwork and a real signaling server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from signaling.limits import ServerLimits
from signaling.server import SignalingServer
from tallow_cli.crypto.codes import Code, parse_code
from tallow_cli.crypto.handshake import CLEAR_PAYLOAD, HandshakeResult, HostHandshake, JoinerHandshake
from tallow_cli.crypto.keys import Role
from tallow_cli.link.description import encode
from tallow_cli.link.link import GatheredLink, LinkOptions, PrepareLink
from tallow_cli.offer.manifest import Manifest
from tallow_cli.offer.name_rules import POSIX, NameRules
from tallow_cli.session.connection import Connection, connect
from tallow_cli.session.events import CodeReady, Done, SessionEvent
from tallow_cli.session.pace import Pace
from tallow_cli.session.receive import receive
from tallow_cli.session.send import send
from tallow_cli.session.settings import LinkSettings, ReceiveSettings, SendSettings, Waits
from tallow_cli.store.sequential_sink import NullSink
from tallow_cli.store.sink import Sink
from tallow_cli.store.source import Source
from tests.support.entropy import SeededEntropy
from tests.support.fake_link import FakeNetwork

E = TypeVar("E")
PATIENCE_S = 20.0
CODE = parse_code("4821-acorn-blend-crisp")
Decide = Callable[[Manifest], Awaitable[Sink]]


async def take_anything(_manifest: Manifest) -> Sink:
    return NullSink()


@dataclass
class Side:
    """One end: its events, and the task it runs in."""

    events: list[SessionEvent] = field(default_factory=list)
    fails_at: type[object] | None = None  # the renderer fails when it shall show this kind of event
    task: asyncio.Task[Done] | None = None
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def emit(self, event: SessionEvent) -> None:
        if self.fails_at is not None and isinstance(event, self.fails_at):
            raise OSError(28, "no space left on device")
        self.events.append(event)
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def event(self, kind: type[E], count: int = 1) -> E:
        """The `count`-th event of this kind, when it has come."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.of(kind)) < count:
                future = asyncio.get_running_loop().create_future()
                self._waiting.append(future)
                await future
        return self.of(kind)[count - 1]

    async def code(self) -> Code:
        return parse_code((await self.event(CodeReady)).code)

    async def done(self) -> Done:
        """The result. Raises what the session raised."""
        assert self.task is not None
        async with asyncio.timeout(PATIENCE_S):
            return await self.task

    async def failure(self) -> BaseException:
        """What the session raised."""
        assert self.task is not None
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait([self.task])
        if self.task.cancelled():
            return asyncio.CancelledError()
        error = self.task.exception()
        assert error is not None, self.events
        return error

    def cancel(self) -> None:
        assert self.task is not None
        self.task.cancel()


class Sessions:
    """Starts ends that find each other by a runtime directory of their own."""

    def __init__(self, network: FakeNetwork, prepare_link: PrepareLink | None = None) -> None:
        self.network = network
        self.prepare_link = prepare_link or network.prepare
        self.pace = Pace()  # of the sides started from now on
        self._sides: list[Side] = []

    def send(
        self,
        source: Source,
        *,
        code: Code | None = CODE,
        server: str | None = None,
        link: LinkSettings | None = None,
        waits: Waits | None = None,
    ) -> Side:
        settings = SendSettings(
            code,
            server,
            link=link or LinkSettings(),
            waits=waits or Waits(),
            prepare_link=self.prepare_link,
            pace=self.pace,
        )
        side = Side()
        return self._start(side, send(source, settings, side.emit))

    def receive(
        self,
        decide: Decide = take_anything,
        *,
        code: Code = CODE,
        server: str | None = None,
        link: LinkSettings | None = None,
        waits: Waits | None = None,
        max_bytes: int | None = None,
        names: NameRules = POSIX,
    ) -> Side:
        settings = ReceiveSettings(
            code,
            server,
            link or LinkSettings(),
            waits or Waits(),
            self.prepare_link,
            max_bytes=max_bytes,
            names=names,
            pace=self.pace,
        )
        side = Side()
        return self._start(side, receive(settings, side.emit, decide))

    def _start(self, side: Side, session: Awaitable[Done]) -> Side:
        async def run() -> Done:
            return await session

        side.task = asyncio.get_running_loop().create_task(run())
        self._sides.append(side)
        return side

    async def close(self) -> None:
        tasks = [side.task for side in self._sides if side.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def opened_sessions(
    directory: Path, monkeypatch: pytest.MonkeyPatch, prepare_link: PrepareLink | None = None
) -> AsyncIterator[Sessions]:
    """Sessions whose links are fake (unless `prepare_link` makes others), whose discovery sees only this test."""
    runtime = directory / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("TALLOW_NO_MDNS", "1")
    sessions = Sessions(FakeNetwork(), prepare_link)
    try:
        yield sessions
    finally:
        await sessions.close()


@asynccontextmanager
async def running_server(limits: ServerLimits | None = None, port: int = 0) -> AsyncIterator[str]:
    """The URL of a signaling server that both sides can be told of."""
    server = SignalingServer(limits=limits or ServerLimits())
    port = await server.start("127.0.0.1", port)
    try:
        yield f"ws://127.0.0.1:{port}"
    finally:
        await server.close()


def agree(
    host: GatheredLink, joiner: GatheredLink, *, clear: bool = False
) -> tuple[HandshakeResult, HandshakeResult]:
    """A handshake in memory: the host's result and the joiner's."""
    capabilities = frozenset({CLEAR_PAYLOAD}) if clear else frozenset()
    ours = HostHandshake(CODE, version="1", entropy=SeededEntropy("host"), capabilities=capabilities)
    theirs = JoinerHandshake(CODE, version="1", entropy=SeededEntropy("joiner"), capabilities=capabilities)
    reply = ours.receive_hello(theirs.hello(), encode(host.description))
    confirm, joined = theirs.receive_reply(reply, encode(joiner.description))
    return ours.receive_confirm(confirm), joined


async def connections(
    network: FakeNetwork, *, waits: Waits | None = None, reliable: bool = False, clear: bool = False
) -> tuple[Connection, Connection]:
    """The host's and the joiner's end of a confirmed connection."""
    host, joiner = await network.pair(LinkOptions(reliable=reliable))
    ours, theirs = agree(host, joiner, clear=clear)
    settings, waits = LinkSettings(), waits or Waits()
    return await asyncio.gather(
        connect(host, Role.HOST, ours, settings, waits, lambda _event: None),
        connect(joiner, Role.JOINER, theirs, settings, waits, lambda _event: None),
    )
