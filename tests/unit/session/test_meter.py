"""session.meter: from samples to what people see."""

from __future__ import annotations

import time

import pytest

from tallow_cli.session import meter as meter_module
from tallow_cli.session.events import Done, Progress, SessionEvent, Stats
from tallow_cli.session.meter import Meter, Sample
from tests.support.events import channel


@pytest.fixture
def events() -> list[SessionEvent]:
    return []


CHANNELS = (channel(1), channel(2, paused=True))


def meter(events: list[SessionEvent], total: int | None = 1_000_000, held: int = 0) -> Meter:
    return Meter(events.append, total_bytes=total, held_bytes=held, files_total=2, now=100.0)


def test_each_tick_says_how_far_it_is_and_what_was_measured(events: list[SessionEvent]) -> None:
    subject = meter(events)
    subject.tick(100.5, Sample(250_000, rtt_s=0.01, loss=0.0, chunk_bytes=65536), CHANNELS)
    progress, stats = events
    assert isinstance(progress, Progress)
    assert (progress.bytes, progress.total, progress.eta_s) == (250_000, 1_000_000, pytest.approx(1.5))
    assert isinstance(stats, Stats)
    assert stats.chunk_bytes == 65536
    assert stats.channels == CHANNELS
    assert stats.benchmark.current_rtt_ms == pytest.approx(10)


def test_the_time_left_follows_the_last_five_seconds(events: list[SessionEvent]) -> None:
    subject = meter(events, total=100_000_000)
    for tick in range(1, 51):  # a fast beginning
        subject.tick(100 + tick * 0.2, Sample(tick * 1_000_000), CHANNELS)
    for tick in range(1, 51):  # then a tenth of it
        subject.tick(110 + tick * 0.2, Sample(50_000_000 + tick * 100_000), CHANNELS)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert last.eta_s == pytest.approx(45_000_000 / 500_000, rel=0.01)


def test_no_time_is_left_to_tell_while_nothing_moves_or_the_end_is_unknown(
    events: list[SessionEvent],
) -> None:
    meter(events).tick(100.2, Sample(0), CHANNELS)
    meter(events, total=None).tick(100.2, Sample(5), CHANNELS)
    assert [event.eta_s for event in events if isinstance(event, Progress)] == [None, None]


def test_the_rate_of_a_resumed_transfer_leaves_out_what_was_there(events: list[SessionEvent]) -> None:
    done = meter(events, held=900_000).finish(101.0, Sample(1_000_000, files_done=2))
    assert done.mbps == pytest.approx(0.8)
    assert (done.bytes, done.files, done.seconds) == (1_000_000, 2, 1.0)
    assert isinstance(events[-1], Done)
    assert isinstance(events[-2], Progress)


def test_a_transfer_that_took_no_time_has_a_rate_too(events: list[SessionEvent]) -> None:
    assert meter(events, total=0).finish(100.0, Sample(0)).mbps >= 0


def test_all_of_it_is_claimed_only_at_the_end(events: list[SessionEvent]) -> None:
    subject = meter(events)
    subject.tick(100.2, Sample(1_000_000), CHANNELS)  # every byte is there, none is verified
    subject.finish(100.4, Sample(1_000_000))
    assert [event.bytes for event in events if isinstance(event, Progress)] == [999_999, 1_000_000]


def test_a_loop_that_never_sleeps_needs_a_whole_core_whoever_has_the_cores() -> None:
    shares = []
    for _ in range(5):  # the machine under this one may stop it, which nothing here counts
        began = time.monotonic()
        use = meter_module._ProcessUse(began)
        while time.monotonic() < began + 0.2:
            pass
        needed, _ = use.use(time.monotonic())
        assert needed is not None
        shares.append(needed)
    assert 0.8 < max(shares) < 1.2


def test_a_loop_that_sleeps_needs_little() -> None:
    use = meter_module._ProcessUse(time.monotonic())
    time.sleep(0.2)
    needed, _ = use.use(time.monotonic())
    assert needed is not None
    assert needed < 0.5


def test_without_schedstat_the_processor_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", refuse)
    assert meter_module._needed_cpu_s() == pytest.approx(time.process_time(), abs=0.1)


def test_an_outage_enters_no_average_and_the_rate_leaves_it_out(events: list[SessionEvent]) -> None:
    subject = meter(events, total=2_000_000)
    subject.tick(101.0, Sample(500_000), CHANNELS)
    subject.pause(101.0)
    subject.pause(120.0)
    subject.go_on(201.0)
    subject.tick(202.0, Sample(1_000_000), CHANNELS)
    progress = [event for event in events if isinstance(event, Progress)][-1]
    assert progress.eta_s is None, "of one sample there is no rate"
    done = subject.finish(204.0, Sample(2_000_000))
    assert (done.seconds, done.outage_s) == (104.0, 100.0)
    assert done.mbps == pytest.approx(4.0)
    assert done.benchmark is not None
    assert done.benchmark.avg_mbps == pytest.approx(4.0)
    assert done.benchmark.min_mbps == pytest.approx(4.0)


def test_what_is_still_to_be_compared_takes_its_time_too(events: list[SessionEvent]) -> None:
    subject = meter(events, held=900_000)
    subject.tick(101.0, Sample(900_000, unproven_bytes=800_000), CHANNELS)
    subject.tick(102.0, Sample(900_000, unproven_bytes=700_000), CHANNELS)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (last.bytes, last.unproven, last.eta_s) == (900_000, 700_000, pytest.approx(8.0))


def silent_for(subject: Meter, begin: float, end: float, at_bytes: int) -> None:
    """Ticks of a path whose first unanswered check was sent at `begin`."""
    now = begin
    while (now := now + 0.2) < end:
        is_early = now - begin < 0.5  # nobody can know yet that it is one
        rtt_s, loss = (0.01, 0.0) if is_early else (9.0, 1.0)
        subject.tick(now, Sample(at_bytes, rtt_s=rtt_s, loss=loss, silence_s=now - begin), CHANNELS)


@pytest.mark.parametrize("outage_s", [2.5, 28.0])
def test_a_silence_is_said_and_counts_in_no_average(events: list[SessionEvent], outage_s: float) -> None:
    subject = meter(events, total=40_000_000)
    for tick in range(1, 51):
        subject.tick(100 + tick * 0.2, Sample(tick * 200_000, rtt_s=0.01, loss=0.0), CHANNELS)
    silent_for(subject, 110.0, 110.0 + outage_s, 10_000_000)
    silences = [event.silent_s for event in events if isinstance(event, Stats) and event.silent_s]
    assert min(silences) == pytest.approx(2.1, abs=0.11)
    assert max(silences) == pytest.approx(outage_s, abs=0.21)
    for tick in range(1, 51):
        now = 110.0 + outage_s + tick * 0.2
        subject.tick(now, Sample(10_000_000 + tick * 200_000, rtt_s=0.01, loss=0.0), CHANNELS)
    done = subject.finish(120.0 + outage_s, Sample(20_000_000, files_done=2))
    assert done.outage_s == pytest.approx(outage_s, abs=0.21)
    assert done.mbps == pytest.approx(8.0, rel=0.02)
    assert done.benchmark is not None
    assert done.benchmark.avg_mbps == pytest.approx(8.0, rel=0.02)
    assert done.benchmark.max_rtt_ms == pytest.approx(10)
    assert done.benchmark.max_loss == 0.0
    assert done.benchmark.sample_count < 104


def test_a_path_of_a_long_round_trip_over_which_data_moves_is_not_silent(events: list[SessionEvent]) -> None:
    subject = meter(events, total=40_000_000)
    for tick in range(1, 51):
        subject.tick(100 + tick * 0.2, Sample(tick * 200_000, rtt_s=4.0, loss=0.0, silence_s=4.0), CHANNELS)
    assert {event.silent_s for event in events if isinstance(event, Stats)} == {0.0}
    assert subject.finish(110.0, Sample(10_000_000)).outage_s == 0.0


def test_a_silence_shorter_than_an_outage_is_a_slow_moment(events: list[SessionEvent]) -> None:
    subject = meter(events, total=40_000_000)
    subject.tick(100.2, Sample(200_000), CHANNELS)
    silent_for(subject, 100.2, 101.9, 200_000)
    subject.tick(102.0, Sample(400_000), CHANNELS)
    done = subject.finish(102.2, Sample(600_000))
    assert (done.outage_s, done.mbps) == (0.0, pytest.approx(600_000 * 8 / 2.2e6))


def test_a_silence_from_before_the_beginning_is_cut_to_it(events: list[SessionEvent]) -> None:
    subject = meter(events)
    subject.tick(100.2, Sample(0, silence_s=50.0), CHANNELS)
    subject.tick(100.4, Sample(100_000), CHANNELS)
    assert subject.finish(101.0, Sample(1_000_000)).outage_s == pytest.approx(0.4)


def test_what_a_channel_has_carried_is_counted_over_all_connections(events: list[SessionEvent]) -> None:
    subject = meter(events)
    subject.tick(100.2, Sample(100_000), CHANNELS)
    subject.end_connection(100.3, CHANNELS)
    subject.go_on(103.0)
    subject.end_connection(104.0, CHANNELS)
    subject.go_on(105.0)
    subject.tick(105.2, Sample(200_000), CHANNELS[:1])
    (channel,) = [event for event in events if isinstance(event, Stats)][-1].channels
    assert channel.bytes_sent == 3 * CHANNELS[0].bytes_sent > 0
    assert channel.chunks_sent == 3 * CHANNELS[0].chunks_sent > 0
