"""Codes: `NAMEPLATE-word-word-word`, spoken by one person and typed by another.

The nameplate finds the room at the signaling server and is public. The words are the password of the
handshake (`Code.secret`) and go nowhere else: not to the server, a log, a URL or an error. Three words carry
31 bits, of which an attacker gets one guess (docs/explanation/security.md).

Reading is forgiving (case, spaces, underscores, any dash, full-width forms) and the result canonical, so both
sides derive the same secret. docs/spec/codes.md is the normative description.
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
# Space, underscore, hyphen, the dashes U+2010-2015 and the minus sign: what keyboards, phones and chat
# programs put in.
_SEPARATORS = re.compile("[\\s_\\-\u2010-\u2015\u2212]+")


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


def parse_code(text: str) -> Code:
    """The code that `text` spells.

    Raises InvalidCode, whose sentence names the position of what is wrong and never repeats it: a nearly
    right code is nearly the secret.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidCode("it is too long")
    nameplate, *spelled = _tokens(text) or [""]
    if not nameplate:
        raise InvalidCode("it is empty")
    _check_nameplate(nameplate)
    for position, word in enumerate(spelled, start=1):
        if not wordlist.is_word(word):
            raise InvalidCode(f"word {position} is not on the word list")
    if len(spelled) < MIN_WORDS:
        raise InvalidCode(f"it has {len(spelled)} words after the number and needs {MIN_WORDS}")
    if len(spelled) > MAX_WORDS:
        raise InvalidCode(f"it has more than {MAX_WORDS} words")
    return Code(nameplate, tuple(spelled))


def complete(prefix: str) -> tuple[str, ...]:
    """For shell completion: the canonical codes `prefix` can grow into by finishing its last word.

    Empty while the nameplate is being typed (it cannot be guessed), when a finished word is wrong, and once a
    whole default code stands there.
    """
    if len(prefix) > MAX_TEXT_CHARS:
        return ()
    tokens = _tokens(prefix)
    if prefix and _SEPARATORS.fullmatch(prefix[-1]):
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
    folded = unicodedata.normalize("NFKC", text).casefold()
    parts: list[str] = []
    for part in filter(None, _SEPARATORS.split(folded)):
        if part == "yo" and parts and parts[-1] == "yo":
            parts[-1] = "yoyo"
        else:
            parts.append(part)
    return parts


def _check_nameplate(nameplate: str) -> None:
    if not _NAMEPLATE.fullmatch(nameplate):
        raise InvalidCode(f"it must start with a number of 1 to {MAX_NAMEPLATE_DIGITS} digits")


def _draw_word(entropy: Callable[[int], bytes]) -> str:
    """One word, each equally likely: draws that would favour the list's first words are thrown away."""
    vocabulary = wordlist.words()
    fair_below = 0x10000 - 0x10000 % len(vocabulary)
    while (draw := int.from_bytes(entropy(2), "big")) >= fair_below:
        pass
    return vocabulary[draw % len(vocabulary)]
