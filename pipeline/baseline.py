"""What a unit does in air at this speed, in this hand, and one window against it.

Numba kernels on the UNIT numbers of a gun's calibration and one HOP row; numpy and numba only. The
harmonics of the housing and of the motor current are turned so that the crank's phase is that of
the rod's second harmonic in air, and what the hand, the head and the speed make of the free run is
worked out (`pipeline.waveform.Stroke`).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.kernels import STANDARD_GRAVITY_M_S2, Record
from pipeline.waveform import (
    HEAD_LOSS_S,
    LEAST_GIVE,
    N_GUN,
    SECOND_IM,
    SECOND_RE,
    SLOPE_IM,
    SLOPE_RE,
    SOFT_M_N,
    THIRD_IM,
    THIRD_RE,
    TIP_KG,
    Orders,
    Stroke,
    unit_at,
)

MAX_SPEEDS = 8
# Half order over the first from which two strokes are looked at together. Noise is under 0.02; what
# is smaller changes nothing. Engineering choice.
BOUNCES_FROM = 0.07
# A second harmonic in air under LEAST_SECOND says nothing; no hand seen made it half or double.
LEAST_SECOND, MOST_GIVEN = 0.05, 2.0

UNIT = np.dtype(
    [
        ("calibrated", "i4"),
        ("n_speeds", "i4"),
        ("radius_m", "f8"),  # half the stroke
        ("mass_kg", "f8"),  # what moves with the housing: gun and hand
        ("speed_hz", "f8", MAX_SPEEDS),
        ("a1_per_hz2", "f8", MAX_SPEEDS),  # free-running first harmonic over f² [g/Hz²]
        ("second", "f8", (MAX_SPEEDS, 2)),  # free-running second harmonic over the first, complex
        ("third", "f8", (MAX_SPEEDS, 2)),  # and the third; phases relative to the first
        ("i0_a", "f8", MAX_SPEEDS),  # no-load current [A]
        ("i1_a", "f8", (MAX_SPEEDS, 2)),  # its ripple at f [A], phase relative to the housing's
        ("i2_a", "f8", (MAX_SPEEDS, 2)),  # and at 2f
        ("gun", "f8", N_GUN),  # pipeline.waveform.Stroke
        # log of the load over the inversion's force: 1, a, q, a², aq, q²
        # with a = log(F/30), q = log(f/36)
        ("correction", "f8", 6),
        ("correction_low", "f8", 2),  # range of (a, q) the correction was fitted in
        ("correction_high", "f8", 2),
        ("force_rel_sd", "f8"),
        # log of the load over 30 N, from the current: the same terms, a = log of the amperes
        ("by_current", "f8", 6),
        ("by_current_low", "f8", 2),
        ("by_current_high", "f8", 2),
        ("by_current_rel_sd", "f8"),
        ("amps_per_work", "f8"),  # current per unit of modelled load torque; < 0 unknown
    ],
    align=True,
)


@njit(cache=True, nogil=True)
def between(x: float, xs: NDArray[np.float64], n: int) -> tuple[int, float]:
    """Where x lies in the first n of the ascending xs: after which, and what share of the way."""
    if n == 1 or x <= xs[0]:
        return 0, 0.0
    for j in range(1, n):
        if x <= xs[j]:
            return j - 1, (x - xs[j - 1]) / (xs[j] - xs[j - 1])
    return n - 2, 1.0


@njit(cache=True, nogil=True)
def interpolate(x: float, xs: NDArray[np.float64], ys: NDArray[np.float64], n: int) -> float:
    """Piecewise linear in the first n points (xs ascending), constant outside."""
    j, share = between(x, xs, n)
    return ys[j] if share == 0.0 else ys[j] + (ys[j + 1] - ys[j]) * share


@njit(cache=True, nogil=True)
def at_speed(unit: Record, f_hz: float, by_speed: NDArray[np.float64]) -> complex:
    """by_speed (MAX_SPEEDS, 2), real and imaginary, at f_hz."""
    j, share = between(f_hz, unit.speed_hz, unit.n_speeds)
    k = j if share == 0.0 else j + 1
    re = by_speed[j, 0] + (by_speed[k, 0] - by_speed[j, 0]) * share
    im = by_speed[j, 1] + (by_speed[k, 1] - by_speed[j, 1]) * share
    return complex(re, im)


@njit(cache=True, nogil=True)
def relative_harmonics(row: Record, a1: float, z: NDArray[np.complex128]) -> None:
    """z (3,): harmonics 1 to 3 over a1, phases relative to the first."""
    first = row.z_order[1]
    size = math.sqrt(first.real**2 + first.imag**2)
    turn = complex(1.0, 0.0)
    if size > 1e-9:
        turn = first.conjugate() / size
    z[0] = complex(size / a1, 0.0)
    z[1] = row.z_order[3] * turn * turn / a1
    z[2] = row.z_order[4] * turn * turn * turn / a1


@njit(cache=True, nogil=True)
def free_harmonics(unit: Record, f_hz: float, free: NDArray[np.complex128]) -> None:
    """free (3,): harmonics in air over the first, phases relative to the first."""
    free[0] = complex(1.0, 0.0)
    free[1] = at_speed(unit, f_hz, unit.second)
    free[2] = at_speed(unit, f_hz, unit.third)


@njit(cache=True, nogil=True)
def straighten(
    z: NDArray[np.complex128], free: NDArray[np.complex128], lead: complex = 1.0 + 0.0j
) -> float:
    """Take the hand's phase out of the harmonics, so that the rod's second harmonic is real.

    Or has the phase of `lead`, which a tip on a soft head gives it.

    The hand's damping turns harmonic n by α/n against the crank, in air and in contact alike. With
    phases counted from the first, the second is turned by α/2 − 2α and the third by α/3 − 3α, 16/9
    times as much. Returns α.
    """
    if abs(free[1]) < 0.02:  # too little to read a phase from
        return 0.0
    rod = free[1] * lead.conjugate()
    angle = -math.atan2(rod.imag, rod.real)
    for k, share in ((1, 1.0), (2, 16.0 / 9.0)):
        turn = unit_at(share * angle)
        z[k] *= turn
        free[k] *= turn
    return angle / 1.5


@njit(cache=True, nogil=True)
def shape_distance(z: NDArray[np.complex128], free: NDArray[np.complex128]) -> float:
    """How far the waveform is from the free run, in units of its first harmonic."""
    d1 = z[0].real - 1.0
    d2 = z[1] - free[1]
    d3 = z[2] - free[2]
    squared = d1 * d1 + d2.real**2 + d2.imag**2 + d3.real**2 + d3.imag**2
    return math.sqrt(squared)


@njit(cache=True, nogil=True)
def stroke_of(
    unit: Record,
    row: Record,
    z: NDArray[np.complex128],
    free: NDArray[np.complex128],
    a1: float,
    a1_scale: float,
    work_a: float,
    doubt: float,
) -> Stroke:
    """What the inversion is told of a window; straightens z and free on the way.

    `a1`: free-running amplitude of this hand [g], `a1_scale` times that of the bench's.
    """
    f = row.f_hz
    # the slider's inertia force is the unit's own and grows with f²: what a1 does beyond that, by
    # speed or by hand, is the hand's doing
    a1_own = unit.a1_per_hz2[unit.n_speeds // 2] * f * f if unit.calibrated == 1 else a1
    inertia_n = a1_own * STANDARD_GRAVITY_M_S2 * unit.mass_kg
    recoil = a1 * STANDARD_GRAVITY_M_S2 / (unit.radius_m * (2.0 * math.pi * f) ** 2)
    torque = -1.0
    if unit.amps_per_work > 0.0 and work_a > 0.0:
        torque = work_a / (unit.amps_per_work * inertia_n)
    soft, passed, swell, lead = _head(unit, 2.0 * math.pi * f, inertia_n, recoil)
    alpha = straighten(z, free, lead)
    first = row.z_order[1]
    from_first = -math.atan2(first.imag, first.real)
    current, free_current = _currents(unit, row, from_first, alpha)
    strokes = 2 if abs(row.z_order[0]) > BOUNCES_FROM * abs(first) else 1
    half = three = 0j
    if strokes == 2:  # by order n the hand turns α/n − nα, as in `straighten`
        half = row.z_order[0] / a1 * unit_at(0.5 * from_first - 1.5 * alpha)
        three = row.z_order[2] / a1 * unit_at(1.5 * from_first + alpha / 1.2)
    gun = np.empty(N_GUN)  # a copy: as a view of the record, numba would compile all of it twice
    for k in range(N_GUN):
        gun[k] = unit.gun[k]
    rod = free[1].real
    if unit.calibrated == 1:
        rod = _give(unit, f, a1_scale, abs(free[1]), gun)
    rod /= max(abs(lead), LEAST_GIVE)
    shaken = Orders(half, z[0], three, z[1], z[2])
    in_air = Orders(0j, free[0], 0j, free[1], free[2])
    return Stroke(
        shaken, in_air, current, free_current, recoil, rod, f, torque, inertia_n, gun, soft, passed,
        swell, strokes, doubt,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _currents(unit: Record, row: Record, from_first: float, alpha: float) -> tuple[Orders, Orders]:
    """The motor current of a window and in air, phases as the straightened harmonics'."""
    crank = from_first + alpha
    current = Orders(
        row.i_order[0] * unit_at(0.5 * crank),
        row.i_order[1] * unit_at(crank),
        row.i_order[2] * unit_at(1.5 * crank),
        row.i_order[3] * unit_at(2.0 * crank),
        0j,
    )
    i1, i2 = at_speed(unit, row.f_hz, unit.i1_a), at_speed(unit, row.f_hz, unit.i2_a)
    return current, Orders(0j, i1 * unit_at(alpha), 0j, i2 * unit_at(2.0 * alpha), 0j)


@njit(cache=True, nogil=True)
def _head(
    unit: Record, omega: float, inertia_n: float, recoil: float
) -> tuple[Orders, Orders, Orders, complex]:
    """What Stroke says of the head, and what its tip does to the second harmonic in air.

    A tip of TIP_KG on a spring K = (1 + i ω loss) / softness: of a force F on it, G = 1 / (1 − m ω²
    / K) arrives at the slider, and in air it moves G times what the slider does.
    """
    tip = TIP_KG * unit.radius_m * omega * omega / inertia_n  # its share of what reciprocates
    softness = unit.gun[SOFT_M_N]
    g_half, g1 = _arrives(softness, 0.5 * omega), _arrives(softness, omega)
    g_three, g2 = _arrives(softness, 1.5 * omega), _arrives(softness, 2.0 * omega)
    g3 = _arrives(softness, 3.0 * omega)
    first, second = 1.0 + tip * (g1 - 1.0), 1.0 + tip * (g2 - 1.0)
    passed = Orders(g_half / first, g1 / first, g_three / first, g2 / first, g3 / first)
    size = softness * inertia_n / unit.radius_m * first
    soft = Orders(
        size / _lossy(0.5 * omega), size / _lossy(omega), size / _lossy(1.5 * omega),
        size / _lossy(2.0 * omega), size / _lossy(3.0 * omega),
    )  # fmt: skip
    swell = Orders(0j, g1 - (g1 - 1.0) * recoil, 0j, g2, 0j)
    return soft, passed, swell, second / first


@njit(cache=True, nogil=True)
def _lossy(omega: float) -> complex:
    return complex(1.0, omega * HEAD_LOSS_S)


@njit(cache=True, nogil=True)
def _arrives(softness: float, omega: float) -> complex:
    return 1.0 / (1.0 - softness / _lossy(omega) * TIP_KG * omega * omega)


@njit(cache=True, nogil=True)
def _give(
    unit: Record, f_hz: float, a1_scale: float, second: float, gun: NDArray[np.float64]
) -> float:
    """Set in `gun` what the housing gives way to at this speed, in this hand; returns the rod's.

    The bench says it by speed. What another hand changes shows in air: at f as `a1_scale`, at 2f in
    the second harmonic, `second` of now against the bench's; at 3f the hand's mass, which its grip
    decouples with 1/f², changes 4/9 of what it does at 2f.
    """
    middle = unit.n_speeds // 2
    away = math.log(f_hz / unit.speed_hz[middle])
    gun[SECOND_RE] += gun[SLOPE_RE] * away
    gun[SECOND_IM] += gun[SLOPE_IM] * away
    at_bench = abs(at_speed(unit, f_hz, unit.second))
    rod = at_bench / max(gun[SECOND_RE], LEAST_GIVE)
    if min(at_bench, second) > LEAST_SECOND:
        at_2f = min(max(second / at_bench, 1.0 / MOST_GIVEN), MOST_GIVEN)
        at_3f = (at_2f * a1_scale) ** (4.0 / 9.0) / a1_scale
        gun[SECOND_RE] *= at_2f
        gun[SECOND_IM] *= at_2f
        gun[THIRD_RE] *= at_3f
        gun[THIRD_IM] *= at_3f
    return rod
