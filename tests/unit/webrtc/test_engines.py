from __future__ import annotations

import sys

import pytest

from tallow_cli.errors import BadOption
from tallow_cli.link.link import DEFAULT_ENGINE
from tallow_cli.webrtc.engines import ENGINES, EngineOptions, make_engine


def test_every_registered_engine_can_be_made_and_knows_its_name() -> None:
    for name in ENGINES:
        engine = make_engine(name, EngineOptions(offload=False))
        assert engine.name == name
        assert engine.max_message_size >= 65536
        assert engine.notes == ()
        assert engine.all_acknowledged()
        engine.close()


def test_the_default_engine_is_registered() -> None:
    assert DEFAULT_ENGINE in ENGINES


def test_an_unknown_engine_is_a_bad_option_that_names_the_known_ones() -> None:
    with pytest.raises(BadOption, match="aiortc, turbo"):
        make_engine("warp")


def test_turbo_falls_back_to_stock_where_sockets_cannot_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    engine = make_engine("turbo")
    assert engine.name == "aiortc"
    assert engine.notes
