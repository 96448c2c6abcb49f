"""webrtc.ice_server: relays by their URLs, names that lead somewhere, and refusals in words."""

from __future__ import annotations

import socket
import ssl

import pytest
from aioice import stun

from tallow_cli.webrtc.ice_server import RelayServer, refusal, resolved, resolved_in_time


@pytest.mark.parametrize("relay", [RelayServer("h", 1, username="u", credential="never-shown")])
def test_credentials_are_in_no_repr(relay: RelayServer) -> None:
    assert "never-shown" not in repr(relay)


@pytest.mark.parametrize(
    ("relay", "url"),
    [
        (RelayServer("host", 3478), "turn:host:3478?transport=udp"),
        (RelayServer("2001:db8::1", 5349, "tcp", True), "turns:[2001:db8::1]:5349?transport=tcp"),
    ],
)
def test_a_relay_is_named_as_people_know_it(relay: RelayServer, url: str) -> None:
    assert relay.url == url


async def test_an_address_leads_to_itself_once_and_a_name_that_nobody_has_nowhere() -> None:
    assert await resolved("127.0.0.1", 9) == [("127.0.0.1", 9)]
    with pytest.raises(OSError):
        await resolved_in_time("no-such-host.invalid", 9, 5.0)
    with pytest.raises(socket.gaierror, match="no name server answers"):
        await resolved_in_time("localhost", 9, 0.0)


def _said_no(code: int) -> stun.TransactionFailed:
    answer = stun.Message(stun.Method.ALLOCATE, stun.Class.ERROR)
    answer.attributes["ERROR-CODE"] = (code, "words")
    return stun.TransactionFailed(answer)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_said_no(401), "credentials"),
        (_said_no(486), "as many connections as it allows (486 words)"),
        (_said_no(600), "it said no (600 words)"),
        (TimeoutError(), "it does not answer"),
        (ConnectionRefusedError(111, "Connect call failed ('h', 1)"), "nothing listens there"),
        (OSError(101, "Connect call failed"), "Network is unreachable"),
        (socket.gaierror(), "its name cannot be resolved"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "TLS failed"),
        (ConnectionError("the address that it gave cannot be one"), "the address that it gave"),
    ],
)
def test_each_refusal_is_said_in_words(error: BaseException, words: str) -> None:
    assert words in refusal(error)
