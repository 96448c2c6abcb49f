"""cli.options: what people type becomes numbers, or is named in the error."""

from __future__ import annotations

import pytest

from tallow_cli.cli.options import rate_option, size_option
from tallow_cli.errors import BadOption


def test_sizes_and_rates_are_read() -> None:
    assert size_option("--buffer-high", "16MiB") == 16 * 1024 * 1024
    assert rate_option("--limit", "8Mbit") == 1_000_000
    assert rate_option("--limit", None) is None


@pytest.mark.parametrize("text", ["", "lots", "-5", "20", "1e400Mbit"])
def test_a_mistake_names_the_option(text: str) -> None:
    with pytest.raises(BadOption) as caught:
        rate_option("--limit", text)
    assert caught.value.option == "--limit"
    if text != "20":  # a size without a unit is bytes, a rate without one is ambiguous
        with pytest.raises(BadOption):
            size_option("--buffer-high", text)
