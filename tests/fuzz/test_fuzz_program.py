"""The real program, sender and receiver, while a stranger sends everything he has to every UDP port they open."""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.fuzz.harness import SECONDS
from tests.fuzz.hostile_input import dtls_records, some_bytes, stun_message
from tests.security.test_strangers import client_hello
from tests.support.processes import Tallow, shell

pytestmark = [
    pytest.mark.timeout(0),
    pytest.mark.skipif(sys.platform != "linux", reason="finds the ports of a process in /proc"),
]

MAX_GROWTH_BYTES = 60 * 1024 * 1024


def udp_ports(pid: int) -> set[int]:
    """The UDP ports on which a process listens."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for table in ("udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Spray(threading.Thread):
    """Sends noise to the ports of processes, on each address of this machine, until it is told to end."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.processes: list[Tallow] = []
        self.sent = 0
        self._rng = rng
        self._ended = threading.Event()
        self._hello = client_hello()

    def run(self) -> None:
        addresses = {"127.0.0.1", *socket.gethostbyname_ex(socket.gethostname())[2]}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            ports: set[int] = set()
            looked_at = 0.0
            while not self._ended.is_set():
                if time.monotonic() - looked_at > 0.2:
                    looked_at = time.monotonic()
                    ports = set()
                    for each in self.processes:
                        try:
                            ports |= udp_ports(each.process.pid)
                        except OSError:
                            continue
                for port in ports - {5353}:
                    datagram = self._noise()
                    for address in addresses:
                        try:
                            sock.sendto(datagram, (address, port))
                            self.sent += 1
                        except OSError:
                            continue
                time.sleep(0.005)

    def _noise(self) -> bytes:
        kind = self._rng.randrange(5)
        if kind == 0:
            return self._hello
        if kind == 1:
            return stun_message(self._rng)
        return dtls_records(self._rng, self._hello) if kind < 4 else some_bytes(self._rng, 20_000)

    def end(self) -> None:
        self._ended.set()
        self.join()


@pytest.mark.parametrize("engine", ["turbo", "aiortc"])
def test_a_file_arrives_while_a_stranger_sprays_both_ends(engine: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("TALLOW_SEED") or random.SystemRandom().randrange(1 << 32))
    content = random.Random(seed).randbytes(8_000_000)
    (tmp_path / "data.bin").write_bytes(content)
    (tmp_path / "in").mkdir()
    spray = Spray(random.Random(seed))
    with shell(tmp_path) as sh:
        sender = sh.start("send", tmp_path / "data.bin", "--json", "--engine", engine)
        try:
            code = sender.wait_event("code")["code"]
            spray.processes.append(sender)
            spray.start()
            time.sleep(0.5)
            before = rss_bytes(sender.process.pid)
            time.sleep(SECONDS / 2)
            growth = rss_bytes(sender.process.pid) - before
            receiver = sh.start("recv", code, "-o", tmp_path / "in", "--yes", "--json", "--engine", engine)
            spray.processes.append(receiver)
            assert receiver.wait() == 0, f"seed {seed}: {receiver.report()}"
            assert sender.wait() == 0, f"seed {seed}: {sender.report()}"
        finally:
            spray.end()
    assert (tmp_path / "in" / "data.bin").read_bytes() == content
    assert spray.sent > 100
    assert growth < MAX_GROWTH_BYTES, f"seed {seed}"
    for end in (sender, receiver):
        assert "Traceback" not in end.error_text, f"seed {seed}"
        assert "Exception" not in end.error_text, f"seed {seed}"
