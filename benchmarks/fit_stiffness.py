"""Fit pipeline.stiffness.STIFFNESS_MODEL on simulated guns, and print it with its scores.

    .venv/bin/python -m benchmarks.fit_stiffness var/suite-53 var/suite-71 …

takes all sessions of suites (benchmarks.suite; what is to be a score wants another seed), of them
the cues of every window whose last second was on one tissue at 12 N or more, and fits two ridge
logistic regressions: muscle against the rest, bone against tendon. Each suite is scored with what
was fitted on the others; the printed model is fitted on all. A minute or two a suite.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices.profile import load_profiles
from pipeline import baseline, contact, wire
from pipeline.calibration import CalibrationError
from pipeline.capture import read_recording
from pipeline.evaluation import bench_of, by_gun, calibrate_from_files, read_truth
from pipeline.features import GENERIC, Calibration, signal_hops
from pipeline.model import Frame
from pipeline.stiffness import STIFFNESS_MODEL, terms

LEAST_FORCE_N = 12.0  # contract: the rule asks from here on
# Of the weight: a false alarm is the more common error. Of 0.03, 0.05 and 0.1 the middle: of 1062
# tendons of five suites, each left out of its fit, 1048, 1054 and 1055 were found, and 0, 1 and 2
# false alarms raised in 40 hours.
TENDON_SHARE = 0.05
RIDGE, BONE_RIDGE = 30.0, 30.0  # of 10, 30 and 100 no other was clearly better
MUSCLE, TENDON, BONE = 1, 2, 3
STROKES_M = {model: p.drive.stroke_mm / 1000.0 for model, p in load_profiles().items()}

Floats = NDArray[np.float64]


def cues_of(path: Path, gun: Calibration) -> tuple[Floats, NDArray[np.int64]]:
    """Cues (n, N_CUES) and tissue (n,) of one session's windows."""
    truth = read_truth(path)
    frames = sorted(_frames(path.with_name(truth.name + ".parquet")), key=lambda f: f.seq)
    hops = signal_hops(frames)
    units = np.zeros(1, baseline.UNIT)
    gun.fill(units[0])
    meaning = np.zeros(hops.size, contact.MEANING)
    contact.interpret(np.zeros(1, contact.CONTACT), units, STIFFNESS_MODEL, hops, meaning)
    at = np.clip((meaning["t_ns"] - truth.t0_ns) // 100_000_000, 10, truth.tissue.size - 1)
    tissue = np.array([_only(truth.tissue[k - 10 : k + 1]) for k in at])
    in_contact = (meaning["contact"] == 1) & (meaning["motor"] == contact.RUNNING)
    kept = in_contact & (truth.force_n[at] >= LEAST_FORCE_N) & (tissue > 0)
    return meaning["cues"][kept], tissue[kept]


def _frames(path: Path) -> Iterator[Frame]:
    seen = set()
    for received in read_recording(path):
        try:
            message = wire.decode(received.topic, received.payload)
        except wire.DecodeError:
            continue
        if isinstance(message, Frame) and message.seq not in seen:
            seen.add(message.seq)
            yield message


def calibration_of(bench: Path) -> Calibration:
    loadcell = bench.with_suffix(".loadcell.csv")
    try:
        return calibrate_from_files(bench, loadcell, STROKES_M).calibration
    except CalibrationError:
        return GENERIC


def _only(tissue: NDArray[np.int64]) -> int:
    return int(tissue[-1]) if np.all(tissue == tissue[-1]) else -1


def fit(x: Floats, y: Floats, weight: Floats, ridge: float) -> Floats:
    """Ridge logistic regression by Newton's method: weights of the columns, then the offset."""
    mean, sd = x.mean(axis=0), x.std(axis=0) + 1e-9
    a = np.c_[(x - mean) / sd, np.ones(len(x))]
    penalty = np.r_[np.full(x.shape[1], ridge), 1e-9]
    b = np.zeros(a.shape[1])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(a @ b, -30, 30)))
        gradient = a.T @ (weight * (y - p)) - penalty * b
        hessian = (a * (weight * p * (1 - p))[:, None]).T @ a + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        b += step
        if np.abs(step).max() < 1e-7:
            break
    scaled = b[:-1] / sd
    return np.r_[scaled, b[-1] - scaled @ mean]


def fit_tendon(x: Floats, tissue: NDArray[np.int64]) -> Floats:
    """Step one: tendon or bone against muscle."""
    y = (tissue > MUSCLE).astype(float)
    share = np.where(y > 0, TENDON_SHARE / y.sum(), (1 - TENDON_SHARE) / (1 - y).sum())
    return fit(terms(x), y, share * len(y), RIDGE)


def say_scores(name: str, b: Floats, x: Floats, tissue: NDArray[np.int64]) -> None:
    said = terms(x) @ b[:-1] + b[-1] > 0
    rates = [
        f"{kind} {said[tissue == k].mean():.3f}"
        for k, kind in enumerate(("", "muscle", "tendon", "bone"))
        if k
    ]
    print(f"{name}: called tendon or bone: " + ", ".join(rates))


def cues_of_gun(paths: Sequence[Path]) -> tuple[Floats, NDArray[np.int64]]:
    """Cues and tissue of all sessions of one gun."""
    gun = calibration_of(bench_of(paths[0]))
    return _joined([cues_of(path, gun) for path in paths])


def _joined(
    parts: Sequence[tuple[Floats, NDArray[np.int64]]],
) -> tuple[Floats, NDArray[np.int64]]:
    return np.concatenate([cues for cues, _ in parts]), np.concatenate([kind for _, kind in parts])


def cues_of_suite(folder: Path, pool: Executor) -> tuple[Floats, NDArray[np.int64]]:
    paths = sorted(folder.glob("*/*.truth.json"))
    if not paths:
        raise SystemExit(f"{folder} is no suite: python -m benchmarks.suite {folder} makes it")
    return _joined(list(pool.map(cues_of_gun, by_gun(paths))))


def main(folders: Sequence[Path]) -> None:
    with ProcessPoolExecutor() as pool:
        suites = [cues_of_suite(folder, pool) for folder in folders]
    for k, folder in enumerate(folders):
        others = suites[:k] + suites[k + 1 :]
        if others:
            say_scores(f"{folder}, fitted on the others", fit_tendon(*_joined(others)), *suites[k])
    x, tissue = _joined(suites)
    hard = tissue > MUSCLE
    bone = fit(
        terms(x[hard]), (tissue[hard] == BONE).astype(float), np.ones(hard.sum()), BONE_RIDGE
    )
    for step in (fit_tendon(x, tissue), bone):
        print(", ".join(f"{weight:.4g}" for weight in step))


if __name__ == "__main__":
    main([Path(each) for each in sys.argv[1:]])
