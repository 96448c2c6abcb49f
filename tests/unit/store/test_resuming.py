"""A receive goes on with what an earlier one of the same things has left."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from tallow_cli.errors import DigestMismatch, TargetExists
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest, pack_holes
from tallow_cli.ranges import RangeSet
from tallow_cli.store.directory_sink import DirectorySink, FileSink
from tallow_cli.store.leftovers import RESUMABLE_FOR_S
from tallow_cli.store.sink import AtHand, Holding, OnConflict, Published, Suspended
from tests.support.disk import directory_entry, file_entry, files, link_entry, temporaries, tree

MIB = 1024 * 1024
SEGMENT = 4 * MIB
BIG = random.Random(8).randbytes(3 * SEGMENT + 12_345)


def resuming(
    path: Path,
    policy: OnConflict = OnConflict.REFUSE,
    *,
    wall_clock: Callable[[], float] = time.time,
) -> DirectorySink:
    return DirectorySink(path, policy, resume=True, wall_clock=wall_clock)


def die(sink: DirectorySink) -> None:
    """As by kill -9: descriptors close, and nothing else happens."""
    if sink._partials is not None:
        sink._partials.close_all()
    if sink._journal is not None:
        sink._journal._close()
    if sink._lock is not None and sink._lock._fd >= 0:
        os.close(sink._lock._fd)
        sink._lock._fd = -1
    if sink._earlier is not None:
        sink._earlier.release()
    assert sink._root is not None
    sink._root.close()
    sink._root = None


def pieces(manifest: Manifest, claims: RangeSet) -> list[tuple[int, int]]:
    """As both ends cut them."""
    found = []
    for start, end in claims:
        for span, offset, size in manifest.slices(start, end - start):
            position = offset
            while position < offset + size:
                stop = min(offset + size, (position // SEGMENT + 1) * SEGMENT)
                found.append((span.start + position, span.start + stop))
                position = stop
    return found


def prove_all(sink: DirectorySink, manifest: Manifest, stream: bytes, claims: RangeSet) -> RangeSet:
    """Prove what is claimed; what turned out to be there."""
    proven = RangeSet()
    for start, end in pieces(manifest, claims):
        if sink.prove(start, end) == blake3(stream[start:end]).digest():
            sink.proved(start, end)
            proven.add(start, end)
        else:
            sink.refuted(start, end)
    return proven


def go_on(
    sink: DirectorySink, manifest: Manifest, contents: dict[str, bytes]
) -> tuple[RangeSet, list[Published]]:
    """Receive all that is missing; what was not sent again."""
    stream = b"".join(contents[span.entry.path] for span in manifest.file_spans)
    holding = sink.open(manifest)
    there = prove_all(sink, manifest, stream, holding.claims)
    for first, last in holding.kept:
        for index in range(first, last):
            there.add(manifest.file_spans[index].start, manifest.file_spans[index].end)
    for start, end in there.gaps(0, len(stream)):
        for at in range(start, end, 65_536):
            sink.write(at, stream[at : min(at + 65_536, end)])
    published: list[Published] = []
    for span in manifest.file_spans:
        if span.index not in holding.kept:
            published += sink.finish(span.index, blake3(contents[span.entry.path]).digest())
    published += sink.complete()
    sink.close()
    return there, published


ONE = files(file_entry("big", len(BIG)))
SITE = {"site/a": b"a" * 100_000, "site/b": b"b" * 7, "site/deep/big": BIG, "site/empty": b""}
TREE = files(
    directory_entry("site", 0o750),
    directory_entry("site/deep"),
    *(file_entry(path, len(data)) for path, data in SITE.items()),
    link_entry("site/link", "a"),
)


def received(target: Path) -> dict[str, bytes | str | None]:
    return {path: what for path, what in tree(target).items() if what is not None}


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_large_file_is_gone_on_with(tmp_path: Path, is_killed: bool) -> None:
    sink = resuming(tmp_path)
    assert sink.open(ONE) == Holding()
    sink.write(0, BIG[: 2 * MIB])
    sink.write(5 * MIB, BIG[5 * MIB : 9 * MIB])
    if is_killed:
        die(sink)
    else:
        shown = os.fspath(tmp_path)
        assert sink.suspend() == Suspended((), 1, 6 * MIB, shown)
        assert sink.suspend() == Suspended()
        sink.close()
    assert len(temporaries(tmp_path)) == 1
    again = resuming(tmp_path)
    assert again.conflicts(ONE) == []
    assert again.notices == ()
    there, published = go_on(again, ONE, {"big": BIG})
    assert there == RangeSet([(0, 2 * MIB), (5 * MIB, 9 * MIB)])
    assert received(tmp_path) == {"big": BIG}
    assert [file.path for file in published] == ["big"]


def test_it_can_be_killed_again_and_again(tmp_path: Path) -> None:
    for times in range(1, 6):
        sink = resuming(tmp_path)
        holding = sink.open(ONE)
        assert holding.claims == RangeSet([(0, 2 * (times - 1) * MIB)])
        prove_all(sink, ONE, BIG, holding.claims)
        end = 2 * times * MIB
        sink.write(end - 2 * MIB, BIG[end - 2 * MIB : end])
        die(sink)
    there, _ = go_on(resuming(tmp_path), ONE, {"big": BIG})
    assert there.total == 10 * MIB
    assert received(tmp_path) == {"big": BIG}


@pytest.mark.parametrize("policy", OnConflict)
def test_a_tree_is_gone_on_with_and_nothing_in_it_is_a_conflict(tmp_path: Path, policy: OnConflict) -> None:
    sink = resuming(tmp_path, policy)
    sink.open(TREE)
    stream = b"".join(SITE.values())
    sink.write(0, stream[: 5 * MIB])
    sink.finish(0, blake3(SITE["site/a"]).digest())
    sink.finish(1, blake3(SITE["site/b"]).digest())
    sink._opened_publisher().publish()
    die(sink)
    assert {path for path in received(tmp_path) if ".tallow" not in path} == {"site/a", "site/b"}
    again = resuming(tmp_path, policy)
    assert again.conflicts(TREE) == []
    there, published = go_on(again, TREE, SITE)
    assert there.total >= 4 * MIB + 100_007
    assert received(tmp_path) == {**SITE, "site/link": "a"}
    assert {file.path for file in published} == (
        set(SITE) - {"site/a", "site/b"} if policy is OnConflict.SKIP else set(SITE)
    )
    assert stat_mode(tmp_path / "site") == 0o750


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_bad_segments_alone_are_sent_again(tmp_path: Path) -> None:
    sink = resuming(tmp_path)
    sink.open(ONE)
    sink.write(0, BIG)
    die(sink)
    (part,) = temporaries(tmp_path)
    with (tmp_path / part).open("r+b") as file:
        file.seek(SEGMENT + 5)
        file.write(b"?")
    there, _ = go_on(resuming(tmp_path), ONE, {"big": BIG})
    assert there == RangeSet([(0, SEGMENT), (2 * SEGMENT, len(BIG))])
    assert received(tmp_path) == {"big": BIG}


@pytest.mark.parametrize("change", ["shrank", "grew", "is gone", "another's contents"])
def test_a_partial_that_is_not_as_it_was_costs_what_differs(tmp_path: Path, change: str) -> None:
    sink = resuming(tmp_path)
    sink.open(ONE)
    sink.write(0, BIG)
    die(sink)
    part = tmp_path / temporaries(tmp_path)[0]
    if change == "shrank":
        os.truncate(part, SEGMENT + 1)
    elif change == "grew":
        with part.open("ab") as file:
            file.write(b"more")
    elif change == "is gone":
        part.unlink()
    else:
        part.unlink()
        part.write_bytes(random.Random(9).randbytes(len(BIG)))
        part.chmod(0o600)
    there, _ = go_on(resuming(tmp_path), ONE, {"big": BIG})
    expected = {"shrank": SEGMENT + 1, "grew": len(BIG), "is gone": 0, "another's contents": 0}
    assert there.total == expected[change]
    assert received(tmp_path) == {"big": BIG}


@pytest.mark.parametrize("kind", ["link", "hard link", "directory", "pipe", "writable by others"])
def test_a_partial_that_could_be_somebody_elses_is_not_written(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    sink = resuming(target)
    sink.open(ONE)
    sink.write(0, BIG)
    die(sink)
    part = target / temporaries(target)[0]
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine" * len(BIG))
    if kind == "writable by others":
        part.chmod(0o666)
    else:
        part.unlink()
    if kind == "link":
        part.symlink_to(mine)
    elif kind == "hard link":
        os.link(mine, part)
    elif kind == "directory":
        part.mkdir()
    elif kind == "pipe":
        os.mkfifo(part)
    there, _ = go_on(resuming(target), ONE, {"big": BIG})
    assert there.total == 0
    assert (target / "big").read_bytes() == BIG
    assert mine.read_bytes() == b"mine" * len(BIG)


def test_a_file_that_changed_at_the_sender_comes_anew_and_the_others_stay(tmp_path: Path) -> None:
    sink = resuming(tmp_path)
    sink.open(TREE)
    stream = b"".join(SITE.values())
    sink.write(0, stream[: 5 * MIB])
    sink.finish(0, blake3(SITE["site/a"]).digest())
    sink.finish(1, blake3(SITE["site/b"]).digest())
    sink._opened_publisher().publish()
    die(sink)
    entries = [
        file_entry("site/b", 9, mtime_ns=5) if entry.path == "site/b" else entry for entry in TREE.entries
    ]
    changed = Manifest("files", tuple(entries))
    contents = {**SITE, "site/b": b"b2b2b2b2b"}
    there, _ = go_on(resuming(tmp_path), changed, contents)
    assert there.total >= 4 * MIB + 100_000
    assert received(tmp_path) == {**contents, "site/link": "a"}


def test_a_directory_whose_only_file_changed_at_the_sender_is_received_into_all_the_same(
    tmp_path: Path,
) -> None:
    def offer(mtime_ns: int) -> Manifest:
        return files(directory_entry("site"), file_entry("site/only", len(BIG), mtime_ns=mtime_ns))

    sink = resuming(tmp_path)
    sink.open(offer(1))
    sink.write(0, BIG[: 2 * MIB])
    die(sink)
    there, _ = go_on(resuming(tmp_path), offer(2), {"site/only": BIG})
    assert there.total == 0
    assert received(tmp_path) == {"site/only": BIG}


def test_what_the_user_changed_meanwhile_is_a_conflict(tmp_path: Path) -> None:
    sink = resuming(tmp_path)
    sink.open(TREE)
    sink.write(0, b"".join(SITE.values())[: 5 * MIB])
    sink.finish(0, blake3(SITE["site/a"]).digest())
    sink._opened_publisher().publish()
    die(sink)
    (tmp_path / "site" / "a").write_bytes(b"my own")
    again = resuming(tmp_path)
    assert [conflict.path for conflict in again.conflicts(TREE)] == ["site/a"]
    with pytest.raises(TargetExists):
        again.open(TREE)
    again.close()
    assert (tmp_path / "site" / "a").read_bytes() == b"my own"
    there, _ = go_on(resuming(tmp_path, OnConflict.OVERWRITE), TREE, SITE)
    assert there.total >= 4 * MIB
    assert received(tmp_path) == {**SITE, "site/link": "a"}


def test_what_was_renamed_is_gone_on_with_under_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"there before")
    sink = resuming(tmp_path, OnConflict.RENAME)
    sink.open(ONE)
    sink.write(0, BIG[: 8 * MIB])
    die(sink)
    again = resuming(tmp_path, OnConflict.RENAME)
    there, _ = go_on(again, ONE, {"big": BIG})
    assert there.total == 8 * MIB
    assert received(tmp_path) == {"big": b"there before", "big (1)": BIG}


def test_one_named_file_is_gone_on_with(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "mine", resume=True)
    sink.open(ONE)
    sink.write(0, BIG[: 8 * MIB])
    die(sink)
    other = FileSink(tmp_path / "other", resume=True)
    assert other.open(ONE) == Holding(), "another name is another file"
    other.abort()
    other.close()
    there, _ = go_on(FileSink(tmp_path / "mine", resume=True), ONE, {"big": BIG})
    assert there.total == 8 * MIB
    assert received(tmp_path) == {"mine": BIG}


def test_a_file_with_holes_is_gone_on_with(tmp_path: Path) -> None:
    size = 40 * MIB
    holes = [(MIB, 20 * MIB), (30 * MIB, size)]
    data = BIG[: 11 * MIB]
    manifest = files(Entry("sparse", EntryKind.FILE, size, 0o644, 1_000_000_000, None, pack_holes(holes)))
    sink = resuming(tmp_path)
    sink.open(manifest)
    sink.write(0, data[: 3 * MIB])
    sink.write(8 * MIB, data[8 * MIB : 9 * MIB])
    die(sink)
    there, _ = go_on(resuming(tmp_path), manifest, {"sparse": data})
    assert there.total == 4 * MIB
    whole = data[:MIB] + bytes(19 * MIB) + data[MIB:] + bytes(10 * MIB)
    assert (tmp_path / "sparse").read_bytes() == whole
    assert (tmp_path / "sparse").stat().st_blocks * 512 < 20 * MIB


def test_without_resume_nothing_is_gone_on_with_and_nothing_left(tmp_path: Path) -> None:
    sink = resuming(tmp_path)
    sink.open(ONE)
    sink.write(0, BIG[: 8 * MIB])
    die(sink)
    again = DirectorySink(tmp_path)
    assert again.conflicts(ONE) == []
    assert "Removed 1 unfinished file" in again.notices[0]
    assert again.open(ONE) == Holding()
    again.write(0, BIG[: 8 * MIB])
    assert again.suspend() == Suspended()
    again.close()
    assert tree(tmp_path) == {}


def test_other_offers_leave_it_alone_until_it_is_too_old(tmp_path: Path) -> None:
    sink = resuming(tmp_path)
    sink.open(ONE)
    sink.write(0, BIG[: 8 * MIB])
    die(sink)
    left = tree(tmp_path)
    other = files(file_entry("other", 3))
    go_on(resuming(tmp_path), other, {"other": b"abc"})
    assert tree(tmp_path) == {**left, "other": b"abc"}
    (tmp_path / "other").unlink()
    later = resuming(tmp_path, wall_clock=lambda: time.time() + RESUMABLE_FOR_S + 60)
    assert later.conflicts(other) == []
    assert tree(tmp_path) == {}
    assert "Removed 1 unfinished file" in later.notices[0]
    later.close()


def test_two_receivers_of_the_same_things_do_not_share(tmp_path: Path) -> None:
    first = resuming(tmp_path)
    first.open(ONE)
    first.write(0, BIG[: 8 * MIB])
    second = resuming(tmp_path)
    assert second.open(ONE) == Holding()
    die(first)
    second.write(0, BIG[:MIB])
    die(second)
    there, _ = go_on(resuming(tmp_path), ONE, {"big": BIG})
    assert there.total == 8 * MIB, "the one that has more"
    assert tree(tmp_path) == {"big": BIG}


def test_a_whole_file_that_proves_wrong_in_the_end_is_told(tmp_path: Path) -> None:
    sink = resuming(tmp_path)
    sink.open(ONE)
    sink.write(0, BIG)
    die(sink)
    again = resuming(tmp_path)
    holding = again.open(ONE)
    prove_all(again, ONE, BIG, holding.claims)
    with pytest.raises(DigestMismatch):
        again.finish(0, blake3(b"another").digest())
    again.close()
    assert tree(tmp_path) == {}


def test_the_journal_says_nothing_that_could_be_used_elsewhere(tmp_path: Path) -> None:
    """Named by the journal, but not by an offer: nothing of it is looked at."""
    sink = resuming(tmp_path)
    sink.open(ONE)
    sink.write(0, BIG[: 2 * MIB])
    die(sink)
    journal = next(tmp_path.glob(".tallow-*.journal"))
    assert b"big" in journal.read_bytes()
    assert stat_mode(journal) == 0o600


OLD = BIG[:SEGMENT] + b"!" + BIG[SEGMENT + 1 :]
MTIME_NS = 1_700_000_000_123_456_789  # of what is offered


@pytest.mark.parametrize(
    ("old", "saved"),
    [
        (OLD, len(BIG) - SEGMENT),
        (BIG + b"longer", len(BIG)),
        (BIG[: 2 * SEGMENT], 2 * SEGMENT),
        (b"", 0),
        (bytes(len(BIG)), 0),
    ],
)
def test_update_fetches_only_the_segments_that_differ(tmp_path: Path, old: bytes, saved: int) -> None:
    (tmp_path / "big").write_bytes(old)
    inode = (tmp_path / "big").stat().st_ino
    sink = resuming(tmp_path, OnConflict.UPDATE)
    assert [conflict.path for conflict in sink.conflicts(ONE)] == ["big"]
    there, _ = go_on(sink, ONE, {"big": BIG})
    assert there.total == saved
    assert tree(tmp_path) == {"big": BIG}
    assert (tmp_path / "big").stat().st_ino != inode


def test_update_keeps_what_has_the_same_content_and_gives_it_its_time(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(BIG)
    before = (tmp_path / "big").stat()
    there, published = go_on(resuming(tmp_path, OnConflict.UPDATE), ONE, {"big": BIG})
    assert there.total == len(BIG)
    after = (tmp_path / "big").stat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, MTIME_NS)
    assert [file.path for file in published] == ["big"]
    assert tree(tmp_path) == {"big": BIG}


def test_an_update_that_ends_early_leaves_the_file_alone_and_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(OLD)
    sink = resuming(tmp_path, OnConflict.UPDATE)
    holding = sink.open(ONE)
    prove_all(sink, ONE, BIG, holding.claims)
    sink.write(SEGMENT, BIG[SEGMENT : SEGMENT + 2 * MIB])
    die(sink)
    assert (tmp_path / "big").read_bytes() == OLD
    there, _ = go_on(resuming(tmp_path, OnConflict.UPDATE), ONE, {"big": BIG})
    assert there.total >= len(BIG) - SEGMENT + 2 * MIB
    assert tree(tmp_path) == {"big": BIG}


def test_skip_keeps_what_has_the_size_and_the_time_and_refuses_others(tmp_path: Path) -> None:
    (tmp_path / "site" / "deep").mkdir(parents=True)
    for name, size in (("a", 100_000), ("deep/big", len(BIG))):
        path = tmp_path / "site" / name
        path.write_bytes(bytes(size))
        os.utime(path, ns=(MTIME_NS, MTIME_NS))
    sink = resuming(tmp_path, OnConflict.SKIP)
    assert sink.conflicts(TREE) == []
    there, published = go_on(sink, TREE, SITE)
    assert there.total == 100_000 + len(BIG)
    assert [file.path for file in published] == ["site/b", "site/empty"]
    assert (tmp_path / "site" / "a").read_bytes() == bytes(100_000), "it was not looked into"
    again = resuming(tmp_path, OnConflict.SKIP)
    assert again.conflicts(TREE) == []
    assert again.open(TREE).kept == RangeSet([(0, 4)])
    assert again.complete() == ()
    again.close()
    (tmp_path / "site" / "b").write_bytes(b"other")
    other = resuming(tmp_path, OnConflict.SKIP)
    assert [conflict.path for conflict in other.conflicts(TREE)] == ["site/b"]
    with pytest.raises(TargetExists, match="site/b"):
        other.open(TREE)
    other.close()


@pytest.mark.parametrize("policy", [OnConflict.SKIP, OnConflict.UPDATE])
def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path, policy: OnConflict) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "mine").write_bytes(BIG)
    (target / "big").symlink_to(tmp_path / "mine")
    sink = resuming(target, policy)
    if policy is OnConflict.SKIP:
        with pytest.raises(TargetExists):
            sink.open(ONE)
        sink.close()
        return
    there, _ = go_on(sink, ONE, {"big": BIG})
    assert there.total == 0
    assert not (target / "big").is_symlink()
    assert (tmp_path / "mine").read_bytes() == BIG


def test_before_consent_it_is_known_how_much_an_earlier_receive_left_and_no_file_is_read(
    tmp_path: Path,
) -> None:
    sink = resuming(tmp_path)
    sink.open(ONE)
    sink.write(0, BIG[: 2 * SEGMENT])
    die(sink)
    again = resuming(tmp_path)
    assert again.conflicts(ONE) == []
    before = tree(tmp_path)
    assert again.at_hand(ONE) == AtHand(resumed_bytes=2 * SEGMENT)
    assert tree(tmp_path) == before
    again.close()
    assert resuming(tmp_path / "elsewhere").at_hand(ONE) == AtHand()


def test_before_consent_it_is_known_what_a_policy_will_keep(tmp_path: Path) -> None:
    first = resuming(tmp_path)
    go_on(first, TREE, SITE)
    for policy, expected in (
        (OnConflict.SKIP, AtHand(kept_files=4, kept_bytes=sum(map(len, SITE.values())))),
        (OnConflict.UPDATE, AtHand(compared_files=4, compared_bytes=sum(map(len, SITE.values())))),
        (OnConflict.OVERWRITE, AtHand()),
        (OnConflict.REFUSE, AtHand()),
        (OnConflict.RENAME, AtHand()),
    ):
        sink = resuming(tmp_path, policy)
        sink.conflicts(TREE)
        assert sink.at_hand(TREE) == expected, policy
        sink.close()
