"""What the fast engine announces, and what it says before there is a connection."""

from __future__ import annotations

import pytest

from tallow_cli.webrtc.stock_engine import STOCK_PACKET_BYTES
from tallow_cli.webrtc.turbo_engine import (
    CAPABILITY,
    LARGE_BUFFER_BYTES,
    LARGE_BUFFER_CAPABILITY,
    TurboEngine,
)


@pytest.mark.parametrize(
    ("granted", "announced"),
    [
        (LARGE_BUFFER_BYTES, (CAPABILITY, LARGE_BUFFER_CAPABILITY)),
        (LARGE_BUFFER_BYTES - 1, (CAPABILITY,)),
    ],
)
def test_a_large_buffer_is_announced_only_where_the_system_grants_one(
    granted: int, announced: tuple[str, ...]
) -> None:
    assert TurboEngine(granted_bytes=lambda: granted).capabilities == announced


def test_before_a_connection_it_assumes_the_smallest_and_says_nothing() -> None:
    engine = TurboEngine()
    assert engine.notes == ()
    assert engine.path_figures() is None
    assert engine.network_packet_bytes == STOCK_PACKET_BYTES
    assert engine.all_acknowledged()


async def test_closing_is_harmless_at_any_time() -> None:
    engine = TurboEngine()
    engine.close()
    await engine.keep_only(0)
    engine.close()
    assert engine.all_acknowledged()
