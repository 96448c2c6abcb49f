"""A hostile signaling server: it sees every body, and swaps, reorders, replays, reflects, truncates,
downgrades.

It must never get one honest side to finish with anything but an honest other side, whose description and
choices reach it unchanged. The worst it can do is end the attempt and burn the code.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tallow_cli.crypto import bodies, kem, pake
from tallow_cli.crypto.codes import Code, generate_code, parse_code
from tallow_cli.crypto.handshake import CLEAR_PAYLOAD, HandshakeResult, HostHandshake, JoinerHandshake
from tallow_cli.errors import PeerProtocolError, TallowError, WrongCodeError
from tests.support.entropy import SeededEntropy

CODE = parse_code("4821-acorn-blend-crisp")
CLEAR = frozenset({CLEAR_PAYLOAD})
HOST_DESCRIPTION = b"host fingerprint and candidates"
JOINER_DESCRIPTION = b"joiner fingerprint and candidates"

Tamper = Callable[[bytes], bytes]
PASS: Tamper = bytes


@dataclass
class Server:
    """Relays one handshake and does what it likes to each body."""

    hello: Tamper = PASS
    reply: Tamper = PASS
    confirm: Tamper = PASS
    seen: list[bytes] = field(default_factory=list)

    def run(
        self, host: HostHandshake, joiner: JoinerHandshake
    ) -> tuple[HandshakeResult | None, HandshakeResult | None]:
        """The results of (host, joiner); None for a side that refused, which it may do in one way only."""
        at_joiner: HandshakeResult | None = None
        try:
            reply = host.receive_hello(self.hello(self._see(joiner.hello())), HOST_DESCRIPTION)
            confirm, at_joiner = joiner.receive_reply(self.reply(self._see(reply)), JOINER_DESCRIPTION)
            return host.receive_confirm(self.confirm(self._see(confirm))), at_joiner
        except (WrongCodeError, PeerProtocolError):
            return None, at_joiner

    def _see(self, body: bytes) -> bytes:
        self.seen.append(body)
        return body


def _host(code: Code = CODE, capabilities: frozenset[str] = frozenset(), seed: str = "host") -> HostHandshake:
    return HostHandshake(code, version="1.0", entropy=SeededEntropy(seed), capabilities=capabilities)


def _joiner(
    code: Code = CODE, capabilities: frozenset[str] = frozenset(), seed: str = "joiner"
) -> JoinerHandshake:
    return JoinerHandshake(code, version="1.0", entropy=SeededEntropy(seed), capabilities=capabilities)


def _fields(body: bytes) -> list[bytes]:
    fields, offset = [], 2
    while offset < len(body):
        size = int.from_bytes(body[offset : offset + 2], "big")
        fields.append(body[offset + 2 : offset + 2 + size])
        offset += 2 + size
    return fields


def _joined(head: bytes, fields: list[bytes]) -> bytes:
    return head[:2] + b"".join(len(value).to_bytes(2, "big") + value for value in fields)


def _with_field(index: int, value: bytes) -> Tamper:
    def tamper(body: bytes) -> bytes:
        fields = _fields(body)
        fields[index] = value
        return _joined(body, fields)

    return tamper


def _recorded(seed: str = "earlier", code: Code = CODE) -> list[bytes]:
    """The three bodies of an earlier handshake, as a server keeps them."""
    server = Server()
    assert None not in server.run(_host(code, seed=f"{seed} host"), _joiner(code, seed=f"{seed} joiner"))
    return server.seen


def test_an_honest_server_changes_nothing() -> None:
    at_host, at_joiner = Server().run(_host(), _joiner())
    assert at_host is not None
    assert at_joiner is not None
    assert at_host.peer_description == JOINER_DESCRIPTION
    assert at_joiner.peer_description == HOST_DESCRIPTION


def test_no_changed_bit_gets_past_either_side() -> None:
    seed = 20261122
    rng = random.Random(seed)
    for trial in range(60):
        at = ("hello", "reply", "confirm")[trial % 3]

        def flip(body: bytes) -> bytes:
            changed = bytearray(body)
            changed[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
            return bytes(changed)

        at_host, at_joiner = Server(**{at: flip}).run(_host(), _joiner())
        assert at_host is None, f"seed {seed}, trial {trial}"
        assert at_joiner is None or at == "confirm", f"seed {seed}, trial {trial}"


def test_no_field_can_be_swapped_for_that_of_another_session() -> None:
    earlier = _recorded()
    for at, body in zip(("hello", "reply", "confirm"), earlier, strict=True):
        for index, value in enumerate(_fields(body)):
            if value == _fields(_recorded("now")[("hello", "reply", "confirm").index(at)])[index]:
                continue  # a version or a list that is the same in every session
            at_host, at_joiner = Server(**{at: _with_field(index, value)}).run(_host(), _joiner())
            assert at_host is None, (at, index)
            assert at_joiner is None or at == "confirm", (at, index)


def test_no_field_can_be_emptied_or_doubled() -> None:
    for at, body in zip(("hello", "reply", "confirm"), _recorded(), strict=True):
        for index, value in enumerate(_fields(body)):
            for changed in (b"", value * 2, value[:-1], value + b"\x00"):
                if changed == value:
                    continue
                at_host, at_joiner = Server(**{at: _with_field(index, changed)}).run(_host(), _joiner())
                assert at_host is None, (at, index)
                assert at_joiner is None or at == "confirm", (at, index)


@pytest.mark.parametrize("at", ["hello", "reply", "confirm"])
def test_truncated_and_extended_bodies_are_refused(at: str) -> None:
    body = _recorded()[("hello", "reply", "confirm").index(at)]
    lengths = [*range(8), *range(8, len(body), 97), len(body) - 1]
    for length in lengths:
        at_host, _ = Server(**{at: lambda whole, length=length: whole[:length]}).run(_host(), _joiner())
        assert at_host is None, length
    for tail in (b"\x00", b"\x00\x00", b"\x00\x01x", bytes(9000)):
        at_host, _ = Server(**{at: lambda whole, tail=tail: whole + tail}).run(_host(), _joiner())
        assert at_host is None


def test_bodies_out_of_order_are_refused() -> None:
    earlier = _recorded()
    for at, position in (("hello", 0), ("reply", 1), ("confirm", 2)):
        for other, body in enumerate(earlier):
            if other != position:
                at_host, _ = Server(**{at: lambda _, body=body: body}).run(_host(), _joiner())
                assert at_host is None


def test_whole_bodies_replayed_from_an_earlier_session_are_refused() -> None:
    hello, reply, confirm = _recorded()
    for server in (
        Server(hello=lambda _: hello),
        Server(reply=lambda _: reply),
        Server(confirm=lambda _: confirm),
        Server(hello=lambda _: hello, confirm=lambda _: confirm),
    ):
        at_host, _ = server.run(_host(), _joiner())
        assert at_host is None


def test_a_recorded_hello_and_confirm_cannot_finish_with_a_fresh_host() -> None:
    hello, _, confirm = _recorded()
    host = _host(seed="fresh")
    host.receive_hello(hello, HOST_DESCRIPTION)
    with pytest.raises(WrongCodeError):
        host.receive_confirm(confirm)


def test_a_hello_reflected_as_its_own_reply_is_refused() -> None:
    joiner = _joiner()
    hello = joiner.hello()
    with pytest.raises(PeerProtocolError):
        joiner.receive_reply(hello, JOINER_DESCRIPTION)


def test_a_joiners_share_reflected_inside_a_wellformed_reply_is_refused() -> None:
    reply = _recorded()[1]
    for side in (b"A", b"B"):
        joiner = _joiner()
        share = _fields(joiner.hello())[1]
        with pytest.raises(PeerProtocolError):
            joiner.receive_reply(_with_field(0, side + share[1:])(reply), JOINER_DESCRIPTION)


def test_a_hosts_own_reply_reflected_as_the_confirmation_is_refused() -> None:
    host, joiner = _host(), _joiner()
    reply = host.receive_hello(joiner.hello(), HOST_DESCRIPTION)
    tag, sealed = _fields(reply)[-2:]
    with pytest.raises(WrongCodeError):
        host.receive_confirm(bodies.encode_confirm(tag, sealed))


def test_two_joiners_cannot_be_connected_to_each_other() -> None:
    one, other = _joiner(seed="one"), _joiner(seed="other")
    hello, reply = other.hello(), _recorded()[1]
    one.hello()
    with pytest.raises(PeerProtocolError):
        one.receive_reply(_with_field(0, _fields(hello)[1])(reply), JOINER_DESCRIPTION)


def _server_that_plays_both_ends(guess: Code) -> tuple[TallowError, TallowError]:
    """A full man in the middle with a guess of the words: its own handshake with each side. What the sides
    raise.
    """
    host, joiner = _host(), _joiner()
    to_host, to_joiner = _joiner(guess, seed="mitm joiner"), _host(guess, seed="mitm host")
    with pytest.raises((WrongCodeError, PeerProtocolError)) as at_joiner:
        joiner.receive_reply(to_joiner.receive_hello(joiner.hello(), b"the server's fingerprint"), b"")
    reply = host.receive_hello(to_host.hello(), HOST_DESCRIPTION)
    with pytest.raises(WrongCodeError):
        to_host.receive_reply(reply, b"the server's fingerprint")
    with pytest.raises((WrongCodeError, PeerProtocolError)) as at_host:
        host.receive_confirm(bodies.encode_confirm(bytes(32), bytes(48)))
    assert host.spent
    return at_host.value, at_joiner.value


def test_a_man_in_the_middle_with_a_wrong_guess_fails_at_both_ends() -> None:
    for trial in range(10):
        guess = generate_code(CODE.nameplate, SeededEntropy(f"guess {trial}"))
        at_host, at_joiner = _server_that_plays_both_ends(guess)
        assert isinstance(at_host, WrongCodeError)
        assert isinstance(at_joiner, WrongCodeError)


def test_one_code_is_one_guess_even_if_the_server_offers_it_again_and_again() -> None:
    host = _host()
    reply = host.receive_hello(
        _joiner(generate_code("4821", SeededEntropy("first"))).hello(), HOST_DESCRIPTION
    )
    assert reply
    for trial in range(5):
        # Even the right words come too late: the guess was had.
        with pytest.raises(PeerProtocolError, match="second hello"):
            host.receive_hello(_joiner(seed=f"again {trial}").hello(), HOST_DESCRIPTION)


def test_the_kem_key_cannot_be_replaced_by_the_servers_own() -> None:
    own = kem.KemKey(SeededEntropy("server"))
    at_host, at_joiner = Server(hello=_with_field(2, own.public)).run(_host(), _joiner())
    assert (at_host, at_joiner) == (None, None)


def test_the_kem_ciphertext_cannot_be_replaced() -> None:
    def replaced(hello: bytes) -> Iterator[bytes]:
        yield kem.encapsulate(_fields(hello)[2])[1]

    server = Server()
    server.reply = lambda reply: _with_field(1, next(replaced(server.seen[0])))(reply)
    assert server.run(_host(), _joiner()) == (None, None)


def test_protocol_lists_cannot_be_downgraded() -> None:
    def sides() -> tuple[HostHandshake, JoinerHandshake]:
        return (
            HostHandshake(CODE, version="1.0", entropy=SeededEntropy("h"), protocols=(1, 2)),
            JoinerHandshake(CODE, version="1.0", entropy=SeededEntropy("j"), protocols=(1, 2)),
        )

    at_host, _ = Server().run(*sides())
    assert at_host is not None
    assert at_host.protocol == 2
    assert Server(hello=_with_field(5, b"\x01")).run(*sides()) == (None, None)
    assert Server(reply=_with_field(4, b"\x01")).run(*sides()) == (None, None)


def test_nobody_between_can_switch_payload_encryption_off_or_on() -> None:
    ours = CLEAR_PAYLOAD.encode()
    for host_asks, joiner_asks in [(CLEAR, frozenset()), (frozenset(), CLEAR), (frozenset(), frozenset())]:
        for server in (
            Server(hello=_with_field(6, ours)),
            Server(reply=_with_field(5, ours)),
            Server(hello=_with_field(6, ours), reply=_with_field(5, ours)),
        ):
            at_host, at_joiner = server.run(_host(capabilities=host_asks), _joiner(capabilities=joiner_asks))
            for result in (at_host, at_joiner):
                assert result is None or not result.clear_payload
    # Where both ask, taking the wish away breaks the handshake and does not change it.
    for server in (Server(hello=_with_field(6, b"")), Server(reply=_with_field(5, b""))):
        assert server.run(_host(capabilities=CLEAR), _joiner(capabilities=CLEAR)) == (None, None)


def test_a_neutral_or_low_order_share_gives_the_server_no_known_key() -> None:
    neutral = [
        (1).to_bytes(32, "little"),
        (1 | 1 << 255).to_bytes(32, "little"),
        (2**255 - 18).to_bytes(32, "little"),
    ]
    for point in neutral:
        assert Server(hello=_with_field(1, b"A" + point)).run(_host(), _joiner()) == (None, None)
        assert Server(reply=_with_field(0, b"B" + point)).run(_host(), _joiner()) == (None, None)
    assert len(b"A" + neutral[0]) == pake.SHARE_BYTES


def test_random_bytes_raise_nothing_but_protocol_errors() -> None:
    seed = 7
    rng = random.Random(seed)
    template = _recorded()
    for trial in range(300):
        body = bytearray(rng.choice(template))
        for _ in range(rng.randrange(1, 4)):
            start = rng.randrange(len(body) + 1)
            body[start : start + rng.randrange(5)] = rng.randbytes(rng.randrange(5))
        for decode in (
            bodies.decode_hello_untrusted,
            bodies.decode_reply_untrusted,
            bodies.decode_confirm_untrusted,
        ):
            try:
                decode(bytes(body))
            except (PeerProtocolError, WrongCodeError):
                continue
            except BaseException:
                print(f"seed {seed}, trial {trial}, body {bytes(body).hex()}")
                raise
