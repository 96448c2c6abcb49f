"""session.connection: nothing is believed before the other end has proved that the code's keys are its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tallow_cli.crypto.keys import Role
from tallow_cli.errors import (
    NoPathError,
    PeerCancelled,
    PeerFailed,
    PeerProtocolError,
    PeerVanished,
    TallowError,
    TransferStalled,
)
from tallow_cli.link.link import LinkRole
from tallow_cli.session.connection import connect
from tallow_cli.session.events import Connected, SessionEvent
from tallow_cli.session.settings import LinkSettings, Waits
from tests.support.fake_link import FakeNetwork
from tests.support.sessions import agree, connections


@pytest.fixture
def network() -> FakeNetwork:
    return FakeNetwork()


async def outcomes(network: FakeNetwork, waits: Waits | None = None) -> list[object]:
    return list(await asyncio.gather(connections(network, waits=waits), return_exceptions=True))


async def test_both_ends_are_told_how_they_are_connected(network: FakeNetwork) -> None:
    host, joiner = await network.pair()
    ours, theirs = agree(host, joiner)
    events: list[SessionEvent] = []
    first, second = await asyncio.gather(
        connect(host, Role.HOST, ours, LinkSettings(), Waits(), events.append),
        connect(joiner, Role.JOINER, theirs, LinkSettings(), Waits(), events.append),
    )
    assert events == []
    assert first.how == second.how
    assert isinstance(first.how, Connected)


@pytest.mark.parametrize("error", [PeerVanished("silence"), TransferStalled("data was on its way", 60)])
async def test_only_two_sides_that_both_reconnect_go_on_after_a_lost_path(
    network: FakeNetwork, error: TallowError
) -> None:
    here, there = await connections(network)
    assert not here.goes_on_after(error)
    assert replace(there, may_reconnect=True).goes_on_after(error)


@pytest.mark.parametrize(
    "error", [PeerCancelled(), PeerProtocolError("x"), PeerFailed("x", "local-file"), OSError()]
)
async def test_nothing_but_a_lost_path_is_survived(network: FakeNetwork, error: Exception) -> None:
    here, _ = await connections(network)
    assert not replace(here, may_reconnect=True).goes_on_after(error)


@pytest.mark.parametrize("liar", ["host", "joiner"])
async def test_an_end_that_cannot_prove_the_code_is_left(network: FakeNetwork, liar: LinkRole) -> None:
    def forge(role: LinkRole, index: int, message: bytes) -> list[bytes]:
        return [bytes(len(message))] if role == liar and index == 0 else [message]

    network.tamper = forge
    assert isinstance((await outcomes(network))[0], PeerProtocolError)


async def test_a_proof_reflected_to_its_maker_does_not_count(network: FakeNetwork) -> None:
    seen: dict[LinkRole, bytes] = {}

    def reflect(role: LinkRole, index: int, message: bytes) -> list[bytes]:
        seen[role] = message
        mirrored = seen.get("joiner" if role == "host" else "host")
        return [mirrored] if mirrored is not None else [message]

    network.tamper = reflect
    assert isinstance((await outcomes(network))[0], PeerProtocolError)


async def test_silence_after_the_connection_is_a_path_that_does_not_carry(network: FakeNetwork) -> None:
    network.tamper = lambda _role, _index, _message: []
    assert isinstance((await outcomes(network, Waits(connect_s=0.1)))[0], NoPathError)


class ARoom:
    """Where both sides still are: what the other says there, and what this side said."""

    def __init__(self, says: TallowError | None = None) -> None:
        self.told: list[TallowError] = []
        self._says = says

    async def parting(self) -> TallowError:
        return self._says or await asyncio.get_running_loop().create_future()

    async def give_up(self, error: TallowError) -> None:
        self.told.append(error)


async def alone(network: FakeNetwork, room: ARoom, connect_s: float = 5.0) -> None:
    """Connect to a peer that does not."""
    host, joiner = await network.pair()
    ours, _ = agree(host, joiner)
    await connect(host, Role.HOST, ours, LinkSettings(), Waits(connect_s=connect_s), lambda _e: None, room)


async def test_a_peer_that_gives_up_in_the_room_is_not_waited_for(network: FakeNetwork) -> None:
    room = ARoom(PeerVanished("it left"))
    with pytest.raises(PeerVanished, match="it left"):
        await alone(network, room)
    assert room.told == []


async def test_a_peer_that_looks_for_a_path_is_told_that_this_side_found_none(network: FakeNetwork) -> None:
    room = ARoom()
    with pytest.raises(NoPathError):
        await alone(network, room, connect_s=0.05)
    assert [type(error) for error in room.told] == [NoPathError]


async def test_a_peer_that_looks_for_a_path_is_told_of_a_cancelling(network: FakeNetwork) -> None:
    room = ARoom()
    connecting = asyncio.create_task(alone(network, room))
    await asyncio.sleep(0.02)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert [type(error) for error in room.told] == [PeerCancelled]


async def test_with_a_path_the_other_side_may_leave_the_room(network: FakeNetwork) -> None:
    host, joiner = await network.pair()
    ours, theirs = agree(host, joiner)
    room = ARoom()

    async def leaves() -> TallowError:
        while not (host.has_path and joiner.has_path):
            await asyncio.sleep(0)
        return PeerVanished("it left")

    room.parting = leaves  # type: ignore[method-assign]
    settings, waits = LinkSettings(), Waits()
    await asyncio.gather(
        connect(host, Role.HOST, ours, settings, waits, lambda _e: None, room),
        connect(joiner, Role.JOINER, theirs, settings, waits, lambda _e: None, room),
    )


async def test_a_peer_that_closes_meanwhile_has_vanished(network: FakeNetwork) -> None:
    host, joiner = await network.pair()
    ours, _theirs = agree(host, joiner)

    async def close() -> None:
        await joiner.connect(host.description, 5)
        await joiner.close()

    results = await asyncio.gather(
        connect(host, Role.HOST, ours, LinkSettings(), Waits(), lambda _: None),
        close(),
        return_exceptions=True,
    )
    assert isinstance(results[0], PeerVanished)


async def test_what_comes_right_behind_the_proof_is_kept_for_later(network: FakeNetwork) -> None:
    def eager(role: LinkRole, index: int, message: bytes) -> list[bytes]:
        return [message, b"first", b"second"] if role == "host" and index == 0 else [message]

    network.tamper = eager
    _host, joiner = await connections(network)
    assert joiner.early == [b"first", b"second"]


async def test_what_comes_before_the_proof_is_taken_for_it_and_fails(network: FakeNetwork) -> None:
    def hasty(role: LinkRole, index: int, message: bytes) -> list[bytes]:
        return [b"offer", message] if role == "host" and index == 0 else [message]

    network.tamper = hasty
    assert isinstance((await outcomes(network))[0], PeerProtocolError)
