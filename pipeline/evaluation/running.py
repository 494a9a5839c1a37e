"""Calibrate, replay and score the sessions of a folder, several at a time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipeline import wire
from pipeline.calibration import CalibrationError
from pipeline.capture import read_recording
from pipeline.evaluation.bench import bench_of, by_gun, calibrate_from_files
from pipeline.evaluation.report import Report
from pipeline.evaluation.scoring import SessionResult, score
from pipeline.evaluation.truth import EvaluationError, read_truth
from pipeline.features import Calibration, FeatureExtractor
from pipeline.model import Alarm, DeviceId, DeviceState, Features, Received
from pipeline.monitor import Monitor, MonitorSettings

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came out of one recording."""

    alarms: list[Alarm] = field(default_factory=list)
    features: list[Features] = field(default_factory=list)

    def take(self, records: Iterable[object]) -> None:
        for record in records:
            if isinstance(record, Alarm):
                self.alarms.append(record)
            elif isinstance(record, Features):
                self.features.append(record)


def replay(
    messages: Iterable[Received],
    calibrations: Mapping[DeviceId, Calibration],
    settings: MonitorSettings,
    priors: Mapping[str, Calibration] | None = None,
    batch: int = 256,
) -> Replayed:
    """Run a recording through a fresh Monitor."""
    monitor = Monitor(settings, FeatureExtractor(calibrations, priors))
    out = Replayed()
    waiting: list[Received] = []
    for message in messages:
        waiting.append(message)
        if len(waiting) >= batch:
            out.take(monitor.feed(waiting))
            waiting = []
    out.take(monitor.feed(waiting))
    out.take(monitor.flush())
    return out


def evaluate(
    folder: Path,
    *,
    strokes_m: Mapping[str, float] | None = None,
    settings: MonitorSettings | None = None,
    priors: Mapping[str, Calibration] | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Calibrate, replay and score every labelled recording of `folder`."""
    paths = sorted(folder.glob("*.truth.json"))
    if not paths:
        raise EvaluationError(
            f"{folder} holds no *.truth.json: give a folder of labelled recordings"
        )
    guns = by_gun(paths)
    work = partial(
        _evaluate_gun,
        strokes_m=strokes_m or {},
        settings=settings or MonitorSettings(),
        priors=priors,
    )
    results: list[SessionResult] = []
    for each in _spread(work, guns, processes):
        results += each
        if progress is not None:
            progress(len(results), len(paths))
    return Report(results)


def _spread(
    work: Callable[[tuple[Path, ...]], list[SessionResult]],
    guns: Sequence[tuple[Path, ...]],
    processes: int,
) -> Iterator[list[SessionResult]]:
    if min(processes, len(guns)) == 1:
        yield from map(work, guns)
        return
    # spawned, not forked: a fork copies locks that progress bars and numba hold
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(work, guns)


def _evaluate_gun(
    paths: tuple[Path, ...],
    strokes_m: Mapping[str, float],
    settings: MonitorSettings,
    priors: Mapping[str, Calibration] | None,
) -> list[SessionResult]:
    """The sessions of one gun, in one calibration."""
    calibrations, remarks = _calibrations(bench_of(paths[0]), strokes_m)
    results = []
    for path in paths:
        truth = read_truth(path)
        messages = list(read_recording(path.with_name(truth.name + ".parquet")))
        replayed = replay(messages, calibrations, settings, priors)
        result = score(truth, replayed.alarms, replayed.features)
        result.calibrated = bool(calibrations)
        result.remarks[:0] = remarks
        birth = _birth(messages)
        if birth is not None:
            result.head, result.device = birth.head or "unknown", str(birth.id)
        results.append(result)
    return results


def _birth(messages: Iterable[Received]) -> DeviceState | None:
    for received in messages:
        try:
            message = wire.decode(received.topic, received.payload)
        except wire.DecodeError:
            continue
        if isinstance(message, DeviceState) and message.online:
            return message
    return None


def _calibrations(
    recording: Path, strokes_m: Mapping[str, float]
) -> tuple[dict[DeviceId, Calibration], list[str]]:
    if not recording.exists():
        return {}, ["no bench: the profile stands in"]
    loadcell = recording.with_name(recording.name.replace(".bench.parquet", ".bench.loadcell.csv"))
    try:
        fitted = calibrate_from_files(recording, loadcell, strokes_m)
    except CalibrationError as error:
        return {}, [f"bench refused: {error}"]
    return {fitted.device: fitted.calibration}, []
