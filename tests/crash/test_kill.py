"""kill -9 at every point of a receive: a final name is absent, old, or complete."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tallow_cli.store.directory_sink import DirectorySink
from tallow_cli.store.sink import OnConflict
from tests.crash.receiver import CONTENTS, OFFER, OLD, Point, receive
from tests.support.disk import tree

REPOSITORY = Path(__file__).parent.parent.parent


def run(base: Path, policy: OnConflict) -> tuple[Path, Path]:
    """Kill a receiver at every point; returns the directory of all the remains, and the report."""
    target, report = base / "target", base / "report"
    target.mkdir()
    subprocess.run(
        [sys.executable, "-m", "tests.crash.receiver", target, policy, report],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        timeout=100,
    )
    return target, report


@pytest.mark.parametrize("policy", OnConflict)
def test_a_final_name_is_absent_or_complete_whenever_the_receiver_is_killed(
    tmp_path: Path, policy: OnConflict
) -> None:
    target, report = run(tmp_path, policy)
    lines = [line.split() for line in report.read_text().splitlines()]
    statuses = [int(status) for _, status in lines]
    assert statuses[-1] == 0
    assert set(statuses[:-1]) == {signal.SIGKILL.value}
    assert len(statuses) > 60, "too few points: the seam was not used"

    published = set()
    for number in range(len(statuses)):
        root = target / str(number)
        left = tree(root)
        count = 0
        for path, found in left.items():
            name = path.replace("site (1)/", "site/")
            if path == "site/small" and policy is not OnConflict.REFUSE and found == OLD:
                continue
            if ".tallow-" in path or found is None:
                continue
            assert found == ("small" if name == "site/link" else CONTENTS[name]), (number, path)
            count += 1
        published.add(count)
        if policy is OnConflict.RENAME:
            assert left["site/small"] == OLD
        if policy is OnConflict.OVERWRITE:
            assert left["site/small"] in (OLD, CONTENTS["site/small"])
    assert published == {0, 1, 2, 3, 4, 5}, "every state in between was seen"


def test_a_second_run_after_a_crash_is_not_disturbed_by_what_the_first_left(tmp_path: Path) -> None:
    remains, _ = run(tmp_path, OnConflict.REFUSE)
    target = remains / "25"
    assert any(".tallow-" in path for path in tree(target))
    sink = DirectorySink(target, OnConflict.RENAME)
    assert [conflict.renamed_to for conflict in sink.conflicts(OFFER)] == ["site (1)"]
    sink.close()
    receive(target, OnConflict.RENAME, Point(-1))
    shutil.rmtree(target / "site")
    assert {path: data for path, data in tree(target).items() if isinstance(data, bytes)} == {
        name.replace("site/", "site (1)/"): data for name, data in CONTENTS.items()
    }
