from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallow_cli.measure.causes import Cause, Stop
from tallow_cli.measure.diagnosis import EndUse, PathState, causes_of

IDLE = EndUse()
FULL = EndUse(core=0.95)
ROBBED = EndUse(core=0.2, robbed=0.7)
PATH = PathState(rtt_s=0.001, loss=0.0)


def only(
    stop: Stop,
    here: EndUse = IDLE,
    there: EndUse | None = IDLE,
    path: PathState = PATH,
    source: Cause = Cause.SENDER_DISK,
) -> Cause:
    (cause,) = causes_of({stop: 1.0}, here, there, path, source=source)
    return cause


def blocked(cause: Cause, share: float = 0.9, core: float = 0.1, robbed: float = 0.0) -> EndUse:
    return EndUse(core, robbed, {cause: share})


@pytest.mark.parametrize("stop", [Stop.QUEUE, Stop.ALL_SENT])
def test_what_has_not_left_or_arrived_waits_for_the_path(stop: Stop) -> None:
    assert only(stop) is Cause.NETWORK_CAPACITY
    assert only(stop, path=PathState(0.05, 0.08)) is Cause.NETWORK_LOSS
    assert only(stop, path=PathState(0.25, 0.0, is_growing=True)) is Cause.NETWORK_DELAY
    assert only(stop, path=PathState(0.001, 0.0, is_growing=True)) is Cause.NETWORK_CAPACITY
    assert only(stop, path=PathState(0.05, 0.0, is_relayed=True)) is Cause.RELAY


@pytest.mark.parametrize("short", [FULL, ROBBED])
def test_a_processor_that_is_short_explains_a_path_that_seems_full(short: EndUse) -> None:
    assert only(Stop.QUEUE, here=short) is Cause.SENDER_CPU
    assert only(Stop.QUEUE, there=short) is Cause.RECEIVER_CPU
    assert only(Stop.QUEUE, here=EndUse(0.86), there=EndUse(0.5, 0.45)) is Cause.RECEIVER_CPU


def test_a_core_that_is_half_used_explains_nothing() -> None:
    assert only(Stop.QUEUE, here=EndUse(0.5, 0.1), there=EndUse(0.3, 0.2)) is Cause.NETWORK_CAPACITY


def test_a_slow_source_is_named_for_what_it_is() -> None:
    assert only(Stop.DATA, here=blocked(Cause.SENDER_DISK)) is Cause.SENDER_DISK
    piped = blocked(Cause.SENDER_INPUT)
    assert only(Stop.DATA, here=piped, source=Cause.SENDER_INPUT) is Cause.SENDER_INPUT
    assert only(Stop.DATA, here=ROBBED) is Cause.SENDER_CPU


def test_a_receiver_that_takes_no_more_says_why() -> None:
    assert only(Stop.CREDIT, there=blocked(Cause.RECEIVER_DISK)) is Cause.RECEIVER_DISK
    assert only(Stop.CREDIT, there=blocked(Cause.RECEIVER_OUTPUT)) is Cause.RECEIVER_OUTPUT
    assert only(Stop.CREDIT, there=FULL) is Cause.RECEIVER_CPU
    assert only(Stop.CREDIT, there=blocked(Cause.VERIFYING)) is Cause.RECEIVER_DISK


def test_a_window_that_is_full_while_both_ends_keep_up_is_full_for_the_distance_or_too_small() -> None:
    for stop in (Stop.CREDIT, Stop.IN_FLIGHT, Stop.PAUSED):
        assert only(stop, path=PathState(0.3, 0.0)) is Cause.NETWORK_DELAY
        assert only(stop) is Cause.BUFFERS


def test_what_is_acknowledged_and_not_reported_is_being_written_or_verified() -> None:
    assert only(Stop.ALL_ACKNOWLEDGED, there=blocked(Cause.RECEIVER_DISK)) is Cause.RECEIVER_DISK
    assert only(Stop.ALL_ACKNOWLEDGED, there=blocked(Cause.VERIFYING)) is Cause.VERIFYING
    assert only(Stop.ALL_ACKNOWLEDGED, there=None) is Cause.VERIFYING


def test_a_limit_is_named_whatever_else_there_is() -> None:
    assert only(Stop.LIMIT, here=FULL, there=FULL, path=PathState(1.0, 0.5)) is Cause.SENDER_LIMIT


def test_memory_that_is_read_back_from_the_disk_is_named_before_what_it_slows() -> None:
    gone = EndUse(0.9, 0.0, {Cause.MEMORY: 1.0, Cause.SENDER_DISK: 0.9})
    assert only(Stop.QUEUE, here=gone) is Cause.MEMORY
    assert only(Stop.DATA, here=gone) is Cause.MEMORY


_USES = st.builds(
    EndUse, st.floats(0, 1), st.floats(0, 1), st.dictionaries(st.sampled_from(Cause), st.floats(0, 1))
)
_PATHS = st.builds(
    PathState, st.none() | st.floats(0, 10), st.none() | st.floats(0, 1), st.booleans(), st.booleans()
)


@given(
    st.dictionaries(st.sampled_from(Stop), st.floats(0, 10)),
    _USES,
    st.none() | _USES,
    _PATHS,
    st.sampled_from([Cause.SENDER_DISK, Cause.SENDER_INPUT]),
)
def test_no_second_is_lost_or_made_whatever_was_measured(
    stopped: dict[Stop, float], here: EndUse, there: EndUse | None, path: PathState, source: Cause
) -> None:
    seconds = causes_of(stopped, here, there, path, source=source)
    assert sum(seconds.values()) == pytest.approx(sum(stopped.values()))
