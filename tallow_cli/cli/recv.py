"""`tallow recv`: take a code, show the offer, receive."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from tallow_cli.cli import options
from tallow_cli.cli.environment import Environment
from tallow_cli.cli.sources import is_typed
from tallow_cli.errors import BadOption, InputNeeded

if TYPE_CHECKING:
    from tallow_cli.cli.drive import Emit
    from tallow_cli.crypto.codes import Code

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
    context: typer.Context,
    code_words: Annotated[
        list[str] | None,
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
        str | None,
        typer.Option(
            "--on-conflict",
            metavar=options.metavar(options.ConflictChoice),
            autocompletion=options.completing(options.ConflictChoice),
            help="Where a name is taken: refuse (the default; a terminal is asked), rename or overwrite.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    server: options.Server = None,
    local: options.Local = False,
    code: options.CodeOption = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout",
            metavar="TIME",
            help=f"How long to wait for the sender, {options.DEFAULT_FIND} unless given, and for its offer.",
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
    from tallow_cli.cli.settings import chosen_server, link_settings, naming_server, show
    from tallow_cli.net.server_url import normalize_server_url
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
    wait_s = None if timeout is None else options.seconds_option("--timeout", timeout)
    policy = on_conflict and options.choice_option("--on-conflict", on_conflict, options.ConflictChoice)
    output = options.path_option("--output", output)
    can_ask = environment.can_ask(no_input=no_input or json)
    entered, named = _code(environment, context, code_words, code, can_ask=can_ask, json=json)
    meeting_at = chosen_server(context, server, local=local)
    if named is not None and not local and not is_typed(context, "server"):
        meeting_at = normalize_server_url(named)
    settings = ReceiveSettings(
        code=entered,
        server=meeting_at,
        link=link,
        waits=Waits() if wait_s is None else Waits(peer_s=wait_s, find_s=wait_s),
    )
    # On a terminal `-o -` takes a text only, which is shown and not written raw.
    stdout_is_data = output == "-" and not environment.stdout.isatty()
    renderer = show(environment, json=json, quiet=quiet, verbose=verbose, stdout_is_data=stdout_is_data)
    consent = Consent(
        environment,
        output=output,
        yes=yes,
        on_conflict=None if policy is None else options.ConflictChoice(policy),
        can_ask=can_ask,
    )

    async def session(emit: Emit) -> None:
        with naming_server(context, local=local or named is not None):
            await receive(settings, emit, consent.decide)

    return drive(session, renderer, debug=debugging())


def _code(
    environment: Environment,
    context: typer.Context,
    words: list[str] | None,
    option: str | None,
    *,
    can_ask: bool,
    json: bool,
) -> tuple[Code, str | None]:
    """The code, and the server that a pasted line names.

    From the arguments (several are one code: `4821 acorn blend crisp`), from `--code` or its variable, from a person.
    Raises InvalidCode, BadOption for two different codes, InputNeeded where nobody is there to ask.
    """
    read = partial(_read_code, environment, context)
    if words is not None and words != []:
        entered = read(" ".join(words), shown=not json)
        if is_typed(context, "code") and read(option or "", shown=not json)[0] != entered[0]:
            raise BadOption("--code", "it is another code than the one given as an argument; give one")
        return entered
    if option is not None:
        return read(option, shown=is_typed(context, "code") and not json)
    return _ask_code(environment, partial(read, shown=True), can_ask=can_ask)


def _read_code(
    environment: Environment, context: typer.Context, text: str, *, shown: bool
) -> tuple[Code, str | None]:
    """Read one entry, and say what of a pasted line is not used. Raises InvalidCode."""
    from tallow_cli.cli.code_entry import parse_entered, read_entry
    from tallow_cli.ui.output import Output

    entry = read_entry(text, _options_of(context))
    code = parse_entered(entry.code, shown=shown)
    if entry.unused:
        Output(environment.stderr).line(
            f"Options pasted with the code are not used ({', '.join(entry.unused)}); give them to this command."
        )
    return code, entry.server


def _options_of(context: typer.Context) -> dict[str, bool]:
    """This command's options by name, with and without dashes of their own: whether each takes a value."""
    return {
        name.lstrip("-"): not getattr(parameter, "is_flag", False)
        for parameter in context.command.params
        if parameter.param_type_name == "option"
        for name in parameter.opts
    }


def _ask_code(
    environment: Environment, read: Callable[[str], tuple[Code, str | None]], *, can_ask: bool
) -> tuple[Code, str | None]:
    """Ask a person for the code, with Tab completing its words. Raises InputNeeded where nobody is there."""
    from tallow_cli.cli.prompt import CODE_OPTIONS, ask_code

    if not can_ask:
        raise InputNeeded("The code", CODE_OPTIONS)
    return ask_code(environment, read)
