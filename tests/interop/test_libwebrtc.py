"""The turbo engine against libwebrtc."""

from __future__ import annotations

import pytest

from tests.interop.suite import PeerSuite


@pytest.mark.interop
class TestLibwebrtc(PeerSuite):
    peer = "libwebrtc"
