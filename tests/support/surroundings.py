"""Poor places for a program to run in, made of namespaces: each is a command that runs another there. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

WRITABLE = "WRITABLE"  # in the environment of `READ_ONLY`: the directory that stays writable

# Every file system is read-only, but for one directory.
READ_ONLY = (
    "unshare",
    "--mount",
    "sh",
    "-ec",
    f"""
    mount --bind "${WRITABLE}" "${WRITABLE}"
    mount -o remount,bind,ro /
    for place in /dev/shm /run /tmp /var/tmp; do
      ! mountpoint -q $place || mount -o remount,bind,ro $place
    done
    exec "$@" """,
    "read-only",
)


def over_directories(*directories: str) -> tuple[str, ...]:
    """Something empty lies over each of these: what a container without them looks like."""
    mounts = "".join(f"mount -t tmpfs none {directory}; " for directory in directories)
    return ("unshare", "--mount", "sh", "-ec", mounts + 'exec "$@"', "without")


def over_file(path: str, content: Path) -> tuple[str, ...]:
    """`content` is what a program finds at `path`."""
    return ("unshare", "--mount", "sh", "-ec", f'mount --bind "{content}" {path}; exec "$@"', "with")


def missing() -> str | None:
    """Why these cannot be made here; None if they can."""
    if os.geteuid() != 0:
        return "it needs root"
    for program, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("nft", "nftables")):
        if shutil.which(program) is None:
            return f"it needs `{program}` (Debian package {package})"
    tried = subprocess.run(["unshare", "--mount", "--net", "true"], check=False, capture_output=True)
    return "namespaces are not allowed here" if tried.returncode else None


@contextmanager
def network(*commands: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A network of its own, set up by these `ip` commands; gone again on leaving. Yields the command that enters it."""
    name = f"tlp{os.getpid() % 100_000}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for command in commands:
            subprocess.run(["ip", "-n", name, *command], check=True)
        yield ("ip", "netns", "exec", name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
