"""Which relays a server offers: those it was told of, or one it runs itself."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signaling.listening import CannotListen
from signaling.networks import Address, parsed_address
from signaling.relay_process import (
    DEFAULT_PORTS,
    LEAST_PORTS,
    NoRelay,
    RelayProcess,
    RelaySettings,
    new_secret,
)
from signaling.turn import (
    DEFAULT_PORT,
    NotARelay,
    Relay,
    RelayCredentials,
    checked_secret,
    parsed_relay,
)

_MOST_SECRET_BYTES: Final = 4_096


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """What the command line says of relays. `turn` are URLs of relays that run elsewhere, with the secret in a file;
    `own` has one run here, with `ports` to relay from, and known to the world as `public_address`.
    """

    turn: tuple[str, ...] = ()
    secret_file: str | None = None
    own: bool = False
    ports: str | None = None
    public_address: str | None = None


@asynccontextmanager
async def offered_relays(
    options: RelayOptions,
    addresses: Sequence[Address],
    tls: tuple[str, str] | None,
    say: Callable[[str], None],
) -> AsyncIterator[RelayCredentials | None]:
    """What to hand to clients, for as long as the context lasts; None where no relay is offered.

    `addresses` are those of this machine that others may reach; `tls` is the server's certificate and key.
    Raises CannotListen.
    """
    relays, secret = _named(options)
    if not options.own:
        _refuse_what_needs_own(options)
        yield RelayCredentials(relays, secret, time.time, os.urandom) if relays else None
        return
    if relays:
        raise CannotListen("--relay runs a relay here, and --turn names one elsewhere: use one of them.")
    settings = _own(options, addresses, tls)
    process = RelayProcess(settings, say)
    try:
        await process.start()
    except NoRelay as error:
        raise CannotListen(str(error)) from error
    try:
        own = _urls(settings, _public(options), say)
        say(f"Relaying for those who need it, by way of {', '.join(relay.url for relay in own)}")
        yield RelayCredentials(own, settings.secret, time.time, os.urandom)
    finally:
        await process.stop()


def _named(options: RelayOptions) -> tuple[list[Relay], str]:
    if not options.turn:
        if options.secret_file is not None:
            raise CannotListen("--turn-secret-file belongs to --turn, which names the relay.")
        return [], ""
    if options.secret_file is None:
        raise CannotListen(
            "--turn needs --turn-secret-file: clients are given credentials made with that secret."
        )
    option = "--turn"
    try:
        relays = [parsed_relay(url) for url in options.turn]
        option = "--turn-secret-file"
        return relays, checked_secret(_read(options.secret_file))
    except NotARelay as error:
        raise CannotListen(f"{option}: {error}.") from error


def _read(path: str) -> str:
    """Raises CannotListen."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST_SECRET_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise CannotListen(f"The secret file {path} cannot be read ({error.strerror or error}).") from error


def _refuse_what_needs_own(options: RelayOptions) -> None:
    for name, value in (("--relay-ports", options.ports), ("--public-address", options.public_address)):
        if value is not None:
            raise CannotListen(f"{name} belongs to --relay, which runs a relay here.")


def _own(options: RelayOptions, addresses: Sequence[Address], tls: tuple[str, str] | None) -> RelaySettings:
    if not addresses:
        raise CannotListen("--relay needs an address that others can reach. Choose another --host.")
    return RelaySettings(
        addresses=tuple(addresses),
        port=DEFAULT_PORT["turn"],
        ports=_port_range(options.ports),
        secret=new_secret(os.urandom),
        external=_public(options),
        tls=tls,
        tls_port=DEFAULT_PORT["turns"],
    )


def _port_range(text: str | None) -> tuple[int, int]:
    if text is None:
        return DEFAULT_PORTS
    first, dash, last = text.partition("-")
    if not (dash and first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise CannotListen(f"--relay-ports: {text!r} is not like 50000-50999.")
    low, high = int(first), int(last)
    if not 1_024 <= low <= high <= 65_535 or high - low + 1 < LEAST_PORTS:
        raise CannotListen(
            f"--relay-ports: a range within 1024-65535 of at least {LEAST_PORTS} ports is needed, not {text}."
        )
    return low, high


def _public(options: RelayOptions) -> Address | None:
    if options.public_address is None:
        return None
    address = parsed_address(options.public_address)
    if address is None:
        raise CannotListen(f"--public-address: {options.public_address!r} is no address like 203.0.113.7.")
    return address


def _urls(settings: RelaySettings, public: Address | None, say: Callable[[str], None]) -> list[Relay]:
    """One for each way in: UDP for each version of IP, then TCP, then TLS: who has IPv6 alone may need TCP, too."""
    known = [public] if public is not None else list(settings.addresses)
    if all(address.is_private and not address.is_loopback for address in known):
        say(
            "The relay's addresses are private ones, which the world does not reach. "
            "If this machine has a public address elsewhere, name it: --public-address ADDRESS"
        )
    by_version = {address.version: address for address in reversed(known)}
    hosts = [
        f"[{a}]" if a.version == 6 else str(a) for a in sorted(by_version.values(), key=lambda a: a.version)
    ]
    urls = [f"turn:{host}:{settings.port}?transport=udp" for host in hosts]
    urls += [f"turn:{host}:{settings.port}?transport=tcp" for host in hosts]
    if settings.tls is not None:
        urls += [f"turns:{host}:{settings.tls_port}?transport=tcp" for host in hosts]
    return [parsed_relay(url) for url in urls]
