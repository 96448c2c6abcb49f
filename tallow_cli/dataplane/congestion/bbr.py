"""BBR: a paced sender that follows a model of the path instead of its losses (draft-ietf-ccwg-bbr).

                                                   ┌────────────── ProbeBW ──────────────┐
    STARTUP ── pipe full ─▶ DRAIN ── queue gone ─▶ │ CRUISE ─▶ REFILL ─▶ UP ─▶ DOWN ─┐   │
                                                   │   ▲─────────────────────────────┘   │
                                                   └──── minimum RTT older than 10 s ────┘
                                                                 ▼         ▲
                                                                  PROBE_RTT

The core is that of v1 (max bandwidth, min RTT, gains), the guards are those of v3 (bounds on what may be in flight,
refill before probing, cruise with headroom), with four changes that a file transfer asks for:
    - Loss alone hardly slows it: only loss beyond what the path loses anyway counts, and beyond means 2 %. Sending
      less and seeing as much loss is how "anyway" is learnt. v3 answers 2 % of any loss, and so never reaches the
      rate of a path that loses 2 % at any rate.
    - A queue that stands while we cruise is drained at once: the path became slower, or somebody came. If it comes
      back, we share it as CUBIC would (`bbr_company.py`).
    - A round trip that is many times longer each time our share of the queue is gone makes it begin anew, and not
      starve for the ten seconds in which a minimum is believed (`bbr_longer_path.py`).
    - A probe turns back at the queue length that overflowed before, not only after losing packets again.
"""

from __future__ import annotations

from enum import Enum

from tallow_cli.dataplane.congestion.bbr_company import Company
from tallow_cli.dataplane.congestion.bbr_full_pipe import FullPipe
from tallow_cli.dataplane.congestion.bbr_longer_path import LongerPath
from tallow_cli.dataplane.congestion.bbr_loss_answer import FEEDBACK_ROUNDS, LossAnswer
from tallow_cli.dataplane.congestion.bbr_model import (
    LEAST_ROUND_S,
    MIN_RTT_WINDOW_S,
    PathModel,
)
from tallow_cli.dataplane.congestion.bbr_overflow import Overflow
from tallow_cli.dataplane.congestion.controller import (
    INITIAL_WINDOW_PACKETS,
    MIN_WINDOW_PACKETS,
    AckSample,
    BytesPerSecond,
    CongestionController,
    ControllerConfig,
)
from tallow_cli.dataplane.congestion.pacing import quantum_bytes

# 4 ln 2: the smallest gain that doubles the rate each round (draft, StartupPacingGain).
STARTUP_GAIN = 2.77
UP_GAIN = 1.25
# Pace a little below the estimate, so that its noise does not build a queue (draft, PacingMarginPercent).
PACING_MARGIN = 0.99
# Draft, Beta and Headroom: what to keep after congestion, and how far below the bound to cruise.
BETA = 0.7
HEADROOM = 0.85
AGGREGATION_SHARE = 0.5
# Rounds and seconds between probes for more bandwidth. v3 waits 2-3 s; a transfer gains from asking more often,
# and asks for a round or two only.
PROBE_WAIT_ROUNDS = 20
SLOWED_WAIT_ROUNDS = 6
PROBE_WAIT_MIN_S = 0.2
PROBE_WAIT_MAX_S = 1.5
# UP ends when two rounds brought nothing on top; the first of them still shows the rate before.
UP_GROWTH = 1.05
UP_FLAT_ROUNDS = 2
# DOWN and DRAIN end at the latest then: what remains of the queue is not ours, or the clock is too coarse to see.
DOWN_MAX_TRIPS = 4
# A round that delivers less than this share of the estimate over a standing queue, and how far to follow at once.
SLOWER = 0.8
SLOWEST = 0.3
# Draft, ProbeRTTDuration; on short paths ten round trips show as much.
PROBE_RTT_S = 0.2
PROBE_RTT_TRIPS = 10
# Before any RTT is known: let the initial window leave within a millisecond, as Linux does.
NOMINAL_RTT_S = 0.001


class State(Enum):
    """The phases, with their pacing and window gains."""

    STARTUP = ("startup", STARTUP_GAIN, 2.0)
    DRAIN = ("drain", 0.5, 2.0)
    DOWN = ("probe-bw-down", 0.75, 2.0)
    CRUISE = ("probe-bw-cruise", 1.0, 2.0)
    REFILL = ("probe-bw-refill", 1.0, 2.0)
    UP = ("probe-bw-up", UP_GAIN, 2.25)
    PROBE_RTT = ("probe-rtt", 1.0, 0.5)

    def __init__(self, label: str, pacing_gain: float, window_gain: float) -> None:
        self.label = label
        self.pacing_gain = pacing_gain
        self.window_gain = window_gain


class Bbr(CongestionController):
    """One BBR sender; the module's docstring says what it does, `congestion.py` how to drive it."""

    name = "bbr"

    def __init__(self, config: ControllerConfig) -> None:
        super().__init__(config)
        self._config = config
        self.model = PathModel(config.mtu_bytes)
        self.company = Company(config, self.model)
        self.overflow = Overflow(self.model, config.timer_granularity_s)
        self.longer_path = LongerPath(self.model)
        self._full_pipe = FullPipe(self.model)
        self._loss_answer = LossAnswer(self.model)
        self._state = State.STARTUP
        self._state_trip = 0
        self._state_since = 0.0
        self._initial_cwnd = INITIAL_WINDOW_PACKETS * config.mtu_bytes
        self._cwnd = float(self._initial_cwnd)
        self._cwnd_before_rto = 0.0
        self._pacing_rate = STARTUP_GAIN * self._initial_cwnd / (config.initial_rtt_s or NOMINAL_RTT_S)
        self._quantum = quantum_bytes(self._pacing_rate, config.mtu_bytes, config.max_quantum_bytes)
        self._pipe_is_full = False
        self._probed_rate: BytesPerSecond = 0.0
        self._flat_rounds = 0
        self._probe_at = 0.0
        self._feedback_until_round = 0
        self._drain_until_round = 0
        self._is_bound = False
        self._has_slowed = False

    @property
    def cwnd_bytes(self) -> int:
        return int(self._cwnd)

    @property
    def pacing_rate(self) -> BytesPerSecond:
        return self._pacing_rate

    @property
    def send_quantum_bytes(self) -> int:
        return self._quantum

    @property
    def state(self) -> str:
        return self._state.label

    @property
    def path_loss(self) -> float:
        return self.model.baseline_loss

    @property
    def is_growing(self) -> bool:
        return not self._pipe_is_full

    def on_sent(self, now: float, size_bytes: int, inflight_bytes: int) -> None:
        if not inflight_bytes:
            # Nothing else to do about idle time: what follows is paced at the model's rate.
            self.model.on_restart(now)

    def on_ack(self, sample: AckSample) -> None:
        model = self.model
        model.update(sample)
        if sample.acked_bytes and self._cwnd_before_rto:
            # The path is back: so is the window, and the model decides whether it still fits.
            self._cwnd = max(self._cwnd, self._cwnd_before_rto)
            self._cwnd_before_rto = 0.0
        if model.round_ended:
            self._end_round(sample.now)
        had_company = self.company.is_here
        self.company.on_ack(sample)
        if had_company and not self.company.is_here:
            self._probe_at = sample.now  # take what they left
        self._step(sample)
        self._set_rate()
        self._set_window(sample)

    def on_rto(self, now: float) -> None:
        # The model keeps its estimates: silence is not a measurement.
        self._cwnd_before_rto = max(self._cwnd_before_rto, self._cwnd)
        self._cwnd = float(MIN_WINDOW_PACKETS * self.mtu_bytes)

    def set_mtu(self, mtu_bytes: int) -> None:
        super().set_mtu(mtu_bytes)
        self.model.mtu_bytes = mtu_bytes
        self.company.set_mtu(mtu_bytes)

    # -- once a round ----------------------------------------------------------------------------------------------

    def _end_round(self, now: float) -> None:
        model, state = self.model, self._state
        if state is State.STARTUP:
            self._check_pipe(now)
        elif self._must_drain(now):
            model.forget_bandwidth(SLOWEST)
            self._drain_until_round = model.round_count + FEEDBACK_ROUNDS
            self._has_slowed = True
            self._enter(State.DOWN, now)
        elif state is State.UP:
            self._judge_probe(now)
        elif state is State.CRUISE or state is State.DOWN:
            if (
                state is State.DOWN
                and model.round_count <= self._drain_until_round
                and model.has_standing_queue
            ):
                # Over a queue the path delivers what it has, however little we send: now the rate is plain.
                model.forget_bandwidth(SLOWEST)
            if model.round_count <= self._feedback_until_round:
                if model.has_excess_loss:
                    self.overflow.remember()
                return
            self._loss_answer.answer(now, self._cwnd, BETA)
            if state is State.CRUISE:
                model.learn_baseline_loss()

    def _must_drain(self, now: float) -> bool:
        model, state = self.model, self._state
        # Much less over a standing queue: waiting for the filter to forget would only lengthen the queue.
        is_slower = model.has_standing_queue and model.round_rate < SLOWER * model.bandwidth
        if state is State.CRUISE or (is_slower and (state is State.REFILL or state is State.UP)):
            return self.company.watch(now, is_slower=is_slower)
        return False

    def _check_pipe(self, now: float) -> None:
        model = self.model
        self._pipe_is_full = self._full_pipe.check(BETA)
        if self._pipe_is_full:
            model.forget_extra_acked()
            model.least_round_s = LEAST_ROUND_S
            self._enter(State.DRAIN, now)

    def _judge_probe(self, now: float) -> None:
        model = self.model
        if model.has_excess_loss:
            self.overflow.remember()
            self._enter(State.DOWN, now)
        elif model.max_bandwidth >= self._probed_rate * UP_GROWTH:
            self._probed_rate = model.max_bandwidth
            self._flat_rounds = 0
        elif not self._is_bound:
            self._flat_rounds += 1
        if self._is_bound:
            self.overflow.raise_bound()

    # -- the state machine -----------------------------------------------------------------------------------------

    def _step(self, sample: AckSample) -> None:
        model, state, now = self.model, self._state, sample.now
        if state is State.STARTUP or state is State.UP or model.round_count <= self._feedback_until_round:
            self.overflow.watch()
        is_stale = now > model.min_rtt_at + MIN_RTT_WINDOW_S or self.company.is_test_due(now)
        if is_stale and state is not State.PROBE_RTT and self._pipe_is_full:
            self._enter(State.PROBE_RTT, now)
            return
        trips = model.trip_count - self._state_trip
        if state is State.CRUISE:
            if now >= self._probe_at and not self.company.is_here:
                model.forget_lower_bound()
                self.company.on_probe()
                self._enter(State.REFILL, now)
        elif state is State.REFILL:
            if trips >= 1:
                self._start_probe(now)
        elif state is State.UP:
            if trips >= 1:
                self._watch_probe(sample)
        elif state is State.DOWN or state is State.DRAIN:
            is_shrinking = model.latest_queue_s < model.queue_s
            is_late = trips > DOWN_MAX_TRIPS and not is_shrinking
            if is_late or sample.inflight_bytes <= self._drained_bytes():
                self._end_drain(now)
        elif (
            state is State.PROBE_RTT
            and trips >= 1
            and model.round_ended
            and now >= self._state_since + self._probe_rtt_s()
        ):
            self._end_probe_rtt(now)

    def _start_probe(self, now: float) -> None:
        self.model.start_probing_cycle()
        self._flat_rounds = 0
        self._probed_rate = self.model.max_bandwidth
        self.overflow.start_probe()
        self._enter(State.UP, now)

    def _watch_probe(self, sample: AckSample) -> None:
        model = self.model
        enough_s = (UP_GAIN - 1.0) * model.min_rtt_s + 0.5 * self._config.timer_granularity_s
        if model.has_excess_loss_in_flight(sample):
            # Short queues overflow before they show in the round trip.
            self.overflow.remember()
            self._enter(State.DOWN, sample.now)
        elif (
            model.latest_queue_s > min(enough_s, self.overflow.turn_back_s)
            or self._flat_rounds >= UP_FLAT_ROUNDS
        ):
            self._enter(State.DOWN, sample.now)

    def _drained_bytes(self) -> float:
        model = self.model
        drained = min(model.bdp_bytes, HEADROOM * model.inflight_hi_bytes)
        return max(drained, MIN_WINDOW_PACKETS * self.mtu_bytes)

    def _probe_rtt_s(self) -> float:
        return min(PROBE_RTT_S, PROBE_RTT_TRIPS * self.model.min_rtt_s + LEAST_ROUND_S)

    def _end_probe_rtt(self, now: float) -> None:
        model, company = self.model, self.company
        if self.longer_path.is_found_by_probing(now, in_company=company.is_here):
            model.forget_min_rtt(model.round_min_rtt_s, now)
        company.on_test(now)
        if self.longer_path.is_found_by_draining():
            self._start_again(now)
            return
        if now > model.min_rtt_at + MIN_RTT_WINDOW_S:
            model.min_rtt_at = now  # doubtful: it may be theirs
        if company.is_here:
            # Their queue makes round trips long: growing back from next to nothing would take many of them.
            self._cwnd = max(self._cwnd, company.window_bytes)
        self._enter_cruise(now)

    def _end_drain(self, now: float) -> None:
        if self.longer_path.is_found_by_draining():
            self._start_again(now)
        else:
            self._enter_cruise(now)

    def _start_again(self, now: float) -> None:
        """The path is another, much longer: what was learnt about its rate was learnt with too small a window."""
        model = self.model
        model.forget_min_rtt(model.round_min_rtt_s, now)
        self.company.leave()
        model.forget_lower_bound()
        model.inflight_hi_bytes = float("inf")
        model.least_round_s = 0.0
        self._pipe_is_full = False
        self._full_pipe.start_again()
        self._loss_answer.forget()
        self._cwnd = max(self._cwnd, model.bdp_bytes)  # of the present rate: draining left less
        self._enter(State.STARTUP, now)

    def _enter_cruise(self, now: float) -> None:
        # What made the path slower may pass as fast as it came: a busy core, a radio.
        rounds = SLOWED_WAIT_ROUNDS if self._has_slowed else PROBE_WAIT_ROUNDS
        self._has_slowed = False
        wait_s = min(max(rounds * self.model.min_rtt_s, PROBE_WAIT_MIN_S), PROBE_WAIT_MAX_S)
        self._probe_at = now + wait_s * (0.75 + 0.5 * self._config.uniform())
        self._enter(State.CRUISE, now)

    def _enter(self, state: State, now: float) -> None:
        if self._state is State.STARTUP or self._state is State.UP:
            self._feedback_until_round = self.model.round_count + FEEDBACK_ROUNDS
            self.model.answered_at = now
        self._state = state
        self._state_since = now
        self._state_trip = self.model.trip_count

    # -- outputs ---------------------------------------------------------------------------------------------------

    def _lateness_bytes(self) -> float:
        """What passes while a timer is late, at either end."""
        return self.model.bandwidth * self._config.timer_granularity_s

    def _set_rate(self) -> None:
        bandwidth = self.model.bandwidth
        if not bandwidth:
            return
        if not self._pipe_is_full and self.model.min_rtt_s:
            # The first samples are of a window, not of the path.
            bandwidth = max(bandwidth, self._initial_cwnd / self.model.min_rtt_s)
        gain = self._state.pacing_gain
        if self.company.is_here and self._state is State.CRUISE:
            gain = (
                UP_GAIN  # the window decides, as theirs does; pacing at the rate would only ever lose share
            )
        self._pacing_rate = rate = gain * bandwidth * PACING_MARGIN
        self._quantum = quantum_bytes(rate, self.mtu_bytes, self._config.max_quantum_bytes)

    def _set_window(self, sample: AckSample) -> None:
        cwnd = self._cwnd
        if self._pipe_is_full:
            cwnd = min(cwnd + sample.acked_bytes, self._window_limit_bytes())
        elif cwnd < self._window_limit_bytes() or sample.delivered_bytes < self._initial_cwnd:
            cwnd += sample.acked_bytes
        self._cwnd = max(cwnd, float(MIN_WINDOW_PACKETS * self.mtu_bytes))

    def _window_limit_bytes(self) -> float:
        model, state = self.model, self._state
        limit = model.bdp_bytes * state.window_gain
        if state is State.PROBE_RTT:
            return limit
        if self.company.is_here:
            return self.company.window_bytes
        # Receivers that acknowledge in batches and timers that fire late need room on top of the BDP.
        limit += model.extra_acked_bytes + 2 * self._quantum + self._lateness_bytes()
        bound = model.inflight_hi_bytes
        self._is_bound = limit > bound
        if state is State.CRUISE or state is State.DOWN:
            # Headroom is for others; below the BDP it would be idle time.
            bound = max(HEADROOM * bound, model.bdp_bytes)
        return min(limit, bound + AGGREGATION_SHARE * model.extra_acked_bytes + self._quantum)
