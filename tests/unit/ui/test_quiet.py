from __future__ import annotations

from tallow_cli.session.events import Done, LeftOut, LeftOutItem
from tallow_cli.ui.output import Output
from tallow_cli.ui.quiet import QuietRenderer
from tests.support.events import CODE_READY, EVERY_EVENT, OFFER
from tests.support.streams import Stream


def test_only_the_reason_of_a_failure_is_said() -> None:
    stream = Stream()
    renderer = QuietRenderer(Output(stream))
    renderer.start()
    for event in EVERY_EVENT:
        renderer.handle(event)
    renderer.close()
    assert stream.getvalue().startswith("tallow: The other side had to stop: evil\\x1b[2J")
    assert stream.getvalue().count("\n") == 1


def test_a_receiver_who_may_be_asked_sees_what_about() -> None:
    stream = Stream(terminal=True)
    QuietRenderer(Output(stream)).handle(OFFER)
    assert "big.iso" in stream.getvalue()


def test_a_sender_knows_what_it_sends() -> None:
    stream = Stream(terminal=True)
    renderer = QuietRenderer(Output(stream))
    renderer.handle(CODE_READY)
    renderer.handle(OFFER)
    assert stream.getvalue() == ""


def test_what_is_missed_is_said_however_quiet_it_shall_be() -> None:
    stream = Stream()
    renderer = QuietRenderer(Output(stream))
    renderer.handle(LeftOut((LeftOutItem("a", "vanished", "it vanished"),)))
    renderer.handle(Done(bytes=5, files=1, seconds=2.0, mbps=1.0, left_out=1, missed=1))
    assert stream.getvalue().splitlines() == [
        "Left out: a (it vanished)",
        "tallow: But it is not whole: 1 thing was left out.",
    ]
