"""docs/reference: the pages about the command line say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

from tallow_cli.errors import ExitCode
from tests.support.cli_reference import PAGE, render

EXIT_CODES = Path(__file__).parents[2] / "docs" / "reference" / "exit-codes.md"


def test_the_reference_of_the_command_line_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run `make docs`"


def test_the_page_of_exit_codes_lists_each_with_its_name_and_no_other() -> None:
    rows = re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", EXIT_CODES.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(str(int(code)), code.kind) for code in ExitCode]
