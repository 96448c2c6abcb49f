"""Finding a sender by its nameplate alone: a file for the same machine, multicast DNS for the network.

    async with announce(nameplate, port):        # sender, whose embedded server listens on `port`
        …
    urls = await find(nameplate, timeout_s)      # receiver; give them to SignalingClient.connect_any

The file costs microseconds and works at once. Multicast starts after a moment (`MDNS_DELAY_S`) and runs beside whatever
follows; where it does not work the announcement goes on without it. `TALLOW_NO_MDNS=1` in the environment switches
it off. Discovery is public and unauthenticated: a false answer leads to a false server, which the handshake unmasks.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from tallow_cli.errors import UnknownNameplate
from tallow_cli.meeting import mdns
from tallow_cli.meeting.addresses import loopback_addresses
from tallow_cli.meeting.local_discovery import LocalDirectories
from tallow_cli.meeting.server_url import server_url

NO_MDNS_VARIABLE = "TALLOW_NO_MDNS"
# Two processes on one machine are through with each other before zeroconf is imported; a person on another one has
# not even read the code.
MDNS_DELAY_S = 0.25
POLL_S = 0.03


class Advertise(Protocol):
    def __call__(
        self, nameplate: str, port: int, named: Sequence[str] | None, *, public: bool = False
    ) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Multicast:
    """How the network is told and asked: see `meeting.mdns`. `after_s`: not before that."""

    advertise: Advertise = mdns.advertise
    resolve: Callable[[str, Sequence[str] | None], Awaitable[list[str]]] = mdns.resolve
    after_s: float = MDNS_DELAY_S


MULTICAST: Final = Multicast()
OnNotice = Callable[[str, bool], None]  # what does not work, and whether only the curious need to know


def mdns_allowed() -> bool:
    """Unless the environment switches it off."""
    return os.environ.get(NO_MDNS_VARIABLE, "") in ("", "0")


def _say_nothing(_notice: str, _is_detail: bool) -> None:
    """Nobody asked for notices."""


@asynccontextmanager
async def announce(
    nameplate: str,
    port: int,
    *,
    interfaces: Sequence[str] | None = None,
    public: bool = False,
    use_mdns: bool | None = None,
    directories: LocalDirectories | None = None,
    on_notice: OnNotice = _say_nothing,
    multicast: Multicast = MULTICAST,
) -> AsyncIterator[None]:
    """Let receivers find the server on `port` while the context lasts.

    `interfaces` limits multicast to those with these addresses, `public` has it tell those of the Internet too;
    `use_mdns` None asks the environment. What does not work is told to `on_notice`, because the receiver can still be
    given the URL.
    Raises NameplateTaken if another live sender on this machine announces the same nameplate.
    """
    with ExitStack() as files:
        try:
            files.enter_context((directories or LocalDirectories.of_this_user()).announced(nameplate, port))
        except OSError as error:
            # Worth a line: somebody may have taken our places on purpose, so that receivers ask by multicast only,
            # which anybody on the network may answer.
            on_notice(
                f"Receivers on this machine may not find this sender by the code alone ({error}); "
                "where they do not, give them --server.",
                False,
            )
        advertising: asyncio.Task[None] | None = None
        if mdns_allowed() if use_mdns is None else use_mdns:
            advertising = asyncio.create_task(
                _advertise(multicast, nameplate, port, interfaces, public, on_notice)
            )
        try:
            yield
        finally:
            if advertising is not None:
                advertising.cancel()
                await asyncio.wait([advertising])


async def find(
    nameplate: str,
    timeout_s: float,
    *,
    interfaces: Sequence[str] | None = None,
    use_mdns: bool | None = None,
    directories: LocalDirectories | None = None,
    multicast: Multicast = MULTICAST,
) -> list[str]:
    """The ws:// URLs under which the sender's server may be reached, likeliest first; the first answer wins.

    Raises UnknownNameplate after `timeout_s`.
    """
    places = directories or LocalDirectories.of_this_user()
    allowed = mdns_allowed() if use_mdns is None else use_mdns
    searches = [asyncio.create_task(_find_file(nameplate, places))]
    if allowed:
        searches.append(asyncio.create_task(_resolve(multicast, nameplate, interfaces)))
    try:
        done, _ = await asyncio.wait(
            searches,
            timeout=None if math.isinf(timeout_s) else timeout_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if done:
            return done.pop().result()
    finally:
        for search in searches:
            search.cancel()
        await asyncio.gather(*searches, return_exceptions=True)
    where = "on this machine or the local network" if allowed else "on this machine"
    raise UnknownNameplate(nameplate, f"{where}; give --server if it is elsewhere")


async def _find_file(nameplate: str, directories: LocalDirectories) -> list[str]:
    while (port := directories.port_of(nameplate)) is None:  # noqa: ASYNC110 - another process has no Event for us
        await asyncio.sleep(POLL_S)
    return [server_url(address, port) for address in loopback_addresses()]


async def _resolve(multicast: Multicast, nameplate: str, interfaces: Sequence[str] | None) -> list[str]:
    await asyncio.sleep(multicast.after_s)
    try:
        return await multicast.resolve(nameplate, interfaces)
    except OSError:  # no multicast here; the search for the file goes on until the timeout
        forever: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        return await forever


async def _advertise(
    multicast: Multicast,
    nameplate: str,
    port: int,
    interfaces: Sequence[str] | None,
    public: bool,
    on_notice: OnNotice,
) -> None:
    await asyncio.sleep(multicast.after_s)
    try:
        await multicast.advertise(nameplate, port, interfaces, public=public)
    except OSError as error:
        on_notice(f"Receivers on the network cannot discover this sender ({error.strerror or error}).", True)
