"""What signaling says: one typed and bounded JSON text per WebSocket message (docs/spec/signaling.md).

    client -> server            server -> client
    hello     version           welcome      version, stun_port?
    allocate  nameplate?        allocated    nameplate
    join      nameplate         joined       ice_servers?
    relay     body              peer-joined  ice_servers?
                                relayed      body
                                peer-left
                                error        code, message

A `body` is opaque: the server copies it to the other member of the room and cannot read it. Both sides treat
what they receive as hostile: the `decode_…_untrusted` functions return a valid message or raise
`MalformedMessage`, and nothing else. `encode` takes trusted values; a body over `MAX_BODY_BYTES` is the
caller's error.
"""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

PROTOCOL_VERSION = 1
DEFAULT_PORT = 8765

MAX_MESSAGE_BYTES = 16 * 1024  # both directions; a sealed description with 32 candidates stays under 4 KiB
MAX_BODY_BYTES = 12_000  # base64 makes 16,000 of them, which leaves room for the envelope
MAX_ICE_SERVERS = 6  # by UDP, TCP and TLS, over IPv4 and IPv6
MAX_URL_CHARS = 300
MAX_CREDENTIAL_CHARS = 256
MAX_ERROR_CHARS = 200
MAX_DETAIL_CHARS = 120  # of a decoder's complaint, which may quote the sender

# A code begins with a number; two sides that have met once meet again under a token, 128 bits that both derived from
# their key. Both are safe as file names and as DNS labels.
UNGUESSABLE_PATTERN = r"[a-z2-7]{26}"
NAMEPLATE_PATTERN = rf"\A(?:[1-9][0-9]{{0,8}}|{UNGUESSABLE_PATTERN})\Z"

Nameplate = Annotated[str, Meta(pattern=NAMEPLATE_PATTERN)]
Version = Annotated[int, Meta(ge=1, le=65_535)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Body = Annotated[bytes, Meta(max_length=MAX_BODY_BYTES)]


class CloseCode(IntEnum):
    """Why the server closes a connection, beyond RFC 6455's own codes (4000-4999 are for applications)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    BAD_MESSAGE = 4400
    TOO_SLOW = 4408
    LIMIT = 4429
    VERSION = 4505


class ErrorCode(StrEnum):
    """The `code` of an error. Clients treat one they do not know as a refusal."""

    BAD_MESSAGE = "bad-message"
    UNSUPPORTED_VERSION = "unsupported-version"
    UNKNOWN_NAMEPLATE = "unknown-nameplate"
    NAMEPLATE_TAKEN = "nameplate-taken"
    NOT_IN_ROOM = "not-in-room"
    ROOM_EXPIRED = "room-expired"
    ROOM_LIMIT = "room-limit"
    RATE_LIMITED = "rate-limited"
    SERVER_FULL = "server-full"
    TOO_SLOW = "too-slow"


class _Message(msgspec.Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    pass


class Hello(_Message, frozen=True, tag="hello"):
    """First message of every client."""

    version: Version


class Allocate(_Message, frozen=True, tag="allocate"):
    """Open a room, under a nameplate of the server's choice or the client's own. Leaves any room it is in."""

    nameplate: Nameplate | None = None


class Join(_Message, frozen=True, tag="join"):
    """Enter the room that waits under this nameplate, which burns it. Leaves any room it is in."""

    nameplate: Nameplate


class Relay(_Message, frozen=True, tag="relay"):
    """Pass `body` to the other member of the room."""

    body: Body


class Welcome(_Message, frozen=True, tag="welcome", omit_defaults=True):
    """First message of every server, sent without waiting for the hello. `stun_port`: where the same host answers STUN
    Binding requests over UDP (RFC 8489), if it does. `has_relays`: whether two that have met are named relays, so that
    whoever can use nothing else need not wait in vain. `other_stun_port` answers like the first: what it sees differs
    where a NAT gives every destination another port.
    """

    version: Version
    stun_port: Port | None = None
    has_relays: bool = False
    other_stun_port: Port | None = None


class Allocated(_Message, frozen=True, tag="allocated"):
    nameplate: Nameplate


class IceServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A relay (TURN) that its members may use, with credentials that end."""

    url: Annotated[str, Meta(max_length=MAX_URL_CHARS)]
    username: Annotated[str, Meta(max_length=MAX_CREDENTIAL_CHARS)]
    credential: Annotated[str, Meta(max_length=MAX_CREDENTIAL_CHARS)]

    def __repr__(self) -> str:
        return f"<IceServer {self.url}>"  # no log shall have its credential


IceServers = Annotated[tuple[IceServer, ...], Meta(max_length=MAX_ICE_SERVERS)]


class Joined(_Message, frozen=True, tag="joined", omit_defaults=True):
    ice_servers: IceServers = ()


class PeerJoined(_Message, frozen=True, tag="peer-joined", omit_defaults=True):
    ice_servers: IceServers = ()


class Relayed(_Message, frozen=True, tag="relayed"):
    body: Body


class PeerLeft(_Message, frozen=True, tag="peer-left"):
    """The other member is gone, and the room with it."""


class Error(_Message, frozen=True, tag="error"):
    """`message` is for people reading the wire; clients have their own sentences."""

    code: Annotated[str, Meta(pattern=r"\A[a-z-]{1,40}\Z")]
    message: Annotated[str, Meta(max_length=MAX_ERROR_CHARS)] = ""


ClientMessage = Hello | Allocate | Join | Relay
ServerMessage = Welcome | Allocated | Joined | PeerJoined | Relayed | PeerLeft | Error


class MalformedMessage(ValueError):
    """Bytes that are not a message of this protocol. The text may quote them: untrusted."""


_from_client: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_from_server: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)
_encoder = msgspec.json.Encoder()
_nameplate = re.compile(NAMEPLATE_PATTERN)
_token = re.compile(UNGUESSABLE_PATTERN)

M = TypeVar("M")


def encode(message: ClientMessage | ServerMessage) -> str:
    """The text to put into one WebSocket message.

    Raises ValueError for a body that no receiver would accept.
    """
    if isinstance(message, Relay | Relayed) and len(message.body) > MAX_BODY_BYTES:
        raise ValueError(f"a body is at most {MAX_BODY_BYTES} bytes, not {len(message.body)}")
    return _encoder.encode(message).decode()


def decode_client_message_untrusted(data: str | bytes) -> ClientMessage:
    """What a client sent. Raises MalformedMessage."""
    return _decode_untrusted(_from_client, data)


def decode_server_message_untrusted(data: str | bytes) -> ServerMessage:
    """What a server sent. Raises MalformedMessage."""
    return _decode_untrusted(_from_server, data)


def is_nameplate(text: str) -> bool:
    return _nameplate.match(text) is not None


def is_token(nameplate: str) -> bool:
    """Whether it is one that nobody can guess, or choose by chance."""
    return _token.fullmatch(nameplate) is not None


def _decode_untrusted(decoder: msgspec.json.Decoder[M], data: str | bytes) -> M:
    if isinstance(data, bytes):
        raise MalformedMessage("a binary message")
    if len(data) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(f"a message of {len(data)} characters")
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise MalformedMessage(str(error)[:MAX_DETAIL_CHARS]) from None
    except RecursionError:
        raise MalformedMessage("nested too deeply") from None
