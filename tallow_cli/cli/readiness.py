"""What a receiver can know before it spends the code: whether there is a place, and a way to consent.

A code works once. What fails only after the two have met costs both people another try.
"""

from __future__ import annotations

from tallow_cli.cli.environment import Environment
from tallow_cli.cli.options import ConflictChoice
from tallow_cli.errors import BadOption, InputNeeded, LocalFileError
from tallow_cli.store.destination import check_destination
from tallow_cli.ui.sanitize import one_line


def check_ready_to_receive(
    environment: Environment,
    *,
    output: str | None,
    yes: bool,
    on_conflict: ConflictChoice | None,
    can_ask: bool,
    json: bool,
) -> None:
    """Creates nothing and asks nobody.

    Raises BadOption, InputNeeded, LocalFileError. The current directory is only warned about: a text needs none.
    """
    if output == "-":
        _check_standard_output(environment, json=json)
    if not yes and not can_ask:
        raise InputNeeded("Your consent to receive what is offered", "--yes")
    asks = on_conflict is None and can_ask and not yes
    settled = asks or on_conflict not in (None, ConflictChoice.refuse)
    if output is None:
        try:
            check_destination(".", replaces_or_renames=settled)
        except LocalFileError as error:
            environment.people.line(one_line(f"Only a text can be received here. {error.sentence}"))
    elif output != "-":
        check_destination(output, replaces_or_renames=settled)


def _check_standard_output(environment: Environment, *, json: bool) -> None:
    if json:
        raise BadOption("--json", "standard output already carries the data (--output -)")
    if "stdout" in environment.closed:
        raise BadOption("--output", "standard output is closed; redirect it to a file or a pipe")
    if environment.stdout.isatty():
        raise BadOption(
            "--output",
            "standard output is a terminal; redirect it to a file or a pipe. A text is shown without --output -",
        )
