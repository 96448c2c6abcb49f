"""signaling.process: who hears a signal, and what is done then. Whole processes that hang are in e2e/test_ending.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from signaling.process import Ending, SignalHeard

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

ROOT = str(Path(__file__).parents[3])
PATIENCE_S = 10.0


def run(code: str, *, closing: str = "") -> subprocess.CompletedProcess[str]:
    command = f'exec {sys.executable} -c "$CODE" {closing}'
    return subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "CODE": code, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_signal_is_raised_in_plain_code_and_remembered() -> None:
    with Ending() as ending:
        assert ending.is_hearing
        with pytest.raises(SignalHeard) as heard:
            signal.raise_signal(signal.SIGTERM)
        assert heard.value.signum == ending.asked_by == signal.SIGTERM
    assert not ending.is_hearing


def test_what_was_there_before_is_there_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Ending():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_loop_is_told_from_another_thread_and_nothing_is_raised() -> None:
    told = threading.Event()
    numbers: list[int] = []

    def cancel(number: int) -> None:
        numbers.append(number)
        told.set()

    with Ending() as ending, ending.handed_over(cancel):
        signal.raise_signal(signal.SIGINT)
        assert told.wait(PATIENCE_S)
    assert numbers == [signal.SIGINT]


def test_one_that_ends_nothing_is_told_to_whoever_listens() -> None:
    told = threading.Event()
    with Ending() as ending, ending.listening(signal.SIGCONT, told.set):
        signal.raise_signal(signal.SIGCONT)
        assert told.wait(PATIENCE_S)
        assert ending.asked_by is None


def test_exit_codes_are_the_shells_unless_given() -> None:
    ending = Ending(codes={signal.SIGHUP: 143})
    assert [ending.exit_code(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == [
        130,
        143,
        143,
    ]


def test_on_another_thread_it_hears_nothing() -> None:
    hearing: list[bool] = []

    def use() -> None:
        with Ending() as ending:
            hearing.append(ending.is_hearing)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert hearing == [False]


def test_the_last_word_is_said_by_the_innermost_and_not_twice() -> None:
    ending = Ending()
    with ending.spoken_for_by(print):
        with ending.spoken_for_by(len):
            assert ending.speaker is len
            ending.speaker = None  # it has been said
        assert ending.speaker is None


def test_a_process_left_at_once_does_its_last_acts() -> None:
    done = run(
        "import os, signal, time; from signaling.process import Ending\n"
        "ending = Ending(); ending.__enter__()\n"
        "with ending.last_act(lambda n: os.write(1, b'act %d' % n)), ending.handed_over(lambda n: None):\n"
        "    signal.raise_signal(signal.SIGINT); signal.raise_signal(signal.SIGINT); time.sleep(60)"
    )
    assert (done.returncode, done.stdout) == (130, "act 2")


@pytest.mark.parametrize(
    ("closing", "closed"), [("<&-", ["stdin"]), (">&-", ["stdout"]), ("2>&-", ["stderr"]), ("", [])]
)
def test_streams_that_were_closed_lead_nowhere(closing: str, closed: list[str], tmp_path: Path) -> None:
    report = tmp_path / "report"
    run(
        "import os, sys; from signaling.process import open_standard_streams\n"
        "closed = sorted(open_standard_streams()); print('said'); print('said', file=sys.stderr)\n"
        f"open({str(report)!r}, 'w').write(repr((closed, os.open('/dev/null', 0) > 2)))",
        closing=closing,
    )
    assert report.read_text() == repr((closed, True))
