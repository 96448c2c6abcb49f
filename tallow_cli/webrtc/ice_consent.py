"""Whether the peer still agrees to be sent to (RFC 7675), and whether it is there at all. Sans-IO.

    consent = Consent(now, uniform)
    while (why := consent.lost(now)) is None:
        if now >= consent.next_check_at: send a STUN Binding request; consent.check_sent(now, its transaction id)
        sleep until consent.next_timeout(), or until told `refused`; where that came late, consent.missed(by how much)

Every check is a transaction of its own, is sent once, and may be answered as long as no later one was: a path with
seconds of queue answers late, and has consented all the same. Consent ends 30 s after the first check that stayed
unanswered; time in which this process did not run does not count.

RFC 7675 wants a check about every 5 s. Ours go once a second: a peer that was killed while nobody had anything to say
is then noticed within two, and an outage is over for us a second after it is over.

What ICMP says (nobody listens on the port) is believed only if the peer does not answer meanwhile: it can be forged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tallow_cli.errors import Loss, PeerVanished

CHECK_INTERVAL_S: Final = 0.8  # each is drawn between 0.8 and 1.2 of it (RFC 7675 section 5.1)
SILENCE_INTERVAL_S: Final = 0.5  # while more than one is unanswered: the end of an outage shall be noticed
LIFETIME_S: Final = 30.0  # RFC 7675 section 5.1
# A closed port answers every datagram with ICMP. A few in a row, over some time and with nothing heard between them,
# mean that the peer's process is gone; one alone may be a stray. It is asked more often meanwhile.
REFUSALS: Final = 3
SUSPICION_S: Final = 0.4
SUSPICION_ROUND_TRIPS: Final = 2.0  # a living peer's answer takes one
SUSPICION_INTERVAL_S: Final = 0.15
SUSPICION_ENDS_S: Final = 2.0  # after so long without another refusal the first were strays

SILENT: Final = "the other side no longer answers"
GONE: Final = "the program on the other side is gone"
MOVED: Final = "this machine's network address has changed"
AWAY: Final = "this machine has no network address any more"


def vanished(loss: Loss = Loss.SILENT) -> PeerVanished:
    """The error that says why the peer is not sent to any more."""
    return PeerVanished({Loss.PEER_GONE: GONE, Loss.PATH_GONE: MOVED}.get(loss, SILENT), loss)


class Consent:
    """See the module. `uniform` gives numbers in [0, 1)."""

    def __init__(self, now: float, uniform: Callable[[], float]) -> None:
        self.next_check_at = now
        self._checked_at = now
        self._uniform = uniform
        self._unanswered: dict[bytes, float] = {}  # transaction id: when it was sent, oldest first
        self._round_trip_s = 0.0
        self._refusals = 0
        self._refused_since = 0.0
        self._refused_at = 0.0

    def check_sent(self, now: float, transaction: bytes) -> None:
        """A check has left; `next_check_at` says when the next one shall."""
        self._unanswered[transaction] = now
        if self._refusals and now - self._refused_at > SUSPICION_ENDS_S:
            self._refusals = 0
        interval_s = CHECK_INTERVAL_S
        if self._refusals:
            interval_s = SUSPICION_INTERVAL_S
        elif len(self._unanswered) > 1:
            interval_s = SILENCE_INTERVAL_S
        self._checked_at = now
        self.next_check_at = now + interval_s * (0.8 + 0.4 * self._uniform())

    def answered(self, now: float, transaction: bytes) -> list[bytes]:
        """The peer answered this check. Returns the transactions that are over: it, and all that were sent before."""
        sent_at = self._unanswered.get(transaction)
        if sent_at is None:
            return []
        self._round_trip_s = now - sent_at
        over = [each for each, at in self._unanswered.items() if at <= sent_at]
        for each in over:
            del self._unanswered[each]
        self.heard()
        return over

    def heard(self) -> None:
        """Something came that only the peer can have sent."""
        self._refusals = 0

    def refused(self, now: float) -> None:
        """ICMP: nobody listens on the peer's port."""
        if not self._refusals:
            self._refused_since = now
            # A living peer contradicts. However much is forged, it is not asked more often than this.
            self.next_check_at = min(self.next_check_at, max(now, self._checked_at + SUSPICION_INTERVAL_S))
        self._refusals += 1
        self._refused_at = now

    def missed(self, late_s: float) -> None:
        """This process did not run for so long: nothing could be heard."""
        self._unanswered = {each: at + late_s for each, at in self._unanswered.items()}
        self._refusals = 0

    @property
    def silent_since(self) -> float | None:
        """When the first of the checks was sent that are unanswered; None if none is."""
        return next(iter(self._unanswered.values()), None)

    def next_timeout(self) -> float:
        """When to look again."""
        since = self.silent_since
        return self.next_check_at if since is None else min(self.next_check_at, since + LIFETIME_S)

    def lost(self, now: float) -> Loss | None:
        """Why the peer must not be sent to any more; None while it may be."""
        suspicion_s = max(SUSPICION_S, SUSPICION_ROUND_TRIPS * self._round_trip_s)
        if self._refusals >= REFUSALS and self._refused_at - self._refused_since >= suspicion_s:
            return Loss.PEER_GONE
        since = self.silent_since
        if since is not None and now >= since + LIFETIME_S:
            return Loss.SILENT
        return None
