"""Connectivity checks of our own (RFC 8445 sections 6 and 7): which pairs, in which order, how often, and which wins.

aioice pairs everything with everything in the order of arrival, has each check nominate, so that the first pair to
answer wins, repeats after 0.5, 1.5, 3.5 s … for a minute, and lets a check of the peer's on a pair that it is trying
itself pass without looking at it again. Here the likely pairs are tried, the best first; whoever controls nominates one
(`ice_nomination`); and a check of the peer's, which shows that its NAT is open now, is answered with one of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

import aioice
from aioice import ice, stun
from aioice.candidate import candidate_priority
from aioice.ice import CandidatePair

from tallow_cli.link.no_path import Checks
from tallow_cli.webrtc.ice_gathering import GatheringIceConnection, local_preference
from tallow_cli.webrtc.ice_nomination import Nomination, Rank, Relays
from tallow_cli.wire.source_address import source_address

# RFC 8445 section 6.1.2.5: a peer that lists addresses of its choice has us send no more than this.
MAX_PAIRS: Final = 100
# Of these so many are kept for the ways that work where an address of the peer's own cannot be reached.
_REFLEXIVE_PAIRS: Final = 20
_RELAYED_PAIRS: Final = 20
# When a check is repeated, and given up, in seconds after the one before. Ten in all: at 30 % loss each way, half of
# the round trips, one in a thousand stays unanswered. Twelve seconds, because the last word of the handshake may have
# been lost on its way: the other side begins when the server's TCP has repeated it.
CHECK_PAUSES_S: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 1.5, 2.0, 3.0, 3.0)
# The controlling side begins when the last word of the handshake has come, and so does not wait for it: eight seconds.
# Who gives up first tells the other.
HOST_PAUSES_S: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0)
# A check of the peer's has ours repeated, but not more often than this.
_TRIGGERED_S: Final = 0.05
# The nominating one goes over a pair that has answered, in a time that is known.
_LEAST_NOMINATING_S: Final = 0.05
_MOST_NOMINATING_S: Final = 1.0
_NOMINATING_TRIES: Final = 12

_UNDECIDED: Final = (CandidatePair.State.FROZEN, CandidatePair.State.WAITING, CandidatePair.State.IN_PROGRESS)
_Route = tuple[int, str, int]  # a socket of ours, and where it sends


class CheckingIceConnection(GatheringIceConnection):
    """See the module. The peer's candidates are complete before `connect`. `source_towards` says which address the
    system takes for a destination, None where no route leads there.
    """

    def __init__(
        self,
        ice_controlling: bool,
        *,
        source_towards: Callable[[tuple[str, int]], str | None] = source_address,
        **options: Any,
    ) -> None:
        super().__init__(ice_controlling, **options)
        self._source_towards = source_towards
        self._sources: dict[str, str | None] = {}
        self._nomination: Nomination[CandidatePair] = Nomination()
        self._nominator: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._checks: dict[_Route, _Check] = {}
        self._mirrored: frozenset[str] = frozenset()
        self._answered = 0
        self._heard = False
        self._seen_as: dict[_Route, tuple[str, int]] = {}

    def seen_as(self, pair: CandidatePair) -> tuple[str, int] | None:
        """What the peer said in its answer to a check of this pair: where that came from (RFC 8445 section 7.3.1.2)."""
        return self._seen_as.get(_route(pair))

    @property
    def checks(self) -> Checks:
        """What they have shown so far."""
        return Checks(pairs=len(self._check_list), answered=self._answered, heard=self._heard)

    # Which pairs, and in which order

    async def connect(self) -> None:
        ours = [each.host for each in self._local_candidates if each.type == "host"]
        self._mirrored = mirrored(
            ours, [each.host for each in self._remote_candidates if each.type == "host"]
        )
        for each in self._remote_candidates:
            source = self._source_towards((each.host, each.port))
            self._sources[each.host] = source if source in ours else None
        pairs = [
            CandidatePair(protocol, remote)
            for protocol in self._protocols
            for remote in self._remote_candidates
            if protocol.local_candidate.can_pair_with(remote)
        ]
        pairs.sort(key=self._order, reverse=True)
        self._check_list.extend(_likely(pairs))
        await super().connect()

    def _pair_remote_candidate(self, remote_candidate: aioice.Candidate) -> None:
        """All are paired in one go, in `connect`."""

    def sort_check_list(self) -> None:
        self._check_list.sort(key=self._order, reverse=True)

    def _order(self, pair: CandidatePair) -> tuple[bool, Rank]:
        return pair.remote_candidate.host not in self._mirrored, self._rank(pair)

    def _rank(self, pair: CandidatePair) -> Rank:
        return Rank(
            not _is_relayed(pair),
            _relays(pair),
            self._is_straight(pair),
            ice.candidate_pair_priority(pair.local_candidate, pair.remote_candidate, self.ice_controlling),
        )

    def _is_straight(self, pair: CandidatePair) -> bool:
        """Of our addresses that might reach one of the peer's, the one that the system would take: from the others it
        goes by the wrong card, or by the right one under a wrong name.
        """
        source = self._sources.get(pair.remote_candidate.host)
        return source is None or pair.local_candidate.type == "relay" or pair.local_candidate.host == source

    # One check

    def build_request(self, pair: CandidatePair, nominate: bool) -> stun.Message:
        """With the priority that the peer is to give our address if it does not know it (RFC 8445 section 7.1.1)."""
        request = super().build_request(pair, nominate)
        preference = local_preference(pair.local_candidate)
        request.attributes["PRIORITY"] = candidate_priority(1, "prflx", preference)
        return request

    async def check_start(self, pair: CandidatePair) -> None:
        self.check_state(pair, CandidatePair.State.IN_PROGRESS)
        check = _Check(self, pair)
        route = _route(pair)
        self._checks[route] = check
        try:
            rtt_s = await check.answered(HOST_PAUSES_S if self.ice_controlling else CHECK_PAUSES_S)
            if check.seen_as is not None:
                self._seen_as[route] = check.seen_as
        except TimeoutError:
            self.check_state(pair, CandidatePair.State.FAILED)
        else:
            pair.nominated = pair.remote_nominated
            self.check_state(pair, CandidatePair.State.SUCCEEDED)
            self._answered += 1
            self._nomination.answered(asyncio.get_running_loop().time(), pair, self._rank(pair), rtt_s)
        finally:
            self._checks.pop(route, None)
        self.check_complete(pair)
        self._nominate_if_due()

    def check_incoming(
        self, message: stun.Message, addr: tuple[str, int], protocol: ice.StunProtocol
    ) -> None:
        self._heard = True
        super().check_incoming(message, addr, protocol)
        check = self._checks.get((protocol.id, *addr[:2]))
        if check is not None:
            check.repeat()  # RFC 8445 section 7.3.1.4: a triggered check

    def _check_list_maybe_fail(self) -> None:
        if not any(pair.state == CandidatePair.State.SUCCEEDED for pair in self._check_list):
            super()._check_list_maybe_fail()

    # Which wins

    def _nominate_if_due(self) -> None:
        """Also when the patience with better pairs is over."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if not self.ice_controlling or self._check_list_done or self._nominator is not None:
            return
        undecided = [self._rank(pair) for pair in self._check_list if pair.state in _UNDECIDED]
        loop = asyncio.get_running_loop()
        now = loop.time()
        best = self._nomination.choice(now, undecided)
        if best is not None:
            self._nominator = asyncio.create_task(self._nominate(best.pair, best.rtt_s))
        elif (due := self._nomination.next_timeout()) is not None:
            self._patience = loop.call_later(max(0.0, due - now), self._nominate_if_due)

    async def _nominate(self, pair: CandidatePair, rtt_s: float) -> None:
        first_s = max(_LEAST_NOMINATING_S, 1.5 * rtt_s)
        pauses_s = [min(first_s * 2**n, _MOST_NOMINATING_S) for n in range(_NOMINATING_TRIES)]
        try:
            await _Check(self, pair, nominate=True).answered(pauses_s)
        except TimeoutError:
            self._nominator = None
            self._nomination.failed(pair)
            self.check_state(pair, CandidatePair.State.FAILED)
            self.check_complete(pair)
            self._nominate_if_due()
        else:
            pair.nominated = True
            self.check_complete(pair)

    async def close(self) -> None:
        self._closing = True
        if self._patience is not None:
            self._patience.cancel()
        if self._nominator is not None:
            self._nominator.cancel()
            await asyncio.gather(self._nominator, return_exceptions=True)
        await super().close()


class _Check:
    """Binding requests to the peer over one pair. Each is a transaction of its own, so that the time of its answer is
    known; this stands where aioice's protocol looks for the transaction of a response.
    """

    def __init__(self, connection: aioice.Connection, pair: CandidatePair, *, nominate: bool = False) -> None:
        self._connection = connection
        self._pair = pair
        self._nominate = nominate
        self._key = (connection.remote_password or "").encode()
        self._sent: dict[bytes, float] = {}
        self._last_sent_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._rtt_s: asyncio.Future[float] = self._loop.create_future()
        self.seen_as: tuple[str, int] | None = None  # once answered

    async def answered(self, pauses_s: Iterable[float]) -> float:
        """Send, repeat after each pause but the last, and return how long the answer took. Raises TimeoutError."""
        try:
            for pause_s in pauses_s:
                self._send()
                await asyncio.wait([self._rtt_s], timeout=pause_s)
                if self._rtt_s.done():
                    return self._rtt_s.result()
            raise TimeoutError
        finally:
            for each in self._sent:
                self._pair.protocol.transactions.pop(each, None)

    def repeat(self) -> None:
        """Once more, out of turn."""
        if self._loop.time() - self._last_sent_at >= _TRIGGERED_S:
            self._send()

    def _send(self) -> None:
        request = self._connection.build_request(self._pair, nominate=self._nominate)
        request.add_message_integrity(self._key)
        self._last_sent_at = self._sent[request.transaction_id] = self._loop.time()
        self._pair.protocol.transactions[request.transaction_id] = cast(stun.Transaction, self)
        self._pair.protocol.send_stun(request, self._pair.remote_addr)

    def response_received(self, message: stun.Message, address: tuple[str, int]) -> None:
        # RFC 8445 section 7.2.5.2.1: only from where the request went.
        is_answer = message.message_class == stun.Class.RESPONSE and address[:2] == self._pair.remote_addr
        if is_answer and not self._rtt_s.done() and message.check_message_integrity(self._key):
            self.seen_as = message.attributes.get("XOR-MAPPED-ADDRESS")
            self._rtt_s.set_result(self._loop.time() - self._sent[message.transaction_id])


def mirrored(ours: Sequence[str], theirs: Sequence[str]) -> frozenset[str]:
    """Addresses that both sides have: what is sent there comes back to this machine, as docker0's 172.17.0.1 does on
    every host. None, where all that the peer has is ours: then it is on this machine.
    """
    both = frozenset(ours) & frozenset(theirs)
    return both if set(theirs) - both else frozenset()


def _likely(pairs: Sequence[CandidatePair]) -> list[CandidatePair]:
    """At most `MAX_PAIRS` of these, the best first, with some of every kind."""
    relayed = [pair for pair in pairs if _is_relayed(pair)][:_RELAYED_PAIRS]
    reflexive = [pair for pair in pairs if pair.remote_candidate.type == "srflx" and not _is_relayed(pair)]
    kept = {id(pair) for pair in (*relayed, *reflexive[:_REFLEXIVE_PAIRS])}
    for pair in pairs:
        if len(kept) >= MAX_PAIRS:
            break
        kept.add(id(pair))
    return [pair for pair in pairs if id(pair) in kept]


def _is_relayed(pair: CandidatePair) -> bool:
    return "relay" in (pair.local_candidate.type, pair.remote_candidate.type)


def _relays(pair: CandidatePair) -> Relays:
    ours, theirs = (each.type == "relay" for each in (pair.local_candidate, pair.remote_candidate))
    if ours:
        return Relays.BOTH if theirs else Relays.OURS
    return Relays.THEIRS if theirs else Relays.NONE


def _route(pair: CandidatePair) -> _Route:
    return (pair.protocol.id, *pair.remote_addr)
