"""What a trace is: events of a connection by name, for whoever looks into why it went as it did.

A machine or a shell that can be traced has an optional `Trace` in its configuration and calls it when something
happened: per wake-up or per change, never per packet. Names are qlog's where qlog has one (`category:event`);
docs/reference/trace.md is the list, with every field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

# `trace(now, name, data)`: `now` is the clock of the caller's `now`; `data` is JSON, and the callee's from then on.
Trace = Callable[[float, str, Mapping[str, object]], None]

# Measurements are told so often at most, and only when they changed: 20 lines a second for both ends of a scale at
# which people look at a curve.
METRICS_INTERVAL_S: Final = 0.1


def milliseconds(seconds: float) -> float:
    """As they stand in a trace: to the microsecond."""
    return round(seconds * 1e3, 3)
