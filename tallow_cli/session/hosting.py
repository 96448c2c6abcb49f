"""The sender's rendezvous: a meeting place that lasts, and meetings in it, one after another, under a code made here.

async with hosting(settings, emit) as host:
    async with host.meeting() as meeting:      # as often as there are receivers to meet
        … connect meeting.link …
        await meeting.leave()
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from tallow_cli import __version__
from tallow_cli.crypto.codes import Code, generate_code
from tallow_cli.crypto.handshake import HandshakeResult, HostHandshake
from tallow_cli.errors import (
    IncompatiblePeer,
    PeerProtocolError,
    PeerVanished,
    TallowError,
    WrongCodeError,
)
from tallow_cli.net.description import encode
from tallow_cli.net.link import PeerLink
from tallow_cli.net.signaling_client import SignalingClient
from tallow_cli.session.events import CodeReady, Notice, PeerAuthenticated, SessionEvent, Waiting
from tallow_cli.session.meeting import ANSWER_S, Meeting, capabilities, prepare_link, tell_failure
from tallow_cli.session.meeting_place import MeetingPlace, open_meeting_place
from tallow_cli.session.settings import SendSettings
from tallow_cli.session.task_groups import first_error

_MAX_CODES = 5  # wrong guesses after which the sender stops offering fresh codes


@asynccontextmanager
async def hosting(settings: SendSettings, emit: Callable[[SessionEvent], None]) -> AsyncIterator[Host]:
    """Where receivers can come to, for as long as the context lasts. Raises ServerUnreachable."""
    async with open_meeting_place(settings.server, emit) as place:
        host = Host(place, settings, emit)
        try:
            yield host
        finally:
            await host.leave()


class Host:
    """Made by `hosting`. It counts the guesses, and a code that was guessed at is never offered again."""

    def __init__(
        self, place: MeetingPlace, settings: SendSettings, emit: Callable[[SessionEvent], None]
    ) -> None:
        self._place = place
        self._settings = settings
        self._emit = emit
        self._client: SignalingClient | None = None
        self._code: Code | None = None
        self._guesses = 0

    @asynccontextmanager
    async def meeting(self) -> AsyncIterator[Meeting]:
        """Show a code, wait for a receiver who knows it, and agree on keys with it. Leaving closes the link.

        A wrong guess spends the code: with a code of our own making a fresh one is shown, up to `_MAX_CODES`.
        Raises SignalingError, PeerNeverCame, WrongCodeError, UnsupportedCrypto.
        """
        async with AsyncExitStack() as stack:
            client = await self._open_room()
            try:
                # The code is on the screen; loading WebRTC and gathering addresses goes on while people talk.
                async with asyncio.TaskGroup() as group:
                    preparing = group.create_task(prepare_link("host", self._settings.link, stack))
                    agreeing = group.create_task(self._agree(client, preparing))
            except ExceptionGroup as failures:
                raise first_error(failures) from failures
            handshake = agreeing.result()
            self._emit(PeerAuthenticated(version=handshake.peer_version))
            yield Meeting(preparing.result(), handshake, self.leave)

    async def leave(self) -> None:
        """Be found no longer, until the next meeting."""
        await self._place.withdraw()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _open_room(self) -> SignalingClient:
        """Show a fresh code, under which a room waits from now on."""
        client = self._client
        if client is None:
            client = self._client = await SignalingClient.connect(
                self._place.connect_url, timeout_s=self._settings.waits.connect_s
            )
        chosen = self._settings.code
        nameplate = await client.allocate(chosen.nameplate if chosen else None)
        self._code = code = chosen or generate_code(nameplate, os.urandom)
        await self._place.announce(nameplate)
        self._emit(
            CodeReady(
                code=str(code),
                server=self._place.given_url,
                reachable_as=self._place.reachable_as,
                attempt=self._guesses + 1,
            )
        )
        self._emit(Waiting("for the receiver", self._settings.waits.peer_s))
        return client

    async def _agree(self, client: SignalingClient, link: asyncio.Task[PeerLink]) -> HandshakeResult:
        """Wait for visitors until one proves that it knows the code."""
        while True:
            await client.wait_for_peer(self._settings.waits.peer_s)
            try:
                return await self._shake_hands(client, link)
            except (WrongCodeError, PeerProtocolError, PeerVanished) as error:
                self._count_guess(error)
            await self._open_room()

    async def _shake_hands(self, client: SignalingClient, link: asyncio.Task[PeerLink]) -> HandshakeResult:
        if self._code is None:
            raise RuntimeError("a visitor before there was a code")
        handshake = HostHandshake(
            self._code,
            version=__version__,
            entropy=os.urandom,
            capabilities=capabilities(self._settings.link),
        )
        try:
            hello = await client.recv(ANSWER_S)
            await client.send(handshake.receive_hello(hello, encode((await link).description)))
            return handshake.receive_confirm(await client.recv(ANSWER_S))
        except TallowError as error:
            await tell_failure(client, error)
            raise

    def _count_guess(self, error: TallowError) -> None:
        """The code is spent. Raises WrongCodeError where no fresh one may follow."""
        self._guesses += 1
        self._code = None
        if self._settings.code is not None or self._guesses == _MAX_CODES:
            raise WrongCodeError(
                f"Somebody used the code {_how(error)}. A code allows one guess, so nothing was sent; "
                "run the command again."
            ) from error
        self._emit(Notice(f"Somebody used the code {_how(error)}. Here is a fresh one."))


# In this order: an incompatible peer is a kind of protocol error.
_HOW: tuple[tuple[type[TallowError], str], ...] = (
    (WrongCodeError, "with the wrong words"),
    (IncompatiblePeer, "with a version of Tallow that cannot talk to this one"),
    (PeerProtocolError, "with a program that does not speak Tallow's handshake"),
    (PeerVanished, "and left before proving that they know it"),
)


def _how(error: TallowError) -> str:
    """How the code was used in vain."""
    return next(words for kind, words in _HOW if isinstance(error, kind))
