"""BBR: a paced sender that follows a model of the path instead of its losses (draft-ietf-ccwg-bbr).

                 ┌─────────┐ pipe full ┌───────┐ queue gone ┌───────────── ProbeBW ─────────────┐
        start ─▶ │ STARTUP │ ────────▶ │ DRAIN │ ─────────▶ │ CRUISE ─▶ REFILL ─▶ UP ─▶ DOWN ─▶ ┐│
                 └─────────┘           └───────┘            │    ▲──────────────────────────────┘│
                                                            └──── minimum RTT older than 10 s ───┘
                                                                     ▼              ▲
                                                                  PROBE_RTT ────────┘

The core is that of v1 (max bandwidth, min RTT, gains); the guards are those of v3 (bounds on what may be in flight,
refill before probing, cruise with headroom) with two changes that our use asks for:
    - Loss alone does not slow it: it takes a standing queue and 2 % more loss than the path has without one, or 10 %.
      v3 answers 2 % of any loss and so never reaches the rate of a path that loses 2 % anyway.
    - A standing queue with falling delivery is answered within a round or two, not when the filter ages: the link
      became slower, or somebody else came.
"""

from __future__ import annotations

from enum import Enum

from tallow_cli.dataplane.bbr_model import MIN_RTT_WINDOW_S, QUEUE_FLOOR_S, PathModel
from tallow_cli.dataplane.congestion import (
    INITIAL_WINDOW_PACKETS,
    MIN_WINDOW_PACKETS,
    AckSample,
    BytesPerSecond,
    CongestionController,
    ControllerConfig,
)
from tallow_cli.dataplane.cubic import Cubic
from tallow_cli.dataplane.pacing import quantum_bytes

# 4 ln 2: the smallest gain that doubles the rate each round (draft, StartupPacingGain).
STARTUP_GAIN = 2.77
STARTUP_WINDOW_GAIN = 2.0
DRAIN_GAIN = 0.5
UP_GAIN = 1.25
DOWN_GAIN = 0.75
WINDOW_GAIN = 2.0
UP_WINDOW_GAIN = 2.25
PROBE_RTT_WINDOW_GAIN = 0.5
PROBE_RTT_S = 0.2
# Pace a little below the estimate, so that its noise does not build a queue (draft, PacingMarginPercent).
PACING_MARGIN = 0.99
# The pipe is full when three rounds in a row did not raise the rate by a quarter.
FULL_GROWTH = 1.25
FULL_ROUNDS = 3
# … or one, if by then the queue holds as much as half the pipe.
FULL_QUEUE = 0.5
# After congestion keep this share of what was in flight (draft, Beta), and cruise this far below it (Headroom).
BETA = 0.7
HEADROOM = 0.85
# Rounds and seconds between probes for more bandwidth. v3 waits 2-3 s; a transfer gains from asking more often, and
# asks for one round only.
PROBE_WAIT_ROUNDS = 20
PROBE_WAIT_MIN_S = 0.2
PROBE_WAIT_MAX_S = 1.5
# UP ends when two rounds brought nothing on top; the first of them still shows the rate before.
UP_GROWTH = 1.05
UP_FLAT_ROUNDS = 2
DOWN_MAX_ROUNDS = 4
# How the bound on what is in flight rises in UP: slowly at first, since shallow queues overflow by as much.
BOUND_STEP = 0.02
BOUND_STEP_MAX = 0.25
# A probe ends when the queue is this share of what overflowed last; the memory fades, so that about every eighth
# probe asks again how long the queue is.
OVERFLOW_SHARE = 0.8
OVERFLOW_AGING = 1.03
# No queue is taken to be shorter than this: the losses were the path's own, and the probe must get off the ground.
OVERFLOW_MIN_RTT_SHARE = 0.15
# Losses are reported a round trip and a quarter after the sending.
FEEDBACK_ROUNDS = 2
# A queue stands if it does so for two rounds of CRUISE.
STANDING_ROUNDS = 2
# Sharing a queue, less loss means congestion than alone: it is what the others answer.
COMPANY_LOSS = 0.005
# We are alone again when for ten rounds the queue was no longer than this share of the round trip.
EMPTY_QUEUE = 0.1
ALONE_ROUNDS = 10
# Before any RTT is known.
NOMINAL_RTT_S = 0.001


class State(Enum):
    STARTUP = "startup"
    DRAIN = "drain"
    DOWN = "probe-bw-down"
    CRUISE = "probe-bw-cruise"
    REFILL = "probe-bw-refill"
    UP = "probe-bw-up"
    PROBE_RTT = "probe-rtt"


_PACING_GAIN = {
    State.STARTUP: STARTUP_GAIN,
    State.DRAIN: DRAIN_GAIN,
    State.DOWN: DOWN_GAIN,
    State.CRUISE: 1.0,
    State.REFILL: 1.0,
    State.UP: UP_GAIN,
    State.PROBE_RTT: 1.0,
}
_WINDOW_GAIN = {
    State.STARTUP: STARTUP_WINDOW_GAIN,
    State.DRAIN: STARTUP_WINDOW_GAIN,
    State.DOWN: WINDOW_GAIN,
    State.CRUISE: WINDOW_GAIN,
    State.REFILL: WINDOW_GAIN,
    State.UP: UP_WINDOW_GAIN,
    State.PROBE_RTT: PROBE_RTT_WINDOW_GAIN,
}


class Bbr(CongestionController):
    """One BBR sender; see the module's docstring for what it does and `congestion.py` for how to drive it."""

    name = "bbr"

    def __init__(self, config: ControllerConfig) -> None:
        super().__init__(config)
        self._config = config
        self.model = PathModel(config.mtu_bytes)
        self._state = State.STARTUP
        self._state_round = 0
        self._state_since = 0.0
        initial = INITIAL_WINDOW_PACKETS * config.mtu_bytes
        self._cwnd = float(initial)
        self._initial_cwnd = initial
        self._cwnd_before_rto = 0.0
        self._pacing_rate = STARTUP_GAIN * initial / (config.initial_rtt_s or NOMINAL_RTT_S)
        self._quantum = quantum_bytes(self._pacing_rate, config.mtu_bytes, config.max_quantum_bytes)
        self._pipe_is_full = False
        self._full_rate: BytesPerSecond = 0.0
        self._flat_rounds = 0
        self._probe_at = 0.0
        # See `_watch_queue`. With company our window is bounded by one that behaves as theirs probably does.
        self._standing_rounds = 0
        self._has_drained = False
        self._company: Cubic | None = None
        self._empty_rounds = 0
        # Until this round, losses are the answer to the probe that ended, not to what is sent now.
        self._feedback_until_round = 0
        self._hi_step = BOUND_STEP
        # How long the queue was when it overflowed: a later probe turns back before.
        self._overflow_queue_s = float("inf")

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
        return self._state.value

    def on_sent(self, now: float, size_bytes: int, inflight_bytes: int) -> None:
        del (
            now,
            size_bytes,
            inflight_bytes,
        )  # pacing at the model's rate makes a restart after idling harmless

    def on_ack(self, sample: AckSample) -> None:
        model = self.model
        model.update(sample)
        if sample.acked_bytes and self._cwnd_before_rto:
            # The path is back: so is the window, and the model decides whether it still fits.
            self._cwnd = max(self._cwnd, self._cwnd_before_rto)
            self._cwnd_before_rto = 0.0
        if model.round_ended:
            self._end_round(sample)
        if self._company is not None:
            self._keep_company(self._company, sample)
        self._step(sample)
        self._set_rate()
        self._set_window(sample)

    def on_rto(self, now: float) -> None:
        del now  # the model keeps its estimates: silence is not a measurement
        self._cwnd_before_rto = max(self._cwnd_before_rto, self._cwnd)
        self._cwnd = float(MIN_WINDOW_PACKETS * self.mtu_bytes)

    def set_mtu(self, mtu_bytes: int) -> None:
        super().set_mtu(mtu_bytes)
        self.model.mtu_bytes = mtu_bytes

    # -- once a round ------------------------------------------------------------------------------------------

    def _end_round(self, sample: AckSample) -> None:
        model, state = self.model, self._state
        if state is State.STARTUP:
            self._check_pipe(sample)
        elif state is State.UP:
            self._judge_probe(sample)
        elif state is State.CRUISE or state is State.DOWN:
            self._follow_path_down(sample)
        if state is State.CRUISE and model.round_count > self._feedback_until_round:
            model.learn_baseline_loss()

    def _check_pipe(self, sample: AckSample) -> None:
        model = self.model
        # While the rate doubles, a round begins without a queue and ends with one: look at its end.
        has_queue = model.latest_queue_s > max(FULL_QUEUE * model.min_rtt_s, QUEUE_FLOOR_S)
        if model.has_excess_loss and (has_queue or model.is_congested):
            model.inflight_hi_bytes = max(model.bdp_bytes, float(model.round_inflight_bytes) * BETA)
            self._pipe_is_full = True
        elif not model.round_is_app_limited:
            if model.max_bandwidth >= self._full_rate * FULL_GROWTH:
                self._full_rate = model.max_bandwidth
                self._flat_rounds = 0
            else:
                self._flat_rounds += 1
                self._pipe_is_full = self._flat_rounds >= (1 if has_queue else FULL_ROUNDS)
        if self._pipe_is_full:
            model.forget_extra_acked()
            self._enter(State.DRAIN, sample.now)

    def _judge_probe(self, sample: AckSample) -> None:
        model = self.model
        if model.has_excess_loss:
            self._bound_inflight()
            self._enter(State.DOWN, sample.now)
        elif model.max_bandwidth >= self._full_rate * UP_GROWTH:
            self._full_rate = model.max_bandwidth
            self._flat_rounds = 0
        elif self._cwnd < model.inflight_hi_bytes:
            self._flat_rounds += 1
        if self._cwnd >= model.inflight_hi_bytes:
            # Borne without harm: the bound is too low. Ask for more, and for twice as much more the next round.
            model.inflight_hi_bytes *= 1.0 + self._hi_step
            self._hi_step = min(2.0 * self._hi_step, BOUND_STEP_MAX)

    def _bound_inflight(self) -> None:
        """Remember what overflowed: no more fits into the path than what it held for those who got through."""
        model = self.model
        shortest_s = max(OVERFLOW_MIN_RTT_SHARE * model.min_rtt_s, self._config.timer_granularity_s)
        self._overflow_queue_s = max(model.latest_queue_s, shortest_s)
        held = model.bandwidth * max(model.latest_rtt_s, model.min_rtt_s)
        model.inflight_hi_bytes = max(model.bdp_bytes, min(model.inflight_hi_bytes, held))

    def _follow_path_down(self, sample: AckSample) -> None:
        model = self.model
        if model.round_count <= self._feedback_until_round:
            if model.has_excess_loss:
                self._bound_inflight()
            return
        if model.has_excess_loss:
            model.lower_bounds(BETA)
            if model.is_congested:
                model.inflight_hi_bytes = max(
                    model.bdp_bytes, min(model.inflight_hi_bytes, self._cwnd) * BETA
                )
        if self._state is State.CRUISE and self._company is None:
            self._watch_queue(sample)

    def _watch_queue(self, sample: AckSample) -> None:
        """A queue that stands while we pace at the path's rate is not ours: the path slowed down, or has company.

        Drain it once. If it comes back before the next probe, the path has company.
        """
        model = self.model
        self._standing_rounds = self._standing_rounds + 1 if model.has_standing_queue else 0
        if self._standing_rounds < STANDING_ROUNDS or model.round_is_app_limited:
            return
        self._standing_rounds = 0
        if self._has_drained:
            self._company = Cubic(self._config)
            self._company.start_from(model.round_inflight_bytes)
            self._empty_rounds = 0
        else:
            self._has_drained = True
            model.lower_bounds(BETA)
            self._enter(State.DOWN, sample.now)

    def _keep_company(self, company: Cubic, sample: AckSample) -> None:
        model = self.model
        company.grow(sample)
        if not model.round_ended:
            return
        if model.has_loss_beyond(COMPANY_LOSS):
            company.shrink(sample.now)
        self._empty_rounds = (
            0 if model.queue_s > EMPTY_QUEUE * model.min_rtt_s + QUEUE_FLOOR_S else self._empty_rounds + 1
        )
        if self._empty_rounds >= ALONE_ROUNDS:
            self._company = None

    # -- the state machine ---------------------------------------------------------------------------------------

    def _step(self, sample: AckSample) -> None:
        model, state, now = self.model, self._state, sample.now
        if state is not State.STARTUP and state is not State.PROBE_RTT and model.min_rtt_s:
            if now > model.min_rtt_at + MIN_RTT_WINDOW_S:
                self._enter(State.PROBE_RTT, now)
                return
        rounds = model.round_count - self._state_round
        if state is State.CRUISE:
            if self._is_time_to_probe(now):
                model.reset_lower_bounds()
                self._has_drained = False
                self._standing_rounds = 0
                self._enter(State.REFILL, now)
        elif state is State.REFILL:
            if rounds >= 1:
                model.start_probing_cycle()
                self._flat_rounds = 0
                self._full_rate = model.max_bandwidth
                self._hi_step = BOUND_STEP
                self._overflow_queue_s *= OVERFLOW_AGING
                self._enter(State.UP, now)
        elif state is State.UP:
            if rounds < 1:
                return
            if model.has_excess_loss_in_flight(sample):
                # Short queues overflow before they show in the round trip.
                self._bound_inflight()
                self._enter(State.DOWN, now)
            elif self._has_built_queue() or self._flat_rounds >= UP_FLAT_ROUNDS:
                self._enter(State.DOWN, now)
        elif state is State.DOWN or state is State.DRAIN:
            if sample.inflight_bytes <= self._drained_bytes() or rounds > DOWN_MAX_ROUNDS:
                self._enter_cruise(now)
        elif state is State.PROBE_RTT:
            self._probe_round_trip(sample, rounds)

    def _has_built_queue(self) -> bool:
        model = self.model
        enough_s = (UP_GAIN - 1.0) * model.min_rtt_s + QUEUE_FLOOR_S
        return model.latest_queue_s > min(enough_s, OVERFLOW_SHARE * self._overflow_queue_s)

    def _drained_bytes(self) -> float:
        model = self.model
        return max(
            min(model.bdp_bytes, HEADROOM * model.inflight_hi_bytes),
            float(MIN_WINDOW_PACKETS * self.mtu_bytes),
        )

    def _probe_round_trip(self, sample: AckSample, rounds: int) -> None:
        model = self.model
        if rounds < 1:
            return
        if sample.now - self._state_since >= PROBE_RTT_S:
            model.forget_min_rtt(model.round_min_rtt_s, sample.now)
            self._enter_cruise(sample.now)

    def _enter_cruise(self, now: float) -> None:
        wait_s = PROBE_WAIT_ROUNDS * self.model.min_rtt_s
        wait_s = min(max(wait_s, PROBE_WAIT_MIN_S), PROBE_WAIT_MAX_S)
        self._probe_at = now + wait_s * (0.75 + 0.5 * self._config.uniform())
        self._enter(State.CRUISE, now)

    def _is_time_to_probe(self, now: float) -> bool:
        return now >= self._probe_at

    def _enter(self, state: State, now: float) -> None:
        if self._state is State.STARTUP or self._state is State.UP:
            self._feedback_until_round = self.model.round_count + FEEDBACK_ROUNDS
        self._state = state
        self._state_since = now
        self._state_round = self.model.round_count

    # -- outputs -------------------------------------------------------------------------------------------------

    def _set_rate(self) -> None:
        bandwidth = self.model.bandwidth
        if not bandwidth:
            return
        if not self._pipe_is_full:
            # The first samples are of a window, not of the path.
            bandwidth = max(bandwidth, self._initial_cwnd / self.model.min_rtt_s)
        self._pacing_rate = rate = _PACING_GAIN[self._state] * bandwidth * PACING_MARGIN
        self._quantum = quantum_bytes(rate, self.mtu_bytes, self._config.max_quantum_bytes)

    def _set_window(self, sample: AckSample) -> None:
        model = self.model
        limit = model.bdp_bytes * _WINDOW_GAIN[self._state]
        if self._state is not State.PROBE_RTT:
            # Receivers that acknowledge in batches and timers that fire late need room on top of the BDP.
            lateness = model.bandwidth * self._config.timer_granularity_s
            limit += model.extra_acked_bytes + 2 * self._quantum + lateness
        cwnd = self._cwnd
        if self._pipe_is_full:
            cwnd = min(cwnd + sample.acked_bytes, limit)
        elif cwnd < limit or sample.delivered_bytes < self._initial_cwnd:
            cwnd += sample.acked_bytes
        if self._state in (State.CRUISE, State.DOWN):
            # Headroom is for others; below the BDP it would be idle time.
            cwnd = min(cwnd, max(HEADROOM * model.inflight_hi_bytes, model.bdp_bytes + 2 * self._quantum))
        elif self._state is not State.STARTUP:
            cwnd = min(cwnd, model.inflight_hi_bytes)
        if self._company is not None:
            cwnd = min(cwnd, self._company.cwnd_bytes)
        self._cwnd = max(cwnd, float(MIN_WINDOW_PACKETS * self.mtu_bytes))
