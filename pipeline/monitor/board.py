"""The alarms of one gun: their lives by rule, stepped, acted upon and turned into records.

Keeps only what is not simply normal: a rule without a life costs a quiet hop nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline import alarms
from pipeline.alarms import Life, Occasion, Step
from pipeline.model import (
    UNKNOWN_SITE,
    Alarm,
    AlarmAction,
    AlarmState,
    DeviceId,
    Quality,
    Record,
)
from pipeline.rules import ALARMS, FALSE, UNKNOWN, AlarmKind, AlarmRow, Condition, Signal
from pipeline.sessions import Session

_NONE_HELD: Mapping[str, bool] = {}


class Board:
    """Every method appends the alarms that changed to `out`; times are the gun's sample times."""

    def __init__(self, device: DeviceId, config_version: str) -> None:
        self.device = device
        self._config_version = config_version
        self._session: Session | None = None
        self._site = UNKNOWN_SITE
        self._lives: dict[str, Life] = {}

    def serve(self, session: Session | None, site: str) -> None:
        """What raises belong to from now on."""
        self._session, self._site = session, site

    def __contains__(self, rule: str) -> bool:
        return rule in self._lives

    @property
    def held(self) -> Mapping[str, bool]:
        """The rules that are not simply normal, and whether their alarm stands."""
        if not self._lives:
            return _NONE_HELD
        return {rule: life.active for rule, life in self._lives.items()}

    def judge(
        self,
        said: Iterable[tuple[AlarmRow, Condition]],
        t_ns: int,
        quality: Quality,
        out: list[Record],
    ) -> None:
        """What the rules said of one moment."""
        session = self._session
        if quality is Quality.BAD:  # of the samples; what is raised then rests on other grounds
            quality = Quality.DEGRADED
        occasion = Occasion(
            id=self.device,
            session_id=session.session_id if session is not None else None,
            site=self._site,
            operator=session.operator if session is not None else None,
            quality=quality,
        )
        for row, condition in said:
            life = self._lives.get(row.rule)
            taken = alarms.step(row, life, condition, t_ns, occasion)
            if taken.life is not life:
                self._take(row, taken, out)

    def judge_link(self, row: AlarmRow, condition: Condition, t_ns: int, out: list[Record]) -> None:
        """What the messages themselves say; what deadlines decide never goes back in time."""
        life = self._lives.get(row.rule)
        if life is not None:
            t_ns = max(t_ns, life.changed_at_ns)
        self.judge([(row, condition)], t_ns, Quality.GOOD, out)

    def lose_samples(self, since_ns: int, t_ns: int, out: list[Record]) -> None:
        """Nothing has been known since `since_ns` of what is judged by samples."""
        rows = [ALARMS[rule] for rule in self._lives]
        said = [(row, UNKNOWN) for row in rows if row.signal.needs_good_samples]
        self.judge(said, since_ns, Quality.GOOD, out)
        self.judge(said, t_ns, Quality.GOOD, out)

    def end_session(self, t_ns: int, out: list[Record]) -> None:
        """Alarms about what a session had summed up are over with it; ended ones are forgotten."""
        rows = [ALARMS[rule] for rule in self._lives]
        summed = [(row, FALSE) for row in rows if row.signal is Signal.SESSION]
        self.judge(summed, t_ns, Quality.GOOD, out)
        self._lives = {
            rule: life for rule, life in self._lives.items() if not self._is_forgotten(life)
        }

    def suppress(self, suppressed: bool, t_ns: int, out: list[Record]) -> None:
        """Hide the use alarms of a gun that is offline, or show them again."""
        for rule, life in list(self._lives.items()):
            if ALARMS[rule].kind is AlarmKind.USE:
                self._take(ALARMS[rule], alarms.suppress(life, suppressed, t_ns), out)

    def take_over(self, alarm: Alarm, out: list[Record]) -> None:
        """Go on with an alarm of which only the record is left; not of a rule there is no more."""
        row = ALARMS.get(alarm.rule)
        if row is not None:
            self._take(row, alarms.taken_over(alarm), out)

    def act(self, action: AlarmAction, t_ns: int, now_ns: int, out: list[Record]) -> None:
        """What a person asks. Raises ActionRefusedError."""
        row = ALARMS.get(action.rule)
        if row is None:
            known = ", ".join(ALARMS)
            raise alarms.ActionRefusedError(f"no rule {action.rule!r}; there are {known}")
        taken = alarms.act(self._lives.get(action.rule), action, t_ns, now_ns)
        self._take(row, taken, out)

    @property
    def shelf_ends_ns(self) -> int | None:
        """When the next shelf time is over, on the clock of arrival."""
        ends = (life.shelved_until_ns for life in self._lives.values())
        return min((end for end in ends if end is not None), default=None)

    def unshelve(self, t_ns: int, now_ns: int, out: list[Record]) -> None:
        for rule, life in list(self._lives.items()):
            if life.shelved_until_ns is not None and life.shelved_until_ns <= now_ns:
                self._take(ALARMS[rule], alarms.unshelve(life, t_ns), out)

    def _take(self, row: AlarmRow, taken: Step, out: list[Record]) -> None:
        """Keep a life after a step, record what has to be, and count a raise in its session."""
        out.extend(
            alarms.to_alarm(row, life, self.device, self._config_version) for life in taken.records
        )
        before, after = self._lives.get(row.rule), taken.life
        if after is None or self._is_forgotten(after):
            self._lives.pop(row.rule, None)
            return
        self._lives[row.rule] = after
        raises_before = (before.alarm_id, before.count) if before is not None else ("", 0)
        if self._session is not None and (after.alarm_id, after.count) != raises_before:
            self._session.count_alarm(row.rule)

    def _is_forgotten(self, life: Life) -> bool:
        """Whether a cleared alarm has nothing left to count: its session is over, or none was."""
        if life.state is not AlarmState.CLEARED or life.is_true or life.shelved_until_ns:
            return False
        session = self._session
        return session is None or life.session_id != session.session_id

    def dump(self) -> dict[str, object]:
        return {rule: alarms.dump(life) for rule, life in self._lives.items()}

    def load(self, lives: Mapping[str, Any]) -> None:
        """The inverse of `dump`; a rule that is no longer in the table is left behind."""
        self._lives = {rule: alarms.load(life) for rule, life in lives.items() if rule in ALARMS}
