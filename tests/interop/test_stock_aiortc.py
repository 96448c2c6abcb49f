"""The turbo engine against aiortc."""

from __future__ import annotations

import pytest

from tests.interop.suite import PeerSuite


@pytest.mark.interop
class TestStockAiortc(PeerSuite):
    peer = "aiortc"
