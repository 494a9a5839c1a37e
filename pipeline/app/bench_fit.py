"""A calibration fitted in a process of its own, so that no gun waits for it.

    python -m pipeline.app.bench_fit INTO RECORDING LOADCELL < strokes.json

writes `unit.toml`, `fit.png` and `fit.json` into INTO, or a sentence on stderr and exit code 1.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.calibration import BenchFit, CalibrationError, draw, to_toml
from pipeline.capture import RecordingError
from pipeline.evaluation import calibrate_from_files

FIT_S_MAX: Final = 300.0  # engineering choice: a bench of 20 minutes takes one; more is no bench
NICENESS: Final = 10
LEAST_LOAD_N: Final = 10.0  # detection.md, "How good it must be": from 10 N on
UNIT, PICTURE, SUMMARY = "unit.toml", "fit.png", "fit.json"


class FitError(Exception):
    """Why there is no fit, in a sentence."""


async def fit_apart(
    recording: Path, loadcell: Path, strokes_m: Mapping[str, float], into: Path
) -> dict[str, Any]:
    """Run this module as a process; the summary it wrote. Raises FitError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pipeline.app.bench_fit", str(into), str(recording), str(loadcell)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said = json.dumps(dict(strokes_m)).encode()
        _, complaint = await asyncio.wait_for(process.communicate(said), FIT_S_MAX)
    except TimeoutError:
        raise FitError(f"the fit took over {FIT_S_MAX:.0f} s: give it a shorter bench") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:]
        raise FitError(last[0] if last else "the fit ended without a word: look into the log")
    summary: dict[str, Any] = json.loads((into / SUMMARY).read_text(encoding="utf-8"))
    return summary


def main(into: Path, recording: Path, loadcell: Path) -> None:
    os.nice(NICENESS)
    strokes_m: dict[str, float] = json.load(sys.stdin)
    try:
        fitted = calibrate_from_files(recording, loadcell, strokes_m)
    except (CalibrationError, RecordingError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)
    (into / UNIT).write_text(to_toml(fitted.calibration, fitted.device), encoding="utf-8")
    draw(fitted, into / PICTURE)
    (into / SUMMARY).write_text(json.dumps(_summary(fitted)), encoding="utf-8")


def _summary(fitted: BenchFit) -> dict[str, Any]:
    counted = fitted.load_n >= LEAST_LOAD_N
    error = 100.0 * np.abs(fitted.fitted_n[counted] / fitted.load_n[counted] - 1.0)
    return {
        "clinic": fitted.device.clinic,
        "device": fitted.device.device,
        "speeds_hz": [round(float(speed), 1) for speed in fitted.calibration.speed_hz],
        "loads": int(counted.sum()),
        "load_n_max": round(float(fitted.load_n.max()), 1),
        "error_percent_median": round(float(np.median(error)), 1),
        "error_percent_p95": round(float(np.percentile(error, 95)), 1),
        "force_sd_percent": round(100.0 * fitted.calibration.force_rel_sd, 1),
    }


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
