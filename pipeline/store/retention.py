"""What is deleted when it is too old, or when the store is too big; one bounded piece at a time.

May import `folding`, `spool` and `statements`. Under the size cap, oldest features go first, then
oldest rollups, then features still queued for InfluxDB, then sessions and exposures, and cleared
alarms last: the order of how hard they are to do without. The spool has a bound of its own.
Deleting frees pages inside the file for new rows; the file itself does not shrink.
"""

# ruff: noqa: S608 - statements are put together from the names of two tables, never from input

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from pipeline.store import spool
from pipeline.store.folding import SECOND_NS
from pipeline.store.statements import add_counts

HOUR_NS = 3_600 * SECOND_NS
DAY_NS = 24 * HOUR_NS

# One call deletes at most this many rows: a fleet of 2,000 adds 2,000 a second, so a call every
# second or two outruns it, and one call stays under a tenth of a second. Engineering choice.
ROWS_PER_CALL_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much to keep. None: no limit of age."""

    size_bytes_max: int
    features_days: float | None = None
    rollups_days: float | None = None
    records_days: float | None = None  # sessions, exposures, cleared alarms, dead letters
    spool_bytes_max: int | None = None


@dataclass(frozen=True, slots=True)
class Retired:
    """Rows deleted by one call; `for_room`, before their time was up."""

    features: int = 0
    rollups: int = 0
    spooled: int = 0
    records: int = 0
    for_room: bool = False

    @property
    def total(self) -> int:
        return self.features + self.rollups + self.spooled + self.records


def used_bytes(database: sqlite3.Connection) -> int:
    """Bytes of the database in use; free pages inside the file do not count."""
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    (free,) = database.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = database.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * page_bytes)


def retire(
    database: sqlite3.Connection, retention: Retention, now_ns: int, under_way: int
) -> Retired:
    """Delete what is too old; where nothing is, and the store is too big, the next in order.

    Spooled lines up to the position `under_way` are being sent, and stay.
    """
    aged = _retire_by_age(database, retention, now_ns)
    if aged.total:
        return aged
    bound = retention.spool_bytes_max
    if bound is not None and spool.waiting_bytes(database) > bound:
        return Retired(spooled=_give_up_spooled(database, under_way, any_kind=True))
    if used_bytes(database) <= retention.size_bytes_max:
        return aged
    return _retire_by_size(database, under_way)


def _retire_by_age(database: sqlite3.Connection, retention: Retention, now_ns: int) -> Retired:
    budget = ROWS_PER_CALL_MAX
    features = rollups = records = 0
    if retention.features_days is not None:
        features = _delete_series(
            database, "features", _days_before(now_ns, retention.features_days), budget
        )
    if retention.rollups_days is not None:
        rollups = _delete_series(
            database, "rollup_1min", _days_before(now_ns, retention.rollups_days), budget - features
        )
    if retention.records_days is not None:
        cutoff_ns = _days_before(now_ns, retention.records_days)
        for statement in (_DELETE_DEAD_LETTERS, *_DELETE_RECORDS):
            left = budget - features - rollups - records
            records += database.execute(statement, (cutoff_ns, left)).rowcount
    return Retired(features=features, rollups=rollups, records=records)


def _retire_by_size(database: sqlite3.Connection, under_way: int) -> Retired:
    budget = ROWS_PER_CALL_MAX
    if features := _delete_oldest(database, "features", HOUR_NS, budget):
        return Retired(features=features, for_room=True)
    if rollups := _delete_oldest(database, "rollup_1min", DAY_NS, budget):
        return Retired(rollups=rollups, for_room=True)
    if spooled := _give_up_spooled(database, under_way, any_kind=False):
        return Retired(spooled=spooled, for_room=True)
    for statement in _DELETE_RECORDS:
        if records := database.execute(statement, (_FOR_EVER_NS, budget)).rowcount:
            return Retired(records=records, for_room=True)
    return Retired()


def _give_up_spooled(database: sqlite3.Connection, under_way: int, *, any_kind: bool) -> int:
    changed = spool.give_up(database, under_way, ROWS_PER_CALL_MAX, any_kind=any_kind)
    add_counts(database, changed)
    return changed[spool.DROPPED_COUNTER]


def _days_before(now_ns: int, days: float) -> int:
    return now_ns - int(days * DAY_NS)


def _oldest_by_gun(table: str) -> str:
    return (
        f"SELECT gun, (SELECT min(t_ns) FROM {table} WHERE gun = gun.gun) AS oldest_ns FROM gun "
        "WHERE oldest_ns < ? ORDER BY oldest_ns"
    )


def _delete_oldest(database: sqlite3.Connection, table: str, span_ns: int, budget: int) -> int:
    """Delete the fleet's oldest `span_ns` of `table`, or as much of it as the budget allows."""
    oldest = database.execute(_oldest_by_gun(table), (_FOR_EVER_NS,)).fetchone()
    return 0 if oldest is None else _delete_series(database, table, oldest[1] + span_ns, budget)


def _delete_series(database: sqlite3.Connection, table: str, cutoff_ns: int, budget: int) -> int:
    """Delete at most `budget` rows before `cutoff_ns`, first of the gun that has the oldest."""
    deleted = 0
    for gun, _ in database.execute(_oldest_by_gun(table), (cutoff_ns,)).fetchall():
        if deleted >= budget:
            break
        deleted += database.execute(
            f"DELETE FROM {table} WHERE gun = :gun AND t_ns < min(:cutoff_ns, coalesce("
            f"(SELECT t_ns FROM {table} WHERE gun = :gun ORDER BY t_ns LIMIT 1 OFFSET :rows),"
            " :cutoff_ns))",
            {"gun": gun, "cutoff_ns": cutoff_ns, "rows": budget - deleted},
        ).rowcount
    return deleted


_FOR_EVER_NS = 2**63 - 1
_DELETE_DEAD_LETTERS = """
DELETE FROM dead_letter WHERE position IN (
  SELECT position FROM dead_letter WHERE received_at_ns < ? ORDER BY position LIMIT ?)"""
# Each takes (older than [ns], at most [rows]). A running session is written again by its next
# checkpoint; an alarm that still stands is not old, however long ago it changed.
_DELETE_RECORDS = (
    """
DELETE FROM session WHERE (gun, session_id) IN (
  SELECT gun, session_id FROM session WHERE started_at_ns < ? ORDER BY started_at_ns LIMIT ?)""",
    """
DELETE FROM operator_exposure WHERE (clinic, operator, day) IN (
  SELECT clinic, operator, day FROM operator_exposure WHERE t_ns < ? ORDER BY t_ns LIMIT ?)""",
    """
DELETE FROM alarm_transition WHERE position IN (
  SELECT position FROM alarm_transition
  WHERE changed_at_ns < ? AND position NOT IN (SELECT position FROM alarm_current)
  ORDER BY changed_at_ns LIMIT ?)""",
)
