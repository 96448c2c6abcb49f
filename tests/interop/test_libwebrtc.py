"""The turbo engine against libwebrtc, Chrome's stack: npm `@roamhq/wrtc`, run by node."""

from __future__ import annotations

import pytest

from tests.interop.suite import PeerSuite


@pytest.mark.interop
class TestLibwebrtc(PeerSuite):
    peer = "libwebrtc"
    # dcSCTP throws away the messages it has not begun to send when their stream is to be reset.
    sends_before_closing = False
    # Its socket has the kernel's default buffer, 92 datagrams of 1.4 KB here; 256 KiB are 186.
    largest_unreliable = 65_536
