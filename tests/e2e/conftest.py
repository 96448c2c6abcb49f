"""Every end-to-end test gets a shell of real processes in its own directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Shell, shell


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long in namespaces is for who asks for the lab: `make test` has twenty minutes for everything."""
    if "lab" not in config.option.markexpr and "long_lab" not in config.option.markexpr:
        skipped = pytest.mark.skip(reason="it takes long, and runs with `make test-lab`")
        for each in items:
            if each.get_closest_marker("long_lab") is not None:
                each.add_marker(skipped)


@pytest.fixture
def sh(tmp_path: Path) -> Iterator[Shell]:
    with shell(tmp_path) as opened:
        yield opened
