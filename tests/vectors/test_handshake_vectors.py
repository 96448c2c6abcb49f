"""The published vectors of docs/spec/handshake.md replay to the byte."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tallow_cli import errors
from tallow_cli.crypto.codes import parse_code
from tallow_cli.crypto.keys import KeySchedule, Role
from tests.vectors.make_handshake import FOLDER, replay, result

OTHERS = ("refused.json", "meeting-again.json")
AGREEMENTS = sorted(path.name for path in FOLDER.glob("*.json") if path.name not in OTHERS)


def _read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


REFUSED = _read("refused.json")


@pytest.mark.parametrize("name", AGREEMENTS)
def test_an_agreement_replays_to_the_byte(name: str) -> None:
    vector = _read(name)
    assert parse_code(vector["code"]).secret.decode() == vector["secret"]
    at_host, at_joiner, bodies = replay(vector, {})
    assert [body.hex() for body in bodies] == [vector[kind] for kind in ("hello", "reply", "confirm")]
    assert result(at_host, at_joiner) == vector["result"]
    assert at_host.peer_description.hex() == vector["joiner"]["description"]
    assert at_joiner.peer_description.hex() == vector["host"]["description"]
    assert at_joiner.keys.seal_key == at_host.keys.open_key


@pytest.mark.parametrize("vector", _read("meeting-again.json"), ids=lambda vector: vector["nameplate"])
def test_two_sides_meet_again_where_their_key_says(vector: dict[str, str]) -> None:
    keys = KeySchedule(bytes(32), bytes(32), bytes(64)).session_keys(Role.HOST, bytes(64))
    found = replace(keys, resume_key=bytes.fromhex(vector["resume_key"])).rendezvous()
    assert found.nameplate == vector["nameplate"]
    assert found.announced_as == vector["announced_name"]
    assert found.secret.hex() == vector["password"]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case['at']}: {case['name']}") for case in REFUSED["refused"]]
)
def test_a_body_that_is_wrong_in_one_way_is_refused(case: dict[str, str]) -> None:
    with pytest.raises(getattr(errors, case["error"])) as caught:
        replay(_read(REFUSED["base"]), {case["at"]: bytes.fromhex(case["body"])})
    assert type(caught.value).__name__ == case["error"]
