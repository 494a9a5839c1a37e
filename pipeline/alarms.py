"""The life cycle of an alarm, after ISA-18.2 and OPC UA Part 9, as a pure step function.

A Life is how one alarm of one gun stands; `step` takes it, a condition and the sample time and
gives the next Life with whatever became worth a record. Knows no alarm by name: the row says how
long, how urgent, whether it latches. May import `rules` and inward; no I/O, no clock.

    normal ─TRUE─▶ pending ─on-delay─▶ active_unack ─ack─▶ active_ack ─FALSE, off-delay─▶ cleared
                                            └─FALSE, off-delay─▶ LOW: cleared
                                                                 MEDIUM: rtn_unack ─ack─▶ cleared
                                                                 HIGH: latched ─reset─▶ cleared
    active_* ─UNKNOWN for 1 s─▶ unknown ─TRUE─▶ active_*    (and FALSE for the off-delay returns it)

- Delays are evidence, not elapsed time: steps more than 1 s apart, steps backward and UNKNOWN steps
  add nothing to them, and only the opposite verdict starts them anew. No data is never normal.
- What an alarm demands follows from the highest priority its present occurrence reached: LOW
  nothing, MEDIUM an acknowledgement, HIGH a reset as well.
- One alarm a gun, rule and session. A return, even after `cleared`, is the same alarm with `count`
  one higher; `raised_at_ns` and `peak` are those of the present occurrence. Without a session a
  return after `cleared` is a new alarm: otherwise a gun used without sessions would carry one alarm
  all its life. A return in another session is a new alarm, and clears the old one.
- Shelving and suppression only hide: the life goes on beneath them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from operator import attrgetter
from typing import Any, NamedTuple

from pipeline.model import (
    UNKNOWN_SITE,
    ActionKind,
    Alarm,
    AlarmAction,
    AlarmState,
    DeviceId,
    Priority,
    Quality,
)
from pipeline.rules import AlarmRow, Condition, Verdict

UNSEEN_NS = (
    1_000_000_000  # engineering choice: four hops; a longer pause between steps proves nothing
)
# A hop is a whole number of samples at the gun's own rate: four make a second but for a thousandth,
# up to 2 % at 100 samples a second. Without it half of the guns waited for one hop more.
ROUNDING_NS = 20_000_000
UNKNOWN_AFTER_NS = 1_000_000_000  # engineering choice: a knock spoils a hop or two, a fault more
CHATTER_TRANSITIONS = 5  # detection.md: more than 5 transitions in 60 s
CHATTER_WINDOW_NS = 60_000_000_000
SHELF_NS_MAX = 8 * 3600 * 1_000_000_000  # engineering choice: one shift; nobody forgets it for good

_RANK = {Priority.LOW: 0, Priority.MEDIUM: 1, Priority.HIGH: 2}
_ACTIVE = frozenset({AlarmState.ACTIVE_UNACK, AlarmState.ACTIVE_ACK, AlarmState.UNKNOWN})
_HIDDEN = frozenset({AlarmState.SHELVED, AlarmState.SUPPRESSED})


class Occasion(NamedTuple):
    """On what occasion a condition is judged: what a raise writes into its alarm."""

    id: DeviceId
    session_id: str | None = None
    site: str = UNKNOWN_SITE
    operator: str | None = None
    quality: Quality = Quality.GOOD


@dataclass(frozen=True, slots=True)
class Life:
    """How one alarm stands.

    `state` is None until the first raise, and never SHELVED or SUPPRESSED: those two are
    `shelved_until_ns` and `suppressed`, and `visible` is what the world sees. `is_true` is the last
    verdict that was not UNKNOWN, `evidence_ns` how long it was seen to hold.
    """

    is_true: bool
    evidence_ns: int
    stepped_at_ns: int
    began_at_ns: int  # when the condition last became TRUE
    unknown_since_ns: int | None = None
    state: AlarmState | None = None
    alarm_id: str = ""
    session_id: str | None = None
    site: str = UNKNOWN_SITE
    operator: str | None = None
    quality: Quality = Quality.GOOD
    priority: Priority = Priority.LOW
    raised_at_ns: int = 0
    changed_at_ns: int = 0
    value: float | None = None
    peak: float | None = None
    setpoint: float | None = None
    count: int = 0
    acked: bool = False
    shelved_until_ns: int | None = None
    suppressed: bool = False
    by: str | None = None
    note: str = ""
    moved_at_ns: tuple[int, ...] = ()  # the newest moves of `state`, for chattering
    chattering: bool = False

    @property
    def active(self) -> bool:
        """Whether the alarm stands: raised, and not known to have returned."""
        return self.state in _ACTIVE

    @property
    def visible(self) -> AlarmState | None:
        if self.state is None:
            return None
        if self.shelved_until_ns is not None:
            return AlarmState.SHELVED
        if self.suppressed and self.state is not AlarmState.CLEARED:
            return AlarmState.SUPPRESSED
        return self.state


class Step(NamedTuple):
    """The life after a step (None: normal, nothing to remember), and the lives to be recorded."""

    life: Life | None
    records: tuple[Life, ...] = ()


class ActionRefusedError(ValueError):
    """An action that makes no sense as the alarm stands; says why, and what would."""


def step(
    row: AlarmRow, life: Life | None, condition: Condition, now_ns: int, occasion: Occasion
) -> Step:
    """One verdict more, at sample time `now_ns`."""
    if condition.verdict is Verdict.TRUE:
        life = life or Life(False, evidence_ns=0, stepped_at_ns=now_ns, began_at_ns=now_ns)
        return _step_true(row, life, condition, now_ns, occasion)
    if life is None:
        return Step(None)
    if condition.verdict is Verdict.FALSE:
        return _step_false(row, life, condition, now_ns)
    return _step_unknown(life, now_ns)


def _step_true(
    row: AlarmRow, life: Life, condition: Condition, now_ns: int, occasion: Occasion
) -> Step:
    if life.active:
        return _stand(row, life, condition, now_ns)
    if life.is_true:
        life = replace(life, evidence_ns=_evidence_ns(life, now_ns), stepped_at_ns=now_ns)
    else:
        life = replace(life, is_true=True, evidence_ns=0, stepped_at_ns=now_ns, began_at_ns=now_ns)
    if life.evidence_ns + ROUNDING_NS < row.on_delay_ns:
        return Step(life)
    return _raise(row, life, condition, now_ns, occasion)


def _stand(row: AlarmRow, life: Life, condition: Condition, now_ns: int) -> Step:
    """TRUE while active: the peak may grow, the priority may rise, the unknown may end."""
    priority = condition.priority or row.priority
    rises = _RANK[priority] > _RANK[life.priority]
    peak = _worse(row, life.peak, condition.value)
    known = life.is_true and life.unknown_since_ns is None
    if known and not rises and peak == life.peak:
        return Step(life)
    acked = life.acked and not rises
    after = replace(
        life,
        is_true=True,
        evidence_ns=0,
        unknown_since_ns=None,
        state=AlarmState.ACTIVE_ACK if acked else AlarmState.ACTIVE_UNACK,
        acked=acked,
        priority=priority if rises else life.priority,
        peak=peak,
    )
    return _settle(life, after, condition, now_ns)


def _raise(
    row: AlarmRow, life: Life, condition: Condition, now_ns: int, occasion: Occasion
) -> Step:
    is_new = _is_new(life, occasion)
    after = replace(
        life,
        unknown_since_ns=None,
        state=AlarmState.ACTIVE_UNACK,
        alarm_id=alarm_id(occasion, row.rule, life.began_at_ns) if is_new else life.alarm_id,
        session_id=occasion.session_id,
        site=occasion.site,
        operator=occasion.operator,
        quality=occasion.quality,
        priority=condition.priority or row.priority,
        raised_at_ns=now_ns,
        peak=condition.value,
        count=1 if is_new else life.count + 1,
        acked=False,
        suppressed=False,  # whoever can be judged is not offline, whatever its will said
        by=None,
        note="",
        moved_at_ns=() if is_new else life.moved_at_ns,
    )
    settled = _settle(life, after, condition, now_ns)
    return _begin_anew(life, settled, now_ns) if is_new else settled


def _is_new(life: Life, occasion: Occasion) -> bool:
    """Whether a raise begins an alarm of its own, rather than one occurrence more."""
    if life.state is None or life.session_id != occasion.session_id:
        return True
    return life.state is AlarmState.CLEARED and occasion.session_id is None


def _begin_anew(old: Life, raised: Step, now_ns: int) -> Step:
    """A new alarm is told of even if hidden, and ends an older one that waited for a person."""
    life = raised.life
    records = raised.records
    if life is not None and not records:
        life = replace(life, changed_at_ns=now_ns)
        records = (life,)
    if old.state is None or old.state is AlarmState.CLEARED:
        return Step(life, records)
    ended = replace(
        old,
        state=AlarmState.CLEARED,
        shelved_until_ns=None,
        changed_at_ns=now_ns,
        note="superseded by the same alarm in another session",
    )
    return Step(life, (ended, *records))


def _step_false(row: AlarmRow, life: Life, condition: Condition, now_ns: int) -> Step:
    if not life.active:
        if life.state is None:
            return Step(None)
        return Step(replace(life, is_true=False) if life.is_true else life)
    was_unknown = life.state is AlarmState.UNKNOWN and life.unknown_since_ns is not None
    evidence_ns = 0 if life.is_true or was_unknown else _evidence_ns(life, now_ns)
    after = replace(
        life, is_true=False, evidence_ns=evidence_ns, stepped_at_ns=now_ns, unknown_since_ns=None
    )
    if evidence_ns < row.off_delay_ns:
        return Step(after)
    return _settle(life, replace(after, state=_returned(row, life)), condition, now_ns)


def _returned(row: AlarmRow, life: Life) -> AlarmState:
    """Where an alarm goes whose condition is gone: what its priority demands of a person first."""
    if row.latched and life.priority is Priority.HIGH:
        return AlarmState.LATCHED
    if life.acked or life.priority is Priority.LOW:
        return AlarmState.CLEARED
    return AlarmState.RTN_UNACK


def _step_unknown(life: Life, now_ns: int) -> Step:
    """Evidence neither grows nor is lost; an alarm that stands becomes `unknown` after a while."""
    if not life.active:
        return Step(replace(life, stepped_at_ns=now_ns) if life.is_true else life)
    if life.state is AlarmState.UNKNOWN:
        known = life.unknown_since_ns is None
        return Step(replace(life, unknown_since_ns=now_ns) if known else life)
    since_ns = now_ns if life.unknown_since_ns is None else min(life.unknown_since_ns, now_ns)
    after = replace(life, stepped_at_ns=now_ns, unknown_since_ns=since_ns)
    if now_ns - since_ns < UNKNOWN_AFTER_NS:
        return Step(after)
    return _settle(life, replace(after, state=AlarmState.UNKNOWN), None, now_ns)


def _evidence_ns(life: Life, now_ns: int) -> int:
    passed_ns = now_ns - life.stepped_at_ns
    return life.evidence_ns + (passed_ns if 0 < passed_ns <= UNSEEN_NS else 0)


def _worse(row: AlarmRow, peak: float | None, value: float | None) -> float | None:
    if peak is None or value is None:
        return value if peak is None else peak
    return min(peak, value) if row.falling else max(peak, value)


def _settle(before: Life, after: Life, condition: Condition | None, now_ns: int) -> Step:
    """Count the move, if it is one, and record it, if the world can see it."""
    moved = after.state is not before.state or after.count != before.count
    if moved:
        moves = (*after.moved_at_ns, now_ns)[-(CHATTER_TRANSITIONS + 1) :]
        crowded = len(moves) > CHATTER_TRANSITIONS and now_ns - moves[0] <= CHATTER_WINDOW_NS
        after = replace(after, moved_at_ns=moves, chattering=crowded)
    if not moved and after.priority is before.priority:
        return Step(after)
    if condition is not None and condition.value is not None:
        after = replace(after, value=condition.value, setpoint=condition.setpoint)
    if after.visible in _HIDDEN:
        return Step(after)
    after = replace(after, changed_at_ns=now_ns)
    return Step(after, (after,))


def alarm_id(occasion: Occasion, rule: str, began_at_ns: int) -> str:
    """The name a replay and a restart give the same alarm (contract, "alarm")."""
    key = f"{occasion.id}|{rule}|{occasion.session_id or ''}|{began_at_ns}"
    return blake2b(key.encode(), digest_size=8).hexdigest()


# What people and the state of the gun do to an alarm, beside its condition.


def act(life: Life | None, action: AlarmAction, now_ns: int, received_at_ns: int) -> Step:
    """What a person asks: at sample time `now_ns`, received at `received_at_ns` (for the shelf).

    Asking again for what is so already changes nothing. Raises ActionRefusedError.
    """
    if life is None or life.state is None:
        raise ActionRefusedError(f"{action.rule} has not been raised; there is nothing to act on")
    if action.action is ActionKind.ACK:
        after = _acknowledged(life)
    elif action.action is ActionKind.RESET:
        after = _reset(life)
    elif action.action is ActionKind.SHELVE:
        after = _shelved(life, action.until_ns, received_at_ns)
    else:
        after = replace(life, shelved_until_ns=None)
    if after == life:
        return Step(life)
    after = replace(after, by=action.by, note=action.note, changed_at_ns=now_ns)
    return Step(after, (after,))


def _acknowledged(life: Life) -> Life:
    if life.state is AlarmState.LATCHED:
        raise ActionRefusedError("the alarm is latched; reset it")
    if life.state is AlarmState.RTN_UNACK:
        return replace(life, state=AlarmState.CLEARED, acked=True)
    if life.state is AlarmState.ACTIVE_UNACK:
        return replace(life, state=AlarmState.ACTIVE_ACK, acked=True)
    return replace(life, acked=True) if life.state is AlarmState.UNKNOWN else life


def _reset(life: Life) -> Life:
    if life.state is AlarmState.CLEARED:
        return life
    if life.state is not AlarmState.LATCHED:
        raise ActionRefusedError("only a latched alarm is reset; acknowledge this one")
    return replace(life, state=AlarmState.CLEARED, acked=True)


def _shelved(life: Life, until_ns: int | None, received_at_ns: int) -> Life:
    if until_ns is None or until_ns <= received_at_ns:
        raise ActionRefusedError("until_ns is missing or past; shelve until a time to come")
    return replace(life, shelved_until_ns=min(until_ns, received_at_ns + SHELF_NS_MAX))


def unshelve(life: Life, now_ns: int) -> Step:
    """The shelf time is over: the alarm shows again as it stands."""
    if life.shelved_until_ns is None:
        return Step(life)
    after = replace(life, shelved_until_ns=None, changed_at_ns=now_ns, note="shelf time over")
    return Step(after, (after,))


def suppress(life: Life, suppressed: bool, now_ns: int) -> Step:
    """Hide or show an alarm by rule; a condition that never raised it is forgotten when hidden."""
    if life.state is None:
        return Step(None if suppressed else life)
    after = replace(life, suppressed=suppressed, is_true=life.is_true and life.active)
    if after.visible is life.visible:
        return Step(after)
    after = replace(after, changed_at_ns=now_ns)
    return Step(after, (after,))


def taken_over(alarm: Alarm) -> Step:
    """The life of an alarm as it was recorded, where its own is lost: what stood is unknown."""
    stood = alarm.state in _ACTIVE or alarm.state in _HIDDEN
    life = Life(
        is_true=stood,
        evidence_ns=0,
        stepped_at_ns=alarm.changed_at_ns,
        began_at_ns=alarm.raised_at_ns,
        unknown_since_ns=alarm.changed_at_ns if stood else None,
        state=AlarmState.UNKNOWN if stood else alarm.state,
        alarm_id=alarm.alarm_id,
        session_id=alarm.session_id,
        site=alarm.site,
        operator=alarm.operator,
        quality=alarm.quality,
        priority=alarm.priority,
        raised_at_ns=alarm.raised_at_ns,
        changed_at_ns=alarm.changed_at_ns,
        value=alarm.value,
        peak=alarm.peak,
        setpoint=alarm.setpoint,
        count=alarm.count,
        acked=alarm.state is AlarmState.ACTIVE_ACK,
        shelved_until_ns=alarm.until_ns if alarm.state is AlarmState.SHELVED else None,
        suppressed=alarm.state is AlarmState.SUPPRESSED,
        by=alarm.by,
        note=alarm.note,
    )
    return Step(life, () if life.visible is alarm.state else (life,))


def to_alarm(row: AlarmRow, life: Life, device: DeviceId, config_version: str) -> Alarm:
    """The record and the retained message of an alarm as it stands."""
    state = life.visible
    if state is None:
        raise ValueError(f"{row.rule} of {device} was never raised; there is nothing to record")
    return Alarm(
        id=device,
        alarm_id=life.alarm_id,
        rule=row.rule,
        priority=life.priority,
        state=state,
        raised_at_ns=life.raised_at_ns,
        changed_at_ns=life.changed_at_ns,
        value=life.value,
        peak=life.peak,
        setpoint=life.setpoint,
        unit=row.unit,
        session_id=life.session_id,
        site=life.site,
        operator=life.operator,
        count=life.count,
        quality=life.quality,
        config_version=config_version,
        chattering=life.chattering,
        by=life.by,
        note=life.note,
        until_ns=life.shelved_until_ns,
    )


_FIELDS = tuple(field.name for field in fields(Life))
_values = attrgetter(*_FIELDS)


def dump(life: Life) -> object:
    """A life as JSON holds it, for the snapshot."""
    return _values(life)


def load(values: Sequence[Any]) -> Life:
    """The inverse of `dump`, after a trip through JSON. Raises ValueError or TypeError."""
    row = dict(zip(_FIELDS, values, strict=True))
    row["state"] = None if row["state"] is None else AlarmState(row["state"])
    row["quality"] = Quality(row["quality"])
    row["priority"] = Priority(row["priority"])
    row["moved_at_ns"] = tuple(row["moved_at_ns"])
    return Life(**row)
