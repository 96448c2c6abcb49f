"""The vocabulary of codes: the EFF short word list #1, less one spelling.

The data file holds the 1,296 words as the Electronic Frontier Foundation published them in 2016
(https://www.eff.org/dice, CC BY 3.0 US), one a line; a test pins its SHA-256. `yo-yo` and `yoyo` are both on
it: they sound alike and one holds our separator, so `yo-yo` is never drawn and is read as `yoyo`.

This is the only sans-IO module that touches a file: its own package data, once, on first use.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache

WORDLIST_FILE = "eff_short_wordlist_1.txt"
WORDLIST_SHA256 = "36ecca49e4fa20ca84b176c32f2e9c82f98f446585190e75f9879a95c08247bf"

_HYPHENATED = "yo-yo"  # read as "yoyo"


@cache
def words() -> tuple[str, ...]:
    """The 1,295 words a code is drawn from, sorted."""
    from importlib.resources import files  # costs 10 ms to import; `tallow --help` does not need it

    text = files("tallow_cli.crypto").joinpath(WORDLIST_FILE).read_text(encoding="ascii")
    return tuple(word for word in text.split() if word != _HYPHENATED)


@cache
def _members() -> frozenset[str]:
    return frozenset(words())


def is_word(text: str) -> bool:
    """Whether `text` (lower case) is in the vocabulary."""
    return text in _members()


def words_starting(prefix: str) -> tuple[str, ...]:
    """The words that start with `prefix` (lower case), sorted; all of them for an empty prefix."""
    vocabulary = words()
    first = bisect_left(vocabulary, prefix)
    last = first
    while last < len(vocabulary) and vocabulary[last].startswith(prefix):
        last += 1
    return vocabulary[first:last]
