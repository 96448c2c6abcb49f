"""Every key has one use; the link confirmation proves where the connection ends."""

from __future__ import annotations

import pytest

from signaling.protocol import is_token
from tallow_cli.crypto.keys import KeySchedule, Role, SessionKeys, Transcript
from tallow_cli.errors import PeerProtocolError

HOST_FP, JOINER_FP, OTHER_FP = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32


def _schedule(transcript: bytes = bytes(64)) -> KeySchedule:
    return KeySchedule(bytes(32), bytes(32), transcript)


def _pair() -> tuple[SessionKeys, SessionKeys]:
    schedule = _schedule()
    return schedule.session_keys(Role.HOST, bytes(64)), schedule.session_keys(Role.JOINER, bytes(64))


def test_no_two_uses_directions_contexts_or_roots_share_a_key() -> None:
    derived = [
        schedule.derive(use, role, context)
        for schedule in (
            _schedule(),
            _schedule(b"\x01" * 64),
            KeySchedule(b"\x01" * 32, bytes(32), bytes(64)),
        )
        for use in ("confirm", "description", "packets", "link", "verifier", "resume")
        for role in (None, *Role)
        for context in (b"", bytes(64), b"\x01" * 64)
    ]
    assert len(set(derived)) == len(derived)
    assert {len(key) for key in derived} == {32}


def test_what_one_side_seals_with_the_other_opens_with() -> None:
    host, joiner = _pair()
    assert (host.seal_key, host.open_key) == (joiner.open_key, joiner.seal_key)
    assert host.seal_key != host.open_key
    assert host.verifier == joiner.verifier
    assert host.verifier_words() == joiner.verifier_words()
    assert len(host.verifier_words()) == 4


def test_histories_that_concatenate_alike_hash_apart() -> None:
    assert Transcript(b"ab", b"c").digest() != Transcript(b"a", b"bc").digest()
    assert Transcript(b"abc").digest() != Transcript(b"abc", b"").digest()
    stepwise = Transcript(b"ab")
    stepwise.append(b"c")
    assert stepwise.digest() == Transcript(b"ab", b"c").digest()


def test_the_link_is_confirmed_between_the_two_certificates() -> None:
    host, joiner = _pair()
    from_host = host.link_confirmation(Role.HOST, HOST_FP, JOINER_FP)
    from_joiner = joiner.link_confirmation(Role.JOINER, JOINER_FP, HOST_FP)
    joiner.verify_link_confirmation(Role.JOINER, JOINER_FP, HOST_FP, from_host)
    host.verify_link_confirmation(Role.HOST, HOST_FP, JOINER_FP, from_joiner)
    assert len(from_host) == 32
    assert from_host != from_joiner


def test_a_link_that_ends_elsewhere_is_refused() -> None:
    host, joiner = _pair()
    for own, peer in [(HOST_FP, OTHER_FP), (OTHER_FP, JOINER_FP), (JOINER_FP, HOST_FP)]:
        with pytest.raises(PeerProtocolError, match="does not end at the machine"):
            joiner.verify_link_confirmation(
                Role.JOINER, JOINER_FP, HOST_FP, host.link_confirmation(Role.HOST, own, peer)
            )


def test_a_reflected_truncated_or_empty_link_confirmation_is_refused() -> None:
    host, _ = _pair()
    own = host.link_confirmation(Role.HOST, HOST_FP, JOINER_FP)
    # A reflecting attacker also lies about the certificates: both ends see the same pair, in either order.
    for received in (own, own[:31], own + b"\x00", b"", bytes(32)):
        for peer in (JOINER_FP, HOST_FP):
            with pytest.raises(PeerProtocolError):
                host.verify_link_confirmation(Role.HOST, HOST_FP, peer, received)


def test_fingerprints_may_be_bytes_or_sdp_text() -> None:
    host, _ = _pair()
    as_text = ":".join(f"{byte:02X}" for byte in JOINER_FP)
    assert host.link_confirmation(Role.HOST, HOST_FP, as_text) == host.link_confirmation(
        Role.HOST, HOST_FP, JOINER_FP
    )
    for wrong in (b"\x01" * 31, "AB:CD", "not hex"):
        with pytest.raises(ValueError):
            host.link_confirmation(Role.HOST, HOST_FP, wrong)


def test_keys_know_whose_they_are() -> None:
    host, _ = _pair()
    with pytest.raises(ValueError, match="the host's keys"):
        host.link_confirmation(Role.JOINER, HOST_FP, JOINER_FP)


def test_keys_are_not_printed() -> None:
    host, _ = _pair()
    assert repr(host) == f"SessionKeys(role={Role.HOST!r})"


# Meeting again


def test_both_sides_derive_the_same_place_and_password_to_meet_again() -> None:
    keys = [
        KeySchedule(bytes(32), bytes(32), bytes(64)).session_keys(role, bytes(64))
        for role in (Role.HOST, Role.JOINER)
    ]
    host, joiner = (each.rendezvous() for each in keys)
    assert host == joiner
    assert len(host.secret) == 32
    assert is_token(host.nameplate)
    assert is_token(host.announced_as)
    assert host.nameplate != host.announced_as
    assert host.nameplate not in repr(host)


def test_another_handshake_leads_to_another_place() -> None:
    first, second = (
        KeySchedule(bytes(32), bytes(32), digest).session_keys(Role.HOST, digest).rendezvous()
        for digest in (bytes(64), bytes(63) + b"\1")
    )
    assert len({first.nameplate, first.announced_as, second.nameplate, second.announced_as}) == 4
    assert first.secret != second.secret
