from __future__ import annotations

import os
from pathlib import Path

import pytest

from tallow_cli.offer.names import check_symlink_target
from tallow_cli.store.link_targets import link_target


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """t/{real,sub/deep/,in -> sub/deep,out -> ../elsewhere} and elsewhere/"""
    root = tmp_path.resolve() / "t"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "real").write_text("")
    (root.parent / "elsewhere").mkdir()
    (root / "in").symlink_to("sub/deep")
    (root / "out").symlink_to("../elsewhere")
    return root


@pytest.mark.parametrize(
    ("directory", "text", "offered"),
    [
        ("", "real", "real"),
        ("", "./real", "./real"),
        ("", "sub/", "sub/"),
        ("", "sub//deep", "sub//deep"),
        ("", ".", "."),
        ("", "nothing", "nothing"),
        ("sub", "../real", "../real"),
        ("sub/deep", "../../real", "../../real"),
        ("", "sub/../real", "real"),
        ("", "sub/deep/..", "sub"),
        ("", "../t/real", "real"),
        ("sub", "../../t/real", "../real"),
        ("", "{top}/real", "real"),
        ("sub/deep", "{top}/real", "../../real"),
        ("", "{top}", "."),
        ("", "in/../../real", "real"),  # behind a link `..` is where that leads, not where it lies
        ("", "..", None),
        ("sub", "../..", None),
        ("", "../elsewhere", None),
        ("", "sub/../../elsewhere", None),
        ("", "/etc/passwd", None),
        ("", "{top}x/real", None),
        ("", "out/../t/real", "real"),
        ("", "out/..", None),
    ],
)
def test_a_link_is_judged_by_where_it_leads(
    top: Path, directory: str, text: str, offered: str | None
) -> None:
    place = os.path.join(top, directory) if directory else str(top)
    target = link_target(str(top), place, text.format(top=top))
    assert target == offered
    if target is not None:
        inner = f"t/{directory}/link" if directory else "t/link"
        check_symlink_target(inner, target)  # a receiver takes it


def test_a_way_through_links_above_what_is_sent_is_no_way_out(top: Path) -> None:
    (top.parent / "short").symlink_to(top)
    assert link_target(str(top), str(top), str(top.parent / "short" / "real")) == "real"
