"""The file that leads a receiver to a sender on the same machine: nobody else's, never stale, never half written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tallow_cli.errors import NameplateTaken
from tallow_cli.meeting.local_discovery import LocalDirectories, NoPrivateDirectory

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks and owners")

# A sender that announces and is then killed or told to end.
SENDER = """
import sys
from pathlib import Path
from tallow_cli.meeting.local_discovery import LocalDirectories
with LocalDirectories((Path(sys.argv[1]),)).announced("4821", int(sys.argv[2])):
    print("announced", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def places(tmp_path: Path) -> LocalDirectories:
    return LocalDirectories((tmp_path / "first", tmp_path / "second"))


def another_sender(directory: Path, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SENDER, str(directory), str(port)]
    sender = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert sender.stdout is not None
    assert sender.stdout.readline() == "announced\n"
    return sender


def end(sender: subprocess.Popen[str], *, kill: bool) -> None:
    if kill:
        sender.kill()
    sender.communicate(timeout=10)


# Other users.


def test_a_directory_others_can_enter_is_not_used(places: LocalDirectories) -> None:
    first, second = places.paths
    first.mkdir(mode=0o700)
    first.chmod(0o755)
    with places.announced("4821", 1234) as path:
        assert path.parent == second
    (first / "4821.json").write_bytes(b'{"port":666}')
    assert places.port_of("4821") is None


def test_a_symlink_in_place_of_the_directory_is_not_followed(
    places: LocalDirectories, tmp_path: Path
) -> None:
    first, second = places.paths
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    first.symlink_to(elsewhere)
    with places.announced("4821", 1234) as path:
        assert path.parent == second
    assert list(elsewhere.iterdir()) == []


def test_somebody_elses_directory_is_not_used(
    places: LocalDirectories, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.paths[0].mkdir(mode=0o700)
    places.paths[1].mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(NoPrivateDirectory, match="belongs to another user"), places.announced("4821", 1234):
        pass
    assert places.port_of("4821") is None


def test_a_symlink_in_place_of_the_file_is_neither_read_nor_written_through(
    places: LocalDirectories, tmp_path: Path
) -> None:
    sentinel = tmp_path / "sentinel"
    sentinel.write_bytes(b'{"port":666}')
    first = places.paths[0]
    first.mkdir(mode=0o700)
    (first / "4821.json").symlink_to(sentinel)
    assert places.port_of("4821") is None
    with pytest.raises(OSError), places.announced("4821", 1234):
        pass
    assert sentinel.read_bytes() == b'{"port":666}'


def test_nothing_but_a_nameplate_becomes_a_file_name(places: LocalDirectories) -> None:
    for name in ("../4821", "4821/x", "", "acorn"):
        with pytest.raises(ValueError, match="not a nameplate"):
            places.port_of(name)


def test_the_directory_and_the_file_are_private(places: LocalDirectories) -> None:
    with places.announced("4821", 1234) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


# Life and death.


def test_an_announced_port_is_found_while_announced_and_not_after(places: LocalDirectories) -> None:
    assert places.port_of("4821") is None
    with places.announced("4821", 1234):
        assert places.port_of("4821") == 1234
        assert places.port_of("4822") is None
    assert places.port_of("4821") is None
    assert list(places.paths[0].iterdir()) == []


def test_a_killed_sender_is_not_found_and_its_file_is_removed_by_the_next(places: LocalDirectories) -> None:
    first = places.paths[0]
    sender = another_sender(first, 1111)
    assert places.port_of("4821") == 1111
    end(sender, kill=True)
    assert (first / "4821.json").exists()
    assert places.port_of("4821") is None
    with places.announced("5000", 2222):
        assert [path.name for path in first.iterdir()] == ["5000.json"]


def test_a_killed_senders_nameplate_can_be_announced_again(places: LocalDirectories) -> None:
    end(another_sender(places.paths[0], 1111), kill=True)
    with places.announced("4821", 2222):
        assert places.port_of("4821") == 2222


def test_a_live_senders_nameplate_cannot_be_taken(places: LocalDirectories) -> None:
    sender = another_sender(places.paths[0], 1111)
    with (
        pytest.raises(NameplateTaken, match="waits under the number 4821"),
        places.announced("4821", 2222),
    ):
        pass
    assert places.port_of("4821") == 1111
    end(sender, kill=False)
    assert list(places.paths[0].iterdir()) == []


def test_leftovers_and_old_drafts_are_swept_and_fresh_drafts_left_alone(places: LocalDirectories) -> None:
    first = places.paths[0]
    first.mkdir(mode=0o700)
    for name in (".1000.1.1", ".1001.1.1", "1002.json"):
        (first / name).touch()
    os.utime(first / ".1000.1.1", (0, 0))
    with places.announced("4821", 1234):
        assert sorted(path.name for path in first.iterdir()) == [".1001.1.1", "4821.json"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"port":0}', b'{"port":"80"}', b'{"port":70000}', b"[]", b"x" * 9_999]
)
def test_a_file_with_other_content_is_nobody(places: LocalDirectories, content: bytes) -> None:
    with places.announced("4821", 1234) as path:
        path.write_bytes(content)
        assert places.port_of("4821") is None


def test_a_later_versions_additions_are_ignored(places: LocalDirectories) -> None:
    with places.announced("4821", 1234) as path:
        path.write_bytes(b'{"port":1234,"since":"tomorrow"}')
        assert places.port_of("4821") == 1234


# Where to look.


def test_both_the_runtime_and_the_temporary_directory_are_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "run").mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    of_a_cron_job = LocalDirectories.of_this_user()
    assert of_a_cron_job.paths[0] == tmp_path / f"tallow-{os.getuid()}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    of_a_login = LocalDirectories.of_this_user()
    assert of_a_login.paths[:2] == (tmp_path / "run" / "tallow", tmp_path / f"tallow-{os.getuid()}")
    with of_a_cron_job.announced("4821", 1234):
        assert of_a_login.port_of("4821") == 1234


def test_a_runtime_directory_that_does_not_exist_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    with LocalDirectories.of_this_user().announced("4821", 1234) as path:
        assert path.parent == tmp_path / f"tallow-{os.getuid()}"


def test_where_another_user_has_taken_the_name_the_home_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squatted = tmp_path / "tmp" / f"tallow-{os.getuid()}"
    squatted.mkdir(parents=True, mode=0o777)
    squatted.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with LocalDirectories.of_this_user().announced("4821", 1234) as path:
        assert path.is_relative_to(tmp_path / ".tallow-waiting")
        assert LocalDirectories.of_this_user().port_of("4821") == 1234
