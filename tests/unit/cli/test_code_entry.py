"""cli.code_entry: what people paste where a code is wanted, and what they are told of a slip."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallow_cli.cli.code_entry import Entry, parse_entered, read_entry
from tallow_cli.errors import InvalidCode

CODE = "4821-acorn-blend-crisp"
OPTIONS = {"server": True, "output": True, "o": True, "yes": False, "y": False, "on-conflict": True}


@pytest.mark.parametrize(
    "line",
    [
        CODE,
        f"tallow recv {CODE}",
        f"  tallow   receive  {CODE}  ",
        f"Tallow Recv {CODE.upper()}",
        f"$ tallow recv {CODE}",
        f"> tallow recv {CODE}",
        f"`tallow recv {CODE}`",
        f"“tallow recv {CODE}”.",
        f'tallow recv "{CODE}"',
        f"tallow recv '{CODE}'",
        f"tallow recv <{CODE}>",
        "tallow recv 4821 acorn blend crisp",
        f"\u200btallow\u2060 recv\ufeff {CODE}",
        f"/usr/local/bin/tallow recv {CODE}",
        f"python3 -m tallow_cli recv {CODE}",
        f"uvx tallow recv {CODE}",
        f"On the other machine, run:\n\n    tallow recv {CODE}\n",
        f"recv {CODE}",
        f"receive {CODE}",
        f"Code: {CODE}",
        f"code = {CODE}",
        f"the code is {CODE}",
        f"tallow recv {CODE}     # the code you were shown",
        f"tallow recv {CODE} | tar x",
        f"tallow recv {CODE} > out.bin",
        f"tallow recv {CODE} >out.bin 2>/dev/null",
        f"tallow recv {CODE} && ls",
        f"tallow recv {CODE} -y",
        f"tallow recv --yes {CODE}",
        f"tallow recv -o 7-acid-acid-acid {CODE}",
        f"tallow recv {CODE} --on-conflict=overwrite --output /etc",
        f"tallow recv {CODE} —on-conflict overwrite",  # two hyphens, as a phone writes them
    ],
)
def test_the_code_is_found_in_whatever_was_pasted(line: str) -> None:
    entry = read_entry(line, OPTIONS)
    assert str(parse_entered(entry.code, shown=False)) == CODE
    assert entry.server is None


@pytest.mark.parametrize(
    "line",
    [
        f"tallow recv {CODE} --server ws://10.0.0.7:40049",
        f"tallow recv {CODE} --server=ws://10.0.0.7:40049",
        f"tallow recv --server 'ws://10.0.0.7:40049' {CODE}",
        f"tallow recv {CODE} —server ws://10.0.0.7:40049",
        f"tallow recv {CODE} –server ws://10.0.0.7:40049",
    ],
)
def test_the_senders_line_brings_its_server(line: str) -> None:
    entry = read_entry(line, OPTIONS)
    assert (entry.server, entry.unused) == ("ws://10.0.0.7:40049", ())
    assert str(parse_entered(entry.code, shown=False)) == CODE


def test_what_else_a_pasted_line_asks_for_is_not_done_but_named() -> None:
    entry = read_entry(f"tallow recv -y {CODE} -o /etc --on-conflict overwrite", OPTIONS)
    assert entry == Entry(CODE, None, ("-y", "-o", "--on-conflict"))


@pytest.mark.parametrize(
    "line", ["", "tallow", "tallow recv", "tallow recv --server", "code", "recv", "tallow send x"]
)
def test_a_line_without_a_code_is_no_code(line: str) -> None:
    with pytest.raises(InvalidCode):
        parse_entered(read_entry(line, OPTIONS).code, shown=True)


def test_without_a_command_line_no_word_is_an_option() -> None:
    assert read_entry("4821 -y acorn", OPTIONS) == Entry("4821 -y acorn")


def test_the_person_who_typed_it_is_told_the_word_and_what_may_be_meant() -> None:
    with pytest.raises(
        InvalidCode, match=r"word 3, 'crips', is not on the word list \(did you mean crisp\?\)"
    ):
        parse_entered("4821-acorn-blend-crips", shown=True)
    with pytest.raises(InvalidCode, match=r"word 1, 'acron',.*; word 2, 'qqqq', is not on the word list\."):
        parse_entered("4821-acron-qqqq-crisp", shown=True)


def test_a_word_that_is_a_page_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidCode) as caught:
        parse_entered("4821-acorn-blend-" + "x" * 150, shown=True)
    assert len(caught.value.sentence) < 250


@pytest.mark.parametrize("text", ["4821-acorn-blend-crips", "4821-acorn-blend-hunter2", "0-crips"])
def test_what_others_may_read_repeats_nothing(text: str) -> None:
    with pytest.raises(InvalidCode) as caught:
        parse_entered(text, shown=False)
    assert text.rpartition("-")[2] not in caught.value.sentence


pasted = st.lists(
    st.sampled_from(
        [
            "tallow",
            "recv",
            " ",
            "-",
            "--",
            "server",
            "=",
            "'",
            "—",
            CODE,
            "4821",
            "acorn",
            "\u200b",
            "\n",
            "#",
        ]
    )
    | st.text(max_size=6),
    max_size=14,
).map("".join)


@given(pasted, st.booleans())
def test_any_text_is_a_code_or_refused_in_one_sentence(text: str, shown: bool) -> None:
    entry = read_entry(text, OPTIONS)
    with contextlib.suppress(InvalidCode):
        parse_entered(entry.code, shown=shown)
