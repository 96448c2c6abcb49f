from tallow_cli.dataplane.pathmtu import MAX_PROBES, RAISE_INTERVAL_S, PathMtu


def search(path_bytes: int, max_bytes: int = 8_932) -> tuple[PathMtu, list[int], float]:
    """Run a whole search over a path that carries `path_bytes`."""
    mtu, now, probes = PathMtu(1_191, max_bytes), 0.0, []
    for _ in range(100):
        size = mtu.next_probe(now, 0.02)
        if size is None:
            due = mtu.next_timeout()
            if due is None or due > now + 100:
                break
            now = due
            continue
        probes.append(size)
        if size <= path_bytes:
            mtu.on_probe_ack(now + 0.02, size)
        now += 0.02
    return mtu, probes, now


def test_a_path_that_carries_the_largest_size_costs_one_probe() -> None:
    mtu, probes, _ = search(9_000, 1_435)
    assert (mtu.current_bytes, probes) == (1_432, [1_432])


def test_the_search_ends_on_the_largest_size_the_path_carries() -> None:
    for path_bytes, found in ((1_188, 1_188), (1_340, 1_332), (1_432, 1_432), (5_000, 1_432), (8_912, 8_912)):
        mtu, probes, _ = search(path_bytes)
        assert mtu.current_bytes == found, (path_bytes, probes)
        assert all(probes.count(size) <= MAX_PROBES for size in probes)


def test_the_search_opens_with_the_common_size_and_the_largest_at_once() -> None:
    mtu = PathMtu(1_191, 16_352)
    assert [mtu.next_probe(0.0, 0.02) for _ in range(3)] == [1_432, 16_352, None]
    assert mtu.on_probe_ack(0.02, 1_432)
    assert mtu.current_bytes == 1_432
    assert mtu.next_probe(0.02, 0.02) is None, "the answer to the large one may still come"
    assert mtu.on_probe_ack(0.03, 16_352)
    assert mtu.current_bytes == 16_352


def test_a_single_lost_probe_is_no_verdict() -> None:
    mtu = PathMtu(1_191, 1_435)
    assert mtu.next_probe(0.0, 0.02) == 1_432
    assert mtu.next_probe(0.1, 0.02) is None
    assert mtu.next_probe(0.3, 0.02) == 1_432
    assert mtu.on_probe_ack(0.32, 1_432)
    assert mtu.current_bytes == 1_432


def test_no_probe_is_sent_where_nothing_larger_is_allowed() -> None:
    mtu = PathMtu(1_191, 1_191)
    assert mtu.next_timeout() is None
    assert mtu.next_probe(0.0, 0.02) is None
    assert mtu.current_bytes == 1_188


def test_a_black_hole_brings_the_size_down_and_the_search_stays_below_it() -> None:
    mtu, _, now = search(8_932)
    assert mtu.current_bytes == 8_932
    assert mtu.on_black_hole(now)
    assert mtu.current_bytes == 1_188
    assert mtu.next_probe(now, 0.02) is None, "the path needs a moment first"
    size = mtu.next_probe(now + 1, 0.02)
    assert size is not None
    assert size < 8_932
    assert not PathMtu(1_191, 1_435).on_black_hole(0.0)


def test_answers_nobody_waits_for_change_nothing() -> None:
    mtu = PathMtu(1_191, 8_932)
    assert not mtu.on_probe_ack(0.0, 8_932)
    mtu.next_probe(0.0, 0.02)
    assert not mtu.on_probe_ack(0.0, 1_404)
    assert not mtu.on_probe_ack(0.0, 1_433)
    assert mtu.current_bytes == 1_188


def test_after_the_raise_timer_the_path_is_asked_again() -> None:
    mtu, _, now = search(1_188, 1_435)
    assert mtu.next_probe(now + RAISE_INTERVAL_S - 1, 0.02) is None
    assert mtu.next_probe(now + RAISE_INTERVAL_S + 1, 0.02) == 1_432
    mtu.on_probe_ack(now + RAISE_INTERVAL_S + 2, 1_432)
    assert mtu.current_bytes == 1_432
