"""The options of `tallow-signaling` and of `tallow serve`, which are one program. Cheap to import, for `--help`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

PROGRAM = "tallow-signaling"
EXIT_BAD_OPTION = 2
_OFF = "off"
MAX_PORT = 65_535
# protocol.DEFAULT_PORT, whose module costs too much for `--help`; a test keeps them equal
DEFAULT_PORT = 8765
HELP = "Run the signaling server alone, for senders and receivers that name it with --server."


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as installed_version

        try:
            release = installed_version("tallow-transfer")
        except PackageNotFoundError:  # run from a source tree
            release = "not installed"
        sys.stdout.write(f"tallow {release}\n")
        raise typer.Exit


def _checked_stun_port(text: str | None) -> str | None:
    """A callback: whoever raises here is known to be the option's."""
    if text is None:
        return None
    is_port = text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PORT
    if not is_port and text != _OFF:
        raise typer.BadParameter(f"{text!r} is neither a port from 1 to {MAX_PORT:,} nor {_OFF}")
    return text


def command(
    context: typer.Context,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help='Address to listen on; "" is every one, IPv4 and IPv6.'
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="PORT", min=0, max=MAX_PORT, help="Port; 0 picks one.")
    ] = DEFAULT_PORT,
    stun_port: Annotated[
        str | None,
        typer.Option(
            "--stun-port",
            metavar="N|off",
            callback=_checked_stun_port,
            help="UDP port that tells clients how the world sees them (STUN); unless given, that of --port.",
        ),
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain (PEM).")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option("--tls-key", metavar="FILE", help="Its private key (PEM).")
    ] = None,
    turn: Annotated[
        list[str] | None,
        typer.Option(
            "--turn",
            metavar="URL",
            help="Offer this relay to those who find no direct way, like turn:HOST:3478. Repeatable.",
        ),
    ] = None,
    turn_secret_file: Annotated[
        str | None,
        typer.Option(
            "--turn-secret-file",
            metavar="FILE",
            help="The relay's static-auth-secret, to make credentials with.",
        ),
    ] = None,
    relay: Annotated[
        bool,
        typer.Option("--relay", help="Run a relay here: coturn's turnserver, which has to be installed."),
    ] = False,
    relay_ports: Annotated[
        str | None, typer.Option("--relay-ports", metavar="A-B", help="UDP ports that it relays from.")
    ] = None,
    public_address: Annotated[
        str | None,
        typer.Option(
            "--public-address",
            metavar="ADDRESS",
            help="The relay's address in the world, if a NAT stands before it.",
        ),
    ] = None,
    trust_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--trust-proxy",
            metavar="NETWORK",
            help="Believe its X-Forwarded-For: an address, or a network like 10.0.0.0/8. Repeatable.",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option("--allow-origin", metavar="ORIGIN", help="Let this web page's scripts in. Repeatable."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log one JSON line per event.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Show the version and exit.", is_eager=True, callback=_show_version
        ),
    ] = False,
) -> int:
    """Run the server; the parameters are its options. Returns the exit code."""
    from signaling.__main__ import ServerSettings, run_server
    from signaling.relays import RelayOptions

    return run_server(
        ServerSettings(
            program=context.find_root().info_name or PROGRAM,
            host=host,
            port=port,
            stun_port=None if stun_port == _OFF else int(stun_port or 0),
            tls_cert=tls_cert,
            tls_key=tls_key,
            relays=RelayOptions(
                turn=tuple(turn or ()),
                secret_file=turn_secret_file,
                own=relay,
                ports=relay_ports,
                public_address=public_address,
            ),
            trusted_proxies=tuple(trust_proxy or ()),
            allowed_origins=tuple(allow_origin or ()),
            verbose=verbose,
        ),
        getattr(context.find_root().obj, "ending", None),  # of a program that hears signals already
    )


def run_command_line(arguments: Sequence[str]) -> int:
    """`tallow-signaling`. Returns the exit code."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command(help=HELP)(command)
    try:
        result = app(args=list(arguments), standalone_mode=False, prog_name=PROGRAM)
    except typer.BadParameter as error:
        name = max(error.param.opts, key=len) if error.param is not None else ""
        why = f"a whole number from 0 to {MAX_PORT:,} is needed" if name == "--port" else error.message
        sys.stderr.write(f"{PROGRAM}: {name}: {why}\n")
        return EXIT_BAD_OPTION
    except typer.TyperException as error:
        sys.stderr.write(f"{PROGRAM}: {error.format_message()}\n")
        return EXIT_BAD_OPTION
    return result if isinstance(result, int) else 0
