"""session.meeting_place: a server of our own that can be found, or somebody else's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from signaling.listening import CannotListen
from signaling.server import SignalingServer
from tallow_cli.errors import BadOption, ServerUnreachable, UnknownNameplate
from tallow_cli.meeting.discovery import find
from tallow_cli.meeting.signaling_client import SignalingClient
from tallow_cli.session.events import Notice, SessionEvent
from tallow_cli.session.meeting_place import Surroundings, open_meeting_place


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


async def test_a_machine_that_cannot_listen_says_so() -> None:
    class Deaf(SignalingServer):
        async def start(self, _host: str | Sequence[str], _port: int) -> int:
            raise CannotListen("no port is free")

    with pytest.raises(ServerUnreachable, match="no port is free"):
        async with open_meeting_place(None, silence, own_server=Deaf):
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


# Where it listens


async def can_connect(address: str, url: str) -> bool:
    """Whether the place's port is open on another address of this machine (all of 127/8 are, to Linux)."""
    try:
        _, writer = await asyncio.open_connection(address, int(url.rpartition(":")[2]))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="needs every address of 127.0.0.0/8")
async def test_our_own_server_listens_for_neighbours_and_not_for_the_world() -> None:
    here = Surroundings(lambda: ["127.0.0.5"], lambda: "127.0.0.5")
    async with open_meeting_place(None, silence, surroundings=here) as place:
        assert place.reachable_as is not None
        assert place.reachable_as.startswith("ws://127.0.0.5:")
        assert await can_connect("127.0.0.1", place.connect_url)
        assert await can_connect("127.0.0.5", place.connect_url)
        assert not await can_connect("127.0.0.6", place.connect_url)


async def test_asked_to_it_listens_everywhere() -> None:
    here = Surroundings(primary=lambda: None)
    async with open_meeting_place(None, silence, listen="any", surroundings=here) as place:
        assert await can_connect("127.0.0.6", place.connect_url)


async def test_a_public_address_is_not_opened_unasked_and_that_is_said() -> None:
    here = Surroundings(lambda: ["172.17.0.1"], lambda: "8.8.8.8")  # a container's bridge
    events: list[SessionEvent] = []
    async with open_meeting_place(None, events.append, surroundings=here) as place:
        assert place.reachable_as is None
    [notice] = events
    assert isinstance(notice, Notice)
    assert "--listen any" in notice.message
    assert not notice.detail


async def test_an_address_that_this_machine_does_not_have_is_refused() -> None:
    for listen in ("8.8.8.8", "localhost", ""):
        with pytest.raises(BadOption, match="no address of this machine"):
            async with open_meeting_place(None, silence, listen=listen):
                pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs every address of 127.0.0.0/8")
async def test_a_machine_that_joins_a_network_while_it_waits_is_reached_there() -> None:
    addresses: list[str] = []
    here = Surroundings(neighbours=lambda: addresses, rescan_s=0.01)
    async with open_meeting_place(None, silence, surroundings=here) as place:
        assert not await can_connect("127.0.0.7", place.connect_url)
        addresses.append("127.0.0.7")
        async with asyncio.timeout(5):
            while not await can_connect("127.0.0.7", place.connect_url):
                await asyncio.sleep(0.01)
