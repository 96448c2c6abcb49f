"""The exchange takes exactly the shares that an honest peer can send."""

from __future__ import annotations

import pytest
from spake2 import ed25519_basic

from tallow_cli.crypto.pake import KEY_BYTES, SHARE_BYTES, Side, Spake2Exchange
from tallow_cli.errors import PeerProtocolError
from tests.support.entropy import SeededEntropy

IDENTITIES = (b"joiner", b"host")
PRIME = 2**255 - 19
SIGN = 1 << 255


def _exchange(
    side: Side, secret: bytes = b"acorn-blend-crisp", identities: tuple[bytes, bytes] = IDENTITIES
) -> Spake2Exchange:
    return Spake2Exchange(side, secret, identities, SeededEntropy(f"{side} {secret!r}"))


def _keys(joiner: Spake2Exchange, host: Spake2Exchange) -> tuple[bytes, bytes]:
    return joiner.finish(host.share), host.finish(joiner.share)


def _encoded(y: int) -> bytes:
    return y.to_bytes(32, "little")


def test_the_same_secret_gives_the_same_key() -> None:
    at_joiner, at_host = _keys(_exchange(Side.JOINER), _exchange(Side.HOST))
    assert at_joiner == at_host
    assert len(at_joiner) == KEY_BYTES


def test_another_secret_gives_unrelated_keys() -> None:
    at_joiner, at_host = _keys(_exchange(Side.JOINER, b"acorn-blend-crisq"), _exchange(Side.HOST))
    assert at_joiner != at_host


def test_other_identities_give_unrelated_keys() -> None:
    at_joiner, at_host = _keys(_exchange(Side.JOINER, identities=(b"joiner", b"else")), _exchange(Side.HOST))
    assert at_joiner != at_host


def _low_order_points() -> dict[str, bytes]:
    """Every encoding, canonical or not, of the eight points whose order divides the cofactor."""
    order_8_y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
    return {
        f"order {order}, y {y}{', sign set' if sign else ''}": _encoded(y + sign)
        for order, ys in {
            1: (1, PRIME + 1),
            2: (PRIME - 1,),
            4: (0, PRIME),
            8: (order_8_y, PRIME - order_8_y),
        }.items()
        for y in ys
        for sign in (0, SIGN)
    }


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    "point", [pytest.param(point, id=name) for name, point in _low_order_points().items()]
)
def test_points_of_low_order_are_refused_in_every_spelling(point: bytes, side: Side) -> None:
    other = Side.HOST if side is Side.JOINER else Side.JOINER
    with pytest.raises(PeerProtocolError):
        _exchange(side).finish(other.value + point)


@pytest.mark.parametrize("name", _low_order_points())
def test_the_points_tried_above_are_of_the_order_they_claim(name: str) -> None:
    y = (int.from_bytes(_low_order_points()[name], "little") & ~SIGN) % PRIME
    point = ed25519_basic.xform_affine_to_extended((ed25519_basic.xrecover(y), y))
    assert ed25519_basic.isoncurve(ed25519_basic.xform_extended_to_affine(point))
    element = ed25519_basic.ElementOfUnknownGroup(point)
    zero_at = [n for n in (1, 2, 4, 8) if ed25519_basic.is_extended_zero(element.scalarmult(n).XYTZ)]
    assert f"order {zero_at[0]}," in name


def test_the_package_still_takes_the_neutral_element_misspelled_so_our_check_is_needed() -> None:
    for misspelled in (_encoded(1 + SIGN), _encoded(PRIME + 1)):
        element = ed25519_basic.bytes_to_element(misspelled)
        assert ed25519_basic.is_extended_zero(element.XYTZ)


def test_a_point_outside_the_prime_order_subgroup_is_refused() -> None:
    base = ed25519_basic.Base
    order_2 = ed25519_basic.ElementOfUnknownGroup((0, PRIME - 1, 1, 0))
    mixed = ed25519_basic.ElementOfUnknownGroup(base.XYTZ).add(order_2)
    with pytest.raises(PeerProtocolError):
        _exchange(Side.JOINER).finish(b"B" + mixed.to_bytes())


def test_bytes_that_are_no_point_are_refused() -> None:
    def on_curve(y: int) -> bool:
        return ed25519_basic.isoncurve((ed25519_basic.xrecover(y), y))

    off_curve = next(y for y in range(2, 100) if not on_curve(y))
    with pytest.raises(PeerProtocolError):
        _exchange(Side.JOINER).finish(b"B" + _encoded(off_curve))
    with pytest.raises(PeerProtocolError):
        _exchange(Side.JOINER).finish(b"B" + b"\xff" * 32)


@pytest.mark.parametrize("length", [0, 1, 2, 31, 32, 34, 65, 1000])
def test_a_share_of_another_length_is_refused(length: int) -> None:
    share = (_exchange(Side.HOST).share * 40)[:length]
    with pytest.raises(PeerProtocolError):
        _exchange(Side.JOINER).finish(share)


def test_our_own_share_reflected_is_refused_under_either_side_byte() -> None:
    for side_byte in (b"A", b"B", b"S", b"\x00"):
        joiner = _exchange(Side.JOINER)
        with pytest.raises(PeerProtocolError):
            joiner.finish(side_byte + joiner.share[1:])


def test_a_share_for_the_other_role_is_refused() -> None:
    host = _exchange(Side.HOST)
    for side_byte in (b"A", b"S"):
        with pytest.raises(PeerProtocolError):
            _exchange(Side.JOINER).finish(side_byte + host.share[1:])


def test_an_exchange_finishes_once() -> None:
    joiner, host = _exchange(Side.JOINER), _exchange(Side.HOST)
    joiner.finish(host.share)
    with pytest.raises(RuntimeError):
        joiner.finish(host.share)


def test_all_randomness_comes_from_the_entropy_it_is_given() -> None:
    assert _exchange(Side.HOST).share == _exchange(Side.HOST).share
    assert len(_exchange(Side.HOST).share) == SHARE_BYTES
    other = Spake2Exchange(Side.HOST, b"acorn-blend-crisp", IDENTITIES, SeededEntropy("other"))
    assert other.share != _exchange(Side.HOST).share
