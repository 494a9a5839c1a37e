"""Results in InfluxDB: records as lines, a server of any version, and the drain between.

May import `store`, `config` and further in. `lines` turns records into line protocol when they are
stored, `server` knows influxdb-client, `drain` empties the spool. docs/data-model.md says what lies
there.
"""

from pipeline.influx.drain import Drain, DrainState, DrainStatus
from pipeline.influx.lines import encode
from pipeline.influx.server import Address, DeniedError, RefusedError, Server, UnreachableError

__all__ = [
    "Address",
    "DeniedError",
    "Drain",
    "DrainState",
    "DrainStatus",
    "RefusedError",
    "Server",
    "UnreachableError",
    "encode",
]
