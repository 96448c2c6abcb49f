"""Both transfer machines over a terrible network in virtual time: every byte arrives exactly once."""

from dataclasses import replace

import pytest

from tallow_cli.errors import PeerVanished, TransferStalled
from tallow_cli.transfer.options import ReceiveOptions, SendOptions
from tallow_cli.transfer.receiver import ReceiveState
from tallow_cli.transfer.sender import SendState
from tests.sim.channels import PROFILES, Profile
from tests.sim.scenarios import MiB, random_scenario
from tests.sim.transfer import Scenario, Simulation, simulate, simulate_success

pytestmark = pytest.mark.sim

SEEDS = 1000
SLICES = 8


@pytest.mark.parametrize("part", range(SLICES))
def test_a_thousand_random_transfers_all_arrive_whole(part):
    for seed in range(part, SEEDS, SLICES):
        try:
            simulate_success(random_scenario(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("name", PROFILES)
def test_each_named_profile_is_filled(name):
    profile = replace(PROFILES[name], jitter=0.0)
    size = int(profile.rate * max(1.5, 60 * profile.delay))
    outcome = simulate_success(
        Scenario(files=(size,), there=profile, back=profile, chunk_bytes=256 * 1024, seed=1)
    )
    assert size / outcome.seconds >= 0.75 * profile.rate * (1 - profile.loss)


@pytest.mark.parametrize("loss", [0.01, 0.05])
def test_goodput_stays_within_a_tenth_of_what_the_losses_allow(loss):
    """Measured between the first second and the end of reading: neither the start nor the tail."""
    profile = Profile(rate=1.25e6, delay=0.02, loss=loss)
    size = 8_000_000
    simulation = Simulation(Scenario(files=(size,), there=profile, back=profile, seed=7))
    marks = []
    drain = simulation._drain

    def watched() -> None:
        drain()
        marks.append((simulation.now, simulation.sender.figures.bytes_acked))

    simulation._drain = watched  # type: ignore[method-assign]
    outcome = simulation.run()
    assert outcome.sender_error is None
    began = next(mark for mark in marks if mark[0] >= 1.0)
    ended = next(mark for mark in marks if mark[1] >= 0.95 * size)
    goodput = (ended[1] - began[1]) / (ended[0] - began[0])
    assert goodput >= 0.9 * profile.rate * (1 - loss)
    assert outcome.seconds <= 1.25 * size / (profile.rate * (1 - loss))


def test_the_local_queue_stays_near_a_fifth_of_a_second():
    profile = Profile(rate=2.5e6, delay=0.02)
    outcome = simulate_success(Scenario(files=(10_000_000,), there=profile, back=profile))
    assert outcome.most_queued <= 0.3 * profile.rate


def test_a_rate_that_falls_to_a_tenth_is_followed():
    simulation = Simulation(Scenario(files=(6_000_000,), there=Profile(rate=10e6, delay=0.01)))
    simulation.at(0.4, lambda: simulation.there.change(rate=1e6))
    outcome = simulation.run()
    assert outcome.sender_error is None
    assert outcome.data == simulation.content
    assert outcome.seconds < 8.0


def test_an_outage_of_two_seconds_costs_little_more_than_itself():
    quiet = Profile(rate=2.5e6, delay=0.02)
    broken = replace(quiet, outages=((0.5, 2.5),))
    size = 5_000_000
    without = simulate_success(Scenario(files=(size,), there=quiet, back=quiet))
    outcome = simulate_success(Scenario(files=(size,), there=broken, back=broken))
    assert outcome.seconds <= without.seconds + 2.0 + 3.5  # a probe goes out every 3 s at the latest


def test_a_slow_disk_slows_the_sender_and_fills_no_memory():
    scenario = Scenario(
        files=(3_000_000,),
        disk_rate=500e3,
        receive=ReceiveOptions(window_bytes=256 * 1024),
        send=SendOptions(memory_bytes=MiB),
    )
    outcome = simulate_success(scenario)
    assert outcome.most_backlog <= 256 * 1024
    assert 5.5 <= outcome.seconds <= 7.0


def test_a_disk_that_stands_still_is_waited_for_and_is_not_a_vanished_peer():
    scenario = Scenario(files=(300_000,), disk_rate=3e3, receive=ReceiveOptions(window_bytes=65_536))
    outcome = simulate_success(scenario)
    assert outcome.seconds > 90.0


def test_a_channel_that_dies_gives_its_data_to_the_others():
    scenario = Scenario(files=(4_000_000,), there=Profile(rate=2e6), deaths=((0.5, 1), (0.9, 3)))
    outcome = simulate_success(scenario)
    assert outcome.sender.channels[2].counters.chunks_sent > outcome.sender.channels[1].counters.chunks_sent


def test_when_every_channel_dies_both_sides_end_with_an_error():
    scenario = Scenario(files=(4_000_000,), there=Profile(rate=2e6), deaths=((0.5, 1), (0.5, 2), (0.5, 3)))
    outcome = simulate(scenario)
    assert isinstance(outcome.sender_error, PeerVanished)
    assert outcome.receiver_error is not None
    assert outcome.finished_at < 5.0


def test_a_paused_channel_is_passed_over():
    """Its buffer stays at the mark; the others take all the rest."""
    marks = SendOptions(buffer_high=100_000, buffer_low=30_000)
    scenario = Scenario(files=(4_000_000,), there=Profile(rate=4e6), pauses=((0.11, 1.5, 2),), send=marks)
    outcome = simulate_success(scenario)
    channels = outcome.sender.channels
    assert channels[2].counters.chunks_sent < channels[1].counters.chunks_sent / 4
    assert outcome.seconds < 1.7


def test_chunks_go_round_robin_over_equal_channels():
    outcome = simulate_success(Scenario(files=(60 * 65_536,), channels=3))
    sent = [channel.counters.chunks_sent for channel in outcome.sender.channels.values()]
    received = [channel.counters.chunks_received for channel in outcome.receiver.channels.values()]
    assert sent == [20, 20, 20]
    assert received == sent


def test_a_network_that_goes_away_for_good_ends_both_sides_in_time():
    gone = Profile(rate=1e6, outages=((0.5, 1e9),))
    scenario = Scenario(
        files=(4_000_000,),
        there=gone,
        back=gone,
        send=SendOptions(idle_timeout_s=10.0),
        receive=ReceiveOptions(idle_timeout_s=10.0),
        give_up_at=20.0,
    )
    simulation = Simulation(scenario)
    # A reliable message is retransmitted for ever by the simulated channel: let it be lost here.
    simulation.there._fate = lambda *args: None  # type: ignore[method-assign]
    simulation.back._fate = lambda *args: None  # type: ignore[method-assign]
    outcome = simulation.run()
    assert isinstance(outcome.sender_error, PeerVanished)
    assert isinstance(outcome.receiver_error, PeerVanished)
    assert outcome.finished_at == pytest.approx(10.0, abs=0.5)


def test_data_that_never_gets_through_while_the_peer_lives_is_a_stall():
    scenario = Scenario(
        files=(1_000_000,),
        there=Profile(loss=1.0, rate=1e6),
        send=SendOptions(idle_timeout_s=10.0),
        receive=ReceiveOptions(idle_timeout_s=1000.0),
    )
    simulation = Simulation(scenario)
    arrive = simulation.there._is_lost
    simulation.there._is_lost = lambda at, message: message[1] != 0 and arrive(at, message)  # type: ignore[method-assign]
    outcome = simulation.run()
    assert isinstance(outcome.sender_error, TransferStalled)
    assert 10.0 <= outcome.finished_at < 30.0


def test_a_lost_tail_is_found_though_nothing_wakes_the_shell_when_it_leaves():
    """The last report says that all is queued; then everything leaves and is lost."""
    outage = Profile(rate=1e6, delay=0.005, outages=((0.105, 0.4),))
    outcome = simulate_success(Scenario(files=(50_000,), there=outage, wakes_at_departures=False))
    assert outcome.seconds < 1.35


def test_the_users_limit_is_kept():
    scenario = Scenario(files=(2_000_000,), send=SendOptions(limit_bytes_per_s=500e3))
    outcome = simulate_success(scenario)
    assert 3.95 <= outcome.seconds <= 4.2


def test_reliable_channels_carry_the_same_protocol_without_a_retransmission():
    scenario = Scenario(
        files=(3_000_000,),
        there=Profile(rate=2.5e6, delay=0.05, jitter=0.0),
        send=SendOptions(reliable=True),
    )
    outcome = simulate_success(scenario)
    assert outcome.sender.figures.bytes_sent == 3_000_000
    assert outcome.receiver.figures.duplicate_bytes == 0


def test_ten_thousand_tiny_files_need_no_round_trip_each():
    outcome = simulate_success(
        Scenario(files=(100,) * 10_000, there=PROFILES["internet"], back=PROFILES["internet"])
    )
    assert outcome.seconds < 1.0


def test_a_resumed_transfer_sends_only_what_is_missing():
    scenario = Scenario(files=(500_000, 500_000), held=((0, 400_000), (600_000, 1_000_000)))
    outcome = simulate_success(scenario)
    assert outcome.sender.figures.bytes_sent == 200_000
    assert outcome.sender.figures.bytes_acked == 1_000_000


def test_the_same_seed_gives_the_same_run():
    first, second = (simulate_success(random_scenario(33)) for _ in range(2))
    assert (first.seconds, first.wakes) == (second.seconds, second.wakes)


def test_a_transfer_of_nothing_is_complete_at_once():
    outcome = simulate_success(Scenario(files=()))
    assert outcome.sender.state is SendState.DONE
    assert outcome.receiver.state is ReceiveState.DONE
    assert outcome.finished_at < 0.5


def test_a_stream_of_short_lines_waits_for_a_reader_who_pauses():
    """The bound on waiting pieces is a tenth of the real one here, and so is what comes while nobody reads."""
    scenario = Scenario(
        files=(80 * 9_000,),
        unknown_length=True,
        chunk_bytes=80,
        disk_rate=2_000.0,
        there=Profile(rate=2.5e6, delay=0.02, loss=0.02),
        back=Profile(rate=2.5e6, delay=0.02, loss=0.02),
        seed=1,
        give_up_at=1_000.0,
        receive=ReceiveOptions(max_backlog_writes=2_000),
    )
    outcome = simulate_success(scenario)
    assert outcome.most_backlog > 80 * 8_000, "nearly all of it waited"


def test_a_withdrawn_file_costs_no_more_than_what_was_read_ahead_of_it():
    scenario = Scenario(files=(100_000, 50_000_000, 100_000), withdrawn={1: 20_000})
    outcome = simulate_success(scenario)
    assert outcome.sender.figures.bytes_sent < 3 * MiB
    assert outcome.receiver.figures.files_verified == 2


def test_many_withdrawn_files_do_not_use_up_the_credit():
    """What is lost of them is sent again all the same, or the two sides would count differently in the end."""
    profile = Profile(rate=12.5e6, delay=0.01, loss=0.05)
    scenario = Scenario(
        files=(200_000,) * 200,
        withdrawn=dict.fromkeys(range(0, 200, 2), 50000),
        there=profile,
        back=profile,
        receive=ReceiveOptions(window_bytes=MiB),
    )
    outcome = simulate_success(scenario)
    assert outcome.receiver.figures.files_verified == 100
