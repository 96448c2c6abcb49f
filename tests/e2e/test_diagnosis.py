"""Each cause staged with real processes: both ends say the same, and it is the right one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.lab.namespaces import Profile, lab, missing
from tests.support.processes import Shell, Tallow, shell
from tests.support.staging import (
    MiB,
    begin,
    build_slow_disk,
    busy_core,
    causes_said,
    free_share,
    last_verdict,
    watch,
)

pytestmark = pytest.mark.e2e

LOSSY = Profile("dglossy", 50, 20.0, 8.0)
FULL = Profile("dgfull", 20, 20.0)
FAR = Profile("dgfar", 0, 400.0)


@pytest.fixture(scope="module")
def slow_disk(tmp_path_factory: pytest.TempPathFactory) -> str:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: a slow disk cannot be made")
    return build_slow_disk(tmp_path_factory.mktemp("slow"))


def assert_both_say(cause: str, sender: Tallow, receiver: Tallow, after_s: float = 1.5) -> None:
    """From then on both named it first, always, and nothing else."""
    for end in (sender, receiver):
        said = causes_said(end, after_s=after_s)
        assert set(said) == {cause}, (said, last_verdict(sender), last_verdict(receiver))
    ours, theirs = last_verdict(sender), last_verdict(receiver)
    assert ours is not None
    assert theirs is not None
    assert theirs["share"] == pytest.approx(ours["share"], abs=0.35)  # it was told a second before, at most


def slow(library: str, **what: str) -> dict[str, str]:
    return {"LD_PRELOAD": library, **what}


def test_a_disk_that_is_slow_to_read_to_write_or_to_sync(tmp_path: Path, slow_disk: str) -> None:
    """Also for a payload that fits the window: it is all sent at once. Together, for they use no processor."""
    staged: dict[str, tuple[str, int, dict[str, Any]]] = {
        "reads": ("sender-disk", 30, {"sender_env": slow(slow_disk, SLOW_PREAD_BPS="5000000")}),
        "writes": ("receiver-disk", 50, {"receiver_env": slow(slow_disk, SLOW_PWRITE_BPS="5000000")}),
        "fits": ("receiver-disk", 8, {"receiver_env": slow(slow_disk, SLOW_PWRITE_BPS="1000000")}),
        "syncs": ("verifying", 8, {"receiver_env": slow(slow_disk, SLOW_FSYNC_S="5")}),
    }

    def run(name: str) -> None:
        cause, size, how = staged[name]
        with shell(tmp_path / name) as sh:
            ends = begin(sh, size * MiB, **how)
            watch(4.5, *ends)
            assert_both_say(cause, *ends, after_s=2.0)

    with ThreadPoolExecutor(len(staged)) as together:
        for outcome in [together.submit(run, name) for name in staged]:
            outcome.result()


def test_a_limit_is_named_and_lowers_no_score_and_without_it_the_transfer_is_faster(sh: Shell) -> None:
    ends = begin(sh, 8 * MiB, send=("--limit", "2MB"))
    watch(10, *ends)
    assert_both_say("sender-limit", *ends)
    for end in ends:
        done = end.events("done")[0]
        assert done["benchmark"]["quality_score"] is None
        assert done["verdict"]["cause"] == "sender-limit"
    limited = ends[0].events("done")[0]["mbps"]
    ends = begin(sh, 8 * MiB, receive=("-o", Path("again/")))
    watch(10, *ends)
    assert ends[0].events("done")[0]["mbps"] > 2 * limited  # as advised


@contextlib.contextmanager
def fed_slowly(step: bytes, pause_s: float) -> Iterator[int]:
    """A pipe to read from, into which somebody writes now and then."""
    reading, writing = os.pipe()
    over = threading.Event()

    def feed() -> None:
        with contextlib.suppress(OSError):
            while not over.wait(pause_s):
                os.write(writing, step)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        yield reading
    finally:
        over.set()
        os.close(reading)
        thread.join(5)
        os.close(writing)


@pytest.mark.parametrize(("step", "pause_s"), [(bytes(65_536), 0.013), (b"a line\n", 1.0)])
def test_a_pipe_that_gives_little(sh: Shell, step: bytes, pause_s: float) -> None:
    with fed_slowly(step, pause_s) as reading:
        sender = sh.start("send", "-", "--json", stdin=reading)
        receiver = sh.start("recv", sender.wait_event("code")["code"], "--yes", "--json", "-o", "out")
        receiver.wait_event("progress")
        watch(4, sender, receiver)
        assert_both_say("sender-input", sender, receiver)
        sender.process.kill()


def test_a_reader_of_the_output_that_takes_little(sh: Shell) -> None:
    (sh.directory / "payload").write_bytes(os.urandom(40 * MiB))
    sender = sh.start("send", "payload", "--json")
    code = sender.wait_event("code")["code"]
    reading, writing = os.pipe()

    def drain() -> None:
        while os.read(reading, 65_536):
            time.sleep(0.013)

    with os.fdopen(writing, "wb") as output:
        receiver = sh.start("recv", code, "--yes", "-o", "-", stdout=output)
    threading.Thread(target=drain, daemon=True).start()
    sender.wait_event("progress")
    watch(4, sender, receiver)
    assert set(causes_said(sender, after_s=1.5)) == {"receiver-output"}
    assert "waiting for what reads this machine's standard output" in receiver.error_text
    receiver.process.kill()


@pytest.mark.skipif(
    (os.cpu_count() or 1) < 2 or not shutil.which("taskset"),
    reason="each end needs a core of its own, and taskset",
)
@pytest.mark.parametrize("robbed", ["sender", "receiver"])
def test_a_core_that_others_have(sh: Shell, robbed: str) -> None:
    free_before = free_share(1)
    with busy_core(0, 3):
        ends = begin(sh, 400 * MiB, cores=(0, 1) if robbed == "sender" else (1, 0))
        watch(4, *ends)
        free = min(free_before, free_share(1))
    for end in ends:
        assert set(causes_said(end, after_s=1.5)) <= {"sender-cpu", "receiver-cpu"}
    for end in ends:
        end.process.kill()
    if free < 0.4:  # this program's share beside the end that runs there
        pytest.skip("other programs have the core of the end that shall not be short of one")
    assert_both_say(f"{robbed}-cpu", *ends)


MUCH_FREE = 0.7  # of a core, to the emulated path's tests: two ends and the emulator share two


def over(profile: Profile, sh: Shell, size: int, seconds: float, *options: str) -> tuple[Tallow, Tallow]:
    with lab(profile) as hosts:
        (sh.directory / "payload").write_bytes(os.urandom(size))
        sh.within = hosts.on_a
        sender = sh.start("send", "payload", "--json", *options)
        ready = sender.wait_event("code")
        sh.within = hosts.on_b
        where = ("--server", ready["reachable_as"], "-o", Path("inbox/"))
        receiver = sh.start("recv", ready["code"], *where, "--yes", "--json")
        receiver.wait_event("progress", 30)
        watch(seconds, sender, receiver)
        for end in (sender, receiver):
            end.process.kill()
            end.wait(10)
        return sender, receiver


@pytest.mark.lab
@pytest.mark.skipif(missing(LOSSY) is not None, reason=f"an emulated link: {missing(LOSSY)}")
@pytest.mark.parametrize(
    ("profile", "cause", "after_s"),
    [(FULL, "network-capacity", 1.5), (LOSSY, "network-loss", 3.0), (FAR, "network-delay", 0.5)],
    ids=["capacity", "loss", "delay"],
)
def test_a_path_that_is_full_or_loses_or_is_long(
    sh: Shell, profile: Profile, cause: str, after_s: float
) -> None:
    free_before = min(map(free_share, range(os.cpu_count() or 1)))
    ends = over(profile, sh, 24 * MiB, 6)
    if min(free_before, *map(free_share, range(os.cpu_count() or 1))) < MUCH_FREE:
        pytest.skip("other programs have the cores, and what is short of one says so")
    assert_both_say(cause, *ends, after_s=after_s)


@pytest.mark.parametrize("stopped", ["sender", "receiver"])
def test_a_silent_peer_is_told_by_the_other_and_forgotten_by_the_figures(sh: Shell, stopped: str) -> None:
    sender, receiver = begin(sh, 60 * MiB, send=("--limit", "5MB"))
    watch(1.5, sender, receiver)
    silent, other = (sender, receiver) if stopped == "sender" else (receiver, sender)
    silent.process.send_signal(signal.SIGSTOP)
    try:
        watch(3.5, other)
        verdict = last_verdict(other)
        assert verdict is not None
        assert (verdict["cause"], verdict["share"]) == ("peer-silent", 1.0)
        assert other.events("stats")[-1]["benchmark"]["avg_loss"] < 0.01
    finally:
        silent.process.send_signal(signal.SIGCONT)
