"""What is there already: held, kept, claimed rightly and wrongly, over a terrible network, with cuts in between.

The simulation itself checks that nothing is sent that is held, kept or proven, and that nothing is written twice.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import accumulate
from random import Random

import pytest

from tallow_cli.errors import PeerVanished
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.options import ReceiveOptions, SendOptions
from tests.sim.channels import Profile
from tests.sim.scenarios import MiB, random_profile
from tests.sim.transfer import Ends, Scenario, Simulation, check_success, simulate_success

pytestmark = pytest.mark.sim

SEEDS = 5 * int(os.environ.get("TALLOW_SEEDS", "60"))
SLICES = 4
SEGMENT = 16 * 1024  # small, so that small transfers have many pieces
ATTEMPTS = 12


def ranges(rng: Random, total: int, count: int) -> list[tuple[int, int]]:
    """Some half-open ranges within the stream, ascending and apart."""
    cuts = sorted(rng.sample(range(total + 1), min(2 * count, total + 1) // 2 * 2))
    return list(zip(cuts[::2], cuts[1::2], strict=True))


def resume_scenario(seed: int) -> Scenario:
    rng = Random(seed)
    files = rng.choice([(300_000,), (1000,) * 40, (0, 70_000, 0, 1, 130_000), (65_536, 200_000), (5,)])
    starts = [0, *accumulate(files)]
    total = starts[-1]
    kept = tuple(index for index in range(len(files)) if rng.random() < 0.2)
    held = RangeSet(ranges(rng, total, rng.choice([0, 0, 2])))
    claims = (
        RangeSet(ranges(rng, total, rng.choice([0, 1, 5]))) if rng.random() < 0.7 else RangeSet([(0, total)])
    )
    for index in kept:
        held.remove(starts[index], starts[index + 1])
    for start, end in (*held, *((starts[index], starts[index + 1]) for index in kept)):
        claims.remove(start, end)
    wrong = RangeSet(ranges(rng, total, rng.choice([0, 1, 4])))
    wrong = RangeSet(
        (max(start, low), min(end, high))
        for start, end in claims
        for low, high in wrong
        if low < end and start < high
    )
    withdrawn = {
        i: rng.randint(0, size) for i, size in enumerate(files) if i not in kept and rng.random() < 0.15
    }
    if rng.random() < 0.6:
        withdrawn = {}
    delay = rng.choice([0.001, 0.02, 0.1])
    return Scenario(
        segment_bytes=SEGMENT,
        files=files,
        seed=seed,
        held=tuple(held),
        kept=kept,
        claims=tuple(claims),
        wrong=tuple(wrong),
        withdrawn=withdrawn,
        there=replace(random_profile(rng), delay=delay),
        back=replace(random_profile(rng), delay=delay),
        channels=rng.choice([1, 2, 3]),
        chunk_bytes=rng.choice([1000, 16_384, 65_536]),
        hash_rate=rng.choice([1e9, 1e6, 100e3]),
        disk_rate=rng.choice([1e9, 1e6]),
        send=SendOptions(memory_bytes=rng.choice([128 * 1024, 32 * MiB])),
        receive=ReceiveOptions(window_bytes=rng.choice([32_768, MiB])),
    )


@pytest.mark.parametrize("part", range(SLICES))
def test_whatever_is_there_the_rest_arrives_and_nothing_else(part):
    for seed in range(part, SEEDS, SLICES):
        try:
            simulate_success(resume_scenario(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def run_to_the_end(scenario: Scenario, rng: Random) -> tuple[Ends, int, int]:
    """Attempt after attempt, cut at random times; returns the ends, the bytes sent and the attempts taken."""
    ends, sent_bytes = None, 0
    for attempt in range(ATTEMPTS):
        last = attempt == ATTEMPTS - 1
        cut_at = None if last else rng.choice([0.05, 0.2, 0.4, 1.0, 3.0]) * rng.uniform(0.5, 1.5)
        simulation = Simulation(replace(scenario, attempt=attempt, cut_at=cut_at), ends)
        outcome = simulation.run()
        ends, sent_bytes = simulation.ends, sent_bytes + simulation.sent_bytes
        if outcome.sender_error is None and outcome.receiver_error is None:
            check_success(simulation, outcome)
            return ends, sent_bytes, attempt + 1
        # A receiver that has everything goes on alone, and tells the sender in the next attempt.
        assert outcome.receiver_error is None or isinstance(outcome.receiver_error, PeerVanished)
        assert outcome.receiver_error is not None or outcome.receiver.parted_by is not None
    raise AssertionError("it never ended")


def check_whole(scenario: Scenario, ends: Ends) -> None:
    starts = [0, *accumulate(scenario.files)]
    for index in range(len(scenario.files)):
        if index not in scenario.withdrawn:
            span = slice(starts[index], starts[index + 1])
            assert ends.disk[span] == ends.content[span], f"file {index}"
            assert index in ends.verified


@pytest.mark.parametrize("part", range(SLICES))
def test_cuts_in_between_lose_nothing_and_end_all_the_same(part):
    attempts = 0
    for seed in range(part, SEEDS, SLICES):
        scenario = resume_scenario(seed)
        if seed % 5 == 0:
            scenario = replace(scenario, files=(sum(scenario.files),), unknown_length=True, withdrawn={})
            scenario = replace(scenario, held=(), kept=(), claims=(), wrong=())
        try:
            ends, _, taken = run_to_the_end(scenario, Random(seed))
            check_whole(scenario, ends)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        attempts += taken
    assert attempts > SEEDS // SLICES, "some were cut"


def test_two_attempts_with_half_of_the_claims_wrong_send_the_lacking_half_once():
    """Over a lossy path: what was on its way when the connection was cut is the only thing that goes twice."""
    profile = Profile(rate=1e6, delay=0.02, loss=0.005)
    size = 2_000_000
    claims = ((0, 1_000_000),)
    wrong = tuple((start, start + SEGMENT) for start in range(0, 1_000_000, 2 * SEGMENT))
    first = Simulation(
        Scenario(
            segment_bytes=SEGMENT,
            files=(size,),
            claims=claims,
            wrong=wrong,
            there=profile,
            back=profile,
            hash_rate=2e6,
            cut_at=1.0,
        )
    )
    first.run()
    assert 0 < first.on_disk.total < size
    there = first.on_disk.total
    second = Simulation(replace(first.scenario, attempt=1, cut_at=None), first.ends)
    check_success(second, second.run())
    distinct = size - sum(1 for start in range(0, 1_000_000, SEGMENT) if start not in dict(wrong)) * SEGMENT
    assert second.sent_bytes <= 1.2 * (size - there)
    queued_bytes = 256 * 1024  # the bound of the local queue
    assert first.sent_bytes + second.sent_bytes <= 1.2 * distinct + queued_bytes


def test_all_of_it_there_and_right_costs_no_byte_and_no_credit():
    outcome = simulate_success(
        Scenario(segment_bytes=SEGMENT, files=(500_000, 0, 70_000), claims=((0, 570_000),))
    )
    assert outcome.sender.figures.bytes_sent == 0
    assert outcome.receiver.figures.bytes_written == 570_000


def test_all_of_it_claimed_and_nothing_right_is_a_transfer_like_any_other():
    outcome = simulate_success(
        Scenario(
            segment_bytes=SEGMENT,
            files=(500_000, 0, 70_000),
            claims=((0, 570_000),),
            wrong=((0, 570_000),),
            hash_rate=10e6,
        )
    )
    assert outcome.sender.figures.bytes_sent == 570_000


def test_what_is_not_claimed_does_not_wait_for_hashing():
    outcome = simulate_success(
        Scenario(
            segment_bytes=SEGMENT,
            files=(1_000_000,),
            claims=((0, 500_000),),
            there=Profile(rate=1e6),
            back=Profile(),
            hash_rate=100e3,
        )
    )
    first = outcome.sender.figures.first_data_at
    assert first is not None
    assert first < 0.2
    assert 5.0 <= outcome.seconds <= 10.5, "two sides hash for five seconds each, at most one after the other"
