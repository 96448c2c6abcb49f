"""A relay of our own: coturn's `turnserver` from PATH, started, watched and stopped with the signaling server.

It gets its settings in a file that only this user can read, for its secret would stand in the process list otherwise.
Private, loopback and other special addresses are refused as peers, or the relay would be a door into the network it
stands in; its own addresses are not, for two clients that both need it meet there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signaling.networks import Address

PROGRAM: Final = "turnserver"
INSTALL: Final = (
    f"--relay needs coturn's {PROGRAM}, which is not installed here. Install the package coturn, "
    "or name a relay that runs elsewhere with --turn."
)
DEFAULT_PORTS: Final = (49_152, 65_535)  # RFC 8656 section 7.2: the dynamic ports
LEAST_PORTS: Final = 16
START_S: Final = 5.0  # until it answers, or has ended
STOP_S: Final = 2.0  # between SIGTERM and SIGKILL
FIRST_PAUSE_S: Final = 0.5  # before it is started again; then twice as long each time
LONGEST_PAUSE_S: Final = 30.0
_HEALTHY_S: Final = 60.0  # whoever has run for so long is started again after the first pause
_QUOTA_OF_ALL: Final = 1_000
_QUOTA_OF_USER: Final = 16  # a client allocates once for each address and transport
_SECRET_BYTES: Final = 32
# IANA's special-purpose registries (RFC 6890), but for what is public, and multicast.
_NO_PEERS: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
    # Not ::/128: coturn takes a range that ends in it for all addresses there are. As a peer it refuses it by itself
    # (since 4.5.2, CVE-2020-26262).
    "::1/128",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "100::/64",
    "2001::/23",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
)


class NoRelay(Exception):
    """It cannot be started. The text says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """`addresses` are those of this machine it listens on and relays from; `ports` are UDP, of what it relays."""

    addresses: tuple[Address, ...]
    port: int
    ports: tuple[int, int]
    secret: str
    external: Address | None = None  # what a NAT in front makes of the first of them
    tls: tuple[str, str] | None = None  # certificate chain and key, both PEM
    tls_port: int = 5_349


def new_secret(entropy: Callable[[int], bytes]) -> str:
    """For `RelaySettings`, and for the credentials that clients are given."""
    return entropy(_SECRET_BYTES).hex()


def configuration(settings: RelaySettings) -> str:
    """The lines of turnserver.conf."""
    networks = [ipaddress.ip_network(text) for text in _NO_PEERS]
    tls = (
        ["no-tls"]
        if settings.tls is None
        else [f"cert={settings.tls[0]}", f"pkey={settings.tls[1]}", f"tls-listening-port={settings.tls_port}"]
    )
    external = (
        []
        if settings.external is None
        else [f"external-ip={settings.external}/{_inside(settings.addresses, settings.external)}"]
    )
    lines = [
        *external,
        *(f"listening-ip={address}" for address in settings.addresses),
        *(f"relay-ip={address}" for address in settings.addresses),
        f"listening-port={settings.port}",
        f"min-port={settings.ports[0]}",
        f"max-port={settings.ports[1]}",
        "use-auth-secret",
        f"static-auth-secret={settings.secret}",
        "realm=tallow",
        f"total-quota={_QUOTA_OF_ALL}",
        f"user-quota={_QUOTA_OF_USER}",
        *(f"denied-peer-ip={each[0]}-{each[-1]}" for each in networks),
        *(f"allowed-peer-ip={address}" for address in (*settings.addresses, settings.external) if address),
        "no-multicast-peers",
        "no-tcp-relay",
        *tls,
        "no-dtls",
        "no-cli",
        "no-rfc5780",
        "no-stun-backward-compatibility",
        "fingerprint",
        "log-file=stdout",
        "simple-log",
    ]
    return "".join(f"{line}\n" for line in lines)


def _inside(addresses: Sequence[Address], external: Address) -> Address:
    """Ours that a NAT maps to `external`: the first of its kind."""
    return next((each for each in addresses if each.version == external.version), addresses[0])


class RelayProcess:
    """One `turnserver`, started again when it ends by itself. `say` is given sentences for whoever runs the server."""

    def __init__(self, settings: RelaySettings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when it takes connections. Raises NoRelay."""
        program = shutil.which(PROGRAM)
        if program is None:
            raise NoRelay(INSTALL)
        try:
            self._directory = tempfile.TemporaryDirectory(prefix="tallow-relay-")
            path = Path(self._directory.name)
            (path / "turnserver.conf").write_text(
                configuration(self._settings)
                + f"pidfile={path / 'turnserver.pid'}\nuserdb={path / 'turndb'}\n"
            )  # in a directory of mode 0700
        except OSError as error:
            await self.stop()
            raise NoRelay(
                f"The relay's settings cannot be written to a temporary directory ({error.strerror or error}). "
                "Name one that can be written to with TMPDIR."
            ) from error
        try:
            await self._launch(program)
        except BaseException:
            await self.stop()
            raise
        self._watching = asyncio.create_task(self._watch(program))

    async def stop(self) -> None:
        """End it, with SIGKILL if need be, and remove its settings. Idempotent."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        process, self._process = self._process, None
        try:
            if process is not None and process.returncode is None:
                await _end(process)
        finally:
            if self._directory is not None:
                self._directory.cleanup()
                self._directory = None

    async def _launch(self, program: str) -> None:
        """Raises NoRelay."""
        if self._directory is None:
            raise RuntimeError("it is stopped")
        self._process = process = await asyncio.create_subprocess_exec(
            *_dying_with_us(),
            program,
            "-c",
            os.path.join(self._directory.name, "turnserver.conf"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self._directory.name,
        )
        address = str(self._settings.addresses[0])
        give_up_at = asyncio.get_running_loop().time() + START_S
        while process.returncode is None:
            if await _accepts(address, self._settings.port):
                return
            if asyncio.get_running_loop().time() >= give_up_at:
                raise NoRelay(f"{PROGRAM} does not answer on {address}, port {self._settings.port}.")
            await asyncio.sleep(0.05)
        raise NoRelay(
            f"{PROGRAM} ended at once ({process.returncode}): is port {self._settings.port} in use, "
            "or an address gone?"
        )

    async def _watch(self, program: str) -> None:
        pause_s = FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            if self._process is not None:
                await self._process.wait()
            if loop.time() - begun >= _HEALTHY_S:
                pause_s = FIRST_PAUSE_S
            self._say(f"The relay ({PROGRAM}) has ended; it is started again in {pause_s:g} s.")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            try:
                await self._launch(program)
            except NoRelay as problem:
                self._say(str(problem))


async def _accepts(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _dying_with_us() -> Sequence[str]:
    """The command before the command: where the system can do it, a relay ends even if this process is killed."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return (
        ()
        if setpriv is None
        else (setpriv, "--pdeathsig", signal.Signals.SIGTERM.name.removeprefix("SIG"), "--")
    )
