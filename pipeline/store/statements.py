"""The statements that write a batch; may import `rows`, `batch` and `spool`.

Rows go in by the hundred. sqlite3 lets go of the GIL around every statement it executes and must
then win it back, which costs up to 5 ms while another thread computes: row by row, a checkpoint of
2,000 guns took 19 s beside a busy event loop.
"""

# ruff: noqa: S608 - statements are put together from the column names of the nouns, never from input

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, islice

from pipeline.model import Counters
from pipeline.store import rows, spool
from pipeline.store.batch import Batch
from pipeline.store.rows import Row

# What is left of a longer list goes in by the next smaller number, so that few different statements
# are ever compiled. 256 rows of 40 columns stay under SQLite's 32,766 parameters a statement.
ROWS_A_STATEMENT = (256, 16, 1)
# SQLite rewrites only the pages of a value that changed, provided its length did not: in chunks, a
# snapshot that grows by one alarm leaves the chunks before it as they are. Engineering choice.
SNAPSHOT_CHUNK_BYTES = 256 * 1024
DEAD_LETTERS_MAX = 10_000  # 40 MB at most: enough to see what is wrong; engineering choice


class Insert:
    """Inserts rows of `columns`; where the `key` is there already, replaces or, so told, merges."""

    def __init__(
        self, table: str, columns: Sequence[str], key: Sequence[str] = (), merge: bool = False
    ) -> None:
        self._head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
        self._marks = f"({', '.join('?' * len(columns))})"
        changes = (
            f"{c} = {_merged(c) if merge else f'excluded.{c}'}" for c in columns if c not in key
        )
        update = f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(changes)}"
        self._tail = update if key else ""

    def write(self, database: sqlite3.Connection, values: Collection[Sequence[object]]) -> None:
        left, source = len(values), iter(values)
        for size in ROWS_A_STATEMENT:
            statement = f"{self._head}{', '.join([self._marks] * size)}{self._tail}"
            for _ in range(left // size):
                parameters = tuple(chain.from_iterable(islice(source, size)))
                database.execute(statement, parameters)
            left %= size


def _merged(column: str) -> str:
    """How two parts of a second or minute become one, after a device's clock stepped back."""
    if column.endswith(("hops", "_sum")):
        return f"{column} + excluded.{column}"
    if column.endswith("_max"):
        return f"max({column}, excluded.{column})"
    if column == "quality_worst":
        return f"min({column}, excluded.{column})"  # bad < degraded < good, as it happens
    return f"excluded.{column}"


_SECOND = ("gun", *rows.SECOND_COLUMNS)
_MINUTE = ("gun", *rows.MINUTE.columns)
_CURRENT = ("gun", "rule", "session_id")
_EXPOSURE = ("clinic", "operator", "day")
_GUN = Insert("gun", ("gun", "clinic", "device"))
_CLOSED_SECOND = Insert("features", _SECOND, key=("gun", "t_ns"), merge=True)
_CLOSED_MINUTE = Insert("rollup_1min", _MINUTE, key=("gun", "t_ns"), merge=True)
_OPEN_SECOND = Insert("second_open", _SECOND, key=("gun",))
_OPEN_MINUTE = Insert("minute_open", _MINUTE, key=("gun",))
_ALARM = Insert("alarm_transition", ("position", "gun", *rows.ALARM.columns))
_ALARM_CURRENT = Insert("alarm_current", (*_CURRENT, "position"), key=_CURRENT)
_SESSION = Insert("session", ("gun", *rows.SESSION.columns), key=("gun", "session_id"))
_STATUS = Insert("device_status", ("gun", *rows.STATUS.columns), key=("gun",))
_OPERATOR_EXPOSURE = Insert("operator_exposure", rows.EXPOSURE.columns, key=_EXPOSURE)
_DEAD_LETTER = Insert("dead_letter", rows.DEAD_LETTER.columns)
_SPOOL = Insert("spool", ("kind", "line"))
_CHUNK = Insert("snapshot", ("chunk", "bytes"), key=("chunk",))

_GONE = "(SELECT value FROM json_each(?))"
_DELETE_SECONDS = f"DELETE FROM second_open WHERE gun IN {_GONE}"
_DELETE_MINUTES = f"DELETE FROM minute_open WHERE gun IN {_GONE}"
_DELETE_CLEARED = """
DELETE FROM alarm_current WHERE (gun, rule, session_id) IN (
  SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
  FROM json_each(?))"""
_BOUND_DEAD_LETTERS = (
    "DELETE FROM dead_letter WHERE position <= (SELECT max(position) FROM dead_letter) - ?"
)
_REPLACE_COUNTERS = (
    "INSERT INTO pipeline_counters VALUES (1, ?) ON CONFLICT DO UPDATE SET json = excluded.json"
)
_ADD_COUNT = (
    "INSERT INTO counter VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value"
)


def write_batch(database: sqlite3.Connection, batch: Batch) -> int:
    """Write it all; returns how many of the oldest dead letters had to make place."""
    _GUN.write(database, [(gun, *id_) for id_, gun in batch.guns.items()])
    _write_features(database, batch)
    _write_alarms(database, batch)
    _SESSION.write(database, batch.sessions.values())
    _STATUS.write(database, batch.statuses.values())
    _OPERATOR_EXPOSURE.write(database, batch.exposures.values())
    _DEAD_LETTER.write(database, batch.dead_letters)
    _SPOOL.write(database, batch.spool)
    add_counts(database, spool.added(batch.spool))
    dropped = database.execute(_BOUND_DEAD_LETTERS, (DEAD_LETTERS_MAX,)).rowcount
    add_count(database, "dead_letters_dropped", dropped)
    add_count(database, "unstorable", batch.unstorable)
    return dropped


def write_snapshot(database: sqlite3.Connection, snapshot: bytes) -> None:
    size = SNAPSHOT_CHUNK_BYTES
    view = memoryview(snapshot)
    # An empty snapshot is still one: its single chunk holds nothing.
    chunks = [(i, view[at : at + size]) for i, at in enumerate(range(0, max(len(view), 1), size))]
    _CHUNK.write(database, chunks)
    database.execute("DELETE FROM snapshot WHERE chunk >= ?", (len(chunks),))


def write_counters(database: sqlite3.Connection, counters: Counters) -> None:
    database.execute(_REPLACE_COUNTERS, (rows.write_counters(counters),))


def add_counts(database: sqlite3.Connection, changed: Mapping[str, int]) -> None:
    for name, added in changed.items():
        add_count(database, name, added)


def add_count(database: sqlite3.Connection, name: str, added: int) -> None:
    if added:
        database.execute(_ADD_COUNT, (name, added))


def _write_features(database: sqlite3.Connection, batch: Batch) -> None:
    _CLOSED_SECOND.write(database, batch.closed_seconds)
    _CLOSED_MINUTE.write(database, batch.closed_minutes)
    seconds, minutes = batch.seconds.items(), batch.minutes.items()
    _OPEN_SECOND.write(database, [(gun, *rows.write_second(s)) for gun, s in seconds if s])
    _OPEN_MINUTE.write(database, [(gun, *rows.MINUTE.write(m)) for gun, m in minutes if m])
    database.execute(_DELETE_SECONDS, (_gone(seconds),))
    database.execute(_DELETE_MINUTES, (_gone(minutes),))


def _write_alarms(database: sqlite3.Connection, batch: Batch) -> None:
    _ALARM.write(database, batch.alarms)
    current = batch.alarms_current.items()
    standing: list[Row] = [(*key, position) for key, position in current if position is not None]
    _ALARM_CURRENT.write(database, standing)
    database.execute(_DELETE_CLEARED, (_gone(current),))


def _gone(items: Iterable[tuple[object, object]]) -> str:
    return json.dumps([key for key, value in items if value is None])
