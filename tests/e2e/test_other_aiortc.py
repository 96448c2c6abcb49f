"""The real program with an aiortc that calls its parts otherwise: it falls back and transfers, or says why not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tallow_cli.errors import UnfitLibrary
from tallow_cli.webrtc.aiortc_hooks import SHARED, TURBO
from tests.support.processes import Shell
from tests.support.renamed_library import renamed_parts

NEEDED_ANYWAY = {name for _, names in SHARED for name in names.split()}
# A name that something in SHARED has too is changed there as well: tests/unit/webrtc/test_aiortc_hooks.py has it alone.
ONLY_TURBO = [(owner, names) for owner, names in TURBO if not NEEDED_ANYWAY.intersection(names.split())]


@pytest.mark.parametrize(("owner", "names"), ONLY_TURBO, ids=[owner for owner, _ in ONLY_TURBO])
def test_without_what_the_turbo_engine_needs_the_file_comes_over_aiortcs_own(
    sh: Shell, tmp_path: Path, owner: str, names: str
) -> None:
    sh.environment |= renamed_parts(tmp_path / "hook", "aiortc", names.split())
    payload = tmp_path / "payload.bin"
    payload.write_bytes(random.Random(9).randbytes(2_000_000))
    into = tmp_path / "into"
    into.mkdir()
    sender, receiver = sh.transfer([payload], ["-o", into])
    assert (sender.process.returncode, receiver.process.returncode) == (0, 0), (
        sender.report() + receiver.report()
    )
    assert (into / "payload.bin").read_bytes() == payload.read_bytes()
    for side in (sender, receiver):
        connected = side.wait_event("connected")
        assert connected["engine"] == "aiortc"
        assert any(name in connected["notes"][0] for name in names.split())


# What is missing of these always leads to the same end; tests/unit/webrtc/test_aiortc_hooks.py asks of each alone.
OF_EACH_KIND = [
    (owner, names)
    for owner, names in SHARED
    if owner in ("aioice.ice:Connection", "aioice.turn", "aiortc.rtcsctptransport:RTCSctpTransport")
]


@pytest.mark.parametrize(("owner", "names"), OF_EACH_KIND, ids=[owner for owner, _ in OF_EACH_KIND])
def test_without_what_the_walls_need_there_is_no_connection_and_it_says_why(
    sh: Shell, tmp_path: Path, owner: str, names: str
) -> None:
    package = owner.partition(".")[0]
    sh.environment |= renamed_parts(tmp_path / "hook", package, names.split())
    (tmp_path / "payload.bin").write_bytes(b"x")
    sender = sh.start("send", tmp_path / "payload.bin")
    assert sender.wait() == UnfitLibrary.exit_code, sender.report()
    assert "of a version that Tallow was not made for" in sender.error_text.replace("\n", " ")
    assert "Traceback" not in sender.error_text
