"""cli.options: what people type becomes numbers, or is named in the error."""

from __future__ import annotations

import math

import pytest

from tallow_cli.cli.options import rate_option, size_option, wait_option
from tallow_cli.errors import BadOption


def test_sizes_and_rates_are_read() -> None:
    assert size_option("--buffer-high", "16MiB") == 16 * 1024 * 1024
    assert rate_option("--limit", "8Mbit") == 1_000_000
    assert rate_option("--limit", None) is None


@pytest.mark.parametrize("text", ["never", "0", "0s", "0.0", " Never ", "forever", "inf"])
def test_a_wait_for_people_may_have_no_end(text: str) -> None:
    assert wait_option("--timeout", text) == math.inf


def test_any_other_wait_is_a_time() -> None:
    assert wait_option("--timeout", "90s") == 90
    for text in ("-1", "0.0.0", "nan", "0m30", "soon"):
        with pytest.raises(BadOption):
            wait_option("--timeout", text)


@pytest.mark.parametrize("text", ["", "lots", "-5", "20", "1e400Mbit"])
def test_a_mistake_names_the_option(text: str) -> None:
    with pytest.raises(BadOption) as caught:
        rate_option("--limit", text)
    assert caught.value.option == "--limit"
    if text != "20":  # a size without a unit is bytes, a rate without one is ambiguous
        with pytest.raises(BadOption):
            size_option("--buffer-high", text)
