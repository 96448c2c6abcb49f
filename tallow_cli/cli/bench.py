"""`tallow bench`: measure the real path between two processes on this machine."""

from __future__ import annotations

HELP = "Measure the real path: two processes, real signaling, real channels."


def command() -> int:
    """placeholder until bench/ lands"""
    return 2
