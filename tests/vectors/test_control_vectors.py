"""The published vectors of control messages and offers: what is read, what is written, what is refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.offer.manifest import decode_manifest_untrusted, encode_manifest
from tallow_cli.transfer.messages import (
    Accept,
    ControlMessage,
    PieceDigests,
    decode_message_untrusted,
    encode_message,
    unpack_kept_untrusted,
)
from tests.vectors.make_control import FOLDER

VECTORS: dict[str, list[dict[str, Any]]] = json.loads((FOLDER / "vectors.json").read_text(encoding="utf-8"))


def readable(message: ControlMessage) -> dict[str, Any]:
    """As the vectors write it: kept files by their indexes, digests in hex."""
    says: dict[str, Any] = json.loads(msgspec.json.encode(msgspec.to_builtins(message)))
    if isinstance(message, Accept):
        says["kept"] = [index for run in unpack_kept_untrusted(message.kept) for index in range(*run)]
    if isinstance(message, PieceDigests):
        says["digests"] = [digest.hex() for digest in message.digests]
    return says


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: case["what"])
def test_a_message_is_read_and_written_as_published(case: dict[str, Any]) -> None:
    message = decode_message_untrusted(bytes.fromhex(case["hex"]))
    assert readable(message) == case["says"]
    assert encode_message(message).hex() == case["hex"]


@pytest.mark.parametrize("case", VECTORS["refused_messages"], ids=lambda case: case["why"])
def test_a_message_that_breaks_a_rule_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(PeerProtocolError):
        take_untrusted(bytes.fromhex(case["hex"]))


def take_untrusted(data: bytes) -> None:
    """As far as a machine takes a message that says nothing about the stream."""
    message = decode_message_untrusted(data)
    if isinstance(message, Accept):
        unpack_kept_untrusted(message.kept)


@pytest.mark.parametrize("case", VECTORS["offers"], ids=lambda case: case["what"])
def test_an_offer_is_read_and_written_as_published(case: dict[str, Any]) -> None:
    manifest, says = decode_manifest_untrusted(bytes.fromhex(case["hex"])), case["says"]
    entries = [
        [e.path, e.kind.value, e.size, e.mode, e.mtime_ns, e.target, [list(hole) for hole in e.holes]]
        for e in manifest.entries
    ]
    assert (manifest.kind, entries) == (says["kind"], says["entries"])
    assert [[group.why.value, group.count] for group in manifest.left_out] == says["left_out"]
    assert manifest.total_bytes == says["stream_bytes"]
    assert encode_manifest(manifest).hex() == case["hex"]


@pytest.mark.parametrize("case", VECTORS["refused_offers"], ids=lambda case: case["why"])
def test_an_offer_that_breaks_a_rule_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(PeerProtocolError):
        decode_manifest_untrusted(bytes.fromhex(case["hex"]))
