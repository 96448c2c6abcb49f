"""Data channels that close under a transfer, over both engines' real links: the load moves, and the bytes are right."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from tallow_cli.link.channels import Channel
from tallow_cli.link.description import Description
from tallow_cli.link.link import GatheredLink, Link, LinkOptions, LinkRole
from tallow_cli.offer.manifest import Manifest
from tallow_cli.session.events import Progress, Reconnected, Reconnecting, Stats
from tallow_cli.session.settings import LinkSettings
from tallow_cli.store.directory_sink import DirectorySink
from tallow_cli.store.file_source import FileSource
from tallow_cli.store.sink import Sink
from tallow_cli.webrtc.prepare import prepare
from tests.support.disk import tree
from tests.support.sessions import Sessions, opened_sessions

MIB = 1024 * 1024
CHANNELS = 4
SIZE_BYTES = 4 * MIB
LIMIT = 6 * MIB  # bytes a second: most of a second to close channels in, whatever the machine


class _Swallowing:
    """A channel that can be told to lose everything it is given from then on, as one that stalls does."""

    def __init__(self, channel: Channel) -> None:
        self.__dict__.update(channel=channel, swallows=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.channel, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "swallows":
            self.__dict__[name] = value
        else:
            setattr(self.channel, name, value)

    def send(self, message: bytes) -> None:
        if not self.swallows:
            self.channel.send(message)


class _Link:
    """An open link whose data channels can be told to swallow."""

    def __init__(self, link: Link) -> None:
        self.__dict__.update(link=link, data=tuple(_Swallowing(channel) for channel in link.data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.link, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.link, name, value)


class _Gathered:
    """A gathered link that tells the test of the open one."""

    def __init__(self, gathered: GatheredLink, opened: list[Link]) -> None:
        self._gathered = gathered
        self._opened = opened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gathered, name)

    async def connect(self, peer: Description, timeout_s: float) -> Link:
        link = cast(Link, _Link(await self._gathered.connect(peer, timeout_s)))
        self._opened.append(link)
        return link


@pytest.fixture
def opened() -> dict[LinkRole, list[Link]]:
    """The open links by role, oldest first."""
    return {"host": [], "joiner": []}


@pytest.fixture
async def sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: dict[LinkRole, list[Link]]
) -> AsyncIterator[Sessions]:
    async def prepare_link(role: LinkRole, options: LinkOptions) -> GatheredLink:
        return cast(GatheredLink, _Gathered(await prepare(role, options), opened[role]))

    async with opened_sessions(tmp_path, monkeypatch, prepare_link) as sessions:
        yield sessions


def settings(engine: str, *, reliable: bool = False) -> LinkSettings:
    return LinkSettings(engine=engine, channels=CHANNELS, limit_bytes_per_s=LIMIT, reliable=reliable)


@pytest.fixture
def random_file(tmp_path: Path) -> Path:
    path = tmp_path / "payload.bin"
    path.write_bytes(random.Random(8).randbytes(SIZE_BYTES))
    return path


@pytest.mark.parametrize(
    ("closed", "side", "reliable"),
    [(1, "host", False), (2, "joiner", False), (3, "either", False), (1, "joiner", True), (3, "host", True)],
)
@pytest.mark.parametrize("engine", ["turbo", "aiortc"])
async def test_closed_channels_cost_no_byte_down_to_the_last_one(
    sessions: Sessions,
    opened: dict[LinkRole, list[Link]],
    random_file: Path,
    tmp_path: Path,
    engine: str,
    closed: int,
    side: str,
    reliable: bool,
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    into = tmp_path / "into"
    into.mkdir()

    async def decide(_manifest: Manifest) -> Sink:
        return DirectorySink(into)

    link = settings(engine, reliable=reliable)
    sender = sessions.send(FileSource([random_file]), link=link)
    receiver = sessions.receive(decide, link=link)
    await receiver.event(Progress)
    for index in chance.sample(range(CHANNELS), closed):
        await asyncio.sleep(chance.uniform(0, 0.1))
        roles: list[LinkRole] = ["host", "joiner"]
        role: LinkRole = chance.choice(roles) if side == "either" else roles[side == "joiner"]
        opened[role][0].data[index].close()
    await sender.done()
    await receiver.done()
    assert tree(into) == {"payload.bin": random_file.read_bytes()}
    assert not sender.of(Reconnecting), "the load moved; no other connection was needed"
    states = [channel.state for channel in sender.of(Stats)[-1].channels]
    assert states.count("closed") == closed


@pytest.mark.parametrize("side", ["host", "joiner"])
@pytest.mark.parametrize("engine", ["turbo", "aiortc"])
async def test_when_every_channel_closes_another_connection_is_made(
    sessions: Sessions,
    opened: dict[LinkRole, list[Link]],
    random_file: Path,
    tmp_path: Path,
    engine: str,
    side: LinkRole,
) -> None:
    into = tmp_path / "into"
    into.mkdir()

    async def decide(_manifest: Manifest) -> Sink:
        return DirectorySink(into)

    sender = sessions.send(FileSource([random_file]), link=settings(engine))
    receiver = sessions.receive(decide, link=settings(engine))
    await receiver.event(Progress)
    for channel in opened[side][0].data:
        channel.close()
    await sender.done()
    await receiver.done()
    assert tree(into) == {"payload.bin": random_file.read_bytes()}
    assert sender.of(Reconnected)
    assert receiver.of(Reconnected)


@pytest.mark.parametrize("left", [0, 1])
async def test_channels_that_close_while_people_decide_are_noticed_before_any_byte_is_sent(
    sessions: Sessions, opened: dict[LinkRole, list[Link]], random_file: Path, tmp_path: Path, left: int
) -> None:
    into = tmp_path / "into"
    into.mkdir()

    async def decide(_manifest: Manifest) -> Sink:
        for channel in opened["joiner"][0].data[left:]:
            channel.close()
        await asyncio.sleep(0.3)
        return DirectorySink(into)

    sender = sessions.send(FileSource([random_file]), link=settings("turbo"))
    receiver = sessions.receive(decide, link=settings("turbo"))
    await sender.done()
    await receiver.done()
    assert tree(into) == {"payload.bin": random_file.read_bytes()}
    assert bool(sender.of(Reconnected)) == (left == 0)


@pytest.mark.parametrize("swallowing", [1, 3])
@pytest.mark.parametrize("engine", ["turbo", "aiortc"])
async def test_the_load_of_channels_that_stall_goes_over_the_others(
    sessions: Sessions,
    opened: dict[LinkRole, list[Link]],
    random_file: Path,
    tmp_path: Path,
    engine: str,
    swallowing: int,
) -> None:
    into = tmp_path / "into"
    into.mkdir()

    async def decide(_manifest: Manifest) -> Sink:
        return DirectorySink(into)

    sender = sessions.send(FileSource([random_file]), link=settings(engine))
    receiver = sessions.receive(decide, link=settings(engine))
    await receiver.event(Progress)
    for channel in opened["host"][0].data[:swallowing]:
        cast(_Swallowing, channel).swallows = True
    await sender.done()
    await receiver.done()
    assert tree(into) == {"payload.bin": random_file.read_bytes()}
    assert not sender.of(Reconnecting)
