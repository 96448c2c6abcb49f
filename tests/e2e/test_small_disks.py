"""Receiving onto disks that are too small, that fill up, or that say nothing of themselves. Needs root."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tallow_cli.store.filesystem import DirFdFilesystem
from tests.support.processes import Shell, Tallow

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"),
        reason="needs root, unshare and nsenter to mount disks of its own",
    ),
]

MiB = 1024 * 1024


@contextmanager
def disk(sh: Shell, kind: str, options: str = "") -> Iterator[Path]:
    """A file system that `sh`'s commands see at `sh.directory/disk`; yields where this process sees it."""
    mount_point = sh.directory / "disk"
    mount_point.mkdir()
    script = 'mount -t "$@" && echo mounted && exec sleep 600'
    mount = [kind, *(["-o", options] if options else []), "none", os.fspath(mount_point)]
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, "sh", *mount],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"mounted\n":
            pytest.skip(f"{kind} cannot be mounted here")
        sh.within = ("nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", f"--wd={sh.directory}")
        yield Path(f"/proc/{holder.pid}/root{mount_point}")
    finally:
        holder.kill()
        holder.wait()
        for stream in (holder.stdout, holder.stderr):
            if stream is not None:
                stream.close()


def make_tree(root: Path, count: int, size: int) -> dict[str, bytes]:
    root.mkdir()
    contents = {f"{number}": random.Random(number).randbytes(size) for number in range(count)}
    for name, data in contents.items():
        (root / name).write_bytes(data)
    return contents


def start(sh: Shell, *send: str | Path) -> tuple[Tallow, Tallow]:
    sender = sh.start("send", *send, "--json")
    code = sender.wait_event("code")["code"]
    return sender, sh.start("recv", code, "--yes", "--json", "-o", sh.directory / "disk")


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65_536))


def test_what_does_not_fit_is_refused_before_anything_is_sent(sh: Shell) -> None:
    make_tree(sh.directory / "mix", 3, 3 * MiB)
    with disk(sh, "tmpfs", "size=8m") as view:
        _, receiver = start(sh, sh.directory / "mix")
        assert receiver.wait() == 10, receiver.report()
        assert "no room" in receiver.err[-1]
        assert os.listdir(view) == []


def test_a_disk_without_figures_and_without_reserving_takes_files(sh: Shell) -> None:
    contents = make_tree(sh.directory / "mix", 2, MiB)
    with disk(sh, "ramfs") as view:
        filesystem = DirFdFilesystem()
        root = filesystem.open_root(os.fspath(view))
        assert filesystem.space(root) == (None, None)
        fd = filesystem.create(root, "probe")
        filesystem.allocate(fd, 64 * MiB)
        assert os.fstat(fd).st_blocks == 0, "zeros were written in place of reserving"
        filesystem.close(fd)
        filesystem.unlink(root, "probe")
        filesystem.close_directory(root)
        sender, receiver = start(sh, sh.directory / "mix")
        assert (sender.wait(), receiver.wait()) == (0, 0), receiver.report()
        assert {path.name: path.read_bytes() for path in (view / "mix").iterdir()} == contents


def test_a_stream_stops_before_the_disk_is_full_and_leaves_nothing(sh: Shell) -> None:
    with disk(sh, "tmpfs", "size=24m") as view, open("/dev/zero", "rb") as zeros:
        sender = sh.start("send", "-", "--json", stdin=zeros)
        code = sender.wait_event("code")["code"]
        receiver = sh.start("recv", code, "--yes", "--json", "-o", sh.directory / "disk")
        assert receiver.wait() == 10, receiver.report()
        assert "left to other programs" in receiver.err[-1] or "no room" in receiver.err[-1]
        if receiver.events("progress"):  # it may be full before the first is due
            assert "so nothing is kept" in receiver.err[-1]
        assert sender.wait() == 8
        assert os.listdir(view) == []


def test_a_disk_that_others_fill_meanwhile_holds_the_transfer_up_until_there_is_room(sh: Shell) -> None:
    contents = make_tree(sh.directory / "mix", 5, 2 * MiB)
    with disk(sh, "tmpfs", "size=14m") as view:
        sender = sh.start("send", sh.directory / "mix", "--json", "--limit", "16Mbit")
        code = sender.wait_event("code")["code"]
        receiver = sh.start("recv", code, "--yes", "--json", "-o", sh.directory / "disk")
        deadline = time.monotonic() + 30
        while max((event["files_done"] for event in receiver.events("progress")), default=0) < 2:
            assert time.monotonic() < deadline, receiver.report()
            time.sleep(0.05)
        fill(view / "theirs")
        while not any("is full" in event["message"] for event in receiver.events("notice")):
            assert time.monotonic() < deadline, receiver.report()
            time.sleep(0.05)
        (view / "theirs").unlink()
        assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report()
        assert any("room again" in event["message"] for event in receiver.events("notice"))
        assert {path.name: path.read_bytes() for path in (view / "mix").iterdir()} == contents
        assert os.listdir(view) == ["mix"]
