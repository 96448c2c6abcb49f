from __future__ import annotations

import os
from pathlib import Path

import pytest

from tallow_cli.store.filesystem import DirFdFilesystem, Filesystem, PathFilesystem
from tallow_cli.store.source_tree import MAX_OPEN_DIRECTORIES, SourceDirectory, SourceTree
from tests.support.disk import open_descriptors


def identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


@pytest.fixture(params=[DirFdFilesystem, PathFilesystem], ids=lambda cls: cls.__name__)
def filesystem(request: pytest.FixtureRequest) -> Filesystem:
    made = request.param()
    assert isinstance(made, Filesystem)
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "top"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / "file").write_text("inside")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    return root


def below(root: Path, filesystem: Filesystem) -> tuple[SourceTree, SourceDirectory]:
    """A tree, and `sub` in it, both looked at."""
    tree = SourceTree(filesystem)
    top = tree.top(str(root), identity(root))
    return tree, SourceDirectory("sub", identity(root / "sub"), top)


def test_what_lies_in_a_directory_is_named_in_order_and_opened(root: Path, filesystem: Filesystem) -> None:
    tree, sub = below(root, filesystem)
    assert tree.names(sub) == ["deep", "file"]
    assert sub.path == str(root / "sub")
    assert tree.status(sub, "nothing") is None
    fd = tree.open_file(sub, "file", identity(root / "sub" / "file"))
    assert os.read(fd, 100) == b"inside"
    os.close(fd)
    tree.close()


def test_a_directory_that_became_a_link_is_not_followed(root: Path, filesystem: Filesystem) -> None:
    tree, sub = below(root, filesystem)
    (root / "sub").rename(root / "aside")
    (root / "sub").symlink_to("../secret")
    with pytest.raises(OSError, match=r"directory|symbolic links"):
        tree.names(sub)
    with pytest.raises(OSError, match=r"directory|symbolic links"):
        tree.open_file(sub, "file", identity(root / "aside" / "file"))
    tree.close()


def test_another_directory_in_its_place_is_not_entered(root: Path, filesystem: Filesystem) -> None:
    tree, sub = below(root, filesystem)
    (root / "sub").rename(root / "aside")
    (root.parent / "secret").rename(root / "sub")
    with pytest.raises(OSError, match="another directory"):
        tree.names(sub)
    with pytest.raises(OSError, match="another directory"):
        SourceTree(filesystem).top(str(root / "sub"), identity(root / "aside"))
    tree.close()


def test_another_file_in_its_place_is_not_opened(root: Path, filesystem: Filesystem) -> None:
    tree, sub = below(root, filesystem)
    looked_at = identity(root / "sub" / "file")
    (root / "sub" / "file").rename(root / "sub" / "aside")
    for replace in (
        lambda: (root.parent / "secret" / "file").rename(root / "sub" / "file"),
        lambda: (root / "sub" / "file").symlink_to("aside"),
        lambda: os.mkfifo(root / "sub" / "file"),
    ):
        replace()
        with pytest.raises(OSError, match=r"took its place|symbolic links"):
            tree.open_file(sub, "file", looked_at)
        (root / "sub" / "file").unlink()
    tree.close()


def test_a_bounded_number_of_directories_is_open_and_closing_closes_all(tmp_path: Path) -> None:
    tree = SourceTree()
    directory = tree.top(str(tmp_path), identity(tmp_path))
    path = tmp_path
    before = open_descriptors()
    for _ in range(MAX_OPEN_DIRECTORIES * 2):
        path /= "d"
        path.mkdir()
        directory = SourceDirectory("d", identity(path), directory)
    assert tree.names(directory) == []
    assert open_descriptors() - before <= MAX_OPEN_DIRECTORIES
    tree.close()
    assert open_descriptors() == before - 1
    assert tree.names(directory) == [], "what is needed is opened anew"
    tree.close()
