"""wire.source_address: the route is asked for, and nothing is sent."""

from __future__ import annotations

from tallow_cli.wire.source_address import source_address


def test_what_leads_to_this_machine_comes_from_it() -> None:
    assert source_address(("127.0.0.1", 9)) == "127.0.0.1"


def test_where_no_route_leads_there_is_none() -> None:
    assert source_address(("0.0.0.0", 0)) in (None, "127.0.0.1", "0.0.0.0")  # as systems take it
    assert source_address(("no address", 9)) is None
