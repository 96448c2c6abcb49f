"""`tallow send`: offer files, standard input or a text, print the code, send."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from tallow_cli.cli import options
from tallow_cli.cli.environment import Environment
from tallow_cli.errors import BadOption

if TYPE_CHECKING:
    from tallow_cli.cli.drive import Emit
    from tallow_cli.session.events import Done
    from tallow_cli.store.source import Source

HELP = "Send files, directories, standard input (-) or a text. Prints a code for the receiver."
SUMMARY = "Send files, directories, standard input or a text."
EXAMPLES = """\
tallow send report.pdf photos/
tallow send src --exclude build/ --exclude '*.o'
tar c . | tallow send -
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
            "--text", metavar="TEXT", help="Send this text instead.", rich_help_panel=options.ARGUMENTS
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
    code: options.CodeOption = None,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT,
    channels: options.Channels = options.DEFAULT_CHANNELS,
    mode: options.Mode = "balanced",
    reliable: options.Reliable = False,
    buffer_high: options.BufferHigh = "16MiB",
    buffer_low: options.BufferLow = "4MiB",
    limit: options.Limit = None,
    no_encrypt: options.NoEncrypt = False,
    engine: options.Engine = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    no_input: options.NoInput = False,
) -> int:
    """Run `tallow send`; the parameters are its options. Returns the exit code."""
    from tallow_cli.cli.drive import debugging, drive
    from tallow_cli.cli.settings import chosen_server, link_settings, naming_server, show
    from tallow_cli.crypto.codes import parse_code
    from tallow_cli.session.send import send
    from tallow_cli.session.settings import SendSettings, Waits

    environment = Environment()
    settings = SendSettings(
        code=parse_code(code) if code else None,
        server=chosen_server(context, server, local=local),
        link=link_settings(
            engine=engine,
            channels=channels,
            mode=mode,
            reliable=reliable,
            buffer_high=buffer_high,
            buffer_low=buffer_low,
            limit=limit,
            no_encrypt=no_encrypt,
        ),
        waits=Waits(peer_s=options.seconds_option("--timeout", timeout)),
    )
    source = open_source(
        paths or [], text, environment, excludes=exclude or [], skip_unsendable=skip_unsendable
    )

    async def session(emit: Emit) -> Done:
        with contextlib.closing(source), naming_server(context, local=local):
            return await send(source, settings, emit)

    return drive(session, show(environment, json=json, quiet=quiet, verbose=verbose), debug=debugging())


def open_source(
    paths: list[str],
    text: str | None,
    environment: Environment,
    *,
    excludes: list[str],
    skip_unsendable: bool,
) -> Source:
    """What the arguments name. Raises BadOption, or a LocalFileError for what cannot be read."""
    if (excludes or skip_unsendable) and (text is not None or "-" in paths):
        option = "--exclude" if excludes else "--skip-unsendable"
        raise BadOption(option, "it is about files and directories; there are none to choose from")
    if text is not None:
        if paths:
            raise BadOption("--text", "it is sent instead of files; give one or the other")
        from tallow_cli.store.memory_source import TextSource

        return TextSource(text)
    if not paths:
        raise BadOption("PATH", "name what to send: files, directories, or - for standard input")
    if "" in paths:
        raise BadOption("PATH", "one of the names is empty; is a variable not set?")
    if "-" in paths:
        if len(paths) > 1:
            raise BadOption("-", "standard input is sent alone, not together with files")
        if environment.stdin.isatty():
            raise BadOption("-", "standard input is a terminal; pipe something into it, or use --text")
        from tallow_cli.store.stream_source import StreamSource

        return StreamSource(environment.stdin.fileno())
    from tallow_cli.store.file_source import FileSource

    return FileSource(paths, excludes=excludes, skip_unsendable=skip_unsendable)
