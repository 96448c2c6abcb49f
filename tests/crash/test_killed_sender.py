"""The sender is killed at every labelled point of its path: what it read, said and heard, before and after each.

The points are enumerated by a run that nobody disturbs; then each is tried. In virtual time with the real store
(tests.sim.stored): a sender has nothing on a disk, so that its machine is never called again is all that a kill does.
"""

from __future__ import annotations

import itertools
import random
import shutil
from pathlib import Path

import pytest

from tallow_cli.store.sink import OnConflict
from tallow_cli.transfer.driving import OutgoingPacket
from tallow_cli.transfer.frames import HEADER_BYTES, Control, parse_frames_untrusted
from tallow_cli.transfer.messages import ControlAssembler
from tallow_cli.transfer.receiver import ReceiveMachine
from tallow_cli.transfer.sender import SendMachine
from tests.sim.channels import Profile, Wire
from tests.sim.stored import Receiver, Sender, StoredSimulation
from tests.sim.transfer import TAG, Scenario
from tests.support.disk import tree
from tests.support.faulty_disk import Killed

KiB = 1024
CHANNELS = 2
PATH = Profile(rate=20e6, delay=0.01)
SHAPES = {
    "large": {"large": 450 * KiB},
    "many": {f"many/{number}": 40 * KiB + number for number in range(10)},
    "tree": {"tree/a/one": 300 * KiB, "tree/a/empty": 0, "tree/b/c/two": 5, "tree/three": 90 * KiB},
}
# What no path may lack. That every kind of event and message is among them is not left to this list.
EXPECTED = {
    "event PeerReady", "event Accepted", "event Finished", "before reading", "chunk read", "digests given",
    "Ready received", "Offer sent", "Accept received", "Digests sent", "Data sent", "Ack received", "Credit received",
    "Complete received", "Bye sent",
}  # fmt: skip


class Watched(StoredSimulation):
    """Its sender is killed when it passes the point with the number `kill_at`."""

    def __init__(self, scenario: Scenario, sending: Sender, receiving: Receiver, kill_at: int | None) -> None:
        self.points: list[str] = []
        self.kill_at = kill_at
        self.sender_killed = False
        self._said, self._heard = ControlAssembler(), ControlAssembler()
        super().__init__(scenario, sending, receiving, 0)

    def sender_passes(self, point: str) -> None:
        self.points.append(point)
        if self.kill_at == len(self.points) - 1:
            self.sender_killed = True
            raise Killed

    def _labels(self, payload: memoryview | bytes, assembler: ControlAssembler) -> list[str]:
        labels = []
        for frame in parse_frames_untrusted(payload):
            if isinstance(frame, Control):
                message = assembler.feed(bytes(frame.data), more=frame.more)
                if message is not None:
                    labels.append(type(message).__name__)
            else:
                labels.append(type(frame).__name__)
        return list(dict.fromkeys(labels))

    def _hand_over(self, wire: Wire, packet: OutgoingPacket) -> None:
        if wire is not self.there:
            super()._hand_over(wire, packet)
            return
        labels = self._labels(packet.payload, self._said)
        for label in labels:
            self.sender_passes(f"{label} about to be sent")
        super()._hand_over(wire, packet)
        for label in labels:
            self.sender_passes(f"{label} sent")

    def _receive(self, machine: SendMachine | ReceiveMachine, channel: int, message: bytes) -> None:
        if machine is self.sender:
            for label in self._labels(message[HEADER_BYTES : -len(TAG)], self._heard):
                self.sender_passes(f"{label} received")
        super()._receive(machine, channel, message)

    def alone(self) -> None:
        """Only the receiver is left; it hears that its path is lost."""
        self.sending.kill()
        self._drain_sender = lambda: None  # type: ignore[method-assign]  # nothing of it runs on
        self.cut()
        self.keep_what_came()


def offer(base: Path, shape: str) -> dict[str, bytes]:
    rng = random.Random(4)
    contents = {name: rng.randbytes(size) for name, size in SHAPES[shape].items()}
    for name, data in contents.items():
        path = base / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return contents


def transfer(base: Path, shape: str, target: Path, kill_at: int | None) -> Watched:
    scenario = Scenario(files=(), there=PATH, back=PATH, channels=CHANNELS, consent_after=0.01)
    sending = Sender(base / "out" / next(iter(SHAPES[shape])).split("/")[0], is_stream=False)
    ticks = itertools.count()
    receiving = Receiver(target, lambda: next(ticks) * 0.01, OnConflict.REFUSE)
    simulation = Watched(scenario, sending, receiving, kill_at)
    try:
        simulation.run_until(60.0)
    except Killed:
        simulation.alone()
    sending.kill()
    return simulation


def check_final_names(target: Path, contents: dict[str, bytes]) -> None:
    for name, what in tree(target).items():
        if what is not None and ".tallow-" not in name:
            assert what == contents[name], name


def bytes_of(contents: dict[str, bytes]) -> int:
    return sum(len(data) for data in contents.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_wherever_a_sender_is_killed_the_next_sends_only_what_is_missing(tmp_path: Path, shape: str) -> None:
    contents = offer(tmp_path, shape)
    target = tmp_path / "whole"
    target.mkdir()
    undisturbed = transfer(tmp_path, shape, target, None)
    undisturbed.receiving.sink.close()
    assert set(undisturbed.points) >= EXPECTED
    assert undisturbed.receiving.done
    went_on = 0
    for number, label in enumerate(undisturbed.points):
        about = f"{number}: {label}"
        target = tmp_path / str(number)
        target.mkdir()
        killed = transfer(tmp_path, shape, target, number)
        assert killed.sender_killed, about
        assert killed.points == undisturbed.points[: number + 1], "the same path each time"
        check_final_names(target, contents)
        had = killed.receiving.has().total
        is_done = killed.receiving.done
        killed.receiving.stop()  # whom the loss of the path ends, or who is done
        check_final_names(target, contents)
        if not is_done and not contents.keys() <= tree(target).keys():
            after = transfer(tmp_path, shape, target, None)
            assert after.receiving.done, (about, after.errors)
            # What was in flight when the path was lost comes twice, and what was written once.
            assert after.receiving.taken_bytes == bytes_of(contents) - had, about
            went_on += had > 0
            after.receiving.sink.close()
        assert {name: what for name, what in tree(target).items() if what is not None} == contents, about
        shutil.rmtree(target)
    assert went_on > 5
