"""A hostile sender, and a hostile neighbour on the receiving machine: nothing outside the root changes,
ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from tallow_cli.errors import LocalFileError, PeerProtocolError, TallowError
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest, decode_manifest_untrusted
from tallow_cli.offer.name_rules import WINDOWS
from tallow_cli.store.directory_sink import DirectorySink, FileSink
from tallow_cli.store.filesystem import DirFdFilesystem, Filesystem, PathFilesystem
from tallow_cli.store.sink import OnConflict, Sink
from tests.support.disk import TraceFilesystem, directory_entry, file_entry, files, link_entry, tree

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "names" / "refused.json").read_text())
ACCEPTED = json.loads((Path(__file__).parent.parent / "vectors" / "names" / "accepted.json").read_text())
RACE_S = 1.5
DATA = b"from the peer"
# In a process of its own, so that no interpreter lock makes it wait for us.
RACER = """
import os, select, sys
root, outside = sys.argv[1:]
turns, swaps, victim = 0, 0, root + "/d"
while not select.select([sys.stdin], [], [], 0)[0]:
    aside = root + "/aside" + str(turns)
    try:
        os.rename(victim, aside)
    except OSError:
        continue  # not there, or not yet
    turns += 1
    try:
        os.symlink(outside, victim)
        swaps += 1
        for _ in range(swaps % 8 * 300):  # up to 60 us
            pass
        os.unlink(victim)
        os.rename(aside, victim)
    except OSError:
        pass  # the sink or the next round was faster
print(swaps)
"""


class Neighbourhood:
    """A root, and beside it what must not change."""

    def __init__(self, base: Path) -> None:
        self.root = base / "root"
        self.outside = base / "outside"
        self.root.mkdir()
        (self.outside / ".ssh").mkdir(parents=True)
        (self.outside / ".ssh" / "authorized_keys").write_bytes(b"ssh-ed25519 mine")
        (self.outside / "sentinel").write_bytes(b"sentinel")
        (base / "root-evil").mkdir()  # a prefix check without a separator would take it for the root
        self._before = self._look()
        self.base = base

    def _look(self) -> dict[str, object]:
        found: dict[str, object] = dict(tree(self.outside))
        for path in [self.outside, *self.outside.rglob("*")]:
            status = path.lstat()
            found[f"{path}:status"] = (status.st_mode, status.st_mtime_ns, status.st_size, status.st_nlink)
        found["evil"] = os.listdir(self.outside.parent / "root-evil")
        return found

    def check(self) -> None:
        assert self._look() == self._before
        assert sorted(os.listdir(self.base)) == ["outside", "root", "root-evil"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Neighbourhood]:
    made = Neighbourhood(tmp_path)
    yield made
    made.check()


def deliver(sink: Sink, manifest: Manifest) -> None:
    """A whole transfer with right digests; the sizes in the manifest are those of DATA or 0."""
    with contextlib.closing(sink):
        sink.open(manifest)
        for span in manifest.file_spans:
            if span.size:
                sink.write(span.start, DATA)
        for span in manifest.file_spans:
            sink.finish(span.index, blake3(DATA if span.size else b"").digest())
        sink.complete()


def hostile(case: dict[str, list[str]]) -> Manifest:
    count = len(case["paths"])
    entries = []
    for path, kind, target in zip(
        case["paths"], case.get("kinds", ["file"] * count), case.get("targets", [None] * count), strict=True
    ):
        size = len(DATA) if kind == "file" else 0
        entries.append(Entry(path, EntryKind(kind), size, 0o7777 if kind == "file" else 0o755, 0, target))
    return files(*entries)


# A hostile sender


@pytest.mark.parametrize("policy", OnConflict)
@pytest.mark.parametrize("filesystem", [DirFdFilesystem, PathFilesystem])
def test_no_hostile_name_creates_anything(
    place: Neighbourhood, policy: OnConflict, filesystem: type[Filesystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.root)
    for manifest in [hostile(case) for case in VECTORS["cases"] if "at" in case]:
        with pytest.raises(PeerProtocolError):
            decode_manifest_untrusted(msgspec.msgpack.encode(manifest), WINDOWS)
    cases = [hostile(case) for case in VECTORS["cases"] if "at" not in case]
    assert len(cases) >= 40
    for manifest in cases:
        with pytest.raises(PeerProtocolError):
            decode_manifest_untrusted(msgspec.msgpack.encode(manifest))
        for root in (place.root, "."):
            with pytest.raises(PeerProtocolError):  # even if somebody forgot to decode with the check
                deliver(DirectorySink(root, policy, filesystem=filesystem()), manifest)
            with pytest.raises(PeerProtocolError):
                DirectorySink(root, policy, filesystem=filesystem()).conflicts(manifest)
    assert tree(place.root) == {}


@pytest.mark.parametrize("policy", OnConflict)
def test_no_hostile_name_matters_where_the_user_named_the_file(
    place: Neighbourhood, policy: OnConflict
) -> None:
    for number, case in enumerate(VECTORS["cases"]):
        manifest = hostile(case)
        with contextlib.suppress(TallowError):
            deliver(FileSink(place.root / f"mine{number}", policy), manifest)
    assert all(name.startswith("mine") for name in os.listdir(place.root))


def test_every_accepted_name_lands_inside_the_root(place: Neighbourhood) -> None:
    for number, path in enumerate(ACCEPTED["paths"] + ACCEPTED["posix_only"]):
        root = place.root / str(number)
        root.mkdir()
        deliver(DirectorySink(root), files(file_entry(path, len(DATA))))
        landed = [found for found, contents in tree(root).items() if contents is not None]
        assert landed == [path]


def test_keys_and_startup_files_land_only_inside_the_root(place: Neighbourhood) -> None:
    wanted = [".ssh/authorized_keys", ".config/autostart/x.desktop", ".bashrc", ".git/hooks/post-checkout"]
    deliver(DirectorySink(place.root), files(*(file_entry(path, len(DATA)) for path in wanted)))
    assert {path for path, contents in tree(place.root).items() if contents is not None} == set(wanted)


def test_an_offer_cannot_write_through_its_own_link(place: Neighbourhood) -> None:
    """Whatever the order: a link is no directory, and links are made after all files."""
    for entries in (
        [directory_entry("d"), link_entry("d/l", "e"), file_entry("d/l/x", len(DATA))],
        [directory_entry("d"), file_entry("d/l/x", len(DATA)), link_entry("d/l", "e")],
        [link_entry("l", "../outside"), file_entry("l/sentinel", len(DATA))],
    ):
        with pytest.raises(PeerProtocolError):
            deliver(DirectorySink(place.root, OnConflict.OVERWRITE), files(*entries))
    assert tree(place.root) == {}


def test_links_of_two_transfers_do_not_add_up_to_a_way_out(place: Neighbourhood) -> None:
    """rsync CVE-2024-12087: first a link, then a file through it, with overwriting on."""
    first = files(directory_entry("d"), directory_entry("d/e"), link_entry("d/l", "e"))
    deliver(DirectorySink(place.root), first)
    second = files(directory_entry("d"), file_entry("d/l/x", len(DATA)))
    with pytest.raises(LocalFileError):
        deliver(DirectorySink(place.root, OnConflict.OVERWRITE), second)
    assert tree(place.root) == {"d": None, "d/e": None, "d/l": "e"}


def test_every_link_that_is_made_resolves_inside_the_sent_directory(place: Neighbourhood) -> None:
    rng = random.Random(11)
    names = ["a", "b", "..", ".", "a/b", "../a", "../..", "b/..", "../../outside/sentinel", "/etc"]
    made = 0
    for number in range(300):
        top = f"t{number}"
        entries = [directory_entry(top), directory_entry(f"{top}/a"), directory_entry(f"{top}/a/b")]
        for link in (f"{top}/l", f"{top}/a/m", f"{top}/a/b/n"):
            target = "/".join(rng.choice(names) for _ in range(rng.randint(1, 3)))
            entries.append(link_entry(link, rng.choice([target, "l", "../l", "a/m", "../../l", "../m"])))
        try:
            deliver(DirectorySink(place.root), files(*entries))
        except PeerProtocolError:
            continue
        made += 1
        for path in (place.root / top).rglob("*"):
            with contextlib.suppress(RuntimeError, OSError):  # a loop leads nowhere
                assert path.resolve().is_relative_to((place.root / top).resolve()), path
    assert made > 20


# A hostile neighbour


def test_a_parent_that_is_a_link_already_is_not_followed(place: Neighbourhood) -> None:
    """croc PR 1191."""
    (place.root / "d").symlink_to(place.outside)
    (place.root / "real").mkdir()
    (place.root / "real" / "sub").symlink_to(place.outside / ".ssh")
    for policy in OnConflict:
        for path in ("d/sentinel", "d/new", "real/sub/authorized_keys", "d/.ssh/authorized_keys"):
            with contextlib.suppress(LocalFileError):
                deliver(DirectorySink(place.root, policy), files(file_entry(path, len(DATA))))
    place.check()


@pytest.mark.parametrize("policy", [OnConflict.REFUSE, OnConflict.OVERWRITE])
def test_a_neighbour_who_swaps_directories_for_links_while_we_write_gains_nothing(
    place: Neighbourhood, policy: OnConflict
) -> None:
    """Thousands of swaps of every directory on the way, during opening, writing, publishing, linking,
    aborting.
    """
    manifest = files(
        directory_entry("d"),
        file_entry("d/sentinel", len(DATA)),
        directory_entry("d/.ssh"),
        file_entry("d/.ssh/authorized_keys", len(DATA)),
        file_entry("d/new", len(DATA)),
        link_entry("d/link", "sentinel"),
    )
    command = [sys.executable, "-S", "-c", RACER, place.root, place.outside]
    rounds = 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as racer:
        deadline = time.monotonic() + RACE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(LocalFileError):
                deliver(DirectorySink(place.root, policy), manifest)
            rounds += 1
            _clear(place.root)
        swaps, _ = racer.communicate("stop")
    assert int(swaps) > 100, "the race was not run"
    assert rounds > 10, "the race was not run"


def _clear(root: Path) -> None:
    """Make room for the next round, against the racer's best efforts, without following links."""
    for name in os.listdir(root):
        with contextlib.suppress(OSError):
            fd = os.open(root / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            for below in (".ssh/authorized_keys", *os.listdir(fd)):
                with contextlib.suppress(OSError):
                    os.unlink(below, dir_fd=fd)
            with contextlib.suppress(OSError):
                os.rmdir(".ssh", dir_fd=fd)
            os.close(fd)
            os.rmdir(root / name)


@pytest.mark.parametrize("moment", ["create", "write", "set_file_attributes", "sync_file", "link", "unlink"])
@pytest.mark.parametrize("filesystem", [DirFdFilesystem, PathFilesystem])
def test_a_swap_at_the_worst_moment_gains_nothing(
    place: Neighbourhood, moment: str, filesystem: type[Filesystem]
) -> None:
    """The race, decided: the swap comes exactly ahead of one operation. (PathFilesystem looks again each
    time.)
    """

    def swap(operation: str) -> None:
        if operation == moment and not (place.root / "d").is_symlink():
            os.rename(place.root / "d", place.root / "aside")
            os.symlink(place.outside, place.root / "d")

    class Swapping(TraceFilesystem):
        pass

    if filesystem is PathFilesystem:
        Swapping.where = PathFilesystem.where  # type: ignore[method-assign]
        Swapping.open_root = PathFilesystem.open_root  # type: ignore[method-assign]
        Swapping.open_directory = PathFilesystem.open_directory  # type: ignore[method-assign]
        Swapping._checked_path = PathFilesystem._checked_path  # type: ignore[method-assign]
    manifest = files(directory_entry("d"), file_entry("d/sentinel", len(DATA)))
    with contextlib.suppress(LocalFileError):
        deliver(DirectorySink(place.root, filesystem=Swapping(swap)), manifest)


def test_a_temporary_that_lies_in_wait_is_never_opened(
    place: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a name could be guessed, a link under it would still not be followed."""
    from tallow_cli.store import partial

    monkeypatch.setattr(partial, "temporary_name", lambda token: ".tallow-guessed.part")
    (place.root / ".tallow-guessed.part").symlink_to(place.outside / "sentinel")
    with pytest.raises(LocalFileError):
        deliver(DirectorySink(place.root), files(file_entry("a", len(DATA))))


def test_cleaning_up_removes_only_what_we_made(place: Neighbourhood) -> None:
    """croc c0d51f09: names of the offer that look like ours are not ours."""
    lookalike = ".tallow-0123456789abcdef.part"
    (place.root / lookalike).write_bytes(b"the user's")
    sink = DirectorySink(place.root)
    sink.open(files(file_entry("a", 100), file_entry(".tallow-fedcba9876543210.part", len(DATA))))
    sink.write(0, b"x")
    sink.close()
    assert tree(place.root) == {lookalike: b"the user's"}
