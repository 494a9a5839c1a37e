"""Whether the books balance, and whether the records are those of a run that nobody disturbed.

The undisturbed run is a replay of the same messages, in order, through one monitor into a store of
its own, by the product's own code; then the two stores are compared table by table. Left out is
what tells of the disturbance itself: the pipeline's own alarms, alarms about the link to a gun, and
when a gun's status was noticed, which all hang on when something arrived.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from chaos.plan import Plan
from devices.recording import START_NS
from pipeline.app import make_monitor
from pipeline.cli.gun_models import known_guns
from pipeline.config import Settings
from pipeline.model import DEAD_LETTER_BYTES_MAX, PIPELINE_CLINIC, Counters, Received
from pipeline.rules import ALARMS, Signal
from pipeline.store import SpoolKind, Store, StoreReader, schema

BY_LINK = {rule for rule, row in ALARMS.items() if row.signal is Signal.LINK}
BATCH_MESSAGES = 200

Rows = list[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Balance:
    """What became of everything the broker acknowledged. A good run has no `faults`."""

    frames: int  # different ones that can be read
    spoilt: int  # messages that cannot
    lost: int
    doubled: int
    late: int  # counted losses beyond those of the undisturbed run
    records: int
    points: int  # in InfluxDB
    faults: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not any(fault.startswith("records") for fault in self.faults)


def balance(
    plan: Plan, settings: Settings, directory: Path, points: Mapping[SpoolKind, int]
) -> Balance:
    """Compare the store of `settings` with an undisturbed run kept in `directory`, and with the
    `points` that InfluxDB has."""
    expected = _replay(plan, settings, directory)
    stored = counters_in(settings.store.directory)
    missed = expected.frames_processed - stored.frames_processed
    lost = max(0, missed - (stored.frames_late - expected.frames_late))
    doubled = max(0, stored.frames_processed - expected.frames_processed)
    lost_letters, doubled_letters = _compare_letters(plan, settings.store.directory)
    faults = [
        f"{name}: {getattr(stored, name)}, undisturbed {getattr(expected, name)}"
        for name in ("frames_processed", "frames_late", "frames_missing")
        if getattr(stored, name) != getattr(expected, name)
    ]
    if lost_letters or doubled_letters:
        faults.append(f"dead letters: {lost_letters} lost, {doubled_letters} doubled")
    ours, theirs = (_records(each) for each in (settings.store.directory, directory))
    faults += [_difference(table, ours[table], theirs[table]) for table in ours]
    faults += _compare_points(settings.store.directory, points)
    return Balance(
        frames=expected.frames_processed,
        spoilt=plan.spoilt,
        lost=lost + lost_letters,
        doubled=doubled + doubled_letters,
        late=stored.frames_late - expected.frames_late,
        records=sum(map(len, theirs.values())),
        points=sum(points.values()),
        faults=tuple(fault for fault in faults if fault),
    )


def counters_in(store: Path) -> Counters:
    with StoreReader.open(store) as reader:
        return reader.counters() or Counters()


def _replay(plan: Plan, settings: Settings, directory: Path) -> Counters:
    monitor = make_monitor(settings, known_guns(settings))
    log = list(_in_order(plan))
    with Store.open(directory) as store:
        for at in range(0, len(log), BATCH_MESSAGES):
            records = monitor.feed(log[at : at + BATCH_MESSAGES])
            store.checkpoint(records, b"", monitor.counters)
        store.checkpoint(monitor.flush(), b"", monitor.counters)
    return monitor.counters


def _in_order(plan: Plan) -> Iterator[Received]:
    pace = plan.size.seconds / plan.size.publish_s
    due = heapq.merge(*plan.guns, key=lambda each: each.due_s)
    for each in due:
        yield Received(START_NS + round(each.due_s / pace * 1e9), *each.packet)


def _compare_letters(plan: Plan, store: Path) -> tuple[int, int]:
    """How many spoilt messages have no dead letter, and how many letters nobody sent."""
    spoilt = {due.packet for log in plan.guns for due in log if due.spoilt}
    needed = Counter((each.topic, each.payload[:DEAD_LETTER_BYTES_MAX]) for each in spoilt)
    with closing(_open(store)) as database:
        kept = Counter(database.execute("SELECT topic, payload FROM dead_letter").fetchall())
    return (needed - kept).total(), (kept - needed).total()


def _compare_points(store: Path, points: Mapping[SpoolKind, int]) -> Iterator[str]:
    """Whether InfluxDB has what was spooled, less dead letters and what still waits."""
    with StoreReader.open(store) as reader:
        spooled = reader.spool_counts()
    for kind, count in spooled.items():
        if count.dropped or count.refused or count.stored != points[kind]:
            yield f"points: {points[kind]} of {kind} in InfluxDB, of {count}"


def _records(store: Path) -> dict[str, Rows]:
    """What must be equal, table by table, guns by name."""
    with closing(_open(store)) as database:
        tables = {
            name: _rows(database, name, order)
            for name, order in (
                ("features", "t_ns"),
                ("second_open", "t_ns"),
                ("rollup_1min", "t_ns"),
                ("minute_open", "t_ns"),
                ("session", "session_id"),
                ("alarm_transition", "position"),
            )
        }
        tables["operator_exposure"] = database.execute(
            "SELECT * FROM operator_exposure ORDER BY clinic, operator, day"
        ).fetchall()
    return tables


def _rows(database: sqlite3.Connection, table: str, order: str) -> Rows:
    """Of alarms, those up to the gun's last sample: what follows tells of its silence."""
    last = "(SELECT max(t_ns) FROM second_open AS open WHERE open.gun = gun.gun)"
    until = f"WHERE changed_at_ns <= {last}" if table == "alarm_transition" else ""
    cursor = database.execute(
        f"SELECT clinic, device, {table}.* FROM {table} JOIN gun USING (gun) "  # noqa: S608 - ours
        f"{until} ORDER BY clinic, device, {order}"
    )
    names = [column for column, *_ in cursor.description]
    return list(_comparable(names, cursor))


def _comparable(
    names: Sequence[str], found: Iterable[tuple[object, ...]]
) -> Iterator[tuple[object, ...]]:
    """Without the store's own numbers, the black box's, and what tells of the link."""
    for values in found:
        row = dict(zip(names, values, strict=True))
        if row.get("clinic") == PIPELINE_CLINIC or row.get("rule") in BY_LINK:
            continue
        for own in ("gun", "position", "capture"):
            row.pop(own, None)
        if "alarms_by_rule" in row:
            counts = json.loads(str(row["alarms_by_rule"]))
            row["alarms_by_rule"] = str({r: n for r, n in counts.items() if r not in BY_LINK})
        yield tuple(f"{name}={value}" for name, value in row.items())


def _difference(table: str, ours: Rows, theirs: Rows) -> str:
    """One sentence that shows the first rows in which two tables differ; empty if they do not."""
    if ours == theirs:
        return ""
    extra, missing = list(Counter(ours) - Counter(theirs)), list(Counter(theirs) - Counter(ours))
    shown = ""
    if extra and missing:
        one, other = extra[0], missing[0]
        shown = (
            "; first "
            + ", ".join(str(v) for v in one[:3])
            + ": "
            + ", ".join(f"{a} not {b}" for a, b in zip(one[2:], other[2:], strict=True) if a != b)
        )
    elif extra or missing:
        shown = f"; first {(extra or missing)[0]}"
    return f"records: {table} has {len(extra)} too many, {len(missing)} too few{shown}"


def _open(store: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{store / schema.DATABASE_NAME}?mode=ro", uri=True)
