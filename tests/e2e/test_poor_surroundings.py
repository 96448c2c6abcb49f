"""Wherever the program is put, it works or says in one true sentence why not: no home, no network, nothing writable."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support import surroundings
from tests.support.processes import Shell

pytestmark = pytest.mark.e2e

Test = TypeVar("Test", bound=Callable[..., None])

WHY_NOT = surroundings.missing()


def needs_namespaces(test: Test) -> Test:
    return pytest.mark.lab(pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces: {WHY_NOT}")(test))


LOOPBACK_UP = ("link", "set", "lo", "up")
NO_IPV4 = ("addr", "del", "127.0.0.1/8", "dev", "lo")
NO_IPV6 = ("addr", "del", "::1/128", "dev", "lo")


def it_works(sh: Shell, file_name: str = "f1") -> None:
    """One file goes from a sender to a receiver, both in the surroundings of `sh`."""
    source, target = sh.directory / file_name, sh.directory / "received"
    source.write_text("what was sent\n", encoding="utf-8")
    target.mkdir()
    sender, receiver = sh.transfer([source], ["-o", target])
    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert (target / file_name).read_text(encoding="utf-8") == "what was sent\n"
    for end in (sender, receiver):
        assert "Traceback" not in end.error_text
        assert "unexpected" not in end.error_text


NOWHERE = "/nonexistent/at/all"


@pytest.mark.parametrize(
    "changes",
    [
        {"HOME": None},
        {"HOME": ""},
        {"HOME": NOWHERE},
        {
            "HOME": None,
            "PATH": None,
            "LANG": None,
            "LC_ALL": None,
            "TERM": None,
            "USER": None,
            "LOGNAME": None,
        },
        {"TMPDIR": NOWHERE},
        {"TERM": "unheard-of", "COLUMNS": "0", "LINES": "-3"},
        {"TZ": "Nowhere/Bad"},
        {"LC_ALL": "tlh_QO.nonesuch", "LANG": "xx"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"PYTHONWARNINGS": "default", "PYTHONASYNCIODEBUG": "1"},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_an_odd_environment_changes_nothing(sh: Shell, changes: Mapping[str, str | None]) -> None:
    del sh.environment["XDG_CONFIG_HOME"]
    for name, value in changes.items():
        sh.environment.pop(name, None)
        if value is not None:
            sh.environment[name] = value
    it_works(sh)


def test_names_are_utf8_on_the_disk_whatever_the_locale_says(sh: Shell) -> None:
    """PYTHONUTF8=0 and LC_ALL=C make Python decode names as ASCII, as a Latin-1 locale makes it decode them wrongly."""
    sh.environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    it_works(sh, "Grüße 日本.txt")


# Without networks


@needs_namespaces
@pytest.mark.parametrize("setup", [(), (NO_IPV4,), (NO_IPV6,)], ids=["both", "IPv6 alone", "IPv4 alone"])
def test_loopback_is_enough_and_either_family_of_it(sh: Shell, setup: tuple[tuple[str, ...], ...]) -> None:
    with surroundings.network(LOOPBACK_UP, *setup) as sh.within:
        it_works(sh)


@needs_namespaces
def test_a_server_whose_first_address_is_dead_is_reached_at_its_second(sh: Shell) -> None:
    hosts = sh.directory / "hosts"
    hosts.write_text("127.0.0.2 twice.test\n127.0.0.3 twice.test\n")
    with surroundings.network(LOOPBACK_UP) as inside:
        for dead in ("127.0.0.2", "127.0.0.3"):  # whichever the resolver gives first
            chain = "type filter hook output priority 0"
            rules = f"table ip dead {{\n chain out {{\n {chain};\n ip daddr {dead} drop\n }}\n}}\n"
            subprocess.run([*inside, "nft", "-f", "-"], input=rules.encode(), check=True)
            sh.within = (*inside, *surroundings.over_file("/etc/hosts", hosts))
            server = sh.start("serve", "--host", "0.0.0.0", "--port", "8765")
            sender = sh.start("send", "--text", "hello", "--server", "ws://twice.test:8765", "--json")
            code = sender.wait_event("code", 10)["code"]
            receiver = sh.start("recv", code, "--yes", "--json", "--server", "ws://twice.test:8765")
            assert (receiver.wait(20), sender.wait(20)) == (0, 0), sender.report() + receiver.report()
            server.process.terminate()
            server.wait(10)
            subprocess.run([*inside, "nft", "delete", "table", "ip", "dead"], check=True)


# Without a place to write, or the usual directories


@needs_namespaces
def test_where_all_is_read_only_the_place_to_receive_into_is_enough(sh: Shell, tmp_path: Path) -> None:
    """The two find each other by a file in the runtime directory, which is below the writable place here."""
    sh.environment |= {surroundings.WRITABLE: str(tmp_path), "HOME": "/root"}
    sh.environment.pop("TMPDIR", None)
    sh.within = surroundings.READ_ONLY
    probe = subprocess.run(
        [*sh.within, "touch", "/tmp/x"], env=sh.environment, check=False, capture_output=True
    )
    assert probe.returncode != 0, "something is writable that should not be"
    it_works(sh)


@needs_namespaces
def test_without_any_place_to_announce_in_the_sender_is_still_reached_by_its_address(
    sh: Shell, tmp_path: Path
) -> None:
    sh.environment[surroundings.WRITABLE] = str(tmp_path)
    for name in ("XDG_RUNTIME_DIR", "TMPDIR"):
        sh.environment.pop(name, None)
    (tmp_path / "received").mkdir()
    with surroundings.network(LOOPBACK_UP) as inside:
        sh.within = (*inside, *surroundings.READ_ONLY)
        sender = sh.start("send", "--text", "hello", "--json", cwd=Path("/"))
        event = sender.wait_event("code")
        assert event["reachable_as"], sender.report()
        receiver = sh.start(
            "recv", event["code"], "--yes", "--json", "--server", event["reachable_as"], cwd=Path("/")
        )
        assert (receiver.wait(20), sender.wait(20)) == (0, 0), sender.report() + receiver.report()


@needs_namespaces
@pytest.mark.parametrize("hidden", ["/etc", "/proc", "/sys"])
def test_a_container_without_the_usual_directories_will_do(sh: Shell, hidden: str) -> None:
    """Without /etc nobody has a name or a home, and no address has a name."""
    sh.environment.pop("HOME", None)
    sh.within = surroundings.over_directories(hidden)
    it_works(sh)


@needs_namespaces
def test_the_first_process_of_a_container_is_ended_by_sigterm(sh: Shell) -> None:
    """As process 1 it gets no default action for a signal: only a handler of its own ends it."""
    sh.within = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    sender = sh.start("send", "--text", "hello", "--json")
    sender.wait_event("code")
    [child] = Path(f"/proc/{sender.process.pid}/task/{sender.process.pid}/children").read_text().split()
    subprocess.run(["kill", "-TERM", child], check=True)
    assert sender.wait(10) == 143, sender.report()


@pytest.mark.parametrize("limits", ["ulimit -n 32", "ulimit -u 1; ulimit -c 0"])
def test_tight_limits_leave_room_for_a_transfer(sh: Shell, limits: str) -> None:
    sh.within = ("sh", "-c", f'{limits}; exec "$@"', "limited")
    it_works(sh)


@needs_namespaces
def test_without_any_network_every_command_says_so(sh: Shell) -> None:
    (sh.directory / "a").write_text("a")
    with surroundings.network() as enter:
        sh.within = enter
        for command in (
            ["send", "a"],
            ["send", "a", "--server", "ws://192.0.2.9:8765"],
            ["recv", "4821-acorn-blend-crisp", "--yes"],
            ["bench", "--size", "1MiB", "--runs", "1"],
        ):
            started = sh.start(*command)
            assert started.wait() == 6, started.report()
            assert started.err[-1].startswith("tallow: This machine has no network"), started.report()


@needs_namespaces
def test_a_loopback_that_is_down_is_named(sh: Shell) -> None:
    wire = ("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    with surroundings.network(
        wire, ("addr", "add", "10.9.0.1/24", "dev", "v0"), ("link", "set", "v0", "up")
    ) as enter:
        sh.within = enter
        started = sh.start("send", "--text", "x")
        assert started.wait() == 6, started.report()
        assert "loopback is down" in started.error_text
