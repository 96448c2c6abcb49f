from __future__ import annotations

from tallow_cli.offer.manifest import Entry, EntryKind, LeftOut, Manifest, WhyLeftOut, pack_holes
from tallow_cli.session import events
from tallow_cli.session.offer_events import describe, left_out, withdrawn_item
from tallow_cli.store.scan import NotSent
from tallow_cli.transfer.messages import Why
from tallow_cli.ui import wording
from tests.support.disk import directory_entry, file_entry


def test_an_offer_is_described_by_what_arrives() -> None:
    sparse = Entry("d/\udcff", EntryKind.FILE, 100, packed_holes=pack_holes([(0, 90)]))
    manifest = Manifest("files", (directory_entry("d"), sparse), (LeftOut(WhyLeftOut.LINK, 2),))
    offered = describe(manifest)
    assert [(entry.path, entry.size) for entry in offered.entries] == [("d", 0), ("d/\\xff", 100)]
    assert offered.total_bytes == 10
    assert offered.left_out == {"link": 2}


def test_every_reason_can_be_told() -> None:
    for why in Why:
        item = withdrawn_item("a", why)
        assert (item.path, item.why) == ("a", why.value)
        assert item.why in events.MISSED
        assert item.reason
    event = left_out(NotSent("a", why, "because") for why in WhyLeftOut)
    assert [item.why for item in event.items] == [why.value for why in WhyLeftOut]
    assert {item.why for item in event.items} & events.MISSED == {"unreadable", "name", "vanished"}


def test_a_person_is_shown_a_few_and_told_of_the_rest() -> None:
    event = left_out(NotSent(f"f{number}", WhyLeftOut.SPECIAL, "it is a pipe") for number in range(1007))
    lines = wording.left_out(event)
    assert lines[0] == "Left out: f0 (it is a pipe)"
    assert lines[5:] == ["Left out: 1,002 more"]
    assert len(wording.left_out(event, most=None)) == 1007


def test_a_receiver_is_told_what_the_sender_left_out() -> None:
    manifest = Manifest(
        "files", (file_entry("a", 5),), (LeftOut(WhyLeftOut.LINK, 1), LeftOut(WhyLeftOut.UNREADABLE, 1200))
    )
    lines = list(wording.offer(describe(manifest), sending=False, most=20, columns=80))
    assert lines[-1] == "The sender left out: links that lead out (1), unreadable (1,200).\n"
    assert list(wording.offer(describe(manifest), sending=True, most=20, columns=80))[-1].startswith(
        "Sending: "
    )


def test_the_last_line_says_that_something_is_missing() -> None:
    done = events.Done(bytes=5, files=1, seconds=2.0, mbps=1.0, left_out=3, missed=2)
    assert wording.done(done, sending=False).endswith("But it is not whole: 2 things were left out.")
    whole = events.Done(bytes=5, files=1, seconds=2.0, mbps=1.0, left_out=3)
    assert "not whole" not in wording.done(whole, sending=True)
