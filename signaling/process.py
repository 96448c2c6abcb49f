"""What a process owes its surroundings: standard streams that are open, and an end when a signal asks for one.

    open_standard_streams()
    with Ending() as ending:                      # the first thing in main(), on the main thread
        ...                                       # here a signal raises SignalHeard on the main thread
        with ending.handed_over(cancel):          # an event loop runs: a signal calls cancel(signal number)
            ...
        with ending.last_act(undo):               # what must still be done when the process is left at once
            ...

Signals are heard by a thread of their own (`signal.set_wakeup_fd`: the byte is written by the handler in C), so that
neither an event loop that hangs, nor C code that does not come back, nor a write(2) that nobody reads keeps the process
alive. Whoever is told to end has `PATIENCE_S` for it; after that, and at a second signal, the process is left at once.
Where even that hangs, a timer of the kernel kills the process `FUSE_S` after the signal; and where C code keeps the
interpreter's lock, so that no thread of ours hears anything, 4 s after it (`kernel_fuse`: Linux alone, elsewhere only
SIGKILL ends such a process). Process 1 of a container is spared by both, as the kernel has it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, Self

from signaling import kernel_fuse

# Together below the 5 s within which every process ends after a signal, with room for a crowded machine.
PATIENCE_S: Final = 3.5  # for an event loop to say goodbye and clean up
PLAIN_PATIENCE_S: Final = 1.5  # for code without a loop, which has nobody to say goodbye to
LAST_ACTS_S: Final = 0.7  # for what is done when the process is left at once
FUSE_S: Final = 4.5
# `timeout` and a terminal that closes send these twice in a row and mean it once. Ctrl-C twice is meant twice.
ECHO_S: Final = 0.5

_SUPPORTED: Final = sys.platform != "win32"  # there KeyboardInterrupt is all that comes


class SignalHeard(KeyboardInterrupt):
    """A signal asked the process to end while its main thread ran plain code."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Ending:
    """Hears the signals that end a process. A context manager for the main thread; elsewhere it does nothing.

    `codes` gives exit codes that differ from the shell's 128 + number. `fuse` arms the kernel's timer at the first
    signal, which uses up SIGALRM. A hangup that the caller has us ignore (`nohup`) stays ignored.
    """

    def __init__(self, *, codes: Mapping[int, int] | None = None, fuse: bool = False) -> None:
        self.signum: int | None = None  # the first that our thread heard: see `asked_by`
        self._codes = dict(codes or {})
        self._fuse = fuse
        self._kernel_fuse = False
        self._blown_at = float("inf")  # when the fuse ends the process
        self._lock = threading.RLock()
        # Says the last word where the process is left at once. Whoever says it in good order takes this out first.
        self.speaker: Callable[[int], None] | None = None
        self._cancel: Callable[[int], None] | None = None
        self._acts: list[Callable[[int], None]] = []
        self._others: dict[int, Callable[[], None]] = {}
        self._in_c: Counter[int] = Counter()  # as the handler in C wrote them
        self._in_python: Counter[int] = (
            Counter()
        )  # as the main thread saw them; a loop may keep the bytes of some
        self._heard = 0
        self._heard_at = float("-inf")
        self._leave_at: float | None = None
        self._resting = False
        self._before: dict[int, Any] = {}
        self._ear = self._mouth = self._before_fd = -1

    # Setting up and taking down

    def __enter__(self) -> Self:
        """Begin to hear. A process that hears to its end calls this, and never leaves the block."""
        if not _SUPPORTED or threading.current_thread() is not threading.main_thread():
            return self
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._mouth, False)
        if self._fuse:
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, signal.SIG_DFL)
            self._kernel_fuse = kernel_fuse.lay(self._ear)
        threading.Thread(target=self._watch, daemon=True, name="tallow-signals").start()
        self._before_fd = signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._on_main_thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the signals back. A process that is about to end calls `rest` instead."""
        if self._mouth < 0:
            return
        with self._lock:  # the thread, which may be about to hear, does nothing more
            mouth, self._mouth = self._mouth, -1
        self._resting = True
        if self._kernel_fuse:
            kernel_fuse.take_up(self._ear)
        if self._fuse:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_fd)
        os.close(mouth)  # the thread reads the end, and closes its own

    @property
    def is_hearing(self) -> bool:
        return self._mouth >= 0

    def rest(self) -> None:
        """Nothing is left to clean up: from now on a signal ends the process at once, and raises nothing."""
        self._resting = True

    @contextmanager
    def handed_over(self, cancel: Callable[[int], None]) -> Iterator[None]:
        """While inside, the first signal calls `cancel(number)` from another thread, and nothing is raised.

        Enter it when the event loop runs: loops put their own descriptor in the place of ours when they start.
        """
        if self._mouth >= 0:
            signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        with self._lock:
            self._cancel = cancel
            heard = self.signum
        if heard is not None:
            cancel(heard)
        try:
            yield
        finally:
            with self._lock:
                self._cancel = None

    @contextmanager
    def last_act(self, act: Callable[[int], None]) -> Iterator[None]:
        """While inside, `act(signal number)` is done when the process is left at once.

        It runs on a thread of its own, together with the others, while the rest of the process may hang or go on;
        within `LAST_ACTS_S`, or it is left too.
        """
        with self._lock:
            self._acts.append(act)
        try:
            yield
        finally:
            with self._lock:
                self._acts.remove(act)

    @contextmanager
    def spoken_for_by(self, speaker: Callable[[int], None]) -> Iterator[None]:
        """While inside, `speaker(signal number)` says the last word of a process that is left at once."""
        before = self.speaker
        self.speaker = speaker
        try:
            yield
        finally:
            if self.speaker is speaker:  # otherwise it was taken out: the last word has been said
                self.speaker = before

    @contextmanager
    def listening(self, number: int, told: Callable[[], None]) -> Iterator[None]:
        """While inside, a signal that ends nothing (SIGCONT, SIGTSTP) calls `told` from another thread."""
        if self._mouth < 0:
            yield
            return
        before = signal.signal(number, self._on_main_thread)
        self._others[number] = told
        try:
            yield
        finally:
            signal.signal(number, before)
            del self._others[number]

    @property
    def asked_by(self) -> int | None:
        """The first signal that asked for the end, whichever thread saw it first; None before."""
        return self.signum if self.signum is not None else next(iter(self._in_python), None)

    def exit_code(self, number: int) -> int:
        return self._codes.get(number, 128 + number)

    # Hearing

    def _on_main_thread(self, number: int, _frame: FrameType | None) -> None:
        if number in self._others:
            return  # the byte told the thread
        self._in_python[number] += 1
        if self._mouth >= 0:
            with suppress(OSError):  # full: it will look anyway
                os.write(self._mouth, b"\0")
        if self._cancel is None and not self._resting:
            raise SignalHeard(number)

    def _watch(self) -> None:
        if self._kernel_fuse:
            kernel_fuse.hear()
        poll = select.poll()
        poll.register(self._ear, select.POLLIN)
        while True:
            wait_ms = None if self._leave_at is None else max(0.0, self._leave_at - time.monotonic()) * 1000
            if poll.poll(wait_ms):
                heard = os.read(self._ear, 4096)
                if not heard:
                    os.close(self._ear)
                    return
                if self.is_hearing:  # else the signals were given back: they are for others now
                    if self._kernel_fuse:
                        self._set_fuse()  # the byte has lit it
                    self._hear(heard)
            if not self.is_hearing:
                continue  # to the end of the pipe
            if self._leave_at is not None and time.monotonic() >= self._leave_at:
                self._leave_at_once(self.signum or signal.SIGTERM)

    def _hear(self, numbers: bytes) -> None:
        for number in numbers:
            if (told := self._others.get(number)) is not None:
                told()
            elif number in self._before:
                self._in_c[number] += 1
        ends = {*self._in_c, *self._in_python}
        heard = sum(max(self._in_c[number], self._in_python[number]) for number in ends)
        if heard <= self._heard:
            return
        newest = next((number for number in reversed(numbers) if number in ends), max(ends))
        now = time.monotonic()
        is_echo = self._heard == 1 and newest != signal.SIGINT and now - self._heard_at < ECHO_S
        self._heard = heard
        self._heard_at = now
        if self.signum is None:
            self._told_to_end(newest, now)
        elif not is_echo:
            self._leave_at = now

    def _told_to_end(self, number: int, now: float) -> None:
        if self._fuse:
            self._blown_at = now + FUSE_S
            self._set_fuse()
        with self._lock:
            self.signum = number
            cancel = self._cancel
            if self._resting:
                self._leave_at = now
                return
            self._leave_at = now + (PLAIN_PATIENCE_S if cancel is None else PATIENCE_S)
        if cancel is not None:
            with suppress(RuntimeError):  # its loop has ended: the main thread is on its way out
                cancel(number)

    def _set_fuse(self) -> None:
        left_s = self._blown_at - time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0 if left_s == float("inf") else max(left_s, 0.001))

    # Leaving

    def _leave_at_once(self, number: int) -> NoReturn:
        # Not under the lock: whoever holds it may be what hangs.
        acts = [*self._acts] if self.speaker is None else [*self._acts, self.speaker]
        threads = [
            threading.Thread(target=act, args=(number,), daemon=True, name="tallow-last-act") for act in acts
        ]
        until = time.monotonic() + LAST_ACTS_S
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        os._exit(self.exit_code(number))


def open_standard_streams() -> frozenset[str]:
    """Open on nothing what the caller closed (`… >&-`), and return the names of those streams.

    Otherwise Python has None there, and the first socket or file would get the descriptor that messages, or a
    library's complaints, are written to.
    """
    closed = set()
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            closed.add(name)
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != descriptor:
                os.dup2(nothing, descriptor)
                os.close(nothing)
            os.set_inheritable(descriptor, True)  # a child's would be closed again
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good
    return frozenset(closed)
