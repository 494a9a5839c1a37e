"""A folder of labelled recordings of many guns, for tuning and judging a detector.

    from pathlib import Path
    from devices.suite import write_suite
    write_suite(Path("out"), seed=7, sessions=200, models=14)

writes, for every session NNN, a gun never seen before on a client never seen before in an
operator's hand never seen before: `gNNN.parquet`, `gNNN.truth.json` and, unless `bench` is false,
`gNNN.bench.parquet` with `gNNN.bench.loadcell.csv`: the form of the shared labelled recordings, so
`myoguard evaluate out` reads it as it reads those. Session NNN depends on seed, NNN, models and
head alone: a longer suite begins with the shorter one. About 2 s of one core a session with its
bench.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from devices.profile import Profile, load_profile, load_profiles
from devices.recording import LoadcellClock, Player, Truth, write_bench, write_recording
from devices.scenarios import bench_script, draw_session
from devices.tissue import draw_client
from devices.unit import BENCH_OPERATOR, draw_operator, draw_unit
from pipeline.model import DeviceId

CLINIC = "suite"
VARIED = 0.12  # how far an invented model lies from the one it is made of
LOADCELL_OFFSET_S, LOADCELL_DRIFT_PPM = 0.04, 50.0  # clocks set by hand from one reference

Progress = Callable[[int, int], None]


def write_suite(
    folder: Path,
    seed: int,
    sessions: int,
    models: int | Sequence[str] = 8,
    *,
    head: str | None = None,
    bench: bool = True,
    seconds: float = 130.0,
    progress: Progress | None = None,
) -> list[Truth]:
    """Write `sessions` recordings into `folder` (made if need be); their truths in order.

    `models` names packaged models, or says how many: beyond the packaged ones, models are invented
    as variations of them. `head` names the attachment of every gun ("ball" fits all models); None
    draws one for each. `progress(done, sessions)` is called after each session.
    """
    folder.mkdir(parents=True, exist_ok=True)
    profiles = choose_models(models, seed)
    truths = []
    for number in range(sessions):
        truths.append(
            write_session(
                folder,
                seed,
                number,
                profiles[number % len(profiles)],
                head=head,
                bench=bench,
                seconds=seconds,
            )
        )
        if progress is not None:
            progress(number + 1, sessions)
    return truths


def write_session(
    folder: Path,
    seed: int,
    number: int,
    profile: Profile,
    *,
    head: str | None = None,
    bench: bool = True,
    seconds: float = 130.0,
) -> Truth:
    """Session `number` of the suite of this seed, with its bench."""
    rng = np.random.default_rng([seed, number])
    name = f"g{number:03d}"
    player = Player(
        DeviceId(CLINIC, f"gun-{seed}-{number:03d}"),
        draw_unit(profile, rng, head),
        draw_operator(rng),
        draw_client(rng),
    )
    speed_count = len(profile.drive.speeds_hz)
    script = draw_session(rng, speed_count, seconds, name)
    truth = write_recording(folder, name, script, player, rng)
    if bench:
        clock = LoadcellClock(
            float(rng.uniform(-LOADCELL_OFFSET_S, LOADCELL_OFFSET_S)),
            float(rng.uniform(-LOADCELL_DRIFT_PPM, LOADCELL_DRIFT_PPM)),
        )
        at_bench = replace(player, operator=BENCH_OPERATOR)
        write_bench(folder, name, bench_script(speed_count), at_bench, rng, clock)
    return truth


def choose_models(models: int | Sequence[str], seed: int) -> list[Profile]:
    """The named models; or the packaged ones and, beyond their number, variations of them."""
    if not isinstance(models, int):
        return [load_profile(name) for name in models]
    packaged = list(load_profiles().values())
    invented = [
        vary(
            packaged[index % len(packaged)], index, np.random.default_rng([seed, 1_000_000 + index])
        )
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
