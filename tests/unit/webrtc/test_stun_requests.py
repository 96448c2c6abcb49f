"""webrtc.stun_requests: until when a request is repeated, and what counts as its answer."""

from __future__ import annotations

import asyncio

import pytest
from aioice import stun

from tallow_cli.webrtc.stun_requests import StunRequest

SERVER = ("192.0.2.1", 3478)


def message(kind: stun.Class, **attributes: object) -> stun.Message:
    return stun.Message(stun.Method.BINDING, kind, attributes=dict(attributes))


async def test_it_is_sent_until_it_is_answered() -> None:
    sent = 0

    def send() -> None:
        nonlocal sent
        sent += 1
        if sent == 3:
            request.response_received(message(stun.Class.RESPONSE), SERVER)

    request = StunRequest(send, lambda _message, address: address == SERVER)
    answer, address = await request.answered(iter([0.0, 0.0, 0.0, 3600.0]))
    assert (sent, address) == (3, SERVER)
    assert answer.message_class == stun.Class.RESPONSE
    request.response_received(message(stun.Class.RESPONSE), SERVER)  # to a repetition


async def test_what_is_no_answer_is_passed_over_and_a_no_is_raised() -> None:
    request = StunRequest(lambda: None, lambda _message, address: address == SERVER)
    waiting = asyncio.create_task(request.answered(iter([3600.0])))
    await asyncio.sleep(0)
    request.response_received(message(stun.Class.RESPONSE), ("198.51.100.1", 1))
    assert not waiting.done()
    request.response_received(message(stun.Class.ERROR, **{"ERROR-CODE": (437, "no")}), SERVER)
    with pytest.raises(stun.TransactionFailed, match="437"):
        await waiting


async def test_behind_the_last_pause_it_is_given_up() -> None:
    with pytest.raises(stun.TransactionTimeout):
        await StunRequest(lambda: None, lambda _message, _address: True).answered(iter([0.0, 0.0]))


async def test_whoever_knows_that_no_answer_will_come_ends_it() -> None:
    request = StunRequest(lambda: None, lambda _message, _address: True)
    waiting = asyncio.create_task(request.answered(iter([3600.0])))
    await asyncio.sleep(0)
    request.fail(ConnectionError("it closed"))
    with pytest.raises(ConnectionError, match="it closed"):
        await waiting
