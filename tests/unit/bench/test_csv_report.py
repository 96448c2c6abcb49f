"""bench.csv_report: rows that are there as soon as they are measured, in a file that was nobody's."""

from __future__ import annotations

import csv
import io
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tallow_cli.bench.csv_report import CSV_COLUMNS, open_csv
from tallow_cli.errors import ExitCode, LocalFileError, ReportExists, TargetUnwritable
from tests.support.bench_results import BARE, ENGINE, RESULTS
from tests.support.streams import Stream


def test_there_is_a_row_per_run_as_soon_as_it_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    with open_csv(str(path), Stream()) as report:
        for number, result in enumerate(RESULTS, start=1):
            report.add(result)
            assert len(path.read_text().splitlines()) == 1 + number
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert (rows[0]["subject"], rows[0]["mbps"], rows[0]["bottleneck"]) == (ENGINE, "100.0", "none")
    assert (rows[1]["subject"], rows[1]["quality_score"]) == (BARE, "")


def test_what_was_measured_stays_when_a_later_run_fails_and_an_empty_file_goes(tmp_path: Path) -> None:
    for name, results in (("some.csv", RESULTS[:1]), ("none.csv", [])):
        with suppress(ZeroDivisionError), open_csv(str(tmp_path / name), Stream()) as report:
            for result in results:
                report.add(result)
            raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["some.csv"]


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(ReportExists, match=r"Remove it, or name another file with --csv\.") as caught:
        open_csv(str(tmp_path / "mine.csv"), Stream()).__enter__()
    assert caught.value.exit_code is ExitCode.LOCAL_FILE
    assert (tmp_path / "mine.csv").read_text() == "mine"


@pytest.mark.parametrize("name", ["missing/runs.csv", ".", "file/runs.csv", "nu\0l", "n" * 300])
def test_a_place_that_cannot_be_written_is_a_sentence_about_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(LocalFileError, match="--csv"):
        open_csv(name, Stream()).__enter__()


def test_a_dash_is_standard_output() -> None:
    stdout = Stream()
    with open_csv("-", stdout) as report:
        report.add(RESULTS[0])
    assert stdout.getvalue().startswith("subject,run,")
    assert stdout.getvalue().count("\n") == 2
    assert not os.path.exists("-")


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(path.read_text().splitlines()))
    reader.start()
    with open_csv(str(path), Stream()) as report:
        report.add(RESULTS[0])
    reader.join(5)
    assert len(lines) == 2
    assert path.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_a_sentence() -> None:
    with pytest.raises(TargetUnwritable, match="--csv"), open_csv("/dev/full", Stream()):
        pass
