"""Signaling messages: everything that is not exactly one of them is one error."""

from __future__ import annotations

import pytest

from signaling.protocol import (
    MAX_BODY_BYTES,
    MAX_MESSAGE_BYTES,
    Allocate,
    Allocated,
    ClientMessage,
    CloseCode,
    Error,
    ErrorCode,
    Hello,
    Join,
    Joined,
    MalformedMessage,
    PeerJoined,
    PeerLeft,
    Relay,
    Relayed,
    ServerMessage,
    Welcome,
    decode_client_message_untrusted,
    decode_server_message_untrusted,
    encode,
    is_nameplate,
    is_token,
)

CLIENT_MESSAGES: list[tuple[ClientMessage, str]] = [
    (Hello(1), '{"type":"hello","version":1}'),
    (Allocate(), '{"type":"allocate","nameplate":null}'),
    (Allocate("4821"), '{"type":"allocate","nameplate":"4821"}'),
    (Join("4821"), '{"type":"join","nameplate":"4821"}'),
    (Relay(b"\x00\xff"), '{"type":"relay","body":"AP8="}'),
]
SERVER_MESSAGES: list[tuple[ServerMessage, str]] = [
    (Welcome(1), '{"type":"welcome","version":1}'),
    (Welcome(1, 8765), '{"type":"welcome","version":1,"stun_port":8765}'),
    (Welcome(1, None, has_relays=True), '{"type":"welcome","version":1,"has_relays":true}'),
    (Allocated("4821"), '{"type":"allocated","nameplate":"4821"}'),
    (Joined(), '{"type":"joined"}'),
    (PeerJoined(), '{"type":"peer-joined"}'),
    (Relayed(b"abc"), '{"type":"relayed","body":"YWJj"}'),
    (PeerLeft(), '{"type":"peer-left"}'),
    (Error(ErrorCode.SERVER_FULL, "full"), '{"type":"error","code":"server-full","message":"full"}'),
]

MALFORMED = {
    "empty": "",
    "not JSON": "hello",
    "truncated": '{"type":"join","namepl',
    "two values": '{"type":"joined"}{"type":"joined"}',
    "an array": '["join","4821"]',
    "no type": '{"nameplate":"4821"}',
    "unknown type": '{"type":"list-rooms"}',
    "type of another kind": '{"type":7}',
    "unknown field": '{"type":"join","nameplate":"4821","words":"acorn"}',
    "missing field": '{"type":"join"}',
    "number for text": '{"type":"join","nameplate":4821}',
    "version of zero": '{"type":"hello","version":0}',
    "version beyond 16 bits": '{"type":"hello","version":65536}',
    "version as a float": '{"type":"hello","version":1.5}',
    "endless number": '{"type":"hello","version":1e999}',
    "body that is not base64": '{"type":"relay","body":"?"}',
    "body without padding": '{"type":"relay","body":"YWI"}',
    "lone surrogate": '{"type":"join","nameplate":"\ud800"}',
    "deep nesting": '{"x":' + "[" * 10_000,
    "deep nesting before the type": '{"x":' + "[" * 4_000 + "]" * 4_000 + ',"type":"joined"}',
    "one byte too long": '{"type":"joined"}'.ljust(MAX_MESSAGE_BYTES + 1),
    "an error code with markup": '{"type":"error","code":"<b>"}',
    "an error message too long": '{"type":"error","code":"x","message":"' + "a" * 201 + '"}',
}

TOKEN = "mfrggzdfmztwq2lknnwg23tpoa"


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_whatever_is_not_a_message_is_the_one_error(text: str) -> None:
    for decode in (decode_client_message_untrusted, decode_server_message_untrusted):
        with pytest.raises(MalformedMessage) as caught:
            decode(text)
        assert len(str(caught.value)) <= 200


def test_a_binary_message_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        decode_client_message_untrusted(b'{"type":"hello","version":1}')


@pytest.mark.parametrize(("message", "text"), CLIENT_MESSAGES)
def test_client_messages_have_this_form_and_only_servers_take_them(message: ClientMessage, text: str) -> None:
    assert encode(message) == text
    assert decode_client_message_untrusted(text) == message
    with pytest.raises(MalformedMessage):
        decode_server_message_untrusted(text)


@pytest.mark.parametrize(("message", "text"), SERVER_MESSAGES)
def test_server_messages_have_this_form_and_only_clients_take_them(message: ServerMessage, text: str) -> None:
    assert encode(message) == text
    assert decode_server_message_untrusted(text) == message
    with pytest.raises(MalformedMessage):
        decode_client_message_untrusted(text)


def test_the_largest_body_fits_into_a_message_and_one_byte_more_is_refused_on_both_sides() -> None:
    largest = encode(Relayed(bytes(MAX_BODY_BYTES)))
    assert len(largest) <= MAX_MESSAGE_BYTES
    assert decode_server_message_untrusted(largest) == Relayed(bytes(MAX_BODY_BYTES))
    with pytest.raises(ValueError, match="at most"):
        encode(Relay(bytes(MAX_BODY_BYTES + 1)))
    with pytest.raises(MalformedMessage):
        decode_client_message_untrusted('{"type":"relay","body":"' + "AAAA" * 4_001 + '"}')


@pytest.mark.parametrize("text", ["1", "4821", "999999999"])
def test_digits_without_a_leading_zero_are_a_nameplate(text: str) -> None:
    assert is_nameplate(text)
    assert decode_client_message_untrusted(encode(Join(text))) == Join(text)


def test_a_token_is_a_nameplate_that_nobody_can_guess() -> None:
    assert is_nameplate(TOKEN)
    assert is_token(TOKEN)
    assert not is_token("4821")
    assert decode_client_message_untrusted(encode(Join(TOKEN))) == Join(TOKEN)


@pytest.mark.parametrize("text", [TOKEN[:-1], TOKEN + "a", TOKEN.upper(), "1" + TOKEN[1:], TOKEN + "\n"])
def test_what_is_almost_a_token_is_no_nameplate(text: str) -> None:
    assert not is_nameplate(text)
    assert not is_token(text)


@pytest.mark.parametrize(
    "text", ["", "0", "0123", "4821\n", "48 21", "-1", "1234567890", "acorn", "٤٨٢١", "../1"]
)
def test_anything_else_is_no_nameplate(text: str) -> None:
    assert not is_nameplate(text)
    with pytest.raises(MalformedMessage):
        decode_client_message_untrusted(encode(Join(text)))


def test_every_error_code_passes_the_pattern_clients_check() -> None:
    for code in ErrorCode:
        assert decode_server_message_untrusted(encode(Error(code))) == Error(code)


def test_our_close_codes_are_in_the_range_for_applications() -> None:
    assert all(
        4000 <= code <= 4999 for code in CloseCode if code not in (CloseCode.NORMAL, CloseCode.GOING_AWAY)
    )
