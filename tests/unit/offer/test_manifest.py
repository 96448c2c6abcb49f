from __future__ import annotations

import msgspec
import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.offer.manifest import (
    MAX_ABS_MTIME_NS,
    MAX_ENTRIES,
    MAX_HOLES,
    MAX_MANIFEST_BYTES,
    MAX_TEXT_BYTES,
    MAX_TOTAL_BYTES,
    Entry,
    EntryKind,
    LeftOut,
    Manifest,
    WhyLeftOut,
    decode_manifest_untrusted,
    encode_manifest,
    encoded_entry_bytes,
    pack_holes,
)
from tallow_cli.offer.name_rules import WINDOWS
from tests.support.disk import directory_entry, file_entry, files, link_entry

TREE = files(
    directory_entry("d"),
    file_entry("d/a", 10),
    link_entry("d/l", "a"),
    file_entry("d/empty", 0),
    file_entry("d/b", 5, mode=0o755),
)


def refused(manifest: Manifest | bytes) -> str:
    data = manifest if isinstance(manifest, bytes) else encode_manifest(manifest)
    with pytest.raises(PeerProtocolError) as raised:
        decode_manifest_untrusted(data)
    return raised.value.detail


def test_what_is_encoded_is_decoded() -> None:
    assert decode_manifest_untrusted(encode_manifest(TREE)) == TREE


def test_the_wire_form_is_the_one_of_the_specification() -> None:
    wire = msgspec.msgpack.decode(encode_manifest(TREE))
    assert wire[0] == "files"
    assert wire[1][1] == ["d/a", "file", 10, 0o644, 1_700_000_000_123_456_789, None, b""]
    assert wire[1][2] == ["d/l", "symlink", 0, 0o777, 0, "a", b""]
    assert wire[2] == []
    shortest = ["files", [["d/a", "file", 10]]]
    (entry,) = decode_manifest_untrusted(msgspec.msgpack.encode(shortest)).entries
    assert entry == Entry("d/a", EntryKind.FILE, 10)


def test_a_name_that_is_no_utf_8_travels_as_bytes() -> None:
    latin = files(directory_entry("caf\udce9"), link_entry("caf\udce9/l", "\udcff"))
    wire = msgspec.msgpack.decode(encode_manifest(latin))
    assert [entry[0] for entry in wire[1]] == [b"caf\xe9", b"caf\xe9/l"]
    assert wire[1][1][5] == b"\xff"
    assert decode_manifest_untrusted(encode_manifest(latin)) == latin
    with pytest.raises(PeerProtocolError, match="not-utf-8"):
        decode_manifest_untrusted(encode_manifest(latin), WINDOWS)


def test_the_offer_says_what_is_left_out() -> None:
    left_out = (LeftOut(WhyLeftOut.EXCLUDED, 3), LeftOut(WhyLeftOut.UNREADABLE, 2))
    manifest = Manifest("files", (file_entry("a"),), left_out)
    decoded = decode_manifest_untrusted(encode_manifest(manifest))
    assert decoded.left_out == left_out
    assert decoded.missed == 2
    twice = Manifest("files", (file_entry("a"),), (left_out[0], left_out[0]))
    assert "given twice" in refused(twice)
    assert "malformed" in refused(msgspec.msgpack.encode(["files", [["a", "file"]], [["excluded", 0]]]))


def with_holes(size: int, *holes: tuple[int, int]) -> Manifest:
    return files(Entry("s", EntryKind.FILE, size, packed_holes=pack_holes(holes)), file_entry("z", 5))


def test_holes_are_not_in_the_stream() -> None:
    manifest = with_holes(1000, (0, 100), (200, 1000))
    assert decode_manifest_untrusted(encode_manifest(manifest)) == manifest
    assert manifest.total_bytes == 105
    assert [(span.start, span.size) for span in manifest.file_spans] == [(0, 100), (100, 5)]


@pytest.mark.parametrize("holes", [[(5, 5)], [(0, 5), (5, 6)], [(4, 6), (1, 2)], [(0, 1001)]])
def test_holes_are_in_order_apart_and_within_the_file(holes: list[tuple[int, int]]) -> None:
    assert "holes out of order" in refused(with_holes(1000, *holes))


def test_only_files_have_holes_and_not_too_many() -> None:
    assert "with a size" in refused(files(Entry("d", EntryKind.DIRECTORY, packed_holes=pack_holes([(0, 1)]))))
    many = pack_holes((2 * n, 2 * n + 1) for n in range(MAX_HOLES // 2 + 1))
    two = (Entry(name, EntryKind.FILE, 10**6, packed_holes=many) for name in "ab")
    assert "holes in its files" in refused(files(*two))
    assert "in pieces" in refused(files(Entry("f", EntryKind.FILE, 10, packed_holes=bytes(15))))


def test_what_an_entry_adds_to_an_offer_is_not_underestimated() -> None:
    largest = Entry(
        "n" * 3000,
        EntryKind.DIRECTORY,
        2**62,
        0o7777,
        -(2**62),
        "t" * 300,
        pack_holes([(2**61, 2**62 - 1)] * 3),
    )
    for entry in (largest, file_entry("a"), link_entry("d/l", "x"), file_entry("\udcff" * 300)):
        alone = len(encode_manifest(files(file_entry("f"), entry))) - len(
            encode_manifest(files(file_entry("f")))
        )
        assert alone <= encoded_entry_bytes(entry)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        b"\x00" * 20,
        b"\x92\xa5files",
        b"\x92\xa5files\xdd\xff\xff\xff\xff",  # 4 billion entries announced
        b"\x92\xa5files\xdd\x00\x0f\x42\x41",  # 1,000,001 announced
        b"\x91" * 10_000,  # nesting
        encode_manifest(TREE)[:-1],
        encode_manifest(TREE) + b"\0",
    ],
)
def test_bytes_that_are_no_manifest_are_refused(data: bytes) -> None:
    assert "malformed" in refused(data)


@pytest.mark.parametrize(
    "entry",
    [
        ["a", "file", -1, 0, 0, None],
        ["a", "file", MAX_TOTAL_BYTES + 1, 0, 0, None],
        ["a", "file", 2**64 - 1, 0, 0, None],
        ["a", "file", 1.5, 0, 0, None],
        ["a", "file", True, 0, 0, None],
        ["a", "fifo", 0, 0, 0, None],
        ["a", "file", 0, 0o10000, 0, None],
        ["a", "file", 0, -1, 0, None],
        ["a", "file", 0, 0, MAX_ABS_MTIME_NS + 1, None],
        ["a", "file", 0, 0, -MAX_ABS_MTIME_NS - 1, None],
        ["a", "file", 0, 0, 0, None, "holes"],
        ["a", "file", 0, 0, 0, None, [[0, 1]]],
        ["a", "file", 0, 0, 0, None, bytes(16 * 65_537)],
        ["a", "file", 0, 0, 0, None, b"", "more"],
        [7, "file", 0, 0, 0, None],
        [b"", "file", 0, 0, 0, None],
        ["a", "file", 0, 0, 0, b"x"],
        [b"a", "file", 0, 0, 0, None],
        ["", "file", 0, 0, 0, None],
        ["a"],
        {"path": "a", "kind": "file"},
    ],
)
def test_an_entry_out_of_bounds_is_refused(entry: object) -> None:
    assert "malformed" in refused(msgspec.msgpack.encode(["files", [entry]]))


def test_text_that_is_no_utf_8_is_refused() -> None:
    """As text; its bytes would be a name."""
    data = encode_manifest(files(file_entry("aXb"))).replace(b"aXb", b"a\xffb")
    assert "malformed" in refused(data)


def test_too_many_bytes_are_refused_before_they_are_looked_at() -> None:
    assert "134,217,729 bytes" in refused(b"\0" * (MAX_MANIFEST_BYTES + 1))


def test_no_entries_and_too_many_entries_are_refused() -> None:
    assert "malformed" in refused(files())
    one = file_entry("a")
    assert "malformed" in refused(files(*[one] * (MAX_ENTRIES + 1)))


def test_sizes_that_add_up_to_too_much_are_refused() -> None:
    half = MAX_TOTAL_BYTES // 2
    assert decode_manifest_untrusted(encode_manifest(files(file_entry("a", half), file_entry("b", half))))
    assert "in all" in refused(files(file_entry("a", half), file_entry("b", half + 1)))


def test_directories_and_links_have_no_size_and_only_links_a_target() -> None:
    assert "with a size" in refused(files(Entry("d", EntryKind.DIRECTORY, 1)))
    assert "with a size" in refused(files(Entry("d/l", EntryKind.SYMLINK, 1, target="x")))
    assert "link target" in refused(files(Entry("f", EntryKind.FILE, target="x")))
    assert "link target" in refused(files(Entry("d/l", EntryKind.SYMLINK)))


def test_names_are_checked_too() -> None:
    assert "dot-component" in refused(files(file_entry("../x")))


@pytest.mark.parametrize("kind", ["text", "stream"])
def test_a_text_and_a_stream_are_exactly_one_file(kind: str) -> None:
    two = msgspec.msgpack.encode([kind, [file_entry("a"), file_entry("b")]])
    assert "exactly one file" in refused(two)
    assert "exactly one file" in refused(msgspec.msgpack.encode([kind, [directory_entry("a")]]))


def test_a_text_is_bounded_and_a_stream_has_no_size() -> None:
    assert "a text of" in refused(Manifest("text", (file_entry("t", MAX_TEXT_BYTES + 1),)))
    assert "with a size" in refused(Manifest("stream", (file_entry("s", 1),)))


def test_an_unknown_kind_is_refused() -> None:
    assert "malformed" in refused(msgspec.msgpack.encode(["archive", [file_entry("a")]]))


def test_files_lie_end_to_end_in_the_stream_and_are_counted_without_directories_and_links() -> None:
    assert TREE.total_bytes == 15
    assert [(s.index, s.entry_index, s.start, s.end) for s in TREE.file_spans] == [
        (0, 1, 0, 10),
        (1, 3, 10, 10),
        (2, 4, 10, 15),
    ]


def test_a_stream_range_is_cut_at_file_boundaries_and_skips_empty_files() -> None:
    def cut(offset: int, size: int) -> list[tuple[int, int, int]]:
        return [(piece.span.index, piece.offset, piece.size) for piece in TREE.slices(offset, size)]

    assert cut(0, 15) == [(0, 0, 10), (2, 0, 5)]
    assert cut(8, 4) == [(0, 8, 2), (2, 0, 2)]
    assert cut(10, 1) == [(2, 0, 1)]
    assert cut(14, 100) == [(2, 4, 1)]
    assert cut(15, 1) == []
    assert cut(3, 0) == []


def test_leading_empty_files_take_nothing() -> None:
    manifest = files(file_entry("a", 0), file_entry("b", 0), file_entry("c", 2))
    assert [(piece.span.index, piece.size) for piece in manifest.slices(0, 2)] == [(2, 2)]


def test_a_manifest_without_files_has_no_bytes() -> None:
    manifest = files(directory_entry("d"))
    assert manifest.total_bytes == 0
    assert manifest.file_spans == ()
    assert list(manifest.slices(0, 10)) == []


def test_a_stream_has_no_total_and_its_file_no_end() -> None:
    manifest = Manifest("stream", (file_entry("stdin"),))
    assert manifest.total_bytes is None
    assert manifest.file_spans[0].end == MAX_TOTAL_BYTES
    assert [(piece.offset, piece.size) for piece in manifest.slices(2**40, 7)] == [(2**40, 7)]
