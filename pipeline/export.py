"""Stored values as tables, for whoever reads them with something else: CSV and Parquet.

May import `model` and pyarrow. A row a second, as the store has it: the second's last hop, and the
worst that some hop of it reached. Names carry units, as everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import fields
from enum import StrEnum
from typing import Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.model import Alarm, Features, FeatureSecond


class TableFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        return "text/csv" if self is TableFormat.CSV else "application/vnd.apache.parquet"


_TYPES: Final = {
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
}  # all else is text
_LAST: Final = tuple(f for f in fields(Features) if f.name not in ("id", "t_ns"))
_WORST: Final = tuple(f for f in fields(FeatureSecond) if f.name != "last")
_ALARM: Final = tuple(f for f in fields(Alarm) if f.name != "id")
_TIME: Final = pa.timestamp("ns", "UTC")  # beside the integer, for people and spreadsheets


def seconds_table(seconds: Sequence[FeatureSecond]) -> pa.Table:
    """Seconds as rows, in their order."""
    last = [second.last for second in seconds]
    columns: dict[str, pa.Array] = {
        "t_ns": pa.array([each.t_ns for each in last], pa.int64()),
        "time": pa.array([each.t_ns for each in last], pa.int64()).cast(_TIME),
        "clinic": pa.array([each.id.clinic for each in last], pa.string()),
        "device": pa.array([each.id.device for each in last], pa.string()),
    }
    columns |= {f.name: _column(f.name, str(f.type), last) for f in _LAST}
    columns |= {f.name: _column(f.name, str(f.type), seconds) for f in _WORST}
    return pa.table(columns)


def alarms_table(alarms: Sequence[Alarm]) -> pa.Table:
    """Transitions of alarms as rows, in their order."""
    columns: dict[str, pa.Array] = {
        "clinic": pa.array([each.id.clinic for each in alarms], pa.string()),
        "device": pa.array([each.id.device for each in alarms], pa.string()),
    }
    return pa.table(columns | {f.name: _column(f.name, str(f.type), alarms) for f in _ALARM})


def encode_table(table: pa.Table, form: TableFormat) -> bytes:
    """The table as the bytes of a file."""
    buffer = io.BytesIO()
    if form is TableFormat.CSV:
        pa_csv.write_csv(table, buffer)
    else:
        pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _column(name: str, hint: str, nouns: Iterable[object]) -> pa.Array:
    kind = _TYPES.get(hint.removesuffix(" | None"), pa.string())
    return pa.array([getattr(each, name) for each in nouns], kind)
