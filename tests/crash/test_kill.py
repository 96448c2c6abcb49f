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


@pytest.mark.parametrize("policy", [OnConflict.REFUSE, OnConflict.RENAME, OnConflict.OVERWRITE])
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


def test_the_next_receive_clears_away_what_a_killed_one_left_and_keeps_what_it_published(
    tmp_path: Path,
) -> None:
    remains, report = run(tmp_path, OnConflict.REFUSE)
    unpublished = 0
    for number in range(len(report.read_text().splitlines())):
        target = remains / str(number)
        before = {path: found for path, found in tree(target).items() if ".tallow-" not in path}
        sink = DirectorySink(target, OnConflict.RENAME)
        has_conflict = bool(sink.conflicts(OFFER))
        left = tree(target)
        assert not any(".tallow-" in path for path in left), number
        if any(found is not None for found in before.values()):
            assert has_conflict
            assert left == before, "what was published stays, with its directories"
        else:
            unpublished += 1
            assert not has_conflict, f"{number}: a directory with nothing but our leftovers is no conflict"
            assert left == {}
        sink.close()
        receive(target, OnConflict.RENAME, Point(-1))
        name = "site (1)" if has_conflict else "site"
        found = tree(target)
        assert {path: found[path.replace("site/", f"{name}/")] for path in CONTENTS} == CONTENTS, number
        assert not any(".tallow-" in path for path in found), number
        shutil.rmtree(target)
    assert unpublished > 20
