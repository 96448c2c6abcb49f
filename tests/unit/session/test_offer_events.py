from __future__ import annotations

from tallow_cli.offer.manifest import Entry, EntryKind, LeftOut, Manifest, WhyLeftOut, pack_holes
from tallow_cli.session import events
from tallow_cli.session.offer_events import describe, hole_bytes, left_out, withdrawn_item
from tallow_cli.store.scan import NotSent
from tallow_cli.transfer.messages import Why
from tallow_cli.ui import wording
from tallow_cli.ui.sanitize import columns
from tests.support.disk import directory_entry, file_entry, files


def test_an_offer_is_described_by_what_arrives() -> None:
    sparse = Entry("d/\udcff", EntryKind.FILE, 100, packed_holes=pack_holes([(0, 90)]))
    manifest = Manifest("files", (directory_entry("d"), sparse), (LeftOut(WhyLeftOut.LINK, 2),))
    offered = describe(manifest)
    assert [(entry.path, entry.size) for entry in offered.entries] == [("d", 0), ("d/\\xff", 100)]
    assert (offered.total_bytes, offered.hole_bytes) == (10, 90)
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


def test_empty_space_is_told_apart_from_what_is_sent() -> None:
    sparse = Entry("disk.img", EntryKind.FILE, 3 * 1024, packed_holes=pack_holes([(0, 2048)]))
    hole = Entry("hole.img", EntryKind.FILE, 2048, packed_holes=pack_holes([(0, 2048)]))
    assert wording.offer_summary(describe(Manifest("files", (hole,)))) == "hole.img, 2 KiB of empty space"
    assert wording.offer_summary(describe(Manifest("files", (sparse, hole)))) == (
        "2 files, 1 KiB and 4 KiB of empty space"
    )
    done = events.Done(bytes=0, files=1, seconds=2.0, mbps=0.0, hole_bytes=2048)
    assert wording.done(done, sending=False) == "Received 2 KiB of empty space in 2.00 s. Verified."
    assert hole_bytes(Manifest("files", (sparse, hole)), 1) == 2048


def test_a_name_alone_is_cut_to_the_terminal() -> None:
    offered = describe(files(file_entry("\u65e5" * 80 + ".txt", 5)))
    (line,) = wording.offer(offered, sending=False, most=20, columns=40)
    assert columns(line) <= 40  # its break counts as one
    assert line.endswith(".txt, 5 B.\n")


def test_the_last_line_says_that_something_is_missing() -> None:
    done = events.Done(bytes=5, files=1, seconds=2.0, mbps=1.0, left_out=3, missed=2)
    assert wording.done(done, sending=False).endswith("But it is not whole: 2 things were left out.")
    whole = events.Done(bytes=5, files=1, seconds=2.0, mbps=1.0, left_out=3)
    assert "not whole" not in wording.done(whole, sending=True)
