"""The only door from text that others wrote (paths, messages, error sentences) to the screen.

What a character could do to the reader decides: whatever moves the cursor, changes colours, reorders its
neighbours or cannot be seen is replaced by its escape (`\\x1b`, `\\u202e`): it shows, and does nothing.
Letters, digits, marks, punctuation and symbols of every language stay as they are. The result is plain text:
hand it to `rich` as `Text`, never as markup, for square brackets and `:names:` stay too.

Two joiners and two variation selectors are invisible but needed to write; they stay where Unicode gives them
a meaning (RFC 5892 appendix A.1 and A.2; an emoji before a selector) and are escaped elsewhere.
"""

from __future__ import annotations

import re
from typing import Final
from unicodedata import bidirectional, category, combining, east_asian_width

# Categories that have no place on a terminal: controls, formats (bidi and zero-width among them), surrogates,
# private use and unassigned (nobody knows what they will do), line and paragraph separators.
_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# Invisible although their category says letter or mark: the rest of Default_Ignorable_Code_Point (UAX #44).
_INVISIBLE: Final = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0}
    | set(range(0x180B, 0x1810))
    | set(range(0xFE00, 0xFE10))
    | set(range(0xE0000, 0xE1000))
)
_ZWNJ: Final = "\u200c"
_ZWJ: Final = "\u200d"
_PRESENTATION_SELECTORS: Final = "\ufe0e\ufe0f"  # text and emoji form of the symbol before
_EMOJI_SELECTOR: Final = "\ufe0f"
_VIRAMA: Final = 9  # canonical combining class
# No orthography stacks more marks on one letter; more of them paint over the lines above and below.
MAX_MARKS_IN_A_ROW: Final = 4

# Blanks that a reader cannot count, or take for another than they are: at either end of a name, several in a row.
_DECEPTIVE_SPACES: Final = re.compile(r"^ +| +$| {2,}")
_BRAILLE_BLANK: Final = "\u2800"  # a symbol by its category, and nothing to see

_FSI: Final = "\u2068"  # first strong isolate: what follows cannot reorder what stands around it
_PDI: Final = "\u2069"
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})

ELLIPSIS: Final = "…"
LONGEST_KEPT_EXTENSION: Final = 12  # columns, with the dot; more is no extension
# How much of either end of a name is looked at for each column it may take: no letter takes more characters.
_CHARACTERS_PER_COLUMN: Final = 2 + MAX_MARKS_IN_A_ROW


def one_line(text: str) -> str:
    """Return `text` fit to stand in one line of a terminal. Line breaks and tabs are escaped too."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_safe(text, index) for index in range(len(text)))


def paragraphs(text: str) -> str:
    """Return `text` fit for a terminal with its line breaks and tabs kept, for a message meant to be read."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(one_line(cell) for cell in line.split("\t")) for line in lines)


def name(text: str, max_columns: int | None = None) -> str:
    """Return a name or path fit to stand within a sentence, at most `max_columns` wide.

    What is too long loses its middle and keeps its extension. Blanks that could be overlooked or miscounted are
    escaped: those that are no U+0020, those at either end, several in a row. Where it holds right-to-left letters it
    is wrapped in a Unicode isolate (which takes no column), so that it cannot reorder the words around it.
    """
    if max_columns is not None:
        text = _ends(text, _CHARACTERS_PER_COLUMN * (max_columns + 1))
    shown = _blanks_shown(one_line(text))
    if max_columns is not None:
        shown = elide(shown, max_columns)
    if any(bidirectional(char) in _RIGHT_TO_LEFT for char in shown):
        return f"{_FSI}{shown}{_PDI}"
    return shown


def elide(text: str, max_columns: int) -> str:
    """Return `text` cut in its middle to `max_columns`, keeping a file extension. Give it sanitized text."""
    if columns(text) <= max_columns:
        return text
    if max_columns <= 1:
        return ELLIPSIS[:max_columns]
    stem, dot, extension = text.rpartition(".")
    tail_columns = columns(extension) + 1
    # An extension that would leave no room for the name is not worth keeping.
    if not (stem and dot and tail_columns <= min(LONGEST_KEPT_EXTENSION, max_columns // 2)):
        tail_columns = 0
    end_columns = max(tail_columns, (max_columns - 1) // 2)
    end = _last_columns(text, end_columns)
    return _first_columns(text, max_columns - 1 - columns(end)) + ELLIPSIS + end


def columns(text: str) -> int:
    """Return how many terminal columns `text` takes: East Asian wide characters two, marks none."""
    return len(text) if text.isascii() else sum(_width(char) for char in text)


def _ends(text: str, length: int) -> str:
    """`text`, or as much of either end as will be shown of it: what is cut away costs nothing to look at."""
    return text if len(text) <= 2 * length else text[:length] + text[-length:]


def _blanks_shown(text: str) -> str:
    if not text.isascii():
        text = "".join(
            _escape(char) if char == _BRAILLE_BLANK or (category(char) == "Zs" and char != " ") else char
            for char in text
        )
    return _DECEPTIVE_SPACES.sub(lambda found: "\\x20" * len(found[0]), text)


def _safe(text: str, index: int) -> str:
    char = text[index]
    kind = category(char)
    if char in (_ZWNJ, _ZWJ):
        return char if _joins(text, index) else _escape(char)
    if char in _PRESENTATION_SELECTORS:
        return char if index and category(text[index - 1]) == "So" else _escape(char)
    if kind in _UNSAFE_CATEGORIES or ord(char) in _INVISIBLE:
        return _escape(char)
    if kind[0] == "M" and not _has_base(text, index):
        return _escape(char)
    return char


def _joins(text: str, index: int) -> bool:
    """Return whether the joiner at `index` means something: after a virama, or ZWNJ within Arabic script."""
    if index == 0:
        return False
    if combining(text[index - 1]) == _VIRAMA:
        return _has_base(text, index - 1)
    if text[index] != _ZWNJ or index + 1 == len(text):
        return False
    return bidirectional(text[index - 1]) == bidirectional(text[index + 1]) == "AL"


def _has_base(text: str, index: int) -> bool:
    """Return whether the mark at `index` sits on something visible, with few enough marks between."""
    for before in range(index - 1, max(-1, index - 1 - MAX_MARKS_IN_A_ROW), -1):
        kind = category(text[before])
        if kind[0] != "M" and text[before] not in (_ZWNJ, _ZWJ):
            return kind[0] in "LNPS" and ord(text[before]) not in _INVISIBLE
    return False


def _escape(char: str) -> str:
    point = ord(char)
    if 0xDC80 <= point <= 0xDCFF:  # a byte of a name that is no UTF-8 (PEP 383)
        point -= 0xDC00
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _width(char: str) -> int:
    if char == _EMOJI_SELECTOR:
        return 1  # what it follows becomes an emoji, which takes two columns
    if category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


def _first_columns(text: str, limit: int) -> str:
    taken = 0
    for index, char in enumerate(text):
        taken += _width(char)
        if taken > limit:
            return text[:index]
    return text


def _last_columns(text: str, limit: int) -> str:
    """Return the longest end of `text` within `limit` columns that does not begin with a mark."""
    taken, start = 0, len(text)
    for index in range(len(text) - 1, -1, -1):
        taken += _width(text[index])
        if taken > limit:
            break
        if _width(text[index]) and text[index] != _EMOJI_SELECTOR:
            start = index
    return text[start:]
