"""The server's numbers: flat names, nothing about anyone."""

from __future__ import annotations

from signaling.metrics import Metrics


def test_a_fresh_server_counts_nothing() -> None:
    assert set(Metrics().as_dict().values()) == {0}


def test_labels_stand_in_braces_and_in_order() -> None:
    metrics = Metrics(connections=2, relayed_bytes=7)
    metrics.joins["unknown"] += 1
    metrics.joins["joined"] += 3
    metrics.limits["rooms"] += 1
    shown = metrics.as_dict()
    assert shown["tallow_connections"] == 2
    assert shown["tallow_relayed_bytes_total"] == 7
    assert [name for name in shown if "{" in name] == [
        'tallow_joins_total{result="joined"}',
        'tallow_joins_total{result="unknown"}',
        'tallow_limits_total{kind="rooms"}',
    ]


def test_two_servers_do_not_share_their_counts() -> None:
    Metrics().joins["joined"] += 1
    assert not Metrics().joins
