"""What people type becomes one canonical code, and what they mistype is never repeated."""

from __future__ import annotations

from collections import Counter

import pytest

from tallow_cli.crypto import wordlist
from tallow_cli.crypto.codes import (
    MAX_TEXT_CHARS,
    Code,
    complete,
    generate_code,
    parse_code,
    slips,
    suggest,
)
from tallow_cli.errors import ExitCode, InvalidCode
from tests.support.entropy import SeededEntropy

CANONICAL = "4821-acorn-blend-crisp"


@pytest.mark.parametrize(
    "text",
    [
        CANONICAL,
        "4821-ACORN-Blend-crisP",
        "4821 acorn blend crisp",
        "  4821_acorn__blend - crisp \n",
        "4821–acorn—blend−crisp",  # what an office program makes of hyphens
        "4821\u2011acorn\u2010blend\u00a0crisp",
        "\uff14\uff18\uff12\uff11\uff0dacorn-blend-crisp",  # full-width digits and hyphen
        "4821-\uff41corn-blend-crisp",
        "\u200b4821-acorn-blend-crisp",  # zero-width space: what some chat programs put in front
        "4821\u2060-acorn\u00ad-blend\ufeff-crisp\u200d",  # word joiner, soft hyphen, byte order mark, joiner
        "\u202a4821-acorn-blend-crisp\u202c",  # marks of direction
        "4821-acorn-blend-crisp\ufe0f\u3164",  # variation selector, Hangul filler
        "“4821-acorn-blend-crisp”",
        "«4821-acorn-blend-crisp»",
        "'4821-acorn-blend-crisp'",
        "`4821-acorn-blend-crisp`",
        "```4821-acorn-blend-crisp```",
        "**4821-acorn-blend-crisp**",
        "(4821-acorn-blend-crisp)",
        "<4821-acorn-blend-crisp>",
        "[4821-acorn-blend-crisp],",
        "4821-acorn-blend-crisp.",
        "4821-acorn-blend-crisp!?…",
        "4821-acorn-blend-crisp。",
        "> 4821-acorn-blend-crisp",
        "🔑 4821-acorn-blend-crisp 🙂",
        "4821.acorn.blend.crisp",
        "4821·acorn•blend・crisp",
        "4821, acorn, blend, crisp",
        "4821/acorn/blend/crisp",
        "4821+acorn+blend+crisp",
        "4821:acorn:blend:crisp",
        "4821\u2043acorn\u02d7blend\u301ccrisp",  # hyphen bullet, modifier minus, wave dash
        "4821ーacornーblendーcrisp",  # a Japanese keyboard's long-vowel mark
        "4821\ufe63acorn\uff3fblend\u2e3acrisp",
        "4821\r\nacorn\tblend\ncrisp",
        "٤٨٢١-acorn-blend-crisp",
        "४८२१-acorn-blend-crisp",
        "\x1b[200~4821-acorn-blend-crisp\x1b[201~",  # a terminal's marks around pasted text
    ],
)
def test_one_code_however_it_is_typed(text: str) -> None:
    assert str(parse_code(text)) == CANONICAL


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("  - ", "empty"),
        ("acorn-blend-crisp", "must start with a number"),
        ("0-acorn-blend-crisp", "starts with 0"),
        ("04821-acorn-blend-crisp", "starts with 0"),
        ("1234567890-acorn-blend-crisp", "10 digits"),
        ("48-21-acorn-blend-crisp", "two numbers"),
        ("4821-4821-acorn-blend-crisp", "two numbers"),
        ("48²1x-acorn-blend-crisp", "must start with a number"),
        ("4821acorn-blend-crisp", "must start with a number"),
        ("四八二一-acorn-blend-crisp", "must start with a number"),
        ("4821", "no words"),
        ("4821-acorn", "1 word "),
        ("4821-acorn-blend", "2 words"),
        ("4821-acorn-blenk-crisp", "word 2 is not on the word list"),
        ("4821-acorn-blend-crisp-../../etc", "word 4 is not"),
        ("4821-acorn-yo-crisp", "word 2 is not"),
        ("4821" + "-acorn" * 9, "more than 8 words"),
        ("4821-acorn-blend-crisp" + " " * MAX_TEXT_CHARS, "too long"),
        ("4821-acorm-blend-crips", "words 1 and 3 are not"),
        ("4821-acornblend-crisp", "word 1 is not"),
        ("4821-\x1b[31macorn-blend-crisp", "words 1 and 2 are not"),
        ("4821-a\u0301corn-blend-crisp", "word 1 is not"),
        ("4821-acorn-\ud800-crisp", "word 2 is not"),
    ],
)
def test_what_is_no_code_is_refused_with_the_place_and_without_the_text(text: str, problem: str) -> None:
    with pytest.raises(InvalidCode) as caught:
        parse_code(text)
    assert problem in caught.value.sentence
    assert caught.value.exit_code is ExitCode.USAGE
    told = caught.value.sentence.replace("A code looks like 4821-acorn-blend-crisp.", "")
    for part in text.split("-"):
        assert len(part) < 2 or part not in told, "a nearly right code is nearly the secret"


def test_yo_yo_is_the_word_it_sounds_like_wherever_it_stands() -> None:
    assert parse_code("7-yo-yo-yoyo-Yo Yo") == Code("7", ("yoyo", "yoyo", "yoyo"))
    assert parse_code("7-acid-yo-yo-acorn") == parse_code("7-acid-yoyo-acorn")


def test_longer_codes_chosen_by_hand_are_taken() -> None:
    assert parse_code("7" + "-acid" * 8).words == ("acid",) * 8


def test_a_generated_code_is_read_back_as_itself() -> None:
    for seed in range(50):
        code = generate_code("4821", SeededEntropy(f"code {seed}"))
        assert parse_code(str(code)) == code
        assert len(code.words) == 3


def test_words_are_drawn_without_bias() -> None:
    size = len(wordlist.words())
    drawn: Counter[str] = Counter()
    for value in range(0x10000):
        source = iter([value.to_bytes(2, "big")] + [bytes(2)] * 3)
        drawn[generate_code("1", lambda _, source=source: next(source)).words[0]] += 1
    # Every 16-bit value once: each word as often as any other, and the values thrown away fall to the redraw
    # (word 0).
    assert 0x10000 % size == drawn[wordlist.words()[0]] - drawn[wordlist.words()[1]]
    assert {drawn[word] for word in wordlist.words()[1:]} == {0x10000 // size}


def test_a_nameplate_from_a_server_is_checked_before_it_becomes_a_code() -> None:
    for nameplate in ["", "12a", "-1", "1-acorn", "0", "9" * 10, "1\n", "\x1b[31m"]:
        with pytest.raises(InvalidCode):
            generate_code(nameplate, SeededEntropy("nameplate"))


def test_too_few_words_cannot_be_generated() -> None:
    with pytest.raises(ValueError, match="3 to 8 words"):
        generate_code("1", SeededEntropy("short"), word_count=2)


def test_the_words_stay_out_of_reprs_and_the_nameplate_out_of_the_secret() -> None:
    code = parse_code(CANONICAL)
    assert repr(code) == "<Code 4821, 3 words>"
    assert f"{[code]}" == "[<Code 4821, 3 words>]"
    assert code.secret == b"acorn-blend-crisp"


def test_completion_finishes_the_last_word() -> None:
    assert complete("4821-ac") == ("4821-acid", "4821-acorn", "4821-acre", "4821-acts")
    assert complete("4821 Acorn bl")[0] == "4821-acorn-blade"
    assert len(complete("4821-")) == 1295
    assert complete("4821-acorn-blend-cris") == (CANONICAL,)


@pytest.mark.parametrize(
    "prefix", ["", "48", "4821", "x-ac", "4821-acorx-bl", CANONICAL + "-a", "1-" + "a" * 300]
)
def test_completion_offers_nothing_where_nothing_fits(prefix: str) -> None:
    assert complete(prefix) == ()


def test_a_slip_gets_a_suggestion() -> None:
    assert suggest("acron")[0] == "acorn"
    assert "blend" in suggest("BLENT")
    assert suggest("qqqqq") == ()


def test_the_person_who_typed_it_can_be_shown_each_wrong_word_with_what_may_be_meant() -> None:
    found = slips("4821-acorn-BLENT-crips")
    assert [(slip.position, slip.word) for slip in found] == [(2, "blent"), (3, "crips")]
    assert found[1].near[0] == "crisp"
    assert "crips" not in repr(found), "an object that lands in a log says nothing"


@pytest.mark.parametrize("text", [CANONICAL, "", "acorn", "0821-acorm", "12-34-acorm", "4821-acorn-blend"])
def test_what_is_wrong_in_another_way_or_not_at_all_has_no_slips(text: str) -> None:
    assert slips(text) == ()
