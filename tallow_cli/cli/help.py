"""How commands look and answer: plain help, options under headings, examples last; mistakes blamed on their place.

Typer's own boxes need rich, whose import would take half of the time that `tallow --help` may take.
"""

from __future__ import annotations

import os
import re
import shlex
import traceback
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

from tallow_cli.cli.environment import Environment
from tallow_cli.cli.last_words import unexpected
from tallow_cli.cli.options import ARGUMENTS
from tallow_cli.cli.sources import blaming, refuse_empty
from tallow_cli.errors import UsageError

if TYPE_CHECKING:
    from typer._click import Command as ClickCommand
    from typer._click import Context, HelpFormatter, Parameter

_OTHER = "Options"


def section_of(parameter: Parameter) -> str:
    """The heading that a parameter stands under."""
    if parameter.param_type_name == "argument":
        return ARGUMENTS
    return getattr(parameter, "rich_help_panel", None) or _OTHER


class Command(TyperCommand):
    """A command whose options stand under their `rich_help_panel`, and whose epilog is a list of examples."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        with blaming(ctx):
            rest = super().parse_args(ctx, args)
            if not ctx.resilient_parsing:
                refuse_empty(ctx)
        return rest

    def invoke(self, ctx: Context) -> Any:
        with blaming(ctx):
            try:
                return super().invoke(ctx)
            except OSError as error:
                environment = ctx.find_object(Environment)
                if environment is None or environment.results.problem is not None:  # `cli.app` says so
                    raise
                if environment.debugging:
                    environment.people.write(traceback.format_exc())
                raise unexpected(error) from error

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if parameter.param_type_name == "argument":
                record = str(parameter.metavar or parameter.name), str(getattr(parameter, "help", ""))
            if record is not None:
                sections.setdefault(section_of(parameter), []).append(record)
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class Group(TyperGroup):
    """The program itself: its commands before its options."""

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, ClickCommand | None, list[str]]:
        """The command that the first argument names. Raises UsageError, saying what was probably meant."""
        if args and not ctx.resilient_parsing and args[0] not in self.commands:
            if re.match(r"\W*\d", args[0]):
                raise UsageError(
                    "There is no command of that name. To receive with a code, run: tallow recv CODE"
                )
            if os.path.exists(args[0]):
                raise UsageError(
                    f"There is no command {args[0]!r}. To send it, run: tallow send {shlex.quote(args[0])}"
                )
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        records = [parameter.get_help_record(ctx) for parameter in self.get_params(ctx)]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record is not None])
