"""Hostile bytes with structure: SCTP packets, STUN, DTLS records, WebSocket frames. Everything from a given `rng`.

Mostly right and a little wrong finds more than noise does: what is refused at the first field tests one field.
"""

from __future__ import annotations

import random
import struct

from aioice import stun

from tests.support.hostile_peer import chunk, data_chunk, packet, parameter

LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 0xFF, 0x7FFF, 0xFFFC, 0xFFFF)
PPIDS = (50, 51, 53, 53, 53, 54, 56, 57, 0, 0xFFFFFFFF)


def some_bytes(rng: random.Random, most: int) -> bytes:
    return rng.randbytes(rng.randrange(most + 1))


def mutated(rng: random.Random, raw: bytes, most: int = 4) -> bytes:
    """A few bytes changed, cut off, repeated or added."""
    data = bytearray(raw)
    for _ in range(rng.randrange(most + 1)):
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[rng.randrange(len(data))] = rng.randrange(256)
        elif kind == 1 and data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data = data[: rng.randrange(len(data) + 1)]
        elif kind == 3:
            data += some_bytes(rng, 40)
        elif len(data) >= 2:
            at = rng.randrange(len(data) - 1)
            data[at : at + 2] = rng.choice(LENGTHS).to_bytes(2, "big")
    return bytes(data)


class SctpFuzzer:
    """Packets for an association: `tag` the victim's, `tsn` and `acked` near what it expects."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.tag = 0
        self.tsn = 0
        self.acked = 0
        self.own_tag = 1
        self.own_tsn = 1

    def packet(self) -> bytes:
        rng = self._rng
        chunks = [self._chunk() for _ in range(rng.choice((1, 1, 1, 2, 3, 8, 40)))]
        tag = rng.choice((self.tag,) * 12 + (0, 0, rng.randrange(1 << 32)))
        raw = packet(tag, *chunks)
        if rng.random() < 0.1:
            raw = raw[:8] + bytes(4) + raw[12:]  # a checksum of zero
        return mutated(rng, raw) if rng.random() < 0.05 else raw[:16_300]

    def _chunk(self) -> bytes:
        rng = self._rng
        makers = (
            [self._data] * 8
            + [self._sack] * 4
            + [self._forward] * 3
            + [self._init] * 2
            + [self._heartbeat] * 2
            + [self._reconfig] * 4
            + [self._other] * 2
        )
        raw = rng.choice(makers)()
        if rng.random() < 0.15:
            raw = mutated(rng, raw)
            raw += bytes(-len(raw) % 4)
        if rng.random() < 0.05 and len(raw) >= 4:
            raw = raw[:2] + rng.choice(LENGTHS).to_bytes(2, "big") + raw[4:]
        return raw

    def _near(self, centre: int) -> int:
        rng = self._rng
        far = rng.choice((1, 3, 20, 1000, 70_000, 1 << 31))
        return (centre + rng.randrange(-far, far + 1)) & 0xFFFFFFFF

    def _data(self) -> bytes:
        rng = self._rng
        tsn = self._near(self.tsn)
        if rng.random() < 0.5:
            tsn, self.tsn = self.tsn, (self.tsn + 1) & 0xFFFFFFFF
        content = self._dcep() if rng.random() < 0.2 else some_bytes(rng, rng.choice((0, 1, 8, 300, 1160)))
        stream = rng.choice((0, 1, 2, 3, 4, 5, 100, 65_535, rng.randrange(65_536)))
        return data_chunk(
            tsn,
            stream,
            rng.choice(PPIDS),
            content,
            ssn=rng.choice((0, 1, 2, 65_535)),
            flags=rng.randrange(16),
        )

    def _dcep(self) -> bytes:
        rng = self._rng
        label = some_bytes(rng, 30)
        sizes = (len(label), 0) if rng.random() < 0.7 else (rng.choice(LENGTHS), rng.choice(LENGTHS))
        return struct.pack("!BBHLHH", rng.choice((2, 3, 3, 3, 9)), rng.randrange(256), 0, 0, *sizes) + label

    def _sack(self) -> bytes:
        rng = self._rng
        gaps: list[int] = []
        at = 0
        for _ in range(rng.choice((0, 0, 1, 3, 20, 300))):
            at = min(65_535, at + rng.randrange(1, rng.choice((3, 50, 400))))
            end = min(65_535, at + rng.randrange(rng.choice((1, 5, 100))))
            gaps += [at, end]
            at = end
        if rng.random() < 0.15:
            gaps = [rng.randrange(65_536) for _ in gaps]
        duplicates = [self._near(self.acked) for _ in range(rng.choice((0, 0, 2, 40)))]
        counts = (len(gaps) // 2, len(duplicates))
        if rng.random() < 0.1:
            counts = (rng.choice(LENGTHS), rng.choice(LENGTHS))
        body = struct.pack(
            "!LLHH", self._near(self.acked), rng.choice((0, 1, 1500, 1 << 20, 0xFFFFFFFF)), *counts
        )
        body += struct.pack(f"!{len(gaps)}H{len(duplicates)}L", *gaps, *duplicates)
        return chunk(3, body)

    def _forward(self) -> bytes:
        rng = self._rng
        streams = [
            struct.pack("!HH", rng.choice((0, 1, 2, 3, rng.randrange(65_536))), rng.randrange(65_536))
            for _ in range(rng.choice((0, 1, 3, 300)))
        ]
        return chunk(192, struct.pack("!L", self._near(self.tsn)) + b"".join(streams))

    def _init(self) -> bytes:
        rng = self._rng
        tag = rng.choice((self.own_tag, self.own_tag, 0, rng.randrange(1 << 32)))
        tsn = rng.choice((self.own_tsn, self.own_tsn, self._near(self.own_tsn)))
        streams = rng.choice((0, 1, 10, 65_535))
        body = struct.pack("!LLHHL", tag, rng.choice((0, 1 << 20)), streams, rng.choice((0, 1, 65_535)), tsn)
        return chunk(rng.choice((1, 1, 2)), body + self._parameters((7, 0xC000, 0x8008, 0x8001, 5)))

    def _parameters(self, kinds: tuple[int, ...]) -> bytes:
        rng = self._rng
        made = []
        for _ in range(rng.choice((0, 1, 1, 2, 3, 50))):
            value = some_bytes(rng, rng.choice((0, 4, 30, 200)))
            lie = rng.choice(LENGTHS) if rng.random() < 0.15 else None
            made.append(parameter(rng.choice(kinds), value, lie))
        return b"".join(made)

    def _heartbeat(self) -> bytes:
        return chunk(self._rng.choice((4, 5)), self._parameters((1, 2)))

    def _reconfig(self) -> bytes:
        rng = self._rng
        made = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            kind = rng.choice((13, 13, 16, 16, 17, 14, 15, 18))
            if kind == 13:
                streams = [rng.choice((0, 1, 2, 3, 9, 65_535)) for _ in range(rng.choice((0, 1, 4, 100)))]
                # Resets of the channels in use end them, as the peer may; not in every packet.
                if rng.random() < 0.9:
                    streams = [each + 50 & 0xFFFF for each in streams]
                value = struct.pack(
                    f"!LLL{len(streams)}H",
                    self._near(self.tsn),
                    self._near(1),
                    self._near(self.tsn),
                    *streams,
                )
            elif kind == 16:
                value = struct.pack("!LL", self._near(self.acked + 1), rng.randrange(8)) + bytes(
                    rng.choice((0, 8))
                )
            else:
                value = some_bytes(rng, 12)
            made.append(parameter(kind, value, rng.choice(LENGTHS) if rng.random() < 0.1 else None))
        return chunk(130, b"".join(made))

    def _other(self) -> bytes:
        rng = self._rng
        # ABORT, SHUTDOWN and their kind do as they say: rarely, so that what comes after is tried as well.
        kind = rng.choice((8, 9, 10, 10, 11, 11, 14, 0x84, 64, 0x81, 0xC1, rng.randrange(256)))
        if kind in (6, 7) and rng.random() < 0.9:
            kind = 11
        return chunk(kind, some_bytes(rng, 40), rng.randrange(256))


def stun_message(rng: random.Random, ufrag: str = "ufra", pwd: str = "p" * 22) -> bytes:
    """A STUN message, perhaps a check with a right user name; with the right password only if it is given."""
    message = stun.Message(
        rng.choice((stun.Method.BINDING,) * 6 + tuple(stun.Method)),
        rng.choice((stun.Class.REQUEST,) * 4 + tuple(stun.Class)),
        rng.randbytes(12),
    )
    candidates = {
        "USERNAME": f"{ufrag}:peer",
        "PRIORITY": rng.randrange(1 << 32),
        "ICE-CONTROLLED": rng.randrange(1 << 64),
        "ICE-CONTROLLING": rng.randrange(1 << 64),
        "USE-CANDIDATE": None,
        "ERROR-CODE": (rng.choice((400, 401, 487, 438, 699)), "why"),
        "XOR-MAPPED-ADDRESS": (rng.choice(("192.0.2.1", "::1")), rng.randrange(65_536)),
        "SOFTWARE": "x" * rng.randrange(200),
        "NONCE": some_bytes(rng, 100),
        "LIFETIME": rng.randrange(1 << 32),
    }
    for name in rng.sample(sorted(candidates), rng.randrange(len(candidates) + 1)):
        message.attributes[name] = candidates[name]
    kind = rng.randrange(4)
    if kind:
        message.add_message_integrity(pwd.encode() if kind == 1 else rng.randbytes(22))
    return mutated(rng, bytes(message)) if rng.random() < 0.6 else bytes(message)


def dtls_records(rng: random.Random, genuine: bytes) -> bytes:
    """Records that may make sense: plain handshake, alerts, data of an epoch that is not, or `genuine` ones changed."""
    if genuine and rng.random() < 0.5:
        return mutated(rng, genuine)
    records = []
    for _ in range(rng.choice((1, 1, 2, 5, 60))):
        content = rng.choice(
            (
                b"\x01\x00",
                b"\x02\x28",
                b"\x01",
                some_bytes(rng, 60),
                b"\x01" + bytes(11) + some_bytes(rng, 200),
            )
        )
        size = rng.choice(LENGTHS) if rng.random() < 0.15 else len(content)
        epoch = rng.choice((0, 0, 1, 2, 0xFFFF))
        sequence = rng.randrange(1 << 48)
        header = struct.pack("!BHHQH", rng.randrange(18, 28), 0xFEFD, epoch, sequence, size)
        records.append(header[:5] + header[7:13] + header[13:] + content)
    return b"".join(records)[:60_000]


def websocket_frames(rng: random.Random, *, masked: bool, texts: list[str]) -> bytes:
    """Frames as RFC 6455 has them, and as it has not."""
    made = []
    for _ in range(rng.choice((1, 1, 3, 20, 200))):
        opcode = rng.choice((0, 1, 1, 1, 2, 8, 9, 10, 3, 11))
        payload = rng.choice(
            (b"", some_bytes(rng, 60), rng.choice(texts).encode(), struct.pack("!H", rng.randrange(5000)))
        )
        if rng.random() < 0.02:
            payload = bytes(rng.choice((125, 126, 16_384, 16_385, 65_536)))
        claimed = rng.choice((len(payload),) * 9 + (rng.randrange(70_000),))
        first = (0x80 if rng.random() < 0.8 else 0) | (
            rng.choice((0, 0, 0, 0x40, 0x10)) if rng.random() < 0.1 else 0
        )
        is_masked = masked if rng.random() < 0.97 else not masked
        bit = 0x80 if is_masked else 0
        if claimed < 126:
            head = bytes((first | opcode, bit | claimed))
        elif claimed < 65_536:
            head = struct.pack("!BBH", first | opcode, bit | 126, claimed)
        else:
            head = struct.pack("!BBQ", first | opcode, bit | 127, claimed << rng.choice((0, 0, 40)))
        mask = rng.randbytes(4) if is_masked else b""
        made.append(
            head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
            if mask
            else head + payload
        )
    raw = b"".join(made)
    return mutated(rng, raw) if rng.random() < 0.1 else raw
