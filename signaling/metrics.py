"""What a server counts: numbers only, nothing about anyone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Metrics:
    """Totals since the start, except the two gauges. Read at any time; never reset."""

    connections: int = 0  # gauge: open WebSockets
    rooms: int = 0  # gauge
    connections_total: int = 0
    rooms_total: int = 0
    relayed_messages: int = 0
    relayed_bytes: int = 0
    joins: Counter[str] = field(default_factory=Counter)  # by result: joined, unknown, refused
    limits: Counter[str] = field(default_factory=Counter)  # by the limit that was met
    malformed: int = 0

    def as_dict(self) -> dict[str, int]:
        """Flat names in the manner of Prometheus, labels in braces."""
        plain = {
            "tallow_connections": self.connections,
            "tallow_rooms": self.rooms,
            "tallow_connections_total": self.connections_total,
            "tallow_rooms_total": self.rooms_total,
            "tallow_relayed_messages_total": self.relayed_messages,
            "tallow_relayed_bytes_total": self.relayed_bytes,
            "tallow_malformed_total": self.malformed,
        }
        joins = {
            f'tallow_joins_total{{result="{result}"}}': count for result, count in sorted(self.joins.items())
        }
        limits = {
            f'tallow_limits_total{{kind="{kind}"}}': count for kind, count in sorted(self.limits.items())
        }
        return plain | joins | limits
