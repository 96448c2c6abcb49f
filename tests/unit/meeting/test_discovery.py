"""Announcing and finding: the file at once, multicast beside it, and neither in the other's way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tallow_cli.errors import UnknownNameplate
from tallow_cli.meeting import discovery
from tallow_cli.meeting.addresses import loopback_addresses
from tallow_cli.meeting.discovery import Multicast, announce, find
from tallow_cli.meeting.local_discovery import LocalDirectories
from tallow_cli.meeting.server_url import server_url

# The file names a port; which loopback addresses there are is the machine's affair.
ON_THIS_MACHINE = [server_url(address, 1234) for address in loopback_addresses()]


@pytest.fixture
def here(tmp_path: Path) -> LocalDirectories:
    return LocalDirectories((tmp_path / "tallow",))


@pytest.fixture
def nowhere() -> LocalDirectories:
    return LocalDirectories((Path("/proc/nonexistent"),))


class Network:
    """Stands in for the network; the real one is tested in tests/e2e."""

    def __init__(self) -> None:
        self.advertised: list[tuple[str, int]] = []
        self.asked: list[str] = []
        self.said_goodbye = False
        self.answer: list[str] | OSError | None = None
        self.failure: OSError | None = None
        self.seam = Multicast(self._advertise, self._resolve, after_s=0.0)

    async def _advertise(
        self, nameplate: str, port: int, named: Sequence[str] | None, *, public: bool = False
    ) -> None:
        if self.failure is not None:
            raise self.failure
        self.advertised.append((nameplate, port))
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.said_goodbye = True

    async def _resolve(self, nameplate: str, interfaces: Sequence[str] | None) -> list[str]:
        self.asked.append(nameplate)
        if isinstance(self.answer, OSError):
            raise self.answer
        if self.answer is None:
            await asyncio.get_running_loop().create_future()
        return self.answer or []


@pytest.fixture
def multicast(monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.delenv(discovery.NO_MDNS_VARIABLE, raising=False)
    return Network()


async def turns(count: int = 5) -> None:
    """Let other tasks run, without waiting for time."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_sender_on_this_machine_is_found_without_asking_the_network(
    here: LocalDirectories, multicast: Network
) -> None:
    late = replace(multicast.seam, after_s=60.0)
    async with announce("4821", 1234, directories=here, multicast=late):
        assert await find("4821", 5.0, directories=here, multicast=late) == ON_THIS_MACHINE
    assert multicast.asked == multicast.advertised == []


async def test_a_sender_that_starts_later_is_found(here: LocalDirectories, multicast: Network) -> None:
    finding = asyncio.create_task(find("4821", 5.0, directories=here, multicast=multicast.seam))
    await turns()
    async with announce("4821", 1234, directories=here, multicast=multicast.seam):
        assert await finding == ON_THIS_MACHINE


async def test_a_sender_on_the_network_is_found(nowhere: LocalDirectories, multicast: Network) -> None:
    multicast.answer = ["ws://192.0.2.7:1234", "ws://[2001:db8::7]:1234"]
    assert await find("4821", 5.0, directories=nowhere, multicast=multicast.seam) == multicast.answer


async def test_nobody_is_found_within_the_timeout(here: LocalDirectories, multicast: Network) -> None:
    with pytest.raises(UnknownNameplate, match="4821 on this machine or the local network") as caught:
        await find("4821", 0.01, directories=here, multicast=multicast.seam)
    assert caught.value.nameplate == "4821"


async def test_a_network_without_multicast_leaves_the_file_to_be_found(
    here: LocalDirectories, multicast: Network
) -> None:
    multicast.answer = OSError("no such device")
    finding = asyncio.create_task(find("4821", 5.0, directories=here, multicast=multicast.seam))
    await turns()
    assert multicast.asked == ["4821"]
    async with announce("4821", 1234, directories=here, multicast=multicast.seam):
        assert await finding == ON_THIS_MACHINE


async def test_a_network_without_multicast_is_only_a_notice_to_the_sender(
    here: LocalDirectories, multicast: Network
) -> None:
    multicast.failure = OSError(19, "No such device")
    notices: list[tuple[str, bool]] = []
    async with announce(
        "4821",
        1234,
        directories=here,
        multicast=multicast.seam,
        on_notice=lambda *notice: notices.append(notice),
    ):
        await turns()
        assert (
            await find("4821", 5.0, directories=here, multicast=multicast.seam, use_mdns=False)
            == ON_THIS_MACHINE
        )
    assert notices == [("Receivers on the network cannot discover this sender (No such device).", True)]


async def test_no_private_directory_is_only_a_notice_too(
    nowhere: LocalDirectories, multicast: Network
) -> None:
    notices: list[tuple[str, bool]] = []
    async with announce(
        "4821",
        1234,
        directories=nowhere,
        multicast=multicast.seam,
        on_notice=lambda *notice: notices.append(notice),
    ):
        await turns()
        assert multicast.advertised == [("4821", 1234)]
    [(notice, is_detail)] = notices
    assert notice.startswith("Receivers on this machine may not find this sender by the code alone (")
    assert not is_detail, "somebody may have taken its place: that is worth a line"


async def test_leaving_takes_file_and_advertisement_back(here: LocalDirectories, multicast: Network) -> None:
    async with announce("4821", 1234, directories=here, multicast=multicast.seam):
        await turns()
        assert multicast.advertised == [("4821", 1234)]
    assert multicast.said_goodbye
    assert list(here.paths[0].iterdir()) == []


async def test_cancelling_takes_them_back_as_well(here: LocalDirectories, multicast: Network) -> None:
    async def send() -> None:
        async with announce("4821", 1234, directories=here, multicast=multicast.seam):
            await asyncio.get_running_loop().create_future()

    sending = asyncio.create_task(send())
    await turns()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert multicast.said_goodbye
    assert list(here.paths[0].iterdir()) == []


async def test_a_cancelled_search_leaves_no_task_behind(here: LocalDirectories, multicast: Network) -> None:
    finding = asyncio.create_task(find("4821", 5.0, directories=here, multicast=multicast.seam))
    await turns()
    finding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finding
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(("value", "allowed"), [("1", False), ("yes", False), ("0", True), ("", True)])
async def test_the_environment_can_switch_multicast_off(
    here: LocalDirectories, multicast: Network, monkeypatch: pytest.MonkeyPatch, value: str, allowed: bool
) -> None:
    monkeypatch.setenv("TALLOW_NO_MDNS", value)
    async with announce("4821", 1234, directories=here, multicast=multicast.seam):
        await turns()
        with pytest.raises(UnknownNameplate):
            await find("7", 0.01, directories=here, multicast=multicast.seam)
    assert (bool(multicast.advertised), bool(multicast.asked)) == (allowed, allowed)
