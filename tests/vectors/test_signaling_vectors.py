"""The published signaling messages: every implementation takes and refuses the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from signaling.protocol import (
    MalformedMessage,
    decode_client_message_untrusted,
    decode_server_message_untrusted,
    encode,
)

VECTORS = json.loads((Path(__file__).parent / "signaling" / "messages.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["text"])
def test_a_message_is_taken_and_written_canonically(vector: dict[str, str]) -> None:
    decode = decode_client_message_untrusted if vector["to"] == "server" else decode_server_message_untrusted
    assert encode(decode(vector["text"])) == vector.get("canonical", vector["text"])


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["why"])
def test_a_malformed_message_is_refused_in_both_directions(vector: dict[str, str]) -> None:
    for decode in (decode_client_message_untrusted, decode_server_message_untrusted):
        with pytest.raises(MalformedMessage):
            decode(vector["text"])
