"""The turbo engine against libdatachannel (usrsctp): PyPI `aiolibdatachannel`."""

from __future__ import annotations

import pytest

from tests.interop.suite import PeerSuite


@pytest.mark.interop
class TestLibdatachannel(PeerSuite):
    peer = "libdatachannel"
