"""Force and the cues of stiffness from one window: inversion, bench correction, current.

Numba kernels on the CONTACT state (pipeline.contact), the UNIT numbers of a gun's calibration and
one HOP row; numpy and numba only. Two witnesses speak: the waveform inversion (pipeline.waveform),
corrected by what the bench said of this unit, and the current over its no-load baseline. Each comes
with the variance of its logarithm, and the weighted mean is the force of this window.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.kernels import STANDARD_GRAVITY_M_S2, Record
from pipeline.waveform import (
    FIRMNESS_N,
    GOOD_ENOUGH,
    HEAD_LOSS_S,
    LEAST_GIVE,
    N_GUN,
    N_PARAMETERS,
    SECOND_IM,
    SECOND_RE,
    SLOPE_IM,
    SLOPE_RE,
    SOFT_M_N,
    THIRD_IM,
    THIRD_RE,
    TIP_KG,
    Stroke,
    invert,
    last_variance,
)

MAX_SPEEDS = 8
N_CUES = 6
COST_CUE = 5  # log(1 + cost of the fit)
# A tendon yields one or two millimetres where muscle, of whatever client, yields 5 to 16: a spring
# 3 to 40 times as firm (Hertz). Of 6 and 15, which tell them equally well, the one nearer to muscle
# (13 and 11 false, 229 found of 237, suites of seeds 71 and 97).
HARDER = 6.0
# Below that cost muscle explains the wave, and nothing else is asked: 99 of 100 windows on tendons
# cost more, in the suites and in the shared recordings, and one in four on muscle.
EXPLAINED = 2.0
# How far the two explanations may be apart and still count, as a log: a bouncing head neither
# explains, and what speaks for muscle must not outweigh the bounce. Of -0.5, -0.7, -1, -1.5 and -2
# the one with which most was found in suites whose guns had not been fitted.
LEAST_GAIN, MOST_GAIN = -1.0, 0.7
# From which log of the half order over the first a bounce tells (0.07), and for how far more; and
# the kurtosis between a round wave and a peaked one. Bounces on hard things are peaked (contract:
# crest factor 2.2 to 7, on soft muscle 1.5 to 2.3); firm muscle may double a round wave's period.
BOUNCES_FROM, BOUNCES_FOR, PEAKED = -2.5, 3.0, 3.5
FORCE_HOPS = 2  # windows of 0.5 s, 0.25 s apart: the last 0.75 s. A third would fill the second
# of the contract and lag the hand by another 0.125 s: later alarms, and no less noise.
# A spring does no work: how much current a newton takes depends on how lossy the tissue is. Between
# reference pads and people the slope differs (contract, "Physics to build on"): one shared gun was
# off by 40 %. At 0.3, which our own simulated bodies would like, that gun's force errors grow.
TISSUE_LOG_SD = 1.0
# What the fit's cost beyond GOOD_COST adds, a unit, to the standard deviation of log force: at 5,
# its degrees of freedom, 10 %, at 12, where it is restarted, half; no more, as on tendon and bone,
# where cost is 10 to 50, the inversion was off by 41 % RMS. Engineering choice.
GOOD_COST = 3.0
MISFIT_LOG_SD, MISFIT_MOST = 0.06, 0.5
# A head that bounces on every second stroke is not what is inverted. From that share of the first
# harmonic on, log force on muscle was off by 0.8 (170 hops of 82 guns, suites of seeds 53 and 71).
BOUNCE_SHARE, BOUNCE_LOG_SD = 0.3, 0.8
# A second harmonic in air under LEAST_SECOND says nothing; no hand seen made it half or double.
LEAST_SECOND, MOST_GIVEN = 0.05, 2.0
# The normal matrix is cautious: the priors' widths are those of all tissues. On muscle under 65
# simulated guns the force was off by six tenths of it: so 79 % lie within 1 SD, 93 % within 2.
SEEN_SHARE = 0.6
# However badly the wave is explained, the inversion weighs at least as with this: where it is, on
# tendon and bone, the current is worse still, as a spring does no work (-70 % to +100 %).
WEIGHED_LOG_SD = 0.35

# What a hand does is carried from the speed at which it was learnt (contact.hand_at). The further,
# and the more it does, the less is known: log force on steady muscle was off by 1.2 times the log
# of the frequencies' ratio times what the hand changed the second harmonic by, beyond 6 % at the
# speed itself. In a hand never seen in air it was off by 0.4, and what the current says, which does
# not mind, by 0.1 (870 steady stretches of 96 guns, suites of seeds 53, 71 and 97).
CARRIED_LOG_SD, STRANGE_LOG_SD = 1.2, 0.4

# While a motor gives way, the oscillators lag behind: that takes the more of a harmonic the higher
# it is, and looks like a push. From 0.5 to 3 % a hop, log force on muscle was off by 25 times that
# share, always upward; what the current says, a mean, by 0.2 (4,600 hops of 52 guns, suite of seed
# 53). Its weight is a fifth of that, so that of the wave is, too. On tendon and bone the frequency
# itself is hard to tell, and the current no better.
CHIRP_LOG_SD, CAUTION = 25.0, 5.0
# What the current was off by: 40 % too little on the worst gun, by 0.6 on bone in these hops.
CURRENT_SEEN_LOG_SD = 0.5

# A window that the model cannot explain is searched for on the grid, and so would be the next, with
# the same answer: for a second what the search found is followed, unless it fits half as well
# again (decision 45).
SEARCH_HOPS = 4
WORSE = 1.5
# What a search found while the speed changed is no answer: put on the skin while it runs up, or
# jumping from one speed to another under load, a gun was wrong by a factor of four to six for a
# second. Held speeds wander by 0.3 % a hop; engineering choice.
ANOTHER_SPEED = 0.01

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
def at_speed(unit: Record, f_hz: float, by_speed: NDArray[np.float64]) -> complex:
    """by_speed (MAX_SPEEDS, 2), real and imaginary, at f_hz."""
    j, share = between(f_hz, unit.speed_hz, unit.n_speeds)
    k = j if share == 0.0 else j + 1
    re = by_speed[j, 0] + (by_speed[k, 0] - by_speed[j, 0]) * share
    im = by_speed[j, 1] + (by_speed[k, 1] - by_speed[j, 1]) * share
    return complex(re, im)


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
        turn = complex(math.cos(share * angle), math.sin(share * angle))
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
def surface(
    a: float,
    f_hz: float,
    k: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> float:
    """Quadratic in a and q = log(f/36); outside the range it was fitted in its edge holds."""
    at = min(max(a, low[0]), high[0])
    q = min(max(math.log(f_hz / 36.0), low[1]), high[1])
    return k[0] + k[1] * at + k[2] * q + k[3] * at * at + k[4] * at * q + k[5] * q * q


@njit(cache=True, nogil=True)
def _outside(a: float, low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """How far a (a log) lies outside what was calibrated."""
    return max(low[0] - a, 0.0) + max(a - high[0], 0.0)


@njit(cache=True, nogil=True)
def hard_gain(s: Stroke, p: NDArray[np.float64], cost: float, normal: NDArray[np.float64]) -> float:
    """How much better a tendon explains the wave than muscle does, as a log of what they cost.

    From p, which cost `cost` on muscle; p, `normal` and the gun's firmness are used up.
    """
    if cost < EXPLAINED:
        return LEAST_GAIN
    s.gun[FIRMNESS_N] *= HARDER
    hard = invert(s, p, np.inf, p.size, normal)  # from p alone: from the grid, the same was found
    return min(max(math.log((1.0 + cost) / (1.0 + hard)), LEAST_GAIN), MOST_GAIN)


@njit(cache=True, nogil=True)
def fill_cues(c: Record, row: Record, cost: float, gain: float) -> None:
    """What tells muscle from tendon from bone, each hop: see docs/detection.md."""
    j = FORCE_HOPS - 1
    for k in range(j):
        for cue in range(N_CUES):
            c.cues[k, cue] = c.cues[k + 1, cue]
    z1 = max(abs(row.z_order[1]), 1e-6)
    bounce = math.log(abs(row.z_order[0]) / z1 + 0.01)  # on every second stroke
    kurtosis = min(max(row.z_kurtosis, 1.0), 8.0)
    c.cues[j, 0] = gain
    c.cues[j, 1] = min(max(c.p[0], -1.0), 2.0)  # log(1 + depth)
    c.cues[j, 2] = bounce
    c.cues[j, 3] = kurtosis
    c.cues[j, 4] = min(max(bounce - BOUNCES_FROM, 0.0), BOUNCES_FOR) * (kurtosis - PEAKED)
    c.cues[j, COST_CUE] = min(math.log(1.0 + cost), 6.0)


@njit(cache=True, nogil=True)
def stroke_of(
    unit: Record,
    row: Record,
    z: NDArray[np.complex128],
    free: NDArray[np.complex128],
    a1: float,
    a1_scale: float,
    work_a: float,
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
    soft, passed = np.empty(3, np.complex128), np.empty(3, np.complex128)
    swell = np.empty(3, np.complex128)
    lead = _head(unit, 2.0 * math.pi * f, inertia_n, recoil, soft, passed, swell)
    alpha = straighten(z, free, lead)
    first = row.z_order[1]
    turn = first.conjugate() / max(abs(first), 1e-9)
    crank = complex(math.cos(alpha), math.sin(alpha))
    ripple, free_ripple = np.empty(2, np.complex128), np.empty(2, np.complex128)
    ripple[0] = row.i_order[0] * turn * crank
    ripple[1] = row.i_order[1] * turn * turn * crank * crank
    free_ripple[0] = at_speed(unit, f, unit.i1_a) * crank
    free_ripple[1] = at_speed(unit, f, unit.i2_a) * crank * crank
    gun = np.empty(N_GUN)  # a copy: as a view of the record, numba would compile all of it twice
    for k in range(N_GUN):
        gun[k] = unit.gun[k]
    rod = free[1].real
    if unit.calibrated == 1:
        rod = _give(unit, f, a1_scale, abs(free[1]), gun)
    rod /= max(abs(lead), LEAST_GIVE)
    return Stroke(
        z, free, ripple, free_ripple, recoil, rod, f, torque, inertia_n, gun, soft, passed, swell
    )


@njit(cache=True, nogil=True)
def _head(
    unit: Record,
    omega: float,
    inertia_n: float,
    recoil: float,
    soft: NDArray[np.complex128],
    passed: NDArray[np.complex128],
    swell: NDArray[np.complex128],
) -> complex:
    """Fill what Stroke says of the head; returns what its tip does to the second harmonic in air.

    A tip of TIP_KG on a spring K = (1 + i ω loss) / softness: of a force F on it, G = 1 / (1 − m ω²
    / K) arrives at the slider, and in air it moves G times what the slider does.
    """
    tip = TIP_KG * unit.radius_m * omega * omega / inertia_n  # its share of what reciprocates
    for k in range(3):
        at = (k + 1.0) * omega
        gives = unit.gun[SOFT_M_N] / complex(1.0, at * HEAD_LOSS_S)
        soft[k] = gives * inertia_n / unit.radius_m
        passed[k] = 1.0 / (1.0 - gives * TIP_KG * at * at)
    first, second = 1.0 + tip * (passed[0] - 1.0), 1.0 + tip * (passed[1] - 1.0)
    for k in range(3):
        swell[k] = passed[k] - (passed[k] - 1.0) * recoil
        passed[k] /= first
        soft[k] *= first
    swell[1] = passed[1] * first
    return second / first


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


@njit(cache=True, nogil=True)
def update_force(
    c: Record,
    unit: Record,
    row: Record,
    z: NDArray[np.complex128],
    free: NDArray[np.complex128],
    a1: float,
    a1_scale: float,
    work_a: float,
) -> None:
    """Invert this window's waveform, weigh it with the current, push into the last second."""
    s = stroke_of(unit, row, z, free, a1, a1_scale, work_a)
    normal = np.zeros((N_PARAMETERS, N_PARAMETERS))
    p = np.empty(N_PARAMETERS)  # a copy, for the same reason
    for k in range(N_PARAMETERS):
        p[k] = c.p[k]
    held = c.turned < ANOTHER_SPEED
    if not held:
        c.searched_cost = 0.0
    enough = max(GOOD_ENOUGH, WORSE * c.searched_cost) if c.warm == 1 else 0.0
    cost = invert(s, p, enough, p.size, normal)
    for k in range(N_PARAMETERS):
        c.p[k] = p[k]
    c.warm = 1
    c.hops_searched += 1
    if cost >= enough and held:
        c.searched_cost, c.hops_searched = cost, 1
    elif c.hops_searched == SEARCH_HOPS:
        c.searched_cost = 0.0
    # a poor fit is an uncertain one
    misfit = min(MISFIT_LOG_SD * max(cost - GOOD_COST, 0.0), MISFIT_MOST)
    log_var = SEEN_SHARE**2 * min(last_variance(normal), 1.0) + misfit * misfit
    if abs(row.z_order[0]) > BOUNCE_SHARE * abs(row.z_order[1]):
        log_var += BOUNCE_LOG_SD**2
    raw = min(max(c.p[3], -8.0), 5.0) + math.log(s.inertia_n / 30.0)
    c.raw_n = 30.0 * math.exp(raw)
    _combine(c, unit, raw, log_var, row.f_hz, work_a)
    fill_cues(c, row, cost, hard_gain(s, p, cost, normal))


@njit(cache=True, nogil=True)
def hand_variance(c: Record, unit: Record, f_hz: float) -> float:
    """Of log force by the wave, from not knowing what this hand does to a known gun at f_hz."""
    if unit.calibrated == 0:
        return 0.0
    if c.learnt_hz <= 0.0:
        return STRANGE_LOG_SD**2
    at_bench = max(abs(at_speed(unit, c.learnt_hz, unit.second)), LEAST_SECOND)
    changes = abs(complex(c.second_shift[0], c.second_shift[1])) / at_bench
    return (CARRIED_LOG_SD * changes * math.log(f_hz / c.learnt_hz)) ** 2


@njit(cache=True, nogil=True)
def _combine(
    c: Record, unit: Record, raw: float, log_var: float, f_hz: float, work_a: float
) -> None:
    """The two witnesses of force, each with its variance of the log, and their weighted mean.

    Where the current says less, what they differ by beyond that is uncertain, too: neither is known
    to be right. Where it says more, the force is as surely over a limit as the wave alone says.
    """
    by_shape = raw + surface(raw, f_hz, unit.correction, unit.correction_low, unit.correction_high)
    far = _outside(raw, unit.correction_low, unit.correction_high)
    var = log_var + unit.force_rel_sd**2 + far * far
    chirp = CHIRP_LOG_SD * c.turned * max(1.0 - c.stiffness, 0.0)
    doubt = chirp * chirp + hand_variance(c, unit, f_hz)
    weight = 1.0 / (min(var, WEIGHED_LOG_SD**2) + CAUTION**2 * doubt)
    var += doubt
    log_force, total, scatter = weight * by_shape, weight, weight * weight * var
    dissent = 0.0
    if unit.by_current_rel_sd > 0.0 and work_a > 0.0:
        a = math.log(work_a)
        by_current = surface(a, f_hz, unit.by_current, unit.by_current_low, unit.by_current_high)
        far = _outside(a, unit.by_current_low, unit.by_current_high)
        var_bench = unit.by_current_rel_sd**2 + far * far
        var_seen = var_bench + CURRENT_SEEN_LOG_SD**2
        less = max(by_shape - by_current, 0.0)
        dissent = max(less * less - var - var_seen, 0.0)
        weight = 1.0 / (var_bench + TISSUE_LOG_SD**2)
        log_force += weight * by_current
        total += weight
        scatter += weight * weight * var_seen
    force = 30.0 * math.exp(min(log_force / total, 3.0))
    push_force(c, force, force * force * (scatter / (total * total) + dissent))


@njit(cache=True, nogil=True)
def push_force(c: Record, force: float, variance: float) -> None:
    for j in range(FORCE_HOPS - 1):
        c.force[j] = c.force[j + 1]
        c.force_var[j] = c.force_var[j + 1]
    c.force[FORCE_HOPS - 1] = force
    c.force_var[FORCE_HOPS - 1] = variance
