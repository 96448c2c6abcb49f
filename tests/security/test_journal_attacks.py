"""A journal that somebody else made, or broke: it costs what would have been resumed, and nothing else."""

from __future__ import annotations

import os
import random
import shutil
import zlib
from pathlib import Path

import msgspec
import pytest

from tallow_cli.store import journal
from tallow_cli.store.journal import HEADER, Dropped, Made, Named, Opened, Renamed, Wrote, encode
from tallow_cli.store.journaling import holes_of
from tallow_cli.store.sink import OnConflict
from tests.support.disk import directory_entry, file_entry, files, temporaries, tree
from tests.unit.store.test_resuming import die, go_on, resuming

DATA = random.Random(11).randbytes(600_000)
CONTENTS = {"site/big": DATA, "site/small": b"small"}
OFFER = files(
    directory_entry("site"), file_entry("site/big", len(DATA)), file_entry("site/small", len(b"small"))
)
MINE = b"this is mine"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """What a killed receive of OFFER left, beside a file of ours that no journal may lead to."""
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "mine").write_bytes(MINE)
    sink = resuming(target)
    sink.open(OFFER)
    sink.write(0, DATA[:500_000])
    assert sink._journal is not None
    sink._journal.flush()
    die(sink)
    return target


def journal_of(target: Path) -> Path:
    (found,) = target.glob(".tallow-*.journal")
    return found


def chance_of(target: Path) -> bytes:
    """The eight bytes in the temporary's name."""
    (name,) = temporaries(target)
    return bytes.fromhex(name[-21:-5])


def framed(payload: bytes, *, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return size.to_bytes(4, "big") + zlib.crc32(payload).to_bytes(4, "big") + payload


def check_all_arrives(target: Path, there: int | None = 0) -> None:
    """The next receive completes, with `there` bytes of what was left, and nobody's file has changed."""
    had, _ = go_on(resuming(target), OFFER, CONTENTS)
    if there is not None:
        assert had.total == there
    left = {name: what for name, what in tree(target).items() if what is not None}
    assert {name: what for name, what in left.items() if ".tallow-" not in name} == CONTENTS
    assert (target.parent / "mine").read_bytes() == MINE


def test_as_it_was_left_it_is_gone_on_with(target: Path) -> None:
    check_all_arrives(target, 500_000)
    assert not any(".tallow-" in name for name in tree(target))


@pytest.mark.parametrize(
    "kind", ["link", "hard link", "pipe", "directory", "gone", "writable by a group", "writable by others"]
)
def test_what_is_no_file_of_ours_alone_is_not_read(target: Path, kind: str) -> None:
    path, mine = journal_of(target), target.parent / "mine"
    honest = path.read_bytes()
    if kind.startswith("writable"):
        path.chmod(0o620 if "group" in kind else 0o602)
    else:
        path.unlink()
    if kind == "link":
        (target.parent / "elsewhere").write_bytes(honest)
        path.symlink_to(target.parent / "elsewhere")
    elif kind == "hard link":
        (target.parent / "elsewhere").write_bytes(honest)
        os.link(target.parent / "elsewhere", path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
        (path / "inside").write_bytes(honest)
    check_all_arrives(target)
    assert mine.read_bytes() == MINE
    if kind in ("link", "hard link"):
        assert (target.parent / "elsewhere").read_bytes() == honest, "only its name goes"
    if kind == "directory":
        assert (path / "inside").read_bytes() == honest


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("what", ["*.journal", "*.part", "*.lock"])
def test_what_belongs_to_another_user_is_neither_used_nor_removed(target: Path, what: str) -> None:
    (path,) = target.rglob(f".tallow-{what}")
    os.chown(path, 12_345, 12_345)
    if what == "*.lock":  # then it is his receive, whose directory is a conflict
        sink = resuming(target, OnConflict.UPDATE)
        go_on(sink, OFFER, CONTENTS)
        assert {name: tree(target)[name] for name in CONTENTS} == CONTENTS
    elif what == "*.part":  # his file stands in our directory
        go_on(resuming(target, OnConflict.UPDATE), OFFER, CONTENTS)
        assert {name: tree(target)[name] for name in CONTENTS} == CONTENTS
    else:
        check_all_arrives(target)
    assert path.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEADER[:7],
        HEADER,
        HEADER[:-1] + b"\x02",
        HEADER[:-1] + b"\x00",
        b"#!/bin/sh\n",
        HEADER + framed(b"", length=2**32 - 1),
        HEADER + framed(b"\x00" * 100, length=journal.MOST_RECORD_BYTES + 1),
        HEADER + b"\xff" * 4096,
        HEADER + framed(b"\xdd\xff\xff\xff\xff"),  # an array of 2**32 - 1
        HEADER + framed(b"\x91" * 100_000),
    ],
)
def test_what_is_empty_of_another_version_or_of_no_sense_is_as_if_it_were_not_there(
    target: Path, data: bytes
) -> None:
    journal_of(target).write_bytes(data)
    check_all_arrives(target)
    assert not any(".tallow-" in name for name in tree(target))


def test_one_that_is_cut_anywhere_is_believed_as_far_as_it_goes(target: Path) -> None:
    path = journal_of(target)
    whole = path.read_bytes()
    for length in sorted({*range(0, len(whole), 7), len(whole) - 1}):
        left = target.parent / f"cut at {length}"
        shutil.copytree(target, left)
        journal_of(left).write_bytes(whole[:length])
        check_all_arrives(left, None)
        assert not any(".tallow-" in name for name in tree(left)), length


def opened(target: Path, path: bytes = b"site/big", **changed: object) -> Opened:
    part = target / temporaries(target)[0]
    status = part.stat()
    entry = OFFER.entries[1]
    honest = Opened(
        0, path, entry.size, entry.mtime_ns, holes_of(entry), chance_of(target), status.st_dev, status.st_ino
    )
    return msgspec.structs.replace(honest, **changed)


def test_one_that_leads_its_data_costs_what_it_lied_about(target: Path) -> None:
    part = target / temporaries(target)[0]
    os.truncate(part, 200_000)
    with part.open("r+b") as file:
        file.seek(100_000)
        file.write(bytes(50_000))
    lie = encode(opened(target)) + encode(Wrote(0, ((0, len(DATA)),)))
    journal_of(target).write_bytes(HEADER + lie)
    check_all_arrives(target, 0)  # the one segment that it is proves wrong
    assert not any(".tallow-" in name for name in tree(target))


def test_one_of_another_offer_is_left_to_that(target: Path) -> None:
    other = {"other": b"x" * 1000}
    go_on(resuming(target), files(file_entry("other", 1000)), other)
    assert (target / "other").read_bytes() == other["other"]
    assert journal_of(target).exists()
    check_all_arrives_beside(target)


def check_all_arrives_beside(target: Path) -> None:
    had, _ = go_on(resuming(target), OFFER, CONTENTS)
    assert had.total == 500_000
    assert {name: tree(target)[name] for name in CONTENTS} == CONTENTS


def hostile_records(target: Path, rng: random.Random) -> bytes:
    """Well-formed, and of the worst intentions."""
    paths = [
        b"site/big",
        b"site/small",
        b"site",
        b"..",
        b"../mine",
        b"/etc/passwd",
        b"site/../../mine",
        b"\xff",
        b"a\0b",
    ]
    chances = [chance_of(target), bytes(8), b"\xff" * 8]
    mine = (target.parent / "mine").stat()
    records: list[bytes] = []
    for _ in range(rng.randrange(1, 12)):
        number = rng.choice([0, 0, 0, 1, 2**32 - 1])
        start = rng.choice([0, 5, 599_999, 2**62 - 1])
        end = rng.choice([1, 600_000, 600_001, 2**62])
        records.append(
            encode(
                rng.choice(
                    [
                        opened(
                            target,
                            rng.choice(paths),
                            number=number,
                            temporary=rng.choice(chances),
                            size=rng.choice([0, len(DATA), 2**62]),
                            inode=rng.choice([mine.st_ino, 0, 2**63]),
                            ranges=rng.choice([(), ((start, end),), ((0, len(DATA)),)]),
                        ),
                        Wrote(number, ((start, end),)),
                        Wrote(number, tuple((n, n + 1) for n in range(0, 512, 2))),
                        Named(number, rng.choice(paths)),
                        Dropped(number),
                        Renamed(rng.choice(paths), rng.choice(paths)),
                        Made(rng.choice(paths)),
                    ]
                )
            )
        )
    return b"".join(records)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_that_a_journal_says_leads_outside_or_to_wrong_bytes(target: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = journal_of(target)
    honest = path.read_bytes() if rng.random() < 0.5 else HEADER
    path.write_bytes(honest + hostile_records(target, rng))
    check_all_arrives(target, None)
