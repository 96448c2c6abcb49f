"""signaling.admission: what one network and all of them may take, in virtual time."""

from __future__ import annotations

from signaling.admission import Admission, SlidingWindow
from signaling.limits import EMBEDDED_LIMITS, PUBLIC_LIMITS, ServerLimits
from signaling.networks import Prefix, PrefixHasher
from signaling.protocol import ErrorCode
from tests.support.entropy import SeededEntropy

PUBLIC = Prefix("a", is_loopback=False)
OTHER = Prefix("b", is_loopback=False)
LOCAL = Prefix("c", is_loopback=True)


def admission(limits: ServerLimits | None = None, *prefixes: Prefix) -> Admission:
    made = Admission(limits or ServerLimits())
    for prefix in prefixes or (PUBLIC, OTHER, LOCAL):
        assert made.connect(prefix, 0.0) is None
        made.opened(prefix)
    return made


# Guessing nameplates.


def test_after_five_wrong_nameplates_even_the_right_one_is_refused_for_a_minute() -> None:
    limits = admission()
    for guess in range(5):
        assert limits.join(PUBLIC, now=float(guess)) is None
        limits.wrong_nameplate(PUBLIC, str(1000 + guess), now=float(guess))
    refusal = limits.join(PUBLIC, now=5.0)
    assert refusal is not None
    assert refusal.code is ErrorCode.RATE_LIMITED
    assert refusal.message == "too many wrong numbers were tried; try again in 59 s"
    assert limits.join(PUBLIC, now=63.9) is not None
    assert limits.join(PUBLIC, now=64.0) is None
    assert limits.join(OTHER, now=5.0) is None, "a stranger pays for nobody else"


def test_asking_for_the_same_number_again_is_one_guess() -> None:
    limits = admission()
    for second in range(0, 60, 5):
        assert limits.join(PUBLIC, now=float(second)) is None
        limits.wrong_nameplate(PUBLIC, "4821", now=float(second))
    assert limits.join(PUBLIC, now=60.0) is None


def test_wrong_guesses_are_forgotten_after_a_minute() -> None:
    limits = admission()
    for guess in range(20):
        now = guess * 16.0
        assert limits.join(PUBLIC, now) is None
        limits.wrong_nameplate(PUBLIC, str(1000 + guess), now)


def test_joins_are_limited_to_ten_in_ten_seconds_and_thirty_in_a_minute() -> None:
    limits = admission()
    for _ in range(10):
        assert limits.join(PUBLIC, 0.0) is None
    assert limits.join(PUBLIC, 9.9) is not None
    for start in (10.0, 20.0):
        for _ in range(10):
            assert limits.join(PUBLIC, start) is None
    refusal = limits.join(PUBLIC, 30.0)
    assert refusal is not None
    assert refusal.message.endswith("try again in 30 s")
    assert limits.join(PUBLIC, 60.0) is None


def test_a_ci_job_with_hundreds_of_local_transfers_meets_no_limit() -> None:
    limits = admission()
    for transfer in range(600):
        now = transfer * 0.1
        assert limits.connect(LOCAL, now) is None
        limits.opened(LOCAL)
        assert limits.open_room(LOCAL, now) is None
        assert limits.join(LOCAL, now) is None
        limits.close_room(LOCAL)
        limits.disconnect(LOCAL, was_opened=True)


# Rooms and connections.


def test_rooms_of_one_prefix_are_limited_and_closing_one_makes_place() -> None:
    limits = admission()
    for _ in range(PUBLIC_LIMITS.rooms):
        assert limits.open_room(PUBLIC, 0.0) is None
    assert limits.open_room(PUBLIC, 0.0) is not None
    assert limits.open_room(OTHER, 0.0) is None
    limits.close_room(PUBLIC)
    assert limits.open_room(PUBLIC, 0.0) is None


def test_opening_and_closing_rooms_in_a_loop_is_limited_too() -> None:
    limits = admission()
    for _ in range(PUBLIC_LIMITS.allocations_per_minute):
        assert limits.open_room(PUBLIC, 0.0) is None
        limits.close_room(PUBLIC)
    assert limits.open_room(PUBLIC, 59.0) is not None
    assert limits.open_room(PUBLIC, 60.0) is None


def test_rooms_of_all_are_limited() -> None:
    limits = admission(ServerLimits(rooms=2))
    assert limits.open_room(PUBLIC, 0.0) is None
    assert limits.open_room(LOCAL, 0.0) is None
    refusal = limits.open_room(OTHER, 0.0)
    assert refusal is not None
    assert refusal.code is ErrorCode.SERVER_FULL


def test_connections_of_one_prefix_are_limited_whether_they_open_or_not() -> None:
    limits = Admission(ServerLimits())
    for _ in range(PUBLIC_LIMITS.pending_handshakes):
        assert limits.connect(PUBLIC, 0.0) is None
    refusal = limits.connect(PUBLIC, 0.0)
    assert refusal is not None
    assert refusal.kind == "prefix-connections"
    limits.opened(PUBLIC)
    assert limits.connect(PUBLIC, 0.0) is None
    for _ in range(PUBLIC_LIMITS.pending_handshakes):
        limits.opened(PUBLIC)
    while limits.connect(PUBLIC, 0.0) is None:
        limits.opened(PUBLIC)
    for _ in range(PUBLIC_LIMITS.connections):
        limits.disconnect(PUBLIC, was_opened=True)
    assert limits.connect(PUBLIC, 0.0) is None


def test_connections_and_pending_handshakes_of_all_are_limited() -> None:
    limits = Admission(ServerLimits(connections=3, pending_handshakes=2))
    assert limits.connect(PUBLIC, 0.0) is None
    assert limits.connect(OTHER, 0.0) is None
    pending = limits.connect(LOCAL, 0.0)
    assert pending is not None
    assert pending.kind == "pending"
    limits.opened(PUBLIC)
    limits.disconnect(OTHER, was_opened=False)
    assert limits.connect(LOCAL, 0.0) is None
    limits.opened(LOCAL)
    assert limits.connect(OTHER, 0.0) is None
    limits.opened(OTHER)
    full = limits.connect(OTHER, 0.0)
    assert full is not None
    assert full.kind == "connections"


def visit(limits: Admission, prefix: Prefix, now: float) -> None:
    """Connect and go."""
    assert limits.connect(prefix, now) is None
    limits.disconnect(prefix, was_opened=False)


def test_the_longest_unseen_is_forgotten_for_a_newcomer_and_never_one_that_is_connected() -> None:
    limits = Admission(ServerLimits(prefixes=3))
    connected = Prefix("connected", is_loopback=False)
    assert limits.connect(connected, 0.0) is None
    limits.opened(connected)
    for guess in range(5):
        limits.wrong_nameplate(connected, str(guess), 0.0)
    for number in range(1_000):
        visit(limits, Prefix(f"passer-by {number}", is_loopback=False), 1.0)
    assert limits.join(connected, 2.0) is not None, "its penalty is remembered"
    assert limits.connect(Prefix("newcomer", is_loopback=False), 2.0) is None


def test_a_penalty_outlives_the_connection_that_earned_it() -> None:
    limits = admission(ServerLimits(), PUBLIC)
    for guess in range(5):
        limits.wrong_nameplate(PUBLIC, str(guess), 0.0)
    limits.disconnect(PUBLIC, was_opened=True)
    assert limits.connect(PUBLIC, 50.0) is None
    assert limits.join(PUBLIC, 50.0) is not None


# Whole blocks of addresses.


def block(count: int, address: str) -> list[Prefix]:
    hasher = PrefixHasher(SeededEntropy("block"))
    return [hasher.prefix(address.format(number), 0.0) for number in range(count)]


def test_one_customer_with_65536_networks_is_not_65536_visitors() -> None:
    """A /48: 50,000 short connections locked newcomers out, 625 held all rooms, 2,500 guessed every number."""
    limits = Admission(ServerLimits())
    networks = block(2_500, "2001:db8:1:{0:x}::1")
    for prefix in networks:
        if limits.connect(prefix, 0.0) is None:
            limits.opened(prefix)
        for _ in range(20):
            if limits.connect(prefix, 0.0) is not None:
                break
            limits.opened(prefix)
    assert limits._connections == 16 * PUBLIC_LIMITS.connections
    rooms = sum(limits.open_room(prefix, 1.0) is None for prefix in networks for _ in range(4))
    assert rooms == 16 * PUBLIC_LIMITS.rooms
    guesses = 0
    for prefix in networks:
        for number in range(4):
            if limits.join(prefix, 2.0) is None:
                guesses += 1
                limits.wrong_nameplate(prefix, f"{prefix.label} {number}", 2.0)
    assert guesses == 16 * PUBLIC_LIMITS.wrong_nameplates
    stranger = Prefix("stranger", is_loopback=False)
    assert limits.connect(stranger, 3.0) is None
    limits.opened(stranger)
    assert limits.open_room(stranger, 3.0) is None
    assert limits.join(stranger, 3.0) is None


def test_a_neighbour_in_the_block_of_an_abuser_still_gets_in() -> None:
    limits = Admission(ServerLimits())
    abuser, neighbour = block(2, "192.0.2.{0}")
    while limits.connect(abuser, 0.0) is None:
        limits.opened(abuser)
    assert limits.connect(neighbour, 0.0) is None


def test_while_many_networks_guess_each_may_be_wrong_about_one_number_only() -> None:
    limits = Admission(ServerLimits(wrong_joins_per_minute=50))
    for number in range(60):
        stranger = Prefix(f"stranger {number}", is_loopback=False)
        limits.wrong_nameplate(stranger, str(number), 0.0)
    early, searcher = Prefix("early", is_loopback=False), Prefix("searcher", is_loopback=False)
    for second in range(5):
        assert limits.join(early, float(second)) is None, (
            "a receiver that came before its sender may go on asking"
        )
        limits.wrong_nameplate(early, "4821", float(second))
    limits.wrong_nameplate(searcher, "1", 5.0)
    assert limits.join(searcher, 5.0) is None
    limits.wrong_nameplate(searcher, "2", 5.0)
    assert limits.join(searcher, 5.0) is not None
    assert limits.join(searcher, 66.0) is None
    local = Prefix("local", is_loopback=True)
    for number in range(60):
        limits.wrong_nameplate(local, str(number), 66.0)
    limits.wrong_nameplate(searcher, "3", 67.0)
    limits.wrong_nameplate(searcher, "4", 67.0)
    assert limits.join(searcher, 67.0) is None, "tests on this machine make nobody wary"


# Through a proxy, and inside a sender.


def test_a_connection_through_a_proxy_is_counted_before_anybody_knows_whose_it_is() -> None:
    limits = Admission(ServerLimits(pending_handshakes=2))
    assert limits.connect(None, 0.0) is None
    assert limits.connect(None, 0.0) is None
    refusal = limits.connect(None, 0.0)
    assert refusal is not None
    assert refusal.kind == "pending"
    assert limits.identify(PUBLIC, 0.0) is None
    limits.opened(PUBLIC)
    assert limits.connect(None, 0.0) is None
    limits.disconnect(PUBLIC, was_opened=True)
    limits.disconnect(None, was_opened=False)
    limits.disconnect(None, was_opened=False)
    assert (limits._connections, limits._pending) == (0, 0)


def test_the_server_inside_a_sender_takes_few_and_lets_only_this_machine_open_rooms() -> None:
    limits = admission(EMBEDDED_LIMITS, PUBLIC, LOCAL)
    refusal = limits.open_room(PUBLIC, 0.0)
    assert refusal is not None
    assert refusal.kind == "prefix-rooms"
    assert limits.open_room(LOCAL, 0.0) is None
    assert EMBEDDED_LIMITS.connections + EMBEDDED_LIMITS.told < 64, "descriptors the transfer needs"


def test_a_sliding_window_says_how_long_to_wait() -> None:
    window = SlidingWindow(limit=2, period_s=10.0)
    assert window.wait_s(0.0) == 0.0
    window.count(0.0)
    window.count(4.0)
    assert window.wait_s(6.0) == 4.0
    assert window.wait_s(10.0) == 0.0
