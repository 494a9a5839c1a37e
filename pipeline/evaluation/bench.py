"""A bench session and its load cell's log, read from files and fitted."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import calibration, wire
from pipeline.calibration import BenchFit, CalibrationError
from pipeline.capture import read_recording
from pipeline.model import DeviceState, Frame

DEFAULT_STROKE_M = 0.013  # middle of 10-16 mm (contract, "Physics to build on")


def bench_of(truth: Path) -> Path:
    """The bench recording of a labelled session, be it there or not."""
    return truth.with_name(truth.name.removesuffix(".truth.json") + ".bench.parquet")


def by_gun(truths: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Sessions of one gun share its bench: they go together, so that it is fitted once."""
    return [tuple(each) for _, each in groupby(truths, key=lambda path: bench_of(path).resolve())]


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
    return calibration.fit(frames, times, forces, stroke)
