"""A code as it was typed or pasted: perhaps with the whole command line around it, perhaps with a slip in a word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallow_cli.cli.environment import Environment
from tallow_cli.cli.sources import is_typed
from tallow_cli.crypto.codes import Code, Slip, parse_code, slips
from tallow_cli.errors import BadOption, InvalidCode

if TYPE_CHECKING:
    from typer._click import Context

MAX_PASTE_CHARS = 4096  # what a terminal takes as one line
_WORD_SHOWN_CHARS = 30

# The sender's line as it was sent on, with or without what stood before it: `tallow recv …`, `$ tallow receive …`,
# `python -m tallow_cli recv …`, `Code: …`. Letter case is what a phone's keyboard makes of it.
_COMMAND = re.compile(
    r"(?:\btallow(?:_cli)?[\"'`]?\s+|\A\W*)(?:recv|receive)\b[\"'`]?\s*(?P<rest>.*)", re.I | re.S
)
_LABEL = re.compile(r"\A\W*(?:the\s+)?code(?:\s+is)?\b\s*[:=]?(?P<rest>.*)", re.I | re.S)
_DASHES = "\\-\u2010-\u2015\u2212"  # chat programs turn two hyphens into one dash
_LONG_OPTION = re.compile(rf"[{_DASHES}]{{1,2}}(?P<name>[a-z][a-z-]+)(?:=(?P<value>.*))?", re.S)
_SHORT_OPTION = re.compile(r"-(?P<name>[a-zA-Z])")
_SHELL_ENDS = re.compile(r"#.*|[|&;<>]+|[12]?>>?[^\s>]+", re.S)  # a comment, a pipe, a redirection
_QUOTES = "\"'`\u2018\u2019\u201c\u201d"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a pasted text holds. `server` is what the line names with `--server`; `unused` its other options."""

    code: str
    server: str | None = None
    unused: tuple[str, ...] = ()


def read_entry(text: str, options: Mapping[str, bool]) -> Entry:
    """Take apart what somebody typed or pasted where a code is wanted. Pure; any text gives an Entry.

    `options` are the receiving command's, by name (`server`, and `o` for `-o`): whether each takes a value. Only in a
    whole command line are words taken for options, and only the server among them is used: what else a stranger's
    line would have this command do (where to write, what to overwrite) is for the person here to say.
    """
    shown = "".join(c for c in text[:MAX_PASTE_CHARS] if unicodedata.category(c) != "Cf")
    command = _COMMAND.search(shown)
    if command is None:
        label = _LABEL.match(shown)
        return Entry(text if label is None else label["rest"])
    code: list[str] = []
    server: str | None = None
    unused: list[str] = []
    words = iter(command["rest"].split())
    for word in words:
        if _SHELL_ENDS.fullmatch(word):
            break
        name, value = _option(word.strip(_QUOTES), options)
        if name is None:
            code.append(word)
            continue
        if value is None and options[name]:
            value = next(words, "")
        if name == "server" and value:
            server = value.strip(_QUOTES)
        else:
            unused.append(f"--{name}" if len(name) > 1 else f"-{name}")
    return Entry(" ".join(code), server, tuple(dict.fromkeys(unused)))


def parse_entered(text: str, *, shown: bool) -> Code:
    """The code that `text` spells.

    Raises InvalidCode. With `shown` its sentence repeats wrong words beside those that may be meant: only for the
    person who typed them, never where the text came from a place that keeps secrets (the environment, a file) or
    goes to one that keeps records (JSON).
    """
    try:
        return parse_code(text)
    except InvalidCode:
        found = slips(text) if shown else ()
        if not found:
            raise
        raise InvalidCode("; ".join(map(_explained, found))) from None


@dataclass(frozen=True, slots=True)
class Entered:
    """A code, and the server that the line named with which it was pasted."""

    code: Code
    server: str | None


class CodeReader:
    """Reads the code of a receiving command from where it may be.

    `shown`: a person reads the errors, who may see their own slips.
    """

    def __init__(self, environment: Environment, context: Context, *, shown: bool) -> None:
        self._people = environment.people
        self._context = context
        self._shown = shown

    def given(self, words: list[str] | None, option: str | None) -> Entered | None:
        """The code among the arguments (several are one code: `4821 acorn blend crisp`), or of `--code` or its
        variable; None if there is none.

        Raises InvalidCode, and BadOption for two different codes.
        """
        typed = is_typed(self._context, "code")
        if not words:
            return None if option is None else self.read(option, shown=typed)
        entered = self.read(" ".join(words))
        if typed and option is not None and self.read(option).code != entered.code:
            raise BadOption("--code", "it is another code than the one given as an argument; give one")
        return entered

    def read(self, text: str, *, shown: bool = True) -> Entered:
        """Read one entry, and say what of a pasted line is not used. Raises InvalidCode."""
        entry = read_entry(text, self._options())
        code = parse_entered(entry.code, shown=shown and self._shown)
        if entry.unused:
            unused = ", ".join(entry.unused)
            self._people.line(
                f"Options pasted with the code are not used ({unused}); give them to this command."
            )
        return Entered(code, entry.server)

    def _options(self) -> dict[str, bool]:
        """This command's options by name, and whether each takes a value."""
        return {
            name.lstrip("-"): not getattr(parameter, "is_flag", False)
            for parameter in self._context.command.params
            if parameter.param_type_name == "option"
            for name in parameter.opts
        }


def _option(word: str, options: Mapping[str, bool]) -> tuple[str | None, str | None]:
    """Its name and the value written into it, if the word is an option."""
    for pattern in (_LONG_OPTION, _SHORT_OPTION):
        match = pattern.fullmatch(word)
        if match and match["name"] in options:
            return match["name"], match.groupdict().get("value")
    return None, None


def _explained(slip: Slip) -> str:
    word = slip.word if len(slip.word) <= _WORD_SHOWN_CHARS else f"{slip.word[:_WORD_SHOWN_CHARS]}…"
    problem = f"word {slip.position}, {word!r}, is not on the word list"
    if not slip.near:
        return problem
    return f"{problem} (did you mean {', '.join(slip.near)}?)"
