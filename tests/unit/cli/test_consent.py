"""cli.consent: nothing is received, replaced or printed raw that a person has not seen and agreed to."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
import threading
import time
from pathlib import Path

import pytest

from tallow_cli.cli import consent as consent_module
from tallow_cli.cli import pages
from tallow_cli.cli.consent import Consent
from tallow_cli.cli.environment import Environment
from tallow_cli.cli.options import ConflictChoice
from tallow_cli.errors import BadOption, Declined, HiddenInHome, InputNeeded, TargetExists
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest
from tallow_cli.store.directory_sink import DirectorySink, FileSink
from tallow_cli.store.sequential_sink import StdoutSink, TextSink
from tallow_cli.store.sink import AtHand, Conflict, OnConflict, Sink
from tallow_cli.ui.sanitize import columns
from tests.support.disk import directory_entry, file_entry, files
from tests.support.streams import Stream


class Numbered(Stream):
    """A stream with a descriptor."""

    def fileno(self) -> int:
        return 1


class Narrow(Stream):
    """A terminal of 40 columns."""

    def __init__(self) -> None:
        super().__init__(terminal=True)
        self._master, self._slave = os.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 40, 0, 0))

    def fileno(self) -> int:
        return self._slave


class Person:
    """Answers questions with what was prepared, and remembers the questions."""

    def __init__(self, *answers: str, terminal_output: bool = True, stderr: Stream | None = None) -> None:
        self.answers = list(answers)
        self.questions: list[str] = []
        self.stderr = stderr or Stream(terminal=True)
        self.environment = Environment(
            stdin=Stream(terminal=True),
            stdout=Numbered(terminal=terminal_output),
            stderr=self.stderr,
            variables={},
        )

    async def ask(self, _environment: Environment, question: str) -> str:
        self.questions.append(question)
        return self.answers.pop(0)

    async def wants_more(self, environment: Environment, question: str) -> bool:
        return await self.ask(environment, question) == "more"

    @property
    def was_shown(self) -> str:
        return self.stderr.getvalue()


async def decide(
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
    manifest: Manifest,
    *,
    output: str | None = None,
    yes: bool = False,
    on_conflict: ConflictChoice | None = None,
    can_ask: bool = True,
) -> Sink:
    monkeypatch.setattr(consent_module, "ask", person.ask)
    monkeypatch.setattr(pages, "wants_more", person.wants_more)
    subject = Consent(person.environment, output=output, yes=yes, on_conflict=on_conflict, can_ask=can_ask)
    return await subject.decide(manifest)


TEXT = Manifest("text", (file_entry("message.txt", 5),))
REPORT = files(file_entry("report.txt", 3))
TREE = files(
    directory_entry("photos"),
    file_entry("photos/a.jpg", 1),
    file_entry("photos/b.jpg", 1),
    file_entry("photos/new.jpg", 1),
)


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Texts


@pytest.mark.parametrize("output", [None, "-"])
async def test_a_text_for_a_terminal_goes_by_the_sanitizer_and_never_raw(
    monkeypatch: pytest.MonkeyPatch, output: str | None
) -> None:
    person = Person()
    assert isinstance(await decide(person, monkeypatch, TEXT, output=output), TextSink)
    assert person.questions == []


async def test_a_text_for_a_pipe_is_asked_about_and_goes_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person("y", terminal_output=False)
    assert isinstance(await decide(person, monkeypatch, TEXT, output="-"), StdoutSink)
    assert len(person.questions) == 1


async def test_files_do_not_go_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadOption, match="terminal"):
        await decide(Person(), monkeypatch, REPORT, output="-", yes=True)


# Consent


@pytest.mark.parametrize("answer", ["y", "yes"])
async def test_yes_receives(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    person = Person(answer)
    assert isinstance(await decide(person, monkeypatch, REPORT), DirectorySink)
    assert person.questions == ["Receive this? [y/N] "]


@pytest.mark.parametrize("answer", ["", "n", "no"])
async def test_anything_that_is_a_no_declines(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    with pytest.raises(Declined):
        await decide(Person(answer), monkeypatch, REPORT)


async def test_what_is_neither_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person("yeah", "si", "y")
    await decide(person, monkeypatch, REPORT)
    assert len(person.questions) == 3


DOTS = files(file_entry(".profile", 3), directory_entry(".ssh"), file_entry(".ssh/authorized_keys", 1))


async def test_nothing_that_acts_by_itself_is_put_into_a_home_unseen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    person = Person()
    person.environment = Environment(
        stdin=person.environment.stdin, stderr=person.stderr, variables={"HOME": str(tmp_path)}
    )
    with pytest.raises(HiddenInHome, match=r"\.profile and 1 more"):
        await decide(person, monkeypatch, DOTS, yes=True)
    await decide(person, monkeypatch, REPORT, yes=True)
    await decide(person, monkeypatch, DOTS, yes=True, output=str(tmp_path))  # somebody named it
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await decide(person, monkeypatch, DOTS, yes=True)


async def test_names_that_pass_for_others_or_for_options_are_pointed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer = files(
        file_entry("-rf", 1),
        file_entry("notes.txt", 1),
        file_entry("notes.txt\u2800", 1),
        file_entry("other", 1),
    )
    person = Person("y")
    await decide(person, monkeypatch, offer)
    assert "begins like an option: -rf" in person.was_shown
    assert person.was_shown.count("looks like another name: notes.txt") == 2
    assert "looks like another name: other" not in person.was_shown


async def test_the_flag_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person()
    await decide(person, monkeypatch, REPORT, yes=True, can_ask=False)
    assert person.was_shown == ""


async def test_where_nobody_can_be_asked_the_option_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputNeeded, match="--yes"):
        await decide(Person(), monkeypatch, REPORT, can_ask=False)


async def test_a_name_for_one_file_makes_a_file_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(await decide(Person("y"), monkeypatch, REPORT, output="other.txt"), FileSink)


# What is easily overlooked


async def test_hidden_names_and_programs_are_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person("n")
    offer = files(
        file_entry("notes.txt", 1),
        file_entry(".bashrc", 1),
        directory_entry("project/.git"),
        file_entry("project/.git/config", 1),
        file_entry("project/.git/hooks/post-checkout", 1, mode=0o755),
        file_entry("project/run", 1, mode=0o744),
        Entry("project/.link", EntryKind.SYMLINK, 0, 0o777, 0, "run"),
    )
    with pytest.raises(Declined):
        await decide(person, monkeypatch, offer)
    assert person.was_shown.splitlines() == [
        "  hidden: .bashrc",
        "  hidden: project/.git/",
        "  hidden: project/.link",
        "  can be run: project/.git/hooks/post-checkout",
        "  can be run: project/run",
    ]


async def test_many_of_them_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person("n")
    with pytest.raises(Declined):
        await decide(
            person, monkeypatch, files(*(file_entry(f"tool{n}", 1, mode=0o755) for n in range(2000)))
        )
    assert person.was_shown.splitlines()[-1] == "  can be run: 1,995 more"


async def test_what_the_peer_named_is_sanitized(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person("n")
    with pytest.raises(Declined):
        await decide(person, monkeypatch, files(file_entry(".\u05d0\u05d1", 1)))
    assert person.was_shown == "  hidden: \u2068.\u05d0\u05d1\u2069\n"  # cannot reorder what stands around it


@pytest.mark.parametrize("letter", ["x", "\u65e5", "e\u0301", "\u2600\ufe0f", "\u05d0"])
async def test_no_name_that_is_pointed_out_breaks_into_a_second_line(
    monkeypatch: pytest.MonkeyPatch, letter: str
) -> None:
    long = "." + letter * 40 + ".sh"
    taken(long)
    person = Person("n", stderr=Narrow())
    with pytest.raises(Declined):
        await decide(person, monkeypatch, files(file_entry(long, 1, mode=0o755)))
    lines = person.was_shown.splitlines()
    assert [line.split(":")[0] for line in lines] == ["  hidden", "  can be run", "  exists already"]
    assert all(columns(line) < 40 for line in lines)
    assert lines[2].endswith(".sh (file)") or lines[2].endswith(".sh\u2069 (file)")


# All of it, on request


def many(count: int) -> Manifest:
    return files(*(file_entry(f"file{number}", 1, mode=0o755) for number in range(count)))


async def test_the_whole_offer_is_listed_a_page_at_a_time_before_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person = Person("l", *["more"] * 100, "y", stderr=Narrow())
    del person.answers[1 + (2 * 300 - 1) // 8 : -1]  # as many pages of 8 as it takes
    await decide(person, monkeypatch, many(300))
    shown = person.was_shown.splitlines()
    assert person.questions[0] == "Receive this? [y/N/l=list] "
    assert person.questions[1] == "592 more lines; Enter goes on, q leaves the list: "
    assert person.questions[-1] == person.questions[0]
    assert [line.split()[-1] for line in shown[-300:]] == [f"file{number}" for number in range(300)]
    assert sum(line.startswith("  can be run: file") for line in shown) == 5 + 300


async def test_the_list_is_left_for_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person("list", "q", "n", stderr=Narrow())
    with pytest.raises(Declined):
        await decide(person, monkeypatch, many(1_000))
    assert len(person.was_shown.splitlines()) == 6 + 8


async def test_a_list_of_a_million_is_made_a_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    original = consent_module.described
    monkeypatch.setattr(
        consent_module, "described", lambda entry: (made.append(entry.path), original(entry))[1]
    )
    person = Person("l", "q", "n", stderr=Narrow())
    with pytest.raises(Declined):
        await decide(person, monkeypatch, files(*(file_entry(f"{n}", 1) for n in range(10_000))))
    assert len(made) == 8


async def test_a_short_offer_that_was_shown_whole_has_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person("y")
    await decide(person, monkeypatch, TREE)
    assert person.questions == ["Receive this? [y/N] "]


async def test_the_list_is_there_at_the_question_about_taken_names_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken(*(f"file{number}" for number in range(7)))
    person = Person("l", "more", "more", "r", stderr=Narrow())
    await decide(person, monkeypatch, many(7))
    assert person.questions[0].endswith("[r/o/N/l=list] ")
    assert person.was_shown.count("exists already: file6 (file)") == 1


# Names that are taken


def taken(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("old")


async def test_a_taken_name_is_asked_about_and_may_be_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    taken("report.txt")
    person = Person("r")
    sink = await decide(person, monkeypatch, REPORT)
    assert isinstance(sink, DirectorySink)
    assert sink.on_conflict is OnConflict.RENAME
    assert "  exists already: report.txt (file)" in person.was_shown


async def test_overwriting_a_file_that_was_listed_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    taken("report.txt")
    person = Person("overwrite")
    sink = await decide(person, monkeypatch, REPORT)
    assert isinstance(sink, DirectorySink)
    assert sink.on_conflict is OnConflict.OVERWRITE
    assert len(person.questions) == 1


async def test_files_inside_a_directory_are_listed_before_any_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken("photos/a.jpg", "photos/b.jpg", "photos/mine.jpg")
    person = Person("o", "n")
    with pytest.raises(Declined):
        await decide(person, monkeypatch, TREE)
    listed = [line for line in person.was_shown.splitlines() if "replaced" in line]
    assert listed == ["  would be replaced: photos/a.jpg", "  would be replaced: photos/b.jpg"]
    assert person.questions[1] == "Replace these too? [y/N] "

    person = Person("o", "y")
    assert isinstance(await decide(person, monkeypatch, TREE), DirectorySink)


async def test_merging_into_a_directory_without_replacing_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken("photos/mine.jpg")
    person = Person("o")
    await decide(person, monkeypatch, TREE)
    assert len(person.questions) == 1


async def test_every_file_to_be_replaced_is_listed_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [f"photos/{number}.jpg" for number in range(30)]
    taken(*paths)
    offer = files(directory_entry("photos"), *(file_entry(path, 1) for path in paths))
    person = Person("o", "n")
    with pytest.raises(Declined):
        await decide(person, monkeypatch, offer)
    assert all(f"would be replaced: {path}\n" in person.was_shown for path in paths)


async def test_overwriting_by_flag_lists_what_it_replaces_before_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken("photos/a.jpg")
    person = Person("n")
    with pytest.raises(Declined):
        await decide(person, monkeypatch, TREE, on_conflict=ConflictChoice.overwrite)
    assert [line for line in person.was_shown.splitlines() if "replaced" in line] == [
        "  would be replaced: photos/a.jpg"
    ]


async def test_with_the_flag_yes_alone_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    taken("report.txt")
    with pytest.raises(TargetExists):
        await decide(Person(), monkeypatch, REPORT, yes=True)


async def test_the_disk_is_looked_at_off_the_event_loop_and_every_unused_sink_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []
    closed: list[object] = []

    class Slow(DirectorySink):
        def conflicts(self, manifest: Manifest) -> list[Conflict]:
            threads.append(threading.get_ident())
            return super().conflicts(manifest)

        def close(self) -> None:
            closed.append(self)
            super().close()

    monkeypatch.setattr(
        consent_module, "sink_for", lambda _output, _manifest, policy, **_options: Slow(".", policy)
    )
    taken("photos/a.jpg")
    with pytest.raises(Declined):
        await decide(Person("o", "n"), monkeypatch, TREE)
    assert len(threads) == len(closed) == 2
    assert threading.get_ident() not in threads


async def test_cancelling_at_the_question_closes_the_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []

    class Closing(DirectorySink):
        def close(self) -> None:
            closed.append(self)
            super().close()

    async def never(_environment: Environment, _question: str) -> str:
        return await asyncio.get_running_loop().create_future()

    person = Person()
    monkeypatch.setattr(person, "ask", never)
    monkeypatch.setattr(
        consent_module, "sink_for", lambda _output, _manifest, policy, **_options: Closing(".", policy)
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await decide(person, monkeypatch, REPORT)
    assert len(closed) == 1


def test_twenty_thousand_files_to_be_replaced_are_compared_in_no_time() -> None:
    conflicts = [Conflict(f"site/{number}", "file") for number in range(20_000)]
    began = time.monotonic()
    assert consent_module._not_shown(conflicts, conflicts[:-1]) == ["site/19999"]
    assert time.monotonic() - began < 2, "each was compared with every other one"


async def test_what_a_look_at_the_disk_found_is_said_before_the_sink_is_exchanged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "report.txt").write_bytes(b"old")
    monkeypatch.setattr(DirectorySink, "notices", ("Removed 1 unfinished file.",))
    person = Person("r")
    await decide(person, monkeypatch, REPORT)
    assert "Removed 1 unfinished file." in person.was_shown


# What is there already


def subject_for(person: Person, monkeypatch: pytest.MonkeyPatch, *sinks: DirectorySink) -> Consent:
    monkeypatch.setattr(consent_module, "ask", person.ask)
    left = list(sinks)
    monkeypatch.setattr(
        consent_module, "sink_for", lambda _output, _manifest, _policy, **_options: left.pop(0)
    )
    return Consent(person.environment, output=None, yes=False, on_conflict=None, can_ask=True)


class Looked(DirectorySink):
    """One of which something is there; it counts looks and closings."""

    def __init__(self) -> None:
        super().__init__(".")
        self.looks = self.closings = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def conflicts(self, manifest: Manifest) -> list[Conflict]:
        self.may_answer.wait(10)
        self.looks += 1
        return super().conflicts(manifest)

    def at_hand(self, manifest: Manifest) -> AtHand:
        return AtHand(resumed_bytes=2)

    def close(self) -> None:
        self.closings += 1
        super().close()


async def test_what_is_there_is_said_before_the_question_and_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sink = Looked()
    subject = subject_for(Person("y"), monkeypatch, sink)
    assert await subject.foresee(REPORT) == AtHand(resumed_bytes=2)
    assert await subject.decide(REPORT) is sink
    assert (sink.looks, sink.closings) == (1, 0)


async def test_what_hinders_the_look_is_said_by_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hindered(Looked):
        def conflicts(self, manifest: Manifest) -> list[Conflict]:
            raise TargetExists("report.txt")

    sink = Hindered()
    subject = subject_for(Person("y"), monkeypatch, sink)
    assert await subject.foresee(REPORT) == AtHand()
    with pytest.raises(TargetExists):
        await subject.decide(REPORT)
    assert sink.closings == 1


async def test_an_offer_is_shown_although_the_disk_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent_module, "_FORESEE_S", 0.0)
    sink = Looked()
    sink.may_answer.clear()
    subject = subject_for(Person("y"), monkeypatch, sink)
    assert await subject.foresee(REPORT) is None
    sink.may_answer.set()
    assert await subject.decide(REPORT) is sink
    assert sink.looks == 1


async def test_cancelling_the_look_closes_its_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Looked()
    sink.may_answer.clear()
    subject = subject_for(Person(), monkeypatch, sink)
    looking = asyncio.create_task(subject.foresee(REPORT))
    await asyncio.sleep(0)
    looking.cancel()
    await asyncio.wait([looking])
    sink.may_answer.set()
    assert looking.cancelled()
    assert sink.closings == 1


async def test_nobody_looks_for_a_text_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await subject_for(Person(), monkeypatch).foresee(TEXT) == AtHand()
