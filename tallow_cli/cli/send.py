"""`tallow send`: offer files, standard input or a text, print the code, send."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from tallow_cli.cli import options
from tallow_cli.cli.environment import Environment, environment_of
from tallow_cli.cli.sources import is_typed
from tallow_cli.errors import BadOption
from tallow_cli.link.link import MAX_PORT

if TYPE_CHECKING:
    from tallow_cli.cli.drive import Emit
    from tallow_cli.crypto.codes import Code
    from tallow_cli.session.events import Done
    from tallow_cli.store.source import Source

HELP = "Send files, directories, standard input (-) or a text. Prints a code for the receiver."
SUMMARY = "Send files, directories, standard input or a text."
EXAMPLES = """\
tallow send report.pdf photos/
tallow send src --exclude build/ --exclude '*.o'
tar c . | tallow send - --name project.tar
tallow send --text "see you at eight"
"""


def command(
    context: typer.Context,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH", help="What to send; - is standard input.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            metavar="TEXT",
            help="Send this text instead; - reads it from standard input.",
            rich_help_panel=options.ARGUMENTS,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What standard input (-) is called there, in place of stdin.",
            rich_help_panel=options.ARGUMENTS,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            metavar="GLOB",
            help="Leave out what matches, like '*.o', build/ or src/**/test; may be given again.",
            rich_help_panel=options.ARGUMENTS,
        ),
    ] = None,
    skip_unsendable: Annotated[
        bool,
        typer.Option(
            "--skip-unsendable",
            help="Send the rest where files cannot be read or cannot have their names there; exit code 12.",
            rich_help_panel=options.ARGUMENTS,
        ),
    ] = False,
    server: options.Server = None,
    local: options.Local = False,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="ADDRESS",
            help="Where the sender's own server listens: an address of this machine, or any, public ones too. Unless "
            "given, on those of private networks.",
            rich_help_panel=options.RENDEZVOUS,
        ),
    ] = None,
    port: Annotated[
        str | None,
        typer.Option(
            "--port",
            metavar="N",
            help="TCP port of the sender's own server, for a firewall; any unless given.",
            rich_help_panel=options.RENDEZVOUS,
        ),
    ] = None,
    code: options.CodeOption = None,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT,
    reconnect_for: options.ReconnectFor = options.DEFAULT_RECONNECT,
    interface: options.Interface = None,
    udp_ports: options.UdpPorts = None,
    ice_server: options.IceServers = None,
    ice_user: options.IceUser = None,
    relay_only: options.RelayOnly = False,
    channels: options.Channels = options.DEFAULT_CHANNELS,
    mode: options.Mode = "balanced",
    reliable: options.Reliable = False,
    max_retransmits: options.MaxRetransmits = None,
    buffer_high: options.BufferHigh = None,
    buffer_low: options.BufferLow = None,
    limit: options.Limit = None,
    no_encrypt: options.NoEncrypt = False,
    engine: options.Engine = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    trace: options.Trace = None,
    no_input: options.NoInput = False,
) -> int:
    """Run `tallow send`; the parameters are its options. Returns the exit code."""
    from tallow_cli.cli.drive import drive
    from tallow_cli.cli.settings import chosen_server, link_settings, naming_server, show
    from tallow_cli.cli.trace_option import refuse_trace_within, tracing
    from tallow_cli.cli.ways import check_relay_only, with_ways
    from tallow_cli.session.send import send
    from tallow_cli.session.settings import SendSettings, Waits

    environment = environment_of(context)
    meeting_at = chosen_server(context, server, local=local)
    link = with_ways(
        link_settings(
            engine=engine,
            channels=channels,
            mode=mode,
            reliable=reliable,
            max_retransmits=max_retransmits,
            buffer_high=buffer_high,
            buffer_low=buffer_low,
            limit=limit,
            no_encrypt=no_encrypt,
        ),
        environment.variables,
        interface=interface,
        udp_ports=udp_ports,
        servers=ice_server,
        ice_user=ice_user,
        ice_user_typed=is_typed(context, "ice_user"),
        relay_only=relay_only,
    )
    check_relay_only(link, meeting_at, "the sender's own server")
    settings = SendSettings(
        code=None if code is None else _chosen_code(context, code, json=json),
        server=meeting_at,
        listen=listen,
        port=_own_port(context, port, meeting_at),
        link=link,
        waits=Waits(
            peer_s=options.wait_option("--timeout", timeout),
            reconnect_s=options.reconnect_option(reconnect_for),
        ),
    )
    source = open_source(
        paths or [], text, environment, name=name, excludes=exclude or [], skip_unsendable=skip_unsendable
    )

    refuse_trace_within(paths or [], trace)
    with tracing(trace, environment, "sender") as told:

        async def session(emit: Emit) -> Done:
            with contextlib.closing(source), naming_server(context, local=local):
                return await send(source, replace(settings, link=replace(settings.link, trace=told)), emit)

        return drive(session, show(environment, json=json, quiet=quiet, verbose=verbose), environment)


def _own_port(context: typer.Context, text: str | None, server: str | None) -> int | None:
    """Raises BadOption."""
    if text is None:
        return None
    if server is not None and is_typed(context, "port"):
        raise BadOption(
            "--port", "it is for the sender's own server, and another is named; --local does without that"
        )
    return options.count_option("--port", text, 1, MAX_PORT)


def _chosen_code(context: typer.Context, text: str, *, json: bool) -> Code:
    """The code made beforehand, however it was pasted. Raises InvalidCode."""
    from tallow_cli.cli.code_entry import parse_entered, read_entry

    return parse_entered(read_entry(text, {}).code, shown=is_typed(context, "code") and not json)


def open_source(
    paths: list[str],
    text: str | None,
    environment: Environment,
    *,
    name: str | None = None,
    excludes: list[str],
    skip_unsendable: bool,
) -> Source:
    """What the arguments name. Raises BadOption, or a LocalFileError for what cannot be read."""
    if (excludes or skip_unsendable) and (text is not None or "-" in paths):
        option = "--exclude" if excludes else "--skip-unsendable"
        raise BadOption(option, "it is about files and directories; there are none to choose from")
    if name is not None and paths != ["-"]:
        raise BadOption("--name", "it names standard input (-) only; files and texts have names")
    if text is not None:
        if paths:
            raise BadOption("--text", "it is sent instead of files; give one or the other")
        from tallow_cli.store.memory_source import TextSource

        return TextSource(_read_text(environment) if text == "-" else text)
    if not paths:
        raise BadOption("PATH", "name what to send: files, directories, or - for standard input")
    if "" in paths:
        raise BadOption("PATH", "one of the names is empty; is a variable not set?")
    if "-" in paths:
        if len(paths) > 1:
            raise BadOption("-", "standard input is sent alone, not together with files")
        if "stdin" in environment.closed:
            raise BadOption("-", "standard input is closed; pipe something into it, or use --text")
        if environment.stdin.isatty():
            raise BadOption("-", "standard input is a terminal; pipe something into it, or use --text")
        from tallow_cli.store.stream_source import StreamSource

        return StreamSource(environment.stdin.fileno(), "stdin" if name is None else _checked_name(name))
    from tallow_cli.store.file_source import FileSource

    # Where the shell did not: a quoted ~/x. A file that has this very name goes before.
    expanded = [path if os.path.lexists(path) else options.path_option("PATH", path) for path in paths]
    return FileSource(expanded, excludes=excludes, skip_unsendable=skip_unsendable)


def _read_text(environment: Environment) -> str:
    """What standard input holds, to its end; a person may type it. Raises BadOption."""
    from tallow_cli.offer.manifest import MAX_TEXT_BYTES

    try:
        with open(environment.stdin.fileno(), "rb", closefd=False) as stdin:
            data = stdin.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise BadOption("--text", f"standard input cannot be read ({error.strerror or error})") from error
    if not data:
        raise BadOption("--text", "standard input holds nothing to send")
    try:
        return data.decode()
    except UnicodeDecodeError:
        if len(data) > MAX_TEXT_BYTES:  # cut in the middle of a letter: TextSource says that it is too long
            return data.decode(errors="replace")
        raise BadOption(
            "--text", "standard input is not UTF-8 text; send it as it is: tallow send -"
        ) from None


def _checked_name(name: str) -> str:
    """Raises BadOption for what no receiver could use as the name of a file."""
    from tallow_cli.offer.names import ForbiddenName, check_component

    try:
        check_component(name)
    except ForbiddenName:
        raise BadOption("--name", f"{name!r} cannot be the name of a file") from None
    return name
