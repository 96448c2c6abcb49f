from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tallow_cli.session.events import (
    CodeReady,
    FileFinished,
    Notice,
    Offered,
    OfferedEntry,
    Progress,
    SessionEvent,
)
from tallow_cli.store.sink import AtHand
from tallow_cli.ui.output import Output
from tallow_cli.ui.plain import LONGEST_INTERVAL_S, PlainRenderer
from tests.support.events import (
    CODE_READY,
    CONNECTED,
    DONE,
    EVERY_EVENT,
    FAILED,
    NOTICE,
    OFFER,
    PEER,
    RECONNECTED,
    RECONNECTING,
    RESUMING,
    STATS,
)
from tests.support.streams import Stream


class Log:
    """A plain renderer with its own clock, and what it wrote."""

    def __init__(self, *, verbose: bool = False, lists_offer: bool = False) -> None:
        self.now = 0.0
        self._stream = Stream()
        self._renderer = PlainRenderer(
            Output(self._stream), verbose=verbose, lists_offer=lists_offer, clock=lambda: self.now
        )
        self._renderer.start()

    def tell(self, *events: SessionEvent) -> str:
        before = len(self._stream.getvalue())
        for event in events:
            self._renderer.handle(event)
        return self._stream.getvalue()[before:]


def test_no_peer_text_reaches_the_log_raw() -> None:
    text = Log(verbose=True).tell(*EVERY_EVENT)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\r" not in text
    assert text.count("\\x1b[2J") >= 4


def test_the_code_comes_with_the_command_to_type() -> None:
    assert Log().tell(CODE_READY).splitlines() == [
        "Code: 4821-acorn-blend-crisp",
        "On the other machine: tallow recv 4821-acorn-blend-crisp",
        "If it is not found there: tallow recv 4821-acorn-blend-crisp --server ws://192.168.1.5:41234",
    ]


def test_a_server_that_was_chosen_is_part_of_the_command() -> None:
    event = CodeReady("1-a-b-c", server="wss://files.example/x y", reachable_as="ws://10.0.0.1:1")
    assert Log().tell(event).splitlines()[1:] == [
        "On the other machine: tallow recv 1-a-b-c --server 'wss://files.example/x y'"
    ]


def test_a_code_that_was_given_is_not_written_to_a_log() -> None:
    told = Log().tell(replace(CODE_READY, given=True))
    assert told.splitlines() == [
        "Code: the one that was given, number 4821",
        "On the other machine: tallow recv CODE",
        "If it is not found there: tallow recv CODE --server ws://192.168.1.5:41234",
    ]


def test_a_fresh_code_is_not_called_one_a_second_time() -> None:
    assert Log().tell(CodeReady("1-a-b-c", server=None, attempt=2)).startswith("Code: 1-a-b-c\n")


def test_the_connection_is_a_sentence_and_its_details_are_for_the_verbose() -> None:
    assert Log().tell(CONNECTED, PEER) == "Connected directly on the local network, to 192.168.1.7.\n"
    verbose = Log(verbose=True).tell(CONNECTED)
    assert "Engine aiortc, 3 data channels (unordered, max-retransmits 0)" in verbose
    assert "no GSO here" in verbose


def test_progress_is_written_once_a_second_with_the_rate_of_that_second() -> None:
    log = Log()
    log.tell(CODE_READY)
    written = []
    for step in range(41):
        log.now = step / 10
        written.append(log.tell(Progress(step * 1_250_000, 100_000_000, eta_s=7.2)))
    lines = [text for text in written if text]
    assert len(lines) == 4
    assert lines[0] == " 12 %, 11.9 MiB of 95.4 MiB, 100 Mbit/s, 7 s left\n"


def test_the_pace_slows_down_so_that_a_long_transfer_does_not_fill_a_log() -> None:
    log = Log()
    count = 0
    for second in range(3600):
        log.now = float(second)
        count += log.tell(Progress(second, None)).count("\n")
    assert count < 200
    log.now += LONGEST_INTERVAL_S
    assert log.tell(Progress(3601, None))


def test_a_stream_without_a_size_has_no_percentage() -> None:
    log = Log()
    log.tell(Progress(0, None))
    log.now = 2.0
    assert log.tell(Progress(3 * 2**20, None)) == "3 MiB, 12.6 Mbit/s\n"


def test_verbose_progress_has_round_trip_and_loss() -> None:
    log = Log(verbose=True)
    log.tell(STATS, Progress(0, 100))
    log.now = 1.0
    assert log.tell(Progress(50, 100)).endswith(", RTT 8.2 ms, loss 0.2 %\n")


def test_a_silence_is_said_as_one_and_not_as_a_rate_of_nothing() -> None:
    log = Log()
    log.tell(Progress(50, 100))
    log.now = 6.0
    log.tell(replace(STATS, silent_s=6.2))
    assert log.tell(Progress(50, 100)).endswith(", the other side has not answered for 6 s\n")
    log.now = 12.0
    log.tell(STATS)
    assert "bit/s" in log.tell(Progress(60, 100))


def test_a_receiver_sees_each_entry_with_its_size_first() -> None:
    assert Log().tell(OFFER).splitlines() == [
        " directory  photos/",
        "   977 KiB  photos/evil\\x1b[2J\\u202efdp.exe[bold]x[/bold]\\x0d\\x0a",
        "  1.17 GiB  big.iso",
        "Offered: 2 files and 1 directory, 1.17 GiB.",
    ]


def test_a_sender_sees_what_it_sends_in_one_line() -> None:
    log = Log()
    log.tell(CODE_READY)
    assert log.tell(OFFER) == "Sending: 2 files and 1 directory, 1.17 GiB.\n"


@pytest.mark.parametrize(
    ("offer", "words"),
    [
        (Offered("text", (), 12), "Offered: a text of 12 B."),
        (Offered("stream", (), None), "Offered: a stream."),
        (Offered("stream", (), 2048), "Offered: a stream of 2 KiB."),
        (Offered("files", (OfferedEntry("a.txt", "file", 0),), 0), "Offered: a.txt, 0 B."),
        (Offered("files", (OfferedEntry("d", "directory", 0),), 0), "Offered: 0 files and 1 directory, 0 B."),
        (
            Offered("files", (OfferedEntry("f", "file", 1), OfferedEntry("l", "symlink", 0)), 1),
            "Offered: 1 file and 1 symbolic link, 1 B.",
        ),
    ],
)
def test_every_kind_of_offer_has_its_words(offer: Offered, words: str) -> None:
    assert Log().tell(offer).splitlines()[-1] == words


MANY = Offered("files", tuple(OfferedEntry(f"{n}.txt", "file", 1) for n in range(1000)), 1000)


def test_a_thousand_files_are_summed_up_in_a_log_and_listed_for_somebody_who_must_consent() -> None:
    lines = Log().tell(MANY).splitlines()
    assert len(lines) == 22
    assert lines[-2:] == ["         …  and 980 more", "Offered: 1,000 files, 1000 B."]
    lines = Log(lists_offer=True).tell(MANY).splitlines()
    assert lines[-2:] == ["         …  and 800 more", "Offered: 1,000 files, 1000 B."]
    assert len(lines) == 202
    assert len(Log(verbose=True).tell(MANY).splitlines()) == 1001


def test_a_few_received_files_are_named_with_where_they_are_and_many_only_where_renamed() -> None:
    log = Log()
    log.tell(OFFER)
    assert log.tell(FileFinished("big.iso", 5, saved_as="in/big.iso")) == "in/big.iso (5 B) verified\n"
    log.tell(MANY)
    assert log.tell(FileFinished("1.txt", 1, saved_as="in/1.txt")) == ""
    assert log.tell(FileFinished("1.txt", 1, saved_as="in/1 (1).txt")) == "in/1 (1).txt (1 B) verified\n"


def test_the_end_says_what_how_long_how_fast_and_that_it_was_verified() -> None:
    log = Log()
    log.tell(CODE_READY)
    assert log.tell(DONE).splitlines() == [
        "Sent 2 files, 1.17 GiB, in 50.3 s: 200 Mbit/s. The receiver has verified it.",
        "Quality 95/100: RTT 8.5 ms, jitter 2.3 ms, loss 0.2 %.",
        "Waiting for the receiver's disk to write: 62 % of the last 10 s. "
        "Only the receiver can help it: with a faster disk.",
    ]
    assert Log().tell(DONE).startswith("Received 2 files, 1.17 GiB, in 50.3 s: 200 Mbit/s. Verified.")


def test_a_failure_is_one_sentence() -> None:
    text = Log().tell(FAILED)
    assert text.startswith("tallow: The other side had to stop: ")
    assert text.count("\n") == 1


def test_details_among_the_notices_are_for_the_verbose() -> None:
    assert Log().tell(NOTICE).startswith("A wrong code was tried")
    assert Log().tell(Notice("fell back", detail=True)) == ""
    assert Log(verbose=True).tell(Notice("fell back", detail=True)) == "fell back\n"


def test_a_lost_connection_is_no_end_and_what_is_done_about_it_is_said() -> None:
    log = Log()
    assert log.tell(RECONNECTING) == (
        "Connection lost (the other side no longer answers). Reconnecting for 2 min …\n"
    )
    assert log.tell(RECONNECTED) == "Reconnected directly after 41.6 s, to 10.1.2.3. Going on where it was.\n"


def test_the_rate_after_an_outage_does_not_average_over_it() -> None:
    log = Log()
    log.tell(Progress(1_000_000, 10_000_000))
    log.now = 1.0
    log.tell(RECONNECTING)
    log.now = 100.0
    log.tell(RECONNECTED, Progress(1_000_000, 10_000_000))
    log.now = 101.0
    assert "8.00 Mbit/s" in log.tell(Progress(2_000_000, 10_000_000))


def test_the_last_line_says_how_long_there_was_no_connection() -> None:
    assert "(41.6 s of it without contact)" in Log().tell(replace(DONE, outage_s=41.6))


def test_what_is_there_already_is_said_before_it_goes_on() -> None:
    assert Log().tell(RESUMING) == "Resuming: 477 MiB of 1.17 GiB already here.\n"
    sender = Log()
    sender.tell(CODE_READY)
    assert sender.tell(RESUMING) == "Resuming: 477 MiB of 1.17 GiB already there.\n"


def test_what_is_there_already_is_said_with_the_offer_and_once() -> None:
    log = Log()
    told = log.tell(replace(OFFER, here=AtHand(resumed_bytes=512 * 1024**2)))
    assert told.splitlines()[-1] == "Resuming: 512 MiB of 1.17 GiB already here."
    assert log.tell(RESUMING) == ""
    assert "already here" not in Log().tell(replace(OFFER, here=AtHand()))


def test_what_a_policy_keeps_is_said_with_the_offer() -> None:
    told = Log().tell(replace(OFFER, here=AtHand(kept_files=1, kept_bytes=1_000_000)))
    assert told.splitlines()[-1] == "Of the size and time offered: 1 file (977 KiB), which stays as it is."
    told = Log().tell(replace(OFFER, here=AtHand(compared_files=2, compared_bytes=2_000_000)))
    assert told.splitlines()[-1] == "Here already: 2 files (1.91 MiB), of which only what differs is sent."


def test_it_says_that_it_compares_while_nothing_moves() -> None:
    log = Log()
    log.tell(Progress(9_000_000, 10_000_000, unproven=9_000_000))
    log.now = 1.0
    assert log.tell(Progress(9_000_000, 10_000_000, 8.0, unproven=8_000_000)) == (
        " 90 %, 8.58 MiB of 9.54 MiB, comparing what was here, 7.63 MiB left, 8 s left\n"
    )
    log.now = 2.0
    line = log.tell(Progress(9_500_000, 10_000_000, unproven=7_000_000))
    assert "4.00 Mbit/s, comparing what was here, 6.68 MiB left" in line


RELAYED = {"path": "relayed", "way": "relayed"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"way": "same-machine"}, "directly on this machine, to 192.168.1.7."),
        ({"way": "across-nats"}, "directly across NATs, to 192.168.1.7."),
        ({"way": "tunnel"}, "directly through a VPN or another tunnel, to 192.168.1.7."),
        ({"way": "direct"}, "directly, to 192.168.1.7."),
        (
            {**RELAYED, "relay": "turn:r.example:3478?transport=tcp"},
            "through the relay r.example:3478 over TCP, to 192.168.1.7.",
        ),
        (
            {
                "path": "relayed",
                "way": "relayed",
                "relay": "turns:[2001:db8::1]:5349?transport=tcp",
                "is_peer_relayed": True,
            },
            "through the relay [2001:db8::1]:5349 over TLS and the other side's relay, to 192.168.1.7.",
        ),
        (
            {"path": "relayed", "way": "relayed", "is_peer_relayed": True},
            "through the other side's relay, to 192.168.1.7.",
        ),
    ],
)
def test_the_way_taken_is_named(changes: dict[str, Any], said: str) -> None:
    assert Log().tell(replace(CONNECTED, **changes)) == f"Connected {said}\n"
    lost = replace(RECONNECTED, **{"way": "direct", "remote_address": "192.168.1.7", **changes})
    again = Log().tell(lost)
    assert again.startswith(f"Reconnected {said.split(', to')[0]} after 41.6 s, to 192.168.1.7.")
