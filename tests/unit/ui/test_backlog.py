"""ui.backlog: order, thinning, and nothing lost that may not be."""

from __future__ import annotations

from collections.abc import Iterator

from tallow_cli.ui.backlog import PIECE_BYTES, Backlog


def backlog() -> Backlog:
    return Backlog(str.encode)


def everything(subject: Backlog, at_once: int = PIECE_BYTES) -> str:
    """What a reader gets who takes so many bytes at once."""
    out = b""
    while (piece := subject.next_piece()) is not None:
        taken = bytes(piece[:at_once])
        out += taken
        subject.written(len(taken))
    return out.decode()


def test_texts_come_out_in_order_however_little_is_taken_at_once() -> None:
    for at_once in (1, 3, PIECE_BYTES):
        subject = backlog()
        for text in ("code\n", "", "offer\n", "done\n"):
            subject.put(text)
        assert everything(subject, at_once) == "code\noffer\ndone\n"
        assert subject.is_empty


def test_of_a_droppable_kind_only_the_newest_waits_and_it_stands_where_it_was_put() -> None:
    subject = backlog()
    subject.put("code\n")
    for number in range(1000):
        subject.put(f"progress {number}\n", replaces="progress")
        subject.put(f"stats {number}\n", replaces="stats")
    subject.put("file\n")
    subject.put("progress 1000\n", replaces="progress")
    subject.put("done\n")
    assert everything(subject) == "code\nstats 999\nfile\nprogress 1000\ndone\n"


def test_what_is_dropped_takes_no_memory() -> None:
    subject = backlog()
    for number in range(10_000):
        subject.put(f"{number}", replaces="progress")
        subject.put(f"{number}", replaces="stats")
    assert len(subject._entries) <= 4


def test_a_line_that_was_begun_is_finished() -> None:
    subject = backlog()
    subject.put("progress 1\n", replaces="progress")
    piece = subject.next_piece()
    assert piece is not None
    subject.written(4)
    subject.put("progress 2\n", replaces="progress")
    subject.put("progress 3\n", replaces="progress")
    assert everything(subject) == "ress 1\nprogress 3\n"


def test_a_long_text_is_made_in_parts_and_not_before_its_turn() -> None:
    made: list[int] = []

    def parts() -> Iterator[str]:
        for number in range(3):
            made.append(number)
            yield f"{number}\n"

    subject = backlog()
    subject.put("first\n")
    subject.put(parts())
    subject.put("last\n")
    assert made == []
    piece = subject.next_piece()
    assert piece is not None
    assert made == []
    subject.written(len(piece))
    assert subject.next_piece() == b"0\n"
    assert made == [0]
    assert everything(subject) == "0\n1\n2\nlast\n"


def test_a_large_piece_is_written_in_steps() -> None:
    subject = backlog()
    subject.put("x" * (PIECE_BYTES + 1))
    piece = subject.next_piece()
    assert piece is not None
    assert len(piece) == PIECE_BYTES


def test_at_the_end_nobody_waits_for_progress() -> None:
    subject = backlog()
    subject.put("progress\n", replaces="progress")
    subject.put("error\n")
    subject.drop_droppable()
    assert everything(subject) == "error\n"


def test_a_stream_that_cannot_be_written_is_given_nothing_more() -> None:
    subject = backlog()
    subject.put("one")
    subject.close()
    subject.put("two")
    assert subject.is_empty
    assert subject.next_piece() is None
