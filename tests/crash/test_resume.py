"""kill -9 at every point of a receive, and a disk that fails or loses power: the next receive goes on, and is right."""

from __future__ import annotations

import errno
import inspect
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tallow_cli.errors import LocalFileError, TargetExists
from tallow_cli.store.filesystem import Filesystem
from tests.crash.resuming import NOTE_BYTES, SHAPES, STEP_BYTES, Count, receive, stream_of
from tests.support.disk import CHANGING, FailingFilesystem, PowerCut, ShortWriteFilesystem, tree

REPOSITORY = Path(__file__).parent.parent.parent
# What a kill may cost beside the write under way: what was not noted yet, of the two small files of a batch as well.
LOST_BYTES = NOTE_BYTES + STEP_BYTES
READING = {
    "close", "close_directory", "default", "duplicate", "entries", "identity", "lock", "longest_name", "mode",
    "open_directory", "open_root", "open_to_read", "read", "readlink", "reopen", "space", "start_writeback", "stat",
    "status", "where",
}  # fmt: skip


def expected(shape: str) -> dict[str, bytes | str]:
    manifest, contents = SHAPES[shape]
    found: dict[str, bytes | str] = {}
    for entry in manifest.entries:
        if entry.target is not None:
            found[entry.path] = entry.target
    for path, data in contents.items():
        entry = next(entry for entry in manifest.entries if entry.path == path)
        whole, position, taken = bytearray(entry.size), 0, 0
        for start, end in (*entry.holes, (entry.size, entry.size)):
            whole[position:start] = data[taken : taken + start - position]
            taken += start - position
            position = end
        found[path] = bytes(whole)
    return found


def received(root: Path) -> dict[str, bytes | str]:
    return {path: what for path, what in tree(root).items() if what is not None}


def check_final_names(root: Path, shape: str) -> None:
    """Absent or complete."""
    right = expected(shape)
    for path, what in received(root).items():
        if ".tallow-" not in path:
            assert what == right[path], path


def is_done(root: Path, shape: str) -> bool:
    """Whether all is there, and the journal was removed already: killed when nothing was left to be done."""
    found = received(root)
    return expected(shape).items() <= found.items() and not any(".journal" in path for path in found)


def test_every_operation_that_changes_the_disk_is_a_point() -> None:
    operations = {
        name for name, _ in inspect.getmembers(Filesystem, inspect.isfunction) if not name.startswith("_")
    }
    assert operations - READING == set(CHANGING)


@pytest.mark.parametrize(
    ("shape", "killed"), [("large", 0), ("many", 0), ("sparse", 0), ("large", 40), ("many", 60)]
)
def test_whenever_a_receiver_is_killed_the_next_goes_on(tmp_path: Path, shape: str, killed: int) -> None:
    target, report = tmp_path / "target", tmp_path / "report"
    target.mkdir()
    subprocess.run(
        [sys.executable, "-m", "tests.crash.resuming", target, shape, str(killed), report],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        timeout=100,
    )
    lines = [tuple(map(int, line.split())) for line in report.read_text().splitlines()]
    assert {status for _, status, _ in lines[:-1]} == {signal.SIGKILL.value}
    assert len(lines) > 30, "too few points: the seam was not used"
    went_on = 0
    for number, _, written in lines[:-1]:
        root = target / str(number)
        check_final_names(root, shape)
        if is_done(root, shape):
            continue
        proven = receive(root, shape, None, Count())
        assert proven >= written - LOST_BYTES, (number, proven, written)
        went_on += proven > 0
        assert received(root) == expected(shape), number
        shutil.rmtree(root)
    assert went_on > len(lines) / 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(8))
def test_what_a_power_cut_loses_is_sent_again_and_nothing_else_is_wrong(
    tmp_path: Path, shape: str, seed: int
) -> None:
    rng = random.Random(seed)

    class Cut(Exception):
        pass

    class Disk(PowerCut):
        left = rng.randrange(5, 40)

        def write(self, fd: int, offset: int, data: bytes | bytearray | memoryview) -> int:
            self.left -= 1
            if self.left < 0:
                raise Cut
            return super().write(fd, offset, data)

    disk = Disk()
    child = os.fork()  # so that what it holds is let go of as by a cut
    if child == 0:
        try:
            receive(tmp_path, shape, disk, Count())
        except Cut:
            disk.cut(tmp_path, rng)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    check_final_names(tmp_path, shape)
    if not is_done(tmp_path, shape):
        receive(tmp_path, shape, None, Count())
    assert received(tmp_path) == expected(shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    "operation", ["write", "create", "allocate", "sync_file", "sync_data", "rename_exclusively"]
)
def test_a_disk_that_fails_anywhere_leaves_what_can_be_gone_on_with(
    tmp_path: Path, shape: str, code: int, operation: str
) -> None:
    for after in (*range(4), 7, 12, 20):
        root = tmp_path / str(after)
        root.mkdir()
        child = os.fork()
        if child == 0:
            try:
                receive(root, shape, FailingFilesystem(code, operation, after=after), Count())
            except LocalFileError:
                pass
            except BaseException:  # noqa: BLE001 - told by the exit code
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, after
        check_final_names(root, shape)
        if is_done(root, shape):
            continue
        try:
            receive(root, shape, None, Count())
        except TargetExists:  # what was published stands there, and is not known to be ours
            assert (operation, shape, after) == ("create", "many", 7), "the journal could not be made"
        else:
            assert received(root) == expected(shape), after


@pytest.mark.parametrize("shape", SHAPES)
def test_writes_that_stop_short_are_gone_on_with(tmp_path: Path, shape: str) -> None:
    receive(tmp_path, shape, ShortWriteFilesystem(5_000), Count())
    assert received(tmp_path) == expected(shape)
    assert len(stream_of(shape)) > 100_000
