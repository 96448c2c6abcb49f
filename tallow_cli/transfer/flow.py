"""How much may be on its way: the receiver's credit, the delivery rate, the bound of the local queue, `--limit`."""

from __future__ import annotations

from collections import deque
from math import inf

from tallow_cli.errors import PeerProtocolError

RATE_INTERVAL_S = 0.1  # one sample of the delivery rate, and at least a round trip
FIRST_RATE_INTERVAL_S = 0.02  # the first samples are rough and early: they open the bound of the queue
FIRST_RATE_SAMPLES = 5
EARLY_GROWTH = 2
EARLY_QUEUES = 2  # the first samples may be that much too low
RATE_SAMPLES = 10  # the estimate is their maximum: about a second, so that a hiccup does not count
QUEUE_TARGET_S = 0.1  # of data at the present rate; more would only be latency
INITIAL_QUEUE_BYTES = 256 * 1024  # before a rate is known
MIN_QUEUE_BYTES = 64 * 1024  # keeps a slow or paused path ready to find out that it is faster now
CREDIT_INTERVAL_S = (
    0.25  # where no ACK carries it: a sender whose data has all arrived shows by it what is written
)
CREDIT_QUANTUM = 4  # an update goes over the reliable channel each time a quarter of the window is freed


class DeliveryRate:
    """Bytes per second the receiver acknowledges: the maximum of recent intervals."""

    def __init__(self) -> None:
        self._since = -inf
        self._bytes = 0
        self._early_bytes = 0
        self._samples: deque[float] = deque(maxlen=RATE_SAMPLES)

    @property
    def bytes_per_s(self) -> float:
        """0 before the first sample."""
        return max(self._samples, default=0.0)

    @property
    def early_bytes(self) -> int | None:
        """Until there are a few samples, what was delivered so far; then None."""
        return self._early_bytes if len(self._samples) < FIRST_RATE_SAMPLES else None

    def started(self, now: float) -> None:
        """Data goes out while none was on its way. A long pause before it says nothing about the path."""
        if now - self._since >= RATE_INTERVAL_S:
            self._since, self._bytes = now, 0

    def delivered(self, now: float, size: int, rtt_s: float) -> None:
        """`size` bytes were acknowledged; `started` was called before they went out."""
        self._bytes += size
        self._early_bytes += size
        elapsed_s = now - self._since
        interval_s = RATE_INTERVAL_S if self.early_bytes is None else FIRST_RATE_INTERVAL_S
        if elapsed_s >= max(interval_s, rtt_s):
            self._samples.append(self._bytes / elapsed_s)
            self._since, self._bytes = now, 0


def queue_bound(rate: DeliveryRate, message_bytes: int) -> int:
    """How many bytes may be handed over and still wait in the local stack.

    What the path takes in `QUEUE_TARGET_S`. What has left is not counted: how much may be on its way is for the
    congestion control below, which knows the path. A bound on that from here, by the least round trip seen, starved
    for good a path whose round trip rose. The first samples of the rate contain the wait for the first ACK: meanwhile
    every byte delivered adds two. TCP's slow start adds one; the congestion control below starts faster than that, and
    must be what waits for the path.
    """
    queue_bytes = int(rate.bytes_per_s * QUEUE_TARGET_S)
    least_bytes = MIN_QUEUE_BYTES
    if rate.early_bytes is not None:
        least_bytes = INITIAL_QUEUE_BYTES + EARLY_GROWTH * rate.early_bytes
        if queue_bytes:
            least_bytes = min(least_bytes, max(INITIAL_QUEUE_BYTES, EARLY_QUEUES * queue_bytes))
    return max(queue_bytes, least_bytes, 2 * message_bytes)


class SendCredit:
    """The receiver's permission. It only ever grows; an older limit in a late packet changes nothing."""

    def __init__(self) -> None:
        self.limit = 0
        self.used = 0
        self._first: int | None = None

    @property
    def left(self) -> int:
        return self.limit - self.used

    @property
    def regained(self) -> int:
        """How far the limit has risen since it was first given: so much has the receiver written."""
        return 0 if self._first is None else self.limit - self._first

    def granted(self, limit: int) -> None:
        if self._first is None:
            self._first = limit
        self.limit = max(self.limit, limit)


class ReceiveWindow:
    """The receiver's side of credit: bytes written + window. Data beyond it is the sender's fault."""

    def __init__(self, window_bytes: int) -> None:
        self._window_bytes = window_bytes
        self._advertised = window_bytes
        self._advertised_at = -inf
        self._told_reliably = window_bytes
        self.received = 0  # distinct bytes of this session
        self.written = 0

    @property
    def limit(self) -> int:
        return self.written + self._window_bytes

    @property
    def backlog_bytes(self) -> int:
        return self.received - self.written

    def is_update_due(self, now: float) -> bool:
        """A quarter of the window was freed since the reliable channel last said so; or some of it was, and nothing
        has said so for a while.

        ACKs carry the limit too, but may be lost, and a sender out of credit causes no more of them.
        """
        if self.limit - self._told_reliably >= self._window_bytes // CREDIT_QUANTUM:
            return True
        return self.limit > self._advertised and now - self._advertised_at >= CREDIT_INTERVAL_S

    def advertise(self, now: float, *, reliably: bool) -> int:
        """The limit to send now."""
        self._advertised = self.limit
        self._advertised_at = now
        if reliably:
            self._told_reliably = self.limit
        return self._advertised

    def take(self, size: int) -> None:
        """`size` bytes arrived for the first time. Raises PeerProtocolError if they were not allowed."""
        self.received += size
        if self.received > self._advertised:
            raise PeerProtocolError("more data than the credit given")


class TokenBucket:
    """The user's `--limit`: payload bytes per second from the first byte on.

    In any time T after it at most `BURST_S` + T of the rate goes out, and one message: `most_message_bytes` is 1 % of
    what a second may carry, so that a second stays within 4 % from 51 kB/s on.
    """

    BURST_S = 0.03  # what a late timer may make up for; a busy event loop is late by so much
    MESSAGE_S = 0.01
    LEAST_MESSAGE_BYTES = 512  # smaller ones would be mostly headers, which the limit does not count

    def __init__(self, bytes_per_s: float) -> None:
        if bytes_per_s <= 0:
            raise ValueError("a limit of nothing")
        self._bytes_per_s = bytes_per_s
        self._tokens = 0.0
        self._at: float | None = None  # nothing is saved up before there was anything to send

    @property
    def most_message_bytes(self) -> int:
        """How much payload a message should carry at most."""
        return max(self.LEAST_MESSAGE_BYTES, int(self._bytes_per_s * self.MESSAGE_S))

    def ready_at(self, now: float) -> float:
        """When the next message may go: `now` or later. It goes once the debt of those before is paid."""
        self._refill(now)
        return now if self._tokens >= 0 else now - self._tokens / self._bytes_per_s + 1e-6

    def spend(self, now: float, size: int) -> None:
        self._refill(now)
        self._at = now
        self._tokens -= size

    def _refill(self, now: float) -> None:
        if self._at is not None:
            most = self._bytes_per_s * self.BURST_S
            self._tokens = min(most, self._tokens + (now - self._at) * self._bytes_per_s)
            self._at = now
