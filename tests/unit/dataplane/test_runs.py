"""Runs: what a part of one costs, and that parts and wholes name the same bytes."""

from __future__ import annotations

from tallow_cli.dataplane.congestion.delivery_rate import DeliveryRateEstimator
from tallow_cli.dataplane.outbound import OutboundMessage
from tallow_cli.dataplane.packets import PACKET_OVERHEAD_BYTES
from tallow_cli.dataplane.runs import Run, whole_runs


def message(size: int) -> OutboundMessage:
    return OutboundMessage(1, 53, bytes(size), ordered=False, max_retransmits=None, expires_at=None)


def run_of_ten() -> Run:
    """950 bytes in ten fragments of 100, the last of 50."""
    run = Run(message(950), 1000, 1010, 0, 100, 50, 1)
    run.stamp = DeliveryRateEstimator().on_sent(0.0, run.cost_bytes, 0)
    return run


def test_a_run_costs_its_bytes_and_a_header_for_each_packet() -> None:
    assert run_of_ten().cost_bytes == 950 + 10 * PACKET_OVERHEAD_BYTES


def test_its_parts_cost_together_what_it_costs() -> None:
    run = run_of_ten()
    for cut in range(1001, 1010):
        first, last = run.part(1000, cut), run.part(cut, 1010)
        assert first.cost_bytes + last.cost_bytes == run.cost_bytes
        assert first.cost_bytes == run.cost_of(1000, cut)
        assert last.offset == (cut - 1000) * 100
        assert (first.last_bytes, last.last_bytes) == (100, 50)


def test_a_part_is_of_the_same_transmission() -> None:
    run = run_of_ten()
    run.has_left = True
    part = run.part(1002, 1005)
    assert (part.stamp, part.transmissions, part.has_left) == (run.stamp, 1, True)


def test_a_message_whose_fragments_changed_size_is_a_run_for_each_size() -> None:
    sent = message(1000)
    sent.layout = [(7, 0, 300), (9, 600, 150)]
    sent.end_tsn = 12
    runs = whole_runs(sent)
    assert [(run.first, run.end, run.offset, run.fragment_bytes, run.last_bytes) for run in runs] == [
        (7, 9, 0, 300, 300),
        (9, 12, 600, 150, 100),
    ]
    assert sum(run.cost_bytes - (run.end - run.first) * PACKET_OVERHEAD_BYTES for run in runs) == 1000
