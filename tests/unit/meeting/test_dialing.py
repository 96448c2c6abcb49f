"""meeting.dialing: a host's addresses raced, and what no address gives."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tallow_cli.meeting.dialing import dial


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
