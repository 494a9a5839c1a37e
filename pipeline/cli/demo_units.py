"""The calibrations of the demo's units: made at the first start, kept for the next.

What is kept is under a digest of the code that made it, because with other code it would be another
calibration.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import devices
import pipeline
from devices.demo import demo_fleet
from devices.feed import FleetGun
from devices.profile import load_profiles
from pipeline.calibration import CalibrationError, load_folder, to_toml
from pipeline.cli import terminal
from pipeline.cli.demo_benches import CALIBRATED, REFUSED, is_done, to_be_calibrated
from pipeline.cli.gun_models import strokes_m
from pipeline.cli.terminal import CommandError
from pipeline.evaluation import calibrate_from_files
from pipeline.features import Calibration
from pipeline.model import DeviceId

DIGEST_DIGITS: Final = 12
POLL_S: Final = 0.1
_RECORDING, _LOADCELL = ".bench.parquet", ".bench.loadcell.csv"  # as devices.recording names them


class Units:
    """The units of one demo; `with units.at_the_bench(): …`, then `units.calibrations()`."""

    def __init__(self, guns: int, seed: int, folder: Path) -> None:
        self._guns, self._seed = guns, seed
        self._folder = folder / f"{_code_digest()}-{seed}"
        self._folder.mkdir(parents=True, exist_ok=True)
        fleet: Sequence[FleetGun] = to_be_calibrated(demo_fleet(guns, seed))
        self._missing = [g.player.id for g in fleet if not is_done(self._folder, g.player.id)]

    @contextmanager
    def at_the_bench(self) -> Iterator[None]:
        """Have the bench sessions of those that lack one played beside what the block does."""
        if not self._missing:
            yield
            return
        module = "pipeline.cli.demo_benches"
        words = (str(self._folder), str(self._guns), str(self._seed))
        command = (sys.executable, "-m", module, *words)
        with subprocess.Popen(command, stderr=subprocess.PIPE) as playing:  # noqa: S603 -- ours
            try:
                yield
                self._wait(playing)
            except BaseException:
                playing.kill()
                raise

    def _wait(self, playing: subprocess.Popen[bytes]) -> None:
        with terminal.progress("Units at the bench, the first time", len(self._missing)) as shown:
            while playing.poll() is None:
                shown(sum(self._file(unit, _LOADCELL).exists() for unit in self._missing))
                time.sleep(POLL_S)
        if playing.returncode != 0 and playing.stderr is not None:
            words = playing.stderr.read().decode(errors="replace").splitlines()[-1:]
            raise CommandError(f"The simulated bench failed: {' '.join(words) or 'no reason'}")

    def calibrations(self) -> Mapping[DeviceId, Calibration]:
        """Fit what has been at the bench; all there are."""
        strokes = strokes_m(load_profiles())
        with terminal.progress("Calibrating the units", len(self._missing)) as shown:
            for done, unit in enumerate(self._missing, start=1):
                self._fit(unit, strokes)
                shown(done)
        return load_folder(self._folder)

    def _fit(self, unit: DeviceId, strokes: Mapping[str, float]) -> None:
        recording, loadcell = self._file(unit, _RECORDING), self._file(unit, _LOADCELL)
        try:
            fitted = calibrate_from_files(recording, loadcell, strokes).calibration
        except CalibrationError as error:
            # as at a real bench: this unit goes on uncalibrated, and says so
            self._file(unit, REFUSED).write_text(f"{error}\n", encoding="utf-8")
        else:
            part = self._file(unit, ".part")
            # simulated benches are all of one date
            calibration = replace(fitted, calibrated_at_ns=time.time_ns())
            part.write_text(to_toml(calibration, unit), encoding="utf-8")
            part.replace(self._file(unit, CALIBRATED))
        recording.unlink()
        loadcell.unlink()

    def _file(self, unit: DeviceId, ending: str) -> Path:
        return self._folder / unit.clinic / (unit.device + ending)


def _code_digest() -> str:
    """Of the simulator, and of all in `pipeline` that is no package: force is found in modules."""
    inner, simulator = (Path(each.__file__ or "").parent for each in (pipeline, devices))
    digest = hashlib.sha256()
    for path in sorted([*inner.glob("*.py"), *simulator.rglob("*.py"), *simulator.rglob("*.toml")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:DIGEST_DIGITS]
