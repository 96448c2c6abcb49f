"""The sentences both renderers for people share. Everything returned is sanitized and safe to print."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator
from itertools import islice
from typing import Final

from tallow_cli.measure.benchmark import Bottleneck
from tallow_cli.measure.verdict_words import sentence
from tallow_cli.session.events import (
    CodeReady,
    Connected,
    Done,
    Failed,
    FileFinished,
    Kept,
    LeftOut,
    Offered,
    OfferedEntry,
    Progress,
    Reconnected,
    Reconnecting,
    Resuming,
    Stats,
    Waiting,
)
from tallow_cli.ui import sanitize
from tallow_cli.ui.format import (
    format_bytes,
    format_count,
    format_duration,
    format_fraction,
    format_milliseconds,
    format_part,
    format_throughput,
)
from tallow_cli.ui.sanitize import name, one_line

MOST_LEFT_OUT: Final = 5  # shown; the rest is counted, and all of it is in the JSON output
_LEFT_OUT: Final = {
    "excluded": "excluded by its user",
    "special": "devices, pipes and sockets",
    "link": "links that lead out",
    "unreadable": "unreadable",
    "name": "names that cannot be here",
    "vanished": "vanished meanwhile",
}
# More files than this are summed up in a log.
MOST_IN_A_LOG: Final = 20
# Of an offer that somebody is to consent to: more than anybody reads before an answer; the rest on request.
MOST_TO_CONSENT: Final = 200
_LINES_AT_ONCE: Final = 50
_SIZE_COLUMNS: Final = 12  # with the two blanks behind it
_NARROWEST_NAME: Final = 8


def receive_command(event: CodeReady) -> str:
    """The command for the other machine, ready to be pasted into a shell."""
    server = f" --server {shlex.quote(one_line(event.server))}" if event.server else ""
    return f"tallow recv {one_line(event.code)}{server}"


def receive_command_without_discovery(event: CodeReady) -> str | None:
    """The command where multicast does not reach, if there is one besides `receive_command`."""
    if event.server or not event.reachable_as:
        return None
    return f"tallow recv {one_line(event.code)} --server {shlex.quote(one_line(event.reachable_as))}"


def failure(event: Failed) -> str:
    """Why it failed, and what is kept."""
    return f"tallow: {one_line(event.error.sentence)}{_kept(event.kept)}"


def _kept(kept: Kept | None) -> str:
    if kept is None or not kept.of_files:
        return ""
    return _whole(kept) + _unfinished(kept)


def _unfinished(kept: Kept) -> str:
    """What is left to go on with, and how to."""
    if not kept.unfinished_files:
        return ""
    what = (
        "an unfinished file" if kept.unfinished_files == 1 else f"{kept.unfinished_files:,} unfinished files"
    )
    how = (
        "receive it into the same place" if kept.go_on is None else f"receive it with: {one_line(kept.go_on)}"
    )
    return (
        f" {format_bytes(kept.unfinished_bytes)} of {what} {'is' if kept.unfinished_files == 1 else 'are'} kept. "
        f"To go on, have the same sent again, and {how}"
    )


def _whole(kept: Kept) -> str:
    if not kept.files and kept.unfinished_files:
        return " Nothing had arrived whole."
    if not kept.files:
        return " Nothing had arrived whole, so nothing is kept."
    of = f"{kept.files:,} of {format_count(kept.of_files, 'file')}"
    verb = "is" if kept.files == 1 else "are"
    return (
        f" {of} ({format_bytes(kept.bytes)}) {verb} complete, verified and kept: {one_line(kept.place or '')}"
        + (";" if kept.unfinished_files else "")
    )


def waiting(event: Waiting) -> str:
    if event.timeout_s is None:
        return f"Waiting {one_line(event.what)} …"
    return f"Waiting {one_line(event.what)} (up to {_patience(event.timeout_s)}) …"


def _patience(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    if not minutes:
        return f"{rest:.3g} s"
    return f"{minutes:.0f} min" if not rest else format_duration(seconds)


def resuming(event: Resuming, *, sending: bool) -> str:
    return _resuming(event.held_bytes, event.total_bytes, "there" if sending else "here")


def _resuming(held_bytes: int, total_bytes: int, where: str) -> str:
    return f"Resuming: {format_part(held_bytes, total_bytes)} already {where}."


def comparing(event: Progress, *, sending: bool) -> str:
    """What goes on beside sending, or after it: `comparing what was here, 9 GiB left`; empty if nothing does."""
    if not event.unproven:
        return ""
    return f"comparing what was {'there' if sending else 'here'}, {format_bytes(event.unproven)} left"


def tells_what_is_here(event: Offered) -> bool:
    """Whether an offer, as it is shown, says what of it the receiver has."""
    return bool(_here(event))


def _here(event: Offered) -> list[str]:
    """What a receiver has of an offer, in sentences."""
    here, total = event.here, event.total_bytes
    if here is None or not total:
        return []
    sentences = []
    if here.resumed_bytes:
        sentences.append(_resuming(here.resumed_bytes, total, "here"))
    if here.kept_files:
        stay = "stays as it is" if here.kept_files == 1 else "stay as they are"
        what = format_count(here.kept_files, "file")
        sentences.append(
            f"Of the size and time offered: {what} ({format_bytes(here.kept_bytes)}), which {stay}."
        )
    if here.compared_files:
        what = format_count(here.compared_files, "file")
        sentences.append(
            f"Here already: {what} ({format_bytes(here.compared_bytes)}), of which only what differs is sent."
        )
    return sentences


def connected(event: Connected) -> str:
    """How the two are connected: `Connected directly on the local network, to 192.168.1.7.`"""
    seal = "" if event.encrypted else " Without the code's encryption: DTLS alone protects the data."
    return f"Connected {_way(event)}, to {one_line(event.remote_address)}.{seal}"


_DIRECTLY: Final = {
    "same-machine": "directly on this machine",
    "local-network": "directly on the local network",
    "tunnel": "directly through a VPN or another tunnel",
    "across-nats": "directly across NATs",
    "direct": "directly",
}


def _way(event: Connected | Reconnected) -> str:
    if event.path == "direct":
        return _DIRECTLY[event.way]
    theirs = "the other side's relay"
    if event.relay is None:
        return f"through {theirs}"
    return f"through the relay {relay_name(event.relay)}{f' and {theirs}' if event.is_peer_relayed else ''}"


def relay_name(url: str) -> str:
    """`203.0.113.1:3478 over TCP`, from `turn:203.0.113.1:3478?transport=tcp`."""
    scheme, _, rest = one_line(url).partition(":")
    host, _, query = rest.partition("?")
    transport = "TLS" if scheme == "turns" else query.removeprefix("transport=").upper()
    return f"{host} over {transport}"


def reconnecting(event: Reconnecting) -> str:
    """That it is not the end, and why."""
    patience = "" if event.for_s is None else f" for {_patience(event.for_s)}"
    return f"Connection lost ({one_line(event.reason)}). Reconnecting{patience} …"


def reconnected(event: Reconnected) -> str:
    return (
        f"Reconnected {_way(event)} after {format_duration(event.after_s)}, to {one_line(event.remote_address)}. "
        "Going on where it was."
    )


def silent(stats: Stats | None) -> str:
    """`the other side has not answered for 6 s`; empty while it does."""
    if stats is None or not stats.silent_s:
        return ""
    return f"the other side has not answered for {stats.silent_s:.0f} s"


def connection_details(event: Connected) -> list[str]:
    """What `--verbose` adds."""
    details = [
        f"Engine {one_line(event.engine)}, {format_count(event.channels, 'data channel')} ({_kind(event)}), "
        f"{_endpoint(event.local_address, event.local_port)} to "
        f"{_endpoint(event.remote_address, event.remote_port)}."
    ]
    return details + [one_line(note) for note in event.notes]


def _endpoint(address: str, port: int) -> str:
    host = one_line(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _kind(event: Connected) -> str:
    """Of the data channels, in the words of the options that change it."""
    if event.max_retransmits is None:
        return "reliable"
    return f"unordered, max-retransmits {event.max_retransmits}"


def amount(data_bytes: int, hole_bytes: int) -> str:
    """How much it is: `1.2 GiB`, and what of the files is empty space (holes), which is neither sent nor written."""
    if not hole_bytes:
        return format_bytes(data_bytes)
    empty = f"{format_bytes(hole_bytes)} of empty space"
    return f"{format_bytes(data_bytes)} and {empty}" if data_bytes else empty


def offer_summary(event: Offered, room: int | None = None) -> str:
    """`12 files in 3 directories, 1.2 GiB`, without a full stop; where it names a file, at most `room` columns wide."""
    if event.kind == "text":
        return f"a text of {format_bytes(event.total_bytes or 0)}"
    if event.kind == "stream":
        size = "" if event.total_bytes is None else f" of {format_bytes(event.total_bytes)}"
        return f"a stream{size}"
    files = [entry for entry in event.entries if entry.kind == "file"]
    directories = sum(entry.kind == "directory" for entry in event.entries)
    links = sum(entry.kind == "symlink" for entry in event.entries)
    if len(event.entries) == 1 and files:
        size = amount(files[0].size - event.hole_bytes, event.hole_bytes)
        left = None if room is None else max(_NARROWEST_NAME, room - len(", ") - len(size))
        return f"{name(files[0].path, left)}, {size}"
    parts = [format_count(len(files), "file")]
    if directories:
        parts.append(format_count(directories, "directory", "directories"))
    if links:
        parts.append(format_count(links, "symbolic link"))
    return f"{' and '.join(parts)}, {amount(event.total_bytes or 0, event.hole_bytes)}"


def offered_entry(entry: OfferedEntry, columns: int | None = None) -> str:
    """One line of the offer, at most `columns` wide and its size first, so that no name can imitate one."""
    size = format_bytes(entry.size) if entry.kind == "file" else entry.kind
    slash = "/" if entry.kind == "directory" else ""
    room = None if columns is None else max(_NARROWEST_NAME, columns - _SIZE_COLUMNS - len(slash) - 1)
    if entry.target is None:
        return f"{size:>10}  {name(entry.path, room)}{slash}"
    half = None if room is None else max(_NARROWEST_NAME // 2, (room - len(" -> ")) // 2)
    return f"{size:>10}  {name(entry.path, half)} -> {name(entry.target, half)}"


def pointed_out(what: str, path: str, about: str = "", columns: int | None = None) -> str:
    """A name that a person should look at, and why: one line, at most `columns` wide. `about` stands behind the
    name, and is ours."""
    before, behind = f"  {what}: ", f" ({about})" if about else ""
    room = None if columns is None else max(_NARROWEST_NAME, columns - len(before) - len(behind) - 1)
    return f"{before}{name(path, room)}{behind}"


def most_offered(*, to_consent: bool, verbose: bool) -> int | None:
    """How many entries of an offer to list; None for all of them."""
    if verbose:
        return None
    return MOST_TO_CONSENT if to_consent else MOST_IN_A_LOG


def offer(event: Offered, *, sending: bool, most: int | None, columns: int | None) -> Iterator[str]:
    """The offer, in parts to be written as they are made, for it may have a million entries.

    To a receiver every entry, or the first `most`; then in one sentence what it amounts to. `columns` is the width of
    the terminal that it is for.
    """
    if event.kind == "files" and len(event.entries) > 1 and not sending:
        yield from listing(event, most=most, columns=columns)
    word = "Sending" if sending else "Offered"
    room = None if columns is None else columns - len(word) - len(": .") - 1
    sentences = [f"{word}: {offer_summary(event, room)}."]
    if not sending:
        sentences += _not_offered(event)
        sentences += _here(event)
    yield from (f"{line}\n" for sentence in sentences for line in _broken(sentence, columns))


def _broken(sentence: str, columns: int | None) -> list[str]:
    """The lines of a sentence, broken between words where it is wider than the terminal."""
    if columns is None or sanitize.columns(sentence) <= columns:
        return [sentence]
    return textwrap.wrap(sentence, max(columns, _NARROWEST_NAME))


def listing(event: Offered, *, most: int | None, columns: int | None) -> Iterator[str]:
    """The entries of an offer, a line each, in parts of many lines; what is left out is counted."""
    entries = iter(event.entries if most is None else event.entries[:most])
    while some := list(islice(entries, _LINES_AT_ONCE)):
        yield "".join(f"{offered_entry(entry, columns)}\n" for entry in some)
    if most is not None and len(event.entries) > most:
        yield f"{'…':>10}  and {len(event.entries) - most:,} more\n"


def left_out(event: LeftOut, *, most: int | None = MOST_LEFT_OUT) -> list[str]:
    """What does not arrive, and why: the first `most` of it."""
    shown = event.items[:most]
    lines = [f"Left out: {name(item.path)} ({one_line(item.reason)})" for item in shown]
    if len(shown) < len(event.items):
        lines.append(f"Left out: {len(event.items) - len(shown):,} more")
    return lines


def _not_offered(event: Offered) -> list[str]:
    """What the sender says it left out, in one sentence."""
    if not event.left_out:
        return []
    parts = [f"{_LEFT_OUT.get(why, 'others')} ({count:,})" for why, count in event.left_out.items()]
    return [f"The sender left out: {', '.join(parts)}."]


def file_finished(event: FileFinished) -> str:
    """Where the file is now, on the receiver; its name, on the sender."""
    return f"{name(event.saved_as or event.path)} ({format_bytes(event.size)}) verified"


def is_renamed(event: FileFinished) -> bool:
    return event.saved_as is not None and event.saved_as.rpartition("/")[2] != event.path.rpartition("/")[2]


def done(event: Done, *, sending: bool) -> str:
    """The last line: what arrived, how long it took, how fast that was."""
    what = amount(event.bytes, event.hole_bytes)
    if event.files > 1:
        what = f"{format_count(event.files, 'file')}, {what},"
    verb = "Sent" if sending else "Received"
    proof = "The receiver has verified it." if sending else "Verified."
    rate = f": {format_throughput(event.mbps)}" if event.bytes else ""  # of nothing there is none
    away = f" ({format_duration(event.outage_s)} of it without contact)" if event.outage_s else ""
    line = f"{verb} {what} in {format_duration(event.seconds)}{away}{rate}. {proof}"
    return f"{line} {missed(event)}" if event.missed else line


def missed(event: Done) -> str:
    """What is said last of a transfer that is not whole, and why its exit code is not 0."""
    were = "1 thing was" if event.missed == 1 else f"{event.missed:,} things were"
    return f"But it is not whole: {were} left out."


def done_details(event: Done, *, sending: bool) -> list[str]:
    """Quality and, where something limits the rate, what to do about it. Empty where nothing was measured."""
    figures = event.benchmark
    if figures is None or figures.avg_rtt_ms is None or not figures.sample_count:
        return []
    score = "" if figures.quality_score is None else f"Quality {figures.quality_score}/100: "
    lines = [
        f"{score}RTT {format_milliseconds(figures.avg_rtt_ms)}, "
        f"jitter {format_milliseconds(figures.jitter_ms)}, loss {format_fraction(figures.avg_loss)}."
    ]
    if event.verdict is not None:
        lines.append(sentence(event.verdict, sending=sending))
    elif figures.bottleneck is not Bottleneck.NONE:
        lines.append(f"Bottleneck: {figures.bottleneck.value}. {one_line(figures.recommendation)}")
    return lines
