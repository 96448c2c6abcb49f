"""The published vectors of the list of pieces: what both ends make of an offer and claims, and what they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.transfer.pieces import Pieces
from tallow_cli.transfer.sendbuffer import SendBuffer
from tests.vectors.make_pieces import FOLDER

VECTORS: dict[str, list[dict[str, Any]]] = json.loads((FOLDER / "vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", VECTORS["pieces"], ids=lambda case: case["what"])
def test_the_pieces_are_those_published(case: dict[str, Any]) -> None:
    pieces = Pieces(case["file_ends"], map(tuple, case["claims"]))
    assert [list(piece) for piece in pieces] == case["pieces"]


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["why"])
def test_claims_that_break_a_rule_are_refused_by_both_ends(case: dict[str, Any]) -> None:
    ends, claims = case["file_ends"], [tuple(claim) for claim in case["claims"]]
    with pytest.raises(ValueError):
        Pieces(ends, claims)
    with pytest.raises(PeerProtocolError):
        SendBuffer(ends[-1] if ends else 0, 1 << 20).claim_untrusted(claims)
