"""meeting.dialing: a host's addresses raced, and what no address gives."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tallow_cli.meeting.dialing import dial, hedged


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
async def test_one_of_the_addresses_that_answers_is_enough(address: str) -> None:
    """Where `localhost` is also ::1, that one refuses: the listener is on IPv4 alone."""
    served = asyncio.Event()
    server = await asyncio.start_server(
        lambda _reader, writer: (writer.close(), served.set()), "127.0.0.1", 0
    )
    async with server:
        with await dial(address, server.sockets[0].getsockname()[1]) as connected:
            assert connected.getpeername()[0] == "127.0.0.1"
            assert not connected.getblocking()
            async with asyncio.timeout(5):
                await served.wait()


async def test_a_name_nobody_knows_is_told_apart() -> None:
    with pytest.raises(socket.gaierror):
        await dial("nobody.invalid", 80)


async def test_where_nothing_listens_the_reason_is_that_it_refused() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await dial("127.0.0.1", port)


class Attempts:
    """Each waits for its turn to be ended, by number."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[str]] = []
        self.given_up: list[str] = []
        self._more = asyncio.Event()

    async def attempt(self) -> str:
        ending: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.begun.append(ending)
        self._more.set()
        try:
            return await ending
        except asyncio.CancelledError:
            return "came all the same"

    async def until(self, count: int) -> None:
        while len(self.begun) < count:
            self._more.clear()
            await self._more.wait()


async def test_another_attempt_is_begun_beside_one_that_takes_long_and_the_first_to_be_there_wins() -> None:
    attempts = Attempts()
    racing = asyncio.create_task(hedged(attempts.attempt, (0.0, 0.0, 0.001), attempts.given_up.append))
    async with asyncio.timeout(5):
        await attempts.until(3)
        attempts.begun[1].set_result("the second")
        assert await racing == "the second"
    assert attempts.given_up == ["came all the same"] * 2


async def test_an_attempt_that_fails_leaves_it_to_those_begun_and_the_last_failure_is_raised() -> None:
    attempts = Attempts()
    racing = asyncio.create_task(hedged(attempts.attempt, (0.0, 0.0, 3600.0), attempts.given_up.append))
    async with asyncio.timeout(5):
        await attempts.until(2)
        attempts.begun[0].set_exception(ConnectionResetError())
        await asyncio.sleep(0)
        assert not racing.done()
        attempts.begun[1].set_exception(ConnectionRefusedError())
        with pytest.raises(ConnectionRefusedError):
            await racing
    assert len(attempts.begun) == 2, "what says no is not asked an hour later"


async def test_cancelling_gives_up_what_was_begun() -> None:
    attempts = Attempts()
    racing = asyncio.create_task(hedged(attempts.attempt, (0.0,), attempts.given_up.append))
    await attempts.until(1)
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    assert attempts.given_up == ["came all the same"]
