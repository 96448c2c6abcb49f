"""What must hold for every input: reading codes, body bytes, sealed packets."""

from __future__ import annotations

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from tallow_cli.crypto import bodies, kem, pake, wordlist
from tallow_cli.crypto.bodies import Hello, ReplyOpening
from tallow_cli.crypto.codes import Code, complete, generate_code, parse_code
from tallow_cli.crypto.seal import PacketOpener, PacketSealer
from tallow_cli.errors import InvalidCode, PeerProtocolError, WrongCodeError

KEY = bytes(32)

nameplates = st.integers(1, 999_999_999).map(str)
codes = st.builds(
    Code, nameplates, st.lists(st.sampled_from(wordlist.words()), min_size=3, max_size=8).map(tuple)
)
separators = st.text(" -_.,:/|`'\u2013\u2014\u2011\u00a0\u00b7\u201c\u30fc\t\n", min_size=1, max_size=3)
names = st.from_regex(r"\A[a-z][a-z0-9\-]{0,31}\Z")
versions = st.text(string.ascii_letters + string.digits + ".+-_", min_size=1, max_size=64)
capabilities = st.frozensets(names, max_size=16)


def sized(count: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=count, max_size=count)


hellos = st.builds(
    Hello,
    suite=st.just(pake.SUITE_SPAKE2_ED25519),
    share=sized(pake.SHARE_BYTES),
    kem_public=st.binary(min_size=8, max_size=8).map(lambda seed: seed * (kem.PUBLIC_KEY_BYTES // 8)),
    nonce=sized(bodies.NONCE_BYTES),
    version=versions,
    protocols=st.lists(st.integers(0, 255), min_size=1, max_size=16).map(tuple),
    capabilities=capabilities,
)
openings = st.builds(
    ReplyOpening,
    share=sized(pake.SHARE_BYTES),
    kem_ciphertext=st.binary(min_size=8, max_size=8).map(lambda seed: seed * (kem.CIPHERTEXT_BYTES // 8)),
    nonce=sized(bodies.NONCE_BYTES),
    version=versions,
    protocol=st.integers(0, 255),
    capabilities=capabilities,
)


@given(codes, st.lists(separators, min_size=9, max_size=9), st.booleans())
def test_a_code_is_read_back_however_it_is_separated_and_cased(
    code: Code, between: list[str], upper: bool
) -> None:
    text = "".join(part + gap for part, gap in zip((code.nameplate, *code.words), between, strict=False))
    assert parse_code(text.upper() if upper else text) == code


@given(st.text(max_size=80) | st.from_regex(r"[0-9]{1,4}(-[a-z]{2,5}){3}", fullmatch=True))
def test_reading_is_stable_and_refuses_in_one_way(text: str) -> None:
    try:
        code = parse_code(text)
    except InvalidCode:
        return
    assert parse_code(str(code)) == code


@given(st.text(max_size=40) | codes.map(lambda code: str(code)[:-1]))
def test_every_completion_grows_into_a_code(prefix: str) -> None:
    for completed in complete(prefix)[:20]:
        missing = 4 - len(completed.split("-"))
        parse_code(completed + "-acid" * missing)


@given(st.lists(sized(2), min_size=40, max_size=40), nameplates)
def test_any_entropy_makes_a_readable_code(draws: list[bytes], nameplate: str) -> None:
    source = iter([*draws, bytes(2), bytes(2), bytes(2)])
    code = generate_code(nameplate, lambda size: next(source))
    assert parse_code(str(code)) == code


@given(hellos)
def test_a_hello_decodes_to_itself(hello: Hello) -> None:
    assert bodies.decode_hello_untrusted(bodies.encode_hello(hello)) == hello


@given(openings, sized(32), st.binary(min_size=16, max_size=200))
def test_a_reply_decodes_to_itself(opening: ReplyOpening, tag: bytes, sealed: bytes) -> None:
    opening_bytes = bodies.encode_reply_opening(opening)
    reply = bodies.decode_reply_untrusted(bodies.encode_reply(opening_bytes, tag, sealed))
    assert (reply.opening, reply.opening_bytes) == (opening, opening_bytes)
    assert (reply.tag, reply.sealed_description) == (tag, sealed)


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda kind, rest: bytes([kind, 1]) + rest, st.sampled_from(bodies.Kind), st.binary(max_size=99)
    )
)
def test_any_bytes_decode_or_are_refused_in_one_way(body: bytes) -> None:
    for decode in (
        bodies.decode_hello_untrusted,
        bodies.decode_reply_untrusted,
        bodies.decode_confirm_untrusted,
    ):
        try:
            decode(body)
        except (PeerProtocolError, WrongCodeError):
            continue


@given(
    st.integers(0, 255),
    st.integers(0, (1 << 56) - 1),
    st.binary(min_size=1, max_size=20),
    st.binary(max_size=300),
)
@settings(max_examples=200)
def test_every_packet_opens_to_what_was_sealed(
    channel: int, number: int, tail: bytes, payload: bytes
) -> None:
    header = b"\x01" + tail
    packet = PacketSealer(KEY).seal_packet(channel, number, header, payload)
    assert packet[: len(header)] == header
    assert PacketOpener(KEY).open(channel, number, header, packet[len(header) :]) == payload
