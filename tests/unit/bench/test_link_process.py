"""The emulating process, over real sockets of this machine."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from tallow_cli.bench.emulated_link import LinkSpec
from tallow_cli.bench.link_process import End, LinkProcessSettings, emulate

SPEC = LinkSpec(rate_bps=100e6, rtt_s=0.002, loss=0.0)
TIMEOUT_S = 5.0


class Running:
    """`emulate` in a thread; `said` fills as it speaks."""

    def __init__(self, spec: LinkSpec) -> None:
        self.said: dict[str, dict[str, Any]] = {}
        self._ready = threading.Event()
        self._stopping = threading.Event()
        settings = LinkProcessSettings(spec, seed=1)
        self._thread = threading.Thread(
            target=emulate, args=(settings, self._stopping, self._say), daemon=True
        )
        self._thread.start()
        assert self._ready.wait(TIMEOUT_S)

    def _say(self, event: str, fields: Mapping[str, Any]) -> None:
        self.said[event] = json.loads(json.dumps(dict(fields)))
        self._ready.set()

    def port(self, name: str) -> tuple[str, int]:
        ports = self.said["ports"]
        return ports["address"], ports[name]

    def stop(self) -> dict[str, Any]:
        self._stopping.set()
        self._thread.join(TIMEOUT_S)
        return self.said["counters"]


@contextmanager
def sockets(address: str, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        made = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for sock in made:
            sock.bind((address, 0))
            sock.settimeout(TIMEOUT_S)
        yield made


def receive(sock: socket.socket, wanted: bytes) -> tuple[str, int]:
    """Pass over what comes before; return where it came from."""
    while True:
        datagram, (address, port) = sock.recvfrom(100)
        if datagram == wanted:
            return address, port


def test_two_ends_speak_through_it_and_a_third_is_not_heard() -> None:
    link = Running(SPEC)
    facing_sender, facing_receiver = link.port("facing_sender"), link.port("facing_receiver")
    with sockets(facing_sender[0], 3) as (sender, receiver, stranger):
        receiver.sendto(b"here", facing_receiver)
        sender.sendto(b"hello", facing_sender)
        assert receive(receiver, b"hello") == facing_receiver
        stranger.sendto(b"me too", facing_sender)
        receiver.sendto(b"welcome", facing_receiver)
        assert receive(sender, b"welcome") == facing_sender
        sender.sendto(b"bye", facing_sender)
        assert receive(receiver, b"bye") == facing_receiver
    counters = link.stop()
    assert (counters["forward"]["received"], counters["back"]["received"]) == (2, 2)
    assert (counters["forward"]["overrun"], counters["back"]["overrun"]) == (0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts them")
def test_datagrams_that_died_unread_in_the_emulators_socket_are_counted() -> None:
    with closing(End("127.0.0.1")) as end, sockets("127.0.0.1", 1) as (sender,):
        assert end.overrun() == 0
        end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(20):
            sender.sendto(bytes(1400), ("127.0.0.1", end.port))
        assert 10 < end.overrun() < 20
