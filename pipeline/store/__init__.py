"""The embedded store, SQLite: features, alarms, sessions, rollups, dead letters, spool, checkpoint.

`Store` is the one writer, `StoreReader` what the page and the reports use. May import `model` only;
it knows nothing of MQTT, InfluxDB or the monitor whose snapshot it keeps. Inside: `rows` (nouns as
rows), `schema` (tables, connections), `folding` (hops to seconds and minutes), `batch` (the rows of
one checkpoint), `writer`, `retention`, `reader`, `errors`.
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
from pipeline.store.writer import Checkpoint, Spooled, Store

__all__ = [
    "AlarmFilter",
    "AlarmTransition",
    "Checkpoint",
    "ExposureFilter",
    "FeaturePoint",
    "GunView",
    "Retention",
    "Retired",
    "SessionFilter",
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
