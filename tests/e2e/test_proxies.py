"""Signaling through real proxies (HTTP CONNECT and SOCKS 5), which the environment names; the data goes straight."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.processes import Shell
from tests.support.signaling_program import serving

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="a name of its own for the server: it needs root"),
]
NAME = "signaling.example"  # only the proxy knows it, so nothing but the proxy can have made the connection


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def proxy(sh: Shell, port: int, *command: str) -> Iterator[None]:
    """`command` where `NAME` is this machine."""
    hosts = sh.directory / "hosts"
    hosts.write_text(f"127.0.0.1 {NAME}\n")
    named = ["unshare", "--mount", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"]
    process = subprocess.Popen([*named, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as link:
                if link.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


def carried(sh: Shell, url: str) -> str:
    content = os.urandom(200_000)
    (sh.directory / "f").write_bytes(content)
    sender = sh.start("send", "f", "--json", "--server", url)
    code = sender.wait_event("code")["code"]
    receiver = sh.start("recv", code, "--yes", "--server", url, "-o", "in/")
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()
    assert (sh.directory / "in" / "f").read_bytes() == content
    return receiver.error_text


def http_proxy(sh: Shell, port: int, *more: str) -> list[str]:
    config = sh.directory / "tinyproxy.conf"
    config.write_text("\n".join([f"Port {port}", "Listen 127.0.0.1", "Timeout 600", *more, ""]))
    return ["tinyproxy", "-d", "-c", str(config)]


HAS_HTTP = pytest.mark.skipif(shutil.which("tinyproxy") is None, reason="tinyproxy is not installed")
HAS_SOCKS = pytest.mark.skipif(shutil.which("microsocks") is None, reason="microsocks is not installed")


@HAS_HTTP
def test_an_http_proxy_carries_the_meeting_and_both_are_told_that_it_carries_no_data(sh: Shell) -> None:
    port = free_port()
    with serving() as server, proxy(sh, port, *http_proxy(sh, port)):
        sh.environment["HTTPS_PROXY"] = f"http://127.0.0.1:{port}"
        said = carried(sh, f"ws://{NAME}:{server.port}")
    assert f"The proxy at 127.0.0.1:{port} carries the meeting alone" in said


@HAS_SOCKS
def test_a_socks_proxy_carries_the_meeting(sh: Shell) -> None:
    port = free_port()
    command = ["microsocks", "-i", "127.0.0.1", "-p", str(port), "-u", "alice", "-P", "s3cret"]
    with serving() as server, proxy(sh, port, *command):
        sh.environment["ALL_PROXY"] = f"socks5h://alice:s3cret@127.0.0.1:{port}"
        said = carried(sh, f"ws://{NAME}:{server.port}")
    assert "s3cret" not in said


@HAS_HTTP
def test_a_proxy_that_refuses_is_named_without_its_password(sh: Shell) -> None:
    port = free_port()
    with proxy(sh, port, *http_proxy(sh, port, "BasicAuth alice right")):
        sh.environment["HTTPS_PROXY"] = f"http://alice:wr0ng@127.0.0.1:{port}"
        sender = sh.start("send", "--text", "x", "--server", f"ws://{NAME}:8765")
        assert sender.wait() == 3
    assert f"the proxy at 127.0.0.1:{port}" in sender.error_text
    assert "wr0ng" not in sender.error_text
    assert sender.error_text.strip().count("\n") == 0


def test_a_dead_proxy_is_named_and_not_the_server(sh: Shell) -> None:
    port = free_port()
    sh.environment["HTTPS_PROXY"] = f"http://alice:s3cret@127.0.0.1:{port}"
    sender = sh.start("send", "--text", "x", "--server", f"ws://{NAME}:8765")
    assert sender.wait() == 3
    assert f"the proxy at 127.0.0.1:{port}" in sender.error_text
    assert "s3cret" not in sender.error_text


def test_the_senders_own_server_and_those_on_this_network_are_reached_without_a_proxy(sh: Shell) -> None:
    sh.environment |= {
        name: f"http://127.0.0.1:{free_port()}" for name in ("HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY")
    }
    sender = sh.start("send", "--text", "x", "--json")
    receiver = sh.start("recv", sender.wait_event("code")["code"], "--yes")
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report()
