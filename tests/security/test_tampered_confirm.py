"""A signaling server that meddles with the last body of the handshake costs seconds, and both ends say why.

Over real links: whether the sender can tell hangs on the receiver's first connectivity check.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from signaling.protocol import Relay
from signaling.rooms import Rooms
from signaling.server import SignalingServer
from tallow_cli.crypto.bodies import Kind
from tallow_cli.errors import PeerVanished, ProofNotTaken, TallowError, WrongCodeError
from tallow_cli.session.receive import receive
from tallow_cli.session.send import send
from tallow_cli.session.settings import ReceiveSettings, SendSettings
from tallow_cli.store.memory_source import TextSource
from tests.support.sessions import CODE, running_server, take_anything

Tamper = Callable[[bytes], bytes | None]


@asynccontextmanager
async def meddling_server(tamper: Tamper, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A server that passes `tamper(body)` on in place of a body, or nothing for None."""
    honest = Rooms.receive

    def receive_message(self: Rooms, now: float, number: int, message: object) -> None:
        if isinstance(message, Relay):
            body = tamper(message.body)
            if body is None:
                return
            message = Relay(body)
        honest(self, now, number, message)  # type: ignore[arg-type]

    monkeypatch.setattr(Rooms, "receive", receive_message)
    async with running_server() as url:
        yield url


async def ends(url: str) -> tuple[BaseException | None, BaseException | None, float]:
    """How both ended, and after how long."""
    started = time.monotonic()
    sending = asyncio.create_task(send(TextSource("secret"), SendSettings(CODE, url), lambda _event: None))
    receiving = asyncio.create_task(receive(ReceiveSettings(CODE, url), lambda _event: None, take_anything))
    await asyncio.wait([sending, receiving], timeout=25)
    took_s = time.monotonic() - started
    for task in (sending, receiving):
        task.cancel()
    await asyncio.gather(sending, receiving, return_exceptions=True)
    return (
        None if sending.cancelled() else sending.exception(),
        None if receiving.cancelled() else receiving.exception(),
        took_s,
    )


# How long a confirm is waited for, which a bad network may have to repeat, then connecting, and this machine's noise.
MOST_S = 10.0 + 6.0


def only(kind: Kind, change: Tamper) -> Tamper:
    return lambda body: change(body) if body[0] == kind else body


CONFIRMS: dict[str, Tamper] = {
    "flipped": only(Kind.CONFIRM, lambda body: body[:20] + bytes([body[20] ^ 1]) + body[21:]),
    "cut": only(Kind.CONFIRM, lambda body: body[:-1]),
    "another kind": only(Kind.CONFIRM, lambda body: bytes([Kind.HELLO]) + body[1:]),
    "dropped": only(Kind.CONFIRM, lambda _body: None),
}


@pytest.mark.parametrize("how", CONFIRMS)
async def test_a_meddled_confirm_costs_seconds_and_both_ends_say_that_the_code_is_spent(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with meddling_server(CONFIRMS[how], monkeypatch) as url:
        sender, receiver, took_s = await ends(url)
    assert isinstance(sender, WrongCodeError)
    assert isinstance(receiver, ProofNotTaken)
    assert took_s < MOST_S
    assert "wrong words" not in sender.sentence or how == "flipped"


async def test_where_the_abort_is_lost_too_the_sender_leaving_ends_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with meddling_server(
        lambda body: None if body[0] in (Kind.CONFIRM, Kind.ABORT) else body, monkeypatch
    ) as url:
        sender, receiver, took_s = await ends(url)
    assert isinstance(sender, WrongCodeError)
    assert isinstance(receiver, PeerVanished)
    assert took_s < MOST_S


async def test_an_honest_server_is_not_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    async with meddling_server(lambda body: body, monkeypatch) as url:
        assert (await ends(url))[:2] == (None, None)


async def test_a_server_that_goes_down_once_the_two_know_each_other_is_not_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers: list[SignalingServer] = []
    honest = SignalingServer.start

    async def start(self: SignalingServer, *place: object) -> int:
        servers.append(self)
        return await honest(self, *place)  # type: ignore[arg-type]

    monkeypatch.setattr(SignalingServer, "start", start)
    closing: list[asyncio.Task[None]] = []

    def pass_on(body: bytes) -> bytes:
        if body[0] == Kind.CONFIRM:
            asyncio.get_running_loop().call_later(
                0.02, lambda: closing.append(asyncio.ensure_future(servers[0].close()))
            )
        return body

    async with meddling_server(pass_on, monkeypatch) as url:
        sender, receiver, _ = await ends(url)
    assert isinstance(sender, TallowError | None)
    assert (sender, receiver) == (None, None)
    await asyncio.gather(*closing)
