"""The congestion controllers by name: `bbr`, `cubic`, `newreno`, and whatever a caller adds."""

from __future__ import annotations

from collections.abc import Callable

from tallow_cli.dataplane.congestion.bbr import Bbr
from tallow_cli.dataplane.congestion.controller import CongestionController, ControllerConfig
from tallow_cli.dataplane.congestion.cubic import Cubic
from tallow_cli.dataplane.congestion.newreno import NewReno

DEFAULT_CONTROLLER = "bbr"

ControllerFactory = Callable[[ControllerConfig], CongestionController]
_FACTORIES: dict[str, ControllerFactory] = {Bbr.name: Bbr, Cubic.name: Cubic, NewReno.name: NewReno}


def register_controller(name: str, factory: ControllerFactory) -> None:
    """Make `factory` available under `name`; a later registration replaces an earlier one."""
    _FACTORIES[name] = factory


def controller_names() -> list[str]:
    """The names `create_controller` knows, the default first."""
    return sorted(_FACTORIES, key=lambda name: (name != DEFAULT_CONTROLLER, name))


def create_controller(
    name: str = DEFAULT_CONTROLLER, config: ControllerConfig | None = None
) -> CongestionController:
    """A fresh controller. Raises `KeyError` with the known names if `name` is not one of them."""
    factory = _FACTORIES.get(name)
    if factory is None:
        raise KeyError(f"unknown congestion controller {name!r}; known: {', '.join(controller_names())}")
    return factory(config or ControllerConfig())
