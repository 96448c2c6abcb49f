"""session.meeting_place: a server of our own that can be found, or somebody else's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from signaling.server import CannotListen, SignalingServer
from tallow_cli.errors import ServerUnreachable, UnknownNameplate
from tallow_cli.net.discovery import find
from tallow_cli.net.signaling_client import SignalingClient
from tallow_cli.session.events import SessionEvent
from tallow_cli.session.meeting_place import open_meeting_place


@pytest.fixture(autouse=True)
def own_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TALLOW_NO_MDNS", "1")


def silence(_event: SessionEvent) -> None:
    """Nobody listens."""


async def test_a_named_server_is_used_and_nothing_is_announced() -> None:
    async with open_meeting_place("ws://files.example:8765", silence) as place:
        await place.announce("4821")
        assert (place.connect_url, place.given_url) == ("ws://files.example:8765",) * 2
        assert place.reachable_as is None
        with pytest.raises(UnknownNameplate):
            await find("4821", 0.1)


async def test_our_own_server_is_found_by_the_nameplate_and_gone_afterwards() -> None:
    async with open_meeting_place(None, silence) as place:
        assert place.given_url is None
        await place.announce("4821")
        url, *_ = await find("4821", 5)  # ::1 beside it, where the machine has one
        assert url == place.connect_url
        async with await SignalingClient.connect(url) as client:
            assert await client.allocate("4821") == "4821"
    with pytest.raises(UnknownNameplate):
        await find("4821", 0.1)


async def test_a_fresh_code_replaces_the_announcement_of_the_spent_one() -> None:
    async with open_meeting_place(None, silence) as place:
        await place.announce("4821")
        await place.announce("4822")
        assert await find("4822", 5)
        with pytest.raises(UnknownNameplate):
            await find("4821", 0.1)


async def test_a_machine_that_cannot_listen_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(_server: SignalingServer, _host: str, _port: int) -> int:
        raise CannotListen("no port is free")

    monkeypatch.setattr(SignalingServer, "start", start)
    with pytest.raises(ServerUnreachable, match="no port is free"):
        async with open_meeting_place(None, silence):
            pass


async def test_an_error_inside_ends_the_server_and_the_announcement() -> None:
    before = asyncio.all_tasks()

    async def fail() -> None:
        async with open_meeting_place(None, silence) as place:
            await place.announce("4821")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    with pytest.raises(UnknownNameplate):
        await find("4821", 0.1)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
