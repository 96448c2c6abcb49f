"""Whatever clients do, in whatever order: the server's invariants, and its decoders."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from signaling.admission import Admission
from signaling.limits import LOOPBACK_LIMITS, ServerLimits
from signaling.metrics import Metrics
from signaling.networks import Prefix
from signaling.protocol import (
    MAX_ERROR_CHARS,
    Allocate,
    Allocated,
    Hello,
    Join,
    Joined,
    MalformedMessage,
    PeerJoined,
    PeerLeft,
    Relay,
    Relayed,
    decode_client_message_untrusted,
    decode_server_message_untrusted,
    encode,
)
from signaling.rooms import Action, Close, Rooms
from tests.support.entropy import SeededEntropy

PREFIX = Prefix("a", is_loopback=False)


@given(st.text() | st.binary() | st.recursive(st.none(), st.lists).map(str))
def test_decoders_raise_their_one_error_or_return_a_message(data: str | bytes) -> None:
    for decode in (decode_client_message_untrusted, decode_server_message_untrusted):
        with contextlib.suppress(MalformedMessage):
            decode(data)


@given(
    st.sampled_from(["hello", "join", "allocate", "relay"]),
    st.dictionaries(st.text(max_size=9), st.text(max_size=9)),
)
def test_nearly_right_messages_are_decoded_to_what_they_say_or_refused(
    kind: str, fields: dict[str, str]
) -> None:
    import json

    with contextlib.suppress(MalformedMessage):
        message = decode_client_message_untrusted(json.dumps({"type": kind, **fields}))
        assert decode_client_message_untrusted(encode(message)) == message


class Clients(RuleBasedStateMachine):
    """Up to six clients do anything at any time. A model of who is paired with whom follows what they are told."""

    @initialize()
    def start(self) -> None:
        self.limits = ServerLimits(public=LOOPBACK_LIMITS, unjoined_s=50.0, joined_s=20.0, idle_s=30.0)
        self.admission = Admission(self.limits)
        self.metrics = Metrics()
        self.rooms = Rooms(self.admission, SeededEntropy("model"), self.metrics)
        self.now = 0.0
        self.next_number = 1
        self.alive: set[int] = set()
        self.closing: set[int] = set()
        self.waiting: dict[int, str] = {}  # host -> nameplate
        self.peers: dict[int, int] = {}
        self.sent: dict[int, list[bytes]] = {}

    def perform(self, actions: list[Action], actor: int | None = None) -> None:
        joined = [a.member for a in actions if not isinstance(a, Close) and isinstance(a.message, Joined)]
        for action in actions:
            assert action.member in self.alive
            assert action.member not in self.closing, "nothing is said to a connection that is being closed"
            if isinstance(action, Close):
                self.closing.add(action.member)
                self.unpair(action.member)
                continue
            match action.message:
                case Allocated(nameplate):
                    self.unpair(action.member)
                    assert nameplate not in self.waiting.values()
                    self.waiting[action.member] = nameplate
                case PeerJoined():
                    self.waiting.pop(action.member)
                    [joiner] = joined
                    self.peers[action.member], self.peers[joiner] = joiner, action.member
                case Relayed(body):
                    assert actor is not None
                    assert self.peers[action.member] == actor, "a body came from somebody else than the peer"
                    self.sent[actor].remove(body)
                case PeerLeft():
                    self.peers.pop(self.peers.pop(action.member), None)
                case Joined():
                    self.waiting.pop(action.member, None)
                case other:
                    assert len(getattr(other, "message", "")) <= MAX_ERROR_CHARS
                    if getattr(other, "code", "") in ("room-expired", "room-limit"):
                        self.unpair(action.member)

    def unpair(self, member: int) -> None:
        self.waiting.pop(member, None)
        self.peers.pop(self.peers.pop(member, 0), None)

    def pick(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.alive)))

    @precondition(lambda self: len(self.alive) < 6)
    @rule(greet=st.booleans())
    def connect(self, greet: bool) -> None:
        number, self.next_number = self.next_number, self.next_number + 1
        self.admission.connect(PREFIX, self.now)
        self.admission.opened(PREFIX)
        self.alive.add(number)
        self.sent[number] = []
        self.rooms.connect(self.now, number, PREFIX)
        self.perform(self.rooms.events())
        if greet:
            self.rooms.receive(self.now, number, Hello(1))
            self.perform(self.rooms.events())

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), nameplate=st.sampled_from([None, None, "1", "2"]))
    def allocate(self, data: st.DataObject, nameplate: str | None) -> None:
        member = self.pick(data)
        self.waiting.pop(member, None)
        self.rooms.receive(self.now, member, Allocate(nameplate))
        self.perform(self.rooms.events())

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        member = self.pick(data)
        nameplate = data.draw(st.sampled_from(["1", "2", "3", *self.waiting.values()]))
        self.rooms.receive(self.now, member, Join(nameplate))
        self.perform(self.rooms.events(), member)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), body=st.binary(max_size=3), times=st.sampled_from([1, 1, 2, 70]))
    def relay(self, data: st.DataObject, body: bytes, times: int) -> None:
        member = self.pick(data)
        for _ in range(times):
            self.sent[member].append(body)
            self.rooms.receive(self.now, member, Relay(body))
            self.perform(self.rooms.events(), member)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), what=st.sampled_from(["garbage", "hello"]))
    def misbehave(self, data: st.DataObject, what: str) -> None:
        member = self.pick(data)
        if what == "garbage":
            self.rooms.receive_malformed(self.now, member, "x")
            self.perform(self.rooms.events())
        else:
            self.rooms.receive(self.now, member, Hello(1))
            self.perform(self.rooms.events())

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def hang_up(self, data: st.DataObject) -> None:
        member = self.pick(data)
        self.alive.discard(member)
        self.closing.discard(member)
        peer = self.peers.get(member)
        self.rooms.disconnect(self.now, member)
        actions = self.rooms.events()
        if peer is not None:
            assert [(a.member, a.message) for a in actions if not isinstance(a, Close)] == [
                (peer, PeerLeft())
            ]
        self.perform(actions)
        self.unpair(member)
        self.admission.disconnect(PREFIX, was_opened=True)

    @rule(seconds=st.floats(0.1, 100.0))
    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (deadline := self.rooms.next_timeout()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.rooms.handle_timeout(self.now)
            self.perform(self.rooms.events())
        self.now = until

    @invariant()
    def the_counts_agree_with_the_model(self) -> None:
        if not hasattr(self, "alive"):
            return
        assert self.metrics.connections == len(self.alive)
        assert self.metrics.rooms == len(self.waiting) + len(self.peers) // 2
        assert all(self.peers[self.peers[member]] == member for member in self.peers)

    def teardown(self) -> None:
        for member in sorted(getattr(self, "alive", ())):
            self.rooms.disconnect(self.now, member)
            self.admission.disconnect(PREFIX, was_opened=True)
        if hasattr(self, "metrics"):
            assert (self.metrics.connections, self.metrics.rooms) == (0, 0)
            assert self.admission.connect(PREFIX, self.now) is None


Clients.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestClients = Clients.TestCase
