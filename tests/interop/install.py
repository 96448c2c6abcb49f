"""Install the foreign peers into `.interop/`: `python -m tests.interop.install`, which `make test-interop` calls.

libdatachannel comes from PyPI into a virtual environment of a Python that has wheels for it, libwebrtc from
npm. What cannot be installed is said, and its tests are then skipped with that reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).resolve().parents[2] / ".interop"
VENV: Final = DIRECTORY / "venv"
VENV_PYTHON: Final = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
NODE_MODULES: Final = DIRECTORY / "node_modules"

# The versions the tests were written against, and later ones.
LIBDATACHANNEL: Final = "aiolibdatachannel>=2026.10"
LIBWEBRTC: Final = "@roamhq/wrtc@>=0.10"
OLDEST_PYTHON: Final = (3, 12)


def main() -> int:
    DIRECTORY.mkdir(exist_ok=True)
    for name, install in (("libdatachannel", install_libdatachannel), ("libwebrtc", install_libwebrtc)):
        try:
            print(f"{name}: {install()}")
        except (OSError, subprocess.CalledProcessError, LookupError) as error:
            print(f"{name}: not installed, its tests will be skipped: {error}")
    return 0


def install_libdatachannel() -> str:
    python = find_python()
    if not VENV_PYTHON.exists():
        _run(python, "-m", "venv", str(VENV))
    pip = (str(VENV_PYTHON), "-m", "pip", "--quiet", "--disable-pip-version-check")
    _run(*pip, "install", "--only-binary", ":all:", LIBDATACHANNEL)
    return f"installed with {python}"


def install_libwebrtc() -> str:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise LookupError("node and npm are needed")
    package = DIRECTORY / "package.json"
    if not package.exists():
        package.write_text('{"private": true}\n')
    _run(npm, "install", "--prefix", str(DIRECTORY), "--no-audit", "--no-fund", "--silent", LIBWEBRTC)
    return f"installed with {npm}"


def find_python() -> str:
    """A Python new enough for libdatachannel's wheels. Raises LookupError if there is none."""
    for candidate in _pythons():
        if _version(candidate) >= OLDEST_PYTHON:
            return candidate
    raise LookupError("no Python {}.{} or newer on PATH or in pyenv".format(*OLDEST_PYTHON))


def _pythons() -> Iterator[str]:
    if sys.version_info >= OLDEST_PYTHON:
        yield sys.executable
    for name in ("python3.13", "python3.12", "python3.14", "python3"):
        found = shutil.which(name)
        if found is not None:
            yield found
    pyenv = shutil.which("pyenv")
    if pyenv is not None:
        root = Path(_output(pyenv, "root"))
        for version in reversed(_output(pyenv, "versions", "--bare").split()):
            yield str(root / "versions" / version / "bin" / "python")


def _version(python: str) -> tuple[int, ...]:
    """(3, 12) and so on, or (0,) for what does not run, such as a pyenv shim of a version not chosen."""
    try:
        said = _output(python, "-c", "import sys; print(*sys.version_info[:2])")
    except (OSError, subprocess.CalledProcessError):
        return (0,)
    return tuple(int(part) for part in said.split())


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
