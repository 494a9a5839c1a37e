"""An operator's daily hand-arm vibration exposure, over every gun of the clinic he or she used.

ISO 5349-1: A(8) = a_hv √(T / 8 h), and partial exposures add as Σ a²T; so a day is two sums, the
trigger time T and Σ a²T, and everything else follows from them. Days are UTC days of sample time.
The housing is not the grip: the figures are indicative. Pure; may import `rules` and inward.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pipeline.model import OperatorExposure
from pipeline.rules import HAV_ACTION_M_S2, HAV_LIMIT_M_S2

REFERENCE_S = 8 * 3600.0  # ISO 5349-1: the reference day
POINTS_PER_A2T = 2.0 / 3600.0  # HSE L140: 2a² points an hour, 100 at 2.5 m/s² A(8), 400 at 5
MINUTES_MAX = 24 * 60.0  # a daily exposure has no more minutes than the day
DAY_NS = 86_400 * 1_000_000_000
DAYS_KEPT = 3  # engineering choice: today and two more, for guns whose clocks disagree
OPERATORS_MAX = 10_000  # engineering choice: five a gun of the largest fleet; the bound on memory


class Dose(NamedTuple):
    """What one operator took in one day: trigger time and Σ a²T [m²/s⁴ · s]."""

    trigger_s: float = 0.0
    a2t: float = 0.0

    def plus(self, a_hv_m_s2: float | None, seconds: float) -> Dose:
        """The dose after `seconds` more.

        Without a reading the time counts at the day's own magnitude: bad data is no rest.
        """
        if a_hv_m_s2 is not None and math.isfinite(a_hv_m_s2):
            return Dose(self.trigger_s + seconds, self.a2t + a_hv_m_s2 * a_hv_m_s2 * seconds)
        if not self.trigger_s:
            return self
        return Dose(self.trigger_s + seconds, self.a2t + self._a2 * seconds)

    @property
    def _a2(self) -> float:
        return self.a2t / self.trigger_s if self.trigger_s else 0.0

    @property
    def a_hv_m_s2(self) -> float:
        """The equivalent magnitude over the trigger time."""
        return math.sqrt(self._a2)

    @property
    def a8_m_s2(self) -> float:
        return math.sqrt(self.a2t / REFERENCE_S)

    @property
    def points(self) -> float:
        return self.a2t * POINTS_PER_A2T

    def minutes_to(self, a8_m_s2: float) -> float:
        """Trigger minutes left to an A(8), at the day's magnitude so far; 0 when it is reached."""
        left = a8_m_s2 * a8_m_s2 * REFERENCE_S - self.a2t
        if left <= 0.0:
            return 0.0
        return min(MINUTES_MAX, left / self._a2 / 60.0) if self._a2 else MINUTES_MAX


class Operator(NamedTuple):
    clinic: str
    operator: str


class Exposures:
    """All operators' doses of the newest days; bounded, the operator idle longest goes first."""

    def __init__(self) -> None:
        self._doses: dict[Operator, dict[int, Dose]] = {}

    def __len__(self) -> int:
        return len(self._doses)

    def dose(self, operator: Operator, t_ns: int) -> Dose:
        return self._doses.get(operator, {}).get(t_ns // DAY_NS, Dose())

    def add(
        self, operator: Operator, t_ns: int, a_hv_m_s2: float | None, seconds: float
    ) -> tuple[Dose, bool]:
        """The operator's dose of the day of `t_ns`, and whether a whole minute was completed."""
        day = t_ns // DAY_NS
        days = self._doses.get(operator)
        if days is None or day not in days:
            days = self._open_day(operator, day)
        before = days[day]
        after = days[day] = before.plus(a_hv_m_s2, seconds)
        return after, after.trigger_s // 60.0 > before.trigger_s // 60.0

    def take_over(self, row: OperatorExposure) -> None:
        """Go on with a day of which only the record is left."""
        operator = Operator(row.clinic, row.operator)
        a2t = row.a_hv_m_s2**2 * row.trigger_s
        self._open_day(operator, row.t_ns // DAY_NS)[row.t_ns // DAY_NS] = Dose(row.trigger_s, a2t)

    def _open_day(self, operator: Operator, day: int) -> dict[int, Dose]:
        days = self._doses.pop(operator, {})
        while len(days) >= DAYS_KEPT:
            del days[next(iter(days))]
        days[day] = Dose()
        while len(self._doses) >= OPERATORS_MAX:
            del self._doses[next(iter(self._doses))]
        self._doses[operator] = days
        return days

    def dump(self) -> list[object]:
        return [[*operator, list(days.items())] for operator, days in self._doses.items()]

    def load(self, rows: Iterable[Any]) -> None:
        self._doses = {
            Operator(clinic, operator): {day: Dose(*dose) for day, dose in days}
            for clinic, operator, days in rows
        }


def record(operator: Operator, t_ns: int, dose: Dose) -> OperatorExposure:
    """The day as it stands at `t_ns`."""
    return OperatorExposure(
        clinic=operator.clinic,
        operator=operator.operator,
        day=day_name(t_ns),
        t_ns=t_ns,
        a_hv_m_s2=dose.a_hv_m_s2,
        trigger_s=dose.trigger_s,
        a8_m_s2=dose.a8_m_s2,
        points=dose.points,
        minutes_to_action=dose.minutes_to(HAV_ACTION_M_S2),
        minutes_to_limit=dose.minutes_to(HAV_LIMIT_M_S2),
    )


def day_name(t_ns: int) -> str:
    """YYYY-MM-DD of the UTC day; a time no calendar holds keeps its day number."""
    try:
        return datetime.fromtimestamp(t_ns // 1_000_000_000, tz=UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return f"day {t_ns // DAY_NS}"
