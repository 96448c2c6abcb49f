from __future__ import annotations

import contextlib
import os
import unicodedata

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tallow_cli.errors import PeerProtocolError
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest, decode_manifest_untrusted, encode_manifest
from tallow_cli.offer.name_rules import MACOS
from tallow_cli.offer.names import (
    MAX_NAME_BYTES,
    ForbiddenName,
    NameChecker,
    SafePath,
    check_manifest_names,
    fold,
    numbered,
)
from tests.support.disk import file_entry, files

# Characters that the rules are about, mixed with all others.
SPICE = "./\\:\0\n\x1b \u202e\u200d\ufe0faA\u00e9e\u0301\u00dfK\u212acon1$~"
NAMES = st.text(st.one_of(st.sampled_from(SPICE), st.characters(codec="utf-8")), max_size=12)
PATHS = st.lists(NAMES, min_size=1, max_size=5).map("/".join)
ENTRIES = st.builds(
    lambda path, kind, target: Entry(path or "x", kind, target=target if kind is EntryKind.SYMLINK else None),
    PATHS,
    st.sampled_from(EntryKind),
    PATHS,
)


@given(PATHS | st.binary(max_size=12).map(os.fsdecode))
@example("a/../b")
@settings(max_examples=400, deadline=None)
def test_a_path_that_is_accepted_stays_below_its_directory(path: str) -> None:
    try:
        (safe,) = check_manifest_names(files(file_entry(path)))
    except PeerProtocolError:
        return
    joined = os.path.normpath(os.path.join("/root/of/all", *safe.components))
    assert joined == "/root/of/all/" + "/".join(safe.components)
    for name in safe.components:
        assert 0 < len(os.fsencode(name)) <= MAX_NAME_BYTES
        assert not set(name) & set("/\0")
        assert all(unicodedata.category(c) not in ("Cc", "Zl", "Zp") for c in name)


def ancestors(path: SafePath) -> list[SafePath]:
    found = []
    above = path.directory
    while above is not None:
        found.append(above)
        above = above.directory
    return found


@given(st.lists(ENTRIES, min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_tree_that_is_accepted_has_no_two_paths_of_one_folded_form(entries: list[Entry]) -> None:
    try:
        paths = check_manifest_names(Manifest("files", tuple(entries)), MACOS)
    except PeerProtocolError:
        return
    everything = {path.components: path for path in paths}
    for path in paths:
        everything.update((above.components, above) for above in ancestors(path))
    folded = {tuple(fold(name) for name in components) for components in everything}
    assert len(folded) == len(everything)
    kinds = {path.components: entry.kind for path, entry in zip(paths, entries, strict=True)}
    for path in paths:
        for above in ancestors(path):
            assert kinds.get(above.components, EntryKind.DIRECTORY) is EntryKind.DIRECTORY


@given(NAMES)
@settings(max_examples=200, deadline=None)
def test_folding_is_idempotent_and_blind_to_case_and_normal_form(name: str) -> None:
    assert fold(fold(name)) == fold(name)
    assert fold(unicodedata.normalize("NFD", name)) == fold(unicodedata.normalize("NFC", name))
    assert fold(name.casefold()) == fold(name)


@given(NAMES, st.integers(1, 10**6), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_renamed_name_is_a_name_again(name: str, number: int, is_directory: bool) -> None:
    try:
        path = NameChecker().add(file_entry(name))
    except ForbiddenName:
        return
    if len(path.components) > 1:
        path = path.top
    renamed = numbered(path, number, is_directory=is_directory)
    assert NameChecker().add(file_entry(renamed.name)) == renamed
    assert renamed != path


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_decoded_or_refused_with_one_error(data: bytes) -> None:
    with contextlib.suppress(PeerProtocolError):
        decode_manifest_untrusted(data)


@given(st.lists(ENTRIES, min_size=1, max_size=4), st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_manifest_with_one_byte_changed_is_decoded_or_refused_with_one_error(
    entries: list[Entry], position: int, byte: int
) -> None:
    data = bytearray(encode_manifest(Manifest("files", tuple(entries))))
    data[position % len(data)] = byte
    with contextlib.suppress(PeerProtocolError):
        decode_manifest_untrusted(bytes(data))


@given(st.lists(st.integers(0, 20), min_size=1, max_size=10), st.integers(0, 120), st.integers(0, 120))
@settings(max_examples=200, deadline=None)
def test_slices_cover_a_range_exactly(sizes: list[int], offset: int, size: int) -> None:
    manifest = files(*(file_entry(f"f{i}", n) for i, n in enumerate(sizes)))
    owner = [(i, k) for i, n in enumerate(sizes) for k in range(n)]  # the plain version: a list of all bytes
    covered = [
        (piece.span.index, piece.offset + k)
        for piece in manifest.slices(offset, size)
        for k in range(piece.size)
    ]
    assert covered == owner[offset : offset + size]


@given(st.lists(st.binary(min_size=1, max_size=12).map(os.fsdecode), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_names_of_any_bytes_travel_as_they_are(paths: list[str]) -> None:
    manifest = Manifest("files", tuple(map(file_entry, paths)))
    try:
        decoded = decode_manifest_untrusted(encode_manifest(manifest))
    except PeerProtocolError:
        return
    assert [os.fsencode(entry.path) for entry in decoded.entries] == [os.fsencode(path) for path in paths]
