"""One checkpoint's records, sorted into the rows of one transaction.

May import `rows`, `folding`, `spool` and `model`. Nothing here touches the database, and nothing of
`Standing` changes before `settle`: a transaction that failed leaves no trace, and the same records
can be given again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pipeline.model import (
    DEAD_LETTER_BYTES_MAX,
    Alarm,
    AlarmState,
    DeadLetter,
    DeviceId,
    DeviceStatus,
    Features,
    FeatureSecond,
    MinuteRollup,
    OperatorExposure,
    OutboundRecord,
    PipelineStatus,
    Record,
    SessionSummary,
)
from pipeline.store import rows
from pipeline.store.folding import (
    extend_minute,
    extend_second,
    minute_start_ns,
    second_start_ns,
    start_minute,
    start_second,
)
from pipeline.store.rows import INT64_MAX, Row
from pipeline.store.spool import Encode, SpoolKind

DEAD_LETTER_TOPIC_MAX = 512  # the longest topic of the contract is 231 characters
KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


@dataclass(slots=True)
class Standing:
    """What the writer must know of the store to add to it, read once when it is opened."""

    guns: dict[DeviceId, int]
    models: dict[int, str]  # of the guns that have said theirs
    seconds: dict[int, FeatureSecond]
    minutes: dict[int, MinuteRollup]
    alarm_position: int  # of the newest transition


@dataclass(slots=True)
class Batch:
    """The rows of one checkpoint. A value of None in a mapping says: delete the row of that key."""

    standing: Standing
    encode: Encode | None  # None: nothing is spooled
    guns: dict[DeviceId, int] = field(default_factory=dict)  # the new ones
    closed_seconds: list[Row] = field(default_factory=list)
    closed_minutes: list[Row] = field(default_factory=list)
    seconds: dict[int, FeatureSecond | None] = field(default_factory=dict)
    minutes: dict[int, MinuteRollup | None] = field(default_factory=dict)
    alarms: list[Row] = field(default_factory=list)
    alarms_current: dict[tuple[int, str, str], int | None] = field(default_factory=dict)
    sessions: dict[tuple[int, str], Row] = field(default_factory=dict)
    statuses: dict[int, Row] = field(default_factory=dict)
    models: dict[int, str] = field(default_factory=dict)
    exposures: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    dead_letters: list[Row] = field(default_factory=list)
    spool: list[tuple[str, str]] = field(default_factory=list)
    unstorable: int = 0

    def add(self, record: Record) -> None:
        """Sort one record in; one that SQLite cannot hold is counted and left out."""
        match record:
            case Features():
                self._add_hop(record)
            case Alarm():
                self._add_alarm(record)
            case SessionSummary():
                self._add_session(record)
            case DeviceStatus():
                self._add_status(record)
            case OperatorExposure():
                self._add_exposure(record)
            case DeadLetter():
                self._add_dead_letter(record)

    def settle(self) -> None:
        """The transaction is committed: what was added now stands."""
        self.standing.guns.update(self.guns)
        self.standing.models.update(self.models)
        _overlay(self.standing.seconds, self.seconds)
        _overlay(self.standing.minutes, self.minutes)
        self.standing.alarm_position += len(self.alarms)

    def _gun(self, gun: DeviceId) -> int:
        key = self.standing.guns.get(gun) or self.guns.get(gun)
        if key is None:
            key = len(self.standing.guns) + len(self.guns) + 1
            self.guns[gun] = key
        return key

    def _add_hop(self, hop: Features) -> None:
        if not 0 < hop.t_ns <= INT64_MAX:
            self.unstorable += 1
            return
        gun = self._gun(hop.id)
        second = _latest(gun, self.seconds, self.standing.seconds)
        if second and second_start_ns(second.last.t_ns) != second_start_ns(hop.t_ns):
            self._close_second(gun, second)
            second = None
        self.seconds[gun] = extend_second(second or start_second(hop), hop)
        minute = _latest(gun, self.minutes, self.standing.minutes)
        if minute and minute.t_ns != minute_start_ns(hop.t_ns):
            self._close_minute(gun, minute)
            minute = None
        self.minutes[gun] = extend_minute(minute or start_minute(hop), hop)

    def _close_second(self, gun: int, second: FeatureSecond) -> None:
        self.closed_seconds.append((gun, *rows.write_second(second)))
        self._spool(SpoolKind.SECOND, second, gun)

    def _close_minute(self, gun: int, minute: MinuteRollup) -> None:
        self.closed_minutes.append((gun, *rows.MINUTE.write(minute)))
        self._spool(SpoolKind.MINUTE, minute, gun)

    def _add_alarm(self, alarm: Alarm) -> None:
        row = rows.ALARM.write(alarm)
        if not self._storable(row):
            return
        gun = self._gun(alarm.id)
        position = self.standing.alarm_position + len(self.alarms) + 1
        self.alarms.append((position, gun, *row))
        key = (gun, alarm.rule, alarm.session_id or "")
        self.alarms_current[key] = None if alarm.state is AlarmState.CLEARED else position
        self._spool(SpoolKind.ALARM, alarm, gun, position)

    def _add_session(self, session: SessionSummary) -> None:
        row = rows.SESSION.write(session)
        if not self._storable(row):
            return
        gun = self._gun(session.id)
        self.sessions[gun, session.session_id] = (gun, *row)
        if session.ended_at_ns is not None:  # InfluxDB only appends: it gets a session once, whole
            self._spool(SpoolKind.SESSION, session, gun)

    def _add_status(self, status: DeviceStatus) -> None:
        row = rows.STATUS.write(status)
        if not self._storable(row):
            return
        gun = self._gun(status.id)
        self.statuses[gun] = (gun, *row)
        if status.model is not None:
            self.models[gun] = status.model
        if not status.online:
            self._close_open_ones(gun)
        self._spool(SpoolKind.STATUS, status, gun)

    def _close_open_ones(self, gun: int) -> None:
        """A gun that went away may not come back to close its last second and minute itself."""
        if second := _latest(gun, self.seconds, self.standing.seconds):
            self._close_second(gun, second)
            self.seconds[gun] = None
        if minute := _latest(gun, self.minutes, self.standing.minutes):
            self._close_minute(gun, minute)
            self.minutes[gun] = None

    def _add_exposure(self, exposure: OperatorExposure) -> None:
        row = rows.EXPOSURE.write(exposure)
        if self._storable(row):
            self.exposures[exposure.clinic, exposure.operator, exposure.day] = row
            self._spool(SpoolKind.EXPOSURE, exposure)

    def _add_dead_letter(self, letter: DeadLetter) -> None:
        capped = replace(
            letter,
            topic=letter.topic[:DEAD_LETTER_TOPIC_MAX],
            payload=letter.payload[:DEAD_LETTER_BYTES_MAX],
        )
        self.dead_letters.append(rows.DEAD_LETTER.write(capped))

    def _storable(self, row: Row) -> bool:
        if rows.storable(row):
            return True
        self.unstorable += 1
        return False

    def add_status_of_pipeline(self, status: PipelineStatus) -> None:
        """Nothing of the store's own: it only goes on to InfluxDB."""
        self._spool(SpoolKind.PIPELINE, status)

    def _spool(
        self, kind: SpoolKind, record: OutboundRecord, gun: int | None = None, position: int = 0
    ) -> None:
        if self.encode is not None:
            model = None if gun is None else self.models.get(gun, self.standing.models.get(gun))
            self.spool.append((kind, self.encode(record, model, position)))


def _latest(
    gun: int, changed: Mapping[int, ValueT | None], standing: Mapping[int, ValueT]
) -> ValueT | None:
    return changed[gun] if gun in changed else standing.get(gun)


def _overlay(standing: dict[KeyT, ValueT], changed: Mapping[KeyT, ValueT | None]) -> None:
    for key, value in changed.items():
        if value is None:
            standing.pop(key, None)
        else:
            standing[key] = value
