"""The server's state machine: who hears what, when rooms end, and what nobody can do. Virtual time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from signaling.admission import Admission
from signaling.limits import LOOPBACK_LIMITS, PUBLIC_LIMITS, PrefixLimits, ServerLimits
from signaling.metrics import Metrics
from signaling.networks import Prefix
from signaling.protocol import (
    MAX_BODY_BYTES,
    Allocate,
    Allocated,
    ClientMessage,
    CloseCode,
    Error,
    ErrorCode,
    Hello,
    Join,
    Joined,
    PeerJoined,
    PeerLeft,
    Relay,
    Relayed,
    ServerMessage,
    Welcome,
)
from signaling.rooms import Action, Close, Rooms, Send
from tests.support.entropy import SeededEntropy

HOST, JOINER, THIRD = 1, 2, 3
PREFIX = Prefix("a", is_loopback=False)


class Server:
    """Rooms with a clock and a mailbox for every member, driven as the contract says."""

    def __init__(
        self, limits: ServerLimits | None = None, per_prefix: PrefixLimits = LOOPBACK_LIMITS
    ) -> None:
        self.limits = replace(limits or ServerLimits(), public=per_prefix)
        self.admission = Admission(self.limits)
        self.metrics = Metrics()
        self.rooms = Rooms(self.admission, SeededEntropy("rooms"), self.metrics)
        self.now = 0.0
        self.closed: dict[int, CloseCode] = {}
        self._inbox: dict[int, list[ServerMessage]] = {}

    def connect(self, *numbers: int, greet: bool = True) -> None:
        for number in numbers:
            assert self.admission.connect(PREFIX, self.now) is None
            self.admission.opened(PREFIX)
            self._inbox[number] = []
            self.rooms.connect(self.now, number, PREFIX)
            self._perform(self.rooms.events())
            if greet:
                self.say(number, Hello(1))
                assert self.heard(number) == [Welcome(1)]

    def say(self, number: int, message: ClientMessage) -> None:
        self.rooms.receive(self.now, number, message)
        self._perform(self.rooms.events())

    def garble(self, number: int) -> None:
        self.rooms.receive_malformed(self.now, number, "nonsense")
        self._perform(self.rooms.events())

    def hang_up(self, number: int) -> None:
        self.rooms.disconnect(self.now, number)
        self._perform(self.rooms.events())
        self.admission.disconnect(PREFIX, was_opened=True)
        del self._inbox[number]

    def wait(self, until: float) -> None:
        """Let time pass, waking the machine exactly when it asked to be woken."""
        while (deadline := self.rooms.next_timeout()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.rooms.handle_timeout(self.now)
            self._perform(self.rooms.events())
        self.now = until

    def heard(self, number: int) -> list[ServerMessage]:
        heard, self._inbox[number] = self._inbox[number], []
        return heard

    def open_room(self, nameplate: str | None = None) -> str:
        self.say(HOST, Allocate(nameplate))
        [allocated] = self.heard(HOST)
        assert isinstance(allocated, Allocated)
        return allocated.nameplate

    def pair(self) -> str:
        """HOST and JOINER in one room, everything heard."""
        self.connect(HOST, JOINER)
        nameplate = self.open_room()
        self.say(JOINER, Join(nameplate))
        assert self.heard(JOINER) == [Joined()]
        assert self.heard(HOST) == [PeerJoined()]
        return nameplate

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._inbox[action.member].append(action.message)
            else:
                assert isinstance(action, Close)
                assert action.member not in self.closed
                self.closed[action.member] = action.code


def error(heard: list[ServerMessage]) -> str:
    """The code of the one error heard."""
    [message] = heard
    assert isinstance(message, Error)
    return message.code


# Who hears what.


def test_a_third_party_cannot_join_nor_hear_nor_speak() -> None:
    server = Server()
    nameplate = server.pair()
    server.connect(THIRD)
    server.say(THIRD, Join(nameplate))
    assert error(server.heard(THIRD)) == ErrorCode.UNKNOWN_NAMEPLATE
    server.say(THIRD, Relay(b"hello"))
    assert error(server.heard(THIRD)) == ErrorCode.NOT_IN_ROOM
    server.say(HOST, Relay(b"secret"))
    assert server.heard(JOINER) == [Relayed(b"secret")]
    assert server.heard(THIRD) == []
    assert server.heard(HOST) == []


def test_a_burned_nameplate_stays_unknown_after_everybody_left() -> None:
    server = Server()
    nameplate = server.pair()
    server.hang_up(JOINER)
    server.hang_up(HOST)
    server.connect(THIRD)
    server.say(THIRD, Join(nameplate))
    assert error(server.heard(THIRD)) == ErrorCode.UNKNOWN_NAMEPLATE


def test_bodies_arrive_unchanged_both_ways_and_in_order() -> None:
    server = Server()
    server.pair()
    for body in (b"", b"\x00\xff", bytes(MAX_BODY_BYTES)):
        server.say(HOST, Relay(body))
        server.say(JOINER, Relay(body))
    expected = [Relayed(b""), Relayed(b"\x00\xff"), Relayed(bytes(MAX_BODY_BYTES))]
    assert server.heard(JOINER) == expected
    assert server.heard(HOST) == expected


def test_the_peer_is_told_when_the_other_leaves_and_the_room_is_over() -> None:
    server = Server()
    server.pair()
    server.hang_up(JOINER)
    assert server.heard(HOST) == [PeerLeft()]
    server.say(HOST, Relay(b"anyone?"))
    assert error(server.heard(HOST)) == ErrorCode.NOT_IN_ROOM
    assert server.metrics.rooms == 0


def test_after_a_wrong_guess_the_host_opens_a_fresh_room_on_the_same_connection() -> None:
    server = Server()
    burned = server.pair()
    fresh = server.open_room()
    assert fresh != burned
    assert server.heard(JOINER) == [PeerLeft()]
    server.say(JOINER, Join(fresh))
    assert server.heard(JOINER) == [Joined()]
    assert server.heard(HOST) == [PeerJoined()]


def test_allocating_again_gives_the_waiting_nameplate_back() -> None:
    server = Server()
    server.connect(HOST, JOINER)
    first = server.open_room()
    second = server.open_room()
    assert first != second
    server.say(JOINER, Join(first))
    assert error(server.heard(JOINER)) == ErrorCode.UNKNOWN_NAMEPLATE
    assert server.metrics.rooms == 1


def test_nobody_joins_their_own_room() -> None:
    server = Server()
    server.connect(HOST)
    nameplate = server.open_room()
    server.say(HOST, Join(nameplate))
    assert error(server.heard(HOST)) == ErrorCode.UNKNOWN_NAMEPLATE


def test_a_refused_join_leaves_the_room_before_untouched() -> None:
    server = Server()
    server.pair()
    server.say(JOINER, Join("7"))
    assert error(server.heard(JOINER)) == ErrorCode.UNKNOWN_NAMEPLATE
    server.say(JOINER, Relay(b"still here"))
    assert server.heard(HOST) == [Relayed(b"still here")]


# Chosen nameplates.


def test_a_chosen_nameplate_is_given_if_nobody_waits_under_it() -> None:
    server = Server()
    server.connect(HOST, JOINER, THIRD)
    assert server.open_room("4821") == "4821"
    server.say(THIRD, Allocate("4821"))
    assert error(server.heard(THIRD)) == ErrorCode.NAMEPLATE_TAKEN
    assert server.open_room("4821") == "4821", "its own host may ask for it again"


def test_a_chosen_nameplate_may_be_used_again_at_once() -> None:
    server = Server()
    server.connect(HOST, JOINER)
    for _ in range(3):
        server.open_room("4821")
        server.say(JOINER, Join("4821"))
        assert server.heard(JOINER)[-1] == Joined()
        server.heard(HOST)


# Time.


def test_a_silent_connection_is_closed_after_the_time_for_the_hello() -> None:
    server = Server()
    server.connect(HOST, greet=False)
    server.wait(9.9)
    assert server.closed == {}
    server.wait(10.0)
    assert server.closed == {HOST: CloseCode.TOO_SLOW}


def test_a_connection_without_a_room_is_closed_after_a_minute_and_one_in_a_room_is_not() -> None:
    server = Server()
    server.connect(HOST, JOINER)
    server.open_room()
    server.wait(60.0)
    assert server.closed == {JOINER: CloseCode.TOO_SLOW}
    assert error(server.heard(JOINER)) == ErrorCode.TOO_SLOW


def test_asking_for_an_unknown_nameplate_again_is_not_idleness() -> None:
    server = Server()
    server.connect(JOINER)
    for second in range(0, 300, 5):
        server.wait(float(second))
        server.say(JOINER, Join("4821"))
    assert server.closed == {}
    server.wait(400.0)
    assert server.closed == {JOINER: CloseCode.TOO_SLOW}


def test_a_room_nobody_joins_expires_and_its_host_may_open_another() -> None:
    server = Server(ServerLimits(unjoined_s=600.0))
    server.connect(HOST)
    server.open_room()
    server.wait(599.0)
    assert server.heard(HOST) == []
    server.wait(600.0)
    assert error(server.heard(HOST)) == ErrorCode.ROOM_EXPIRED
    server.open_room()


def test_a_joined_room_expires_for_both() -> None:
    server = Server()
    server.pair()
    server.wait(119.0)
    server.say(HOST, Relay(b"slow"))
    assert server.heard(JOINER) == [Relayed(b"slow")]
    server.wait(120.0)
    assert error(server.heard(HOST)) == ErrorCode.ROOM_EXPIRED
    assert error(server.heard(JOINER)) == ErrorCode.ROOM_EXPIRED


def test_infinite_lifetimes_set_no_alarm() -> None:
    endless = float("inf")
    server = Server(ServerLimits(unjoined_s=endless, joined_s=endless, idle_s=endless))
    server.pair()
    server.wait(1e9)
    assert server.rooms.next_timeout() is None
    assert server.closed == {}


def test_reopening_rooms_for_hours_does_not_pile_up_alarms() -> None:
    server = Server()
    server.connect(HOST)
    for second in range(3_000):
        server.now = float(second)
        server.open_room()
    assert len(server.rooms._alarms) < 1_100


# Misuse.


@pytest.mark.parametrize("message", [Allocate(), Join("4821"), Relay(b"x")])
def test_anything_before_the_hello_ends_the_connection(message: ClientMessage) -> None:
    server = Server()
    server.connect(HOST, greet=False)
    server.say(HOST, message)
    assert server.closed == {HOST: CloseCode.BAD_MESSAGE}


def test_a_second_hello_ends_the_connection() -> None:
    server = Server()
    server.connect(HOST)
    server.say(HOST, Hello(1))
    assert server.closed == {HOST: CloseCode.BAD_MESSAGE}


def test_another_version_is_told_which_one_is_spoken() -> None:
    server = Server()
    server.connect(HOST, greet=False)
    server.say(HOST, Hello(2))
    assert server.heard(HOST) == [
        Welcome(1),
        Error(ErrorCode.UNSUPPORTED_VERSION, "this server speaks version 1"),
    ]
    assert server.closed == {HOST: CloseCode.VERSION}


def test_garbage_ends_the_connection_and_the_peer_hears_that_it_is_gone() -> None:
    server = Server()
    server.pair()
    server.garble(JOINER)
    assert server.closed == {JOINER: CloseCode.BAD_MESSAGE}
    assert server.heard(HOST) == [PeerLeft()]
    server.say(JOINER, Relay(b"too late"))
    server.garble(JOINER)
    assert server.heard(HOST) == []
    server.hang_up(JOINER)
    assert server.heard(HOST) == []


def test_a_room_relays_only_so_many_messages() -> None:
    server = Server()
    server.pair()
    for count in range(64):
        server.say((HOST, JOINER)[count % 2], Relay(b"x"))
    assert (len(server.heard(HOST)), len(server.heard(JOINER))) == (32, 32)
    server.say(HOST, Relay(b"x"))
    assert error(server.heard(HOST)) == ErrorCode.ROOM_LIMIT
    assert error(server.heard(JOINER)) == ErrorCode.ROOM_LIMIT


def test_a_room_relays_only_so_many_bytes() -> None:
    server = Server()
    server.pair()
    for _ in range(128 * 1024 // MAX_BODY_BYTES):
        server.say(HOST, Relay(bytes(MAX_BODY_BYTES)))
    server.heard(JOINER)
    server.say(HOST, Relay(bytes(MAX_BODY_BYTES)))
    assert error(server.heard(JOINER)) == ErrorCode.ROOM_LIMIT


def test_messages_that_lead_nowhere_end_the_connection_after_a_while() -> None:
    server = Server()
    server.connect(HOST)
    for _ in range(32):
        server.say(HOST, Relay(b"x"))
    assert server.closed == {}
    server.say(HOST, Relay(b"x"))
    assert server.closed == {HOST: CloseCode.LIMIT}


def test_refusals_of_the_limits_reach_the_client_and_the_metrics() -> None:
    server = Server(per_prefix=replace(LOOPBACK_LIMITS, rooms=1, joins_per_10_s=1))
    server.connect(HOST, JOINER, THIRD)
    server.open_room()
    server.say(THIRD, Allocate())
    assert error(server.heard(THIRD)) == ErrorCode.RATE_LIMITED
    server.say(JOINER, Join("7"))
    server.say(JOINER, Join("7"))
    assert [m.code for m in server.heard(JOINER) if isinstance(m, Error)] == [
        "unknown-nameplate",
        "rate-limited",
    ]
    assert server.metrics.limits == {"prefix-rooms": 1, "joins": 1}
    assert server.metrics.joins == {"unknown": 1, "refused": 1}


def test_the_metrics_count_and_the_gauges_return_to_zero() -> None:
    server = Server()
    server.pair()
    server.say(HOST, Relay(b"abc"))
    counted = server.metrics.as_dict()
    assert counted["tallow_connections"] == 2
    assert counted["tallow_rooms"] == 1
    assert counted["tallow_relayed_bytes_total"] == 3
    assert counted['tallow_joins_total{result="joined"}'] == 1
    server.hang_up(HOST)
    server.hang_up(JOINER)
    assert (server.metrics.connections, server.metrics.rooms) == (0, 0)
    assert (server.metrics.connections_total, server.metrics.rooms_total) == (2, 1)


# Tokens, under which two sides meet again.

TOKENS = tuple(letter * 26 for letter in "abcdefghij")


def test_whoever_opens_a_room_under_a_token_takes_it_over() -> None:
    """It is the same host over a new connection, when the server does not know yet that the old one is lost."""
    server = Server()
    server.connect(HOST, JOINER, THIRD)
    server.open_room(TOKENS[0])
    server.say(THIRD, Allocate(TOKENS[0]))
    assert server.heard(THIRD) == [Allocated(TOKENS[0])]
    assert error(server.heard(HOST)) == ErrorCode.ROOM_EXPIRED
    server.say(JOINER, Join(TOKENS[0]))
    assert server.heard(THIRD) == [PeerJoined()]
    assert server.heard(HOST) == []
    assert server.metrics.rooms == 1


def test_a_token_is_free_again_at_once_for_whoever_knows_it() -> None:
    server = Server()
    server.connect(HOST, JOINER, THIRD)
    for _ in range(3):
        server.open_room(TOKENS[0])
        server.say(JOINER, Join(TOKENS[0]))
        assert server.heard(HOST) == [PeerJoined()]
        assert server.heard(JOINER)[-1] == Joined()
        server.say(HOST, Relay(b"x"))
    server.say(THIRD, Allocate(TOKENS[0]))
    assert server.heard(THIRD) == [Allocated(TOKENS[0])]


def test_the_two_may_come_in_either_order() -> None:
    server = Server(per_prefix=PUBLIC_LIMITS)
    server.connect(HOST, JOINER)
    server.say(JOINER, Join(TOKENS[0]))
    assert server.heard(JOINER) == []
    server.say(HOST, Allocate(TOKENS[0]))
    assert server.heard(HOST) == [Allocated(TOKENS[0]), PeerJoined()]
    assert server.heard(JOINER) == [Joined()]
    server.say(JOINER, Relay(b"x"))
    assert server.heard(HOST) == [Relayed(b"x")]


def test_ten_receivers_of_one_network_that_come_first_are_not_taken_for_guessers() -> None:
    server = Server(per_prefix=PUBLIC_LIMITS)
    server.connect(HOST, THIRD)
    for number, token in enumerate(TOKENS, 10):
        server.connect(number)
        server.say(number, Join(token))
    server.wait(11)
    server.open_room("4821")
    server.say(THIRD, Join("4821"))
    assert server.heard(THIRD) == [Joined()]


def test_of_two_that_come_before_the_room_the_later_one_gets_in() -> None:
    """The earlier one is its own lost connection, or somebody who does not know the secret and is passed over."""
    server = Server()
    server.connect(HOST, JOINER, THIRD)
    server.say(THIRD, Join(TOKENS[0]))
    server.say(JOINER, Join(TOKENS[0]))
    server.say(HOST, Allocate(TOKENS[0]))
    assert server.heard(JOINER) == [Joined()]
    assert server.heard(THIRD) == []


def test_who_waits_for_a_room_and_goes_elsewhere_or_away_is_not_waited_for() -> None:
    server = Server()
    server.connect(HOST, JOINER, THIRD)
    server.say(JOINER, Join(TOKENS[0]))
    server.say(JOINER, Join(TOKENS[1]))
    server.say(THIRD, Join(TOKENS[2]))
    server.hang_up(THIRD)
    for token in (TOKENS[0], TOKENS[2]):
        server.open_room(token)
    server.say(HOST, Allocate(TOKENS[1]))
    assert server.heard(HOST) == [Allocated(TOKENS[1]), PeerJoined()]


def test_nobody_waits_for_a_room_for_ever() -> None:
    server = Server()
    server.connect(JOINER)
    server.say(JOINER, Join(TOKENS[0]))
    server.wait(server.limits.idle_s + 1)
    assert server.closed == {JOINER: CloseCode.TOO_SLOW}
    server.connect(HOST)
    server.open_room(TOKENS[0])


def test_leaving_a_room_of_a_token_without_a_word_is_no_guess() -> None:
    server = Server(per_prefix=PUBLIC_LIMITS)
    server.connect(HOST, THIRD)
    for number in range(10, 16):
        server.open_room(TOKENS[0])
        server.connect(number)
        server.say(number, Join(TOKENS[0]))
        server.hang_up(number)
        server.heard(HOST)
    server.open_room("4821")
    server.say(THIRD, Join("4821"))
    assert server.heard(THIRD) == [Joined()]


def test_the_limit_of_joins_holds_for_tokens() -> None:
    server = Server(per_prefix=PUBLIC_LIMITS)
    server.connect(JOINER)
    for _ in range(PUBLIC_LIMITS.joins_per_10_s):
        server.say(JOINER, Join(TOKENS[0]))
    server.heard(JOINER)
    server.say(JOINER, Join(TOKENS[0]))
    assert error(server.heard(JOINER)) == ErrorCode.RATE_LIMITED
