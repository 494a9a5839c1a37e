"""A gun's own mechanics, from hops at its bench where the load is known.

The waveform inversion (pipeline.waveform) asks of every window what force explains it. At the bench
the force is known, so the question is turned round: which gun explains all windows? Fourteen
numbers answer: masses and stroke, what a newton costs in current, how the crank swings with the
current, what the housing in the hand gives way to at the second and third harmonic (at the second
by speed: a hand's mass on its grip resonates near there, and so does a soft head), what tissue this
head makes of the pads, and what the head itself gives way to. Each has a prior, a middle and a
width, so that what a bench cannot tell stays what the profile said. Nonlinear least squares, with
the three unknowns of every window found anew at each step. May import force, waveform and features;
reads no files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import least_squares

from pipeline import baseline, waveform
from pipeline.features import Calibration
from pipeline.kernels import Record

Floats = NDArray[np.float64]

MOST_HOPS = 120  # evenly out of all: 30 s of steady load tell as much as 80, at a third of the time
STEPS = 20
REACH = 0.05  # of a prior's width: far over the solver's noise, far under what bends
ROBUST = 2.0  # a residual beyond two standard deviations counts less and less
# The windows of a bench share what the model leaves out: however many, they tell as much against
# the priors as so many would that erred each on its own. With ten, a hard head of another simulator
# had its stroke from the prior and a force 5 % too low; counted in full, 168 bought half a third
# harmonic for foam. Engineering choice between.
EVIDENCE = 90.0
# Of the maximum torque F·r, what a stroke on the pads takes on the mean; where the search begins.
WORK_SHARE = 0.25

# What of a soft head the fourteenth number does not catch shows at 3f, of which foam then passes on
# 0.5 to 0.7 where anything well explained passes 0.9 and more: there firm tissue at a low speed was
# off by 30 to 40 %.
SOFT_LOG_SD, SOFT_THIRD, HARD_THIRD = 0.2, 0.5, 0.9

# Widths of the priors, engineering choices: a unit's masses against its profile and the hand, 30 %;
# its stroke 13 %, as guns have 10 to 16 mm (contract) and nobody may have named it; current a
# unit of work, a factor of e; swing: R/K of motors of this size is 2 to 8 rad/s per A; give: a hand
# on its grip, 20 % at 2f and 25 % at 3f, where little of it still moves; pads and heads against
# muscle under a hard ball, 50 %; give at 2f from the lowest to twice its speed, 70 %; a head's
# softness, a factor of e.
_WIDTHS = (0.3, 0.13, 1.0, 0.5, 0.5, 4.0, 2.0, 0.2, 0.2, 0.25, 0.25, 1.0, 1.0, 1.0)


def identify(known: Calibration, hops: NDArray[Any], load_n: Floats) -> Calibration:
    """`known` (the free run) with the gun that explains these steadily loaded hops best."""
    stride = max(1, hops.size // MOST_HOPS)
    hops, load_n = hops[::stride], load_n[::stride]
    work_a = hops["mean"][:, 3] - np.interp(hops["f_hz"], known.speed_hz, known.i0_a)
    amps = float(np.median(np.maximum(work_a, 0.01) / (WORK_SHARE * load_n)))
    known = replace(known, amps_per_work=amps)
    weight = math.sqrt(min(EVIDENCE / hops.size, 1.0))
    start = np.empty((hops.size, waveform.N_PARAMETERS))
    _explain(known, hops, load_n, start, anew=True)

    def errors(x: Floats) -> Floats:
        left = _explain(_gun(known, x), hops, load_n, start.copy(), anew=False)
        return np.concatenate((weight * _robust(left.ravel()), x))

    found = least_squares(errors, np.zeros(len(_WIDTHS)), jac=_slopes(errors), max_nfev=STEPS)
    return _gun(known, np.asarray(found.x, np.float64))


def soft_log_sd(gun: Calibration) -> float:
    """What the head of this gun, where it is soft, adds to the uncertainty of log force."""
    passed = math.hypot(gun.gun[waveform.THIRD_RE], gun.gun[waveform.THIRD_IM])
    softness = (HARD_THIRD - passed) / (HARD_THIRD - SOFT_THIRD)
    return SOFT_LOG_SD * min(max(softness, 0.0), 1.0)


def _robust(left: Floats) -> Floats:
    """Residuals whose squares grow only linearly beyond ROBUST (soft L1)."""
    root = np.sqrt(2.0 * (np.sqrt(1.0 + (left / ROBUST) ** 2) - 1.0))
    return np.asarray(ROBUST * np.copysign(root, left), np.float64)


def _slopes(errors: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    def slopes(x: Floats) -> Floats:
        here = errors(x)
        columns = [(errors(x + REACH * unit) - here) / REACH for unit in np.eye(x.size)]
        return np.stack(columns, axis=1)

    return slopes


def _gun(known: Calibration, x: Floats) -> Calibration:
    """`known`, moved by x widths of its priors."""
    mass, stroke, amps, firm, loss, *rest, soft = (float(v) for v in x * np.array(_WIDTHS))
    gun = np.array(known.gun)
    gun[waveform.FIRMNESS_N] *= np.exp(firm)
    gun[waveform.LOSS_S] *= np.exp(loss)
    gun[waveform.SWING_RE : waveform.SOFT_M_N] += rest
    gun[waveform.SOFT_M_N] *= np.exp(soft)
    return replace(
        known,
        mass_kg=float(known.mass_kg * np.exp(mass)),
        stroke_m=float(known.stroke_m * np.exp(stroke)),
        amps_per_work=float(known.amps_per_work * np.exp(amps)),
        gun=tuple(float(v) for v in gun),
    )


def _explain(
    gun: Calibration, hops: NDArray[Any], load_n: Floats, p: Floats, *, anew: bool
) -> Floats:
    """Residuals (n, N_RESIDUALS) of each hop at its best; `p` as in `explain`."""
    units = np.zeros(1, baseline.UNIT)
    gun.fill(units[0])
    out = np.zeros((hops.size, waveform.N_RESIDUALS))
    explain(units, hops, load_n, p, anew, out)
    return out


@njit(cache=True, nogil=True)
def explain(
    units: NDArray[Any],
    hops: NDArray[Any],
    load_n: NDArray[np.float64],
    p: NDArray[np.float64],
    anew: bool,
    out: NDArray[np.float64],
) -> None:
    """Find depth, damping and crank angle of each hop under its load; leave what is not explained.

    `units`: UNIT (1,). p: (n, N_PARAMETERS), where to start, unless `anew`, and where it ended.
    out: (n, N_RESIDUALS).
    """
    normal = np.zeros((waveform.N_PARAMETERS, waveform.N_PARAMETERS))
    # not the force. No constants: numba would compile the inversion anew for each (mypy thinks
    # them no integers)
    moving, steps = np.int64(3), np.int64(waveform.STEPS_WARM)
    unit = units[0]
    for j in range(hops.size):
        s = _loaded_stroke(unit, hops[j])
        p[j, waveform.FORCE] = np.log(load_n[j] / s.inertia_n)
        if anew:
            waveform.invert(s, p[j], 0.0, moving, normal)  # type: ignore[arg-type]
        else:
            waveform.refine(p[j], s, steps, moving, normal)  # type: ignore[arg-type]
        waveform.residuals(p[j], s, out[j])


@njit(cache=True, nogil=True)
def _loaded_stroke(unit: Record, row: Record) -> waveform.Stroke:
    f = row.f_hz
    a1 = baseline.interpolate(f, unit.speed_hz, unit.a1_per_hz2, unit.n_speeds) * f * f
    i0 = baseline.interpolate(f, unit.speed_hz, unit.i0_a, unit.n_speeds)
    z, free = np.zeros(3, np.complex128), np.zeros(3, np.complex128)
    baseline.relative_harmonics(row, a1, z)
    baseline.free_harmonics(unit, f, free)
    return baseline.stroke_of(unit, row, z, free, a1, 1.0, row.mean[3] - i0, 0.0)
