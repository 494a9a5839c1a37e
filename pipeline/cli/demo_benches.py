"""The demo's units at a simulated bench, as a process of its own while the kernels compile.

    python -m pipeline.cli.demo_benches FOLDER GUNS SEED

writes a recording and a load-cell log of every unit that has no calibration in FOLDER yet, two and
a half minutes at the bench in a second or two, all but of the last: that one shows what an
uncalibrated gun looks like. On the way the physics are compiled, too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from devices.demo import demo_fleet
from devices.feed import FleetGun
from devices.performance import warm_up
from devices.recording import LoadcellClock, write_bench
from devices.scenarios import bench_script
from devices.unit import BENCH_OPERATOR
from pipeline.model import DeviceId

CALIBRATED: Final = ".toml"
REFUSED: Final = ".refused"  # the bench could not be used; the reason is in it


def to_be_calibrated(guns: Sequence[FleetGun]) -> Sequence[FleetGun]:
    return guns[:-1] if len(guns) > 1 else guns


def is_done(folder: Path, unit: DeviceId) -> bool:
    return any(
        (folder / unit.clinic / (unit.device + end)).exists() for end in (CALIBRATED, REFUSED)
    )


def put_at_bench(folder: Path, gun: FleetGun, seed: int) -> None:
    unit = gun.player.id
    at_bench = replace(gun.player, operator=BENCH_OPERATOR)
    script = bench_script(len(gun.player.unit.profile.drive.speeds_hz))
    rng = np.random.default_rng([seed, *unit.device.encode()])
    (folder / unit.clinic).mkdir(parents=True, exist_ok=True)
    write_bench(folder / unit.clinic, unit.device, script, at_bench, rng, LoadcellClock())


def main(folder: Path, count: int, seed: int) -> None:
    warm_up()
    for gun in to_be_calibrated(demo_fleet(count, seed)):
        if not is_done(folder, gun.player.id):
            put_at_bench(folder, gun, seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
