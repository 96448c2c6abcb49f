"""The three ways to keep a server running, of docs/how-to/run-a-signaling-server.md: its own files and commands.

systemd itself and a Docker daemon are not needed: systemd-analyze reads the unit, and its command runs under the same
kernel's rules by hand; so do the containers' commands.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.lab.namespaces import ADDRESS_A, Lab, Profile, lab
from tests.support.certificates import self_signed
from tests.support.processes import Shell
from tests.support.signaling_program import serving
from tests.support.surroundings import missing

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "run-a-signaling-server.md").read_text()
PROGRAM = [sys.executable, "-m", "signaling"]
WHY_NOT = missing()
MOST_EXPOSURE = 2.0  # systemd-analyze's scale is 0 to 10, and calls up to 4 safe
FEW_RIGHTS = """
import ctypes, os, sys
PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 38, 65, 1
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)  # since Linux 6.3: what MemoryDenyWriteExecute uses
os.execvp(sys.argv[1], sys.argv[1:])
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def unit() -> str:
    return next(block for block in blocks("ini") if block.startswith("# /etc/systemd/system/"))


def started_by_the_unit() -> list[str]:
    found = re.search(r"^ExecStart=(.+)$", unit(), re.MULTILINE)
    assert found is not None
    return shlex.split(found[1])


def no_root_no_change() -> list[str]:
    """A prefix: no capability and none to be had, no file that changes but in an own directory."""
    mounts = 'mount -o remount,bind,ro / && mount -t tmpfs tmpfs /var/tmp && exec "$@"'
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
    return ["unshare", "--mount", "sh", "-c", mounts, "sh", *drop, sys.executable, "-c", FEW_RIGHTS]


def carried(sh: Shell, url: str, on_sender: Sequence[str] = (), on_receiver: Sequence[str] = ()) -> None:
    """A file goes through, by this server."""
    content = os.urandom(300_000)
    (sh.directory / "f").write_bytes(content)
    sh.within = tuple(on_sender)
    sender = sh.start("send", "f", "--json", "--server", url)
    code = sender.wait_event("code")["code"]
    sh.within = tuple(on_receiver)
    receiver = sh.start("recv", code, "--yes", "--json", "-o", "in/", "--server", url)
    assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()
    assert (sh.directory / "in" / "f").read_bytes() == content


@contextmanager
def running(command: Sequence[str], port: int, on: Sequence[str] = ()) -> Iterator[None]:
    """`command` from when it listens on TCP `port`, in the namespace that `on` enters."""
    process = subprocess.Popen([*on, *command], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(300):
            heard = [
                *on,
                sys.executable,
                "-c",
                f"import socket; socket.create_connection(('localhost', {port}))",
            ]
            if subprocess.run(heard, stderr=subprocess.DEVNULL, check=False).returncode == 0:
                break
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=15)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


# systemd


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit_and_calls_it_well_confined(tmp_path: Path) -> None:
    path = tmp_path / "tallow-signaling.service"
    program = started_by_the_unit()[0]
    path.write_text(unit().replace(program, shutil.which("true") or "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", path],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for .*: ([\d.]+)", judged.stdout)
    assert found is not None, judged.stderr
    assert float(found[1]) <= MOST_EXPOSURE


@pytest.mark.lab
@pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces: {WHY_NOT}")
@pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed")
def test_the_units_command_serves_with_no_rights_but_sockets(sh: Shell) -> None:
    command = [*no_root_no_change(), *PROGRAM, *started_by_the_unit()[1:]]
    with lab(Profile("raw", 0)) as hosts, running(command, 8765, hosts.on_a):
        carried(sh, f"ws://{ADDRESS_A}:8765", hosts.on_a, hosts.on_b)
        assert_relay_answers(hosts)


def assert_relay_answers(hosts: Lab) -> None:
    """A TURN server stands at the port: it refuses an allocation without credentials (401)."""
    ask = """
import os, socket, sys
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.settimeout(5)
allocate = bytes.fromhex("000300082112a442") + os.urandom(12) + bytes.fromhex("0019000411000000")
link.sendto(allocate, (sys.argv[1], 3478))
print(link.recv(2048)[:2].hex())
"""
    answer = subprocess.run(
        [*hosts.on_b, sys.executable, "-c", ask, str(ADDRESS_A)], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "0113"


# Containers


def composed(*profiles: str) -> dict[str, dict[str, object]]:
    """The services of compose.yaml as Compose understands it."""
    compose = ["docker", "compose"] if _has_compose_plugin() else ["docker-compose"]
    chosen = [word for each in profiles for word in ("--profile", each)]
    found = subprocess.run(
        [*compose, "--file", ROOT / "compose.yaml", *chosen, "config"],
        capture_output=True,
        text=True,
        check=True,
    )
    return _services(found.stdout)


def _has_compose_plugin() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


def _services(yaml: str) -> dict[str, dict[str, object]]:
    """Of Compose's own normal form: `command` as words, everything else as text."""
    services: dict[str, dict[str, object]] = {}
    within = re.search(r"^services:\n((?:  .*\n|\n)*)", yaml, re.MULTILINE)
    assert within is not None
    for name, body in re.findall(r"^  (\w+):\n((?:    .*\n)+)", within[1], re.MULTILINE):
        command = re.search(r"^    command:\n((?:    +- .*\n)+)", body, re.MULTILINE)
        words = [] if command is None else re.findall(r"^ +- (.*)$", command[1], re.MULTILINE)
        services[name] = {"command": [word.strip("'\"") for word in words], "text": body}
    return services


HAS_COMPOSE = pytest.mark.skipif(
    shutil.which("docker-compose") is None and not _has_compose_plugin(),
    reason="Docker Compose is not installed",
)


@HAS_COMPOSE
def test_compose_reads_the_file_and_confines_each_server() -> None:
    services = composed("plain", "tls", "proxy")
    assert set(services) == {"plain", "tls", "behind", "proxy"}
    for name in ("plain", "tls", "behind"):
        text = str(services[name]["text"])
        assert "read_only: true" in text
        assert "no-new-privileges:true" in text
        assert re.search(r"cap_drop:\n +- ALL", text)


@pytest.mark.lab
@HAS_COMPOSE
@pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces: {WHY_NOT}")
@pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed")
@pytest.mark.parametrize("profile", ["plain", "tls"])
def test_a_containers_command_serves_with_the_rights_of_a_container(sh: Shell, profile: str) -> None:
    words = composed(profile)[profile]["command"]
    assert isinstance(words, list)
    certificate, key = self_signed(sh.directory, str(ADDRESS_A))
    placed = {"/certificates/fullchain.pem": str(certificate), "/certificates/privkey.pem": str(key)}
    command = [*no_root_no_change(), *PROGRAM, *(placed.get(word, word) for word in words)]
    if profile == "tls":
        sh.environment["SSL_CERT_FILE"] = str(certificate)
    scheme = "wss" if profile == "tls" else "ws"
    with lab(Profile("raw", 0)) as hosts, running(command, 8765, hosts.on_a):
        carried(sh, f"{scheme}://{ADDRESS_A}:8765", hosts.on_a, hosts.on_b)


def test_the_image_is_made_of_what_is_there_and_starts_our_program() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    ignored = (ROOT / ".dockerignore").read_text().split()
    kept = [line[1:] for line in ignored if line.startswith("!")]
    copied = [
        source
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in kept), f"{source} is in .dockerignore"
    entry = json.loads(
        next(line for line in lines if line.startswith("ENTRYPOINT ")).removeprefix("ENTRYPOINT ")
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert entry[0] in project["scripts"]


# Web servers before it


NGINX = """
daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log; worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};
    {recipe}
  }}
}}
"""


def arguments_behind() -> list[str]:
    """Of the server, as the page starts it behind a web server."""
    command = next(line for block in blocks("sh") for line in block.splitlines() if "--trust-proxy" in line)
    words = shlex.split(command)[2:]
    assert words[:2] == ["--host", "0.0.0.0"]
    return words[2:]


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_behind_nginx_under_a_path(sh: Shell) -> None:
    certificate, key = self_signed(sh.directory)
    port = free_port()
    with serving(*arguments_behind(), "--verbose") as server:
        recipe = blocks("nginx")[0].replace("127.0.0.1:8765", f"127.0.0.1:{server.port}")
        config = sh.directory / "nginx.conf"
        config.write_text(
            NGINX.format(directory=sh.directory, port=port, certificate=certificate, key=key, recipe=recipe)
        )
        sh.environment["SSL_CERT_FILE"] = str(certificate)
        with running(["nginx", "-c", str(config)], port):
            carried(sh, f"wss://127.0.0.1:{port}/tallow")
        server.process.terminate()
        assert_nothing_is_wrong_with_the_proxy(server.process)


@pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed")
@pytest.mark.parametrize("recipe", ["page", "container"])
def test_behind_caddy_under_a_path(sh: Shell, recipe: str) -> None:
    certificate, key = self_signed(sh.directory)
    port = free_port()
    text = blocks("caddyfile")[0] if recipe == "page" else (ROOT / "Caddyfile").read_text()
    with serving(*arguments_behind(), "--verbose") as server:
        text = text.replace("files.example", "{$DOMAIN}").replace(
            "{$DOMAIN} {", f"{{$DOMAIN}} {{\n tls {certificate} {key}\n", 1
        )
        options = "{\n admin off\n auto_https disable_redirects\n}\n"
        config = sh.directory / "Caddyfile"
        config.write_text(options + text.replace("127.0.0.1:8765", f"127.0.0.1:{server.port}"))
        sh.environment["SSL_CERT_FILE"] = str(certificate)
        homes = [f"{name}={sh.directory}" for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")]
        command = [
            "env",
            f"DOMAIN=127.0.0.1:{port}",
            *homes,
            "caddy",
            "run",
            "--adapter",
            "caddyfile",
            "--config",
        ]
        with running([*command, str(config)], port):
            carried(sh, f"wss://127.0.0.1:{port}/tallow")
        server.process.terminate()
        assert_nothing_is_wrong_with_the_proxy(server.process)


def assert_nothing_is_wrong_with_the_proxy(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    said = process.stderr.read()
    assert '"connected"' in said
    assert "proxy" not in said, said
