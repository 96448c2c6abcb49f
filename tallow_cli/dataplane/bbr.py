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

from tallow_cli.dataplane.bbr_model import MIN_RTT_WINDOW_S, PathModel
from tallow_cli.dataplane.congestion import (
    INITIAL_WINDOW_PACKETS,
    MIN_WINDOW_PACKETS,
    AckSample,
    BytesPerSecond,
    CongestionController,
    ControllerConfig,
)
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
# After congestion keep this share of what was in flight (draft, Beta), and cruise this far below it (Headroom).
BETA = 0.7
HEADROOM = 0.85
# Rounds and seconds between probes for more bandwidth. v3 waits 2-3 s; a transfer gains from asking more often, and
# asks for one round only.
PROBE_WAIT_ROUNDS = 20
PROBE_WAIT_MIN_S = 0.2
PROBE_WAIT_MAX_S = 1.5
# UP ends when a round brought less than this on top of the one before, twice.
UP_GROWTH = 1.05
UP_FLAT_ROUNDS = 2
DOWN_MAX_ROUNDS = 4
# A round that delivered less than this share of the estimate over a standing queue: the link became slower.
SLOWER_SHARE = 0.9
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
        self._probe_round = 0

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
        elif state in (State.CRUISE, State.DOWN):
            self._follow_path_down(sample)
        if state is State.CRUISE and not model.has_standing_queue:
            model.learn_baseline_loss()

    def _check_pipe(self, sample: AckSample) -> None:
        model = self.model
        if model.is_congested_by_loss:
            model.inflight_hi_bytes = max(model.bdp_bytes, float(model.round_inflight_bytes) * BETA)
            self._pipe_is_full = True
        elif not model.round_is_app_limited:
            if model.max_bandwidth >= self._full_rate * FULL_GROWTH:
                self._full_rate = model.max_bandwidth
                self._flat_rounds = 0
            else:
                self._flat_rounds += 1
                self._pipe_is_full = self._flat_rounds >= FULL_ROUNDS
        if self._pipe_is_full:
            self._enter(State.DRAIN, sample.now)

    def _judge_probe(self, sample: AckSample) -> None:
        model = self.model
        if model.is_congested_by_loss:
            model.inflight_hi_bytes = max(float(model.round_inflight_bytes), model.bdp_bytes) * BETA
            self._enter(State.DOWN, sample.now)
            return
        if model.inflight_hi_bytes < model.round_inflight_bytes * 1.1:
            # Borne without congestion: the bound was too low. Ask for more each round.
            model.inflight_hi_bytes = model.inflight_hi_bytes * UP_GAIN
        if model.max_bandwidth >= self._full_rate * UP_GROWTH:
            self._full_rate = model.max_bandwidth
            self._flat_rounds = 0
        else:
            self._flat_rounds += 1

    def _follow_path_down(self, sample: AckSample) -> None:
        model = self.model
        if model.is_congested_by_loss:
            model.inflight_hi_bytes = max(model.bdp_bytes, min(model.inflight_hi_bytes, self._cwnd) * BETA)
            model.lower_bounds(BETA)
        elif (
            model.has_standing_queue
            and not model.round_is_app_limited
            and model.round_rate < SLOWER_SHARE * model.bandwidth
        ):
            model.lower_bounds(BETA)
            if self._state is State.CRUISE:
                self._enter(State.DOWN, sample.now)

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
                self._enter(State.REFILL, now)
        elif state is State.REFILL:
            if rounds >= 1:
                model.start_probing_cycle()
                self._flat_rounds = 0
                self._full_rate = model.max_bandwidth
                self._enter(State.UP, now)
        elif state is State.UP:
            full = sample.inflight_bytes >= UP_GAIN * model.bdp_bytes + model.extra_acked_bytes
            if rounds >= 1 and (full or self._flat_rounds >= UP_FLAT_ROUNDS):
                self._enter(State.DOWN, now)
        elif state is State.DOWN or state is State.DRAIN:
            if sample.inflight_bytes <= self._drained_bytes() or rounds > DOWN_MAX_ROUNDS:
                self._enter_cruise(now)
        elif state is State.PROBE_RTT:
            self._probe_round_trip(sample, rounds)

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
        self._state = state
        self._state_since = now
        self._state_round = self.model.round_count

    # -- outputs -------------------------------------------------------------------------------------------------

    def _set_rate(self) -> None:
        bandwidth = self.model.bandwidth
        if not bandwidth:
            return
        rate = _PACING_GAIN[self._state] * bandwidth * PACING_MARGIN
        if self._pipe_is_full or rate > self._pacing_rate:
            self._pacing_rate = rate
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
            cwnd = min(cwnd, HEADROOM * model.inflight_hi_bytes)
        elif self._state is not State.STARTUP:
            cwnd = min(cwnd, model.inflight_hi_bytes)
        self._cwnd = max(cwnd, float(MIN_WINDOW_PACKETS * self.mtu_bytes))
