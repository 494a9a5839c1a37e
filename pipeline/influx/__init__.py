"""Results in InfluxDB: records as lines, a server of any version, and the drain between.

May import `store`, `config` and further in. `lines` turns records into line protocol when they are
stored, `server` knows influxdb-client, `drain` empties the spool, `census` counts what arrived.
docs/data-model.md says what lies there.
"""

from pipeline.influx.census import COUNTED_BY, count_points
from pipeline.influx.drain import Drain, DrainState, DrainStatus
from pipeline.influx.lines import encode
from pipeline.influx.server import Address, DeniedError, RefusedError, Server, UnreachableError

__all__ = [
    "COUNTED_BY",
    "Address",
    "DeniedError",
    "Drain",
    "DrainState",
    "DrainStatus",
    "RefusedError",
    "Server",
    "UnreachableError",
    "count_points",
    "encode",
]
