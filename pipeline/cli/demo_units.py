"""The demo's guns on a bench: a calibration for every unit but the last, kept for the next start.

The last one shows what an uncalibrated gun looks like. What is kept is under a digest of the code
that made it, because with other code it would be another calibration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

import devices
import pipeline
from devices.feed import FleetGun
from devices.recording import LoadcellClock, Player, frame_of, loadcell_rows, play
from devices.scenarios import bench_script
from devices.unit import BENCH_OPERATOR
from pipeline.calibration import CalibrationError, fit, from_toml, to_toml
from pipeline.features import Calibration
from pipeline.model import DeviceId

DIGEST_DIGITS: Final = 12


def calibrated_units(
    guns: Sequence[FleetGun], seed: int, folder: Path, shown: Callable[[int], None]
) -> Mapping[DeviceId, Calibration]:
    """Calibrations by device; `shown` hears how many guns are done."""
    folder = folder / f"{_code_digest()}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for done, gun in enumerate(guns[:-1] if len(guns) > 1 else guns, start=1):
        calibration = _kept_or_made(gun.player, seed, folder)
        if calibration is not None:
            found[gun.player.id] = calibration
        shown(done)
    return found


def _kept_or_made(player: Player, seed: int, folder: Path) -> Calibration | None:
    path = folder / f"{player.id.device}.toml"
    if path.exists():
        return from_toml(path.read_text(encoding="utf-8"), str(path))
    try:
        calibration = _at_the_bench(player, seed)
    except CalibrationError:
        return None  # as at a real bench: this unit goes on uncalibrated, and says so
    part = path.with_suffix(".part")
    part.write_text(to_toml(calibration, player.id), encoding="utf-8")
    part.replace(path)
    return calibration


def _at_the_bench(player: Player, seed: int) -> Calibration:
    """Two and a half minutes at the bench, in a second or two."""
    rng = np.random.default_rng([seed, *player.id.device.encode()])
    drive = player.unit.profile.drive
    at_bench = replace(player, operator=BENCH_OPERATOR)
    takes = play(bench_script(len(drive.speeds_hz)), at_bench, rng)
    t_ns, force_n = zip(*loadcell_rows(takes, LoadcellClock(), rng), strict=True)
    frames = [frame_of(take, at_bench) for take in takes]
    load = np.array(t_ns, np.int64), np.array(force_n, np.float64)
    return fit(frames, *load, drive.stroke_mm / 1000.0).calibration


def _code_digest() -> str:
    """Of the simulator, and of all in `pipeline` that is no package: force is found in modules."""
    inner, simulator = (Path(each.__file__ or "").parent for each in (pipeline, devices))
    digest = hashlib.sha256()
    for path in sorted([*inner.glob("*.py"), *simulator.rglob("*.py"), *simulator.rglob("*.toml")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:DIGEST_DIGITS]
