"""A long list at a terminal, a screenful at a time: for somebody who wants to read all of it before an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from tallow_cli.cli.environment import Environment
from tallow_cli.cli.prompt import wants_more
from tallow_cli.ui.format import format_count

_ROWS_KEPT = 2  # the question's own, and one of the page before, for the eye
_FEWEST_ROWS = 5


async def show_pages(
    environment: Environment, lines: Callable[[int | None], Iterator[str]], count: int
) -> None:
    """Show `count` lines, which `lines` makes one by one for a terminal of so many columns, until they end or somebody
    has seen enough.

    A line is made when its page comes: a list of a million costs nothing that nobody looks at. Cancelling ends it.
    """
    people = environment.people
    source = lines(people.columns)
    shown = 0
    while page := list(islice(source, max(_FEWEST_ROWS, people.rows - _ROWS_KEPT))):
        people.put("".join(f"{line}\n" for line in page))
        shown += len(page)
        if shown >= count:
            return
        left = format_count(count - shown, "more line")
        if not await wants_more(environment, f"{left}; Enter goes on, q leaves the list: "):
            return
