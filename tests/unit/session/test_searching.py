"""session.searching: a silent connection is searched for beside, and replaced only if it stays silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tallow_cli.session.events import Done, Progress, Reconnected, Reconnecting
from tallow_cli.session.pace import Pace
from tallow_cli.session.searching import UNANSWERED
from tallow_cli.session.settings import LinkSettings, Waits
from tallow_cli.store.memory_source import RandomSource
from tests.support.sessions import Sessions, Side, opened_sessions, running_server

SLOWLY = LinkSettings(limit_bytes_per_s=4_000_000)


@pytest.fixture
async def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sessions]:
    async with opened_sessions(tmp_path, monkeypatch) as opened:
        opened.pace = Pace(silent_s=0.2, answer_s=0.5, look_s=0.02)
        yield opened


async def begun(sessions: Sessions, url: str | None = None, waits: Waits | None = None) -> tuple[Side, Side]:
    sender = sessions.send(RandomSource(3_000_000), link=SLOWLY, server=url, waits=waits)
    receiver = sessions.receive(server=url, waits=waits)
    await receiver.event(Progress, 2)
    return sender, receiver


def silence(sessions: Sessions, silence_s: float) -> None:
    for link in sessions.network.links:
        link.silence_s = silence_s


async def both_have_met(sessions: Sessions) -> None:
    async with asyncio.timeout(5):
        while len(sessions.network.links) < 4:
            await asyncio.sleep(0.01)


async def test_a_path_that_stays_silent_is_replaced_as_soon_as_both_have_met(sessions: Sessions) -> None:
    sender, receiver = await begun(sessions)
    sessions.network.mute()
    silence(sessions, 9.0)
    for side in (sender, receiver):
        assert (await side.event(Reconnecting)).reason == UNANSWERED
        assert (await side.event(Reconnected)).attempt == 2
    assert isinstance(await sender.done(), Done)
    await receiver.done()


async def test_a_path_that_answers_again_goes_on_though_both_have_begun_to_meet(sessions: Sessions) -> None:
    async with running_server() as url:
        sender, receiver = await begun(sessions, url)
        old = sessions.network.links
        sessions.network.mute()
        silence(sessions, 9.0)
        await both_have_met(sessions)
        for link in old:
            link.silence_s = 0.0
            link.unmute()
        await sender.done()
        await receiver.done()
    assert sender.of(Reconnecting) == receiver.of(Reconnecting) == []


async def test_a_silent_path_over_which_data_moves_is_only_slow(sessions: Sessions) -> None:
    sender, receiver = await begun(sessions)
    silence(sessions, 9.0)
    await sender.done()
    await receiver.done()
    assert sender.of(Reconnecting) == receiver.of(Reconnecting) == []


async def test_nobody_searches_beside_who_does_not_reconnect(sessions: Sessions) -> None:
    sender, receiver = await begun(sessions, waits=Waits(reconnect_s=0))
    sessions.network.mute()
    silence(sessions, 9.0)
    await asyncio.sleep(0.5)
    assert len(sessions.network.links) == 2
    for side in (sender, receiver):
        side.cancel()
        await side.failure()
