"""Two sides with one code agree; two sides without part loudly, and the code is gone either way."""

from __future__ import annotations

import pytest

from tallow_cli.crypto import bodies, handshake
from tallow_cli.crypto.codes import Code, parse_code
from tallow_cli.crypto.handshake import (
    CLEAR_PAYLOAD,
    HandshakeResult,
    HostHandshake,
    JoinerHandshake,
    abort_body,
)
from tallow_cli.crypto.keys import Role
from tallow_cli.crypto.seal import ClearOpener, ClearSealer, PacketOpener, PacketSealer
from tallow_cli.errors import (
    IncompatiblePeer,
    PeerProtocolError,
    TargetExists,
    UnsupportedCrypto,
    WrongCodeError,
)
from tests.support.entropy import SeededEntropy

CODE = parse_code("4821-acorn-blend-crisp")
WRONG = parse_code("4821-acorn-blend-crust")
OTHER_ROOM = parse_code("4822-acorn-blend-crisp")
NOTHING: frozenset[str] = frozenset()
CLEAR = frozenset({CLEAR_PAYLOAD})


def _host(
    code: Code = CODE, capabilities: frozenset[str] = NOTHING, protocols: tuple[int, ...] = (1,)
) -> HostHandshake:
    return HostHandshake(
        code, version="1.2.3", entropy=SeededEntropy("host"), capabilities=capabilities, protocols=protocols
    )


def _joiner(
    code: Code = CODE, capabilities: frozenset[str] = NOTHING, protocols: tuple[int, ...] = (1,)
) -> JoinerHandshake:
    return JoinerHandshake(
        code,
        version="1.2.4+git",
        entropy=SeededEntropy("joiner"),
        capabilities=capabilities,
        protocols=protocols,
    )


def _run(host: HostHandshake, joiner: JoinerHandshake) -> tuple[HandshakeResult, HandshakeResult]:
    reply = host.receive_hello(joiner.hello(), b"where the host is")
    confirm, at_joiner = joiner.receive_reply(reply, b"where the joiner is")
    return host.receive_confirm(confirm), at_joiner


def test_a_wrong_code_is_loud_at_the_joiner_and_then_at_the_host() -> None:
    host, joiner = _host(), _joiner(WRONG)
    reply = host.receive_hello(joiner.hello(), b"where the host is")
    with pytest.raises(WrongCodeError) as at_joiner:
        joiner.receive_reply(reply, b"where the joiner is")
    with pytest.raises(WrongCodeError, match="wrong code") as at_host:
        host.receive_confirm(abort_body(at_joiner.value))
    assert "Someone tried" in at_host.value.sentence
    assert "ask the sender" in at_joiner.value.sentence
    assert host.spent


def test_a_joiner_who_ignores_the_failed_tag_fails_at_the_host() -> None:
    host, joiner = _host(), _joiner()
    host.receive_hello(joiner.hello(), b"")
    forged = bodies.encode_confirm(bytes(32), bytes(16))
    with pytest.raises(WrongCodeError, match="Someone tried"):
        host.receive_confirm(forged)
    with pytest.raises(PeerProtocolError):
        host.receive_confirm(forged)


def test_both_sides_agree_when_the_code_is_right() -> None:
    at_host, at_joiner = _run(_host(), _joiner())
    assert at_host.peer_description == b"where the joiner is"
    assert at_joiner.peer_description == b"where the host is"
    assert (at_host.peer_version, at_joiner.peer_version) == ("1.2.4+git", "1.2.3")
    assert at_host.keys.seal_key == at_joiner.keys.open_key
    assert at_host.keys.open_key == at_joiner.keys.seal_key
    assert at_host.keys.verifier == at_joiner.keys.verifier
    assert (at_host.keys.role, at_joiner.keys.role) == (Role.HOST, Role.JOINER)


def test_the_same_words_under_another_nameplate_are_another_code() -> None:
    host, joiner = _host(), _joiner(OTHER_ROOM)
    with pytest.raises(WrongCodeError):
        joiner.receive_reply(host.receive_hello(joiner.hello(), b""), b"")


def test_keys_are_fresh_every_time_even_with_the_same_code() -> None:
    results = [_run(_host(), _joiner())[0].keys for _ in range(2)]  # the KEM's randomness differs
    assert results[0].seal_key != results[1].seal_key


@pytest.mark.parametrize(
    "hello",
    [b"", b"x", b"\x01\x01", bytes(5000), bytes(bodies.MAX_BODY_BYTES + 1), abort_body(WrongCodeError())],
    ids=["empty", "short", "no fields", "zeros", "oversized", "abort"],
)
def test_the_code_is_spent_by_the_first_hello_whatever_it_was(hello: bytes) -> None:
    host = _host()
    assert not host.spent
    with pytest.raises((PeerProtocolError, WrongCodeError)):
        host.receive_hello(hello, b"")
    assert host.spent
    with pytest.raises(PeerProtocolError, match="second hello"):
        host.receive_hello(_joiner().hello(), b"")


def test_a_second_hello_ends_the_attempt_under_way() -> None:
    host, joiner = _host(), _joiner()
    reply = host.receive_hello(joiner.hello(), b"")
    with pytest.raises(PeerProtocolError, match="second hello"):
        host.receive_hello(_joiner(WRONG).hello(), b"")
    confirm, _ = joiner.receive_reply(reply, b"")
    with pytest.raises(PeerProtocolError, match="out of turn"):
        host.receive_confirm(confirm)


def test_calls_out_of_turn_are_refused() -> None:
    with pytest.raises(PeerProtocolError, match="out of turn"):
        _host().receive_confirm(b"")
    with pytest.raises(PeerProtocolError, match="out of turn"):
        _joiner().receive_reply(b"", b"")
    host, joiner = _host(), _joiner()
    reply = host.receive_hello(joiner.hello(), b"")
    confirm, _ = joiner.receive_reply(reply, b"")
    with pytest.raises(PeerProtocolError, match="out of turn"):
        joiner.receive_reply(reply, b"")
    host.receive_confirm(confirm)
    with pytest.raises(PeerProtocolError, match="out of turn"):
        host.receive_confirm(confirm)
    with pytest.raises(RuntimeError):
        joiner.hello()


def test_a_description_has_a_limit_and_all_bodies_fit_it() -> None:
    largest = bytes(bodies.MAX_DESCRIPTION_BYTES)
    host, joiner = _host(), _joiner()
    reply = host.receive_hello(joiner.hello(), largest)
    confirm, result = joiner.receive_reply(reply, largest)
    assert max(len(reply), len(confirm)) <= bodies.MAX_BODY_BYTES
    assert result.peer_description == host.receive_confirm(confirm).peer_description == largest
    with pytest.raises(ValueError, match="at most"):
        _host().receive_hello(_joiner().hello(), largest + b"x")


def test_every_body_fits_what_the_signaling_server_relays() -> None:
    from signaling.protocol import MAX_BODY_BYTES

    wordy = frozenset(f"{'capability' * 3}{letter}" for letter in "abcdefghijklmnop")
    host = HostHandshake(CODE, version="v" * 64, entropy=SeededEntropy("h"), capabilities=wordy)
    joiner = JoinerHandshake(
        CODE, version="v" * 64, entropy=SeededEntropy("j"), capabilities=wordy, protocols=tuple(range(1, 17))
    )
    hello = joiner.hello()
    reply = host.receive_hello(hello, bytes(bodies.MAX_DESCRIPTION_BYTES))
    confirm, _ = joiner.receive_reply(reply, bytes(bodies.MAX_DESCRIPTION_BYTES))
    assert max(map(len, (hello, reply, confirm))) <= bodies.MAX_BODY_BYTES <= MAX_BODY_BYTES


def test_a_host_that_answers_with_a_protocol_nobody_offered_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshake, "_choose_protocol", lambda ours, theirs: 9)
    host, joiner = _host(), _joiner()
    with pytest.raises(PeerProtocolError, match="was not offered"):
        joiner.receive_reply(host.receive_hello(joiner.hello(), b""), b"")


@pytest.mark.parametrize("field", [0, 4])
def test_a_one_byte_field_has_one_byte(field: int) -> None:
    sizes = [1, 33, 1184, 32, 9, 1, 0] if field == 0 else [33, 1088, 32, 5, 1, 0, 32, 16]
    sizes[field] = 2
    kind, decode = (1, bodies.decode_hello_untrusted) if field == 0 else (2, bodies.decode_reply_untrusted)
    body = bytes([kind, bodies.FORMAT]) + b"".join(size.to_bytes(2, "big") + b"1" * size for size in sizes)
    with pytest.raises(PeerProtocolError, match="malformed"):
        decode(body)


def test_a_field_that_claims_more_than_there_is_is_refused() -> None:
    for body in (b"\x01\x01\x00\x05abc", b"\x01\x01\x00", b"\x01\x01\xff\xff"):
        with pytest.raises(PeerProtocolError, match="cut short"):
            _host().receive_hello(body, b"")


@pytest.mark.parametrize("size", [0, 15, bodies.MAX_DESCRIPTION_BYTES + 17])
def test_a_sealed_description_of_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(PeerProtocolError, match="sealed description"):
        bodies.decode_confirm_untrusted(bodies.encode_confirm(bytes(32), bytes(size)))


def test_payload_goes_clear_only_if_both_sides_ask() -> None:
    for host_asks in (NOTHING, CLEAR):
        for joiner_asks in (NOTHING, CLEAR):
            results = _run(_host(capabilities=host_asks), _joiner(capabilities=joiner_asks))
            expected = bool(host_asks and joiner_asks)
            assert [result.clear_payload for result in results] == [expected, expected]


def test_a_result_hands_out_the_right_pair_for_packets() -> None:
    at_host, at_joiner = _run(_host(), _joiner())
    sealer, opener = at_host.packet_sealer(), at_joiner.packet_opener()
    assert isinstance(sealer, PacketSealer)
    assert isinstance(opener, PacketOpener)
    assert opener.open(1, 1, b"\x01", sealer.seal(1, 1, b"\x01", b"payload")) == b"payload"
    at_host, _ = _run(_host(capabilities=CLEAR), _joiner(capabilities=CLEAR))
    assert isinstance(at_host.packet_sealer(), ClearSealer)
    assert isinstance(at_host.packet_opener(), ClearOpener)


def test_capabilities_this_side_does_not_know_are_passed_on() -> None:
    at_host, at_joiner = _run(_host(capabilities=frozenset({"a", "new-thing"})), _joiner())
    assert at_joiner.peer_capabilities == {"a", "new-thing"}
    assert at_host.peer_capabilities == NOTHING


def test_the_highest_common_protocol_is_taken() -> None:
    at_host, at_joiner = _run(_host(protocols=(1, 2, 3)), _joiner(protocols=(2, 1)))
    assert at_host.protocol == at_joiner.protocol == 2


def test_sides_without_a_common_protocol_hear_what_each_speaks() -> None:
    host, joiner = _host(protocols=(1,)), _joiner(protocols=(2, 3))
    with pytest.raises(IncompatiblePeer) as at_host:
        host.receive_hello(joiner.hello(), b"")
    assert "the other side speaks transfer protocol 2, 3, this side 1" in at_host.value.sentence
    with pytest.raises(IncompatiblePeer):
        joiner.receive_reply(abort_body(at_host.value), b"")


def test_a_newer_format_or_suite_is_named() -> None:
    hello = _joiner().hello()
    with pytest.raises(IncompatiblePeer, match="handshake format 2"):
        _host().receive_hello(hello[:1] + b"\x02" + hello[2:], b"")
    with pytest.raises(IncompatiblePeer, match="suite 9"):
        _host().receive_hello(hello[:4] + b"\x09" + hello[5:], b"")


def test_aborts_say_what_went_wrong() -> None:
    for error, expected in [
        (WrongCodeError(), WrongCodeError),
        (PeerProtocolError("x"), PeerProtocolError),
        (IncompatiblePeer("x"), IncompatiblePeer),
        (UnsupportedCrypto("ML-KEM-768"), IncompatiblePeer),
        (TargetExists("secret-path"), PeerProtocolError),
    ]:
        body = abort_body(error)
        assert len(body) == 5
        joiner = _joiner()
        joiner.hello()
        with pytest.raises(expected):
            joiner.receive_reply(body, b"")
    for odd in (b"\xff", b"\xff\x01", b"\xff\x02\x00\x01\x63", b"\xff\x01\x00\x02\x01\x01", b"\xff" * 900):
        joiner = _joiner()
        joiner.hello()
        with pytest.raises(PeerProtocolError):
            joiner.receive_reply(odd, b"")


def test_our_own_version_and_capabilities_are_checked_before_they_travel() -> None:
    for version in ("", "1.0\n", "x" * 65, "1 0", "\x1b"):
        with pytest.raises(ValueError, match="version"):
            HostHandshake(CODE, version=version, entropy=SeededEntropy("v"))
    for capability in ("", "A", "a,b", "a" * 33, "1"):
        with pytest.raises(ValueError, match="capabilities"):
            _joiner(capabilities=frozenset({capability}))


@pytest.mark.parametrize("text", ["", "\x1b[31m", "x" * 65, "1.0 ", "é"])
def test_a_peers_version_holds_nothing_that_could_reach_a_terminal(text: str) -> None:
    raw = text.encode()
    hello = _joiner().hello()
    ours = b"\x00\x091.2.4+git"
    assert hello.count(ours) == 1
    with pytest.raises(PeerProtocolError, match="version"):
        _host().receive_hello(hello.replace(ours, len(raw).to_bytes(2, "big") + raw), b"")


@pytest.mark.parametrize(
    "names", ["b,a", "a,a", "A", ",", "a,", " a", "a" * 33, ",".join("abcdefghijklmnopq")]
)
def test_a_peers_capabilities_have_one_spelling(names: str) -> None:
    hello = _joiner().hello()
    assert hello.endswith(b"\x00\x00")
    raw = names.encode()
    with pytest.raises(PeerProtocolError, match="capabilities"):
        _host().receive_hello(hello[:-2] + len(raw).to_bytes(2, "big") + raw, b"")


def test_results_print_no_secrets() -> None:
    at_host, _ = _run(_host(), _joiner())
    assert "where the joiner is" not in repr(at_host)
    assert repr(at_host.keys.seal_key) not in repr(at_host)
