"""`tallow-signaling`, which `tallow serve` runs too: the server until a signal stops it."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated

import typer

from signaling.limits import ServerLimits
from signaling.protocol import DEFAULT_PORT
from signaling.server import CannotListen, SignalingServer

EXIT_STOPPED = 0  # by SIGINT or SIGTERM: what a service manager calls success
EXIT_CANNOT_LISTEN = 2


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`host` "" listens on every address. With a certificate the server speaks wss:// only."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    tls_cert: str | None = None
    tls_key: str | None = None
    trusted_proxies: frozenset[str] = frozenset()
    allowed_origins: tuple[str, ...] = ()
    verbose: bool = False
    limits: ServerLimits = field(default_factory=ServerLimits)


def run_server(settings: ServerSettings) -> int:
    """Serve until SIGINT or SIGTERM, then close every connection properly. Returns the exit code.

    Says on stderr where it listens, or in one sentence why it cannot.
    """
    try:
        asyncio.run(_serve(settings))
    except CannotListen as error:
        _say(str(error))
        return EXIT_CANNOT_LISTEN
    except KeyboardInterrupt:  # where the loop has no signal handlers
        pass
    return EXIT_STOPPED


async def _serve(settings: ServerSettings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stopped.set)
    _raise_file_limit()
    server = SignalingServer(
        limits=settings.limits,
        tls=_tls_context(settings.tls_cert, settings.tls_key),
        allowed_origins=settings.allowed_origins,
        trusted_proxies=settings.trusted_proxies,
        log=_log_line if settings.verbose else _ignore,
    )
    port = await server.start(settings.host, settings.port)
    try:
        scheme = "ws" if settings.tls_cert is None else "wss"
        _say(f"Listening on {scheme}://{_host_for_url(settings.host)}:{port}")
        await stopped.wait()
        _say("Stopping.")
    finally:
        await server.close()


def _tls_context(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    if cert is None:
        if key is not None:
            raise CannotListen("--tls-key needs --tls-cert.")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise CannotListen(
            f"The TLS certificate {cert} cannot be used ({reason}). "
            "Pass PEM files with --tls-cert and --tls-key."
        ) from error
    return context


def _host_for_url(host: str) -> str:
    if host == "":
        return "0.0.0.0"  # noqa: S104 - only shown
    return f"[{host}]" if ":" in host else host


def _raise_file_limit() -> None:
    """Every connection is a file descriptor, and the usual soft limit is 1,024."""
    if sys.platform != "win32":
        import resource

        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - this is a command's output


def _log_line(event: str, fields: Mapping[str, str | int]) -> None:
    """One JSON object per line, for a log collector."""
    _say(json.dumps({"event": event, **fields}))


def _ignore(_event: str, _fields: Mapping[str, str | int]) -> None:
    """Without --verbose."""


def _command(
    host: Annotated[str, typer.Option("--host", help='Address to listen on; "" is every one.')] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="0 picks one.")] = DEFAULT_PORT,
    tls_cert: Annotated[str | None, typer.Option("--tls-cert", metavar="FILE", help="Chain (PEM).")] = None,
    tls_key: Annotated[
        str | None, typer.Option("--tls-key", metavar="FILE", help="Private key (PEM).")
    ] = None,
    trust_proxy: Annotated[
        list[str] | None,
        typer.Option("--trust-proxy", metavar="ADDRESS", help="Believe its X-Forwarded-For. Repeatable."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option("--allow-origin", metavar="ORIGIN", help="Let this web page's scripts in. Repeatable."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log one JSON line per event.")] = False,
) -> None:
    """Run Tallow's signaling server, which introduces senders to receivers and sees nothing they send."""
    settings = ServerSettings(
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        trusted_proxies=frozenset(trust_proxy or ()),
        allowed_origins=tuple(allow_origin or ()),
        verbose=verbose,
    )
    raise typer.Exit(run_server(settings))


def main() -> None:
    """The entry point of `tallow-signaling`."""
    typer.run(_command)


if __name__ == "__main__":
    main()
