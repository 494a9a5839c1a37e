"""Contact force from the shape of the housing's vibration: the waveform inversion.

The idea. In air the reciprocating mass m_r shakes the housing with a known shape; on tissue the
contact force F(θ) pushes back, so that over one stroke

    a_housing(θ) / A  =  s(θ)'' shape of the free run  −  F(θ) / I0,      I0 = A · M

with A the free-running amplitude at this speed and M the mass that moves. F is a push that can only
be positive; tissue answers with F = k δⁿ (1 + c δ̇) while compressed (K. H. Hunt, F. R. E. Crossley,
J. Appl. Mech. 42 (1975) 440, eq. 12; n = 3/2 is Hertz, and the mean force hardly depends on n
between 1.2 and 2.5) and δ(θ) = δ0 + slider + housing, both known from the crank and from the
measured acceleration. What is left to find is the depth δ0, the damping c, the crank angle φ and
the mean force F0: four numbers, from the first three harmonics of a_housing (six numbers) and the
motor current, whose mean is the work done on the tissue. A damped Gauss-Newton finds them; its
normal matrix gives the uncertainty.

Two things belong to the gun and are found at its bench (pipeline.identification). The crank does
not turn evenly: a motor whose winding drops R·i turns slower by R·i / K, so the current's ripple at
f and 2f, times one number, is how far the crank runs ahead and behind (`swing`). And a hand on a
soft grip lets the housing give way more at one harmonic than at another (`second`, `third`).

A head may come down on every second stroke: on tendon and bone, and a heavy one at a low speed on
firm muscle. Then two strokes are one period, and half orders of the percussion frequency belong to
all that has been said. One stroke alone takes what bounces for a softer spring and a larger force.

Lengths are in units of the crank radius r, angles in radians, accelerations in units of A.
Numba kernels; numpy and numba only. No state beyond the warm start it is handed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

POINTS = 32  # per stroke; harmonics up to the third are exact to 1e-3 with it
N_PARAMETERS = 4  # log depth, log damping, crank angle, log mean force over I0
DEPTH, DAMPING, ANGLE, FORCE = range(N_PARAMETERS)
N_RESIDUALS, N_OF_ONE = 13, 9  # of two strokes, which a bouncing head takes together; of one

_THETA = 2.0 * math.pi * np.arange(POINTS) / POINTS
_COS = np.array([np.cos(k * _THETA) for k in (0.5, 1.0, 1.5, 2.0, 3.0)])  # as in `Orders`
_SIN = np.array([np.sin(k * _THETA) for k in (0.5, 1.0, 1.5, 2.0, 3.0)])

# A gun's own numbers, by index of `Stroke.gun`: force at a depth of one crank radius and loss time
# of what its head usually meets (the priors' middles), the swing of its crank [rad·rad/s per A],
# and what the housing gives way to at the second and third harmonic, over what at the first.
FIRMNESS_N, LOSS_S, SWING_RE, SWING_IM, SECOND_RE, SECOND_IM, THIRD_RE, THIRD_IM = range(8)
SLOPE_RE, SLOPE_IM = 8, 9  # what SECOND grows by for each e-fold of speed
SOFT_M_N = 10  # what the head itself gives way to [m/N]
N_GUN = 11
# Before a bench has spoken. A 25 mm ball (R = 12.5 mm) on muscle of E = 60-200 kPa and Poisson 0.5
# (relaxed to contracted; Hertz, k = 16/9 E √R) takes 5-18 N at 6 mm. Loss time c / (r ω) of soft
# tissue 3-7 ms: loss factor near 1 at 25-50 Hz, as for relaxed muscle under large strain;
# engineering choice. No swing, and a housing that gives way as a mass does.
# A head of 50 N/mm: between hard plastic, which does not give way, and foam (10 to 20 N/mm);
# engineering choice.
GENERIC_GUN = (8.0, 4.5e-3, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2e-5)
TIP_KG = 0.025  # what a head's spring carries; engineering choice, heads weigh 20 to 40 g
HEAD_LOSS_S = 1e-3  # damping over stiffness of a soft head: a loss factor of 0.25 at 40 Hz, as of
# open-cell polyurethane foam and soft rubber; engineering choice, tissue loses four times as much
LEAST_GIVE = 0.3  # no housing is held three times as firmly at 2f or 3f as at f
STIFFNESS_LOG_SD, DAMPING_LOG_SD = 0.5, 0.5  # what tissues differ by; engineering choice, wide
SIGNAL_SD = 0.02  # of A: hop-to-hop scatter of the free-running harmonics
MODEL_SD = 0.03  # share of each harmonic the model leaves unexplained
# And of the half orders besides: under the percussion frequency nothing is known of the hand.
# Engineering choice: hands change the second harmonic by about as much.
HALF_SD = 0.1
CURRENT_LOG_SD = 0.15  # how well work explains current once calibrated
STEP = 1e-4  # of a parameter, to differentiate; engineering choice
STEPS_WARM, STEPS_COLD = 10, 15  # at most; a fit that gains no more ends before
# where a search begins that knows nothing: depth in r, and angle of the crank
_STARTS = np.array([(x, angle) for x in (0.8, 2.0, 4.5) for angle in (-0.3, -0.9, -1.6, -2.4)])
GOOD_ENOUGH = 12.0  # cost under which a warm start stands: twice the degrees of freedom, and some


class Orders(NamedTuple):
    """A complex amplitude for each order of the percussion frequency that is looked at.

    The halves are those of a head that comes down on every second stroke; zero for others.
    """

    half: complex
    first: complex
    three_halves: complex
    second: complex
    third: complex


class Stroke(NamedTuple):
    """What one window says of a stroke, and what is known of the gun.

    z: of the housing acceleration over A, phases relative to the first. free: the same in air,
    turned so that the second is real: θ = 0 is the crank at its outer end. current: of the motor,
    up to 2f [A], with the same phases, free_current: in air. `recoil`: the housing's displacement
    in r per A of first harmonic. `rod`: second harmonic of the slider's acceleration over the
    first. `torque`: the measured mean load torque in units of I0 · r, or < 0 where it is not known.
    `inertia_n`: I0 in newtons. gun: (N_GUN,). `strokes`: 2 where the head bounces, else 1. `doubt`:
    the share of each order that is not known of this hand.

    Of the head's spring and the tip on it, soft: what it gives way to, in r per I0. passed: what of
    a force on the tip arrives at the housing, in units of the mean force's effect. swell: what the
    tip moves in air over what the slider does.
    """

    z: Orders
    free: Orders
    current: Orders
    free_current: Orders
    recoil: float
    rod: float
    f_hz: float
    torque: float
    inertia_n: float
    gun: NDArray[np.float64]
    soft: Orders
    passed: Orders
    swell: Orders
    strokes: int
    doubt: float


class Fixed(NamedTuple):
    """What stays the same of a stroke while its parameters are looked for.

    give: what the housing gives way to, over what at the first; taken: 1 / give, as far as that can
    be told. sure: 1 over the standard deviation of each order. swing: of the crank [rad per A].
    log_firmness and log_loss: the middles of the priors, in the inversion's units.
    """

    give: Orders
    taken: Orders
    sure: tuple[float, float, float, float]  # orders ½, 1, 1½, and 2 and 3
    swing: complex
    log_firmness: float
    log_loss: float


class Way(NamedTuple):
    """What follows from the angle of the crank alone, all by order, phases counted from there.

    z: as of the Stroke. more: what an uneven crank adds to the slider's way. depth: how deep the
    head is in the tissue, without the mean.
    """

    z: Orders
    more: Orders
    depth: Orders


class Push(NamedTuple):
    """Of the tissue, over the points of two strokes: the sum, and the sums by order."""

    total: float
    by_order: Orders


@njit(cache=True, nogil=True)
def _fixed(s: Stroke) -> Fixed:
    gun = s.gun
    # between f and 2f along the log of the frequency; of what it does below f nothing is known
    second, third = complex(gun[SECOND_RE], gun[SECOND_IM]), complex(gun[THIRD_RE], gun[THIRD_IM])
    give = Orders(1.0 + 0j, 1.0 + 0j, 1.0 + (second - 1.0) * math.log2(1.5), second, third)
    taken = Orders(
        1.0 + 0j, 1.0 + 0j, _inverse(give.three_halves), _inverse(second), _inverse(third)
    )
    omega = 2.0 * math.pi * s.f_hz
    share, first = MODEL_SD + s.doubt, abs(s.z.first)
    halves = 0.5 * (share + HALF_SD)
    sure = (
        1.0 / (SIGNAL_SD + halves * (first + abs(s.z.half))),
        1.0 / (SIGNAL_SD + share * first),
        1.0 / (SIGNAL_SD + halves * (first + abs(s.z.three_halves))),
        1.0 / (SIGNAL_SD + 0.5 * share * (first + abs(s.z.second))),
    )
    swing = complex(-gun[SWING_IM] / omega, gun[SWING_RE] / omega)  # i·κ/ω
    log_firmness = math.log(gun[FIRMNESS_N] / s.inertia_n)
    return Fixed(give, taken, sure, swing, log_firmness, _log_loss(s))


@njit(cache=True, nogil=True)
def _log_loss(s: Stroke) -> float:
    """The middle of the damping's prior: log of the loss time at the crank's speed."""
    return math.log(s.gun[LOSS_S] * (2.0 * math.pi * s.f_hz))


@njit(cache=True, nogil=True)
def unit_at(angle: float) -> complex:
    """exp(i angle)."""
    return complex(math.cos(angle), math.sin(angle))


@njit(cache=True, nogil=True)
def _inverse(give: complex) -> complex:
    """1 / give, for a give that may be near zero."""
    size2 = max(give.real**2 + give.imag**2, LEAST_GIVE**2)
    return complex(give.real / size2, -give.imag / size2)


@njit(cache=True, nogil=True)
def _turned(a: Orders, angle: float) -> Orders:
    """The same with phases counted from an angle of the crank."""
    half = unit_at(0.5 * angle)
    one = half * half
    two = one * one
    return Orders(
        a.half * half,
        a.first * one,
        a.three_halves * half * one,
        a.second * two,
        a.third * two * one,
    )


@njit(cache=True, nogil=True)
def _uneven(s: Stroke, swing: complex, current: Orders) -> Orders:
    """What an uneven crank adds to the slider's way, cos θ + rod/4 · cos 2θ, to first order."""
    # its angle is ahead of ωt by Re Σ e_k exp(ikθ), beyond what it is in air
    e_half, e_three = 2.0 * swing * current.half, swing * current.three_halves * (1.0 / 1.5)
    e1 = swing * (current.first - s.free_current.first)
    e2 = 0.5 * swing * (current.second - s.free_current.second)
    return Orders(
        0.5j * (e_half.conjugate() - e_three) + 0.25j * s.rod * e_three.conjugate(),
        -0.5j * e2 + 0.25j * s.rod * e1.conjugate(),
        0.5j * e_half + 0.25j * s.rod * e_half.conjugate(),
        0.5j * e1,
        0.5j * e2 + 0.25j * s.rod * e1,
    )


@njit(cache=True, nogil=True)
def _way(s: Stroke, fixed: Fixed, angle: float) -> Way:
    """The head is squeezed by what pushed the housing, as far as it is seen there."""
    z, taken = _turned(s.z, angle), fixed.taken
    more = _uneven(s, fixed.swing, _turned(s.current, angle))
    push1 = s.free.first - z.first + more.first
    push2 = (s.free.second - z.second) * taken.second + 4.0 * more.second
    push3 = (s.free.third - z.third) * taken.third + 9.0 * more.third
    first = s.swell.first + more.first - s.recoil * z.first - s.soft.first * push1
    second = 0.25 * s.rod * s.swell.second + more.second
    second -= 0.25 * s.recoil * z.second + s.soft.second * push2
    third = more.third - s.recoil / 9.0 * z.third - s.soft.third * push3
    half = three = 0j
    if s.strokes == 2:
        push1 = 0.25 * more.half - z.half * taken.half
        push3 = 2.25 * more.three_halves - z.three_halves * taken.three_halves
        half = more.half - 4.0 * s.recoil * z.half - s.soft.half * push1
        three = more.three_halves - s.recoil / 2.25 * z.three_halves - s.soft.three_halves * push3
    return Way(z, more, Orders(half, first, three, second, third))


@njit(cache=True, nogil=True)
def _push(p: NDArray[np.float64], way: Way, points: NDArray[np.float64]) -> Push:
    """What the tissue pushes back on this way. points: (2, POINTS), to work in."""
    _press(math.exp(p[DEPTH]) - 1.0, math.exp(p[DAMPING]), way.depth, points)
    f0 = f1r = f1i = f2r = f2i = f3r = f3i = hr = hi = tr = ti = 0.0
    for j in range(POINTS):
        whole, half = points[0, j], points[1, j]
        f0 += whole
        f1r, f1i = f1r + whole * _COS[1, j], f1i - whole * _SIN[1, j]
        f2r, f2i = f2r + whole * _COS[3, j], f2i - whole * _SIN[3, j]
        f3r, f3i = f3r + whole * _COS[4, j], f3i - whole * _SIN[4, j]
        hr, hi = hr + half * _COS[0, j], hi - half * _SIN[0, j]
        tr, ti = tr + half * _COS[2, j], ti - half * _SIN[2, j]
    first, second, third = complex(f1r, f1i), complex(f2r, f2i), complex(f3r, f3i)
    return Push(f0, Orders(complex(hr, hi), first, complex(tr, ti), second, third))


@njit(cache=True, nogil=True)
def _press(depth: float, damping: float, d: Orders, points: NDArray[np.float64]) -> None:
    """The push of both strokes at a point, into points[0], and the first's less the second's, [1].

    What the half orders add in the first stroke they take in the second. Both are worked out even
    where they are the same: without a branch the loop runs on vectors.
    """
    for j in range(POINTS):
        x = depth + d.first.real * _COS[1, j] - d.first.imag * _SIN[1, j]
        x += d.second.real * _COS[3, j] - d.second.imag * _SIN[3, j]
        x += d.third.real * _COS[4, j] - d.third.imag * _SIN[4, j]
        more = d.half.real * _COS[0, j] - d.half.imag * _SIN[0, j]
        more += d.three_halves.real * _COS[2, j] - d.three_halves.imag * _SIN[2, j]
        speed = d.first.real * _SIN[1, j] + d.first.imag * _COS[1, j]
        speed += 2.0 * (d.second.real * _SIN[3, j] + d.second.imag * _COS[3, j])
        speed += 3.0 * (d.third.real * _SIN[4, j] + d.third.imag * _COS[4, j])
        faster = 0.5 * (d.half.real * _SIN[0, j] + d.half.imag * _COS[0, j])
        faster += 1.5 * (d.three_halves.real * _SIN[2, j] + d.three_halves.imag * _COS[2, j])
        one, other = max(x + more, 0.0), max(x - more, 0.0)
        one = max(one * math.sqrt(one) * (1.0 - damping * (speed + faster)), 0.0)
        other = max(other * math.sqrt(other) * (1.0 - damping * (speed - faster)), 0.0)
        points[0, j], points[1, j] = one + other, one - other


@njit(cache=True, nogil=True)
def _compare(
    p: NDArray[np.float64],
    s: Stroke,
    fixed: Fixed,
    way: Way,
    push: Push,
    out: NDArray[np.float64],
) -> None:
    """The residuals, where the push on this way is known."""
    z, more, give, sure, passed = way.z, way.more, fixed.give, fixed.sure, s.passed
    scale, by_order = 2.0 * math.exp(p[FORCE]) / max(push.total, 1e-12), push.by_order
    push1, push2 = scale * passed.first * by_order.first, scale * passed.second * by_order.second
    push3 = scale * passed.third * by_order.third
    _put(out, 0, z.first - s.free.first - (more.first - push1), sure[1])
    _put(out, 2, z.second - s.free.second - give.second * (4.0 * more.second - push2), sure[3])
    _put(out, 4, z.third - s.free.third - give.third * (9.0 * more.third - push3), sure[3])
    out[6] = (p[FORCE] - 1.5 * p[DEPTH] - fixed.log_firmness) / STIFFNESS_LOG_SD
    out[7] = (p[DAMPING] - fixed.log_loss) / DAMPING_LOG_SD
    out[8] = 0.0
    if s.torque > 0.0:
        modelled = max(0.5 * (push1.imag + 0.5 * s.rod * push2.imag), 1e-3)
        out[8] = math.log(s.torque / modelled) / CURRENT_LOG_SD
    if s.strokes == 2:
        left = z.half - give.half * (0.25 * more.half - scale * passed.half * by_order.half)
        _put(out, N_OF_ONE, left, sure[0])
        push3 = scale * passed.three_halves * by_order.three_halves
        left = z.three_halves - give.three_halves * (2.25 * more.three_halves - push3)
        _put(out, N_OF_ONE + 2, left, sure[2])


@njit(cache=True, nogil=True)
def _put(out: NDArray[np.float64], at: int, left: complex, sure: float) -> None:
    out[at], out[at + 1] = left.real * sure, left.imag * sure


@njit(cache=True, nogil=True)
def residuals(p: NDArray[np.float64], s: Stroke, out: NDArray[np.float64]) -> None:
    """The residuals in units of their standard deviations. p: (N_PARAMETERS,).

    out: (N_RESIDUALS,), of which what belongs to two strokes is left alone for one.
    """
    fixed = _fixed(s)
    way = _way(s, fixed, p[ANGLE])
    _compare(p, s, fixed, way, _push(p, way, np.empty((2, POINTS))), out)


@njit(cache=True, nogil=True)
def _cost(r: NDArray[np.float64], n: int) -> float:
    total = 0.0
    for j in range(n):
        total += r[j] * r[j]
    return total


@njit(cache=True, nogil=True)
def factor(a: NDArray[np.float64]) -> None:
    """Cholesky's L of a small symmetric positive matrix, into its lower half.

    By plain loops, as all of this module: what numpy does with arrays of four costs more than the
    sums, and LAPACK and slices take numba 14 s to compile.
    """
    n = a.shape[0]
    for j in range(n):
        for i in range(j, n):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = math.sqrt(max(total, 1e-12)) if i == j else total / a[j, j]


@njit(cache=True, nogil=True)
def solve(factored: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    """x of L Lᵀ x = b, into b."""
    n = b.size
    for i in range(n):
        for k in range(i):
            b[i] -= factored[i, k] * b[k]
        b[i] /= factored[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            b[i] -= factored[k, i] * b[k]
        b[i] /= factored[i, i]


@njit(cache=True, nogil=True)
def last_variance(normal: NDArray[np.float64]) -> float:
    """Variance of the last parameter: the last diagonal element of the inverse of JᵀJ."""
    factored = np.empty((N_PARAMETERS, N_PARAMETERS))
    _copy(normal, factored)
    for k in range(N_PARAMETERS):
        factored[k, k] += 1e-9
    factor(factored)
    return 1.0 / factored[N_PARAMETERS - 1, N_PARAMETERS - 1] ** 2


@njit(cache=True, nogil=True)
def _copy(a: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for i in range(N_PARAMETERS):
        for j in range(N_PARAMETERS):
            out[i, j] = a[i, j]


@njit(cache=True, nogil=True)
def _copy_row(a: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for k in range(a.size):
        out[k] = a[k]


@njit(cache=True, nogil=True)
def _normal_equations(
    jacobian: NDArray[np.float64],
    r: NDArray[np.float64],
    n: int,
    normal: NDArray[np.float64],
    gradient: NDArray[np.float64],
) -> None:
    for i in range(N_PARAMETERS):
        for k in range(i + 1):
            total = 0.0
            for j in range(n):
                total += jacobian[j, i] * jacobian[j, k]
            normal[i, k] = normal[k, i] = total
        gradient[i] = 0.0
        for j in range(n):
            gradient[i] += jacobian[j, i] * r[j]


@njit(cache=True, nogil=True)
def _differentiate(
    p: NDArray[np.float64],
    s: Stroke,
    fixed: Fixed,
    way: Way,
    push: Push,
    moving: int,
    points: NDArray[np.float64],
    r: NDArray[np.float64],
    jacobian: NDArray[np.float64],
) -> None:
    """The residuals' differences for a small step of each parameter that moves.

    What a parameter does not change is not worked out again: the angle alone moves the way, and the
    force only scales the push.
    """
    q, there = np.empty(N_PARAMETERS), np.zeros(N_RESIDUALS)
    for k in range(moving):
        _copy_row(p, q)
        q[k] += STEP
        way_there = _way(s, fixed, q[ANGLE]) if k == ANGLE else way
        push_there = push if k == FORCE else _push(q, way_there, points)
        _compare(q, s, fixed, way_there, push_there, there)
        for j in range(r.size):
            jacobian[j, k] = (there[j] - r[j]) * (1.0 / STEP)


@njit(cache=True, nogil=True)
def refine(
    p: NDArray[np.float64], s: Stroke, steps: int, moving: int, normal: NDArray[np.float64]
) -> float:
    """Damped Gauss-Newton from p, in place; leaves JᵀJ in `normal` (4, 4) and returns the cost.

    The first `moving` parameters are looked for, the others stay: 3 where the force is known.
    """
    n = N_OF_ONE if s.strokes == 1 else N_RESIDUALS
    r, trial = np.zeros(N_RESIDUALS), np.zeros(N_RESIDUALS)
    jacobian = np.zeros((N_RESIDUALS, N_PARAMETERS))
    damped = np.zeros((N_PARAMETERS, N_PARAMETERS))
    move, q = np.zeros(N_PARAMETERS), np.zeros(N_PARAMETERS)
    points = np.empty((2, POINTS))
    fixed = _fixed(s)
    way = _way(s, fixed, p[ANGLE])
    push = _push(p, way, points)
    _compare(p, s, fixed, way, push, r)
    cost = _cost(r, n)
    damp = 1e-3
    for _ in range(steps):
        _differentiate(p, s, fixed, way, push, moving, points, r, jacobian)
        _normal_equations(jacobian, r, n, normal, move)
        _copy(normal, damped)
        for k in range(N_PARAMETERS):
            damped[k, k] += damp * normal[k, k] + 1e-9
        factor(damped)
        solve(damped, move)
        for k in range(N_PARAMETERS):
            q[k] = p[k] - min(max(move[k], -1.0), 1.0)
        way_there = _way(s, fixed, q[ANGLE])
        push_there = _push(q, way_there, points)
        _compare(q, s, fixed, way_there, push_there, trial)
        better = _cost(trial, n)
        if better < cost:
            gain = cost - better
            _copy_row(q, p)
            _copy_row(trial, r)
            way, push, cost = way_there, push_there, better
            damp = max(0.2 * damp, 1e-6)
            if gain < 1e-4 * cost + 1e-6:
                break
        else:
            damp = min(damp * 8.0 + 1e-3, 1e4)
    return cost


@njit(cache=True, nogil=True)
def _lay_start(
    s: Stroke, force: float, depth: float, angle: float, moving: int, p: NDArray[np.float64]
) -> None:
    """A point of the grid, into p; `force` is log mean force over I0 where it is known."""
    p[DEPTH], p[DAMPING], p[ANGLE], p[FORCE] = math.log(depth), _log_loss(s), angle, force
    if moving == N_PARAMETERS:
        p[FORCE] = math.log(max(0.2, abs(s.z.first * unit_at(angle) - 1.0)))


@njit(cache=True, nogil=True)
def invert(
    s: Stroke, p: NDArray[np.float64], enough: float, moving: int, normal: NDArray[np.float64]
) -> float:
    """Best p for one window: from p if that costs less than `enough`, else from a grid as well.

    `enough` 0: p says nothing, and the grid alone is searched, which takes many times as long.
    `moving` as in `refine`. Returns the cost (about 5 degrees of freedom: 1 to 10 is a good fit).
    """
    best = np.inf
    force = p[FORCE]
    start = np.empty(N_PARAMETERS)
    other = np.zeros((N_PARAMETERS, N_PARAMETERS))
    _copy_row(p, start)
    # One call of `refine`, its numbers no constants: numba would compile it for each of them.
    for attempt in range(0 if enough > 0.0 else 1, 1 + _STARTS.shape[0]):
        steps = STEPS_WARM
        if attempt > 0:
            _lay_start(s, force, _STARTS[attempt - 1, 0], _STARTS[attempt - 1, 1], moving, start)
            steps = STEPS_COLD
        cost = refine(start, s, steps, moving, other)
        if cost < best:
            best = cost
            _copy_row(start, p)
            _copy(other, normal)
        if attempt == 0 and best < enough:
            break
    return best
