"""What recall and false alarms become when the thresholds of the alarms move.

    .venv/bin/python -m benchmarks.operating_points var/suite/fit

replays a folder of labelled sessions once and applies each rule with other thresholds to what was
said of every hop: TRUE for the on-delay raises, FALSE for the off-delay lets go. Thresholds are
chosen from this on the sessions for fitting, never on those for testing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.alarms import ROUNDING_NS
from pipeline.evaluation import Report, SessionResult, Truth, read_truth
from pipeline.evaluation.scoring import matches
from pipeline.rules import ALARMS
from pipeline.rules.conditions import (
    HARD_SURE_SDS,
    SURE_SDS,
    TENDON_FORCE_N,
    TENDON_STIFFNESS,
)
from pipeline.sites import GENERAL

Hops = NDArray[np.void]
Bools = NDArray[np.bool_]
LATE_NS = 2_500_000_000


@dataclass(frozen=True, slots=True)
class Point:
    """One threshold and what it gives."""

    threshold: float
    found: int
    must: int
    right: int
    raises: int

    @property
    def recall(self) -> float:
        return self.found / max(self.must, 1)

    @property
    def precision(self) -> float:
        return self.right / max(self.raises, 1)


@dataclass(frozen=True, slots=True)
class Curve:
    """A rule, the thresholds to try (the first is the one in force), and its condition."""

    rule: str
    what: str
    thresholds: tuple[float, ...]
    condition: Callable[[Hops, float], Bools]


def _overdwell(hops: Hops, limit_s: float) -> Bools:
    return np.asarray(hops["contact"] & (hops["said_dwell_s"] >= limit_s))


def _excess(hops: Hops, limit_n: float) -> Bools:
    return _surely_over(hops, limit_n, SURE_SDS)


def _excess_surely(hops: Hops, sds: float) -> Bools:
    return _surely_over(hops, GENERAL.force_limit_n, sds)


def _surely_over(hops: Hops, limit_n: float, sds: float) -> Bools:
    hard = hops["stiffness"] > TENDON_STIFFNESS
    doubt_n = np.where(hard, HARD_SURE_SDS, sds) * hops["said_n_sd"]
    return np.asarray(hops["contact"] & (hops["said_n"] - doubt_n > limit_n))


def _tendon(hops: Hops, stiffness: float) -> Bools:
    heavy = hops["said_n"] + HARD_SURE_SDS * hops["said_n_sd"] >= TENDON_FORCE_N
    return np.asarray(hops["contact"] & (hops["stiffness"] > stiffness) & heavy)


CURVES = (
    Curve("OVERDWELL", "seconds", (30, 22, 24, 26, 28, 29, 31, 32, 33, 34, 36), _overdwell),
    Curve("EXCESS_PRESSURE", "newtons", (50, 40, 44, 46, 48, 52, 54, 56, 58, 60, 64, 70), _excess),
    Curve(
        "EXCESS_PRESSURE",
        "standard deviations over 50 N",
        (SURE_SDS, -0.5, 0.0, 0.25, 0.75, 1.0, 1.5),
        _excess_surely,
    ),
    Curve(
        "TENDON_PROXIMITY",
        "stiffness",
        (0.5, 0.1, 0.2, 0.3, 0.4, 0.45, 0.55, 0.6, 0.7, 0.8, 0.9),
        _tendon,
    ),
)


def raises(t_ns: NDArray[np.int64], true: Bools, on_ns: int, off_ns: int) -> list[int]:
    """When an alarm with these delays is raised."""
    times: list[int] = []
    stands = False
    since_ns: int | None = None  # when the condition last changed against how the alarm stands
    for t, now in zip(t_ns.tolist(), true.tolist(), strict=True):
        if now == stands:
            since_ns = None
            continue
        since_ns = t if since_ns is None else since_ns
        if t - since_ns >= (off_ns if stands else on_ns - ROUNDING_NS):
            stands, since_ns = not stands, None
            if stands:
                times.append(t)
    return times


def measure(curve: Curve, sessions: Sequence[tuple[SessionResult, Truth]]) -> list[Point]:
    """The curve, in order of its thresholds."""
    row = ALARMS[curve.rule]
    points = []
    for threshold in curve.thresholds:
        found = must = right = raised = 0
        for session, truth in sessions:
            hazards = [h for h in truth.hazards if h.rule == curve.rule]
            true = curve.condition(session.hops, threshold)
            times = raises(session.hops["t_ns"], true, row.on_delay_ns, row.off_delay_ns)
            raised += len(times)
            right += sum(any(matches(t, h) for h in hazards) for t in times)
            for hazard in (h for h in hazards if h.must):
                must += 1
                due = hazard.onset_ns + LATE_NS
                found += any(matches(t, hazard) and t <= due for t in times)
        points.append(Point(float(threshold), found, must, right, raised))
    return points


def with_truth(report: Report, folder: Path) -> list[tuple[SessionResult, Truth]]:
    return [(s, read_truth(folder / f"{s.name}.truth.json")) for s in report.sessions]


def main(folder: Path) -> None:
    from benchmarks.detection_quality import evaluated  # noqa: PLC0415  it draws these curves

    report = evaluated(folder)
    sessions = with_truth(report, folder)
    for curve in CURVES:
        print(f"{curve.rule}, {curve.what}; {report.contact_h:.2f} h of contact")
        for point in sorted(measure(curve, sessions), key=lambda each: each.threshold):
            print(
                f"  {point.threshold:6g}  recall {point.found}/{point.must} {point.recall:.3f}"
                f"  precision {point.right}/{point.raises} {point.precision:.3f}"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
