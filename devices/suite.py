"""A folder of labelled recordings of many guns, for tuning and judging a detector.

    from pathlib import Path
    from devices.suite import write_suite
    write_suite(Path("out"), seed=7, sessions=200, models=14, sessions_per_gun=4)

writes sessions of guns never seen before, each on a client and in an operator's hand never seen
before: `gNNN.parquet`, `gNNN.truth.json` and, unless `bench` is false, `gNNN.bench.parquet` with
`gNNN.bench.loadcell.csv`, a link where the gun was at the bench for an earlier session. It is the
form of the shared labelled recordings, so `myoguard evaluate out` reads it as it reads those. A
session depends on seed, number, models, sessions a gun and head alone: a longer suite begins with
the shorter one. One core plays about 60 s of a gun in a second.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from devices.profile import Profile, load_profile, load_profiles
from devices.recording import LoadcellClock, Player, Truth, write_bench, write_recording
from devices.scenarios import bench_script, draw_session
from devices.tissue import draw_client
from devices.unit import BENCH_OPERATOR, Unit, draw_operator, draw_unit
from pipeline.model import DeviceId

CLINIC = "suite"
VARIED = 0.15  # how far an invented model lies from the one it is made of
LOADCELL_OFFSET_S, LOADCELL_DRIFT_PPM = 0.04, 50.0  # clocks set by hand from one reference
_MODELS, _GUNS = 1_000_000, 2_000_000  # seeds of their own, clear of the sessions' numbers

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Gun:
    """One unit and the sessions it is used in."""

    number: int
    profile: Profile
    sessions: range


def write_suite(
    folder: Path,
    seed: int,
    sessions: int,
    models: int | Sequence[str | Profile] = 8,
    *,
    head: str | None = None,
    bench: bool = True,
    seconds: float = 130.0,
    sessions_per_gun: int = 1,
    processes: int = 1,
    progress: Progress | None = None,
) -> list[Truth]:
    """Write `sessions` recordings into `folder` (made if need be); their truths in order.

    `models` names packaged models, gives models, or says how many: beyond the packaged ones, models
    are invented as variations of them. `head` names the attachment of every gun ("ball" fits all
    models); None draws one for each gun. `progress(done, sessions)` is called after each gun.
    """
    folder.mkdir(parents=True, exist_ok=True)
    profiles = choose_models(models, seed)
    guns = [
        _Gun(
            number,
            profiles[number % len(profiles)],
            range(first, min(first + sessions_per_gun, sessions)),
        )
        for number, first in enumerate(range(0, sessions, sessions_per_gun))
    ]
    write = partial(_write_gun, folder, seed, head=head, bench=bench, seconds=seconds)
    truths: list[Truth] = []
    for written in _spread(write, guns, processes):
        truths += written
        if progress is not None:
            progress(len(truths), sessions)
    return truths


def _spread(
    write: Callable[[_Gun], list[Truth]], guns: Sequence[_Gun], processes: int
) -> Iterator[list[Truth]]:
    """Every gun's truths in order of the guns."""
    if processes == 1:
        yield from map(write, guns)
        return
    # spawned, not forked: a fork copies locks that progress bars and numba hold
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(write, guns)


def _write_gun(
    folder: Path, seed: int, gun: _Gun, *, head: str | None, bench: bool, seconds: float
) -> list[Truth]:
    """A gun's sessions, and its bench beside each."""
    rng = np.random.default_rng([seed, _GUNS + gun.number])
    unit = draw_unit(gun.profile, rng, head)
    device = DeviceId(CLINIC, f"gun-{seed}-{gun.number:03d}")
    truths = [
        _write_session(folder, seed, number, device, unit, seconds) for number in gun.sessions
    ]
    if bench:
        _write_bench(folder, gun, device, unit, rng)
    return truths


def _write_session(
    folder: Path, seed: int, number: int, device: DeviceId, unit: Unit, seconds: float
) -> Truth:
    rng = np.random.default_rng([seed, number])
    player = Player(device, unit, draw_operator(rng), draw_client(rng))
    name = _name(number)
    script = draw_session(rng, len(unit.profile.drive.speeds_hz), seconds, name)
    return write_recording(folder, name, script, player, rng)


def _write_bench(
    folder: Path, gun: _Gun, device: DeviceId, unit: Unit, rng: np.random.Generator
) -> None:
    """Beside the gun's first session, and a link beside each of the others."""
    player = Player(device, unit, BENCH_OPERATOR, draw_client(rng))
    clock = LoadcellClock(
        float(rng.uniform(-LOADCELL_OFFSET_S, LOADCELL_OFFSET_S)),
        float(rng.uniform(-LOADCELL_DRIFT_PPM, LOADCELL_DRIFT_PPM)),
    )
    first, *others = map(_name, gun.sessions)
    write_bench(folder, first, bench_script(len(unit.profile.drive.speeds_hz)), player, rng, clock)
    for name in others:
        for suffix in (".bench.parquet", ".bench.loadcell.csv"):
            link = folder / (name + suffix)
            link.unlink(missing_ok=True)
            link.symlink_to(first + suffix)


def _name(number: int) -> str:
    return f"g{number:03d}"


def choose_models(models: int | Sequence[str | Profile], seed: int) -> list[Profile]:
    """The models meant; a number: the packaged ones and, beyond them, variations of them."""
    if not isinstance(models, int):
        return [load_profile(each) if isinstance(each, str) else each for each in models]
    packaged = list(load_profiles().values())
    invented = [
        vary(packaged[index % len(packaged)], index, np.random.default_rng([seed, _MODELS + index]))
        for index in range(len(packaged), models)
    ]
    return [*packaged[:models], *invented]


def vary(profile: Profile, index: int, rng: np.random.Generator) -> Profile:
    """A model no maker sells: stroke, speeds, masses, motor and shell moved by up to VARIED."""

    def moved(value: float) -> float:
        return value * float(rng.uniform(1.0 - VARIED, 1.0 + VARIED))

    drive, motor, housing = profile.drive, profile.motor, profile.housing
    pace = float(rng.uniform(0.95, 1.03))
    return replace(
        profile,
        model=f"{profile.model}-v{index}",
        drive=replace(
            drive,
            stroke_mm=min(16.0, moved(drive.stroke_mm)),
            speeds_hz=tuple(round(speed * pace, 1) for speed in drive.speeds_hz),
            reciprocating_kg=moved(drive.reciprocating_kg),
            rod_ratio=moved(drive.rod_ratio),
            unbalance_g_mm=moved(drive.unbalance_g_mm),
        ),
        motor=replace(motor, resistance_ohm=moved(motor.resistance_ohm)),
        housing=replace(housing, mass_kg=moved(housing.mass_kg), panel_hz=moved(housing.panel_hz)),
    )
