"""The many lives of a transfer: lost paths, killed receivers and senders, broken partials and changed files, by turns.

A hypothesis state machine deals the blows; both transfer machines run over a lossy network in virtual time. The
receiver's disk and its journal are a model: bytes that were written stay, and of them the journal knows whole grains
only, which a new process claims and has to prove. `test_stored_lives.py` does the same with the real store; this counts
exactly what is sent twice. `TALLOW_SEEDS=2000` gives it as many runs.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import accumulate

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

from tallow_cli.errors import PeerVanished
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.options import ReceiveOptions
from tests.sim.channels import Profile
from tests.sim.transfer import Ends, Scenario, Simulation

pytestmark = pytest.mark.sim

RUNS = int(os.environ.get("TALLOW_SEEDS", "60"))
STEPS = 100
SEGMENT = 16 * 1024
GRAIN = SEGMENT // 4
CHANNELS = 2
PATH = Profile(rate=400e3, delay=0.01, loss=0.002)
SHAPES = [(150_000,), (3_000,) * 30, (0, 70_000, 0, 1, 40_000)]


class Lives(RuleBasedStateMachine):
    """`running` is the present attempt, None while there is none."""

    @initialize(files=st.sampled_from(SHAPES), seed=st.integers(0, 1000))
    def begin(self, files: tuple[int, ...], seed: int) -> None:
        self.scenario = Scenario(
            segment_bytes=SEGMENT,
            files=files,
            seed=seed,
            there=PATH,
            back=PATH,
            channels=CHANNELS,
            chunk_bytes=GRAIN,
            hash_rate=5e6,
            consent_after=0.01,
            receive=ReceiveOptions(window_bytes=8 * GRAIN),
        )
        self.starts = [0, *accumulate(files)]
        self.attempt = 0
        self.running: Simulation | None = Simulation(self.scenario)
        self.ends: Ends = self.running.ends
        self.receiver_lives = self.sender_lives = True
        self.done = False
        self.lost_bytes = self.refuted_bytes = self.written_bytes = 0

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
    def restore_the_path(self) -> None:
        """The same two processes, or, where one was killed, new ones: then what is there is only claimed."""
        if not (self.receiver_lives and self.sender_lives):
            self._take_over()
        self.attempt += 1
        self.running = Simulation(replace(self.scenario, attempt=self.attempt), self.ends)

    @precondition(lambda self: self.running is not None)
    @rule()
    def kill_the_receiver(self) -> None:
        """What it had in memory is gone, and what it had written since the last whole grain is known to nobody."""
        self.running.cut()
        self._close_books()
        self.receiver_lives = False

    @precondition(lambda self: self.running is not None)
    @rule()
    def kill_the_sender(self) -> None:
        self.running.cut()
        self.running.run_until(self.running.now + 5.0)  # a receiver that lacks nothing goes on alone
        self.running.keep_what_came()
        self._close_books()
        self.sender_lives = False

    @precondition(lambda self: self.running is None and not self.receiver_lives and not self.done)
    @rule(where=st.floats(0, 1, exclude_max=True))
    def corrupt_what_is_on_the_disk(self, where: float) -> None:
        self._flip(self.ends.disk, where)

    @precondition(lambda self: self.running is None and not self.sender_lives and not self.done)
    @rule(where=st.floats(0, 1, exclude_max=True))
    def change_a_file(self, where: float) -> None:
        """With its size and time as they were: only the digests can tell."""
        content = bytearray(self.ends.content)
        self._flip(content, where)
        self.ends.content = bytes(content)

    @staticmethod
    def _flip(data: bytearray, where: float) -> None:
        data[int(where * len(data))] ^= 0xFF

    # What becomes of it

    def _close_books(self) -> None:
        """The attempt has ended."""
        simulation, self.running = self.running, None
        assert simulation is not None
        self.written_bytes += simulation.put_bytes
        self.refuted_bytes += simulation.refuted_bytes
        self.done = "receiver" in simulation.finished
        for error in simulation.errors.values():
            assert error is None or isinstance(error, PeerVanished), error

    def _take_over(self) -> None:
        """A new pair of processes: files that were published are claimed whole, of others what the journal knows."""
        known = RangeSet(self.ends.claims)
        for start, end in self.ends.taken:
            first, last = -(-start // GRAIN) * GRAIN, end // GRAIN * GRAIN
            if end == self.starts[-1]:
                last = end
            known.add(first, last)
        if self.receiver_lives:  # it was told to stop, and wrote everything down
            known = RangeSet((*known, *self.ends.taken))
        for index in self.ends.verified:
            known.add(self.starts[index], self.starts[index + 1])
        lost = sum(end - start for a, b in self.ends.taken for start, end in known.gaps(a, b))
        assert lost <= CHANNELS * SEGMENT, f"{lost} bytes are to be sent twice"
        self.lost_bytes += lost
        self.ends = Ends(self.ends.content, self.ends.disk, RangeSet(), known, set())
        self.receiver_lives = self.sender_lives = True

    @invariant()
    def a_verified_file_is_whole(self) -> None:
        if not hasattr(self, "ends") or not (self.sender_lives and self.receiver_lives):
            return
        for index in self.ends.verified:
            span = slice(self.starts[index], self.starts[index + 1])
            assert self.ends.disk[span] == self.ends.content[span]

    def teardown(self) -> None:
        """Whatever has happened: left alone it completes, and no more was sent than was lost or wrong."""
        if not hasattr(self, "ends"):
            return
        if not self.done and self.running is None:
            self.restore_the_path()
        if self.running is not None:
            assert self.running.run_until(self.running.now + 60.0), "it does not end"
            self._close_books()
        assert self.done
        assert self.ends.disk == self.ends.content
        assert self.ends.verified == set(range(len(self.scenario.files)))
        assert self.written_bytes == self.starts[-1] + self.lost_bytes + self.refuted_bytes


def test_whatever_befalls_a_transfer_it_completes_and_sends_no_more_than_was_lost():
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
