"""What happens where a name is taken: never replaced unless the user said so."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.errors import TargetChanged, TargetExists, TargetUnwritable
from tallow_cli.offer.manifest import Manifest
from tallow_cli.store.directory_sink import DirectorySink, FileSink
from tallow_cli.store.filesystem import DirFdFilesystem, Filesystem, PathFilesystem
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.sink import Conflict, OnConflict, Sink
from tests.support.disk import (
    NoHardLinks,
    TraceFilesystem,
    directory_entry,
    file_entry,
    files,
    link_entry,
    temporaries,
    tree,
)

FILESYSTEMS: list[type[Filesystem]] = [DirFdFilesystem, PathFilesystem, NoHardLinks]


@pytest.fixture(params=FILESYSTEMS, ids=lambda cls: cls.__name__)
def filesystem(request: pytest.FixtureRequest) -> Filesystem:
    made = request.param()
    assert isinstance(made, Filesystem)
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    target = tmp_path / "target"
    target.mkdir()
    return target


def receive(sink: Sink, manifest: Manifest, data: bytes) -> list[str | None]:
    sink.open(manifest)
    sink.write(0, data)
    for span in manifest.file_spans:
        sink.finish(span.index, blake3(data[span.start : span.end]).digest())
    published = sink.complete()
    sink.close()
    return [item.saved_as for item in published]


ONE = files(file_entry("a.txt", 3))
TREE = files(
    directory_entry("site"), file_entry("site/x", 1), directory_entry("site/d"), file_entry("site/d/y", 2)
)


# Refuse


@pytest.mark.parametrize("existing", ["file", "empty directory", "link", "dangling link", "pipe"])
def test_by_default_whatever_has_the_name_stays_and_is_told_before_the_transfer(
    tmp_path: Path, target: Path, existing: str, filesystem: Filesystem
) -> None:
    taken = target / "a.txt"
    match existing:
        case "file":
            taken.write_bytes(b"old")
        case "empty directory":
            taken.mkdir()
        case "link":
            (tmp_path / "elsewhere").write_bytes(b"old")
            taken.symlink_to(tmp_path / "elsewhere")
        case "dangling link":
            taken.symlink_to(tmp_path / "nowhere")
        case "pipe":
            os.mkfifo(taken)
    kind = {"empty directory": "directory", "dangling link": "symlink", "link": "symlink", "pipe": "special"}
    sink = DirectorySink(target, filesystem=filesystem)
    assert sink.conflicts(ONE) == [Conflict("a.txt", kind.get(existing, "file"))]
    before = os.lstat(taken)
    with pytest.raises(TargetExists, match=r"a\.txt exists"):
        sink.open(ONE)
    sink.close()
    assert os.lstat(taken).st_ino == before.st_ino
    assert os.listdir(target) == ["a.txt"]
    assert not (tmp_path / "nowhere").exists()


def test_an_existing_directory_is_a_conflict_as_a_whole_even_if_no_file_in_it_is(target: Path) -> None:
    (target / ".ssh").mkdir()
    sink = DirectorySink(target)
    manifest = files(file_entry(".ssh/authorized_keys", 1))
    assert sink.conflicts(manifest) == [Conflict(".ssh", "directory")]
    with pytest.raises(TargetExists, match=r"\.ssh exists"):
        sink.open(manifest)
    sink.close()
    assert tree(target) == {".ssh": None}


def test_a_name_taken_during_the_transfer_is_not_replaced(target: Path, filesystem: Filesystem) -> None:
    sink = DirectorySink(target, filesystem=filesystem)
    sink.open(ONE)
    sink.write(0, b"new")
    (target / "a.txt").write_bytes(b"theirs")
    sink.finish(0, blake3(b"new").digest())
    with pytest.raises(TargetExists):
        sink.complete()
    (kept,) = sink.abort()
    sink.close()
    assert kept.saved_as == os.fspath(target / "a (1).txt")
    assert tree(target) == {"a.txt": b"theirs", "a (1).txt": b"new"}, "it arrived, so it is kept"


def test_a_name_taken_between_looking_and_publishing_is_not_replaced(target: Path) -> None:
    def take(operation: str) -> None:
        if operation == "rename_exclusively":
            (target / "a.txt").write_bytes(b"theirs")

    sink = DirectorySink(target, filesystem=TraceFilesystem(take))
    with pytest.raises(TargetExists):
        receive(sink, ONE, b"new")
    sink.close()
    assert tree(target) == {"a.txt": b"theirs", "a (1).txt": b"new"}


def test_without_hard_links_a_name_taken_in_between_is_not_replaced_either(target: Path) -> None:
    class Racing(NoHardLinks):
        def link(self, directory: object, name: str, new_name: str) -> None:
            (target / "a.txt").write_bytes(b"theirs")
            raise OSError(1, "no links")

    sink = DirectorySink(target, filesystem=Racing())
    with pytest.raises(TargetExists):
        receive(sink, ONE, b"new")
    sink.close()
    assert tree(target) == {"a.txt": b"theirs", "a (1).txt": b"new"}


def test_a_link_whose_name_was_taken_during_the_transfer_replaces_nothing(target: Path) -> None:
    def take(operation: str) -> None:
        if operation == "symlink":
            (target / "d" / "l").write_bytes(b"theirs")

    manifest = files(directory_entry("d"), link_entry("d/l", "x"), file_entry("d/x", 1))
    sink = DirectorySink(target, resume=False, filesystem=TraceFilesystem(take))
    with pytest.raises(TargetExists, match="d/l exists"):
        receive(sink, manifest, b"1")
    sink.close()
    assert tree(target) == {"d": None, "d/l": b"theirs", "d/x": b"1"}


# Rename


def test_a_taken_file_name_gets_a_number_before_its_extension(target: Path, filesystem: Filesystem) -> None:
    (target / "a.txt").write_bytes(b"old")
    (target / "a (1).txt").write_bytes(b"older")
    sink = DirectorySink(target, OnConflict.RENAME, filesystem=filesystem)
    assert sink.conflicts(ONE) == [Conflict("a.txt", "file", "a (2).txt")]
    assert receive(sink, ONE, b"new") == [os.fspath(target / "a (2).txt")]
    assert tree(target) == {"a.txt": b"old", "a (1).txt": b"older", "a (2).txt": b"new"}


def test_a_taken_directory_is_renamed_as_a_whole(target: Path, filesystem: Filesystem) -> None:
    (target / "site").mkdir()
    (target / "site" / "x").write_bytes(b"old")
    receive(DirectorySink(target, OnConflict.RENAME, filesystem=filesystem), TREE, b"xyy")
    assert tree(target) == {
        "site": None, "site/x": b"old",
        "site (1)": None, "site (1)/x": b"x", "site (1)/d": None, "site (1)/d/y": b"yy",
    }  # fmt: skip


def test_a_new_name_is_not_one_that_the_offer_uses_itself(target: Path) -> None:
    (target / "a.txt").write_bytes(b"old")
    manifest = files(file_entry("A (1).txt", 1), file_entry("a.txt", 1))
    receive(DirectorySink(target, OnConflict.RENAME), manifest, b"12")
    assert tree(target) == {"a.txt": b"old", "A (1).txt": b"1", "a (2).txt": b"2"}


def test_a_name_taken_during_the_transfer_is_evaded_at_publication(
    target: Path, filesystem: Filesystem
) -> None:
    sink = DirectorySink(target, OnConflict.RENAME, filesystem=filesystem)
    sink.open(ONE)
    (target / "a.txt").write_bytes(b"theirs")
    sink.write(0, b"new")
    sink.finish(0, blake3(b"new").digest())
    (published,) = sink.complete()
    sink.close()
    assert published.saved_as == os.fspath(target / "a (1).txt")
    assert tree(target) == {"a.txt": b"theirs", "a (1).txt": b"new"}


def test_evading_ends_when_every_name_is_taken_at_once(target: Path) -> None:
    class Taken(DirFdFilesystem):
        def rename_exclusively(self, directory: object, name: str, new_name: str) -> bool:
            raise FileExistsError(17, "taken")

    sink = DirectorySink(target, OnConflict.RENAME, filesystem=Taken(), limits=ReceiveLimits(publish_tries=3))
    with pytest.raises(TargetExists):
        receive(sink, ONE, b"new")
    sink.close()
    assert tree(target) == {}


# Overwrite


def test_overwriting_replaces_a_file_only_once_the_new_one_is_verified(
    target: Path, filesystem: Filesystem
) -> None:
    (target / "a.txt").write_bytes(b"old")
    sink = DirectorySink(target, OnConflict.OVERWRITE, filesystem=filesystem)
    assert sink.conflicts(ONE) == [Conflict("a.txt", "file")]
    sink.open(ONE)
    sink.write(0, b"new")
    assert (target / "a.txt").read_bytes() == b"old"
    sink.finish(0, blake3(b"new").digest())
    assert (target / "a.txt").read_bytes() == b"old"
    sink.complete()
    sink.close()
    assert tree(target) == {"a.txt": b"new"}


def test_overwriting_a_link_replaces_the_link_and_not_what_it_points_to(
    tmp_path: Path, target: Path, filesystem: Filesystem
) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (target / "a.txt").symlink_to(tmp_path / "precious")
    receive(DirectorySink(target, OnConflict.OVERWRITE, filesystem=filesystem), ONE, b"new")
    assert not (target / "a.txt").is_symlink()
    assert tree(target) == {"a.txt": b"new"}
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_overwriting_merges_directories_and_says_which_files_go(target: Path, filesystem: Filesystem) -> None:
    (target / "site" / "d").mkdir(parents=True, mode=0o711)
    (target / "site" / "x").write_bytes(b"old")
    (target / "site" / "kept").write_bytes(b"kept")
    mode = (target / "site").stat().st_mode
    sink = DirectorySink(target, OnConflict.OVERWRITE, filesystem=filesystem)
    assert sink.conflicts(TREE) == [Conflict("site", "directory"), Conflict("site/x", "file")]
    receive(sink, TREE, b"xyy")
    assert tree(target) == {
        "site": None,
        "site/x": b"x",
        "site/kept": b"kept",
        "site/d": None,
        "site/d/y": b"yy",
    }
    assert (target / "site").stat().st_mode == mode  # it is not ours to change
    assert temporaries(target) == []


def test_overwriting_replaces_files_by_links_and_links_by_links(target: Path, filesystem: Filesystem) -> None:
    (target / "d").mkdir()
    (target / "d" / "l").write_bytes(b"old")
    (target / "d" / "m").symlink_to("old")
    manifest = files(
        directory_entry("d"), link_entry("d/l", "x"), link_entry("d/m", "x"), file_entry("d/x", 1)
    )
    receive(DirectorySink(target, OnConflict.OVERWRITE, filesystem=filesystem), manifest, b"1")
    assert tree(target) == {"d": None, "d/l": "x", "d/m": "x", "d/x": b"1"}


def test_a_link_that_cannot_replace_what_came_meanwhile_leaves_no_temporary(target: Path) -> None:
    def take(operation: str) -> None:
        if operation == "symlink":
            (target / "d" / "l").mkdir()

    manifest = files(directory_entry("d"), link_entry("d/l", "x"), file_entry("d/x", 1))
    sink = DirectorySink(target, OnConflict.OVERWRITE, resume=False, filesystem=TraceFilesystem(take))
    with pytest.raises(TargetExists, match="d/l"):
        receive(sink, manifest, b"1")
    sink.close()
    assert tree(target) == {"d": None, "d/l": None, "d/x": b"1"}


def overwriting(target: Path, manifest: Manifest, filesystem: Filesystem | None = None) -> DirectorySink:
    """A sink that has asked and was told to overwrite."""
    sink = DirectorySink(target, OnConflict.OVERWRITE, filesystem=filesystem)
    sink.conflicts(manifest)
    return sink


NEWER = 1_800_000_000_000_000_000


def make_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def save_anew(path: Path) -> None:
    (path.parent / "new").write_bytes(b"saved")
    (path.parent / "new").replace(path)


def save_in_place(path: Path) -> None:
    path.write_bytes(b"saved")
    os.utime(path, ns=(NEWER, NEWER))


@pytest.mark.parametrize("was_there", [True, False])
@pytest.mark.parametrize("change", [make_pipe, save_anew, save_in_place, Path.mkdir])
@pytest.mark.parametrize("when", ["between question and transfer", "during the transfer"])
def test_overwriting_replaces_nothing_but_what_the_question_was_about(
    target: Path, filesystem: Filesystem, was_there: bool, change: Callable[[Path], None], when: str
) -> None:
    if change is Path.mkdir and was_there:
        return
    taken = target / "a.txt"
    if was_there:
        taken.write_bytes(b"old")
    sink = overwriting(target, ONE, filesystem)
    if when == "between question and transfer":
        change(taken)
        before = os.lstat(taken)
        with pytest.raises((TargetChanged, TargetExists, TargetUnwritable)):
            sink.open(ONE)
        sink.close()
        assert list(tree(target)) == ["a.txt"]
    else:
        sink.open(ONE)
        sink.write(0, b"new")
        change(taken)
        before = os.lstat(taken)
        sink.finish(0, blake3(b"new").digest())
        with pytest.raises((TargetChanged, TargetExists), match=r"a\.txt"):
            sink.complete()
        sink.close()
        assert (target / "a (1).txt").read_bytes() == b"new", "it arrived, so it is kept"
    after = os.lstat(taken)
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)


def test_a_link_that_changed_since_the_question_is_not_replaced(target: Path, filesystem: Filesystem) -> None:
    (target / "d").mkdir()
    (target / "d" / "l").symlink_to("old")
    manifest = files(directory_entry("d"), link_entry("d/l", "x"), file_entry("d/x", 1))
    sink = overwriting(target, manifest, filesystem)
    sink.open(manifest)
    sink.write(0, b"1")
    sink.finish(0, blake3(b"1").digest())
    (target / "d" / "l").unlink()
    (target / "d" / "l").symlink_to("somewhere else")
    with pytest.raises(TargetChanged, match="d/l"):
        sink.complete()
    sink.abort()
    sink.close()
    assert tree(target) == {"d": None, "d/l": "somewhere else", "d/x": b"1"}


@pytest.mark.parametrize(
    ("existing", "offered"),
    [
        ("directory", file_entry("n", 1)),
        ("pipe", file_entry("n", 1)),
        ("file", directory_entry("n")),
        ("link", directory_entry("n")),
        ("file", file_entry("n/below", 1)),
        ("link", file_entry("n/below", 1)),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_overwriting_never_crosses_kinds_and_says_so_before_the_transfer(
    tmp_path: Path, target: Path, existing: str, offered: object, nested: bool, filesystem: Filesystem
) -> None:
    place = target / "deep" if nested else target
    place.mkdir(exist_ok=True)
    (tmp_path / "outside").mkdir()
    match existing:
        case "directory":
            (place / "n").mkdir()
            (place / "n" / "kept").write_bytes(b"kept")
        case "pipe":
            os.mkfifo(place / "n")
        case "file":
            (place / "n").write_bytes(b"kept")
        case "link":
            (place / "n").symlink_to(tmp_path / "outside")
    entry = offered
    assert hasattr(entry, "path")
    path = f"deep/{entry.path}" if nested else entry.path
    manifest = files(file_entry(path, 1) if entry.size else directory_entry(path))
    sink = DirectorySink(target, OnConflict.OVERWRITE, filesystem=filesystem)
    before = os.lstat(place / "n")
    with pytest.raises(TargetUnwritable):
        sink.open(manifest)
    sink.close()
    assert os.lstat(place / "n") == before
    assert os.listdir(tmp_path / "outside") == []
    assert temporaries(target) == []


def test_the_policy_may_be_chosen_after_the_conflicts_are_known(target: Path) -> None:
    (target / "a.txt").write_bytes(b"old")
    sink = DirectorySink(target)
    assert sink.conflicts(ONE)
    sink.on_conflict = OnConflict.RENAME
    receive(sink, ONE, b"new")
    assert tree(target) == {"a.txt": b"old", "a (1).txt": b"new"}


def test_looking_for_conflicts_changes_nothing(target: Path) -> None:
    (target / "site").mkdir()
    for policy in OnConflict:
        sink = DirectorySink(target, policy)
        sink.conflicts(TREE)
        sink.conflicts(ONE)
        sink.close()
    assert tree(target) == {"site": None}


# One named file


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (OnConflict.RENAME, {"mine.txt": b"old", "mine (1).txt": b"new"}),
        (OnConflict.OVERWRITE, {"mine.txt": b"new"}),
    ],
)
def test_a_named_file_follows_the_same_policies(
    target: Path, policy: OnConflict, left: dict[str, bytes], filesystem: Filesystem
) -> None:
    (target / "mine.txt").write_bytes(b"old")
    with pytest.raises(TargetExists):
        receive(FileSink(target / "mine.txt", filesystem=filesystem), ONE, b"new")
    sink = FileSink(target / "mine.txt", policy, filesystem=filesystem)
    assert [conflict.path for conflict in sink.conflicts(ONE)] == ["mine.txt"]
    receive(sink, ONE, b"new")
    assert tree(target) == left


def test_a_device_is_never_replaced(target: Path) -> None:
    os.mkfifo(target / "null")
    with pytest.raises(TargetUnwritable, match="special"):
        FileSink(target / "null", OnConflict.OVERWRITE).open(ONE)
