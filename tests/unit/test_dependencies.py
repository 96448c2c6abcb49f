"""What pyproject.toml asks for, what requirements.lock installs, and what runs here agree."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Requirement:
    name: str
    floor: tuple[int, ...]
    ceiling: tuple[int, ...] | None

    def admits(self, release: str) -> bool:
        number = parsed(release)
        return self.floor <= number and (self.ceiling is None or number < self.ceiling)


def parsed(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", release)[:3])


def requirements() -> list[Requirement]:
    found = []
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        specifier = text.partition(";")[0]
        parts = re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,<([\d.]+))?\s*", specifier)
        assert parts is not None, f"{text!r} has no floor"
        name, floor, ceiling = parts.groups()
        found.append(Requirement(name, parsed(floor), parsed(ceiling) if ceiling else None))
    return found


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = (line.split()[0].split("==") for line in lines if "==" in line)
    return {name.lower(): release for name, release in pins}


@pytest.mark.parametrize("requirement", requirements(), ids=lambda each: each.name)
def test_every_dependency_ends_before_a_release_nobody_has_tried(requirement: Requirement) -> None:
    assert requirement.ceiling is not None, "a library whose next series has not been tried is let in"
    assert requirement.admits(locked()[requirement.name.lower()]), "what is tested is not what is asked for"
    assert requirement.admits(version(requirement.name)), "this environment has another one"


def test_websockets_is_one_that_bounds_the_fragments_of_a_message() -> None:
    """And whose servers close with a code: 15.0.1 has neither, 16.0 only that."""
    [websockets] = [each for each in requirements() if each.name == "websockets"]
    assert websockets.floor >= (17, 4)


def test_the_source_distribution_has_what_its_own_tests_need() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = pyproject["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [needed] = re.findall(r"^\$\(STAMP\): (.*)$", makefile, re.MULTILINE)
    tested = {
        path.name
        for path in ROOT.iterdir()
        if path.name in {"docs", "tests", "tallow_cli", "signaling", ".ci"}
    }
    assert {*needed.split(), *tested, "README.md"} <= {*included, "pyproject.toml"}  # which is always there
