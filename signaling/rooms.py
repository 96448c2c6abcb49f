"""Rooms of two, and the members' way through them: the whole server as a pure state machine.

Driver contract
    Give every connection a number that is never reused, and report what happens to it in order:
    `connect`, then `receive` / `receive_malformed` for each message, then `disconnect`, exactly once.
    Each input takes `now` (seconds, monotonic); after it perform what `events()` gives, in order. Whenever
    `next_timeout()` has come, call `handle_timeout`; look at it again after every input. After a `Close` close that
    connection and report `disconnect` once it is closed; what arrives meanwhile is ignored.

A member's states, and what moves it:

    state      hello   allocate    join         relay        peer leaves / room expires
    NEW        IDLE    close       close        close        -
    IDLE       close   WAITING     PAIRED       error        -
    WAITING    close   WAITING'    PAIRED'      error        IDLE
    PAIRED     close   WAITING'    PAIRED'      to the peer  IDLE

    ' the room it was in ends, and the peer is told. A refused join changes nothing; a refused allocate has
    left the room all the same.

A nameplate names a room only while it waits. The first join takes the room and burns the nameplate. A token is only
known to the two that share it, who may come in either order: a join that comes first waits for the room. Whoever comes
again takes the place of his own lost connection, and a token is not kept back after its use.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from signaling.admission import Admission, Refusal
from signaling.metrics import Metrics
from signaling.nameplates import Nameplates
from signaling.networks import Prefix
from signaling.protocol import (
    PROTOCOL_VERSION,
    Allocate,
    Allocated,
    ClientMessage,
    CloseCode,
    Error,
    ErrorCode,
    Hello,
    IceServer,
    Join,
    Joined,
    PeerJoined,
    PeerLeft,
    Relay,
    Relayed,
    ServerMessage,
    Welcome,
    is_token,
)


@dataclass(frozen=True, slots=True)
class Send:
    member: int
    message: ServerMessage


@dataclass(frozen=True, slots=True)
class Close:
    member: int
    code: CloseCode
    reason: str


Action = Send | Close


@dataclass(slots=True, eq=False)
class _Room:
    nameplate: str
    host: _Member
    deadline: float
    joiner: _Member | None = None
    joiner_spoke: bool = False
    messages: int = 0
    bytes: int = 0

    def peer_of(self, member: _Member) -> _Member | None:
        return self.joiner if member is self.host else self.host


@dataclass(slots=True, eq=False)
class _Member:
    number: int
    prefix: Prefix
    deadline: float  # for the hello, then for being in no room
    greeted: bool = False
    closing: bool = False
    strays: int = 0
    room: _Room | None = None
    early_for: str | None = None  # the token whose room it waits for


@dataclass(order=True, slots=True)
class _Alarm:
    when: float
    order: int
    subject: _Room | _Member = field(compare=False)


def _no_relays() -> tuple[IceServer, ...]:
    return ()


class Rooms:
    """See the module. `entropy(n)` returns n random bytes; `admission` counts what each prefix does; whoever comes
    is told `stun_port` and the other one, and two that have met what `relays()` gives, each credentials of its own.
    """

    def __init__(self, admission: Admission, entropy: Callable[[int], bytes], metrics: Metrics) -> None:
        self.stun_port: int | None = None
        self.other_stun_port: int | None = None
        self.relays: Callable[[], tuple[IceServer, ...]] = _no_relays
        self._admission = admission
        self._limits = admission.limits
        self._metrics = metrics
        self._members: dict[int, _Member] = {}
        self._waiting: dict[str, _Room] = {}
        self._nameplates = Nameplates(entropy, self._limits.quarantine_s)
        self._early: dict[str, _Member] = {}  # who waits for a room under a token
        self._alarms: list[_Alarm] = []
        self._alarms_set = 0
        self._visits = 0  # in which nothing was said
        self._actions: list[Action] = []

    # Inputs.

    def connect(self, now: float, number: int, prefix: Prefix) -> None:
        """A WebSocket is open. The welcome goes out without waiting for the hello: it saves a round trip."""
        member = _Member(number, prefix, deadline=now + self._limits.hello_s)
        self._members[number] = member
        self._set_alarm(member)
        self._metrics.connections += 1
        self._metrics.connections_total += 1
        has_relays = self.relays is not _no_relays
        self._send(member, Welcome(PROTOCOL_VERSION, self.stun_port, has_relays, self.other_stun_port))

    def receive(self, now: float, number: int, message: ClientMessage) -> None:
        member = self._members[number]
        if member.closing:
            return
        if isinstance(message, Hello):
            self._on_hello(member, message, now)
        elif not member.greeted:
            self._fail(member, CloseCode.BAD_MESSAGE, ErrorCode.BAD_MESSAGE, "hello comes first", now)
        elif isinstance(message, Allocate):
            self._on_allocate(member, message, now)
        elif isinstance(message, Join):
            self._on_join(member, message, now)
        else:
            self._on_relay(member, message, now)

    def receive_malformed(self, now: float, number: int, detail: str) -> None:
        """The connection sent something that is not a message."""
        member = self._members[number]
        self._metrics.malformed += 1
        if not member.closing:
            self._fail(member, CloseCode.BAD_MESSAGE, ErrorCode.BAD_MESSAGE, detail, now)

    def disconnect(self, now: float, number: int) -> None:
        member = self._members.pop(number)
        member.closing, member.deadline = True, math.inf
        self._metrics.connections -= 1
        self._leave_room(member, now)

    def handle_timeout(self, now: float) -> None:
        """Act on every deadline up to `now`."""
        while self._alarms and self._alarms[0].when <= now:
            alarm = heapq.heappop(self._alarms)
            subject = alarm.subject
            if subject.deadline != alarm.when:
                continue  # moved since; the new deadline has an alarm of its own
            if isinstance(subject, _Room):
                self._expire_room(subject, now)
            else:
                what = "idle" if subject.greeted else "no hello"
                self._fail(subject, CloseCode.TOO_SLOW, ErrorCode.TOO_SLOW, what, now)

    # Outputs.

    def events(self) -> list[Action]:
        """What to do to the connections, in order; each is given once."""
        actions, self._actions = self._actions, []
        return actions

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout`; None: not before the next input."""
        return self._alarms[0].when if self._alarms else None

    # What each message does.

    def _on_hello(self, member: _Member, hello: Hello, now: float) -> None:
        if member.greeted:
            self._fail(member, CloseCode.BAD_MESSAGE, ErrorCode.BAD_MESSAGE, "a second hello", now)
        elif hello.version != PROTOCOL_VERSION:
            reason = f"this server speaks version {PROTOCOL_VERSION}"
            self._fail(member, CloseCode.VERSION, ErrorCode.UNSUPPORTED_VERSION, reason, now)
        else:
            member.greeted = True
            self._set_idle(member, now)

    def _on_allocate(self, member: _Member, message: Allocate, now: float) -> None:
        self._leave_room(member, now)
        chosen = message.nameplate
        if chosen is not None and is_token(chosen) and chosen in self._waiting:
            self._expire_room(self._waiting[chosen], now)
        if chosen in self._waiting or self._nameplates.is_kept_from(member.prefix.label, chosen, now):
            return self._stray(
                member,
                ErrorCode.NAMEPLATE_TAKEN,
                "another sender waits under that number, or did lately",
                now,
            )
        if refusal := self._admission.open_room(member.prefix, now):
            return self._refuse(member, refusal, now)
        nameplate = chosen
        if nameplate is None:
            nameplate = self._nameplates.draw(self._waiting, len(self._waiting), now)
        room = _Room(nameplate, member, deadline=now + self._limits.unjoined_s)
        self._waiting[nameplate] = member.room = room
        member.deadline = math.inf
        member.strays = 0
        self._set_alarm(room)
        self._metrics.rooms += 1
        self._metrics.rooms_total += 1
        self._send(member, Allocated(nameplate))
        early = self._early.get(nameplate)
        return None if early is None else self._enter(early, room, now)

    def _on_join(self, member: _Member, message: Join, now: float) -> None:
        if refusal := self._admission.join(member.prefix, now):
            self._metrics.joins["refused"] += 1
            return self._refuse(member, refusal, now)
        room = self._waiting.get(message.nameplate)
        if room is None and is_token(message.nameplate):
            return self._wait_early(member, message.nameplate, now)
        if room is None or room.host is member:
            self._metrics.joins["unknown"] += 1
            self._admission.wrong_nameplate(member.prefix, message.nameplate, now)
            if member.room is None:
                self._set_idle(member, now)
            return self._send(member, Error(ErrorCode.UNKNOWN_NAMEPLATE, "nobody waits under that number"))
        return self._enter(member, room, now)

    def _wait_early(self, member: _Member, token: str, now: float) -> None:
        """The room is not open yet: whoever waited for it before has lost his place to this one."""
        self._leave_room(member, now)
        if (other := self._early.get(token)) is not None:
            other.early_for = None
        self._early[token] = member
        member.early_for = token
        self._set_idle(member, now)

    def _enter(self, member: _Member, room: _Room, now: float) -> None:
        self._leave_room(member, now)
        self._burn(room, now)
        room.joiner, member.room = member, room
        member.strays = 0
        room.deadline, member.deadline = now + self._limits.joined_s, math.inf
        self._set_alarm(room)
        self._metrics.joins["joined"] += 1
        self._send(member, Joined(self.relays()))
        return self._send(room.host, PeerJoined(self.relays()))

    def _on_relay(self, member: _Member, message: Relay, now: float) -> None:
        room = member.room
        peer = room.peer_of(member) if room is not None else None
        if room is None or peer is None:
            return self._stray(member, ErrorCode.NOT_IN_ROOM, "there is nobody to relay to", now)
        room.joiner_spoke = room.joiner_spoke or member is room.joiner
        room.messages += 1
        room.bytes += len(message.body)
        if room.messages > self._limits.room_messages or room.bytes > self._limits.room_bytes:
            self._metrics.limits["room"] += 1
            for each in (peer, member):
                self._send(each, Error(ErrorCode.ROOM_LIMIT, "too much was relayed in one room"))
            return self._end(room, now)
        self._metrics.relayed_messages += 1
        self._metrics.relayed_bytes += len(message.body)
        return self._send(peer, Relayed(message.body))

    # How rooms and members end.

    def _expire_room(self, room: _Room, now: float) -> None:
        self._count_visit(room, now)
        for each in (room.host, room.joiner):
            if each is not None:
                self._send(each, Error(ErrorCode.ROOM_EXPIRED, "the room was open for too long"))
        self._end(room, now)

    def _leave_room(self, member: _Member, now: float) -> None:
        if member.early_for is not None:
            del self._early[member.early_for]
            member.early_for = None
        room = member.room
        if room is None:
            return
        if member is room.joiner:
            self._count_visit(room, now)
        if (peer := room.peer_of(member)) is not None:
            self._send(peer, PeerLeft())
        self._end(room, now)

    def _count_visit(self, room: _Room, now: float) -> None:
        """A joiner who burned a nameplate and said nothing counts as one who guessed a wrong number."""
        if room.joiner is not None and not room.joiner_spoke and not is_token(room.nameplate):
            self._visits += 1
            self._admission.wrong_nameplate(room.joiner.prefix, f"visit {self._visits}", now)

    def _end(self, room: _Room, now: float) -> None:
        self._burn(room, now)
        room.deadline = math.inf
        for each in (room.host, room.joiner):
            if each is not None:
                each.room = None
                self._set_idle(each, now)
        self._admission.close_room(room.host.prefix)
        self._metrics.rooms -= 1

    def _burn(self, room: _Room, now: float) -> None:
        if self._waiting.get(room.nameplate) is room:
            del self._waiting[room.nameplate]
            if is_token(room.nameplate):
                return
            self._nameplates.retire(room.nameplate, room.host.prefix.label, now)

    def _refuse(self, member: _Member, refusal: Refusal, now: float) -> None:
        self._metrics.limits[refusal.kind] += 1
        self._stray(member, refusal.code, refusal.message, now)

    def _stray(self, member: _Member, code: ErrorCode, message: str, now: float) -> None:
        """Answer a message that led nowhere, but not without end."""
        member.strays += 1
        if member.strays > self._limits.stray_messages:
            self._metrics.limits["strays"] += 1
            self._fail(member, CloseCode.LIMIT, ErrorCode.RATE_LIMITED, "too many messages led nowhere", now)
        else:
            self._send(member, Error(code, message))

    def _fail(self, member: _Member, close: CloseCode, code: ErrorCode, message: str, now: float) -> None:
        self._send(member, Error(code, message))
        member.closing, member.deadline = True, math.inf
        self._leave_room(member, now)
        self._actions.append(Close(member.number, close, message))

    # Actions and deadlines.

    def _send(self, member: _Member, message: ServerMessage) -> None:
        if not member.closing:
            self._actions.append(Send(member.number, message))

    def _set_idle(self, member: _Member, now: float) -> None:
        if not member.closing:
            member.deadline = now + self._limits.idle_s
            self._set_alarm(member)

    def _set_alarm(self, subject: _Room | _Member) -> None:
        if math.isinf(subject.deadline):
            return
        # At most two alarms per member are not outdated.
        if len(self._alarms) > 1_024 + 4 * len(self._members):
            self._alarms = [alarm for alarm in self._alarms if alarm.subject.deadline == alarm.when]
            heapq.heapify(self._alarms)
        self._alarms_set += 1
        heapq.heappush(self._alarms, _Alarm(subject.deadline, self._alarms_set, subject))
