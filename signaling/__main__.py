"""`tallow-signaling`, which `tallow serve` runs too: the server until a signal stops it."""

from __future__ import annotations

from signaling.starting import QuietInterrupts

EXIT_STOPPED = 0  # by SIGINT or SIGTERM: what a service manager calls success

with QuietInterrupts(EXIT_STOPPED):
    import asyncio
    import errno
    import json
    import os
    import sys
    from collections.abc import Callable, Mapping
    from contextlib import AsyncExitStack, suppress
    from dataclasses import dataclass, field, replace
    from functools import partial

    from signaling.limits import ServerLimits
    from signaling.listening import CannotListen, resolved
    from signaling.log import LineLog
    from signaling.networks import Address, NotAnAddress, parsed_address
    from signaling.options import PROGRAM, run_command_line
    from signaling.process import Ending, open_standard_streams
    from signaling.protocol import DEFAULT_PORT
    from signaling.relays import RelayOptions, offered_relays
    from signaling.server import SignalingServer
    from signaling.stun import StunResponder
    from signaling.stun_sockets import StunSockets
    from signaling.tls import tls_context

EXIT_CANNOT_LISTEN = 2
_EVERY_ADDRESS = {"": (4, 6), "0.0.0.0": (4,), "::": (6,)}  # noqa: S104 - compared with; versions of IP
_MOST_SHOWN = 4
_MOST_PORT = 65_535
_OWN_DESCRIPTORS = 32  # the event loop's, the standard streams, the sockets that listen


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`host` "" listens on every address. With a certificate the server speaks wss:// only."""

    program: str = PROGRAM  # the command's name, before its complaints
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    stun_port: int | None = 0  # UDP; 0 is the same as `port`, None answers no STUN requests
    relays: RelayOptions = field(default_factory=RelayOptions)
    tls_cert: str | None = None
    tls_key: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    verbose: bool = False
    limits: ServerLimits = field(default_factory=ServerLimits)

    @property
    def certificate(self) -> tuple[str, str] | None:
        """Chain and key, which may stand in one file."""
        return None if self.tls_cert is None else (self.tls_cert, self.tls_key or self.tls_cert)


def run_server(settings: ServerSettings, ending: Ending | None = None) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP, then close every connection properly. Returns the exit code.

    Says on stderr where it listens, or in one sentence why it cannot. `ending` is what the process hears signals by,
    if it does so already.
    """
    log = LineLog()
    try:
        if ending is not None and ending.is_hearing:
            return _run(settings, ending, log)
        with Ending() as ending:
            return _run(settings, ending, log)
    finally:
        log.flush()


def _run(settings: ServerSettings, ending: Ending, log: LineLog) -> int:
    try:
        with ending.spoken_for_by(_say_nothing):
            asyncio.run(_serve(settings, ending, log))
    except CannotListen as error:
        log.say(f"{settings.program}: {error}")
        return EXIT_CANNOT_LISTEN
    except NotAnAddress as error:
        log.say(f"{settings.program}: --trust-proxy: {error}")
        return EXIT_CANNOT_LISTEN
    except KeyboardInterrupt:  # before or after the loop, or where the loop has no signal handlers
        pass
    return EXIT_STOPPED


async def _serve(settings: ServerSettings, ending: Ending, log: LineLog) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(_number: int) -> None:
        loop.call_soon_threadsafe(stopped.set)

    with ending.handed_over(stop):
        await _serve_until(stopped, settings, log)


async def _serve_until(stopped: asyncio.Event, settings: ServerSettings, log: LineLog) -> None:
    def warn(sentence: str) -> None:
        log.say(f"{settings.program}: {sentence}")

    server = SignalingServer(
        limits=_within_descriptors(settings.limits),
        tls=tls_context(settings.tls_cert, settings.tls_key),
        allowed_origins=settings.allowed_origins,
        trusted_proxies=settings.trusted_proxies,
        log=partial(_log_line, log) if settings.verbose else _ignore,
        warn=warn,
    )
    async with AsyncExitStack() as stack:
        port = await server.start(settings.host, settings.port)
        stack.push_async_callback(server.close)
        stun = StunSockets(StunResponder(os.urandom))
        stack.callback(stun.close)
        if settings.stun_port is not None:
            stun_port = await _answer_stun(stun, settings, port, warn)
            server.announce_stun(stun_port, await _answer_stun_elsewhere(stun, settings, stun_port))
        relays = await stack.enter_async_context(
            offered_relays(settings.relays, await _relay_addresses(settings), settings.certificate, log.say)
        )
        if relays is not None:
            server.offer_relays(relays)
        scheme = "ws" if settings.tls_cert is None else "wss"
        log.say(f"Listening on {scheme}://{_host_for_url(settings.host)}:{port}")
        if others := addresses_for_others(settings.host):
            named = [
                f"--server {scheme}://{_host_for_url(str(each))}:{port}" for each in others[:_MOST_SHOWN]
            ]
            log.say("Others name it " + " or ".join(named))
        await stopped.wait()
        log.say("Stopping.")


async def _relay_addresses(settings: ServerSettings) -> list[Address]:
    """Where a relay of our own would be reached: where the server is."""
    if settings.host in _EVERY_ADDRESS:
        return addresses_for_others(settings.host)
    found = [parsed_address(str(address[0])) for _family, address in await resolved([settings.host])]
    return [address for address in found if address is not None]


async def _answer_stun(
    stun: StunSockets, settings: ServerSettings, port: int, say: Callable[[str], None]
) -> int | None:
    """Returns the UDP port: the one asked for, or the WebSockets', or, where the system chose that, any free one.

    None if nobody asked for one and it cannot be had, which is said. Raises CannotListen.
    """
    addresses = await resolved([settings.host])
    wanted = settings.stun_port or port
    try:
        return stun.listen(addresses, wanted)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and not (settings.stun_port or settings.port):
            return stun.listen(addresses, 0)
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror or error}"
        sentence = (
            f"UDP port {wanted}, where STUN requests would be answered, {why}. "
            "Choose another --stun-port, or off."
        )
        if settings.stun_port:
            raise CannotListen(sentence) from error
        say(sentence)
        return None


async def _answer_stun_elsewhere(
    stun: StunSockets, settings: ServerSettings, first: int | None
) -> int | None:
    """A second port, the next one if it is free: two answers tell a client how its NAT maps ports. None will do."""
    if first is None:
        return None
    own_choice = settings.stun_port or settings.port
    wanted = first + 1 if own_choice and first < _MOST_PORT else 0
    try:
        return stun.listen(await resolved([settings.host]), wanted)
    except OSError:
        return None


def _host_for_url(host: str) -> str:
    if host == "":
        return "0.0.0.0"  # noqa: S104 - only shown
    return f"[{host}]" if ":" in host else host


def addresses_for_others(host: str) -> list[Address]:
    """Those of this machine that other machines may name, IPv4 first, where `host` stands for every one."""
    versions = _EVERY_ADDRESS.get(host, ())
    if not versions:
        return []
    import ifaddr

    found = [
        ip.ip if isinstance(ip.ip, str) else ip.ip[0] for each in ifaddr.get_adapters() for ip in each.ips
    ]
    addresses = [address for text in found if (address := parsed_address(text)) is not None]
    reachable = [
        a
        for a in addresses
        if a.version in versions and not (a.is_loopback or (a.version == 6 and a.is_link_local))
    ]
    return sorted(reachable, key=lambda a: a.version)


def _within_descriptors(limits: ServerLimits) -> ServerLimits:
    """Every connection is a file descriptor: raise the usual soft limit of 1,024, and stay below what there is."""
    if sys.platform == "win32":
        return limits
    import resource

    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits
    return replace(limits, connections=max(1, min(limits.connections, soft - limits.told - _OWN_DESCRIPTORS)))


def _say_nothing(_number: int) -> None:
    """A server that is left at once has no last word."""


def _log_line(log: LineLog, event: str, fields: Mapping[str, str | int]) -> None:
    """One JSON object per line, for a log collector."""
    log.say(json.dumps({"event": event, **fields}))


def _ignore(_event: str, _fields: Mapping[str, str | int]) -> None:
    """Without --verbose."""


def main() -> None:
    """The entry point of `tallow-signaling`."""
    with QuietInterrupts(EXIT_STOPPED):
        open_standard_streams()
        code = run_command_line(sys.argv[1:])
    sys.exit(code)


if __name__ == "__main__":
    main()
