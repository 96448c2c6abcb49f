"""The vendored word list is the EFF's, whole and unchanged."""

from __future__ import annotations

import hashlib
import itertools
from importlib.resources import files

from tallow_cli.crypto import wordlist


def _file() -> bytes:
    return files("tallow_cli.crypto").joinpath(wordlist.WORDLIST_FILE).read_bytes()


def test_the_file_is_the_pinned_one() -> None:
    assert hashlib.sha256(_file()).hexdigest() == wordlist.WORDLIST_SHA256


def test_the_file_holds_the_words_of_the_effs_own_publication() -> None:
    # The EFF's eff_short_wordlist_1.txt writes the dice rolls before each word; this is that file's digest.
    rolls = itertools.product("123456", repeat=4)
    lines = (f"{''.join(roll)}\t{word}\n" for roll, word in zip(rolls, _file().decode().split(), strict=True))
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert digest == "8f5ca830b8bffb6fe39c9736c024a00a6a6411adb3f83a9be8bfeeb6e067ae69"


def test_every_word_is_short_lower_case_unique_and_no_word_starts_another() -> None:
    words = wordlist.words()
    assert len(words) == 1295
    assert list(words) == sorted(set(words))
    assert all(3 <= len(word) <= 5 and word.isalpha() and word.islower() and word.isascii() for word in words)
    assert not any(longer.startswith(word) for word, longer in itertools.pairwise(words))


def test_the_word_with_a_hyphen_is_left_out_because_its_twin_is_there() -> None:
    assert "yo-yo" not in wordlist.words()
    assert wordlist.is_word("yoyo")
    assert not wordlist.is_word("yo-yo")


def test_prefixes_find_their_words() -> None:
    assert wordlist.words_starting("ac") == ("acid", "acorn", "acre", "acts")
    assert wordlist.words_starting("zoom") == ("zoom",)
    assert wordlist.words_starting("zz") == ()
    assert wordlist.words_starting("") == wordlist.words()
