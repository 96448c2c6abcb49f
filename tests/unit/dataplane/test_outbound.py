from tallow_cli.dataplane.outbound import OutboundMessage, SendQueue


def message(
    stream_id: int, size: int = 10, *, ordered: bool = True, expires_at: float | None = None
) -> OutboundMessage:
    return OutboundMessage(
        stream_id, 53, bytes(size), ordered=ordered, max_retransmits=None, expires_at=expires_at
    )


def send_all(queue: SendQueue, now: float = 0.0) -> list[OutboundMessage]:
    sent: list[OutboundMessage] = []
    while head := queue.head(now, []):
        queue.advance(head, head.size - head.sent_bytes)
        sent.append(head)
    return sent


def test_streams_take_turns_and_each_keeps_its_order() -> None:
    queue = SendQueue()
    messages = [message(1, size) for size in (1, 2, 3)] + [message(2, size) for size in (10, 20)]
    for each in messages:
        queue.push(each)
    assert [m.size for m in send_all(queue)] == [1, 10, 2, 20, 3]
    assert not queue


def test_a_message_begun_is_finished_before_the_next() -> None:
    queue = SendQueue()
    queue.push(message(1, 100))
    queue.push(message(2, 100))
    first = queue.head(0.0, [])
    assert first is not None
    queue.advance(first, 40)
    assert queue.head(0.0, []) is first
    queue.advance(first, 60)
    assert queue.head(0.0, []) is not first


def test_what_is_buffered_is_what_was_not_given_to_the_network() -> None:
    queue = SendQueue()
    queue.push(message(1, 100))
    queue.push(message(1, 50))
    head = queue.head(0.0, [])
    assert head is not None
    queue.advance(head, 30)
    assert (queue.buffered_bytes(1), queue.buffered_bytes(2), queue.total_bytes) == (120, 0, 120)
    assert queue.take_drained() == {1: 30}
    assert queue.take_drained() == {}


def test_ssns_count_ordered_messages_per_stream_and_skip_none_when_one_expires_in_the_queue() -> None:
    queue = SendQueue()
    queue.push(message(1))
    queue.push(message(1, expires_at=1.0))
    queue.push(message(1, ordered=False))
    queue.push(message(1))
    expired: list[OutboundMessage] = []
    ssns = []
    while head := queue.head(2.0, expired):
        ssns.append((head.is_ordered, head.ssn))
        queue.advance(head, head.size)
    assert ssns == [(True, 0), (False, 0), (True, 1)]
    assert len(expired) == 1
    assert queue.take_drained() == {1: 40}


def test_a_reset_starts_the_ssns_over() -> None:
    queue = SendQueue()
    queue.push(message(1))
    send_all(queue)
    queue.reset_stream(1)
    queue.push(message(1))
    assert send_all(queue)[0].ssn == 0


def test_dropping_a_stream_keeps_the_message_that_was_begun() -> None:
    queue = SendQueue()
    for _ in range(3):
        queue.push(message(1, 100))
    queue.push(message(2, 7))
    head = queue.head(0.0, [])
    assert head is not None
    queue.advance(head, 10)
    queue.drop_stream(1)
    queue.drop_stream(99)
    assert queue.buffered_bytes(1) == 90
    queue.advance(head, 90)
    assert [m.size for m in send_all(queue)] == [7]
    assert queue.total_bytes == 0
    assert queue.take_drained() == {1: 300, 2: 7}


def test_an_abandoned_head_gives_back_what_it_had_buffered() -> None:
    queue = SendQueue()
    queue.push(message(1, 100))
    head = queue.head(0.0, [])
    assert head is not None
    queue.advance(head, 10)
    queue.finish_current(head)
    assert not queue
    assert queue.total_bytes == 0
    assert queue.take_drained() == {1: 100}
