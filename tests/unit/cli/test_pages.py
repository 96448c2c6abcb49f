"""cli.pages: a long list is shown a screenful at a time, and made no further than it is read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tallow_cli.cli import pages
from tallow_cli.cli.environment import Environment
from tallow_cli.ui.output import Output
from tests.support.streams import Stream

ROWS = 10


class Reader:
    """Goes on so many times, then leaves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, goes_on: int) -> None:
        self.left = goes_on
        self.asked: list[str] = []
        self.made = 0
        self.stderr = Stream(terminal=True)
        self.environment = Environment(Stream(terminal=True), Stream(), self.stderr, {})
        monkeypatch.setattr(pages, "wants_more", self.wants_more)
        monkeypatch.setattr(Output, "rows", ROWS)

    async def wants_more(self, _environment: Environment, question: str) -> bool:
        self.asked.append(question)
        self.left -= 1
        return self.left >= 0

    def lines(self, count: int) -> Iterator[str]:
        for number in range(count):
            self.made += 1
            yield f"{number}"

    async def read(self, count: int) -> list[str]:
        await pages.show_pages(self.environment, lambda _columns: self.lines(count), count)
        return self.stderr.getvalue().splitlines()


async def test_a_page_fits_the_screen_and_says_how_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(monkeypatch, goes_on=0)
    assert await reader.read(1_000) == [f"{number}" for number in range(ROWS - 2)]
    assert reader.asked == ["992 more lines; Enter goes on, q leaves the list: "]


async def test_no_more_is_made_than_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(monkeypatch, goes_on=2)
    await reader.read(1_000_000)
    assert reader.made == 3 * (ROWS - 2)


async def test_the_end_is_reached_without_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(monkeypatch, goes_on=9)
    assert await reader.read(2 * (ROWS - 2)) == [f"{number}" for number in range(2 * (ROWS - 2))]
    assert len(reader.asked) == 1
    assert (await Reader(monkeypatch, goes_on=9).read(3)) == ["0", "1", "2"]
