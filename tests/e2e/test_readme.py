"""Every command the README shows is run here, and the README shows no others."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.processes import Shell, Tallow

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN_CODE = "4821-acorn-blend-crisp"


def commands_shown() -> set[str]:
    """The command lines in the code blocks, and the inline code that names one of our commands."""
    found: set[str] = set()
    blocks = re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for line in "".join(blocks).splitlines():
        command = line.split("#")[0].strip().removeprefix("$ ")
        if command.split(" ")[0] in ("tallow", "make", "pipx"):
            found.add(command)
    prose = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`([^`]+)`", prose):
        if re.search(r"\btallow (send|recv|bench|serve|doctor)\b", code):
            found.add(code.replace("\\|", "|"))
    return found


@pytest.fixture
def work(sh: Shell) -> Path:
    """A home with what the README sends."""
    home = sh.directory / "home"
    (home / "photos").mkdir(parents=True)
    (home / "Downloads").mkdir()
    (home / "here").mkdir()
    for name in ("big.iso", "report.pdf", "photos/a.jpg"):
        (home / name).write_bytes(os.urandom(100_000))
    scripts = home / "bin"
    scripts.mkdir()
    (scripts / "tallow").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tallow_cli "$@"\n')
    (scripts / "tallow").chmod(0o755)
    sh.environment.update(HOME=str(home), PATH=f"{scripts}:{os.environ['PATH']}", PYTHONPATH=str(ROOT))
    return home


@contextlib.contextmanager
def running(sh: Shell, command: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A sender as the README shows it, in a shell; yields it and its code."""
    with subprocess.Popen(
        ["sh", "-c", command],
        cwd=cwd,
        env=sh.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            code = process.stdout.readline().strip()
            assert re.fullmatch(r"\d+-[a-z]+-[a-z]+-[a-z]+", code)
            yield process, code
            assert process.wait(60) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def receive(sh: Shell, command: str, code: str, cwd: Path) -> str:
    """Run what the README tells the receiver, consenting; returns standard output."""
    command = command.replace(SHOWN_CODE, "CODE").replace("CODE", f"{code} --yes")
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=cwd,
        env=sh.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def the_first_example(sh: Shell, work: Path) -> None:
    with running(sh, "tallow send big.iso", work) as (_, code):
        receive(sh, f"tallow recv {SHOWN_CODE}", code, work / "here")
    assert (work / "here" / "big.iso").read_bytes() == (work / "big.iso").read_bytes()


def files_and_directories(sh: Shell, work: Path) -> None:
    for command, target in (("tallow recv CODE", "here"), ("tallow recv CODE -o ~/Downloads", "Downloads")):
        with running(sh, "tallow send report.pdf photos/", work) as (_, code):
            receive(sh, command, code, work / "here")
        for name in ("report.pdf", "photos/a.jpg"):
            assert (work / target / name).read_bytes() == (work / name).read_bytes()


def something_left_out(sh: Shell, work: Path) -> None:
    for name in ("src/main.c", "src/main.o", "src/build/x"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(b"x")
    with running(sh, "tallow send src --exclude build/ --exclude '*.o'", work) as (_, code):
        receive(sh, "tallow recv CODE", code, work / "here")
    assert [path.name for path in (work / "here" / "src").iterdir()] == ["main.c"]
    with running(sh, "tallow send photos/ --skip-unsendable", work) as (_, code):
        receive(sh, "tallow recv CODE -o ~/Downloads", code, work)


def a_pipe(sh: Shell, work: Path) -> None:
    with running(sh, "tar c . | tallow send -", work / "photos") as (_, code):
        receive(sh, "tallow recv CODE -o - | tar x", code, work / "here")
    assert (work / "here" / "a.jpg").read_bytes() == (work / "photos" / "a.jpg").read_bytes()


def a_text(sh: Shell, work: Path) -> None:
    with running(sh, 'tallow send --text "see you at eight"', work) as (_, code):
        assert receive(sh, "tallow recv CODE", code, work) == "see you at eight"


def bench(*more: str) -> Callable[[Shell, Path], None]:
    def run(sh: Shell, _work: Path) -> None:
        ended = sh.start("bench", *more, "--size", "2MiB").wait(90)
        assert ended == 0 or ("--fail-below" in more and ended == 11)

    return run


def serving(*more: str) -> Callable[[Shell, Path], None]:
    def run(sh: Shell, work: Path) -> None:
        url = wait_for_url(sh.start("serve", *more, "--port", "0"))
        variables = {"TALLOW_SERVER": url, "TALLOW_CODE": SHOWN_CODE}
        sender = sh.start("send", work / "big.iso", **variables)
        receiver = sh.start("recv", "--yes", "-o", work / "here", **variables)
        assert (receiver.wait(), sender.wait()) == (0, 0), receiver.report() + sender.report()

    return run


def wait_for_url(server: Tallow) -> str:
    while True:
        for line in [*server.err, *server.out]:
            if found := re.search(r"wss?://[^\s/]+:(\d+)", line):
                return f"ws://127.0.0.1:{found[1]}"
        assert server.process.poll() is None, server.report()


def the_target_exists(target: str) -> Callable[[Shell, Path], None]:
    def run(_sh: Shell, _work: Path) -> None:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)

    return run


def a_demo(sh: Shell, _work: Path) -> None:
    """`make demo` makes the environment first; what it then runs is run here, with a smaller file."""
    the_target_exists("demo")(sh, _work)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.demo", "1MiB"],
        cwd=sh.directory,
        env=sh.environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "is identical" in done.stdout


def both_commands_are_installed(_sh: Shell, _work: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"tallow", "tallow-signaling"} <= set(project["scripts"])


RUN_BY: dict[str, Callable[[Shell, Path], None]] = {
    "make demo": a_demo,
    "make test": the_target_exists("test"),  # this is part of it
    "pipx install .": both_commands_are_installed,
    "tallow send big.iso": the_first_example,
    f"tallow recv {SHOWN_CODE}": the_first_example,
    "tallow send report.pdf photos/": files_and_directories,
    "tallow recv CODE": files_and_directories,
    "tallow recv CODE -o ~/Downloads": files_and_directories,
    "tallow send src --exclude build/ --exclude '*.o'": something_left_out,
    "tallow send photos/ --skip-unsendable": something_left_out,
    "tar c . | tallow send -": a_pipe,
    "tallow recv CODE -o - | tar x": a_pipe,
    'tallow send --text "see you at eight"': a_text,
    "tallow bench": bench("--runs", "1"),
    "tallow bench --runs 3 --fail-below 80": bench("--runs", "3", "--fail-below", "80"),
    "tallow serve": serving(),
    "tallow serve --host 0.0.0.0": serving("--host", "0.0.0.0"),
    "tallow serve --relay": serving("--relay"),
}


def test_the_readme_shows_these_commands_and_no_others() -> None:
    assert commands_shown() == set(RUN_BY)


@pytest.mark.parametrize("run", dict.fromkeys(RUN_BY.values()), ids=lambda run: run.__qualname__)
def test_what_the_readme_shows_works(sh: Shell, work: Path, run: Callable[[Shell, Path], None]) -> None:
    run(sh, work)
