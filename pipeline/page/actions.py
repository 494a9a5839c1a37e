"""What people may ask of an alarm, who may, and what has been asked and not yet been answered.

Pure; may import `alarm_lines`, `accounts` and `model`. An action goes out over MQTT like that of
any console, and nothing here changes an alarm: what was asked is pending until the pipeline says
what it made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from pipeline.accounts import Role
from pipeline.model import ActionKind, Alarm, AlarmAction, AlarmState
from pipeline.page.board import AlarmKey, alarm_key

# Acknowledging says "seen", and bringing back what was shelved only shows more: whoever treats may
# do both. Shelving hides an alarm and a reset ends a latched one: docs/decisions.md.
ROLE_OF: Final[Mapping[ActionKind, Role]] = {
    ActionKind.ACK: Role.THERAPIST,
    ActionKind.UNSHELVE: Role.THERAPIST,
    ActionKind.SHELVE: Role.TECHNICIAN,
    ActionKind.RESET: Role.TECHNICIAN,
}
_OFFERED: Final[Mapping[AlarmState, tuple[ActionKind, ...]]] = {
    AlarmState.ACTIVE_UNACK: (ActionKind.ACK, ActionKind.SHELVE),
    AlarmState.ACTIVE_ACK: (ActionKind.SHELVE,),
    AlarmState.RTN_UNACK: (ActionKind.ACK, ActionKind.SHELVE),
    AlarmState.LATCHED: (ActionKind.RESET, ActionKind.SHELVE),
    AlarmState.UNKNOWN: (ActionKind.ACK, ActionKind.SHELVE),
    AlarmState.SHELVED: (ActionKind.UNSHELVE,),
}
SHELF_MIN_MAX: Final = 480  # what the alarm's own life allows: a shift
NOTE_LENGTH_MAX: Final = 256  # contract, "action"
ANSWER_S_MAX: Final = 10.0  # a broker that takes longer has lost it; engineering choice
FAILURE_SHOWN_S: Final = 30.0


class ErrandError(Exception):
    """Why something that was asked of the pipeline cannot be done now, in a sentence."""


class Errands(Protocol):
    """What the page may have the pipeline do; `app` does it."""

    def act(self, action: AlarmAction) -> None:
        """Send it to the broker, as any console would. Raises ErrandError."""


def offered(alarm: Alarm) -> tuple[ActionKind, ...]:
    """What makes sense as the alarm stands."""
    kinds = _OFFERED.get(alarm.state, ())
    if alarm.state is AlarmState.UNKNOWN and alarm.by is not None:
        return tuple(kind for kind in kinds if kind is not ActionKind.ACK)
    return kinds


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asked of an alarm, for all browsers to see. `failed` says why in vain."""

    action: ActionKind
    by: str
    failed: str = ""


@dataclass(slots=True)
class _Pending:
    action: AlarmAction
    alarm: Alarm  # as it stood when it was asked
    at_s: float
    failed: bool = False


class Pending:
    """What was asked and not yet answered; one thing an alarm, the newest."""

    def __init__(self) -> None:
        self._asked: dict[AlarmKey, _Pending] = {}

    def ask(self, action: AlarmAction, alarm: Alarm, now_s: float) -> None:
        self._asked[alarm_key(alarm)] = _Pending(action, alarm, now_s)

    def settle(self, standing: Iterable[Alarm], now_s: float) -> Mapping[AlarmKey, Asked]:
        """What is still pending, or failed lately, given the alarms as they stand now."""
        if not self._asked:
            return {}
        now = {alarm_key(alarm): alarm for alarm in standing}
        for key, pending in list(self._asked.items()):
            alarm = now.get(key)
            age_s = now_s - pending.at_s
            is_answered = alarm is None or _is_answered(pending, alarm)
            if is_answered or age_s > ANSWER_S_MAX + FAILURE_SHOWN_S:
                del self._asked[key]
            elif age_s > ANSWER_S_MAX:
                pending.failed = True
        return {key: _say(pending) for key, pending in self._asked.items()}


def _is_answered(pending: _Pending, alarm: Alarm) -> bool:
    if alarm == pending.alarm:
        return False
    action = pending.action
    if alarm.alarm_id != pending.alarm.alarm_id or action.action not in offered(alarm):
        return True
    return alarm.by == action.by and alarm.changed_at_ns != pending.alarm.changed_at_ns


def _say(pending: _Pending) -> Asked:
    why = f"no answer within {ANSWER_S_MAX:.0f} s: look at the alarm, then try again"
    return Asked(pending.action.action, pending.action.by, why if pending.failed else "")
