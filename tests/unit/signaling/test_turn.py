"""signaling.turn: URLs of relays, and credentials that coturn accepts."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from signaling.protocol import MAX_CREDENTIAL_CHARS, PeerJoined, decode_server_message_untrusted, encode
from signaling.turn import LIFETIME_S, NotARelay, Relay, RelayCredentials, checked_secret, parsed_relay
from tests.support.entropy import SeededEntropy

SECRET = "correct-horse-battery"


@pytest.mark.parametrize(
    ("url", "relay"),
    [
        ("turn:relay.example", ("relay.example", 3478, "udp", False)),
        ("turn:192.0.2.7:80?transport=tcp", ("192.0.2.7", 80, "tcp", False)),
        ("turn:[2001:db8::7]:3478", ("2001:db8::7", 3478, "udp", False)),
        ("turns:relay.example", ("relay.example", 5349, "tcp", True)),
        (" turns:relay.example:443?transport=tcp\n", ("relay.example", 443, "tcp", True)),
    ],
)
def test_a_url_is_taken_apart(url: str, relay: tuple[str, int, str, bool]) -> None:
    assert parsed_relay(url) == Relay(url.strip(), *relay)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relay.example",
        "stun:relay.example",
        "turn://relay.example",
        "turn:relay.example:0",
        "turn:relay.example:70000",
        "turn:relay.example?transport=sctp",
        "turn:user@relay.example",
        "turn:[nonsense]",
        "turn:[::g]:1",
        "turns:relay.example?transport=udp",
        "turn:a b",
        "turn:relay.example:3478?transport=udp&x=1",
        "turn:" + "x" * 300,
    ],
)
def test_anything_else_is_refused_with_a_reason(url: str) -> None:
    with pytest.raises(NotARelay, match=r"."):
        parsed_relay(url)


def test_the_password_is_the_mac_of_a_user_name_that_ends() -> None:
    credentials = RelayCredentials([parsed_relay("turn:a")], SECRET, lambda: 1_000.9, SeededEntropy("turn"))
    (server,) = credentials()
    expiry, _, name = server.username.partition(":")
    assert int(expiry) == 1_000 + LIFETIME_S
    assert name
    digest = hmac.new(SECRET.encode(), server.username.encode(), hashlib.sha1).digest()
    assert server.credential == base64.b64encode(digest).decode()


def test_everybody_is_given_credentials_of_its_own_which_no_log_has() -> None:
    credentials = RelayCredentials([parsed_relay("turn:a")], SECRET, lambda: 0.0, SeededEntropy("turn"))
    one, other = credentials(), credentials()
    assert one != other
    assert one[0].credential not in repr(one)


def test_they_fit_a_message() -> None:
    many = [parsed_relay(f"turn:{'x' * 60}{n}.example") for n in range(9)]
    servers = RelayCredentials(many, SECRET, lambda: 2e9, SeededEntropy("turn"))()
    assert len(servers) == 4
    message = PeerJoined(servers)
    assert decode_server_message_untrusted(encode(message)) == message
    assert max(len(each.credential) for each in servers) < MAX_CREDENTIAL_CHARS


@pytest.mark.parametrize("text", ["", "short", "two words that are long", "x" * 15])
def test_a_secret_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(NotARelay):
        checked_secret(text)


def test_a_secret_file_may_end_in_a_line_feed() -> None:
    assert checked_secret(f"{SECRET}\n") == SECRET
