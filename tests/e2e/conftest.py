"""Every end-to-end test gets a shell of real processes in its own directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Shell, shell


@pytest.fixture
def sh(tmp_path: Path) -> Iterator[Shell]:
    with shell(tmp_path) as opened:
        yield opened
