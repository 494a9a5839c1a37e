"""The scores of many sessions together, whole and broken down, each figure with its interval.

Shares have Wilson's interval, false alarms in a time the exact one of a Poisson count; quantiles of
delays and force errors a bootstrap over guns, because what one gun gets wrong it gets wrong again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from pipeline.evaluation.scoring import (
    GATED,
    SCORED,
    HazardOutcome,
    RaiseOutcome,
    Score,
    SessionResult,
)

FORCE_BANDS_N = ((0.0, 20.0), (20.0, 40.0), (40.0, 70.0), (70.0, math.inf))
SPEED_BANDS_HZ = ((0.0, 30.0), (30.0, 36.0), (36.0, 42.0), (42.0, math.inf))
RESAMPLES, BOOTSTRAP_SEED = 1000, 1

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class BreakdownRow(NamedTuple):
    """One row of a breakdown: scores by rule, and force errors."""

    label: str
    scores: dict[str, Score]
    force_errors: Floats

    def force_quantile(self, q: float) -> float:
        return _quantile(self.force_errors, q)


@dataclass(slots=True)
class Report:
    """All sessions of a folder. A rule that none of its truth files labels is not scored."""

    sessions: list[SessionResult]

    @property
    def rules(self) -> tuple[str, ...]:
        labelled = frozenset().union(*(session.labelled for session in self.sessions))
        return tuple(rule for rule in SCORED if rule in labelled)

    @property
    def gated(self) -> tuple[str, ...]:
        return tuple(rule for rule in GATED if rule in self.rules)

    def pooled(self) -> dict[str, Score]:
        return _scores(self.rules, *_outcomes(self.sessions))

    def together(self) -> Score:
        """The rules that have an aim, as one."""
        total = Score()
        for session in self.sessions:
            total.add(
                (h for h in session.hazards if h.rule in self.gated),
                (r for r in session.raises if r.rule in self.gated),
            )
        return total

    def force_errors(self) -> Floats:
        return _force_errors(self.sessions)

    @property
    def contact_h(self) -> float:
        return sum(session.contact_s for session in self.sessions) / 3600.0

    def false_per_10_h(self, rules: Iterable[str] | None = None) -> Interval:
        counted = tuple(self.gated if rules is None else rules)
        false = sum(not r.right for s in self.sessions for r in s.raises if r.rule in counted)
        return _rate(false, self.contact_h / 10.0)

    def delay_quantile_s(self, rule: str, q: float) -> Interval:
        return self._quantile_by_guns(q, lambda session: session.delays_s(rule))

    def force_quantile(self, q: float) -> Interval:
        return self._quantile_by_guns(q, lambda session: _force_errors([session]))

    def _quantile_by_guns(self, q: float, values: Callable[[SessionResult], Floats]) -> Interval:
        """A quantile and its interval: guns are drawn again, each with all of its sessions."""
        by_gun: dict[str, list[Floats]] = {}
        for session in self.sessions:
            by_gun.setdefault(session.device or session.name, []).append(values(session))
        guns = [np.concatenate(each) for each in by_gun.values()]
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        drawn = [
            _quantile(np.concatenate([guns[k] for k in rng.integers(len(guns), size=len(guns))]), q)
            for _ in range(RESAMPLES if len(guns) > 1 else 0)
        ]
        known = np.array([value for value in drawn if not math.isnan(value)])
        whole = _quantile(np.concatenate([np.zeros(0), *guns]), q)
        return Interval(whole, _quantile(known, 0.025), _quantile(known, 0.975))

    # Breakdowns.

    def by_gun(self) -> list[BreakdownRow]:
        return self._by_session(lambda session: session.model)

    def by_head(self) -> list[BreakdownRow]:
        return self._by_session(lambda session: session.head)

    def by_speed(self) -> list[BreakdownRow]:
        return self._by_band(SPEED_BANDS_HZ, "set_hz", "Hz")

    def by_force(self) -> list[BreakdownRow]:
        return self._by_band(FORCE_BANDS_N, "force_n", "N")

    def _by_session(self, key: Callable[[SessionResult], str]) -> list[BreakdownRow]:
        parts: dict[str, list[SessionResult]] = {}
        for session in self.sessions:
            parts.setdefault(key(session), []).append(session)
        return [
            BreakdownRow(label, _scores(self.rules, *_outcomes(part)), _force_errors(part))
            for label, part in sorted(parts.items())
        ]

    def _by_band(
        self, bands: Sequence[tuple[float, float]], name: str, unit: str
    ) -> list[BreakdownRow]:
        hazards, raises = _outcomes(self.sessions)
        rows = []
        for low, high in bands:
            scores = _scores(
                self.rules,
                [h for h in hazards if low <= getattr(h, name) < high],
                [r for r in raises if low <= getattr(r, name) < high],
            )
            errors = _force_errors(self.sessions, (name, low, high))
            if errors.size or any(score.must or score.raises for score in scores.values()):
                rows.append(BreakdownRow(_band_label(low, high, unit), scores, errors))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Everything the table shows, as plain data."""
        median, p95 = self.force_quantile(0.5), self.force_quantile(0.95)
        scores = self.pooled()
        return {
            "sessions": len(self.sessions),
            "guns": len({session.device or session.name for session in self.sessions}),
            "contact_h": self.contact_h,
            "false_use_alarms_per_10_h": self.false_per_10_h()._asdict(),
            "together": _as_dict(self.together()),
            "rules": {rule: self._rule_as_dict(rule, score) for rule, score in scores.items()},
            "force": {
                "n": self.force_errors().size,
                "median": median._asdict(),
                "p95": p95._asdict(),
            },
            "breakdown": {
                name: {row.label: _row_as_dict(row) for row in rows}
                for name, rows in (
                    ("gun", self.by_gun()),
                    ("speed", self.by_speed()),
                    ("force", self.by_force()),
                    ("head", self.by_head()),
                )
            },
            "remarks": self.remarks(),
        }

    def remarks(self) -> list[str]:
        return [
            f"{session.name}: {remark}"
            for session in self.sessions
            for remark in session.remarks
            if remark.split(":")[0] not in set(SCORED) - set(self.rules)
        ]

    def _rule_as_dict(self, rule: str, score: Score) -> dict[str, Any]:
        return _as_dict(score) | {
            "delay_s_p50": self.delay_quantile_s(rule, 0.5)._asdict(),
            "delay_s_p95": self.delay_quantile_s(rule, 0.95)._asdict(),
            "false": self.false_per_10_h([rule])._asdict(),
        }


def _outcomes(
    sessions: Sequence[SessionResult],
) -> tuple[list[HazardOutcome], list[RaiseOutcome]]:
    return (
        [hazard for session in sessions for hazard in session.hazards],
        [each for session in sessions for each in session.raises],
    )


def _scores(
    rules: Iterable[str], hazards: Sequence[HazardOutcome], raises: Sequence[RaiseOutcome]
) -> dict[str, Score]:
    total = {rule: Score() for rule in rules}
    for rule, score in total.items():
        score.add((h for h in hazards if h.rule == rule), (r for r in raises if r.rule == rule))
    return total


def _force_errors(
    sessions: Iterable[SessionResult], band: tuple[str, float, float] | None = None
) -> Floats:
    """Relative, absolute, of every hop whose force counts; only where a column is in a band."""
    parts = [np.zeros(0)]
    for session in sessions:
        hops = session.on_muscle()
        if band is not None:
            name, low, high = band
            hops = hops[(hops[name] >= low) & (hops[name] < high)]
        load = hops["force_n"].astype(np.float64)
        parts.append(np.abs(hops["said_n"] - load) / load)
    return np.concatenate(parts)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share. E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209."""
    if trials == 0:
        return math.nan, math.nan
    z = 1.959964
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return (centre - spread) / scale, (centre + spread) / scale


def _rate(count: int, span: float) -> Interval:
    """A count in a span, with the exact interval. F. Garwood, Biometrika 28 (1936) 437."""
    if span <= 0.0:
        return Interval(math.nan, math.nan, math.nan)
    low = 0.5 * float(chi2.ppf(0.025, 2 * count)) if count else 0.0
    high = 0.5 * float(chi2.ppf(0.975, 2 * count + 2))
    return Interval(count / span, low / span, high / span)


def _as_dict(score: Score) -> dict[str, Any]:
    return {
        "must": score.must,
        "found": score.found,
        "recall": score.recall,
        "recall_95": wilson(score.found, score.must),
        "raises": score.raises,
        "true_raises": score.true_raises,
        "precision": score.precision,
        "precision_95": wilson(score.true_raises, score.raises),
    }


def _row_as_dict(row: BreakdownRow) -> dict[str, Any]:
    rules: Mapping[str, Any] = {rule: _as_dict(score) for rule, score in row.scores.items()}
    return {
        "rules": rules,
        "force_n": row.force_errors.size,
        "force_median": row.force_quantile(0.5),
        "force_p95": row.force_quantile(0.95),
    }


def _band_label(low: float, high: float, unit: str) -> str:
    if low == 0.0:
        return f"under {high:g} {unit}"
    return f"{low:g} {unit} and more" if math.isinf(high) else f"{low:g} to {high:g} {unit}"


def _quantile(values: Floats, q: float) -> float:
    return float(np.quantile(values, q)) if values.size else math.nan
