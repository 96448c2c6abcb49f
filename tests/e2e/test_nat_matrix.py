"""Every pair of routers, with and without a relay: connected the way that is to be expected, or exit 6 and the reason.

All of it takes some minutes and runs with `make test-lab`; `make test` has some pairs.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Final

import pytest

from tests.lab.crossing import RELAY, Crossing, crossing
from tests.lab.nats import Family, Nat, missing

WHY_NOT = missing()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.lab,
    pytest.mark.timeout(400),
    pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces: {WHY_NOT}"),
]
NO_RELAY = None if shutil.which("turnserver") else "coturn is not installed"
AT_ONCE: Final = 4  # mostly they wait
GIVEN_UP_AFTER_S: Final = 15.0
EVERY_PAIR = tuple(combinations_with_replacement(Nat, 2))
SOME = (
    (Nat.OPEN, Nat.SYMMETRIC),
    (Nat.CONE, Nat.CONE),
    (Nat.CONE, Nat.SYMMETRIC),
    (Nat.TCP_ONLY, Nat.CONE),
)
Pair = tuple[Nat, Nat]


def cause(a: Nat, b: Nat, family: Family) -> tuple[str, str] | None:
    """Why there is no direct way, and where as A sees it; None if there is one."""

    def where(kind: Nat) -> str:
        return "both" if a is b is kind else "here" if a is kind else "peer"

    if Nat.TCP_ONLY in (a, b):
        return "udp-blocked", where(Nat.TCP_ONLY)
    if family is Family.IPV4 and Nat.SYMMETRIC in (a, b) and Nat.OPEN not in (a, b):
        return "symmetric-nat", where(Nat.SYMMETRIC)
    return None


def problems(a: Nat, b: Nat, family: Family, has_relay: bool, seen: Crossing) -> list[str]:
    """What is not as it should be."""
    expected = cause(a, b, family)
    is_translated = family is Family.IPV4 and not a is b is Nat.OPEN
    sides = (seen.sender, seen.receiver)
    found = []
    if expected is None or has_relay:
        way = "relayed" if expected else "across-nats" if is_translated else "direct"
        if not seen.is_whole or any(each.exit_code for each in sides):
            found.append(f"not sent: {[each.events.get('error') for each in sides]}")
        else:
            ways = [each.events["connected"]["way"] for each in sides]
            found += [] if ways == [way, way] else [f"{ways} and not {way}"]
            found += [
                f"on a LAN at {a}, {b}" for each in sides if each.events["connected"]["is_lan"] and expected
            ]
        return found
    if [each.exit_code for each in sides] != [6, 6]:
        return [f"exit codes {[each.exit_code for each in sides]}"]
    mirror = {"here": "peer", "peer": "here", "both": "both"}
    for side, where in zip(sides, (expected[1], mirror[expected[1]]), strict=True):
        said = (side.detail["cause"], side.detail["where"])
        found += [] if said == (expected[0], where) else [f"{said} and not {(expected[0], where)}"]
        late = side.gave_up_after_s > GIVEN_UP_AFTER_S
        found += [f"after {side.gave_up_after_s:.1f} s"] if late else []
    return found


def check(pairs: Sequence[Pair], directory: Path, engine: str, family: Family, has_relay: bool) -> None:
    def tried(pair: Pair) -> list[str]:
        seen = crossing(
            *pair,
            directory / "-".join(pair),
            family=family,
            serve=RELAY if has_relay else (),
            options=("--engine", engine),
        )
        return [f"{' '.join(pair)}: {each}" for each in problems(*pair, family, has_relay, seen)]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [each for some in pool.map(tried, pairs) for each in some]
    assert not found, "\n".join(found)


def test_some_pairs_without_a_relay(tmp_path: Path) -> None:
    check(SOME, tmp_path, "turbo", Family.IPV4, has_relay=False)


@pytest.mark.skipif(NO_RELAY is not None, reason=str(NO_RELAY))
def test_some_pairs_with_the_servers_relay(tmp_path: Path) -> None:
    pairs = (*SOME[2:], (Nat.SYMMETRIC, Nat.SYMMETRIC), (Nat.TCP_ONLY, Nat.TCP_ONLY))
    check(pairs, tmp_path, "turbo", Family.IPV4, has_relay=True)


@pytest.mark.long_lab
@pytest.mark.parametrize("has_relay", [False, True], ids=["without", "relay"])
@pytest.mark.parametrize("family", [Family.IPV4, Family.IPV6])
@pytest.mark.parametrize("engine", ["turbo", "aiortc"])
def test_every_pair(tmp_path: Path, engine: str, family: Family, has_relay: bool) -> None:
    if has_relay and NO_RELAY is not None:
        pytest.skip(NO_RELAY)
    check(EVERY_PAIR, tmp_path, engine, family, has_relay)
