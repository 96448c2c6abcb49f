"""Addresses of signaling servers, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallow_cli.errors import BadOption
from tallow_cli.meeting.server_url import is_near, normalize_server_url, server_url, standard_port


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ws://host:8765", "ws://host:8765"),
        ("wss://tallow.example", "wss://tallow.example"),
        ("ws://host", "ws://host"),
        ("host:9000", "ws://host:9000"),
        ("host", "ws://host:8765"),
        ("192.168.1.7:8765", "ws://192.168.1.7:8765"),
        ("[::1]:8765", "ws://[::1]:8765"),
        ("[2001:db8:0::1]", "ws://[2001:db8::1]:8765"),
        ("  WSS://Host.Example/tallow/  ", "wss://host.example/tallow"),
        ("http://host:8765", "ws://host:8765"),
        ("https://host", "wss://host"),
        ("HTTPS://Host.Example/tallow/", "wss://host.example/tallow"),
        ("::1", "ws://[::1]:8765"),
        ("2001:db8::1", "ws://[2001:db8::1]:8765"),
        ("2001:db8:0:0:1:2:3:8765", "ws://[2001:db8::1:2:3:8765]:8765"),
        ("fe80::abcd:1234:ab12", "ws://[fe80::abcd:1234:ab12]:8765"),
        ("ws://bücher.example:1", "ws://xn--bcher-kva.example:1"),
    ],
)
def test_what_people_write_becomes_a_url(text: str, url: str) -> None:
    assert normalize_server_url(text) == url
    assert normalize_server_url(url) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "http:/host",
        "ws:host",
        "ws://http://host:8765",
        "ftp://host",
        "://host",
        "ws://",
        "ws://:8765",
        ":8765",
        "ws://host:port",
        "ws://host:0",
        "ws://host:65536",
        "ws://host:-1",
        "ws://[::1",
        "ws://[nonsense]:1",
        "::1:8765",
        "ws://user:password@host",
        "ws://user@host",
        "ws://host/#4821-acorn-blend-crisp",
        "ws://host/?code=4821-acorn-blend-crisp",
        "ws://host\n:8765",
        "ws://host\x1b[31m",
        "two words",
        "¯",
        "host／path",
        "a℀b",
        "a" * 64 + ".example",
        "a" * 3_000,
    ],
)
def test_what_is_no_server_is_a_bad_option(text: str) -> None:
    with pytest.raises(BadOption) as caught:
        normalize_server_url(text)
    assert str(caught.value).startswith("--server: ")


@settings(max_examples=300)
@given(st.text() | st.text(min_size=1, max_size=12).map("ws://{}".format))
def test_any_text_is_a_url_or_a_bad_option(text: str) -> None:
    try:
        url = normalize_server_url(text)
    except BadOption:
        return
    assert normalize_server_url(url) == url
    assert url.startswith(("ws://", "wss://"))


def test_a_password_is_not_repeated_in_the_error() -> None:
    with pytest.raises(BadOption) as caught:
        normalize_server_url("ws://user:hunter2@host")
    assert "hunter2" not in str(caught.value)


def test_an_address_that_may_end_in_a_port_is_refused_with_both_ways_to_write_it() -> None:
    with pytest.raises(BadOption, match=r"write it like \[::1\]:8765 or \[::1:8765\]"):
        normalize_server_url("::1:8765")


@pytest.mark.parametrize(
    ("url", "port"),
    [("ws://a", 80), ("wss://a", 443), ("ws://a:80", 80), ("ws://a:8765", None), ("wss://[::1]:80/x", None)],
)
def test_the_port_that_nobody_wrote_is_known(url: str, port: int | None) -> None:
    assert standard_port(url) == port


def test_numeric_addresses_become_urls() -> None:
    assert server_url("127.0.0.1", 1) == "ws://127.0.0.1:1"
    assert server_url("2001:db8::1", 65_535) == "ws://[2001:db8::1]:65535"


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "192.168.3.4", "10.0.0.1", "printer.local"]
)
def test_near_servers_need_no_proxy(host: str) -> None:
    assert is_near(f"ws://{host}:8765")


@pytest.mark.parametrize("host", ["tallow.example", "8.8.8.8", "[2606:4700::1]"])
def test_far_servers_may_need_one(host: str) -> None:
    assert not is_near(f"wss://{host}")
