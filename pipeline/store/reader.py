"""The store as the page and the reports read it: typed nouns out, no rows, nothing written.

May import the store's own modules and `model`. A reader has its own connection and reads a
committed state; in WAL mode it and the writer never wait for each other. Every answer is bounded by
the caller's `limit` or by the size of the fleet. Times are ranges `from_ns <= t < to_ns`.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pipeline.model import (
    HOP_NS,
    Alarm,
    AlarmState,
    Counters,
    DeadLetter,
    DeviceId,
    DeviceStatus,
    FeatureSecond,
    OperatorExposure,
    Priority,
    SessionSummary,
)
from pipeline.store import queries, rows, schema, spool
from pipeline.store.errors import StoreReadError
from pipeline.store.folding import MINUTE_NS, SECOND_NS
from pipeline.store.retention import HOUR_NS, used_bytes
from pipeline.store.spool import SpoolCount, SpoolKind

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class GunView:
    """A gun as the fleet view needs it; what has never been heard is None."""

    id: DeviceId
    status: DeviceStatus | None
    latest: FeatureSecond | None


@dataclass(frozen=True, slots=True)
class FeaturePoint:
    """One point of a chart: `span_s` seconds of one gun from `t_ns` on.

    Means are over the time in contact (force) or with the motor on (percussion, a_hv), and 0
    without any.
    """

    t_ns: int
    span_s: float
    hops: int
    contact_s: float
    contact_force_n_mean: float
    contact_force_n_max: float
    stiffness_max: float
    dwell_s_max: float
    accel_rms_g_max: float
    percussion_hz_mean: float
    a_hv_m_s2_rms: float


@dataclass(frozen=True, slots=True)
class AlarmFilter:
    """Which transitions; None does not restrict. `before` pages: positions below it."""

    clinic: str | None = None
    device: str | None = None
    rule: str | None = None
    priority: Priority | None = None
    state: AlarmState | None = None
    session_id: str | None = None
    operator: str | None = None
    from_ns: int | None = None
    to_ns: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class AlarmTransition:
    """One row of the alarm history; `position` grows with every transition stored."""

    position: int
    alarm: Alarm


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions, by when they started; None does not restrict."""

    clinic: str | None = None
    device: str | None = None
    session_id: str | None = None
    operator: str | None = None
    client: str | None = None
    from_ns: int | None = None
    to_ns: int | None = None


@dataclass(frozen=True, slots=True)
class ExposureFilter:
    """Which operators and days (YYYY-MM-DD, both ends included); None does not restrict."""

    clinic: str | None = None
    operator: str | None = None
    from_day: str | None = None
    to_day: str | None = None


@dataclass(frozen=True, slots=True)
class StoreSize:
    """How much the store holds."""

    used_bytes: int
    log_bytes: int
    guns: int
    dead_letters: int
    dead_letters_dropped: int
    spooled: int
    spool_bytes: int
    spool_dropped: int
    influx_refused: int
    unstorable: int


class StoreReader:
    """The embedded store, open for reading. Use `StoreReader.open`; any thread may call."""

    def __init__(self, directory: Path, database: sqlite3.Connection) -> None:
        self.directory = directory
        self._database = database
        self._one_at_a_time = threading.Lock()

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open the store that `Store` writes in `directory`.

        Raises StoreMissingError, StoreUnusableError or StoreVersionError.
        """
        return cls(directory, schema.open_reader(directory))

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def guns(self, clinic: str | None = None) -> tuple[GunView, ...]:
        """Every gun with its latest status and its latest second of features."""
        return tuple(_gun_view(row) for row in self._query(queries.GUNS, {"clinic": clinic}))

    def features(
        self, gun: DeviceId, from_ns: int, to_ns: int, points_max: int = 1_000
    ) -> tuple[FeaturePoint, ...]:
        """A gun's features as at most `points_max` (2 or more) points, oldest first.

        A range of over an hour is answered from the 1-minute rollups.
        """
        from_rollups = to_ns - from_ns > HOUR_NS
        step_ns = MINUTE_NS if from_rollups else SECOND_NS
        # A range that does not begin on a step touches one point more than it is long.
        steps = -(-(to_ns - from_ns) // (step_ns * max(points_max - 1, 1)))
        span_ns = max(steps, 1) * step_ns
        found = self._query(
            queries.MINUTE_POINTS if from_rollups else queries.SECOND_POINTS,
            {**gun._asdict(), "from_ns": from_ns, "to_ns": to_ns, "span_ns": span_ns},
        )
        return tuple(_point(span_ns, *row) for row in found)

    def feature_seconds(
        self, gun: DeviceId, from_ns: int, to_ns: int, limit: int
    ) -> tuple[FeatureSecond, ...]:
        """The stored seconds themselves, oldest first."""
        asked = {**gun._asdict(), "from_ns": from_ns, "to_ns": to_ns, "limit": limit}
        return tuple(
            rows.read_second(gun, values) for values in self._query(queries.SECONDS, asked)
        )

    def current_alarms(self, clinic: str | None = None) -> tuple[Alarm, ...]:
        """The alarms that are not cleared, newest change first."""
        found = self._query(queries.CURRENT_ALARMS, {"clinic": clinic})
        return tuple(_alarm(row).alarm for row in found)

    def alarm_history(self, wanted: AlarmFilter, limit: int = 200) -> tuple[AlarmTransition, ...]:
        """Transitions, newest first."""
        found = self._find(queries.ALARM_HISTORY, queries.ALARM_CONDITIONS, wanted, limit)
        return tuple(_alarm(row) for row in found)

    def sessions(self, wanted: SessionFilter, limit: int = 200) -> tuple[SessionSummary, ...]:
        """Session summaries, latest start first."""
        found = self._find(queries.SESSIONS, queries.SESSION_CONDITIONS, wanted, limit)
        return tuple(
            rows.SESSION.read(values, id=DeviceId(clinic, device))
            for clinic, device, *values in found
        )

    def exposures(self, wanted: ExposureFilter, limit: int = 1_000) -> tuple[OperatorExposure, ...]:
        """Operators' daily exposure, newest day first."""
        found = self._find(queries.EXPOSURES, queries.EXPOSURE_CONDITIONS, wanted, limit)
        return tuple(rows.EXPOSURE.read(values) for values in found)

    def dead_letters(self, limit: int = 200) -> tuple[DeadLetter, ...]:
        """The newest messages that could not be used, newest first."""
        found = self._query(queries.DEAD_LETTERS, {"limit": limit})
        return tuple(rows.DEAD_LETTER.read(values) for values in found)

    def counters(self) -> Counters | None:
        """What the pipeline counted up to the last checkpoint that said."""
        found = self._query("SELECT json FROM pipeline_counters", {})
        return rows.read_counters(found[0][0]) if found else None

    def size(self) -> StoreSize:
        counted = dict(self._query("SELECT name, value FROM counter", {}))
        ((guns, dead_letters),) = self._query(queries.SIZES, {})
        log = self.directory / schema.LOG_NAME
        return StoreSize(
            used_bytes=self._read(used_bytes),
            log_bytes=log.stat().st_size if log.exists() else 0,
            guns=guns,
            dead_letters=dead_letters,
            dead_letters_dropped=counted.get("dead_letters_dropped", 0),
            spooled=counted.get(spool.LINES_COUNTER, 0),
            spool_bytes=counted.get(spool.BYTES_COUNTER, 0),
            spool_dropped=counted.get(spool.DROPPED_COUNTER, 0),
            influx_refused=counted.get(spool.REFUSED_COUNTER, 0),
            unstorable=counted.get("unstorable", 0),
        )

    def spool_counts(self) -> Mapping[SpoolKind, SpoolCount]:
        """What became of the lines for InfluxDB, by what they were made of."""
        counted = dict(self._query("SELECT name, value FROM counter", {}))
        return self._read(lambda database: spool.counts(database, counted))

    def row_counts(self) -> Mapping[SpoolKind, int]:
        """The rows of the tables that have one for every line spooled; looks at all of them."""
        ((seconds, alarms, sessions),) = self._query(queries.SPOOLED_ROWS, {})
        return {
            SpoolKind.SECOND: seconds,
            SpoolKind.ALARM: alarms,
            SpoolKind.SESSION: sessions,
        }

    def _find(
        self,
        statement: str,
        conditions: Mapping[str, str],
        wanted: AlarmFilter | SessionFilter | ExposureFilter,
        limit: int,
    ) -> list[tuple[Any, ...]]:
        """Only what is asked for stands in the WHERE, so that the planner can choose an index."""
        asked = asdict(wanted)
        restricting = [conditions[name] for name, value in asked.items() if value is not None]
        where = " AND ".join(restricting) or "TRUE"
        return self._query(statement.format(where=where), {**asked, "limit": limit})

    def _query(self, statement: str, asked: Mapping[str, object]) -> list[tuple[Any, ...]]:
        # Fetched whole: an unfinished statement would hold the log open and let it grow.
        return self._read(lambda database: database.execute(statement, asked).fetchall())

    def _read(self, read: Callable[[sqlite3.Connection], AnswerT]) -> AnswerT:
        try:
            with self._one_at_a_time:
                return read(self._database)
        except sqlite3.Error as error:
            raise StoreReadError(
                f"the store in {self.directory} could not be read ({error}): "
                "check that its disk is healthy and nobody replaced the file"
            ) from error


def _gun_view(row: Sequence[Any]) -> GunView:
    clinic, device, has_status, *rest = row
    gun, split = DeviceId(clinic, device), len(rows.STATUS.columns)
    status, has_second, second = rest[:split], rest[split], rest[split + 1 :]
    return GunView(
        id=gun,
        status=rows.STATUS.read(status, id=gun) if has_status else None,
        latest=rows.read_second(gun, second) if has_second else None,
    )


def _point(
    span_ns: int,
    t_ns: int,
    hops: int,
    contact_hops: int,
    running_hops: int,
    contact_force_n_sum: float,
    percussion_hz_sum: float,
    a_hv_m2_s4_sum: float,
    *worst: float,
) -> FeaturePoint:
    contact_force_n_max, stiffness_max, dwell_s_max, accel_rms_g_max = worst
    return FeaturePoint(
        t_ns=t_ns,
        span_s=span_ns / SECOND_NS,
        hops=hops,
        contact_s=contact_hops * HOP_NS / SECOND_NS,
        contact_force_n_mean=contact_force_n_sum / max(contact_hops, 1),
        contact_force_n_max=contact_force_n_max,
        stiffness_max=stiffness_max,
        dwell_s_max=dwell_s_max,
        accel_rms_g_max=accel_rms_g_max,
        percussion_hz_mean=percussion_hz_sum / max(running_hops, 1),
        a_hv_m_s2_rms=math.sqrt(a_hv_m2_s4_sum / max(running_hops, 1)),
    )


def _alarm(row: Sequence[Any]) -> AlarmTransition:
    position, clinic, device, *values = row
    return AlarmTransition(position, rows.ALARM.read(values, id=DeviceId(clinic, device)))
