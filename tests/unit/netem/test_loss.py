"""Losses: as many as asked for, in bursts as long as asked for, and the same for a seed."""

from __future__ import annotations

import random

import pytest

from tallow_cli.netem.loss import GilbertElliott


def fates(loss: GilbertElliott, count: int = 50_000) -> list[bool]:
    return [loss.is_lost() for _ in range(count)]


def test_a_share_of_nothing_loses_nothing() -> None:
    loss = GilbertElliott.of_share(random.Random(1), 0.0)
    assert not loss.is_possible
    assert not any(fates(loss))


@pytest.mark.parametrize(("share", "burst"), [(0.02, 1.0), (0.1, 5.0)])
def test_the_share_is_lost_whatever_the_bursts(share: float, burst: float) -> None:
    lost = fates(GilbertElliott.of_share(random.Random(3), share, burst))
    assert sum(lost) / len(lost) == pytest.approx(share, rel=0.15)


def test_some_survive_a_burst_and_some_die_outside() -> None:
    loss = GilbertElliott(random.Random(5), enter=0.01, leave=0.1, loss_outside=0.001, loss_inside=0.5)
    in_bursts = 0.01 * 10 / (1 + 0.01 * 10)
    lost = fates(loss, 200_000)
    assert sum(lost) / len(lost) == pytest.approx(0.5 * in_bursts + 0.001, rel=0.2)


@pytest.mark.parametrize("enter", [0.0, 0.0001])
def test_a_message_dies_with_any_of_its_packets(enter: float) -> None:
    loss = GilbertElliott(random.Random(7), enter=enter, leave=1.0, loss_outside=0.01)
    dead = sum(loss.is_any_lost(20) for _ in range(20_000))
    assert dead / 20_000 == pytest.approx(1 - 0.99**20, rel=0.05)


def test_a_seed_repeats_it() -> None:
    first, again, other = (
        fates(GilbertElliott.of_share(random.Random(seed), 0.1, 3.0), 500) for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(("share", "burst"), [(1.0, 1.0), (-0.1, 1.0), (0.1, 0.5)])
def test_what_no_path_does_is_refused(share: float, burst: float) -> None:
    with pytest.raises(ValueError, match="impossible loss"):
        GilbertElliott.of_share(random.Random(1), share, burst)
