"""How many points InfluxDB has, to hold against what was spooled for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.influx.server import Server
from pipeline.store import SpoolKind

# A measurement, and a field that every point of it has (docs/data-model.md).
COUNTED_BY: Final[Mapping[SpoolKind, tuple[str, str]]] = {
    SpoolKind.SECOND: ("features", "hops"),
    SpoolKind.MINUTE: ("features_1m", "hops"),
    SpoolKind.ALARM: ("alarms", "open"),
    SpoolKind.SESSION: ("sessions", "alarms"),
    SpoolKind.STATUS: ("devices", "online"),
    SpoolKind.EXPOSURE: ("operators", "a8_m_s2"),
    SpoolKind.PIPELINE: ("pipeline", "guns"),
}


def count_points(server: Server, databases: Mapping[SpoolKind, str]) -> dict[SpoolKind, int]:
    """The points of every measurement. Raises as `Server.write`."""
    counted = {}
    for kind, (measurement, field) in COUNTED_BY.items():
        statement = f'SELECT count("{field}") FROM "{measurement}"'  # noqa: S608 - names of ours
        rows = server.query(databases[kind], statement)
        counted[kind] = int(rows[0][1]) if rows else 0
    return counted
