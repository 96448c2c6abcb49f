from __future__ import annotations

import pytest

from tallow_cli.errors import BadOption
from tallow_cli.link.link import IceServer, LinkOptions


def test_repetitions_out_of_range_or_on_reliable_channels_are_refused() -> None:
    for wrong in ({"max_retransmits": -1}, {"max_retransmits": 9}, {"max_retransmits": 0, "reliable": True}):
        with pytest.raises(BadOption, match="--max-retransmits"):
            LinkOptions(**wrong)  # type: ignore[arg-type]  # a table of mixed fields


def test_an_ice_server_needs_its_scheme() -> None:
    assert IceServer("stun:192.0.2.1:3478").url
    with pytest.raises(BadOption, match="--ice-server"):
        IceServer("https://example.org")
