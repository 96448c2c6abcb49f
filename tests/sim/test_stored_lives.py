"""The many lives of a transfer, with the real store: kills between any two calls of either side, power cuts, full and
failing disks, lost paths, changed files. A final name is absent, or complete and verified, at every moment.

`TALLOW_SEEDS=2000` gives it ten times as many runs. The model of `test_lives.py` counts exactly what is sent twice.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tallow_cli.errors import LocalFileError, PeerVanished, TallowError, TargetExists
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.sink import OnConflict
from tallow_cli.transfer.options import ReceiveOptions
from tallow_cli.transfer.pieces import SEGMENT_BYTES
from tests.sim.channels import Profile
from tests.sim.stored import Receiver, Sender, StoredSimulation
from tests.sim.transfer import Scenario
from tests.support.disk import tree
from tests.support.faulty_disk import Killed

pytestmark = pytest.mark.sim

RUNS = max(200, int(os.environ.get("TALLOW_SEEDS", "60")))
STEPS = 100
PATH = Profile(rate=20e6, delay=0.01, loss=0.002)
CHANNELS = 2
CHUNK_BYTES = 64 * 1024
# What a kill may cost: what was not noted, and what was on its way; less than a segment a channel.
KiB = 1024
LIMITS = ReceiveLimits(note_bytes=256 * KiB)
WINDOW_BYTES = 512 * KiB
LOST_BYTES = LIMITS.note_bytes + WINDOW_BYTES
assert LOST_BYTES < CHANNELS * SEGMENT_BYTES
SHAPES: dict[str, dict[str, int]] = {
    "large": {"big": 1_600 * KiB + 17},
    "many": {f"many/{number}": 20 * KiB + number for number in range(25)},
    "tree": {
        "tree/a/large": 600 * KiB,
        "tree/a/empty": 0,
        "tree/b/c/small": 5,
        "tree/b/middling": 300 * KiB,
        "tree/top": 300 * KiB,
    },
    "stream": {"stream": 600 * KiB},
}


class StoredLives(RuleBasedStateMachine):
    """`running` is the present connection, None while there is none; a process that was killed is None."""

    def __init__(self, shape: str) -> None:
        self.shape, self.is_stream = shape, shape == "stream"
        super().__init__()

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        shape = self.shape
        self.base = Path(tempfile.mkdtemp(prefix="lives-"))
        self.target = self.base / "in"
        self.target.mkdir()
        self.rng = random.Random(seed)
        self.scenario = Scenario(
            files=(),
            seed=seed,
            there=PATH,
            back=PATH,
            channels=CHANNELS,
            chunk_bytes=CHUNK_BYTES,
            consent_after=0.01,
            receive=ReceiveOptions(window_bytes=WINDOW_BYTES),
            unknown_length=self.is_stream,
        )
        self.contents: dict[str, bytes] = {}
        self.former: dict[str, set[bytes]] = {}  # what was offered before under the same name
        for name, size in SHAPES[shape].items():
            self._put(name, self.rng.randbytes(size))
        self.seen: set[tuple[int, ...]] = set()  # final names that were looked at, and are right
        self.policy = OnConflict.REFUSE
        self.is_known = True  # by the journal: what was published
        self.clock = 0.0
        self.attempt = 0
        self.done = False
        self.errors: list[dict[str, TallowError | None]] = []  # of each connection
        self.sender: Sender | None = self._new_sender()
        self.receiver: Receiver | None = self._new_receiver()
        self.running: StoredSimulation | None = None
        self.allowed_bytes = sum(SHAPES[shape].values())  # that may come over the network
        self.taken_bytes = 0
        self._connect()

    @property
    def offered(self) -> Path:
        return self.base / "out" / next(iter(SHAPES[self.shape])).split("/")[0]

    def _put(self, name: str, data: bytes) -> None:
        path = self.base / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.contents[name] = data
        self.former.setdefault(name, set()).add(data)

    def _new_sender(self) -> Sender:
        return Sender(self.offered, is_stream=self.is_stream)

    def _new_receiver(self) -> Receiver:
        return Receiver(self.target, self._now, self.policy, LIMITS)

    def _now(self) -> float:
        running = getattr(self, "running", None)
        return self.clock + (running.now if running is not None else 0.0)

    def _connect(self) -> None:
        assert self.sender is not None
        assert self.receiver is not None
        self.attempt += 1
        scenario = replace(self.scenario, attempt=self.attempt)
        self.running = StoredSimulation(scenario, self.sender, self.receiver, self.attempt)

    # What happens

    @rule(seconds=st.sampled_from([0.003, 0.02, 0.1, 0.3]))
    def advance_time(self, seconds: float) -> None:
        if self.running is not None and self.running.run_until(self.running.now + seconds):
            self._close_books()

    @precondition(lambda self: self.running is not None)
    @rule(seconds=st.sampled_from([0.01, 0.5]))
    def lose_the_path_for_a_moment(self, seconds: float) -> None:
        for wire in (self.running.there, self.running.back):
            gap = (self.running.now, self.running.now + seconds)
            wire.profile = replace(wire.profile, outages=(*wire.profile.outages, gap))

    @precondition(lambda self: self.running is not None)
    @rule()
    def lose_the_path(self) -> None:
        self.running.cut()
        self.running.run_until(self.running.now + 5.0)  # a receiver that lacks nothing goes on alone
        self.running.keep_what_came()
        self._close_books()

    @precondition(lambda self: self.running is None and not self.done)
    @rule()
    def go_on(self) -> None:
        """The same two processes meet again, or, where one was killed, two new ones."""
        if self.sender is None or self.receiver is None:
            self._stop_the_other()
            self.sender, self.receiver = self._new_sender(), self._new_receiver()
        self._connect()

    @precondition(lambda self: self.receiver is not None and not self.done)
    @rule(power=st.booleans())
    def kill_the_receiver(self, power: bool) -> None:
        self.receiver.disk.kill()
        if power:
            self.receiver.disk.cut(self.target, self.rng)
        if self.running is not None:
            self.running.receiver_killed = True
            self.running.cut()
            self._close_books()
        if self.receiver is not None:
            self._receiver_is_gone(lost_power=power)

    @precondition(lambda self: self.running is not None and self.receiver.disk.kill_in is None)
    @rule(calls=st.integers(0, 30))
    def kill_the_receiver_between_two_calls(self, calls: int) -> None:
        self.receiver.disk.kill_in = calls

    @precondition(lambda self: self.running is not None)
    @rule()
    def kill_the_sender(self) -> None:
        self.running.cut()
        self.running.run_until(self.running.now + 5.0)
        self.running.keep_what_came()
        self._close_books()
        if self.sender is not None:
            self.sender.kill()
            self.sender = None

    @precondition(lambda self: self.running is not None)
    @rule()
    def interrupt_the_receiver(self) -> None:
        """Ctrl-C."""
        self.running.cut()
        self._close_books()
        if self.receiver is not None:
            self._stop_receiver()

    @precondition(lambda self: self.receiver is not None and not self.done)
    @rule(
        operation=st.sampled_from(["write", "create", "sync_file", "sync_all", "rename_exclusively"]),
        code=st.sampled_from([errno.EIO, errno.ENOSPC]),
    )
    def let_a_call_fail(self, operation: str, code: int) -> None:
        self.receiver.disk.failing[operation] = code

    @precondition(lambda self: self.receiver is not None and not self.done)
    @rule(room=st.integers(0, 1_000_000), waits=st.sampled_from([0, 3, None]))
    def fill_the_disk(self, room: int, waits: int | None) -> None:
        self.receiver.disk.room, self.receiver.patience.waits = room, waits

    @precondition(lambda self: self.receiver is not None)
    @rule(most=st.sampled_from([None, 5_000, 70_000]))
    def stop_writes_short(self, most: int | None) -> None:
        self.receiver.disk.most = most

    @precondition(lambda self: self.receiver is not None)
    @rule()
    def let_the_background_work(self) -> None:
        self.receiver.later.do()

    @precondition(lambda self: self.receiver is None and not self.done)
    @rule(where=st.floats(0, 1, exclude_max=True), share=st.floats(0, 1, exclude_max=True))
    def spoil_a_temporary(self, where: float, share: float) -> None:
        found = sorted(path for path in self.target.rglob(".tallow-*") if path.suffix != ".lock")
        if found:
            path = found[int(where * len(found))]
            data = bytearray(path.read_bytes())
            if data:
                data[int(share * len(data))] ^= 0xFF
                path.write_bytes(data)
                if path.suffix == ".journal":
                    self._anything_may_come()
                    self.is_known = False

    @precondition(lambda self: self.sender is None and not self.done)
    @rule(where=st.floats(0, 1, exclude_max=True), keeps_its_time=st.booleans())
    def change_a_file(self, where: float, keeps_its_time: bool) -> None:
        """With its size and time as they were only the digests can tell."""
        name = sorted(self.contents)[int(where * len(self.contents))]
        data = bytearray(self.contents[name])
        if data and not self._is_published(name):
            path = self.base / "out" / name
            times = path.stat()
            data[int(where * len(data))] ^= 0xFF
            self._put(name, bytes(data))
            if keeps_its_time:
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            self.allowed_bytes += len(data)

    def _is_published(self, name: str) -> bool:
        return (self.target / name).exists()

    # What becomes of it

    def _close_books(self) -> None:
        """The connection has ended."""
        running, self.running = self.running, None
        assert running is not None
        assert self.receiver is not None
        self.clock += running.now
        self.done = self.receiver.done
        if running.receiver_killed:
            self._receiver_is_gone(lost_power=False)
        elif isinstance(running.errors["receiver"], TargetExists):
            assert not self.is_known, "what an earlier receive published is no conflict"
            self.policy = OnConflict.UPDATE  # as its user is told
            self._stop_receiver()
        elif isinstance(running.errors["receiver"], LocalFileError):
            self._stop_receiver()
        elif self.done:
            self._receiver_is_gone(lost_power=False)
        self.errors.append(running.errors)
        error = running.errors["sender"]
        assert error is None or isinstance(error, PeerVanished) or self.receiver is None, error

    def _stop_the_other(self) -> None:
        if self.sender is not None:
            self.sender.kill()
        if self.receiver is not None:
            self._stop_receiver()

    def _stop_receiver(self) -> None:
        assert self.receiver is not None
        with contextlib.suppress(Killed):
            self.receiver.stop()
        self._receiver_is_gone(lost_power=False)

    def _receiver_is_gone(self, *, lost_power: bool) -> None:
        receiver, self.receiver = self.receiver, None
        assert receiver is not None
        self.done = self.done or self._is_all_there()
        self.taken_bytes += receiver.taken_bytes
        self.allowed_bytes += receiver.refuted_bytes + LOST_BYTES
        if receiver.disk.has_failed:
            self.is_known = False
        if lost_power or receiver.disk.has_failed or self.is_stream:
            self._anything_may_come()

    def _anything_may_come(self) -> None:
        self.allowed_bytes += sum(SHAPES[self.shape].values())

    @invariant()
    def a_final_name_is_absent_or_complete(self) -> None:
        if hasattr(self, "base"):
            for path in self.target.rglob("[!.]*"):
                status = path.stat()
                signs = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                if path.is_file() and signs not in self.seen:
                    assert path.read_bytes() in self.former[path.relative_to(self.target).as_posix()], path
                    self.seen.add(signs)

    def teardown(self) -> None:
        """Whatever has happened: left alone it completes, and no more was sent than was lost or wrong."""
        if not hasattr(self, "base"):
            return
        try:
            self._complete()
        finally:
            if self.receiver is not None:
                self.receiver.disk.kill()
            if self.sender is not None:
                self.sender.kill()
            shutil.rmtree(self.base)

    def _complete(self) -> None:
        for _ in range(5):
            if self.done:
                break
            if self.running is None:
                self.go_on()
            assert self.running is not None
            assert self.receiver is not None
            disk = self.receiver.disk
            disk.kill_in, disk.room = None, None
            disk.failing.clear()
            assert self.running.run_until(self.running.now + 60.0), "it does not end"
            self._close_books()
        assert self.done, [str(each["receiver"]) for each in self.errors[-6:]]
        found, wanted = tree(self.target), self._expected()
        assert {name for name in found if not name.endswith(".lock")} == wanted.keys()
        found = {name: found[name] for name in wanted}
        wrong = [name for name, what in found.items() if what != wanted[name]]
        assert not wrong, wrong
        assert self.taken_bytes <= self.allowed_bytes

    def _is_all_there(self) -> bool:
        """It was killed when nothing was left to be done but to remove its lock."""
        found = tree(self.target)
        return self._expected().items() <= found.items() and not any(".journal" in name for name in found)

    def _expected(self) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = dict(self.contents)
        for name in self.contents:
            for parent in Path(name).parents:
                if str(parent) != ".":
                    found[parent.as_posix()] = None
        return found


@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_befalls_disk_and_path_a_final_name_is_absent_or_complete(shape: str) -> None:
    run_state_machine_as_test(
        lambda: StoredLives(shape),
        settings=settings(
            max_examples=RUNS // len(SHAPES),
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_file_that_changes_when_its_digest_is_given_and_some_of_it_is_wanted_costs_itself_alone(
    tmp_path: Path,
):
    rng, target, out = random.Random(3), tmp_path / "in", tmp_path / "out"
    target.mkdir()
    out.mkdir()
    contents = {name: rng.randbytes(200_000) for name in ("a", "b", "c")}
    for name, data in contents.items():
        (out / name).write_bytes(data)
    path = Profile(rate=20e6, delay=0.2)
    scenario = Scenario(
        files=(), there=path, back=path, channels=CHANNELS, chunk_bytes=CHUNK_BYTES, consent_after=0.01
    )
    (target / "out").mkdir()
    for name, data in contents.items():
        wrong = bytes([data[0] ^ 1]) + data[1:]
        (target / "out" / name).write_bytes(wrong if name == "b" else data)
    sender = Sender(out, is_stream=False)
    receiver = Receiver(target, lambda: 0.0, OnConflict.UPDATE)
    running = StoredSimulation(scenario, sender, receiver, 0)
    while sender.source.files_read < len(contents):
        assert not running.run_until(running.now + 0.01)
    (out / "b").write_bytes(rng.randbytes(200_000))
    assert running.run_until(60.0)
    assert running.errors == {"sender": None, "receiver": None}
    assert [*sender.source.withdrawn] == [1]
    assert [*receiver.dropped] == [(1, 2)]
    assert {name: (target / "out" / name).read_bytes() for name in ("a", "c")} == {
        name: contents[name] for name in ("a", "c")
    }
    assert (target / "out" / "b").read_bytes()[1:] == contents["b"][1:], "what stood there stays"
    receiver.stop()
    sender.kill()
