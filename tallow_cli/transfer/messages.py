"""The control messages of a transfer: msgpack maps with a `type`, cut into CONTROL frames on channel 0.

Encoded messages are bounded; a message larger than one packet is fragmented, and `ControlAssembler` puts it
together again. Everything decoded here is an untrusted peer's word: PeerProtocolError, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from tallow_cli.errors import PeerProtocolError
from tallow_cli.measure.account import Verdict
from tallow_cli.measure.causes import BY_NUMBER, Cause
from tallow_cli.measure.diagnosis import EndUse
from tallow_cli.measure.path_summary import PathSummary
from tallow_cli.offer.manifest import MAX_ENTRIES, MAX_MANIFEST_BYTES
from tallow_cli.offer.name_rules import NameRules
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.frames import MAX_OFFSET

PROTOCOL_VERSION = 1
DIGEST_BYTES = 32  # BLAKE3
MAX_CONTROL_BYTES = MAX_MANIFEST_BYTES + 1024  # the manifest is the largest thing said
MAX_LATER_BYTES = 64 * 1024  # of a message after the Offer: Digests are the largest
MAX_ANSWER_BYTES = 4 * 1024 * 1024  # of the receiver's answer: an Accept with all its ranges
MAX_DIGESTS = 1024  # in one message: 33 KiB, so that digests flow while data does
# In an Accept. What is held after a reconnect is what was claimed and proven, and the islands that loss left of a full
# window, at most 30,000.
MAX_HELD_RANGES = 131_072
MAX_CLAIMED_RANGES = 65_536
MAX_KEPT_BYTES = MAX_ENTRIES // 8  # a bit for each file
MAX_WANTED_RANGES = 1024  # in one message: 19 KiB
NOT_PROVEN = bytes(
    DIGEST_BYTES
)  # in place of the digest of a piece that cannot be read: its file is withdrawn
MAX_SENTENCE = 1000  # characters of a text meant for the peer's user
CONTROL_FRAGMENT_BYTES = 16_384  # one CONTROL frame: small beside data, so that control is never far behind

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_OFFSET)]
_MOST_MICROS: Final = 0xFFFF_FFFF
_Micros = Annotated[int, msgspec.Meta(ge=0, le=_MOST_MICROS)]
_Millionths = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
_Sentence = Annotated[str, msgspec.Meta(max_length=MAX_SENTENCE)]
_Kind = Annotated[str, msgspec.Meta(max_length=40)]
_Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
_Digests = Annotated[tuple[_Digest, ...], msgspec.Meta(min_length=1, max_length=MAX_DIGESTS)]
_Range = tuple[_Count, _Count]  # half-open
_CauseNumber = Annotated[int, msgspec.Meta(ge=1, le=len(Cause))]
_Share = tuple[_CauseNumber, _Millionths]
_Shares = Annotated[tuple[_Share, ...], msgspec.Meta(max_length=len(Cause))]
_Millis = Annotated[int, msgspec.Meta(ge=0, le=_MOST_MICROS)]


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    pass


class Why(StrEnum):
    """Why a file that was offered does not come after all."""

    VANISHED = "vanished"
    UNREADABLE = "unreadable"
    CHANGED = "changed"  # rewritten, cut short, or another file took its place while it was read


class Ready(_Message, frozen=True, tag="ready"):
    """Receiver, first of all: offer me something. Where it would go, names have to keep these rules."""

    version: int
    names: NameRules


class Offer(_Message, frozen=True, tag="offer"):
    """Sender: this is what I would send."""

    version: int
    manifest: Annotated[bytes, msgspec.Meta(max_length=MAX_MANIFEST_BYTES)]


class Accept(_Message, frozen=True, tag="accept"):
    """Receiver: send it, up to `credit` distinct bytes for now.

    Not the ranges of the stream in `held`, nor the files in `kept` (see `pack_kept`): it has them. Not for now what is
    in `claims`: something is there, and the digests of its pieces shall tell whether it is the same.
    """

    credit: _Count
    held: Annotated[tuple[_Range, ...], msgspec.Meta(max_length=MAX_HELD_RANGES)] = ()
    kept: Annotated[bytes, msgspec.Meta(max_length=MAX_KEPT_BYTES)] = b""
    claims: Annotated[tuple[_Range, ...], msgspec.Meta(max_length=MAX_CLAIMED_RANGES)] = ()


class Refuse(_Message, frozen=True, tag="refuse"):
    """Receiver: I do not take it. `kind` is the name of an exit code (`errors`): whether a person said no, or something
    is amiss here that can be mended.
    """

    kind: _Kind
    reason: _Sentence


class Digests(_Message, frozen=True, tag="digests"):
    """Sender: the digests of `first` and of the files after it that are neither kept nor withdrawn, after reading
    them."""

    first: _Count
    digests: _Digests


class PieceDigests(_Message, frozen=True, tag="piece-digests"):
    """Sender: the digests of the claimed pieces `first`, `first + 1`, …; NOT_PROVEN for one of a withdrawn file."""

    first: _Count
    digests: _Digests


class Want(_Message, frozen=True, tag="want"):
    """Receiver: what it claimed of these ranges is not what the sender has: send them after all."""

    ranges: Annotated[tuple[_Range, ...], msgspec.Meta(min_length=1, max_length=MAX_WANTED_RANGES)]


class Withdraw(_Message, frozen=True, tag="withdraw"):
    """Sender: the file `index` does not come, in place of its digest. Its first `size` bytes in the stream are sent all
    the same, for whatever they are, but for what is claimed of them; the rest never will be."""

    index: _Count
    size: _Count
    why: Why


class StreamEnd(_Message, frozen=True, tag="stream-end"):
    """Sender: the stream of unknown length has this many bytes."""

    total: _Count


class PathReport(_Message, frozen=True, tag="path-report"):
    """Sender: what I measured of the path, for the receiver's user. It decides nothing. See `PathSummary`."""

    rtt_us: _Micros
    jitter_us: _Micros
    avg_rtt_us: _Micros
    min_rtt_us: _Micros
    max_rtt_us: _Micros
    avg_loss_ppm: _Millionths  # of network packets
    max_loss_ppm: _Millionths

    @classmethod
    def of(cls, path: PathSummary) -> PathReport:
        times = (path.rtt_s, path.jitter_s, path.avg_rtt_s, path.min_rtt_s, path.max_rtt_s)
        losses = (path.avg_loss, path.max_loss)
        return cls(
            *(min(round(time_s * 1e6), _MOST_MICROS) for time_s in times),
            *(min(round(loss * 1e6), 1_000_000) for loss in losses),
        )

    @property
    def path(self) -> PathSummary:
        return PathSummary(
            self.rtt_us / 1e6,
            self.jitter_us / 1e6,
            self.avg_rtt_us / 1e6,
            self.min_rtt_us / 1e6,
            self.max_rtt_us / 1e6,
            self.avg_loss_ppm / 1e6,
            self.max_loss_ppm / 1e6,
        )


class UseReport(_Message, frozen=True, tag="use-report"):
    """Receiver: what I was at lately. It decides nothing but what people are told. See `EndUse`."""

    core_ppm: _Millionths
    robbed_ppm: _Millionths
    blocked: _Shares

    @classmethod
    def of(cls, use: EndUse) -> UseReport:
        blocked = ((cause.number, _ppm(share)) for cause, share in use.blocked.items())
        return cls(_ppm(use.core), _ppm(use.robbed), tuple(each for each in blocked if each[1]))

    @property
    def use(self) -> EndUse:
        blocked = {BY_NUMBER[number]: share / 1e6 for number, share in self.blocked}
        return EndUse(self.core_ppm / 1e6, self.robbed_ppm / 1e6, blocked)


class VerdictReport(_Message, frozen=True, tag="verdict"):
    """Sender: where the time went, lately and in all, for the receiver's user. It decides nothing. See `Verdict`."""

    window_ms: _Millis
    since_ms: _Millis
    shares: Annotated[tuple[_Share, ...], msgspec.Meta(min_length=1, max_length=len(Cause))]
    whole_ms: _Millis
    whole: Annotated[tuple[_Share, ...], msgspec.Meta(min_length=1, max_length=len(Cause))]

    @classmethod
    def of(cls, recent: Verdict, whole: Verdict) -> VerdictReport:
        return cls(
            _millis(recent.window_s),
            _millis(recent.since_s),
            tuple((cause.number, _ppm(share)) for cause, share in recent.shares),
            _millis(whole.window_s),
            tuple((cause.number, _ppm(share)) for cause, share in whole.shares),
        )

    @property
    def recent_verdict(self) -> Verdict:
        return _verdict(self.shares, self.window_ms, self.since_ms)

    @property
    def whole_verdict(self) -> Verdict:
        return _verdict(self.whole, self.whole_ms, self.whole_ms)


def _verdict(shares: tuple[_Share, ...], window_ms: int, since_ms: int) -> Verdict:
    told = tuple((BY_NUMBER[number], share / 1e6) for number, share in shares)
    return Verdict(told[0][0], told[0][1], window_ms / 1e3, told, since_ms / 1e3)


def _ppm(share: float) -> int:
    return min(max(round(share * 1e6), 0), 1_000_000)


def _millis(seconds: float) -> int:
    return min(max(round(seconds * 1e3), 0), _MOST_MICROS)


class Complete(_Message, frozen=True, tag="complete"):
    """Receiver: every file that was not withdrawn is verified, synced and under its name.

    `total` is the length of the stream, `files` counts those files.
    """

    total: _Count
    files: _Count


class Bye(_Message, frozen=True, tag="bye"):
    """Sender: I have read your Complete; you may close."""


class Failed(_Message, frozen=True, tag="failed"):
    """Either: I met an error of my own. `kind` is the name of an exit code (`errors`)."""

    kind: _Kind
    sentence: _Sentence


class Cancel(_Message, frozen=True, tag="cancel"):
    """Either: my user stopped it."""


ControlMessage = (
    Ready
    | Offer
    | Accept
    | Refuse
    | Digests
    | PieceDigests
    | Want
    | Withdraw
    | StreamEnd
    | PathReport
    | UseReport
    | VerdictReport
    | Complete
    | Bye
    | Failed
    | Cancel
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[ControlMessage] = msgspec.msgpack.Decoder(ControlMessage)


def encode_message(message: ControlMessage) -> bytes:
    return _encoder.encode(message)


def decode_message_untrusted(data: bytes | bytearray | memoryview) -> ControlMessage:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"a control message that cannot be read: {error}") from None


def pack_kept(kept: RangeSet) -> bytes:
    """The wire form of a set of file indexes: bit i % 8 of byte i // 8 is file i; no zero byte at the end."""
    digits = bytearray()
    for start, end in kept:
        digits += b"0" * (start - len(digits)) + b"1" * (end - start)
    digits.reverse()  # Python writes the highest bit first
    return int(digits or b"0", 2).to_bytes((len(digits) + 7) // 8, "little")


def unpack_kept_untrusted(packed: bytes) -> RangeSet:
    """The inverse of `pack_kept`. Raises PeerProtocolError."""
    if packed.endswith(b"\0"):
        raise PeerProtocolError("a set of kept files that ends with nothing")
    digits = f"{int.from_bytes(packed, 'little'):b}"[::-1]
    return RangeSet(run.span() for run in re.finditer("1+", digits))


def bounded_sentence(text: str) -> str:
    """`text` cut to what a peer accepts."""
    return text if len(text) <= MAX_SENTENCE else text[: MAX_SENTENCE - 1] + "…"


def fragments(encoded: bytes, fragment_bytes: int) -> Iterator[tuple[memoryview, bool]]:
    """Cuts an encoded message into (piece, more) for CONTROL frames."""
    view = memoryview(encoded)
    for start in range(0, len(view), fragment_bytes):
        yield view[start : start + fragment_bytes], start + fragment_bytes < len(view)


class ControlAssembler:
    """Puts the CONTROL frames of a peer together. Holds at most `limit_bytes`."""

    def __init__(self, limit_bytes: int = MAX_CONTROL_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._parts = bytearray()

    def feed(self, data: bytes | memoryview, *, more: bool) -> ControlMessage | None:
        """Takes the next fragment; returns the message once it is whole. Raises PeerProtocolError."""
        if len(self._parts) + len(data) > self._limit_bytes:
            raise PeerProtocolError(f"a control message of more than {self._limit_bytes} bytes")
        if more:
            self._parts += data
            return None
        if not self._parts:
            return decode_message_untrusted(data)
        whole, self._parts = self._parts, bytearray()
        whole += data  # in place: a manifest is large
        return decode_message_untrusted(whole)

    def expect_at_most(self, limit_bytes: int) -> None:
        """What comes from now on is small."""
        self._limit_bytes = limit_bytes
