"""A gun's own numbers from its bench: strokes made up for a gun that is known give it back."""

from __future__ import annotations

from dataclasses import replace

import naive
import numpy as np
import pytest

from pipeline import kernels, waveform
from pipeline.features import GENERIC, Calibration
from pipeline.identification import SOFT_LOG_SD, identify, soft_log_sd

STROKE_M, MASS_KG, AMPS_PER_WORK = 0.012, 1.1, 0.9
SPEEDS_HZ = (30.0, 38.0, 47.0)
A1_PER_HZ2 = 0.0022
SECOND, THIRD = 0.2, 0.01
I0_A = 0.6
DEPTHS = (-0.3, 0.3, 1.0, 1.8, 2.6)  # of the mean, in crank radii
PADS_N = (6.0, 14.0)  # force at a depth of one crank radius: two reference pads
GIVE_2, SLOPE_2, GIVE_3 = 1.15, 0.4, 0.9

FREE_RUN = Calibration(
    True,
    STROKE_M,
    GENERIC.mass_kg,
    SPEEDS_HZ,
    (A1_PER_HZ2,) * 3,
    (SECOND + 0j,) * 3,
    (THIRD + 0j,) * 3,
    (I0_A,) * 3,
)


def bench(mass_kg: float = MASS_KG) -> tuple[np.ndarray, np.ndarray]:
    """HOP rows and loads: both pads at every depth and speed, of a gun of this mass."""
    made = [
        stroke(f, firm, depth, mass_kg) for f in SPEEDS_HZ for firm in PADS_N for depth in DEPTHS
    ]
    return np.concatenate([hop for hop, _ in made]), np.array([load for _, load in made])


def stroke(f_hz: float, firm_n: float, depth: float, mass_kg: float) -> tuple[np.ndarray, float]:
    """One hop, and the force that is in it; z by iteration, as it feeds back through the recoil."""
    a1 = A1_PER_HZ2 * f_hz**2
    inertia_n = a1 * kernels.STANDARD_GRAVITY_M_S2 * mass_kg
    recoil = A1_PER_HZ2 * kernels.STANDARD_GRAVITY_M_S2 / (STROKE_M / 2 * (2 * np.pi) ** 2)
    give = np.array([1.0, GIVE_2 + SLOPE_2 * np.log(f_hz / SPEEDS_HZ[1]), GIVE_3])
    k = np.arange(1, 4)
    crank = np.array([1.0, SECOND / GIVE_2, 0.0], np.complex128)
    free = np.array([1.0, SECOND, THIRD], np.complex128)
    damping = np.array(waveform.GENERIC_GUN[waveform.LOSS_S] * 2 * np.pi * f_hz)
    z = free.copy()
    for _ in range(60):
        push, speed = naive.hunt_crossley(
            np.array(depth), damping, (crank - recoil * z) / k**2, crank / k**2, waveform.POINTS
        )
        force = firm_n * push / inertia_n
        z = 0.8 * z + 0.2 * (free - give * 2.0 * np.fft.fft(force)[1:4] / waveform.POINTS)
    hop = np.zeros(1, kernels.HOP)
    hop["f_hz"] = hop["set_hz"] = f_hz
    hop["present"] = 1.0
    hop["z_order"][0, [1, 3, 4]] = a1 * z
    hop["mean"][0, 3] = I0_A + AMPS_PER_WORK * inertia_n * (force * speed).mean()
    return hop, inertia_n * force.mean()


@pytest.fixture(scope="module")
def found() -> Calibration:
    return identify(FREE_RUN, *bench())


def test_a_made_up_gun_is_given_back(found: Calibration) -> None:
    assert found.mass_kg == pytest.approx(MASS_KG, rel=0.07)
    # the softness of the head, of which this one has none, stands in for some of it
    assert found.stroke_m == pytest.approx(STROKE_M, rel=0.13)
    assert found.amps_per_work == pytest.approx(AMPS_PER_WORK, rel=0.07)
    second, third = found.gun[waveform.SECOND_RE], found.gun[waveform.THIRD_RE]
    assert second == pytest.approx(GIVE_2, abs=0.05)
    assert third == pytest.approx(GIVE_3, abs=0.15)
    assert found.gun[waveform.SLOPE_RE] == pytest.approx(SLOPE_2, abs=0.15)
    crooked = [found.gun[k] for k in (waveform.SECOND_IM, waveform.THIRD_IM, waveform.SLOPE_IM)]
    assert np.abs(crooked).max() < 0.12


def test_what_the_bench_cannot_tell_stays_as_the_profile_said(found: Calibration) -> None:
    """Without ripple in the current there is no swing to be seen."""
    assert found.gun[waveform.SWING_RE : waveform.SWING_IM + 1] == pytest.approx(
        (0.0, 0.0), abs=0.1
    )


def test_a_load_cell_that_says_more_finds_a_heavier_gun(found: Calibration) -> None:
    hops, load_n = bench()
    heavier = identify(FREE_RUN, hops, 1.3 * load_n)
    assert heavier.mass_kg / found.mass_kg == pytest.approx(1.3, abs=0.1)
    assert heavier.stroke_m == pytest.approx(found.stroke_m, rel=0.05)


def test_the_free_run_is_kept(found: Calibration) -> None:
    kept = ("calibrated", "speed_hz", "a1_per_hz2", "second", "third", "i0_a")
    assert all(getattr(found, name) == getattr(FREE_RUN, name) for name in kept)
    assert replace(found, gun=FREE_RUN.gun).correction == FREE_RUN.correction


def test_a_soft_head_makes_a_force_less_certain(found: Calibration) -> None:
    gun = list(found.gun)
    said = []
    for passed in (0.3, 0.5, 0.7, 0.9, 1.1):
        gun[waveform.THIRD_RE], gun[waveform.THIRD_IM] = 0.0, passed
        said.append(soft_log_sd(replace(found, gun=tuple(gun))))
    assert said == pytest.approx([SOFT_LOG_SD, SOFT_LOG_SD, SOFT_LOG_SD / 2, 0.0, 0.0])
