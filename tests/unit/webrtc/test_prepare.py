from __future__ import annotations

import subprocess
import sys

import pytest

from tallow_cli.errors import BadOption
from tallow_cli.link.link import LinkOptions
from tallow_cli.webrtc.prepare import prepare


async def test_an_unknown_engine_is_a_bad_option() -> None:
    with pytest.raises(BadOption, match="--engine"):
        await prepare("host", LinkOptions(engine="warp"))


def test_aiortc_is_not_imported_before_the_first_link_is_prepared() -> None:
    code = (
        "import sys, tallow_cli.webrtc.prepare, tallow_cli.webrtc.engines; sys.exit('aiortc' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
