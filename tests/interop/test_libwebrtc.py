"""The turbo engine against libwebrtc, Chrome's stack: npm `@roamhq/wrtc`, run by node."""

from __future__ import annotations

import pytest

from tests.interop.suite import PeerSuite


@pytest.mark.interop
class TestLibwebrtc(PeerSuite):
    peer = "libwebrtc"
    # dcSCTP throws away the messages it has not begun to send when their stream is to be reset.
    sends_before_closing = False
