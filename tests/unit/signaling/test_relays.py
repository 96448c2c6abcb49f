"""signaling.relays: what the command line says of relays becomes an offer, or one sentence."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from signaling.listening import CannotListen
from signaling.relays import RelayOptions, offered_relays

OURS = [ipaddress.ip_address("192.0.2.1")]


async def offered(options: RelayOptions, said: list[str] | None = None) -> list[str]:
    said = [] if said is None else said
    async with offered_relays(options, OURS, None, said.append) as credentials:
        return [] if credentials is None else [server.url for server in credentials()]


async def test_without_options_nothing_is_offered() -> None:
    assert await offered(RelayOptions()) == []


async def test_relays_elsewhere_are_offered_in_the_order_they_were_named(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a-secret-of-some-length\n")
    urls = ("turn:relay.example:3478", "turns:relay.example:5349?transport=tcp")
    assert await offered(RelayOptions(turn=urls, secret_file=str(tmp_path / "secret"))) == list(urls)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (RelayOptions(turn=("turn:a",)), "--turn needs --turn-secret-file"),
        (RelayOptions(secret_file="x"), "--turn-secret-file belongs to --turn"),
        (RelayOptions(turn=("turn:a",), secret_file="/no/such"), "The secret file /no/such cannot be read ("),
        (
            RelayOptions(turn=("turn:a",), secret_file="/dev/null"),
            "--turn-secret-file: a relay's secret is one word",
        ),
        (
            RelayOptions(turn=("relay.example",), secret_file="/dev/null"),
            "--turn: 'relay.example' is not like ",
        ),
        (RelayOptions(ports="50000-50100"), "--relay-ports belongs to --relay"),
        (RelayOptions(public_address="192.0.2.1"), "--public-address belongs to --relay"),
        (RelayOptions(own=True, ports="x"), "--relay-ports: 'x' is not like 50000-50999."),
        (
            RelayOptions(own=True, ports="50000-50003"),
            "--relay-ports: a range within 1024-65535 of at least 16 ports",
        ),
        (RelayOptions(own=True, ports="80-50000"), "--relay-ports: a range within"),
        (RelayOptions(own=True, ports="50000-70000"), "--relay-ports: a range within"),
        (
            RelayOptions(own=True, public_address="relay.example"),
            "--public-address: 'relay.example' is no address",
        ),
    ],
)
async def test_what_cannot_be_is_one_sentence(options: RelayOptions, sentence: str) -> None:
    with pytest.raises(CannotListen) as refused:
        await offered(options)
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


async def test_without_turnserver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/no/such/directory")
    with pytest.raises(CannotListen, match="Install the package coturn"):
        await offered(RelayOptions(own=True))
