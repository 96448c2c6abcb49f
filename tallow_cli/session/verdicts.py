"""From what stopped the scheduler to the verdict that both ends show: the sender's part, and the receiver's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tallow_cli.measure.account import Account, Verdict
from tallow_cli.measure.causes import Cause, Stop
from tallow_cli.measure.diagnosis import EndUse, PathState, causes_of
from tallow_cli.session.pace import SILENT_S

# A tick that comes so late found a process that was stopped, or a machine that slept.
_STOPPED_S: Final = 1.5
# Of a receiver: what it says of itself is worth telling again when it is so much off, or after so many ticks.
_CHANGED: Final = 0.3
_TELL_TICKS: Final = 5


class SenderVerdicts:
    """One transfer's account, over all its connections. Call `tick` at an even pace."""

    def __init__(self, now: float, source: Cause) -> None:
        self._account = Account()
        self._source = source
        self._booked_at = self._ticked_at = now
        self._silent_s = 0.0

    def tick(
        self,
        now: float,
        take_stops: Callable[[float], dict[Stop, float]],
        here: EndUse,
        there: EndUse | None,
        path: PathState,
        *,
        silence_s: float,
        is_in_doubt: bool,
    ) -> None:
        """Book the time since the last tick. While it is in doubt whether the other side is silent, nothing is booked:
        what comes after it tells. `take_stops`: `SendMachine.take_stops`."""
        was_stopped = now - self._ticked_at > _STOPPED_S and not here.is_short_of_cpu
        self._ticked_at = now
        self._silent_s = silence_s if is_in_doubt and silence_s >= SILENT_S else 0.0
        if is_in_doubt and not self._silent_s:
            return
        elapsed_s = now - self._booked_at
        if elapsed_s <= 0:
            return
        stopped = take_stops(now)
        if was_stopped:
            self._booked_at = now  # this process was stopped: what it did not see is nobody's
            return
        if self._silent_s:
            seconds = {Cause.PEER_SILENT: elapsed_s}
        else:
            seconds = causes_of(stopped, here, there, path, source=self._source)
            rest_s = elapsed_s - sum(seconds.values())
            if rest_s > 0:  # without a connection
                seconds[Cause.PEER_SILENT] = seconds.get(Cause.PEER_SILENT, 0.0) + rest_s
        self._account.book(now, seconds)
        self._booked_at = now

    def now(self, now: float) -> Verdict | None:
        return silent(self._silent_s) or self._account.verdict(now)

    def told(self, now: float) -> Verdict | None:
        """For the receiver: of the last seconds, whatever is to be said of this one."""
        return self._account.verdict(now)

    @property
    def whole(self) -> Verdict | None:
        return self._account.whole()


def silent(silence_s: float) -> Verdict | None:
    """Whoever is not answered for so long says so by itself, whatever was told before."""
    if silence_s < SILENT_S:
        return None
    return Verdict(Cause.PEER_SILENT, 1.0, silence_s, ((Cause.PEER_SILENT, 1.0),), silence_s)


class UseTeller:
    """Decides when a receiver tells again what it was at: at once when that changes, and else once a second."""

    def __init__(self) -> None:
        self._told: EndUse | None = None
        self._ticks = 0

    def is_due(self, use: EndUse) -> bool:
        """Call it once a tick; True counts as told."""
        self._ticks += 1
        told = self._told
        if told is not None and self._ticks < _TELL_TICKS and not _has_changed(told, use):
            return False
        self._told, self._ticks = use, 0
        return True


def _has_changed(told: EndUse, use: EndUse) -> bool:
    causes = told.blocked.keys() | use.blocked.keys()
    blocked = (abs(told.blocked.get(cause, 0.0) - use.blocked.get(cause, 0.0)) for cause in causes)
    return max(abs(told.cpu_need - use.cpu_need), *blocked, 0.0) >= _CHANGED
