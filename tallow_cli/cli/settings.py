"""From option texts to session settings and a renderer, the same way for every command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from tallow_cli.cli.options import choice_option, count_option, rate_option, size_option
from tallow_cli.cli.sources import is_typed, origin
from tallow_cli.errors import BadOption, SignalingError, UnknownNameplate
from tallow_cli.link.channels import MAX_CHANNELS, MAX_RETRANSMITS, MIN_CHANNELS
from tallow_cli.link.link import DEFAULT_ENGINE
from tallow_cli.meeting.server_url import normalize_server_url
from tallow_cli.session.settings import MODES, LinkSettings, Mode
from tallow_cli.transfer.buffer_marks import buffer_marks
from tallow_cli.ui.renderer import choose_renderer
from tallow_cli.webrtc.engines import ENGINES

if TYPE_CHECKING:
    from typer._click import Context

    from tallow_cli.cli.environment import Environment
    from tallow_cli.ui.renderer import Renderer


def link_settings(
    *,
    engine: str | None,
    channels: str,
    mode: str,
    reliable: bool,
    max_retransmits: str | None,
    buffer_high: str | None,
    buffer_low: str | None,
    limit: str | None,
    no_encrypt: bool,
) -> LinkSettings:
    """Raises BadOption for a value out of range."""
    high, low = buffer_marks(
        None if buffer_high is None else size_option("--buffer-high", buffer_high),
        None if buffer_low is None else size_option("--buffer-low", buffer_low),
    )
    return LinkSettings(
        engine=DEFAULT_ENGINE if engine is None else choice_option("--engine", engine, sorted(ENGINES)),
        channels=count_option("--channels", channels, MIN_CHANNELS, MAX_CHANNELS),
        reliable=reliable,
        max_retransmits=None
        if max_retransmits is None
        else count_option("--max-retransmits", max_retransmits, 0, MAX_RETRANSMITS),
        encrypt=not no_encrypt,
        mode=cast("Mode", choice_option("--mode", mode, MODES)),
        buffer_high=high,
        buffer_low=low,
        limit_bytes_per_s=rate_option("--limit", limit),
    )


def chosen_server(context: Context, server: str | None, *, local: bool) -> str | None:
    """The server to meet at, or None for the local network, which `--local` insists on. Raises BadOption."""
    if not local:
        return None if server is None else normalize_server_url(server)
    if is_typed(context, "server"):
        raise BadOption("--local", "it contradicts --server")
    return None


@contextmanager
def naming_server(context: Context, *, local: bool) -> Iterator[None]:
    """Has an error at a server that nobody typed say where it was named, and how to do without it."""
    place = None if local else origin(context, "server")
    try:
        yield
    except (SignalingError, UnknownNameplate) as error:
        if place is not None:
            error.add_note(f"The server is named in {place}; --local does without it.")
        raise


def show(
    environment: Environment,
    *,
    json: bool,
    quiet: bool,
    verbose: bool,
    stdout_is_data: bool = False,
    go_on: str | None = None,
) -> Renderer:
    """The renderer for these streams and flags; `go_on` is the command that goes on with what is left unfinished.

    Raises BadOption for flags that contradict each other.
    """
    if quiet and verbose:
        raise BadOption("--quiet", "it contradicts --verbose")
    if json and stdout_is_data:
        raise BadOption("--json", "standard output already carries the data (--output -)")
    return choose_renderer(
        results=environment.results,
        people=environment.people,
        environ=environment.variables,
        json=json,
        quiet=quiet,
        verbose=verbose,
        stdout_is_data=stdout_is_data,
        go_on=go_on,
    )
