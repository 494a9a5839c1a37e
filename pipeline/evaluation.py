"""Alarms against truth: recall, precision, delay, force error, as the labelled recordings ask.

A folder holds `NAME.parquet`, `NAME.truth.json` and, where the gun was on a bench,
`NAME.bench.parquet` with `NAME.bench.loadcell.csv`. Each gun is calibrated from its bench, its
session is replayed through the same Monitor that runs live, and the raises are matched with the
hazards: a raise of rule R at t matches a hazard of R when `allowed_from − 1 s ≤ t ≤ end + 0.5 s`; a
hazard that must be found is found by a match no later than `onset + 2.5 s`, or by an alarm already
active then. May import capture, calibration, monitor and further in.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import calibration as bench
from pipeline import wire
from pipeline.calibration import BenchFit, CalibrationError
from pipeline.capture import read_recording
from pipeline.features import Calibration, FeatureExtractor
from pipeline.model import Alarm, AlarmState, DeviceId, DeviceState, Features, Frame, Received
from pipeline.monitor import Monitor, MonitorSettings

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
FORCE_BANDS_N = ((10.0, 20.0), (20.0, 40.0), (40.0, 70.0), (70.0, 100.0))
MUSCLE = 1
TRUTH_STEP_NS = 100_000_000
DEFAULT_STROKE_M = 0.013  # middle of 10-16 mm (contract, "Physics to build on")

_STANDING = (AlarmState.ACTIVE_UNACK, AlarmState.ACTIVE_ACK)
_LATCHED_ON = (*_STANDING, AlarmState.LATCHED)

Progress = Callable[[int, int], None]


class EvaluationError(Exception):
    """The folder cannot be evaluated; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Hazard:
    """One true condition; times in ns."""

    rule: str
    onset_ns: int
    end_ns: int
    allowed_from_ns: int
    must: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """A session's labels: hazards, and force [N] and tissue every 0.1 s from `t0_ns`."""

    name: str
    model: str
    t0_ns: int
    hazards: tuple[Hazard, ...]
    force_n: NDArray[np.float64]
    tissue: NDArray[np.int64]


@dataclass(slots=True)
class Score:
    """Counts of one rule."""

    found: int = 0
    must: int = 0
    true_raises: int = 0
    raises: int = 0
    delays_s: list[float] = field(default_factory=list)

    def add(self, other: Score) -> None:
        self.found += other.found
        self.must += other.must
        self.true_raises += other.true_raises
        self.raises += other.raises
        self.delays_s.extend(other.delays_s)

    @property
    def recall(self) -> float:
        return self.found / self.must if self.must else math.nan

    @property
    def precision(self) -> float:
        return self.true_raises / self.raises if self.raises else math.nan


@dataclass(frozen=True, slots=True)
class ForceSample:
    """One hop's relative force error on muscle, and what it can be broken down by."""

    relative_error: float
    truth_n: float
    set_hz: float


@dataclass(slots=True)
class SessionResult:
    """One session's scores by rule, its force errors and what was missed or false."""

    name: str
    model: str
    calibrated: bool
    scores: dict[str, Score]
    force: list[ForceSample]
    contact_s: float
    remarks: list[str]


@dataclass(slots=True)
class Report:
    """All sessions of a folder. A rule that no truth file of it labels is not scored."""

    sessions: list[SessionResult]
    rules: tuple[str, ...] = SCORED

    def pooled(self, rules: Iterable[str] | None = None) -> dict[str, Score]:
        total = {rule: Score() for rule in rules or self.rules}
        for session in self.sessions:
            for rule, score in total.items():
                score.add(session.scores[rule])
        return total

    def force_errors(self) -> NDArray[np.float64]:
        errors = [abs(s.relative_error) for r in self.sessions for s in r.force]
        return np.array(errors, np.float64)

    @property
    def contact_h(self) -> float:
        return sum(r.contact_s for r in self.sessions) / 3600.0

    @property
    def false_per_10_h(self) -> float:
        gated = [rule for rule in GATED if rule in self.rules]
        false = sum(s.raises - s.true_raises for s in self.pooled(gated).values())
        return 10.0 * false / self.contact_h if self.contact_h else math.nan

    def to_json(self) -> dict[str, Any]:
        """Everything the table shows, as plain data."""
        errors = self.force_errors()
        return {
            "sessions": len(self.sessions),
            "contact_h": self.contact_h,
            "false_use_alarms_per_10_h": self.false_per_10_h,
            "rules": {rule: _as_dict(score) for rule, score in self.pooled().items()},
            "force": {
                "n": errors.size,
                "median": _quantile(errors, 0.5),
                "p95": _quantile(errors, 0.95),
                "bands": self._force_bands(),
            },
            "remarks": [
                f"{session.name}: {remark}"
                for session in self.sessions
                for remark in session.remarks
                if remark.split(":")[0] not in set(SCORED) - set(self.rules)
            ],
        }

    def _force_bands(self) -> dict[str, dict[str, float]]:
        bands = {}
        for low, high in FORCE_BANDS_N:
            errors = np.array(
                [
                    abs(s.relative_error)
                    for r in self.sessions
                    for s in r.force
                    if low <= s.truth_n < high
                ]
            )
            bands[f"{low:g}-{high:g} N"] = {
                "n": errors.size,
                "median": _quantile(errors, 0.5),
                "p95": _quantile(errors, 0.95),
            }
        return bands


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


def _as_dict(score: Score) -> dict[str, Any]:
    delays = np.array(score.delays_s)
    return {
        "must": score.must,
        "found": score.found,
        "recall": score.recall,
        "recall_95": wilson(score.found, score.must),
        "raises": score.raises,
        "true_raises": score.true_raises,
        "precision": score.precision,
        "precision_95": wilson(score.true_raises, score.raises),
        "delay_s_p50": _quantile(delays, 0.5),
        "delay_s_p95": _quantile(delays, 0.95),
    }


def _quantile(values: NDArray[np.float64], q: float) -> float:
    return float(np.quantile(values, q)) if values.size else math.nan


# ---------------------------------------------------------------------------------------- reading


def read_truth(path: Path) -> Truth:
    """Read a `NAME.truth.json`. Raises EvaluationError naming the file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        hazards = tuple(
            Hazard(h["rule"], h["onset_ns"], h["end_ns"], h["allowed_from_ns"], bool(h["must"]))
            for h in raw["hazards"]
        )
        return Truth(
            path.name.removesuffix(".truth.json"),
            str(raw.get("model", "unknown")),
            int(raw["t0_ns"]),
            hazards,
            np.array(raw["force_10hz"], np.float64),
            np.array(raw["tissue_10hz"], np.int64),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path} is not a truth file: {error!r}") from error


def read_loadcell(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read `t_ns,force_n` lines. Raises CalibrationError naming the file and the line."""
    times: list[int] = []
    forces: list[float] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    times.append(int(row["t_ns"]))
                    forces.append(float(row["force_n"]))
                except (KeyError, TypeError, ValueError) as error:
                    raise CalibrationError(
                        f"{path}, line {number}: expected `t_ns,force_n`, got {row!r}"
                    ) from error
    except OSError as error:
        raise CalibrationError(f"{path} cannot be read: {error.strerror}") from error
    return np.array(times, np.int64), np.array(forces, np.float64)


def calibrate_from_files(
    recording: Path, loadcell: Path, strokes_m: Mapping[str, float], stroke_m: float | None = None
) -> BenchFit:
    """Fit a bench recording and its load-cell log; the stroke is that of the model it announces."""
    frames: list[Frame] = []
    model = ""
    for received in read_recording(recording):
        try:
            message = wire.decode(received.topic, received.payload)
        except wire.DecodeError:
            continue  # a bench takes what is readable; the fit refuses when that is too little
        if isinstance(message, Frame):
            frames.append(message)
        elif isinstance(message, DeviceState) and message.model:
            model = message.model
    frames.sort(key=lambda frame: frame.seq)
    times, forces = read_loadcell(loadcell)
    stroke = stroke_m or strokes_m.get(model, DEFAULT_STROKE_M)
    return bench.fit(frames, times, forces, stroke)


# ----------------------------------------------------------------------------------------- replay


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came out of one recording."""

    alarms: list[Alarm]
    features: list[Features]


def replay(
    messages: Iterable[Received],
    calibrations: Mapping[DeviceId, Calibration],
    settings: MonitorSettings,
    priors: Mapping[str, Calibration] | None = None,
    batch: int = 256,
) -> Replayed:
    """Run a recording through a fresh Monitor."""
    monitor = Monitor(settings, FeatureExtractor(calibrations, priors))
    out = Replayed([], [])
    waiting: list[Received] = []
    for message in messages:
        waiting.append(message)
        if len(waiting) >= batch:
            _keep(monitor.feed(waiting), out)
            waiting = []
    _keep(monitor.feed(waiting), out)
    _keep(monitor.flush(), out)
    return out


def _keep(records: Iterable[object], out: Replayed) -> None:
    for record in records:
        if isinstance(record, Alarm):
            out.alarms.append(record)
        elif isinstance(record, Features):
            out.features.append(record)


def evaluate(
    folder: Path,
    *,
    strokes_m: Mapping[str, float] | None = None,
    settings: MonitorSettings | None = None,
    priors: Mapping[str, Calibration] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Calibrate, replay and score every labelled recording of `folder`."""
    paths = sorted(folder.glob("*.truth.json"))
    if not paths:
        raise EvaluationError(
            f"{folder} holds no *.truth.json: give a folder of labelled recordings"
        )
    results: list[SessionResult] = []
    for done, path in enumerate(paths, start=1):
        results.append(_evaluate_one(path, strokes_m or {}, settings or MonitorSettings(), priors))
        if progress is not None:
            progress(done, len(paths))
    labelled = {h.rule for path in paths for h in read_truth(path).hazards}
    return Report(results, tuple(rule for rule in SCORED if rule in labelled))


def _evaluate_one(
    path: Path,
    strokes_m: Mapping[str, float],
    settings: MonitorSettings,
    priors: Mapping[str, Calibration] | None,
) -> SessionResult:
    truth = read_truth(path)
    calibrations, remarks = _calibrations(path, strokes_m)
    recording = path.with_name(truth.name + ".parquet")
    replayed = replay(read_recording(recording), calibrations, settings, priors)
    result = score(truth, replayed)
    result.calibrated = bool(calibrations)
    result.remarks[:0] = remarks
    return result


def _calibrations(
    path: Path, strokes_m: Mapping[str, float]
) -> tuple[dict[DeviceId, Calibration], list[str]]:
    stem = path.name.removesuffix(".truth.json")
    recording = path.with_name(stem + ".bench.parquet")
    loadcell = path.with_name(stem + ".bench.loadcell.csv")
    if not recording.exists():
        return {}, ["no bench: the profile stands in"]
    try:
        fitted = calibrate_from_files(recording, loadcell, strokes_m)
    except CalibrationError as error:
        return {}, [f"bench refused: {error}"]
    return {fitted.device: fitted.calibration}, []


# ---------------------------------------------------------------------------------------- scoring


def score(truth: Truth, replayed: Replayed) -> SessionResult:
    """Match raises with hazards, force with the load cell."""
    scores = {}
    remarks: list[str] = []
    for rule in SCORED:
        history = [a for a in replayed.alarms if a.rule == rule]
        scores[rule] = _score_rule(rule, truth, history, remarks)
    contact_s = 0.25 * sum(f.contact for f in replayed.features)
    force = _force_samples(truth, replayed.features)
    return SessionResult(truth.name, truth.model, False, scores, force, contact_s, remarks)


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


def _score_rule(rule: str, truth: Truth, history: Sequence[Alarm], remarks: list[str]) -> Score:
    hazards = [h for h in truth.hazards if h.rule == rule]
    raises = raises_of(history)
    matched = [t for t in raises if any(_matches(t, h) for h in hazards)]
    result = Score(true_raises=len(matched), raises=len(raises))
    remarks.extend(
        f"{rule}: false raise at {(t - truth.t0_ns) / 1e9:.2f} s"
        for t in raises
        if t not in matched
    )
    for hazard in hazards:
        if not hazard.must:
            continue
        result.must += 1
        due = hazard.onset_ns + LATE_NS
        first = next((t for t in raises if _matches(t, hazard)), None)
        if (first is not None and first <= due) or _active_at(history, due):
            result.found += 1
        else:
            at = (hazard.onset_ns - truth.t0_ns) / 1e9
            late = (
                "" if first is None else f" (raised {(first - hazard.onset_ns) / 1e9:.2f} s late)"
            )
            remarks.append(f"{rule}: missed, due at {at:.2f} s{late}")
        if first is not None:
            result.delays_s.append((first - hazard.onset_ns) / 1e9)
    return result


def _matches(t_ns: int, hazard: Hazard) -> bool:
    return hazard.allowed_from_ns - EARLY_NS <= t_ns <= hazard.end_ns + AFTER_NS


def _force_samples(truth: Truth, features: Sequence[Features]) -> list[ForceSample]:
    """Where truth is 10 to 100 N on muscle for at least 1 s."""
    samples = []
    for f in features:
        at = round((f.t_ns - truth.t0_ns) / TRUTH_STEP_NS)
        if not 10 <= at < truth.force_n.size:
            continue
        load = float(truth.force_n[at])
        muscle = bool(np.all(truth.tissue[at - 10 : at + 1] == MUSCLE))
        if muscle and FORCE_LOW_N <= load <= FORCE_HIGH_N:
            error = (f.contact_force_n - load) / load
            samples.append(ForceSample(error, load, f.set_percussion_hz))
    return samples
