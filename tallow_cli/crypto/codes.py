"""Codes: `NAMEPLATE-word-word-word`, spoken by one person and typed by another.

The nameplate finds the room at the signaling server and is public. The words are the password of the
handshake (`Code.secret`) and go nowhere else: not to the server, a log, a URL or an error. Three words carry
31 bits, of which an attacker gets one guess (docs/explanation/security.md).

Reading is forgiving (case, full-width forms, any script's digits, invisible characters, and whatever stands between
the parts or around them, as long as it is neither letter nor digit) and the result canonical, so both sides derive the
same secret. docs/spec/codes.md is the normative description.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from tallow_cli.crypto import wordlist
from tallow_cli.errors import InvalidCode

DEFAULT_WORDS = 3  # 31 bits: one guess in 2.17 * 10^9; croc takes 2 (20.7 bits), magic-wormhole 16 bits
MIN_WORDS = 3  # holds for codes chosen by hand too
MAX_WORDS = 8
MAX_NAMEPLATE_DIGITS = 9
MAX_TEXT_CHARS = 200  # far above 9 digits and 8 words; bounds the work on pasted text

_NAMEPLATE = re.compile(rf"[1-9][0-9]{{0,{MAX_NAMEPLATE_DIGITS - 1}}}")
_DIGITS = re.compile(r"[0-9]+")
# What separates the parts, by Unicode's general category: white space, punctuation, symbols. Chat programs, phones
# and office programs put quotes, dashes and stops in and around; no word and no number holds any of them.
_SEPARATING = frozenset("ZPS")
_WHITE_CONTROLS = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x1f\x85")
# The long-vowel mark is a letter to Unicode, and what a Japanese keyboard gives for a dash.
_LETTER_LIKE_DASHES = frozenset("\u30fc")
# Shown as nothing, yet no format characters (category Cf): joiners, fillers, variation selectors (Unicode's
# Default_Ignorable_Code_Point).
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0") | frozenset(
    chr(point)
    for start, end in ((0x180B, 0x1810), (0xFE00, 0xFE10), (0xE0100, 0xE01F0))
    for point in range(start, end)
)
# What a terminal puts around pasted text for programs that asked for it (xterm's bracketed paste).
_PASTE_MARKS = re.compile("\x1b\\[20[01]~")


@dataclass(frozen=True, slots=True, repr=False)
class Code:
    """A canonical code. `str(code)` is the whole secret text; `repr(code)` hides the words."""

    nameplate: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return "-".join((self.nameplate, *self.words))

    def __repr__(self) -> str:
        return f"<Code {self.nameplate}, {len(self.words)} words>"

    @property
    def secret(self) -> bytes:
        """The password of the handshake: the words without the nameplate."""
        return "-".join(self.words).encode("ascii")


def generate_code(nameplate: str, entropy: Callable[[int], bytes], word_count: int = DEFAULT_WORDS) -> Code:
    """A fresh code under `nameplate`, its words drawn without bias.

    Raises InvalidCode if the nameplate (which a server may have chosen) is not one.
    """
    if not MIN_WORDS <= word_count <= MAX_WORDS:
        raise ValueError(f"a code has {MIN_WORDS} to {MAX_WORDS} words")
    _check_nameplate(nameplate)
    return Code(nameplate, tuple(_draw_word(entropy) for _ in range(word_count)))


@dataclass(frozen=True, slots=True, repr=False)
class Slip:
    """A word that is not on the list. Show it to nobody but the person who typed it."""

    position: int  # from 1
    word: str
    near: tuple[str, ...]  # words of the list that may be meant, best first


def parse_code(text: str) -> Code:
    """The code that `text` spells.

    Raises InvalidCode, whose sentence names the position of what is wrong and never repeats it: a nearly
    right code is nearly the secret. `slips` has the words, for the person who typed them.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidCode("it is too long")
    nameplate, *spelled = _tokens(text) or [""]
    if not nameplate:
        raise InvalidCode("it is empty")
    _check_nameplate(nameplate)
    if any(map(_DIGITS.fullmatch, spelled)):
        raise InvalidCode("it has two numbers")
    wrong = [position for position, word in enumerate(spelled, start=1) if not wordlist.is_word(word)]
    if len(wrong) == 1:
        raise InvalidCode(f"word {wrong[0]} is not on the word list")
    if wrong:
        raise InvalidCode(f"words {_enumerated(wrong)} are not on the word list")
    if len(spelled) < MIN_WORDS:
        words = "no words" if not spelled else "1 word" if len(spelled) == 1 else f"{len(spelled)} words"
        raise InvalidCode(f"it has {words} after the number and needs {MIN_WORDS}")
    if len(spelled) > MAX_WORDS:
        raise InvalidCode(f"it has more than {MAX_WORDS} words")
    return Code(nameplate, tuple(spelled))


def slips(text: str) -> tuple[Slip, ...]:
    """The words of `text` that are not on the list, if it begins as a code does and is wrong in nothing else."""
    nameplate, *spelled = _tokens(text[:MAX_TEXT_CHARS]) or [""]
    if not _NAMEPLATE.fullmatch(nameplate) or any(map(_DIGITS.fullmatch, spelled)):
        return ()
    return tuple(
        Slip(position, word, suggest(word))
        for position, word in enumerate(spelled[:MAX_WORDS], start=1)
        if not wordlist.is_word(word)
    )


def complete(prefix: str) -> tuple[str, ...]:
    """For shell completion: the canonical codes `prefix` can grow into by finishing its last word.

    Empty while the nameplate is being typed (it cannot be guessed), when a finished word is wrong, and once a
    whole default code stands there.
    """
    if len(prefix) > MAX_TEXT_CHARS:
        return ()
    tokens = _tokens(prefix)
    if prefix and _separates(prefix[-1]):
        tokens.append("")
    if len(tokens) < 2 or len(tokens) > 1 + DEFAULT_WORDS:
        return ()
    nameplate, *finished, partial = tokens
    if not _NAMEPLATE.fullmatch(nameplate) or not all(map(wordlist.is_word, finished)):
        return ()
    return tuple("-".join((nameplate, *finished, word)) for word in wordlist.words_starting(partial))


def suggest(word: str) -> tuple[str, ...]:
    """Up to three words of the list that `word` may be a slip for, best first. For a prompt, not for logs."""
    from difflib import get_close_matches  # costs 5 ms to import, needed after a slip only

    typed = word.casefold()[:MAX_TEXT_CHARS]
    vocabulary = wordlist.words()
    swapped = [known for known in vocabulary if sorted(known) == sorted(typed)]  # two letters changed places
    close = get_close_matches(typed, vocabulary, n=3, cutoff=0.7)
    return tuple(dict.fromkeys(swapped + close))[:3]


def _tokens(text: str) -> list[str]:
    """The parts of `text` between separators, folded; `yo-yo` is put together again as `yoyo`."""
    folded = unicodedata.normalize("NFKC", _PASTE_MARKS.sub("", text)).casefold()
    spaced = "".join(map(_plain, folded))
    parts: list[str] = []
    for part in spaced.split():
        if part == "yo" and parts and parts[-1] == "yo":
            parts[-1] = "yoyo"
        else:
            parts.append(part)
    return parts


def _plain(character: str) -> str:
    """What a character of a code stands for: a space for a separator, nothing for what nobody sees."""
    if character.isascii() and character.isalnum():
        return character
    if _separates(character):
        return " "
    category = unicodedata.category(character)
    if category == "Cf" or character in _INVISIBLE:
        return ""
    return str(unicodedata.decimal(character)) if category == "Nd" else character


def _separates(character: str) -> bool:
    return (
        unicodedata.category(character)[0] in _SEPARATING
        or character in _WHITE_CONTROLS
        or character in _LETTER_LIKE_DASHES
    )


def _check_nameplate(nameplate: str) -> None:
    if _NAMEPLATE.fullmatch(nameplate):
        return
    if not _DIGITS.fullmatch(nameplate):
        raise InvalidCode(f"it must start with a number of 1 to {MAX_NAMEPLATE_DIGITS} digits")
    if nameplate.startswith("0"):
        raise InvalidCode("its number starts with 0, which no code's does")
    raise InvalidCode(
        f"its number has {len(nameplate)} digits, and no code's has more than {MAX_NAMEPLATE_DIGITS}"
    )


def _enumerated(positions: list[int]) -> str:
    return f"{', '.join(map(str, positions[:-1]))} and {positions[-1]}"


def _draw_word(entropy: Callable[[int], bytes]) -> str:
    """One word, each equally likely: draws that would favour the list's first words are thrown away."""
    vocabulary = wordlist.words()
    fair_below = 0x10000 - 0x10000 % len(vocabulary)
    while (draw := int.from_bytes(entropy(2), "big")) >= fair_below:
        pass
    return vocabulary[draw % len(vocabulary)]
