"""link.ice_servers: URLs of RFC 7064 and 7065, each mistake one sentence, and no password in any of them."""

from __future__ import annotations

import pytest

from tallow_cli.errors import BadOption
from tallow_cli.link.ice_servers import ice_servers, parsed_stun


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("stun:stun.example.org", "stun:stun.example.org"),
        ("STUN:192.0.2.1:3479", "stun:192.0.2.1:3479"),
        ("stun:[2001:db8::1]:3478", "stun:[2001:db8::1]:3478"),
        ("turn:relay.example.org", "turn:relay.example.org"),
        (" turn:[2001:db8::1]:3478?transport=TCP ", "turn:[2001:db8::1]:3478?transport=tcp"),
        ("Turns:relay.example.org:443?transport=tcp", "turns:relay.example.org:443?transport=tcp"),
    ],
)
def test_urls_of_both_standards_are_read(given: str, url: str) -> None:
    assert [each.url for each in ice_servers([given], None, None)] == [url]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "does not begin with"),
        ("relay.example.org:3478", "does not begin with"),
        ("http://relay.example.org", "does not begin with"),
        ("turn://relay.example.org", "has slashes"),
        ("stuns:relay.example.org", "STUN over TLS"),
        ("stun:host?transport=tcp", "only relays' URLs"),
        ("stun:", "is not like stun:HOST"),
        ("stun:host:99999", "port that is not from 1 to 65535"),
        ("stun:host:0", "port that is not from 1 to 65535"),
        ("stun:[::g]", "is not like stun:HOST"),
        ("stun:[1::2::3]", "no address in its brackets"),
        ("stun:2001:db8::1", "is not like stun:HOST"),
        ("turn:host:0", "port that is not from 1 to 65535"),
        ("turn:host?transport=tls", "is not like turn:HOST"),
        ("turn:[1::2::3]", "no address in its brackets"),
        ("turns:host?transport=udp", "DTLS"),
    ],
)
def test_each_mistake_gets_a_sentence_of_its_own(given: str, said: str) -> None:
    with pytest.raises(BadOption, match=said) as caught:
        ice_servers([given], None, None)
    assert caught.value.option == "--ice-server"


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(BadOption, match="holds no credentials") as caught:
        ice_servers(["turn:user:hunter2@relay.example.org"], None, None)
    assert "hunter2" not in caught.value.sentence


def test_credentials_go_to_relays_alone_and_into_no_repr() -> None:
    stun, turn = ice_servers(["stun:host", "turn:host"], "u", "hunter2")
    assert (stun.username, stun.credential) == (None, None)
    assert (turn.username, turn.credential) == ("u", "hunter2")
    assert "hunter2" not in repr((stun, turn))


@pytest.mark.parametrize(
    ("urls", "user", "password", "option"),
    [
        (["turn:host"], "u", None, "--ice-user"),
        (["stun:host"], "u", "p", "--ice-user"),
        ([], "u", "p", "--ice-user"),
        (["turn:host"], None, "p", "TALLOW_ICE_PASSWORD"),
        ([f"stun:host{n}" for n in range(9)], None, None, "--ice-server"),
    ],
)
def test_what_does_not_go_together_is_refused(
    urls: list[str], user: str | None, password: str | None, option: str
) -> None:
    with pytest.raises(BadOption) as caught:
        ice_servers(urls, user, password)
    assert caught.value.option == option
    assert "'p'" not in caught.value.sentence


def test_a_password_in_the_environment_is_nobodys_mistake_where_no_relay_is_named() -> None:
    assert ice_servers([], None, "p") == ()
    assert ice_servers([], "u", "p", just_said=False) == ()


def test_each_server_is_asked_once() -> None:
    assert len(ice_servers(["stun:host", "STUN:host"], None, None)) == 1


def test_a_stun_url_is_taken_apart() -> None:
    assert parsed_stun("stun:[2001:db8::1]:5000") == ("2001:db8::1", 5000)
    assert parsed_stun("stun:host") == ("host", 3478)
    assert parsed_stun("turn:host") is None
