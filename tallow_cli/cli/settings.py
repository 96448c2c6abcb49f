"""From option texts to session settings and a renderer, the same way for every command."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tallow_cli.cli.options import rate_option, size_option
from tallow_cli.errors import BadOption
from tallow_cli.net.engines import DEFAULT_ENGINE, ENGINES
from tallow_cli.session.settings import LinkSettings, Mode
from tallow_cli.ui.renderer import choose_renderer

if TYPE_CHECKING:
    from tallow_cli.cli.environment import Environment
    from tallow_cli.ui.renderer import Renderer


def link_settings(
    *,
    engine: str | None,
    channels: int,
    mode: str,
    reliable: bool,
    buffer_high: str,
    buffer_low: str,
    limit: str | None,
    no_encrypt: bool,
) -> LinkSettings:
    """Raises BadOption for a value out of range."""
    name = engine or DEFAULT_ENGINE
    if name not in ENGINES:
        raise BadOption("--engine", f"{name!r} is not one of {', '.join(sorted(ENGINES))}")
    return LinkSettings(
        engine=name,
        channels=channels,
        reliable=reliable,
        encrypt=not no_encrypt,
        mode=cast("Mode", mode),
        buffer_high=size_option("--buffer-high", buffer_high),
        buffer_low=size_option("--buffer-low", buffer_low),
        limit_bytes_per_s=rate_option("--limit", limit),
    )


def show(
    environment: Environment, *, json: bool, quiet: bool, verbose: bool, stdout_is_data: bool = False
) -> Renderer:
    """The renderer for these streams and flags. Raises BadOption for flags that contradict each other."""
    if quiet and verbose:
        raise BadOption("--quiet", "it contradicts --verbose")
    if json and stdout_is_data:
        raise BadOption("--json", "standard output already carries the data (--output -)")
    return choose_renderer(
        stdout=environment.stdout,
        stderr=environment.stderr,
        environ=environment.variables,
        json=json,
        quiet=quiet,
        verbose=verbose,
        stdout_is_data=stdout_is_data,
    )
