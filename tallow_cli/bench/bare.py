"""The yardstick: how fast a bare aiortc script moves bytes between two processes on this machine.

One RTCPeerConnection at each end, one unordered DataChannel, messages of random bytes: no files, no hashes, no
acknowledgements, no encryption beyond DTLS. This is the code an aiortc user writes on the first day, with the
one thing it needs to be fair: it waits for `bufferedamountlow` instead of queueing everything at once.

Run by `bench.runner` as two processes that speak JSON lines over their standard streams:

    parent → both       BareSettings
    both → parent       {"event": "description", "sdp": …}, which the parent passes on to the other
    offer → parent      {"event": "done", "bytes": …, "seconds": …}: from the first send to all being there
    both → parent       {"event": "use", "cpu_s": …, "max_rss_bytes": …}
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import msgspec
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription

from tallow_cli.bench.process import (
    BareSettings,
    end_with_parent,
    leave_ctrl_c_to_parent,
    loop_factory,
    say,
    say_use,
)

# The largest message aiortc announces (max-message-size); its cost per byte falls with the message's size.
MESSAGE_BYTES = 64 * 1024
BUFFER_HIGH_BYTES = 4 * 1024 * 1024
BUFFER_LOW_BYTES = 1024 * 1024
ALL_ARRIVED = "all arrived"


class _Description(msgspec.Struct):
    sdp: str


async def offer(size: int, remote: asyncio.Future[str]) -> None:
    """Send `size` bytes and say how long it took."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    channel = connection.createDataChannel("bare", ordered=False)
    opened, arrived, low = asyncio.Event(), asyncio.Event(), asyncio.Event()
    channel.on("open", opened.set)
    channel.on("message", lambda _: arrived.set())
    channel.on("bufferedamountlow", low.set)
    channel.bufferedAmountLowThreshold = BUFFER_LOW_BYTES
    await connection.setLocalDescription(await connection.createOffer())
    say("description", {"sdp": connection.localDescription.sdp})
    await connection.setRemoteDescription(RTCSessionDescription(await remote, "answer"))
    await opened.wait()
    block = os.urandom(MESSAGE_BYTES)
    started = time.perf_counter()
    for start in range(0, size, MESSAGE_BYTES):
        while channel.bufferedAmount > BUFFER_HIGH_BYTES:
            low.clear()
            await low.wait()
        channel.send(block[: size - start])
    await arrived.wait()
    say("done", {"bytes": size, "seconds": time.perf_counter() - started})
    await connection.close()


async def answer(size: int, remote: asyncio.Future[str]) -> None:
    """Count bytes, and tell the other end when they are all there."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    finished = asyncio.Event()
    received = 0

    def on_channel(channel: RTCDataChannel) -> None:
        def on_message(message: bytes) -> None:
            nonlocal received
            received += len(message)
            if received == size:
                channel.send(ALL_ARRIVED)

        channel.on("message", on_message)
        channel.on("close", finished.set)

    def on_state() -> None:
        if connection.connectionState in ("closed", "failed"):
            finished.set()

    connection.on("datachannel", on_channel)
    connection.on("connectionstatechange", on_state)
    await connection.setRemoteDescription(RTCSessionDescription(await remote, "offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    say("description", {"sdp": connection.localDescription.sdp})
    await finished.wait()
    await connection.close()


async def _run(settings: BareSettings) -> None:
    loop = asyncio.get_running_loop()
    line = loop.run_in_executor(None, sys.stdin.readline)

    async def remote_sdp() -> str:
        sdp = msgspec.json.decode(await line, type=_Description).sdp
        end_with_parent()  # nothing more is read
        return sdp

    remote = asyncio.ensure_future(remote_sdp())
    cpu_before_s = time.process_time()
    await (offer if settings.role == "offer" else answer)(settings.size, remote)
    say_use(cpu_before_s)


def main() -> None:
    """The process: settings on the first line of standard input."""
    leave_ctrl_c_to_parent()
    settings = msgspec.json.decode(sys.stdin.readline(), type=BareSettings)
    with asyncio.Runner(loop_factory=loop_factory(settings.loop)) as runner:
        runner.run(_run(settings))


if __name__ == "__main__":
    main()
