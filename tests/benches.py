"""One simulated gun with its bench and some sessions, made once for the tests that need them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from devices.profile import load_profile
from devices.recording import LoadcellClock, Player, write_bench, write_recording
from devices.scenarios import SCENARIOS, bench_script
from devices.tissue import Client
from devices.unit import BENCH_OPERATOR, draw_operator, draw_unit
from pipeline.model import DeviceId

SEED = 4
MODEL = "hx-12"
STROKE_M = 0.012
GUN = DeviceId("clinic", "gun-1")


def player() -> Player:
    """A unit of MODEL with a hard ball, in some adult's hand, on a body neither soft nor tense.

    The limbs are of ordinary curvature: on a narrow one small circles turn the gun like a glide.
    """
    rng = np.random.default_rng(SEED)
    unit = draw_unit(load_profile(MODEL), rng, "ball")
    operator = replace(draw_operator(rng), swing_deg=6.0, glide_cm=8.0)
    return Player(GUN, unit, operator, Client(tension=0.4))


def write_gun_bench(folder: Path, name: str, clock: LoadcellClock) -> None:
    """`name`.bench.parquet and `name`.bench.loadcell.csv of the gun."""
    speeds = len(load_profile(MODEL).drive.speeds_hz)
    at_bench = replace(player(), operator=BENCH_OPERATOR)
    write_bench(folder, name, bench_script(speeds), at_bench, np.random.default_rng(1), clock)


def write_gun_session(folder: Path, name: str) -> None:
    """The scenario `name` played by the gun, with its truth."""
    write_recording(folder, name, SCENARIOS[name], player(), np.random.default_rng(2))
