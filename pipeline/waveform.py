"""Contact force from the shape of the housing's vibration: the waveform inversion.

The idea. In air the reciprocating mass m_r shakes the housing with a known shape; on tissue the
contact force F(θ) pushes back, so that over one stroke

    a_housing(θ) / A  =  s(θ)'' shape of the free run  −  F(θ) / I0,      I0 = A · M

with A the free-running amplitude at this speed and M the mass that moves. F is a push that can only
be positive; tissue answers with F = k δⁿ (1 + c δ̇) while compressed (K. H. Hunt, F. R. E. Crossley,
J. Appl. Mech. 42 (1975) 440, eq. 12; n = 3/2 is Hertz) and δ(θ) = δ0 + slider + housing, both
known from the crank and from the measured acceleration. What is left to find is the depth δ0, the
damping c, the crank angle φ and the mean force F0: four numbers, from the first three harmonics of
a_housing (six numbers) and the motor current, whose mean is the work done on the tissue. A damped
Gauss-Newton finds them; its normal matrix gives the uncertainty.

Two things belong to the gun and are found at its bench (pipeline.identification). The crank does
not turn evenly: a motor whose winding drops R·i turns slower by R·i / K, so the current's ripple at
f and 2f, times one number, is how far the crank runs ahead and behind (`swing`). And a hand on a
soft grip lets the housing give way more at one harmonic than at another (`second`, `third`).

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
N_RESIDUALS = 9
EXPONENT_HALVES = 3  # n = 3/2, Hertz; the mean force hardly depends on n between 1.2 and 2.5

_THETA = 2.0 * math.pi * np.arange(POINTS) / POINTS
_COS = np.array([np.cos(k * _THETA) for k in range(4)])
_SIN = np.array([np.sin(k * _THETA) for k in range(4)])

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
CURRENT_LOG_SD = 0.15  # how well work explains current once calibrated
STEPS_WARM, STEPS_COLD = 10, 15  # at most; a fit that gains no more ends before
# where a search begins that knows nothing: depth in r, and angle of the crank
_STARTS = np.array([(x, angle) for x in (0.8, 2.0, 4.5) for angle in (-0.3, -0.9, -1.6, -2.4)])
GOOD_ENOUGH = 12.0  # cost under which a warm start stands: twice the degrees of freedom, and some


class Stroke(NamedTuple):
    """What one window says of a stroke, and what is known of the gun.

    z: (3,) harmonics of the housing acceleration over A, phases relative to the first. free: (3,)
    the same in air, turned so that the second is real: θ = 0 is the crank at its outer end. ripple:
    (2,) motor current at f and 2f [A], with the same phases, free_ripple: (2,) in air. `recoil`:
    the housing's displacement in r per A of first harmonic. `rod`: second harmonic of the slider's
    acceleration over the first. `torque`: the measured mean load torque in units of I0 · r, or < 0
    where it is not known. `inertia_n`: I0 in newtons. gun: (N_GUN,).

    Of the head's spring and the tip on it, (3,) each, by harmonic. soft: what it gives way to, in r
    per I0. passed: what of a force on the tip arrives at the housing, in units of the mean force's
    effect. swell: what the tip moves in air over what the slider does.
    """

    z: NDArray[np.complex128]
    free: NDArray[np.complex128]
    ripple: NDArray[np.complex128]
    free_ripple: NDArray[np.complex128]
    recoil: float
    rod: float
    f_hz: float
    torque: float
    inertia_n: float
    gun: NDArray[np.float64]
    soft: NDArray[np.complex128]
    passed: NDArray[np.complex128]
    swell: NDArray[np.complex128]


@njit(cache=True, nogil=True)
def _over(a: complex, give: complex) -> complex:
    """a / give, for a give that may be near zero."""
    return a * give.conjugate() / max(give.real**2 + give.imag**2, LEAST_GIVE**2)


@njit(cache=True, nogil=True)
def residuals(p: NDArray[np.float64], s: Stroke, out: NDArray[np.float64]) -> None:
    """The nine residuals in units of their standard deviations. p: (N_PARAMETERS,)."""
    depth = math.exp(p[0]) - 1.0
    damping = math.exp(p[1])
    force = math.exp(p[3])
    omega = 2.0 * math.pi * s.f_hz
    turn = complex(math.cos(p[2]), math.sin(p[2]))
    z1, z2, z3 = s.z[0] * turn, s.z[1] * turn * turn, s.z[2] * turn * turn * turn
    # the crank's angle is ahead of ωt by Re Σ e_k exp(ikθ), beyond what it is in air
    swing = complex(-s.gun[SWING_IM], s.gun[SWING_RE]) / omega  # i·κ/ω
    e1 = swing * (s.ripple[0] * turn - s.free_ripple[0])
    e2 = 0.5 * swing * (s.ripple[1] * turn * turn - s.free_ripple[1])
    second = s.rod
    # what that adds to the harmonics of the slider's way, cos θ + second/4 · cos 2θ, to first order
    more1 = complex(0.0, -0.5) * e2 + complex(0.0, 0.25 * second) * e1.conjugate()
    more2 = complex(0.0, 0.5) * e1
    more3 = complex(0.0, 0.5) * e2 + complex(0.0, 0.25 * second) * e1
    give2 = complex(s.gun[SECOND_RE], s.gun[SECOND_IM])
    give3 = complex(s.gun[THIRD_RE], s.gun[THIRD_IM])
    # the head is squeezed by what pushed the housing, as far as it is seen there
    d1 = s.swell[0] + more1 - s.recoil * z1 - s.soft[0] * (s.free[0] + more1 - z1)
    pushed = _over(s.free[1] - z2, give2) + 4.0 * more2
    d2 = 0.25 * second * s.swell[1] + more2 - 0.25 * s.recoil * z2 - s.soft[1] * pushed
    pushed = _over(s.free[2] - z3, give3) + 9.0 * more3
    d3 = more3 - s.recoil * z3 / 9.0 - s.soft[2] * pushed
    f0 = f1r = f1i = f2r = f2i = f3r = f3i = 0.0
    for j in range(POINTS):
        ca, sa, cb, sb, cc, sc = (
            _COS[1, j],
            _SIN[1, j],
            _COS[2, j],
            _SIN[2, j],
            _COS[3, j],
            _SIN[3, j],
        )
        x = depth + d1.real * ca - d1.imag * sa + d2.real * cb - d2.imag * sb
        x += d3.real * cc - d3.imag * sc
        if x <= 0.0:
            continue
        speed = -d1.real * sa - d1.imag * ca - 2.0 * (d2.real * sb + d2.imag * cb)
        speed -= 3.0 * (d3.real * sc + d3.imag * cc)
        push = x * math.sqrt(x) * (1.0 + damping * speed)
        if push <= 0.0:
            continue
        f0 += push
        f1r += push * ca
        f1i -= push * sa
        f2r += push * cb
        f2i -= push * sb
        f3r += push * cc
        f3i -= push * sc
    scale = 2.0 * force / max(f0, 1e-12)
    p1 = s.passed[0] * complex(f1r, f1i)
    p2 = s.passed[1] * complex(f2r, f2i)
    p3 = s.passed[2] * complex(f3r, f3i)
    work = p1.imag + 0.5 * second * p2.imag
    e1 = z1 - s.free[0] - (more1 - scale * p1)
    e2 = z2 - s.free[1] - give2 * (4.0 * more2 - scale * p2)
    e3 = z3 - s.free[2] - give3 * (9.0 * more3 - scale * p3)
    sd1 = SIGNAL_SD + MODEL_SD * abs(z1)
    sd2 = SIGNAL_SD + MODEL_SD * (abs(z1) + abs(z2)) * 0.5
    out[0], out[1] = e1.real / sd1, e1.imag / sd1
    out[2], out[3] = e2.real / sd2, e2.imag / sd2
    out[4], out[5] = e3.real / sd2, e3.imag / sd2
    out[6] = (p[3] - 1.5 * p[0] + math.log(s.inertia_n / s.gun[FIRMNESS_N])) / STIFFNESS_LOG_SD
    out[7] = (p[1] - math.log(s.gun[LOSS_S] * omega)) / DAMPING_LOG_SD
    out[8] = 0.0
    if s.torque > 0.0:
        modelled = max(0.5 * scale * work, 1e-3)
        out[8] = math.log(s.torque / modelled) / CURRENT_LOG_SD


@njit(cache=True, nogil=True)
def _cost(r: NDArray[np.float64]) -> float:
    total = 0.0
    for j in range(N_RESIDUALS):
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
    normal: NDArray[np.float64],
    gradient: NDArray[np.float64],
) -> None:
    for i in range(N_PARAMETERS):
        for k in range(N_PARAMETERS):
            total = 0.0
            for j in range(N_RESIDUALS):
                total += jacobian[j, i] * jacobian[j, k]
            normal[i, k] = total
        gradient[i] = 0.0
        for j in range(N_RESIDUALS):
            gradient[i] += jacobian[j, i] * r[j]


@njit(cache=True, nogil=True)
def refine(
    p: NDArray[np.float64], s: Stroke, steps: int, moving: int, normal: NDArray[np.float64]
) -> float:
    """Damped Gauss-Newton from p, in place; leaves JᵀJ in `normal` (4, 4) and returns the cost.

    The first `moving` parameters are looked for, the others stay: 3 where the force is known.
    """
    r = np.zeros(N_RESIDUALS)
    trial = np.zeros(N_RESIDUALS)
    jacobian = np.zeros((N_RESIDUALS, N_PARAMETERS))
    damped = np.zeros((N_PARAMETERS, N_PARAMETERS))
    move = np.zeros(N_PARAMETERS)
    q = np.zeros(N_PARAMETERS)
    residuals(p, s, r)
    cost = _cost(r)
    damp = 1e-3
    for _ in range(steps):
        for k in range(moving):
            _copy_row(p, q)
            q[k] += 1e-4
            residuals(q, s, trial)
            for j in range(N_RESIDUALS):
                jacobian[j, k] = (trial[j] - r[j]) * 1e4
        _normal_equations(jacobian, r, normal, move)
        _copy(normal, damped)
        for k in range(N_PARAMETERS):
            damped[k, k] += damp * normal[k, k] + 1e-9
        factor(damped)
        solve(damped, move)
        for k in range(N_PARAMETERS):
            q[k] = p[k] - min(max(move[k], -1.0), 1.0)
        residuals(q, s, trial)
        better = _cost(trial)
        if better < cost:
            gain = cost - better
            _copy_row(q, p)
            _copy_row(trial, r)
            cost = better
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
    p[0] = math.log(depth)
    p[1] = math.log(s.gun[LOSS_S] * 2.0 * math.pi * s.f_hz)
    p[2] = angle
    p[3] = force
    if moving == N_PARAMETERS:
        turn = complex(math.cos(angle), math.sin(angle))
        p[3] = math.log(max(0.2, abs(s.z[0] * turn - 1.0)))


@njit(cache=True, nogil=True)
def invert(
    s: Stroke, p: NDArray[np.float64], enough: float, moving: int, normal: NDArray[np.float64]
) -> float:
    """Best p for one window: from p if that costs less than `enough`, else from a grid as well.

    `enough` 0: p says nothing, and the grid alone is searched, which takes many times as long.
    `moving` as in `refine`. Returns the cost (about 5 degrees of freedom: 1 to 10 is a good fit).
    """
    best = np.inf
    force = p[3]
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
