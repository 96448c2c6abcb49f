"""Relays that the real server offers or runs: coturn itself takes the credentials, from both members of a room only."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from aioice import turn

from signaling.protocol import IceServer
from signaling.turn import parsed_relay
from tallow_cli.meeting.signaling_client import SignalingClient
from tests.support.signaling_program import serving

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed"),
]
SECRET = "a-secret-for-this-test-alone"


async def offered(url: str) -> tuple[tuple[IceServer, ...], tuple[IceServer, ...]]:
    """What host and joiner of a room are given."""
    async with await SignalingClient.connect(url) as host, await SignalingClient.connect(url) as joiner:
        nameplate = await host.allocate()
        assert host.ice_servers == joiner.ice_servers == (), "whoever waits alone is given nothing"
        await joiner.join(nameplate)
        await host.wait_for_peer(5)
        return host.ice_servers, joiner.ice_servers


async def relayed_address(server: IceServer, credential: str | None = None) -> tuple[str, int]:
    """Allocate at the relay, as an ICE agent does."""
    relay = parsed_relay(server.url)
    transport, _ = await turn.create_turn_endpoint(
        asyncio.DatagramProtocol,
        server_addr=(relay.host, relay.port),
        username=server.username,
        password=credential or server.credential,
        transport=relay.transport,
    )
    address: tuple[str, int] = transport.get_extra_info("sockname")
    transport.close()
    return address


def is_running(process_id: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process_id, 0)
        return not Path(f"/proc/{process_id}/stat").read_text().split(") ")[1].startswith("Z")
    return False


def relays_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(each) for each in children.split()]


@contextmanager
def free_relay_port() -> Iterator[None]:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 3478)) == 0:
            pytest.skip("something listens on port 3478 of this machine")
    yield


async def test_a_relay_elsewhere_takes_the_credentials_that_both_members_get(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "secret").write_text(SECRET)
    relay = subprocess.Popen(
        ["turnserver", "-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}",
         "--use-auth-secret", f"--static-auth-secret={SECRET}", "--realm=x", "--no-cli", "--no-tls", "--no-dtls",
         "--allow-loopback-peers", f"--pidfile={tmp_path}/pid", f"--userdb={tmp_path}/db", "--log-file=stdout"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"turn:127.0.0.1:{port}"
        with serving("--turn", url, "--turn-secret-file", str(tmp_path / "secret")) as server:
            host, joiner = await offered(server.url)
            assert [each.url for each in host] == [each.url for each in joiner] == [url]
            assert host[0].credential != joiner[0].credential
            for given in (host[0], joiner[0]):
                assert (await relayed_address(given))[0] == "127.0.0.1"
            with pytest.raises(turn.stun.TransactionFailed):
                await relayed_address(host[0], credential=joiner[0].credential)
    finally:
        relay.terminate()
        relay.wait(10)


async def test_a_relay_of_our_own_relays_within_its_ports_and_ends_with_the_server() -> None:
    with free_relay_port(), serving("--relay", "--relay-ports", "50100-50199") as server:
        assert any(line.startswith("Relaying for those who need it") for line in server.said)
        host, _ = await offered(server.url)
        assert [each.url for each in host] == [
            "turn:127.0.0.1:3478?transport=udp",
            "turn:127.0.0.1:3478?transport=tcp",
        ]
        for given in host:
            address, port = await relayed_address(given)
            assert (address, 50_100 <= port <= 50_199) == ("127.0.0.1", True)
        (relay,) = relays_of(server.process)
        assert not any(
            each in Path(f"/proc/{relay}/cmdline").read_text() for each in ("secret", host[0].credential)
        )
    assert not is_running(relay)


async def test_two_that_meet_again_are_offered_relays_as_well(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    token = "a" * 26
    with serving("--turn", "turn:127.0.0.1:1", "--turn-secret-file", str(tmp_path / "secret")) as server:
        async with (
            await SignalingClient.connect(server.url) as host,
            await SignalingClient.connect(server.url) as joiner,
        ):
            await asyncio.gather(
                host.meet_again(token, is_host=True), joiner.meet_again(token, is_host=False)
            )
            for each in (host, joiner):
                assert [relay.url for relay in each.ice_servers] == ["turn:127.0.0.1:1"]


async def test_a_relay_that_dies_is_started_again_and_one_that_is_orphaned_ends() -> None:
    with free_relay_port(), serving("--relay", "--relay-ports", "50200-50299") as server:
        (first,) = relays_of(server.process)
        os.kill(first, signal.SIGKILL)
        give_up_at = time.monotonic() + 10
        while time.monotonic() < give_up_at and relays_of(server.process) in ([], [first]):
            await asyncio.sleep(0.1)
        (second,) = relays_of(server.process)
        host, _ = await offered(server.url)
        while True:
            with suppress(OSError, turn.stun.TransactionError):
                await relayed_address(host[1])
                break
            assert time.monotonic() < give_up_at
        server.process.kill()
        server.process.wait(5)
        if shutil.which("setpriv") is not None:
            while time.monotonic() < give_up_at and is_running(second):
                await asyncio.sleep(0.1)
            assert not is_running(second)
        else:
            os.kill(second, signal.SIGTERM)


@pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces: it needs root")
def test_a_relay_whose_settings_cannot_be_written_is_one_sentence() -> None:
    mounts = ["unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro / && exec "$@"', "sh"]
    command = [*mounts, sys.executable, "-m", "signaling", "--port", "0", "--relay"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd="/")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "cannot be written to a temporary directory" in ended.stderr
