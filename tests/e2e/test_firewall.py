"""Behind firewalls that let in a few ports, which are named: the recipe of docs/how-to/firewalls.md, word for word."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.namespaces import ADDRESS_A, Lab, Profile, lab
from tests.support.processes import Shell
from tests.support.surroundings import missing

WHY_NOT = missing()
IN_NAMESPACES = pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces: {WHY_NOT}")
pytestmark = pytest.mark.e2e
RECIPE = Path(__file__).parents[2] / "docs" / "how-to" / "firewalls.md"


def recipe() -> str:
    """The nftables rules that the page gives."""
    found = re.search(r"```nft\n(.*?)```", RECIPE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@contextmanager
def walled() -> Iterator[Lab]:
    with lab(Profile("raw", 0)) as hosts:
        for on_host in (hosts.on_a, hosts.on_b):
            subprocess.run([*on_host, "nft", "-f", "-"], input=recipe(), text=True, check=True)
        yield hosts


@pytest.mark.lab
@IN_NAMESPACES
@pytest.mark.parametrize("engine", ["turbo", "aiortc"])
def test_with_the_ports_named_a_transfer_passes_the_walls(sh: Shell, engine: str) -> None:
    content = os.urandom(1_000_000)
    (sh.directory / "f").write_bytes(content)
    ports = ("--udp-ports", "50000-50099", "--engine", engine)
    with walled() as hosts:
        sh.within = hosts.on_a
        sender = sh.start("send", "f", "--json", "--port", "8765", *ports)
        code = sender.wait_event("code")
        assert code["reachable_as"] == f"ws://{ADDRESS_A}:8765"
        sh.within = hosts.on_b
        server = ("--server", code["reachable_as"])
        receiver = sh.start("recv", code["code"], "--yes", "--json", "-o", "in/", *server, *ports)
        assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report()
    assert (sh.directory / "in" / "f").read_bytes() == content


@pytest.mark.lab
@IN_NAMESPACES
def test_without_the_right_ports_nothing_passes_them(sh: Shell) -> None:
    """So that the test above shows something."""
    with walled() as hosts:
        sh.within = hosts.on_a
        sender = sh.start("send", "--text", "x", "--json", "--port", "8765", "--udp-ports", "40000-40099")
        code = sender.wait_event("code")
        sh.within = hosts.on_b
        server = ("--server", code["reachable_as"])
        receiver = sh.start("recv", code["code"], "--yes", "--json", *server, "--udp-ports", "40000-40099")
        assert (receiver.wait(), sender.wait()) == (6, 6), receiver.report()


def test_a_port_that_is_taken_is_one_sentence(sh: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sender = sh.start("send", "--text", "x", "--port", str(port))
        assert sender.wait() == 2
    assert sender.error_text.count("\n") == 0
    assert f"--port: Port {port} is in use" in sender.error_text


@pytest.mark.parametrize("command", ["send", "recv"])
def test_udp_ports_that_are_taken_are_one_sentence_and_cost_no_code(sh: Shell, command: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        port = taken.getsockname()[1]
        arguments = {"send": ("--text", "x"), "recv": ("4821-acorn-blend-crisp", "--yes")}[command]
        ended = sh.start(command, *arguments, "--udp-ports", str(port), "--interface", "127.0.0.1")
        assert ended.wait() == 2
    assert ended.error_text == (
        f"tallow: --udp-ports: port {port} is in use by other programs; name others, or more"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="it needs root, to become somebody else")
def test_ports_of_root_are_said_to_be(sh: Shell) -> None:
    sh.within = ("setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all")
    ended = sh.start("send", "--text", "x", "--udp-ports", "80-90", HOME="/nonexistent")
    assert ended.wait() == 2
    assert "only root may use the ports 80-90 here; name ports from 1024 on" in ended.error_text
