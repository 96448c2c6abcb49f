"""A verdict as people read it: one headline for each cause, and what helps, if anything does."""

from __future__ import annotations

from typing import Final

from tallow_cli.measure.account import WINDOW_S, Verdict
from tallow_cli.measure.causes import Cause

_SENDER = ("this machine", "the sender")  # as the sender reads it, and as the receiver does
_RECEIVER = ("the receiver", "this machine")

# What is waited for; {here} is the machine the cause is about, as the reader sees it.
_WAITS: Final[dict[Cause, tuple[tuple[str, str], str]]] = {
    Cause.NETWORK_CAPACITY: (_SENDER, "Waiting for the network, which carries no more"),
    Cause.NETWORK_DELAY: (_SENDER, "Waiting for round trips, which take long"),
    Cause.NETWORK_LOSS: (_SENDER, "Waiting for the network, which loses packets"),
    Cause.SENDER_DISK: (_SENDER, "Waiting for {here}'s disk to be read"),
    Cause.SENDER_INPUT: (_SENDER, "Waiting for what writes to {here}'s standard input"),
    Cause.SENDER_CPU: (_SENDER, "Waiting for {here}'s processor"),
    Cause.RECEIVER_CPU: (_RECEIVER, "Waiting for {here}'s processor"),
    Cause.RECEIVER_DISK: (_RECEIVER, "Waiting for {here}'s disk to write"),
    Cause.RECEIVER_OUTPUT: (_RECEIVER, "Waiting for what reads {here}'s standard output"),
    Cause.SENDER_LIMIT: (_SENDER, "Held back by --limit of {here}"),
    Cause.RECEIVER_LIMIT: (_RECEIVER, "Held back by --limit of {here}"),
    Cause.BUFFERS: (_SENDER, "Waiting for room in a full buffer"),
    Cause.RELAY: (_SENDER, "Waiting for the relay, or the network before or after it"),
    Cause.MEMORY: (_SENDER, "Waiting for memory: too little is free"),
    Cause.PERSON: (_SENDER, "Waiting for a person to answer"),
    Cause.PEER_SILENT: (_SENDER, "Nothing comes from the other side"),
    Cause.VERIFYING: (_RECEIVER, "Everything has arrived; {here} verifies and saves it"),
    Cause.NOTHING: (_SENDER, "Waiting for nothing"),
}

# Only what helps: tests/e2e/test_diagnosis.py follows what can be followed on one machine.
_ADVICE: Final[dict[Cause, tuple[str, str]]] = {
    Cause.NETWORK_CAPACITY: (
        "A faster network, or one with less other traffic, would carry more.",
        "A faster network, or one with less other traffic, would carry more.",
    ),
    Cause.NETWORK_DELAY: ("A more direct path would be faster.", "A more direct path would be faster."),
    Cause.NETWORK_LOSS: (
        "Use a wired network, or move closer to the access point.",
        "Use a wired network, or move closer to the access point.",
    ),
    Cause.SENDER_DISK: (
        "Send from a faster disk, or stop what else uses this one.",
        "Only the sender can help it: with a faster disk.",
    ),
    Cause.SENDER_INPUT: ("What feeds the pipe sets the pace.", "What feeds the sender's pipe sets the pace."),
    Cause.SENDER_CPU: (
        "Stop other programs here that use the processor, or use a faster machine.",
        "Only the sender can help it: other programs, or the machine, hold it back.",
    ),
    Cause.RECEIVER_CPU: (
        "Only the receiver can help it: other programs, or the machine, hold it back.",
        "Stop other programs here that use the processor, or use a faster machine.",
    ),
    Cause.RECEIVER_DISK: (
        "Only the receiver can help it: with a faster disk.",
        "Receive onto a faster disk (--output), or stop what else uses this one.",
    ),
    Cause.RECEIVER_OUTPUT: (
        "What reads the receiver's output sets the pace.",
        "What reads the output sets the pace.",
    ),
    Cause.SENDER_LIMIT: (
        "Raise --limit, or leave it out, to go faster.",
        "Only the sender can raise it.",
    ),
    Cause.RECEIVER_LIMIT: (
        "Only the receiver can raise it.",
        "Raise --limit, or leave it out, to go faster.",
    ),
    Cause.RELAY: (
        "A path without a relay would be faster.",
        "A path without a relay would be faster.",
    ),
    Cause.MEMORY: (
        "Close programs that use much memory, at both ends.",
        "Close programs that use much memory, at both ends.",
    ),
}


def headline(verdict: Verdict, *, sending: bool) -> str:
    """What most of the time went to, as the sender or the receiver reads it; no full stop at its end."""
    (as_sender, as_receiver), words = _WAITS[verdict.cause]
    return words.format(here=as_sender if sending else as_receiver)


def share_words(verdict: Verdict) -> str:
    """Its share, and of how many seconds; of more than a window has, all of the time is meant."""
    last = "last " if verdict.window_s <= WINDOW_S + 1 else ""
    seconds = f"{verdict.window_s:.0f}" if verdict.window_s >= 1 else f"{verdict.window_s:.1f}"
    return f"{100 * verdict.share:.0f} % of the {last}{seconds} s"


def advice(verdict: Verdict, *, sending: bool) -> str:
    """What helps, in one sentence; empty where nothing does."""
    both = _ADVICE.get(verdict.cause)
    return "" if both is None else both[0 if sending else 1]


def sentence(verdict: Verdict, *, sending: bool) -> str:
    """The headline with its share, and what helps."""
    words = f"{headline(verdict, sending=sending)}: {share_words(verdict)}."
    help_words = advice(verdict, sending=sending)
    return f"{words} {help_words}" if help_words else words
