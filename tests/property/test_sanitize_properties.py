"""Whatever a peer writes, what reaches the terminal can neither act nor hide."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tallow_cli.ui.sanitize import columns, elide, name, one_line, paragraphs

ANY_TEXT = st.text(st.characters(codec=None, categories=None))  # lone surrogates too
NASTY = st.text(
    st.sampled_from(
        "\x00\x07\x1b\x7f\x85\x9b\r\n\t\u061c\u200b\u200c\u200d\u200e\u202e\u2066\u2069\u2028\u034f"
        "\u0301\u3164\ufe0f\ufeff\udc80\U000e0001a\u05d1\u0915\u094d. "
    )
)
TEXT = ANY_TEXT | NASTY

BIDI_CONTROLS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
NEEDED_TO_WRITE = set("\u200c\u200d")


@given(TEXT)
def test_no_control_format_or_separator_passes(text: str) -> None:
    for char in one_line(text):
        kind = unicodedata.category(char)
        assert kind not in {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
        assert kind != "Cf" or char in NEEDED_TO_WRITE
        assert char not in BIDI_CONTROLS


@given(TEXT)
def test_the_result_can_be_encoded_and_printed(text: str) -> None:
    assert one_line(text).encode().decode() == one_line(text)
    assert "\n" not in one_line(text)


@given(TEXT)
def test_sanitizing_twice_changes_nothing_more(text: str) -> None:
    assert one_line(one_line(text)) == one_line(text)
    assert paragraphs(paragraphs(text)) == paragraphs(text)


@given(
    st.text(
        st.characters(
            categories=["L", "N", "P", "Sm", "Sc", "Sk"], exclude_characters="\u115f\u1160\u3164\uffa0"
        )
    )
)
def test_letters_digits_punctuation_and_signs_stay(text: str) -> None:
    assert one_line(text) == text


@given(TEXT, st.integers(0, 60))
def test_an_elided_name_fits(text: str, limit: int) -> None:
    assert columns(elide(one_line(text), limit)) <= limit
    assert columns(name(text, limit)) <= limit


@given(TEXT)
def test_a_name_has_at_most_one_isolate_of_its_own_around_it(text: str) -> None:
    shown = name(text)
    inner = shown[1:-1] if shown.startswith("\u2068") else shown
    assert not BIDI_CONTROLS & set(inner)
    assert shown.startswith("\u2068") == shown.endswith("\u2069")
