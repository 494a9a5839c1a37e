"""Raises matched with hazards, and hops with the truth, session by session.

A raise of rule R at t matches a hazard of R when `allowed_from − 1 s ≤ t ≤ end + 0.5 s`; a hazard
that must be found is found by a match no later than `onset + 2.5 s`, or by an alarm already active
then (contract, "How good it must be").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.truth import STEP_NS, Hazard, Truth
from pipeline.model import Alarm, AlarmState, Features, Quality

SCORED = (
    "OVERDWELL_ADVISORY",
    "OVERDWELL",
    "EXCESS_PRESSURE",
    "EXTREME_PRESSURE",
    "TENDON_PROXIMITY",
)
GATED = ("OVERDWELL", "EXCESS_PRESSURE", "TENDON_PROXIMITY")  # contract, "How good it must be"
EARLY_NS, LATE_NS, AFTER_NS = 1_000_000_000, 2_500_000_000, 500_000_000
FORCE_LOW_N, FORCE_HIGH_N = 10.0, 100.0
MUSCLE, TENDON, BONE = 1, 2, 3
HOP_S = 0.25

_STANDING = (AlarmState.ACTIVE_UNACK, AlarmState.ACTIVE_ACK)
_LATCHED_ON = (*_STANDING, AlarmState.LATCHED)

# One hop: what was said, and what was true. `tissue` is −1 unless the last second was on one.
HOPS = np.dtype(
    [
        ("t_ns", "i8"),
        ("contact", "?"),
        ("bad", "?"),
        ("set_hz", "f4"),
        ("said_n", "f4"),
        ("said_n_sd", "f4"),
        ("stiffness", "f4"),
        ("said_dwell_s", "f4"),
        ("force_n", "f4"),
        ("tissue", "i4"),
        ("dwell_s", "f4"),
    ]
)
Hops = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class HazardOutcome:
    """A hazard that had to be found, and in what it was; `delay_s` NaN where nothing was raised."""

    rule: str
    found: bool
    delay_s: float
    set_hz: float
    force_n: float


@dataclass(frozen=True, slots=True)
class RaiseOutcome:
    """A raise, whether a hazard was behind it, and at which set speed and true force."""

    rule: str
    right: bool
    set_hz: float
    force_n: float


@dataclass(slots=True)
class Score:
    """Counts of one rule."""

    found: int = 0
    must: int = 0
    true_raises: int = 0
    raises: int = 0
    delays_s: list[float] = field(default_factory=list)

    def add(
        self, hazards: Iterable[HazardOutcome] = (), raises: Iterable[RaiseOutcome] = ()
    ) -> None:
        for hazard in hazards:
            self.must += 1
            self.found += hazard.found
            if not math.isnan(hazard.delay_s):
                self.delays_s.append(hazard.delay_s)
        for each in raises:
            self.raises += 1
            self.true_raises += each.right

    @property
    def recall(self) -> float:
        return self.found / self.must if self.must else math.nan

    @property
    def precision(self) -> float:
        return self.true_raises / self.raises if self.raises else math.nan


@dataclass(slots=True)
class SessionResult:
    """One session: what had to be found, what was raised, hop by hop what was said and true."""

    name: str
    model: str
    head: str = "unknown"
    device: str = ""
    calibrated: bool = False
    hazards: list[HazardOutcome] = field(default_factory=list)
    raises: list[RaiseOutcome] = field(default_factory=list)
    hops: Hops = field(default_factory=lambda: np.zeros(0, HOPS))
    labelled: frozenset[str] = frozenset()
    remarks: list[str] = field(default_factory=list)

    @property
    def scores(self) -> dict[str, Score]:
        scores = {rule: Score() for rule in SCORED}
        for hazard in self.hazards:
            scores[hazard.rule].add(hazards=[hazard])
        for each in self.raises:
            scores[each.rule].add(raises=[each])
        return scores

    @property
    def contact_s(self) -> float:
        return HOP_S * float(self.hops["contact"].sum())

    def delays_s(self, rule: str) -> NDArray[np.float64]:
        delays = [h.delay_s for h in self.hazards if h.rule == rule and not math.isnan(h.delay_s)]
        return np.array(delays, np.float64)

    def on_muscle(self) -> Hops:
        """Hops whose force counts: 10 to 100 N, on muscle for at least a second."""
        load = self.hops["force_n"]
        in_range = (load >= FORCE_LOW_N) & (load <= FORCE_HIGH_N)
        return np.asarray(self.hops[in_range & (self.hops["tissue"] == MUSCLE)])


def score(truth: Truth, alarms: Sequence[Alarm], features: Sequence[Features]) -> SessionResult:
    """Match raises with hazards, hops with the truth."""
    result = SessionResult(truth.name, truth.model, hops=_hops(truth, features))
    result.labelled = frozenset(hazard.rule for hazard in truth.hazards)
    for rule in SCORED:
        history = [a for a in alarms if a.rule == rule]
        _score_rule(rule, truth, history, result)
    return result


def raises_of(history: Sequence[Alarm]) -> list[int]:
    """Times at which one rule's alarm went from not standing to standing."""
    times = []
    standing = False
    for alarm in history:
        now = alarm.state in _LATCHED_ON
        if now and not standing:
            times.append(alarm.changed_at_ns)
        if alarm.state is not AlarmState.UNKNOWN:
            standing = alarm.state in _STANDING
    return times


def _active_at(history: Sequence[Alarm], t_ns: int) -> bool:
    standing = False
    for alarm in history:
        if alarm.changed_at_ns > t_ns:
            break
        standing = alarm.state in _LATCHED_ON
    return standing


def _score_rule(rule: str, truth: Truth, history: Sequence[Alarm], result: SessionResult) -> None:
    hazards = [h for h in truth.hazards if h.rule == rule]
    raises = raises_of(history)
    for t in raises:
        right = any(matches(t, h) for h in hazards)
        result.raises.append(RaiseOutcome(rule, right, *_work_at(result.hops, t)))
        if not right:
            result.remarks.append(f"{rule}: false raise at {(t - truth.t0_ns) / 1e9:.2f} s")
    for hazard in (h for h in hazards if h.must):
        first = next((t for t in raises if matches(t, hazard)), None)
        due = hazard.onset_ns + LATE_NS
        found = (first is not None and first <= due) or _active_at(history, due)
        delay_s = math.nan if first is None else (first - hazard.onset_ns) / 1e9
        work = _work_at(result.hops, hazard.onset_ns)
        result.hazards.append(HazardOutcome(rule, found, delay_s, *work))
        if not found:
            at = (hazard.onset_ns - truth.t0_ns) / 1e9
            late = "" if first is None else f" (raised {delay_s:.2f} s late)"
            result.remarks.append(f"{rule}: missed, due at {at:.2f} s{late}")


def matches(t_ns: int, hazard: Hazard) -> bool:
    """Whether a raise at `t_ns` belongs to the hazard."""
    return hazard.allowed_from_ns - EARLY_NS <= t_ns <= hazard.end_ns + AFTER_NS


def _work_at(hops: Hops, t_ns: int) -> tuple[float, float]:
    """Set speed and true force at a time."""
    if hops.size == 0:
        return math.nan, math.nan
    hop = hops[min(int(np.searchsorted(hops["t_ns"], t_ns)), hops.size - 1)]
    return float(hop["set_hz"]), float(hop["force_n"])


def _hops(truth: Truth, features: Sequence[Features]) -> Hops:
    """Every hop of the session for which there is a truth."""
    rows: list[tuple[Any, ...]] = []
    for f in features:
        at = round((f.t_ns - truth.t0_ns) / STEP_NS)
        if not 10 <= at < truth.force_n.size:
            continue
        last_second = truth.tissue[at - 10 : at + 1]
        tissue = int(last_second[0]) if np.all(last_second == last_second[0]) else -1
        rows.append(
            (
                f.t_ns,
                f.contact,
                f.quality is Quality.BAD,
                f.set_percussion_hz,
                f.contact_force_n,
                f.contact_force_n_sd,
                f.stiffness,
                f.dwell_s,
                truth.force_n[at],
                tissue,
                truth.dwell_s[min(at, truth.dwell_s.size - 1)],
            )
        )
    return np.array(rows, HOPS)
