"""A benchmark's runs as CSV, each row written when its run has ended."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from tallow_cli.bench.runner import RunResult
from tallow_cli.errors import ReportExists, TargetUnwritable

STANDARD_OUTPUT: Final = "-"
CSV_COLUMNS: Final = (
    "subject",
    "run",
    "size_bytes",
    "seconds",
    "mbps",
    "avg_rtt_ms",
    "jitter_ms",
    "avg_loss",
    "quality_score",
    "bottleneck",
    "sender_cpu_s",
    "receiver_cpu_s",
    "sender_max_rss_bytes",
    "receiver_max_rss_bytes",
)


class CsvReport:
    """Rows to a file that is open. A run that was measured is not lost to what happens after it."""

    def __init__(self, file: TextIO, name: str) -> None:
        self._file, self._name = file, name
        self._writer = csv.writer(file, lineterminator="\n")
        self.rows = 0
        self._write(CSV_COLUMNS)

    def add(self, result: RunResult) -> None:
        """Raises TargetUnwritable."""
        self._write(_row(result))
        self.rows += 1

    def _write(self, row: tuple[str, ...] | list[str | int | float | None]) -> None:
        try:
            self._writer.writerow(row)
            self._file.flush()
        except OSError as error:
            raise TargetUnwritable(self._name, error.strerror or str(error), option="--csv") from error


@contextmanager
def open_csv(path: str, stdout: TextIO) -> Iterator[CsvReport]:
    """A report at `path`, made before anything is measured; `-` is `stdout`. Without a row no file is left.

    Raises ReportExists, TargetUnwritable.
    """
    if path == STANDARD_OUTPUT:
        yield CsvReport(stdout, "standard output")
        return
    try:
        is_pipe = os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
        # What is no regular file (/dev/stderr, a pipe) is written to, not replaced.
        file = open(path, "w" if is_pipe else "x", encoding="utf-8", newline="")  # noqa: SIM115 - closed below
    except FileExistsError:
        raise ReportExists(path, "--csv") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL, which no path holds
        reason = getattr(error, "strerror", None) or str(error)
        raise TargetUnwritable(path, reason, option="--csv") from error
    report: CsvReport | None = None
    try:
        report = CsvReport(file, path)
        yield report
    finally:
        with contextlib.suppress(OSError):  # what was not written has been told of already
            file.close()
        if not is_pipe and (report is None or not report.rows):
            with contextlib.suppress(OSError):
                os.unlink(path)


def _row(result: RunResult) -> list[str | int | float | None]:
    figures = result.benchmark
    measured: list[str | int | float | None] = [None] * 5
    if figures is not None:
        measured = [
            figures.avg_rtt_ms,
            figures.jitter_ms,
            figures.avg_loss,
            figures.quality_score,
            figures.bottleneck.value,
        ]
    return [
        result.subject,
        result.run,
        result.size_bytes,
        round(result.seconds, 6),
        round(result.mbps, 3),
        *measured,
        result.sender.cpu_s,
        result.receiver.cpu_s,
        result.sender.max_rss_bytes,
        result.receiver.max_rss_bytes,
    ]
