"""What every foreign stack is tested for; each test class names its peer."""

from __future__ import annotations

import asyncio
import os
from typing import Any, ClassVar, Final

import pytest

from tallow_cli.link.link import LinkOptions
from tests.interop.ours import Message
from tests.interop.peer_process import Event, PeerProcess, running
from tests.interop.session import Session, exchange, session
from tests.support.link_end import LinkEnd
from tests.support.lossy_relay import Disturbance

SIZES: Final = (1, 1200, 65_536, 262_144)
KINDS: Final[dict[str, dict[str, Any]]] = {
    "reliable": {},
    "reliable-unordered": {"ordered": False},
    "unreliable": {"ordered": False, "max_retransmits": 0},
    "unreliable-ordered": {"max_retransmits": 0},
}
ATTEMPTS: Final = 10
POLLS: Final = 50  # of 10 ms, for each attempt
LOSSY: Final = Disturbance(loss=0.02, repeat=0.01, reorder=0.01)

offering = pytest.mark.parametrize("we_offer", [True, False], ids=["we-offer", "peer-offers"])


def random_messages(sizes: tuple[int, ...]) -> list[bytes]:
    return [os.urandom(size) for size in sizes]


def as_message(event: Event) -> Message:
    return Message(event["kind"], event["size"], event["digest"])


def received_by(peer: PeerProcess, label: str) -> list[Message]:
    return [as_message(event) for event in peer.of("message", label=label)]


async def send_ours(link: Session, label: str, messages: list[bytes]) -> list[Message]:
    for message in messages:
        link.us.channels[label].send(message)
    return [Message.of(message) for message in messages]


async def send_theirs(link: Session, label: str, sizes: tuple[int, ...]) -> list[str]:
    """The digests of what the peer sends."""
    before = len(link.peer.of("sent", label=label))
    link.peer.command("send", label=label, sizes=sizes)
    return list((await link.peer.wait("sent", before + 1, label=label))["digests"])


class PeerSuite:
    peer: ClassVar[str]
    # Whether what is queued when a channel is closed is still sent, as W3C WebRTC section 6.2.4 wants it.
    sends_before_closing: ClassVar[bool] = True
    # Whether an ordered stream goes on after a FORWARD-TSN, whatever had come before it.
    survives_ordered_forward_tsn: ClassVar[bool] = True
    # The largest message whose packets, sent at once, fit its socket's receive buffer.
    largest_unreliable: ClassVar[int] = 262_144

    @offering
    @pytest.mark.parametrize("kind", ["reliable", "reliable-unordered"])
    async def test_messages_of_all_sizes_arrive_whole_in_both_directions(
        self, peer_command: list[str], kind: str, we_offer: bool
    ) -> None:
        spec = {"id": 4, "label": "both", **KINDS[kind]}
        async with session(peer_command, we_offer=we_offer, ours=[spec], theirs=[spec]) as link:
            sent = await send_ours(link, "both", random_messages(SIZES))
            told = await send_theirs(link, "both", SIZES)
            await link.peer.wait("message", len(sent), label="both")
            theirs = await link.us.received("both", len(told))
            got = received_by(link.peer, "both")
            if kind == "reliable":
                assert got == sent
                assert [each.digest for each in theirs] == told
            assert sorted(got) == sorted(sent)
            assert sorted(each.digest for each in theirs) == sorted(told)

    @offering
    @pytest.mark.parametrize("kind", ["unreliable", "unreliable-ordered"])
    async def test_unreliable_messages_of_all_sizes_arrive_whole_in_both_directions(
        self, peer_command: list[str], kind: str, we_offer: bool
    ) -> None:
        spec = {"id": 4, "label": "both", **KINDS[kind]}
        async with session(peer_command, we_offer=we_offer, ours=[spec], theirs=[spec]) as link:
            for size in (size for size in SIZES if size <= self.largest_unreliable):
                sent = await self._until_arrived_ours(link, "both", size)
                told = await self._until_arrived_theirs(link, "both", size)
                got = [each for each in received_by(link.peer, "both") if each.size == size]
                theirs = [each.digest for each in link.us.messages["both"] if each.size == size]
                assert got == [each for each in sent if each in got]
                assert theirs == [each for each in told if each in theirs]

    @offering
    async def test_channels_opened_in_band_by_either_side_carry_text_and_empty_messages(
        self, peer_command: list[str], we_offer: bool
    ) -> None:
        ours = {"label": "ours", "protocol": "pqc-v1", "ordered": False, "max_retransmits": 0}
        theirs = {"label": "theirs", "protocol": "something", "max_retransmits": 3}
        async with session(peer_command, we_offer=we_offer, ours=[ours], theirs=[theirs]) as link:
            assert link.peer.of("open", label="ours")[0]["protocol"] == "pqc-v1"
            channel = link.us.channels["theirs"]
            assert (channel.protocol, channel.ordered, channel.maxRetransmits) == ("something", True, 3)
            texts = ["grüße", "", "\N{OWL}" * 1000]
            contents: list[str | bytes] = [*texts, b"", b"\0"]
            for content in contents:
                channel.send(content)
            link.peer.command("send_text", label="ours", texts=texts)
            await link.peer.wait("message", 5, label="theirs")
            assert sorted(received_by(link.peer, "theirs")) == sorted(Message.of(each) for each in contents)
            assert sorted(await link.us.received("ours", 3)) == sorted(Message.of(each) for each in texts)

    @offering
    @pytest.mark.parametrize("kind", ["reliable", "reliable-unordered"])
    async def test_on_a_path_that_loses_repeats_and_reorders_reliable_messages_all_arrive(
        self, peer_command: list[str], kind: str, we_offer: bool
    ) -> None:
        spec = {"id": 4, "label": "both", **KINDS[kind]}
        sizes = (65_536,) * 12 + (1, 1200) * 10
        async with session(
            peer_command, we_offer=we_offer, ours=[spec], theirs=[spec], relay=Disturbance()
        ) as link:
            link.disturb(LOSSY)
            told = await send_theirs(link, "both", sizes)
            sent = await send_ours(link, "both", random_messages(sizes))
            await link.peer.wait("message", len(sizes), label="both")
            theirs = await link.us.received("both", len(sizes))
            assert link.relay is not None
            assert link.relay.counters.lost > 0
            got = received_by(link.peer, "both")
            if kind == "reliable":
                assert got == sent
                assert [each.digest for each in theirs] == told
            assert sorted(got) == sorted(sent)
            assert sorted(each.digest for each in theirs) == sorted(told)

    @offering
    @pytest.mark.parametrize("kind", ["unreliable", "unreliable-ordered"])
    async def test_lost_unreliable_messages_are_given_up_whole_and_nothing_stalls_after_them(
        self, peer_command: list[str], kind: str, we_offer: bool
    ) -> None:
        spec = {"id": 4, "label": "lossy", **KINDS[kind]}
        control = {"id": 6, "label": "control"}
        specs = [spec, control]
        sizes = (65_536,) * 8 + (1200,) * 20
        async with session(
            peer_command, we_offer=we_offer, ours=specs, theirs=specs, relay=Disturbance()
        ) as link:
            link.disturb(LOSSY)
            told = await send_theirs(link, "lossy", sizes)
            sent = await send_ours(link, "lossy", random_messages(sizes))
            await self._exchange_reliably(link, "control", rounds=3)
            await link.us.flushed()
            link.disturb(Disturbance())
            # The path is clean again: what is sent now arrives, in order behind what was given up.
            last_told = await self._until_arrived_theirs(link, "lossy", 65_536)
            last_sent = []
            if kind == "unreliable" or self.survives_ordered_forward_tsn:
                last_sent = await self._until_arrived_ours(link, "lossy", 65_536)
            got, theirs = received_by(link.peer, "lossy"), link.us.messages["lossy"]
            assert set(got) <= {*sent, *last_sent}
            assert {each.digest for each in theirs} <= {*told, *last_told}
            assert len(got) == len(set(got))
            assert len(theirs) == len(set(theirs))
            assert link.relay is not None
            assert link.relay.counters.lost > 0

    @staticmethod
    async def _exchange_reliably(link: Session, label: str, rounds: int) -> None:
        for done in range(1, rounds + 1):
            sent = await send_ours(link, label, random_messages((1000,)))
            told = await send_theirs(link, label, (1000,))
            await link.peer.wait("message", done, label=label)
            theirs = await link.us.received(label, done)
            assert received_by(link.peer, label)[-1:] == sent
            assert [each.digest for each in theirs[-1:]] == told

    @staticmethod
    async def _until_arrived_ours(link: Session, label: str, size: int) -> list[Message]:
        """Send until one arrives: the first after a loss may share its fate, and a socket may overflow.
        Returns all that was sent."""
        sent: list[Message] = []
        for _ in range(ATTEMPTS):
            sent += await send_ours(link, label, random_messages((size,)))
            for _ in range(POLLS):
                if {*received_by(link.peer, label)} & {*sent}:
                    return sent
                await asyncio.sleep(0.01)
        raise AssertionError(f"none of {ATTEMPTS} messages of {size} bytes arrived at the peer")

    @staticmethod
    async def _until_arrived_theirs(link: Session, label: str, size: int) -> list[str]:
        told: list[str] = []
        for _ in range(ATTEMPTS):
            told += await send_theirs(link, label, (size,))
            for _ in range(POLLS):
                if {each.digest for each in link.us.messages[label]} & {*told}:
                    return told
                await asyncio.sleep(0.01)
        raise AssertionError(f"none of {ATTEMPTS} messages of {size} bytes arrived here")

    @offering
    async def test_a_connection_opens_over_a_path_that_loses_every_tenth_datagram(
        self, peer_command: list[str], we_offer: bool
    ) -> None:
        spec = {"id": 4, "label": "both"}
        lossy = Disturbance(loss=0.1, payload_only=True)
        async with session(
            peer_command, we_offer=we_offer, ours=[spec], theirs=[spec], relay=lossy, seed=3
        ) as link:
            await self._exchange_reliably(link, "both", rounds=5)

    @offering
    @pytest.mark.parametrize("closer", ["we", "peer"])
    async def test_a_channel_closed_after_its_data_closes_on_both_sides_and_its_stream_is_used_again(
        self, peer_command: list[str], closer: str, we_offer: bool
    ) -> None:
        first = {"label": "first"}
        async with session(peer_command, we_offer=we_offer, theirs=[first]) as link:
            streams = set()
            for generation in range(3):
                label = f"generation-{generation}"
                if closer == "we":
                    link.us.open(label)
                else:
                    link.peer.command("channel", label=label)
                channel = await link.us.opened(label)
                await link.peer.wait("open", label=label)
                streams.add(channel.id)
                await self._fill_and_close(link, label, closer)
                await link.us.closed(label)
                await link.peer.wait("closed", label=label)
            assert len(streams) < 3
            await self._exchange_reliably(link, "first", rounds=1)

    async def _fill_and_close(self, link: Session, label: str, closer: str) -> None:
        sizes = (100, 65_536, 7)
        if closer == "we":
            sent = await send_ours(link, label, random_messages(sizes))
            link.us.channels[label].close()
            await link.peer.wait("message", len(sizes), label=label)
            assert received_by(link.peer, label) == sent
        else:
            told = await send_theirs(link, label, sizes)
            if not self.sends_before_closing:
                await link.us.received(label, len(sizes))
            link.peer.command("close_channel", label=label)
            assert [each.digest for each in await link.us.received(label, len(sizes))] == told

    async def test_sequence_numbers_wrap_in_the_middle_of_a_transfer(self, peer_command: list[str]) -> None:
        spec = {"id": 4, "label": "both"}

        def near_the_end(us: Any) -> None:
            tsn = (1 << 32) - 20
            us.sctp._local_tsn = tsn
            us.sctp._last_sacked_tsn = us.sctp._advanced_peer_ack_tsn = tsn - 1
            us.sctp._reconfig_request_seq = tsn

        async with session(
            peer_command, we_offer=True, ours=[spec], theirs=[spec], prepare=near_the_end
        ) as link:
            sent = await send_ours(link, "both", random_messages((65_536,) * 4))
            await link.peer.wait("message", len(sent), label="both")
            assert received_by(link.peer, "both") == sent

    @offering
    async def test_when_we_end_the_connection_the_peer_sees_its_channels_close(
        self, peer_command: list[str], we_offer: bool
    ) -> None:
        spec = {"id": 4, "label": "both"}
        async with session(peer_command, we_offer=we_offer, ours=[spec], theirs=[spec]) as link:
            await self._exchange_reliably(link, "both", rounds=1)
            await link.us.stop()
            await link.peer.wait("closed", label="both", timeout_s=5)
            assert await link.peer.quit() == 0

    @offering
    async def test_when_the_peer_ends_the_connection_our_channels_close(
        self, peer_command: list[str], we_offer: bool
    ) -> None:
        spec = {"id": 4, "label": "both"}
        async with session(peer_command, we_offer=we_offer, ours=[spec], theirs=[spec]) as link:
            await self._exchange_reliably(link, "both", rounds=1)
            assert await link.peer.quit() == 0
            await link.us.closed("both")
            assert link.us.sctp.state == "closed"

    @offering
    async def test_a_whole_link_with_its_channels_connects_carries_and_closes(
        self, peer_command: list[str], we_offer: bool
    ) -> None:
        """A whole link, which knows nothing of SDP: a foreign peer with channels 0 to 3 can stand in."""
        labels = ["tallow-control", "data-1", "data-2", "data-3"]
        async with running(peer_command) as peer:
            link = await LinkEnd.prepare("host" if we_offer else "joiner", LinkOptions(engine="turbo"))
            try:
                for number, label in enumerate(labels):
                    kind = KINDS["unreliable"] if number else KINDS["reliable"]
                    peer.command("channel", label=label, id=number, **kind)
                described = await exchange(peer, link.description, we_offer=we_offer)
                await link.connect(described, timeout_s=10)
                for channel, label in zip((link.control, *link.data), labels, strict=True):
                    await peer.wait("open", label=label)
                    received: asyncio.Queue[bytes] = asyncio.Queue()
                    channel.on_message = received.put_nowait
                    (message,) = random_messages((60_000,))
                    channel.send(message)
                    told = await peer.wait("message", label=label)
                    assert as_message(told) == Message.of(message)
                    peer.command("send", label=label, sizes=[60_000])
                    digests = (await peer.wait("sent", label=label))["digests"]
                    async with asyncio.timeout(5):
                        assert [Message.of(await received.get()).digest] == digests
                assert link.link.traits.path.kind == "direct"
            finally:
                await link.close()
            await peer.wait("closed", label=labels[0], timeout_s=5)
            assert await peer.quit() == 0
