"""A signaling server is not trusted: every way it can misbehave ends in one of our errors, and soon."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from signaling.protocol import (
    MAX_MESSAGE_BYTES,
    Allocate,
    Allocated,
    Error,
    Join,
    Joined,
    PeerJoined,
    PeerLeft,
    Relayed,
    Welcome,
)
from tallow_cli.errors import (
    NameplateTaken,
    PeerNeverCame,
    PeerVanished,
    ServerProtocolError,
    ServerRefused,
    ServerUnreachable,
    TallowError,
    UnknownNameplate,
)
from tallow_cli.meeting import signaling_client, websocket
from tallow_cli.meeting.signaling_client import SignalingClient
from tests.support.hostile_server import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    HostileServer,
    Script,
    Wire,
    close_frame,
    frame,
    text,
)

LIMIT_S = 5.0  # no test of this file takes longer


@pytest.fixture(autouse=True)
def quick_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers here rarely close properly."""
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.05)


@asynccontextmanager
async def client_of(script: Script) -> AsyncIterator[SignalingClient]:
    async with asyncio.timeout(LIMIT_S), AsyncExitStack() as stack:
        url = await stack.enter_async_context(HostileServer(script))
        yield await stack.enter_async_context(await SignalingClient.connect(url, timeout_s=2.0))


async def connecting(script: Script, timeout_s: float = 2.0) -> TallowError:
    """The error that connecting to such a server ends in."""
    async with asyncio.timeout(LIMIT_S), HostileServer(script) as url:
        with pytest.raises(TallowError) as caught:
            await SignalingClient.connect(url, timeout_s=timeout_s)
    return caught.value


def http(head: str, body: str = "") -> Script:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.raw(f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await wire.silence()

    return script


def after_upgrade(*data: bytes) -> Script:
    async def script(wire: Wire) -> None:
        await wire.upgrade()
        for piece in data:
            await wire.raw(piece)
        await wire.silence()

    return script


def after_welcome(*data: bytes) -> Script:
    async def script(wire: Wire) -> None:
        await wire.welcome()
        for piece in data:
            await wire.raw(piece)
        await wire.silence()

    return script


# Before there is a WebSocket.


@pytest.mark.parametrize(
    "status", ["200 OK", "301 Moved Permanently", "400 Bad Request", "404 Not Found", "500 Oops"]
)
async def test_a_web_server_is_not_a_signaling_server(status: str) -> None:
    error = await connecting(http(status))
    assert isinstance(error, ServerProtocolError)
    assert f"HTTP {status[:3]}" in str(error)


@pytest.mark.parametrize("status", ["403 Forbidden", "429 Too Many Requests", "503 Service Unavailable"])
async def test_a_refusal_carries_the_servers_reason(status: str) -> None:
    error = await connecting(http(status, "too many connections from your network\n"))
    assert isinstance(error, ServerRefused)
    assert "refused: too many connections from your network." in str(error)


@pytest.mark.parametrize("target", ["http://example.invalid/", "file:///etc/passwd", "//[", "ws://x\x00y/"])
async def test_a_redirect_to_something_else_is_not_followed(target: str) -> None:
    error = await connecting(http(f"302 Found\r\nLocation: {target}"))
    assert isinstance(error, ServerProtocolError)


async def test_a_redirect_in_circles_ends() -> None:
    error = await connecting(http("302 Found\r\nLocation: /again"))
    assert isinstance(error, ServerProtocolError)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/9.9 101 X\r\n\r\n",
        b"HTTP/1.1 101 X\r\n" + b"A: b\r\n" * 1_000 + b"\r\n",
        b"HTTP/1.1 101 X\r\nA: " + b"b" * 100_000,
        b"\x00" * 100_000,
    ],
    ids=["SSH", "bare 101", "wrong version", "1000 headers", "endless header", "zeros"],
)
async def test_what_is_not_a_websocket_handshake_is_a_protocol_error(answer: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.raw(answer)
        await wire.silence()

    assert isinstance(await connecting(script), ServerProtocolError)


async def test_a_wrong_accept_key_is_a_protocol_error() -> None:
    async def script(wire: Wire) -> None:
        await wire.raw(wire.acceptance((await wire.request()).replace(b"Key: ", b"Key: x")))
        await wire.silence()

    assert isinstance(await connecting(script), ServerProtocolError)


@pytest.mark.parametrize("end", [Wire.hang_up, Wire.reset])
async def test_a_server_that_closes_without_a_word_is_unreachable(end: Script) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await end(wire)

    assert isinstance(await connecting(script), ServerUnreachable)
    assert isinstance(await connecting(end), ServerUnreachable)


@pytest.mark.parametrize("script", [Wire.silence, after_upgrade()], ids=["before HTTP", "before the welcome"])
async def test_a_silent_server_is_given_up_after_the_timeout(script: Script) -> None:
    error = await connecting(script, timeout_s=0.2)
    assert isinstance(error, ServerUnreachable)
    assert "no answer within 0.2 s" in str(error)


async def test_a_port_nobody_listens_on_is_unreachable() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(ServerUnreachable, match="nothing listens there"):
                await SignalingClient.connect(f"ws://{host}:{port}", timeout_s=2.0)


async def test_a_name_that_does_not_resolve_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_such_host(*_arguments: object, **_options: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", no_such_host)
    with pytest.raises(ServerUnreachable, match="its name cannot be resolved"):
        await SignalingClient.connect("ws://nowhere.invalid:8765", timeout_s=2.0)


async def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    monkeypatch.setenv("socks_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(ServerUnreachable):
        await SignalingClient.connect("ws://tallow.example:8765", timeout_s=2.0)


async def test_no_proxy_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with HostileServer(after_welcome()) as url, await SignalingClient.connect(url, timeout_s=2.0):
        pass


async def test_tls_towards_a_server_without_it_is_unreachable() -> None:
    async def script(wire: Wire) -> None:
        await wire.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await wire.silence()

    async with HostileServer(script) as url:
        with pytest.raises(ServerUnreachable, match="TLS"):
            await SignalingClient.connect(url.replace("ws:", "wss:"), timeout_s=2.0)


# Instead of the welcome, and after it.

BROKEN = {
    "not JSON": text("hello"),
    "a client's message": text('{"type":"hello","version":1}'),
    "an unknown field": text('{"type":"welcome","version":1,"motd":"hi"}'),
    "deep nesting": text('{"x":' + "[" * 10_000),
    "binary": frame(BINARY, b'{"type":"welcome","version":1}'),
    "not UTF-8": frame(TEXT, b"\xff\xfe"),
    "over 16 KiB": text("x" * (MAX_MESSAGE_BYTES + 1)),
    "claims 2^62 bytes": frame(TEXT, b"x", claimed_size=2**62),
    "over 16 KiB in fragments": frame(TEXT, b"x" * 9_000, final=False) + frame(CONTINUATION, b"x" * 9_000),
    "reserved bits": b"\xf1\x00",
    "reserved opcode": b"\x83\x00",
    "masked by the server": b"\x81\x80\x00\x00\x00\x00",
    "a continuation of nothing": frame(CONTINUATION, b"x"),
    "an endless ping": frame(PING, b"x" * 126),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_message_is_a_protocol_error_at_every_step(data: bytes) -> None:
    assert isinstance(await connecting(after_upgrade(data)), ServerProtocolError)
    async with client_of(after_welcome(data)) as client:
        with pytest.raises(ServerProtocolError):
            await client.allocate()


async def test_endless_empty_fragments_end() -> None:
    async def script(wire: Wire) -> None:
        await wire.upgrade()
        await wire.raw(frame(TEXT, b"", final=False))
        while True:
            await wire.raw(frame(CONTINUATION, b"", final=False) * 1_000)

    error = await connecting(script, timeout_s=1.0)
    assert isinstance(error, ServerProtocolError | ServerUnreachable)


async def test_a_message_byte_by_byte_and_in_fragments_is_understood() -> None:
    async def script(wire: Wire) -> None:
        request = await wire.request()
        await wire.drop_by_drop(wire.acceptance(request))
        welcome = b'{"type":"welcome","version":1}'
        await wire.drop_by_drop(frame(TEXT, welcome[:9], final=False) + frame(CONTINUATION, welcome[9:]))
        await wire.hear()
        assert await wire.hear() == Allocate()
        await wire.drop_by_drop(text(Allocated("4821")))
        await wire.silence()

    async with client_of(script) as client:
        assert await client.allocate() == "4821"


async def test_another_version_is_a_refusal() -> None:
    error = await connecting(after_upgrade(text(Welcome(7))))
    assert isinstance(error, ServerRefused)
    assert "version 7" in str(error)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1000, ServerUnreachable),
        (1001, ServerUnreachable),
        (1008, ServerRefused),
        (1011, ServerUnreachable),
        (1013, ServerRefused),
        (4400, ServerProtocolError),
        (4429, ServerRefused),
        (4505, ServerRefused),
        (4999, ServerUnreachable),
    ],
)
async def test_close_codes_tell_refusal_from_failure(code: int, expected: type[TallowError]) -> None:
    assert isinstance(await connecting(after_upgrade(close_frame(code, "because"))), expected)


async def test_a_connection_that_breaks_while_waiting_is_unreachable() -> None:
    async def script(wire: Wire) -> None:
        await wire.welcome()
        await wire.hear()
        await wire.raw(text(Allocated("4821")))
        await wire.reset()

    async with client_of(script) as client:
        await client.allocate()
        with pytest.raises(ServerUnreachable):
            await client.wait_for_peer(timeout_s=2.0)
        with pytest.raises(ServerUnreachable):
            await client.allocate()


# In the wrong order.


@pytest.mark.parametrize(
    "message", [Welcome(1), Joined(), PeerJoined(), PeerLeft(), Relayed(b"x"), Allocated("7")]
)
async def test_an_answer_out_of_order_is_a_protocol_error(
    message: Welcome | Joined | PeerJoined | PeerLeft | Relayed | Allocated,
) -> None:
    async with client_of(after_welcome(text(message))) as client:
        with pytest.raises(ServerProtocolError):
            await client.allocate("4821")
    if not isinstance(message, Joined):
        async with client_of(after_welcome(text(message))) as client:
            with pytest.raises(ServerProtocolError):
                await client.join("4821")


@pytest.mark.parametrize("message", [Welcome(1), Joined(), PeerLeft(), Relayed(b"x"), Allocated("7")])
async def test_while_waiting_only_a_peer_may_come(
    message: Welcome | Joined | PeerLeft | Relayed | Allocated,
) -> None:
    async with client_of(after_welcome(text(Allocated("7")), text(message))) as client:
        await client.allocate()
        with pytest.raises(ServerProtocolError):
            await client.wait_for_peer(timeout_s=2.0)


@pytest.mark.parametrize("message", [Welcome(1), Joined(), PeerJoined(), Allocated("7")])
async def test_with_a_peer_only_bodies_may_come(message: Welcome | Joined | PeerJoined | Allocated) -> None:
    async with client_of(after_welcome(text(Joined()), text(message))) as client:
        await client.join("7")
        with pytest.raises(ServerProtocolError):
            await client.recv(timeout_s=2.0)


async def test_leftovers_of_the_room_before_do_not_delay_the_answer_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signaling_client, "REPLY_TIMEOUT_S", 0.3)

    async def script(wire: Wire) -> None:
        await wire.welcome()
        await wire.hear()
        await wire.raw(text(Allocated("7")))
        await wire.hear()
        while True:
            await wire.raw(text(Relayed(b"x")))
            await asyncio.sleep(0.01)

    async with client_of(script) as client:
        await client.allocate()
        with pytest.raises(ServerUnreachable, match=r"no answer within 0\.3 s"):
            await client.allocate()


# What the server's errors mean.


async def take(step: str, client: SignalingClient) -> None:
    if step in ("join", "recv"):
        await client.join("7")
        await client.recv(timeout_s=2.0)
    else:
        await client.allocate("7")
        await client.wait_for_peer(timeout_s=2.0)


@pytest.mark.parametrize(
    ("code", "step", "expected"),
    [
        ("unknown-nameplate", "join", UnknownNameplate),
        ("nameplate-taken", "allocate", NameplateTaken),
        ("rate-limited", "allocate", ServerRefused),
        ("rate-limited", "join", ServerRefused),
        ("server-full", "allocate", ServerRefused),
        ("bad-message", "allocate", ServerProtocolError),
        ("room-expired", "allocate", ServerRefused),
        ("room-expired", "wait", PeerNeverCame),
        ("room-expired", "recv", PeerVanished),
        ("not-in-room", "recv", PeerVanished),
        ("room-limit", "recv", PeerVanished),
        ("something-new", "allocate", ServerRefused),
        ("something-new", "recv", ServerRefused),
    ],
)
async def test_error_codes_become_our_errors(code: str, step: str, expected: type[TallowError]) -> None:
    answers = {"wait": [text(Allocated("7"))], "recv": [text(Joined())]}.get(step, [])
    async with client_of(after_welcome(*answers, text(Error(code, "a reason")))) as client:
        with pytest.raises(TallowError) as caught:
            await take(step, client)
    assert type(caught.value) is expected


async def test_the_reason_given_before_closing_beats_the_close() -> None:
    error = await connecting(after_upgrade(text(Error("server-full", "no room")) + close_frame(1000)))
    assert isinstance(error, ServerRefused)
    assert "no room" in str(error)


async def test_a_peer_that_leaves_has_vanished_and_stays_so() -> None:
    async with client_of(after_welcome(text(Joined()), text(PeerLeft()))) as client:
        await client.join("7")
        with pytest.raises(PeerVanished):
            await client.recv(timeout_s=2.0)
        with pytest.raises(PeerVanished):
            await client.recv(timeout_s=2.0)
        with pytest.raises(PeerVanished):
            await client.send(b"x")


async def test_a_peer_that_says_nothing_has_vanished_and_one_that_never_came_never_came() -> None:
    async with (
        HostileServer(after_welcome(text(Joined()))) as url,
        await SignalingClient.connect(url) as client,
    ):
        await client.join("7")
        with pytest.raises(PeerVanished, match=r"nothing for 0\.1 s"):
            await client.recv(timeout_s=0.1)
    async with client_of(after_welcome(text(Allocated("7")))) as client:
        await client.allocate()
        with pytest.raises(PeerNeverCame):
            await client.wait_for_peer(timeout_s=0.1)


async def send_without_end(client: SignalingClient) -> None:
    while True:
        await client.send(bytes(12_000))


async def test_a_server_that_stops_reading_does_not_hold_the_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signaling_client, "REPLY_TIMEOUT_S", 0.3)

    async def script(wire: Wire) -> None:
        await wire.welcome()
        await wire.raw(text(Joined()))
        await asyncio.sleep(LIMIT_S)

    async with client_of(script) as client:
        await client.join("7")
        with pytest.raises(ServerUnreachable, match="took nothing"):
            await send_without_end(client)


async def test_asking_again_finds_a_sender_that_started_later() -> None:
    asked = []

    async def script(wire: Wire) -> None:
        await wire.welcome()
        for answer in (Error("unknown-nameplate"), Error("unknown-nameplate"), Joined()):
            asked.append(await wire.hear())
            await wire.raw(text(answer))
        await wire.silence()

    async with client_of(script) as client:
        await client.join("4821", wait_s=5.0)
    assert asked == [Join("4821")] * 3


# Several addresses.


async def test_the_first_address_to_answer_wins_whatever_the_others_do() -> None:
    async with AsyncExitStack() as stack:
        scripts = (Wire.silence, http("404 Not Found"), after_welcome())
        urls = [await stack.enter_async_context(HostileServer(script)) for script in scripts]
        client = await SignalingClient.connect_any(urls, timeout_s=2.0)
        assert client.url == urls[2]
        await client.close()


async def test_when_no_address_answers_the_first_ones_error_is_told() -> None:
    async with HostileServer(http("404 Not Found")) as wrong, HostileServer(http("503 Full", "full")) as full:
        with pytest.raises(ServerProtocolError):
            await SignalingClient.connect_any([wrong, full], timeout_s=2.0)
