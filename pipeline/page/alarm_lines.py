"""The alarms as the page lists them: merged from store and board, active first; pure.

May import `actions`, `board`, `words`, `rules` and `model`. The board wins: it has every transition
before the store does, so that an alarm it saw cleared is gone even while the store still says
active.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.model import ActionKind, Alarm, AlarmState, Priority, Quality
from pipeline.page import words
from pipeline.page.actions import Asked, offered
from pipeline.page.board import AlarmKey, LiveBoard, alarm_key
from pipeline.rules import ALARMS, AlarmKind

NS_PER_S = 1_000_000_000
RANK: Mapping[Priority, int] = {Priority.LOW: 1, Priority.MEDIUM: 2, Priority.HIGH: 3}
# No data is never normal: an alarm that cannot be judged counts as active.
ACTIVE = frozenset({AlarmState.ACTIVE_UNACK, AlarmState.ACTIVE_ACK, AlarmState.UNKNOWN})
WAITING = frozenset({AlarmState.ACTIVE_UNACK, AlarmState.RTN_UNACK, AlarmState.LATCHED})
HIDDEN = frozenset({AlarmState.SHELVED, AlarmState.SUPPRESSED})


@dataclass(frozen=True, slots=True)
class Badge:
    """An alarm in one line, on the tile of its gun."""

    title: str
    priority: Priority
    active: bool
    urgent: bool  # see `attention`
    age_s: int


@dataclass(frozen=True, slots=True)
class PastLine:
    """One transition of an alarm, as the history lists it."""

    position: int
    at_ms: int
    clinic: str
    device: str
    title: str
    priority: Priority
    event: str
    evidence: str
    site: str | None
    operator: str | None
    by: str | None
    note: str
    until_ms: int | None
    notes: tuple[str, ...]
    capture: str | None


@dataclass(frozen=True, slots=True)
class AlarmLine:
    """An alarm with its evidence. `age_s` runs since it was raised, once over since it ended."""

    key: str
    clinic: str
    device: str
    rule: str
    alarm_id: str
    title: str
    priority: Priority
    state_text: str
    active: bool
    urgent: bool  # see `attention`
    waits: bool  # for somebody to acknowledge or reset it
    age_s: int
    evidence: str
    peak: str
    site: str | None
    operator: str | None
    advice: str
    notes: tuple[str, ...]
    until_ms: int | None
    by: str | None  # who acknowledged, shelved or reset it last, and what they said
    note: str
    actions: tuple[ActionKind, ...]
    asked: Asked | None
    capture: str | None  # the name of its black box recording


def standing(stored: Iterable[Alarm], board: LiveBoard) -> list[Alarm]:
    """The alarms that are not cleared, the most urgent first."""
    newest: dict[AlarmKey, Alarm] = {alarm_key(alarm): alarm for alarm in stored}
    newest.update(board.alarms)
    found = [alarm for alarm in newest.values() if alarm.state is not AlarmState.CLEARED]
    return sorted(found, key=_urgency)


def cleared(history: Iterable[Alarm], still_standing: Iterable[Alarm]) -> list[Alarm]:
    """The alarms of a history, newest first, that are over and done with, each once."""
    done = {alarm_key(alarm) for alarm in still_standing}
    found = []
    for alarm in history:
        if alarm_key(alarm) not in done and alarm.state is AlarmState.CLEARED:
            found.append(alarm)
        done.add(alarm_key(alarm))
    return found


def is_active(alarm: Alarm) -> bool:
    return alarm.state in ACTIVE


def attention(alarm: Alarm) -> int:
    """How far up an alarm lifts its gun among the others.

    What is over counts as little as a low technical alarm, which says something of the equipment
    that can wait (every uncalibrated gun has one): neither may hide a gun that presses too hard.
    """
    if not is_active(alarm) or (alarm.priority is Priority.LOW and _is_technical(alarm.rule)):
        return 0
    return RANK[alarm.priority]


def to_badge(alarm: Alarm, gun_now_ns: int) -> Badge:
    return Badge(
        title=words.rule_title(alarm.rule),
        priority=alarm.priority,
        active=is_active(alarm),
        urgent=attention(alarm) > 0,
        age_s=age_s(alarm, gun_now_ns),
    )


def _peak(alarm: Alarm) -> str:
    """Where it is not what is shown as the value already."""
    shown = words.quantity(alarm.peak, alarm)
    return shown if shown != words.quantity(alarm.value, alarm) else ""


def to_line(alarm: Alarm, gun_now_ns: int, asked: Asked | None = None) -> AlarmLine:
    row = ALARMS.get(alarm.rule)
    return AlarmLine(
        key=f"{alarm.id}/{alarm.alarm_id}/{alarm.raised_at_ns}",
        clinic=alarm.id.clinic,
        device=alarm.id.device,
        rule=alarm.rule,
        alarm_id=alarm.alarm_id,
        title=words.rule_title(alarm.rule),
        priority=alarm.priority,
        state_text=words.STATE_WORDS[alarm.state],
        active=is_active(alarm),
        urgent=attention(alarm) > 0,
        waits=alarm.state in WAITING,
        age_s=age_s(alarm, gun_now_ns),
        evidence=words.evidence(alarm, is_over=not is_active(alarm)),
        peak=_peak(alarm) if is_active(alarm) else "",
        site=words.site_words(alarm.site),
        operator=alarm.operator,
        advice=row.advice if row is not None else "",
        notes=_notes(alarm),
        until_ms=alarm.until_ns // 1_000_000 if alarm.until_ns is not None else None,
        by=alarm.by,
        note=alarm.note,
        actions=offered(alarm),
        asked=asked,
        capture=alarm.capture,
    )


def to_past(position: int, alarm: Alarm) -> PastLine:
    return PastLine(
        position=position,
        at_ms=alarm.changed_at_ns // 1_000_000,
        clinic=alarm.id.clinic,
        device=alarm.id.device,
        title=words.rule_title(alarm.rule),
        priority=alarm.priority,
        event=words.EVENT_WORDS[alarm.state],
        evidence=words.evidence(alarm, is_over=not is_active(alarm)),
        site=words.site_words(alarm.site),
        operator=alarm.operator,
        by=alarm.by,
        note=alarm.note,
        until_ms=alarm.until_ns // 1_000_000 if alarm.until_ns is not None else None,
        notes=_notes(alarm),
        capture=alarm.capture,
    )


def age_s(alarm: Alarm, gun_now_ns: int) -> int:
    since_ns = alarm.raised_at_ns if is_active(alarm) else alarm.changed_at_ns
    return max(0, (gun_now_ns - since_ns) // NS_PER_S)


def _urgency(alarm: Alarm) -> tuple[int, bool, bool, int, int]:
    """What stands now, then what is over and waits for somebody, then what can wait."""
    hidden = alarm.state in HIDDEN
    can_wait = is_active(alarm) and not attention(alarm)
    return -attention(alarm), hidden, can_wait, -RANK[alarm.priority], -alarm.changed_at_ns


def _is_technical(rule: str) -> bool:
    row = ALARMS.get(rule)
    return row is not None and row.kind is AlarmKind.TECHNICAL


def _notes(alarm: Alarm) -> tuple[str, ...]:
    notes = []
    if alarm.count > 1:
        notes.append(f"{alarm.count} times")
    if alarm.chattering:
        notes.append("comes and goes")
    if alarm.quality is not Quality.GOOD:
        notes.append("signal degraded")
    return tuple(notes)
