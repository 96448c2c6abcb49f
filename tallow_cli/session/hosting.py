"""The sender's rendezvous: a meeting place that lasts, and meetings in it, one after another, under a code made here.

async with hosting(settings, emit) as host:
    async with host.meeting() as meeting:      # as often as there are receivers to meet
        … connect meeting.link …
        await meeting.leave()
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from tallow_cli.crypto.codes import Code, generate_code
from tallow_cli.crypto.handshake import HandshakeResult
from tallow_cli.errors import (
    IncompatiblePeer,
    NameplateTaken,
    PeerNeverCame,
    PeerProtocolError,
    PeerVanished,
    ServerRefused,
    ServerUnreachable,
    TallowError,
    WrongCodeError,
)
from tallow_cli.link.link import GatheredLink
from tallow_cli.meeting.signaling_client import SignalingClient
from tallow_cli.session.events import CodeReady, Notice, PeerAuthenticated, SessionEvent, Waiting
from tallow_cli.session.meeting import (
    HELLO_S,
    ConfirmLost,
    Meeting,
    check_relay,
    parting,
    prepare_link,
    say_proxy,
    shake_hands_as_host,
    tell_failure,
    try_own_relays,
)
from tallow_cli.session.meeting_place import MeetingPlace, open_meeting_place
from tallow_cli.session.settings import SendSettings
from tallow_cli.session.task_groups import first_error

_MAX_CODES = 5  # wrong guesses after which the sender stops offering fresh codes
_LONGEST_PAUSE_S = 5.0  # a receiver asks again for longer than that
_TIMER_SLACK_S = 0.05  # a wait that ended this little before its time was ended by our own timer
# A server pings every 20 s and waits 20 s for the answer before it forgets a connection that is gone.
_FORGET_S = 45.0
_SERVER_AWAY = (ServerUnreachable, ServerRefused)
_DRAWS = 5  # of a number that no other sender on this machine has


@asynccontextmanager
async def hosting(settings: SendSettings, emit: Callable[[SessionEvent], None]) -> AsyncIterator[Host]:
    """Where receivers can come to, for as long as the context lasts. Raises ServerUnreachable, BadOption."""
    async with open_meeting_place(settings.server, emit, listen=settings.listen, port=settings.port) as place:
        host = Host(place, settings, emit)
        try:
            yield host
        finally:
            await host.leave()


class Host:
    """Made by `hosting`. It counts the guesses, and a code that was guessed at is never offered again.

    Whoever leaves before we have replied has guessed nothing: the reply is the first thing that depends on the words.
    The code still holds then, and the room is opened again under the same number after a pause, which grows with the
    visits, so that a stranger who comes and goes takes neither the code nor this machine's time.
    """

    def __init__(
        self, place: MeetingPlace, settings: SendSettings, emit: Callable[[SessionEvent], None]
    ) -> None:
        self.place = place
        self._settings = settings
        self._emit = emit
        self._client: SignalingClient | None = None
        self._code: Code | None = None
        self._codes_shown = 0
        self._give_up_at = 0.0  # on the event loop's clock
        self._guesses = 0
        self._visits = 0  # in vain, under this code
        self._has_replied = False  # to the visitor who is there: then the code has been guessed at

    @asynccontextmanager
    async def meeting(self) -> AsyncIterator[Meeting]:
        """Show a code, wait for a receiver who knows it, and agree on keys with it. Leaving closes the link.

        A wrong guess spends the code: with a code of our own making a fresh one is shown, up to `_MAX_CODES`. Where
        nobody has guessed, the next meeting waits under the code of the one before, which is not shown again.
        Raises SignalingError, PeerNeverCame, WrongCodeError, NameplateTaken, UnsupportedCrypto.
        """
        async with AsyncExitStack() as stack:
            self._visits = 0
            if self._code is None:
                await try_own_relays("host", self._settings)
                await self._open_room()
            self._begin_to_wait()
            if self._client is None:
                await self._open_again()
            try:
                # The code is on the screen; loading WebRTC and gathering addresses goes on while people talk.
                async with asyncio.TaskGroup() as group:
                    preparing = group.create_task(prepare_link("host", self._settings, stack))
                    agreeing = group.create_task(self._agree(preparing))
            except ExceptionGroup as failures:
                raise first_error(failures) from failures
            handshake, client = agreeing.result()
            self._emit(PeerAuthenticated(version=handshake.peer_version))
            yield Meeting(
                client.url,
                preparing.result(),
                handshake,
                self.leave,
                partial(parting, client, math.inf, is_joiner=False),
                partial(tell_failure, client),
            )

    async def leave(self) -> None:
        """Be found no longer, until the next meeting."""
        await self.place.withdraw()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    # The room

    async def _open_room(self, *, may_be_ours: bool = False) -> None:
        """A room under the code waits from now on; where there is no code, a fresh one is shown.

        Raises NameplateTaken for a number that somebody else has, who `may_be_ours`: our connection of before, of whose
        end the server does not know yet.
        """
        client = self._client
        if client is None:
            client = self._client = await SignalingClient.connect(
                self.place.connect_url, timeout_s=self._settings.waits.connect_s
            )
            say_proxy(client, self._emit)
            check_relay(client, self._settings.link)
        if self._code is not None:
            try:
                await client.allocate(self._code.nameplate)
            except NameplateTaken:
                if self._settings.code is not None or may_be_ours:
                    raise
                self._emit(
                    Notice("Another sender took the number of that code meanwhile. Here is a fresh one.")
                )
                self._code = None
            else:
                await self.place.announce(self._code.nameplate)
                return
        await self._show_fresh_code(client)

    async def _open_again(self) -> None:
        """As `_open_room`, also at a server that is away for a while."""
        try:
            await self._open_room()
        except _SERVER_AWAY as lost:
            await self._come_back(lost)

    async def _come_back(self, lost: ServerUnreachable | ServerRefused) -> None:
        """The server is away: wait for it as long as for a receiver, and claim the same number again. Raises `lost`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._emit(
            Notice(f"The signaling server was lost ({lost.reason}). Trying again; the code still holds.")
        )
        pause_s = self._settings.pace.first_pause_s
        while True:
            client, self._client = self._client, None
            if client is not None:
                await client.close()
            if loop.time() + pause_s >= self._give_up_at:
                raise lost
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            try:
                await self._open_room(may_be_ours=loop.time() - began < _FORGET_S)
            except NameplateTaken:
                if loop.time() - began >= _FORGET_S:
                    raise
            except _SERVER_AWAY as again:
                lost = again
            else:
                self._emit(Notice("The signaling server is there again."))
                return

    async def _show_fresh_code(self, client: SignalingClient) -> None:
        self._code = code = await self._announced_code(client)
        self._codes_shown += 1
        self._emit(
            CodeReady(
                code=str(code),
                server=self.place.given_url,
                reachable_as=self.place.reachable_as,
                attempt=self._codes_shown,
                given=self._settings.code is not None,
            )
        )

    async def _announced_code(self, client: SignalingClient) -> Code:
        chosen = self._settings.code
        for draw in range(1, _DRAWS + 1):
            nameplate = await client.allocate(chosen.nameplate if chosen else None)
            code = chosen or generate_code(nameplate, os.urandom)
            try:
                await self.place.announce(code.nameplate)
            except NameplateTaken:
                if chosen is not None or draw == _DRAWS:
                    raise
            else:
                break
        return code

    def _begin_to_wait(self) -> None:
        peer_s = self._settings.waits.peer_s
        self._emit(Waiting.of("for the receiver", peer_s))
        self._give_up_at = asyncio.get_running_loop().time() + peer_s

    # Who comes

    async def _agree(self, link: asyncio.Task[GatheredLink]) -> tuple[HandshakeResult, SignalingClient]:
        """Wait for visitors until one proves that it knows the code; where it was met, too."""
        while True:
            if self._client is None:
                raise RuntimeError("nobody can come before there is a room")
            client = self._client
            try:
                self._has_replied = False
                await self._await_visitor(client)
                return await self._shake_hands(client, link), client
            except _NothingGuessed as visit:
                await self._pass_over(visit)
                await self._open_again()
            except _SERVER_AWAY as lost:
                if self._has_replied:  # whoever came may have guessed
                    raise
                await self._come_back(lost)
            except (WrongCodeError, PeerProtocolError, PeerVanished) as error:
                self._count_guess(error)
                await self._open_again()
                self._begin_to_wait()

    async def _await_visitor(self, client: SignalingClient) -> None:
        """Until somebody has joined. A server's own limit of a wait does not end ours: the room is opened again.

        Raises PeerNeverCame.
        """
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                return await client.wait_for_peer(self._give_up_at - begun)
            except PeerNeverCame:
                now = loop.time()
                if now >= self._give_up_at - _TIMER_SLACK_S:
                    raise PeerNeverCame(self._settings.waits.peer_s) from None
                shortest_s = self._settings.pace.shortest_wait_s
                if now - begun < shortest_s:
                    await asyncio.sleep(shortest_s)
            await self._open_room()

    async def _shake_hands(
        self, client: SignalingClient, link: asyncio.Task[GatheredLink]
    ) -> HandshakeResult:
        if self._code is None:
            raise RuntimeError("a visitor before there was a code")
        try:
            hello = await client.recv(HELLO_S)
            return await shake_hands_as_host(
                client,
                hello,
                self._code,
                await link,
                self._settings,
                self.place.reached_at(),
                self._note_reply,
            )
        except (WrongCodeError, PeerProtocolError, PeerVanished) as error:
            await tell_failure(client, error)
            if not self._has_replied:
                raise _NothingGuessed(error) from error
            raise
        except TallowError as error:
            await tell_failure(client, error)
            raise

    def _note_reply(self) -> None:
        self._has_replied = True

    async def _pass_over(self, visit: _NothingGuessed) -> None:
        self._visits += 1
        self._emit(
            Notice(
                f"Somebody came {_how(visit.error, _VISITS)}. Nothing was guessed, so the code still holds.",
                detail=self._visits
                > 1,  # once is worth a line, a stranger who keeps coming is not worth more
            )
        )
        await asyncio.sleep(pause_after(self._visits, self._settings.pace.first_pause_s))

    def _count_guess(self, error: TallowError) -> None:
        """The code is spent. Raises WrongCodeError where no fresh one may follow."""
        self._guesses += 1
        self._code = None
        self._visits = 0
        if self._settings.code is not None or self._guesses == _MAX_CODES:
            raise WrongCodeError(
                f"Somebody used the code {_how(error, _GUESSES)}. A code allows one guess, so nothing was sent; "
                "run the command again."
            ) from error
        self._emit(
            Notice(f"Somebody used the code {_how(error, _GUESSES)}, so it is spent. Here is a fresh one.")
        )


def pause_after(visits: int, first_pause_s: float) -> float:
    """How long the room stays closed after so many visits in vain: twice as long each time, to a bound."""
    return min(first_pause_s * float(2 ** (visits - 1)), _LONGEST_PAUSE_S)


class _NothingGuessed(Exception):
    """A visit that ended, as `error` says, before anything that depends on the code was sent."""

    def __init__(self, error: TallowError) -> None:
        super().__init__(error)
        self.error = error


# In this order: an incompatible peer is a kind of protocol error, and a lost proof one of a wrong code.
_GUESSES: tuple[tuple[type[TallowError], str], ...] = (
    (ConfirmLost, "with the right words, but the signaling server did not pass on the proof of it"),
    (WrongCodeError, "with the wrong words"),
    (PeerProtocolError, "with a program that breaks Tallow's handshake"),
    (PeerVanished, "and left before proving that they know it"),
)
_VISITS: tuple[tuple[type[TallowError], str], ...] = (
    (IncompatiblePeer, "with a version of Tallow that cannot talk to this one"),
    (PeerProtocolError, "with a program that does not speak Tallow's handshake"),
    (TallowError, "and left without trying the code"),
)


def _how(error: TallowError, ways: tuple[tuple[type[TallowError], str], ...]) -> str:
    return next(words for kind, words in ways if isinstance(error, kind))
