"""The turbo engine against libdatachannel."""

from __future__ import annotations

import pytest

from tests.interop.suite import PeerSuite


@pytest.mark.interop
class TestLibdatachannel(PeerSuite):
    peer = "libdatachannel"
