"""`tallow recv`: take a code, show the offer, receive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tallow_cli.cli import options
from tallow_cli.cli.environment import Environment
from tallow_cli.errors import BadOption, InputNeeded

if TYPE_CHECKING:
    from tallow_cli.cli.drive import Emit

HELP = "Receive what a sender offers under CODE. Nothing is overwritten unless you say so."
SUMMARY = "Receive what a sender offers under a code."
EXAMPLES = """\
tallow recv 4821-acorn-blend-crisp
tallow recv 4821-acorn-blend-crisp -o ~/Downloads
tallow recv 4821-acorn-blend-crisp -o - | tar x
"""


def complete_code(incomplete: str) -> list[str]:
    """For the shell's Tab: the codes that `incomplete` may become, by its last word."""
    from tallow_cli.crypto.codes import complete

    return list(complete(incomplete))


def command(
    code_argument: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE", help="The sender's code; asked for if absent.", autocompletion=complete_code
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Directory to receive into, name for a single file, or - for standard output.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Accept without asking.", rich_help_panel=options.OUTPUT)
    ] = False,
    on_conflict: Annotated[
        options.ConflictChoice | None,
        typer.Option(
            "--on-conflict",
            help="Where a name is taken: refuse (the default; a terminal is asked), rename or overwrite.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    server: options.Server = None,
    code: options.CodeOption = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help=f"How long to wait for the sender, {options.DEFAULT_FIND:.0f} unless given, and for its offer.",
            rich_help_panel=options.RENDEZVOUS,
        ),
    ] = None,
    channels: options.Channels = options.MAX_CHANNELS,
    reliable: options.Reliable = False,
    buffer_high: options.BufferHigh = "16MiB",
    buffer_low: options.BufferLow = "4MiB",
    no_encrypt: options.NoEncrypt = False,
    engine: options.Engine = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    no_input: options.NoInput = False,
) -> int:
    """Run `tallow recv`; the parameters are its options. Returns the exit code."""
    from tallow_cli.cli.consent import Consent
    from tallow_cli.cli.drive import debugging, drive
    from tallow_cli.cli.settings import link_settings, show
    from tallow_cli.crypto.codes import parse_code
    from tallow_cli.session.receive import receive
    from tallow_cli.session.settings import ReceiveSettings, Waits

    environment = Environment()
    if json and output == "-":
        raise BadOption("--json", "standard output already carries the data (--output -)")
    link = link_settings(
        engine=engine,
        channels=channels,
        mode="balanced",
        reliable=reliable,
        buffer_high=buffer_high,
        buffer_low=buffer_low,
        limit=None,
        no_encrypt=no_encrypt,
    )
    can_ask = environment.can_ask(no_input=no_input or json)
    settings = ReceiveSettings(
        code=parse_code(code_argument or code or _ask_code(environment, can_ask=can_ask)),
        server=server,
        link=link,
        waits=Waits() if timeout is None else Waits(peer_s=timeout, find_s=timeout),
    )
    # On a terminal `-o -` takes a text only, which is shown and not written raw.
    stdout_is_data = output == "-" and not environment.stdout.isatty()
    renderer = show(environment, json=json, quiet=quiet, verbose=verbose, stdout_is_data=stdout_is_data)
    consent = Consent(environment, output=output, yes=yes, on_conflict=on_conflict, can_ask=can_ask)

    async def session(emit: Emit) -> None:
        await receive(settings, emit, consent.decide)

    return drive(session, renderer, debug=debugging())


def _ask_code(environment: Environment, *, can_ask: bool) -> str:
    """Ask a person for the code, with Tab completing its words. Raises InputNeeded where nobody is there."""
    from tallow_cli.cli.prompt import CODE_OPTIONS, ask_code

    if not can_ask:
        raise InputNeeded("The code", CODE_OPTIONS)
    return ask_code(environment)
