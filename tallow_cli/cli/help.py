"""How `--help` looks: plain text, options under headings, examples last.

Typer's own boxes need rich, whose import would take half of the time that `tallow --help` may take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.core import TyperCommand, TyperGroup

from tallow_cli.cli.options import ARGUMENTS

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter, Parameter

_OTHER = "Options"


def section_of(parameter: Parameter) -> str:
    """The heading that a parameter stands under."""
    if parameter.param_type_name == "argument":
        return ARGUMENTS
    return getattr(parameter, "rich_help_panel", None) or _OTHER


class Command(TyperCommand):
    """A command whose options stand under their `rich_help_panel`, and whose epilog is a list of examples."""

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

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        records = [parameter.get_help_record(ctx) for parameter in self.get_params(ctx)]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record is not None])
