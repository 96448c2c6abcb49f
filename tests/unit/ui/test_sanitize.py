from __future__ import annotations

import pytest

from tallow_cli.ui.sanitize import columns, elide, name, one_line, paragraphs


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("safe.txt\rEVIL.exe", "safe.txt\\x0dEVIL.exe"),
        ("two\nlines", "two\\x0alines"),
        ("a\tb", "a\\x09b"),
        ("del\x7f", "del\\x7f"),
        ("invoice\u202efdp.exe", "invoice\\u202efdp.exe"),
        ("\u2066isolate\u2069", "\\u2066isolate\\u2069"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("join\u200der", "join\\u200der"),
        ("bom\ufeff", "bom\\ufeff"),
        ("soft\u00adhyphen", "soft\\u00adhyphen".replace("\\u00ad", "\\xad")),
        ("line\u2028separator\u2029", "line\\u2028separator\\u2029"),
        ("bad\udcffbyte", "bad\\xffbyte"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("filler\u3164\uffa0\u115f", "filler\\u3164\\uffa0\\u115f"),
        ("grapheme\u034fjoiner", "grapheme\\u034fjoiner"),
        ("private\ue000", "private\\ue000"),
        ("a\ufe0f", "a\\ufe0f"),
        ("\u0301leading mark", "\\u0301leading mark"),
        ("a" + "\u0301" * 6, "a" + "\u0301" * 4 + "\\u0301" * 2),
    ],
)
def test_what_could_act_on_the_terminal_is_shown_and_does_nothing(hostile: str, shown: str) -> None:
    assert one_line(hostile) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Übergrößenträger.pdf",
        "Ελληνικά.txt",
        "документ.doc",
        "日本語　資料.txt",
        "한국어.hwp",
        "हिन्दी क्‍ष.txt",  # Devanagari with a joiner after its virama
        "می‌خواهم.txt",  # Persian with a non-joiner within Arabic script
        "עברית.txt",
        "ภาษาไทย.txt",
        "e\u0301te\u0301.txt",
        "❤️ ☕.jpg",
        "100 % & more [bold]not markup[/bold] :smile: $(x) `y`.txt",
        "back\\slash",
    ],
)
def test_every_language_and_ordinary_punctuation_stays(text: str) -> None:
    assert one_line(text) == text


def test_a_message_keeps_its_lines_and_tabs_and_nothing_else() -> None:
    assert paragraphs("a\tb\r\nc\n\x1b[2Jd\re") == "a\tb\nc\n\\x1b[2Jd\\x0de"


def test_a_right_to_left_name_is_isolated_from_the_words_around_it() -> None:
    assert name("עברית.txt") == "\u2068עברית.txt\u2069"
    assert name("plain.txt") == "plain.txt"
    assert columns(name("עברית.txt")) == columns("עברית.txt")


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("short.txt", 20, "short.txt"),
        ("a-very-long-name-of-a-file.tar", 15, "a-very-…ile.tar"),
        ("a-very-long-name-of-a-file.tar", 9, "a-ve….tar"),
        ("no-extension-at-all-here", 11, "no-ex…-here"),
        (".hidden-and-very-long-name", 11, ".hidd…-name"),
        ("name.extension-that-is-none", 11, "name.…-none"),
        ("日本語の長い名前.txt", 11, "日本語….txt"),
        ("abcdef", 1, "…"),
        ("abcdef", 0, ""),
    ],
)
def test_a_long_name_loses_its_middle_and_keeps_its_extension(text: str, limit: int, shown: str) -> None:
    assert elide(text, limit) == shown
    assert columns(shown) <= limit


def test_a_symbol_made_an_emoji_takes_two_columns() -> None:
    sun = "\u2600\ufe0f"
    assert columns(sun * 10) == 20
    shown = elide(sun * 10, 11)
    assert columns(shown) <= 11
    assert "…\ufe0f" not in shown


def test_a_cut_never_separates_a_mark_from_its_letter() -> None:
    shown = elide("e\u0301" * 40, 11)
    assert columns(shown) == 11
    assert "…\u0301" not in shown
