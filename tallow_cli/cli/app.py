"""The Typer application: the commands, and the way from an argument vector to an exit code.

Commands live in modules of their own and are imported when run: `tallow --help` must not pay for WebRTC.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Sequence
from typing import Any

import typer

from tallow_cli import __version__
from tallow_cli.cli import bench, recv, send, serve
from tallow_cli.cli.config import OptionKind, load_defaults
from tallow_cli.cli.environment import Environment, real_environment
from tallow_cli.cli.help import Command, Group
from tallow_cli.cli.last_words import cause, error_line, unexpected
from tallow_cli.cli.terminal import Keyboard
from tallow_cli.errors import BadOption, ExitCode, OutputUnwritable, TallowError, UsageError

_HELP = frozenset({"-h", "--help", "--version", "-V", "--show-completion", "--install-completion"})
# After a signal: how long the reader of the last words may take, of the time that the process has left.
_LAST_WORDS_S = 1.0

app = typer.Typer(
    name="tallow",
    cls=Group,
    help="Send files from shell to shell, peer to peer, over WebRTC DataChannels.",
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _module in (("send", send), ("recv", recv), ("bench", bench), ("serve", serve)):
    app.command(
        _name,
        cls=Command,
        help=_module.HELP,
        short_help=_module.SUMMARY,
        epilog=_module.EXAMPLES,
    )(_module.command)
app.command("receive", cls=Command, hidden=True, help=recv.HELP, epilog=recv.EXAMPLES)(recv.command)


def _show_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"tallow {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", "-V", help="Show the version and exit.", is_eager=True, callback=_show_version
    ),
) -> None:
    """Options that stand before the command."""


def run(arguments: Sequence[str], environment: Environment | None = None) -> int:
    """Run one command line. Returns the exit code; whatever goes wrong ends with one sentence.

    Returns when what was said has been read, or when its reader has been waited for long enough.
    """
    environment = environment or real_environment()
    keyboard = Keyboard(environment.stdin)
    with environment.ending.last_act(lambda _number: keyboard.restore()):
        code = _run(arguments, environment)
        return _told(arguments, environment, code)


def _run(arguments: Sequence[str], environment: Environment) -> int:
    try:
        return _command(arguments, environment)
    except TallowError as error:
        return _fail(environment, error, arguments)
    except typer.BadParameter as error:
        return _fail(environment, BadOption(*_bad_value(error)), arguments)
    except typer.TyperException as error:
        return _fail(environment, UsageError(error.format_message()), arguments)
    except OSError as error:  # the help cannot be written, or a command's results
        return _fail(environment, OutputUnwritable(error.strerror or str(error)), arguments)
    except (typer.Abort, KeyboardInterrupt):
        return _fail(environment, cause(environment.ending.asked_by or signal.SIGINT), arguments)
    except Exception as error:  # the last line of defence, as in drive
        if environment.debugging:
            raise
        return _fail(environment, unexpected(error), arguments)


def _command(arguments: Sequence[str], environment: Environment) -> int:
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    defaults = _defaults(environment, arguments)
    # `tallow` alone gets the help, and the exit code of somebody who has not said what to do.
    result = app(
        args=list(arguments) or ["--help"],
        standalone_mode=False,
        default_map=defaults,
        prog_name="tallow",
        obj=environment,
    )
    ending = environment.ending
    if result == ExitCode.INTERRUPTED and ending.asked_by is not None and ending.speaker is not None:
        raise cause(ending.asked_by)  # Typer has made a bare exit code of it, and nobody has said a word
    if not arguments:
        return ExitCode.USAGE
    return result if isinstance(result, int) else ExitCode.DONE


def _bad_value(error: typer.BadParameter) -> tuple[str, str]:
    """The option and what is wrong with its value, where Typer read the value and speaks of types."""
    parameter = error.param
    if parameter is None:
        return "the command line", error.message
    name = max(parameter.opts, key=len)
    least, most = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if least is not None and most is not None:
        return name, f"a whole number from {least} to {most:,} is needed"
    return name, error.message


def _defaults(
    environment: Environment, arguments: Sequence[str]
) -> dict[str, dict[str, str | bool | list[str]]]:
    """What the config file says. A mistake in it is no reason to refuse help, or to complete nothing at Tab."""
    try:
        defaults = load_defaults(environment.config_path, _options, named=environment.config_is_named)
    except BadOption:
        if not arguments or _HELP.intersection(arguments) or "_TALLOW_COMPLETE" in environment.variables:
            return {}
        raise
    return {**defaults, "receive": defaults.get("recv", {})}  # the other name of the same command


def _options() -> dict[str, dict[str, OptionKind]]:
    """Each command's options by name, and what they take."""
    commands = getattr(typer.main.get_command(app), "commands", {})
    return {
        name: {p.name: _kind(p) for p in command.params if p.param_type_name == "option"}
        for name, command in commands.items()
        if not command.hidden
    }


def _kind(option: Any) -> OptionKind:
    if option.is_flag:
        return OptionKind.FLAG
    return OptionKind.LIST if option.multiple else OptionKind.VALUE


def _fail(environment: Environment, error: TallowError, arguments: Sequence[str]) -> int:
    """Say an error that came before any renderer was chosen."""
    from tallow_cli.ui.sanitize import one_line

    environment.ending.speaker = None
    if "--json" in arguments:
        with contextlib.suppress(OSError):
            environment.results.write(error_line(error))
    environment.people.line(f"tallow: {one_line(error.sentence)}")
    return error.exit_code


def _told(arguments: Sequence[str], environment: Environment, code: int) -> int:
    """Wait until what was said has been read. Returns the exit code, which may be that it cannot be written."""
    outputs = (environment.results, environment.people)
    try:
        for output in outputs:
            if environment.ending.asked_by is None:
                output.finish()
            else:
                output.finish(_LAST_WORDS_S, _LAST_WORDS_S)
        problem = environment.results.problem
        if problem is not None and code == ExitCode.DONE:
            code = _fail(environment, OutputUnwritable(problem.strerror or str(problem)), arguments)
            environment.people.finish()
    except KeyboardInterrupt:
        environment.ending.speaker = None  # it has been said, or will never be read
    return code
