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
Gauss-Newton finds them; its normal matrix gives the uncertainty. Nothing was fitted to recordings.

Lengths are in units of the crank radius r, angles in radians, accelerations in units of A.
Numba kernels; numpy and numba only. No state beyond the warm start it is handed.
"""

from __future__ import annotations

import math

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

# Prior: how stiff and how lossy tissue under a massage gun is, before the signals speak.
# Force at a depth of one crank radius. A 25 mm ball (R = 12.5 mm) on muscle of E = 60-200 kPa and
# Poisson 0.5 (relaxed to contracted; Hertz, k = 16/9 E √R) takes 5-18 N at 6 mm.
STIFFNESS_N, STIFFNESS_LOG_SD = 8.0, 0.5
# Loss time c / (r ω) of soft tissue 3-7 ms: loss factor near 1 at 25-50 Hz, as for relaxed muscle
# under large strain; engineering choice, wide.
DAMPING_S, DAMPING_LOG_SD = 4.5e-3, 0.5
SIGNAL_SD = 0.02  # of A: hop-to-hop scatter of the free-running harmonics
MODEL_SD = 0.03  # share of each harmonic the model leaves unexplained
CURRENT_LOG_SD = 0.15  # how well work explains current once calibrated


@njit(cache=True, nogil=True)
def residuals(
    p: NDArray[np.float64],
    z: NDArray[np.complex128],
    free: NDArray[np.complex128],
    recoil: float,
    f_hz: float,
    torque: float,
    inertia_n: float,
    out: NDArray[np.float64],
) -> None:
    """The nine residuals in units of their standard deviations.

    p: (N_PARAMETERS,). z: (3,) harmonics of the housing acceleration over A, phases relative to
    the first. free: (3,) the same in air, turned so that the second is real: θ = 0 is the crank at
    its outer end.
    `recoil`: the housing's displacement in r per A of first harmonic. `torque`: the measured mean
    load torque in units of I0 · r, or < 0 where it is not known. `inertia_n`: I0 in newtons.
    """
    depth = math.exp(p[0]) - 1.0
    damping = math.exp(p[1])
    force = math.exp(p[3])
    c1, s1 = math.cos(p[2]), math.sin(p[2])
    z1 = z[0] * complex(c1, s1)
    z2 = z[1] * complex(c1 * c1 - s1 * s1, 2.0 * c1 * s1)
    z3 = z[2] * complex(c1, s1) * complex(c1 * c1 - s1 * s1, 2.0 * c1 * s1)
    second = free[1].real
    h1, h2, h3 = recoil * z1, recoil * z2 / 4.0, recoil * z3 / 9.0
    f0 = f1r = f1i = f2r = f2i = f3r = f3i = work = 0.0
    for j in range(POINTS):
        ca, sa, cb, sb, cc, sc = (
            _COS[1, j],
            _SIN[1, j],
            _COS[2, j],
            _SIN[2, j],
            _COS[3, j],
            _SIN[3, j],
        )
        slider = ca + 0.25 * second * cb
        slider_v = -sa - 0.5 * second * sb
        housing = h1.real * ca - h1.imag * sa + h2.real * cb - h2.imag * sb
        housing += h3.real * cc - h3.imag * sc
        housing_v = -h1.real * sa - h1.imag * ca - 2.0 * (h2.real * sb + h2.imag * cb)
        housing_v -= 3.0 * (h3.real * sc + h3.imag * cc)
        x = depth + slider - housing
        if x <= 0.0:
            continue
        push = x * math.sqrt(x) * (1.0 + damping * (slider_v - housing_v))
        if push <= 0.0:
            continue
        f0 += push
        f1r += push * ca
        f1i -= push * sa
        f2r += push * cb
        f2i -= push * sb
        f3r += push * cc
        f3i -= push * sc
        work += push * slider_v
    scale = 2.0 * force / max(f0, 1e-12)
    e1 = z1 - (free[0] - scale * complex(f1r, f1i))
    e2 = z2 - (free[1] - scale * complex(f2r, f2i))
    e3 = z3 - (free[2] - scale * complex(f3r, f3i))
    sd1 = SIGNAL_SD + MODEL_SD * abs(z1)
    sd2 = SIGNAL_SD + MODEL_SD * (abs(z1) + abs(z2)) * 0.5
    out[0], out[1] = e1.real / sd1, e1.imag / sd1
    out[2], out[3] = e2.real / sd2, e2.imag / sd2
    out[4], out[5] = e3.real / sd2, e3.imag / sd2
    out[6] = (p[3] - 1.5 * p[0] + math.log(inertia_n / STIFFNESS_N)) / STIFFNESS_LOG_SD
    out[7] = (p[1] - math.log(DAMPING_S * 2.0 * math.pi * f_hz)) / DAMPING_LOG_SD
    out[8] = 0.0
    if torque > 0.0:
        modelled = max(0.5 * scale * work, 1e-3)
        out[8] = math.log(torque / modelled) / CURRENT_LOG_SD


@njit(cache=True, nogil=True)
def mean_torque(
    p: NDArray[np.float64], z: NDArray[np.complex128], free: NDArray[np.complex128], recoil: float
) -> float:
    """Mean torque the tissue asks of the crank, in units of I0 · r, at the solution p."""
    out = np.zeros(N_RESIDUALS)
    residuals(p, z, free, recoil, 1.0, 1.0, 1.0, out)
    return math.exp(-out[8] * CURRENT_LOG_SD)


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
    p: NDArray[np.float64],
    z: NDArray[np.complex128],
    free: NDArray[np.complex128],
    recoil: float,
    f_hz: float,
    torque: float,
    inertia_n: float,
    steps: int,
    normal: NDArray[np.float64],
) -> float:
    """Damped Gauss-Newton from p, in place; leaves JᵀJ in `normal` (4, 4) and returns the cost."""
    r = np.zeros(N_RESIDUALS)
    trial = np.zeros(N_RESIDUALS)
    jacobian = np.zeros((N_RESIDUALS, N_PARAMETERS))
    damped = np.zeros((N_PARAMETERS, N_PARAMETERS))
    move = np.zeros(N_PARAMETERS)
    q = np.zeros(N_PARAMETERS)
    residuals(p, z, free, recoil, f_hz, torque, inertia_n, r)
    cost = _cost(r)
    damp = 1e-3
    for _ in range(steps):
        for k in range(N_PARAMETERS):
            _copy_row(p, q)
            q[k] += 1e-4
            residuals(q, z, free, recoil, f_hz, torque, inertia_n, trial)
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
        residuals(q, z, free, recoil, f_hz, torque, inertia_n, trial)
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
def invert(
    z: NDArray[np.complex128],
    free: NDArray[np.complex128],
    recoil: float,
    f_hz: float,
    torque: float,
    inertia_n: float,
    p: NDArray[np.float64],
    warm: bool,
    normal: NDArray[np.float64],
) -> float:
    """Best p for one window; starts from p when `warm`, else (or when that fits badly) from a grid.

    Returns the cost (about 5 degrees of freedom: 1 to 10 is a good fit).
    """
    best = np.inf
    if warm:
        best = refine(p, z, free, recoil, f_hz, torque, inertia_n, 10, normal)
        if best < 12.0:  # engineering choice: twice the degrees of freedom, and some
            return best
    start = np.zeros(N_PARAMETERS)
    other = np.zeros((N_PARAMETERS, N_PARAMETERS))
    for depth in (0.8, 2.0, 4.5):
        for angle in (-0.3, -0.9, -1.6, -2.4):
            start[0] = math.log(depth)
            start[1] = math.log(DAMPING_S * 2.0 * math.pi * f_hz)
            start[2] = angle
            start[3] = math.log(
                max(0.2, abs(z[0] * complex(math.cos(angle), math.sin(angle)) - 1.0))
            )
            cost = refine(start, z, free, recoil, f_hz, torque, inertia_n, 15, other)
            if cost < best:
                best = cost
                _copy_row(start, p)
                _copy(other, normal)
    return best
