"""Messages larger than the receiver's socket buffer: found with libwebrtc, replayed here in virtual time."""

from __future__ import annotations

import pytest

from tallow_cli.netem.link import LinkConfig
from tallow_cli.netem.presets import PathPreset
from tests.sim.associations import SimulatedPath

# The kernel's default of 212,992 bytes holds so many datagrams of Ethernet's size, by its own count.
BUFFER_PACKETS = 92
MESSAGE_BYTES = 262_144


@pytest.mark.sim
@pytest.mark.parametrize("drain_mbps", [200, 500, 1000])
def test_a_sender_of_now_and_then_a_large_message_learns_what_the_receiver_can_take(drain_mbps: int) -> None:
    drain = LinkConfig(rate_bps=drain_mbps * 1e6, delay_s=0.0002, queue_bytes=BUFFER_PACKETS * 1500)
    preset = PathPreset("small receive buffer", drain, LinkConfig(rate_bps=1e9, delay_s=0.0002))
    path = SimulatedPath(preset, 1, ack_every_packets=2, wake_s=0.0005)
    arrived = []
    for number in range(20):
        path.left.association.send_message(
            1, 53, bytes([number]) * MESSAGE_BYTES, ordered=False, max_retransmits=0
        )
        path.run(lambda: False, 0.5)
        arrived.append(len(path.right.received))
    assert arrived[-1] - arrived[9] >= 5, f"of the last ten messages {arrived[-1] - arrived[9]} arrived"
