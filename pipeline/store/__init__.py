"""The embedded store, SQLite: features, alarms, sessions, rollups, dead letters, spool, checkpoint.

`Store` is the one writer, `StoreReader` what the page and the reports use. May import `model` only;
it knows nothing of MQTT, of what InfluxDB is told, or of the monitor whose snapshot it keeps.
Inside: `rows` (nouns as rows), `schema` (tables, connections), `folding` (hops to seconds and
minutes), `spool`, `batch` (the rows of one checkpoint), `writer`, `retention`, `reader`, `errors`.
"""

from pipeline.store.errors import (
    StoreBusyError,
    StoreError,
    StoreMissingError,
    StoreReadError,
    StoreUnusableError,
    StoreVersionError,
    StoreWriteError,
)
from pipeline.store.reader import (
    AlarmFilter,
    AlarmTransition,
    ExposureFilter,
    FeaturePoint,
    GunView,
    SessionFilter,
    StoreReader,
    StoreSize,
)
from pipeline.store.retention import Retention, Retired
from pipeline.store.spool import Encode, Refused, SpoolCount, Spooled, SpoolKind
from pipeline.store.writer import Checkpoint, Store

__all__ = [
    "AlarmFilter",
    "AlarmTransition",
    "Checkpoint",
    "Encode",
    "ExposureFilter",
    "FeaturePoint",
    "GunView",
    "Refused",
    "Retention",
    "Retired",
    "SessionFilter",
    "SpoolCount",
    "SpoolKind",
    "Spooled",
    "Store",
    "StoreBusyError",
    "StoreError",
    "StoreMissingError",
    "StoreReadError",
    "StoreReader",
    "StoreSize",
    "StoreUnusableError",
    "StoreVersionError",
    "StoreWriteError",
]
