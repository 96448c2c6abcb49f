"""A tree arrives whole, or both ends say what is missing: real processes, real /proc, real holes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.disk import tree
from tests.support.processes import Shell, Tallow

pytestmark = pytest.mark.e2e

MiB = 1024 * 1024


def receive_later(sh: Shell, sender: Tallow, *, between: Callable[[], object], into: Path) -> Tallow:
    """Receive once `between` was done, while the sender waits."""
    code = sender.wait_event("code")["code"]
    between()
    receiver = sh.start("recv", code, "--yes", "--json", "-o", f"{into}/")
    receiver.wait()
    sender.wait()
    return receiver


def left_out(side: Tallow) -> list[tuple[str, str]]:
    return [
        (os.path.basename(item["path"]), item["why"])
        for event in side.events("left-out")
        for item in event["items"]
    ]


def done(side: Tallow) -> dict[str, Any]:
    (event,) = side.events("done")
    return event


@pytest.mark.parametrize("path", ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"])
def test_a_file_whose_size_is_not_true_arrives_as_it_reads(sh: Shell, path: str) -> None:
    if not os.path.exists(path):
        pytest.skip(f"there is no {path} here")
    sender, receiver = sh.transfer([path], ["-o", f"{sh.directory}/in/"])
    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert (sh.directory / "in" / os.path.basename(path)).read_bytes() == Path(path).read_bytes()


def test_what_was_saved_while_the_code_was_read_out_is_what_arrives(sh: Shell) -> None:
    source = sh.directory / "work"
    source.mkdir()
    for name, content in (("log", b""), ("report", b"draft"), ("stays", b"x")):
        (source / name).write_bytes(content)

    def save() -> None:
        (source / "log").write_bytes(b"data")
        (source / "report").write_bytes(b"the final version")
        (source / "new").write_bytes(b"new")

    sender = sh.start("send", source, "--json")
    receiver = receive_later(sh, sender, between=save, into=sh.directory / "in")
    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert tree(sh.directory / "in" / "work") == tree(source)


def test_what_vanished_meanwhile_is_told_by_both_and_the_rest_arrives(sh: Shell) -> None:
    source = sh.directory / "vd"
    source.mkdir()
    for number in range(1, 6):
        (source / str(number)).write_text(f"{number}\n")
    sender = sh.start("send", source, "--json")
    receiver = receive_later(sh, sender, between=(source / "4").unlink, into=sh.directory / "in")
    assert (sender.wait(), receiver.wait()) == (12, 12), sender.report() + receiver.report()
    assert tree(sh.directory / "in" / "vd") == tree(source)
    assert left_out(sender) == [("4", "vanished")]
    assert receiver.wait_event("offer")["left_out"] == {"vanished": 1}
    for side in (sender, receiver):
        assert (done(side)["missed"], done(side)["left_out"], done(side)["files"]) == (1, 1, 4)


def test_files_that_vanish_change_and_grow_on_the_way_do_not_end_the_others(sh: Shell) -> None:
    source = sh.directory / "big"
    source.mkdir()
    for number in range(1, 8):
        (source / str(number)).write_bytes(os.urandom(2 * MiB))
    before = tree(source)
    sender = sh.start("send", source, "--json", "--limit", "4MB")
    code = sender.wait_event("code")["code"]
    receiver = sh.start("recv", code, "--yes", "--json", "-o", f"{sh.directory}/in/")
    while not any(event["bytes"] > MiB for event in sender.events("progress")):
        time.sleep(0.02)
    (source / "5").unlink()
    with (source / "6").open("r+b") as file:
        file.truncate(MiB)
    with (source / "7").open("ab") as file:
        file.write(b"more")
    assert (receiver.wait(), sender.wait()) == (12, 12), sender.report() + receiver.report()
    assert tree(sh.directory / "in" / "big") == {name: before[name] for name in "12347"}
    for side in (sender, receiver):
        assert left_out(side) == [("5", "vanished"), ("6", "changed")]
        assert (done(side)["missed"], done(side)["files"]) == (2, 5)
    (grown,) = sender.events("notice")
    assert "has grown since it was offered" in grown["message"]


def test_a_transfer_of_which_nothing_is_left_fails(sh: Shell) -> None:
    source = sh.directory / "one"
    source.write_bytes(b"x" * 8 * MiB)
    sender = sh.start("send", source, "--json", "--limit", "4MB")
    code = sender.wait_event("code")["code"]
    receiver = sh.start("recv", code, "--yes", "--json", "-o", f"{sh.directory}/in/")
    while not any(event["bytes"] > MiB for event in sender.events("progress")):
        time.sleep(0.02)
    with source.open("r+b") as file:
        file.truncate(2 * MiB)
    assert (receiver.wait(), sender.wait()) == (8, 10), sender.report() + receiver.report()
    assert "it became shorter" in sender.events("error")[0]["message"]
    assert not (sh.directory / "in" / "one").exists()


def test_names_travel_between_systems_that_take_them(sh: Shell) -> None:
    """Maildirs, Perl's manual, kernel sources, units of systemd, old file names, trees of any depth."""
    source = sh.directory / "t"
    names: list[bytes] = [
        b"12:30.log", b"aux.c", b"con", b"COM1.txt", b"x.", b"ends in a space ", b"back\\slash", b"README", b"readme",
        b"caf\xe9", b"\xff.txt", "e\u0301".encode(), "\u00e9".encode(), b"File::Spec.3pm", b"-rf", b"a?b*",
        b"cur:2,S/1700000000.M1P1.host:2,S", b"/".join([b"d"] * 100) + b"/deep",
    ]  # fmt: skip
    for name in names:
        path = os.path.join(os.fsencode(source), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(name)
    sender, receiver = sh.transfer([source], ["-o", f"{sh.directory}/in/"])
    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert tree(sh.directory / "in" / "t") == tree(source)
    assert "t/\\xff.txt" in {entry["path"] for entry in receiver.wait_event("offer")["entries"]}


def test_links_arrive_if_they_lead_to_what_is_sent(sh: Shell) -> None:
    source = sh.directory / "t"
    (source / "sub").mkdir(parents=True)
    (source / "real").write_text("hi")
    outside = {"out": "../secret", "etc": "/etc/hostname", "far": "sub/../../secret"}
    inside = {
        "a": "./real", "b": "sub/", "c": ".", "d": "sub/../real", "e": str(source / "real"), "sub/up": "../real",
        "f": "../t/real", "sub/g": "../sub/../sub", "dangling": "nothing",
    }  # fmt: skip
    for name, target in {**inside, **outside}.items():
        (source / name).symlink_to(target)
    os.mkfifo(source / "pipe")
    sender, receiver = sh.transfer([source], ["-o", f"{sh.directory}/in/"])
    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    got = sh.directory / "in" / "t"
    for name in inside:
        resolved = os.path.realpath(source / name).replace(str(source), str(got))
        assert os.path.realpath(got / name) == resolved
    assert os.readlink(got / "a") == "./real", "what needs no change keeps its text"
    assert sorted(left_out(sender)) == [
        ("etc", "link"),
        ("far", "link"),
        ("out", "link"),
        ("pipe", "special"),
    ]
    assert receiver.wait_event("offer")["left_out"] == {"special": 1, "link": 3}
    assert (done(receiver)["left_out"], done(receiver)["missed"]) == (4, 0)


def test_two_arguments_of_one_name_both_arrive(sh: Shell) -> None:
    for directory in "ab":
        (sh.directory / directory).mkdir()
        (sh.directory / directory / "x").write_text(directory)
    sender, receiver = sh.transfer(["a/x", "b/x", "a/x"], ["-o", f"{sh.directory}/in/"])
    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert tree(sh.directory / "in") == {"a": None, "a/x": b"a", "b": None, "b/x": b"b"}


def test_holes_stay_holes(sh: Shell) -> None:
    source = sh.directory / "s"
    with source.open("wb") as file:
        file.truncate(500 * 1024 * MiB)
        for place in (0, 3 * MiB + 5, 70 * 1024 * MiB):
            file.seek(place)
            file.write(b"data")
    if source.stat().st_blocks * 512 > MiB:
        pytest.skip("this file system has no holes")
    sender, receiver = sh.transfer([source], ["-o", f"{sh.directory}/in/"])
    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    got = sh.directory / "in" / "s"
    assert got.stat().st_size == source.stat().st_size
    assert got.stat().st_blocks * 512 < MiB
    with got.open("rb") as file:
        for place in (0, 3 * MiB + 5, 70 * 1024 * MiB):
            file.seek(place)
            assert file.read(5) == b"data\0"


def test_a_file_that_is_all_hole_is_told_by_its_size(sh: Shell) -> None:
    source = sh.directory / "empty.img"
    with source.open("wb") as file:
        file.truncate(100 * MiB)
    if source.stat().st_blocks:
        pytest.skip("this file system has no holes")
    sender = sh.start("send", source, TALLOW_CODE="482-acorn-blend-crisp")
    receiver = sh.start("recv", "482-acorn-blend-crisp", "--yes", "--json", "-o", f"{sh.directory}/in/")
    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    assert "Sending: empty.img, 100 MiB of empty space." in sender.report()
    assert "Sent 100 MiB of empty space in " in sender.report()
    assert " 0 B" not in sender.report()
    (offer,), (done,) = receiver.events("offer"), receiver.events("done")
    assert (offer["total_bytes"], offer["hole_bytes"]) == (0, 100 * MiB)
    assert (done["bytes"], done["hole_bytes"]) == (0, 100 * MiB)


def test_a_pipe_gets_the_holes_as_zeros(sh: Shell) -> None:
    source = sh.directory / "s"
    with source.open("wb") as file:
        file.truncate(4 * MiB)
        file.seek(MiB)
        file.write(b"data")
    sender = sh.start("send", source, "--json")
    out = sh.directory / "out"
    with out.open("wb") as stdout:
        receiver = sh.start("recv", sender.wait_event("code")["code"], "--yes", "-o", "-", stdout=stdout)
        assert (receiver.wait(), sender.wait()) == (0, 0), sender.report() + receiver.report()
    assert out.read_bytes() == source.read_bytes()


def without_root() -> list[str]:
    """What to put before a command so that permissions count for it."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root reads everything here, and there is no setpriv to change that")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]


def test_what_cannot_be_read_is_listed_before_a_code_is_shown_and_skipped_on_request(sh: Shell) -> None:
    source = sh.directory / "t"
    (source / "closed").mkdir(parents=True)
    for name in ("ok", "a", "b"):
        (source / name).write_text(name)
    for name in ("a", "b", "closed"):
        (source / name).chmod(0)
    sh.within = without_root()
    sender = sh.start("send", source, "--json")
    assert sender.wait() == 10
    assert not sender.events("code")
    error = sender.wait_event("error")
    assert [os.path.basename(item["path"]) for item in error["items"]] == ["a", "b", "closed"]
    assert "3 things cannot be sent" in error["message"]

    sender = sh.start("send", source, "--json", "--skip-unsendable")
    receiver = receive_later(sh, sender, between=lambda: None, into=sh.directory / "in")
    assert (sender.wait(), receiver.wait()) == (12, 12), sender.report() + receiver.report()
    assert receiver.wait_event("offer")["left_out"] == {"unreadable": 3}
    assert (sh.directory / "in" / "t" / "ok").read_text() == "ok"


def test_what_is_excluded_stays_at_home_and_is_not_missed(sh: Shell) -> None:
    source = sh.directory / "src"
    for name in ("main.c", "main.o", "build/x", "lib/build/y", "lib/z.c", "doc/build.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    sender, receiver = sh.transfer(
        [source, "--exclude", "*.o", "--exclude", "build/"], ["-o", f"{sh.directory}/in/"]
    )
    assert (sender.wait(), receiver.wait()) == (0, 0), sender.report() + receiver.report()
    arrived = {name for name, content in tree(sh.directory / "in" / "src").items() if content is not None}
    assert arrived == {"main.c", "lib/z.c", "doc/build.txt"}
    assert receiver.wait_event("offer")["left_out"] == {"excluded": 3}
    assert done(receiver)["missed"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([""], 2, "one of the names is empty"),
        (["--text", ""], 2, "--text"),
        (["x", "--exclude", "!y"], 2, "cannot be taken in again"),
        (["x", "--exclude", "x"], 2, "everything that was named is excluded"),
        (["--text", "hello", "--exclude", "x"], 2, "there are none to choose from"),
        (["new\nline"], 10, "control or invisible"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_code_is_shown(
    sh: Shell, arguments: list[str], code: int, says: str
) -> None:
    (sh.directory / "x").write_text("x")
    (sh.directory / "new\nline").write_text("x")
    sender = sh.start("send", *arguments)
    assert sender.wait() == code
    assert says in sender.error_text
    assert sender.out == []


def test_a_device_or_an_endless_file_does_not_hang_the_scan(sh: Shell) -> None:
    """Files that claim to be empty and would have us wait: /proc/kmsg, a trace."""
    waiting = [path for path in ("/proc/kmsg", "/sys/kernel/tracing/trace_pipe") if os.access(path, os.R_OK)]
    for path in ["/dev/zero", *waiting]:
        sender = sh.start("send", path)
        assert sender.wait(20) == 10, sender.report()
        assert "cannot be read" in sender.error_text
