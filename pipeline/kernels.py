"""From samples to hops: one pass over the samples of many frames of many guns.

Numba kernels and the SIGNAL state they carry; numpy and numba only, no I/O, no clock. Every 0.25 s of
samples (a hop) one row says what the signals did over the last two hops, seen through a Hann window
made of two halves: each hop keeps the sums B of v and A of w·v, w rising as sin² over the hop; the
window that ends with hop k is then A of hop k−1 plus B − A of hop k. Sums run strictly sample by
sample, so the rows do not depend on how the samples were cut into frames, to the last bit.

The lock-in follows the percussion frequency: it multiplies by an oscillator that never jumps in phase
and reads the frequency error from the phase advance between two windows.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

Record: TypeAlias = Any  # one element of a structured array; numba gives its fields as attributes

HOP_S = 0.25  # contract, detection.md: "features, every hop of 0.25 s"
STANDARD_GRAVITY_M_S2 = 9.80665  # exact, 3rd CGPM 1901
N_SUMS = 32
# indices into the running sums
_W, _Z1, _Z2, _Z3, _Z4, _X1, _X2, _Y1, _Y2, _I1, _I2 = range(11)
_ZC = 12  # z·cos and −z·sin of orders ½, 1, 1½, 2, 3, 4: 12 sums
_IC = 24  # current·cos and −current·sin of orders 1, 2: 4 sums
ORDERS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)  # multiples of the percussion frequency in HOP["z_order"]
N_QUARTERS = 4
# Smallest share of a window's weight that must be present: below, half of the strokes are guessed.
MIN_PRESENT = 0.5  # engineering choice
# Windows until oscillator and window agree again after a jump: two to fill, one to measure, one spare.
SETTLED = 4
LOST_SHARE = 0.4  # in air and on tissue over 0.8 of z's variance is harmonic; engineering choice

SIGNAL = np.dtype(
    [
        ("rate_hz", "f8"),
        ("hop_samples", "i4"),  # length of the running hop
        ("hop_position", "i4"),  # samples of it already seen or known to be missing
        ("has_previous", "i4"),  # the previous hop's A is usable
        ("anchor_ns", "i8"),  # time of sample `0` since the last change of rate or clock
        ("anchor_samples", "i8"),  # samples since the anchor
        ("set_hz", "f8"),
        ("f_hz", "f8"),  # the oscillator's frequency
        ("ratio", "f8"),  # true over commanded percussion frequency, as last tracked
        ("phase_re", "f8"),  # exp(−iθ/2)
        ("phase_im", "f8"),
        ("window_re", "f8"),  # exp(iπ(position + ½)/hop_samples): the window's angle
        ("window_im", "f8"),
        ("b", "f8", N_SUMS),
        ("a", "f8", N_SUMS),
        ("previous_a", "f8", N_SUMS),
        (
            "quarters",
            "f8",
            (N_QUARTERS, 2),
        ),  # z·exp(−iθ) by quarter hop, for large frequency errors
        ("z_max", "f8"),
        ("z_min", "f8"),
        ("previous_z_max", "f8"),
        ("previous_z_min", "f8"),
        ("clipped", "i4"),
        ("last_lsb", "i4", 4),
        ("run", "i4", 4),  # how long each channel has repeated its value
        ("longest_run", "i4", 4),
        ("wh_b", "f8", (3, 3)),
        ("wh_a", "f8", (3, 2)),
        ("wh_state", "f8", (3, 3, 2)),
        ("wh_sum", "f8", 3),
        ("last_z1", "f8", 2),  # previous window's phasors, for the phase advance
        ("last_i1", "f8", 2),
        ("last_f_hz", "f8"),  # the oscillator's frequency in the previous hop
        ("settled", "i4"),  # windows since the oscillator last jumped
    ],
    align=True,
)

HOP = np.dtype(
    [
        ("slot", "i4"),
        ("frame", "i4"),  # which of the call's frames it ended with
        ("t_ns", "i8"),  # end of the hop's last sample
        ("rate_hz", "f8"),
        ("set_hz", "f8"),
        ("f_hz", "f8"),
        ("present", "f8"),  # share of the window's weight that has samples
        ("z_order", "c16", len(ORDERS)),  # one-sided amplitude [g] and phase at ORDERS · f_hz
        ("i_order", "c16", 2),  # the same of the motor current [A] at 1 and 2 · f_hz
        ("mean", "f8", 4),  # x, y, z [g], current [A]
        ("sd", "f8", 4),
        ("z_skewness", "f8"),
        ("z_kurtosis", "f8"),
        ("z_peak_up", "f8"),
        ("z_peak_down", "f8"),
        ("a_hw", "f8", 3),  # Wh-weighted RMS [m/s²] over the hop
        ("clipped", "f8"),  # share of the hop's samples at the end of the scale
        ("stuck", "i4"),  # bit per channel that repeated one value through the whole hop
        ("settled", "i4"),
    ],
    align=True,
)


@njit(cache=True, nogil=True)
def wh_squared(f_hz: float) -> float:
    """|Wh(f)|², the hand-arm weighting. ISO 8041-1:2017, Table 3 and equations (1) to (4)."""
    f1, f2, q1 = 10.0**0.8, 10.0**3.1, 1.0 / math.sqrt(2.0)
    f3 = f4 = 100.0 / (2.0 * math.pi)
    q2 = 0.64
    x = f_hz
    high = x**4 / (x**4 + x * x * f1 * f1 * (1.0 / q1**2 - 2.0) + f1**4)
    low = f2**4 / (x**4 + x * x * f2 * f2 * (1.0 / q1**2 - 2.0) + f2**4)
    transition = (
        (x * x + f3 * f3)
        / (x**4 + x * x * f4 * f4 * (1.0 / q2**2 - 2.0) + f4**4)
        * f4**4
        / (f3 * f3)
    )
    return high * low * transition


@njit(cache=True, nogil=True)
def _power_at(a1: float, a2: float, w: float) -> float:
    """|1 + a1 z⁻¹ + a2 z⁻²|² at the angle w."""
    re = 1.0 + a1 * math.cos(w) + a2 * math.cos(2.0 * w)
    im = a1 * math.sin(w) + a2 * math.sin(2.0 * w)
    return re * re + im * im


@njit(cache=True, nogil=True)
def design_wh(rate_hz: float, b: NDArray[np.float64], a: NDArray[np.float64]) -> None:
    """Digital Wh for one sampling rate: b (3, 3) and a (3, 2) of three biquads, unit leading a.

    A bilinear Wh is 22 % off at 400 Hz for 1600 Hz sampling. Instead the lower band limit is bilinear
    (there is no warping at 6.3 Hz), the other two sections keep their exact poles (z = exp(sT)), and
    one numerator makes the whole meet Wh at 20 Hz, 0.2 and 0.4 of the rate. Off by under 2.5 % from
    16 Hz to 0.4 of the rate for 800 to 6400 Hz (tests/test_kernels.py); above, nothing is claimed.
    """
    w1 = 2.0 * math.pi * 10.0**0.8
    k = w1 / math.tan(w1 / (2.0 * rate_hz))
    a0 = k * k + k * w1 * math.sqrt(2.0) + w1 * w1
    b[0, 0], b[0, 1], b[0, 2] = k * k / a0, -2.0 * k * k / a0, k * k / a0
    a[0, 0] = 2.0 * (w1 * w1 - k * k) / a0
    a[0, 1] = (k * k - k * w1 * math.sqrt(2.0) + w1 * w1) / a0

    w4, q2 = 100.0, 0.64
    real = -w4 / (2.0 * q2)
    imaginary = w4 * math.sqrt(1.0 - 1.0 / (4.0 * q2 * q2))
    radius = math.exp(real / rate_hz)
    a[1, 0] = -2.0 * radius * math.cos(imaginary / rate_hz)
    a[1, 1] = radius * radius

    w2 = 2.0 * math.pi * 10.0**3.1 / math.sqrt(2.0)  # real and imaginary part of the upper poles
    radius = math.exp(-w2 / rate_hz)
    a[2, 0] = -2.0 * radius * math.cos(w2 / rate_hz)
    a[2, 1] = radius * radius
    b[2, 0], b[2, 1], b[2, 2] = 1.0 + a[2, 0] + a[2, 1], 0.0, 0.0

    m = np.empty((3, 3))
    y = np.empty(3)
    for i in range(3):
        f = (min(20.0, 0.1 * rate_hz), 0.2 * rate_hz, 0.4 * rate_hz)[i]
        w = 2.0 * math.pi * f / rate_hz
        m[i, 0], m[i, 1], m[i, 2] = 1.0, 2.0 * math.cos(w), 2.0 * math.cos(2.0 * w)
        others = b[0, 0] ** 2 * _power_at(-2.0, 1.0, w) / _power_at(a[0, 0], a[0, 1], w)
        others *= b[2, 0] ** 2 / _power_at(a[2, 0], a[2, 1], w)
        y[i] = wh_squared(f) / others * _power_at(a[1, 0], a[1, 1], w)
    r = np.linalg.solve(m, y)
    _factor(r[0], r[1], r[2], b)


@njit(cache=True, nogil=True)
def _factor(r0: float, r1: float, r2: float, b: NDArray[np.float64]) -> None:
    """The minimum-phase numerator whose power spectrum is r0 + 2 r1 cos w + 2 r2 cos 2w."""
    at_zero = math.sqrt(max(r0 + 2.0 * r1 + 2.0 * r2, 0.0))
    at_pi = math.sqrt(max(r0 - 2.0 * r1 + 2.0 * r2, 0.0))
    total = 0.5 * (at_zero + at_pi)  # b0 + b2
    b[1, 1] = 0.5 * (at_zero - at_pi)
    b[1, 0] = 0.5 * (total + math.sqrt(max(total * total - 4.0 * r2, 0.0)))
    b[1, 2] = r2 / b[1, 0] if b[1, 0] > 0.0 else 0.0


@njit(cache=True, nogil=True)
def start_hop(s: Record) -> None:
    """Clear the running sums and lay out the next hop at the present rate."""
    s.hop_samples = max(int(round(HOP_S * s.rate_hz)), 8)
    s.hop_position = 0
    s.b[:] = 0.0
    s.a[:] = 0.0
    s.quarters[:, :] = 0.0
    s.z_max, s.z_min = -1e30, 1e30
    s.clipped = 0
    s.longest_run[:] = 0
    s.wh_sum[:] = 0.0
    norm = 1.0 / math.hypot(s.phase_re, s.phase_im)  # rounding must not let the oscillator grow
    s.phase_re *= norm
    s.phase_im *= norm
    _set_window(s)


@njit(cache=True, nogil=True)
def _set_window(s: Record) -> None:
    angle = math.pi * (s.hop_position + 0.5) / s.hop_samples
    s.window_re, s.window_im = math.cos(angle), math.sin(angle)


@njit(cache=True, nogil=True)
def reset_signal(s: Record, rate_hz: float, t0_ns: int, set_hz: float) -> None:
    """Begin anew: first frame, another boot, or a gap too long to bridge."""
    if s.ratio <= 0.0:
        s.ratio = 1.0
    s.rate_hz = rate_hz
    design_wh(rate_hz, s.wh_b, s.wh_a)
    s.wh_state[:, :, :] = 0.0
    s.anchor_ns, s.anchor_samples = t0_ns, 0
    s.set_hz = set_hz
    s.f_hz = set_hz * s.ratio
    s.phase_re, s.phase_im = 1.0, 0.0
    s.has_previous = 0
    s.settled = 0
    s.run[:] = 0
    s.last_lsb[:] = 40000  # outside int16: equal to nothing
    start_hop(s)


@njit(cache=True, nogil=True)
def _accumulate(
    s: Record,
    samples: NDArray[np.int16],
    first: int,
    last: int,
    g_per_lsb: float,
    a_per_lsb: float,
    v: NDArray[np.float64],
) -> None:
    """Add samples[first:last], which all belong to the running hop, to its sums."""
    n = s.hop_samples
    half = math.pi * s.f_hz / s.rate_hz
    step_re, step_im = math.cos(half), -math.sin(half)
    p_re, p_im = s.phase_re, s.phase_im
    turn_re, turn_im = math.cos(math.pi / n), math.sin(math.pi / n)
    w_re, w_im = s.window_re, s.window_im
    position = s.hop_position
    z_max, z_min = s.z_max, s.z_min
    for k in range(first, last):
        x = samples[k, 0] * g_per_lsb
        y = samples[k, 1] * g_per_lsb
        z = samples[k, 2] * g_per_lsb
        i = samples[k, 3] * a_per_lsb
        w = 0.5 - 0.5 * w_re
        # orders 1, 1½, 2, 3, 4 from the half-order oscillator
        c1, s1 = p_re * p_re - p_im * p_im, 2.0 * p_re * p_im
        c2, s2 = c1 * c1 - s1 * s1, 2.0 * c1 * s1
        c3, s3 = c2 * c1 - s2 * s1, c2 * s1 + s2 * c1
        zz = z * z
        v[0] = 1.0
        v[1] = z
        v[2] = zz
        v[3] = zz * z
        v[4] = zz * zz
        v[5] = x
        v[6] = x * x
        v[7] = y
        v[8] = y * y
        v[9] = i
        v[10] = i * i
        v[12] = z * p_re
        v[13] = z * p_im
        v[14] = z * c1
        v[15] = z * s1
        v[16] = z * (c1 * p_re - s1 * p_im)
        v[17] = z * (c1 * p_im + s1 * p_re)
        v[18] = z * c2
        v[19] = z * s2
        v[20] = z * c3
        v[21] = z * s3
        v[22] = z * (c2 * c2 - s2 * s2)
        v[23] = z * (2.0 * c2 * s2)
        v[24] = i * c1
        v[25] = i * s1
        v[26] = i * c2
        v[27] = i * s2
        for j in range(N_SUMS):
            s.b[j] += v[j]
            s.a[j] += w * v[j]
        q = (position * N_QUARTERS) // n
        s.quarters[q, 0] += v[14]
        s.quarters[q, 1] += v[15]
        z_max = max(z_max, z)
        z_min = min(z_min, z)
        _watch_sensor(s, samples, k)
        _weigh(s, x, y, z)
        p_re, p_im = p_re * step_re - p_im * step_im, p_re * step_im + p_im * step_re
        w_re, w_im = w_re * turn_re - w_im * turn_im, w_re * turn_im + w_im * turn_re
        position += 1
    s.hop_position = position
    s.window_re, s.window_im = w_re, w_im
    s.phase_re, s.phase_im = p_re, p_im
    s.z_max, s.z_min = z_max, z_min


@njit(cache=True, nogil=True, inline="always")
def _watch_sensor(s: Record, samples: NDArray[np.int16], k: int) -> None:
    """Count samples at the end of the scale and how long a channel repeats itself."""
    at_end = False
    for c in range(4):
        lsb = int(samples[k, c])
        if c < 3 and (lsb >= 32767 or lsb <= -32767):
            at_end = True
        s.run[c] = s.run[c] + 1 if lsb == s.last_lsb[c] else 1
        s.last_lsb[c] = lsb
        s.longest_run[c] = max(s.longest_run[c], s.run[c])
    if at_end:
        s.clipped += 1


@njit(cache=True, nogil=True, inline="always")
def _weigh(s: Record, x: float, y: float, z: float) -> None:
    """Wh-weighted squares by axis: three biquads, transposed direct form II."""
    for axis in range(3):
        u = (x, y, z)[axis]
        for q in range(3):
            out = s.wh_b[q, 0] * u + s.wh_state[axis, q, 0]
            s.wh_state[axis, q, 0] = s.wh_b[q, 1] * u - s.wh_a[q, 0] * out + s.wh_state[axis, q, 1]
            s.wh_state[axis, q, 1] = s.wh_b[q, 2] * u - s.wh_a[q, 1] * out
            u = out
        s.wh_sum[axis] += u * u


@njit(cache=True, nogil=True)
def skip_samples(
    s: Record, missing: int, slot: int, out: NDArray[Any], n_out: int, frame: int
) -> int:
    """Advance over samples that never came: time, window and oscillator go on, nothing is added."""
    while missing > 0:
        step = min(missing, s.hop_samples - s.hop_position)
        angle = math.pi * s.f_hz / s.rate_hz * step
        c, d = math.cos(angle), -math.sin(angle)
        s.phase_re, s.phase_im = s.phase_re * c - s.phase_im * d, s.phase_re * d + s.phase_im * c
        s.hop_position += step
        s.anchor_samples += step
        missing -= step
        if s.hop_position == s.hop_samples:
            n_out = _close_hop(s, slot, out, n_out, frame)
    _set_window(s)
    return n_out


@njit(cache=True, nogil=True)
def _window_sums(s: Record, sums: NDArray[np.float64]) -> float:
    """The Hann window's sums over the last two hops; returns the share of its weight present."""
    if s.has_previous:
        for j in range(N_SUMS):
            sums[j] = s.previous_a[j] + s.b[j] - s.a[j]
        return sums[_W] / s.hop_samples
    for j in range(N_SUMS):  # alone: the plain hop, better than nothing
        sums[j] = s.b[j]
    return 0.5 * sums[_W] / s.hop_samples


@njit(cache=True, nogil=True)
def _fill_moments(sums: NDArray[np.float64], row: Record) -> None:
    w = max(sums[_W], 1e-9)
    mz, mi = sums[_Z1] / w, sums[_I1] / w
    m2 = max(sums[_Z2] / w - mz * mz, 0.0)
    m3 = sums[_Z3] / w - 3.0 * mz * sums[_Z2] / w + 2.0 * mz**3
    m4 = sums[_Z4] / w - 4.0 * mz * sums[_Z3] / w + 6.0 * mz * mz * sums[_Z2] / w - 3.0 * mz**4
    row.mean[0], row.mean[1] = sums[_X1] / w, sums[_Y1] / w
    row.mean[2], row.mean[3] = mz, mi
    row.sd[0] = math.sqrt(max(sums[_X2] / w - row.mean[0] ** 2, 0.0))
    row.sd[1] = math.sqrt(max(sums[_Y2] / w - row.mean[1] ** 2, 0.0))
    row.sd[2] = math.sqrt(m2)
    row.sd[3] = math.sqrt(max(sums[_I2] / w - mi * mi, 0.0))
    floor = max(m2, 1e-8)  # (0.1 mg)²: below any sensor's noise, only there to divide by
    row.z_skewness = m3 / floor**1.5
    row.z_kurtosis = m4 / floor**2
    for h in range(len(ORDERS)):
        row.z_order[h] = complex(sums[_ZC + 2 * h], sums[_ZC + 2 * h + 1]) * 2.0 / w
    for h in range(2):
        row.i_order[h] = complex(sums[_IC + 2 * h], sums[_IC + 2 * h + 1]) * 2.0 / w


@njit(cache=True, nogil=True)
def _coarse_error(s: Record) -> float:
    """Frequency error [Hz] within ±8 Hz, from the phase advance between the hop's quarters."""
    re = im = 0.0
    for q in range(1, N_QUARTERS):
        a_re, a_im = s.quarters[q - 1, 0], s.quarters[q - 1, 1]
        b_re, b_im = s.quarters[q, 0], s.quarters[q, 1]
        re += b_re * a_re + b_im * a_im
        im += b_im * a_re - b_re * a_im
    return math.atan2(im, re) * N_QUARTERS * s.rate_hz / (2.0 * math.pi * s.hop_samples)


@njit(cache=True, nogil=True)
def _harmonic_share(row: Record) -> float:
    """Share of z's variance that lies at multiples of half the oscillator's frequency."""
    power = 0.0
    for h in range(len(ORDERS)):
        power += 0.5 * (row.z_order[h].real ** 2 + row.z_order[h].imag ** 2)
    return power / max(row.sd[2] ** 2, 1e-8)


@njit(cache=True, nogil=True)
def _track_frequency(s: Record, row: Record) -> None:
    """Set the next hop's oscillator and the row's frequency.

    Two windows' centres are one hop apart, and that hop ran at `last_f_hz`: the advance of the phasor
    between them is that hop's error, unambiguous within ±2 Hz. A larger step (a gun that jumps in
    speed when pressed) shows first as a phasor that has faded, then in the coarse error.
    """
    z1, i1 = row.z_order[1], row.i_order[0]
    wz, wi = 1.0 / max(row.sd[2] ** 2, 1e-6), 1.0 / max(row.sd[3] ** 2, 1e-6)
    za = complex(s.last_z1[0], s.last_z1[1])
    ia = complex(s.last_i1[0], s.last_i1[1])
    advance = wz * z1 * za.conjugate() + wi * i1 * ia.conjugate()
    fine = math.atan2(advance.imag, advance.real) * s.rate_hz / (2.0 * math.pi * s.hop_samples)
    share = _harmonic_share(row)
    now = s.f_hz
    if share < LOST_SHARE and s.settled >= 1:
        coarse = now + _coarse_error(s)
        first_only = abs(z1) > 0.3 * row.sd[2]  # the coarse reading needs a first harmonic to read
        s.f_hz = coarse if first_only else s.set_hz
        s.settled = 0
    elif s.settled >= 1:
        s.f_hz = s.last_f_hz + fine
    low, high = (
        0.75 * s.set_hz,
        1.25 * s.set_hz,
    )  # engineering choice: guns sag or jump by under 20 %
    s.f_hz = min(max(s.f_hz, low), high)
    s.settled += 1
    row.f_hz = s.f_hz
    if s.settled >= SETTLED and share > 0.8:
        s.ratio = s.f_hz / s.set_hz
    s.last_f_hz = now
    s.last_z1[0], s.last_z1[1] = z1.real, z1.imag
    s.last_i1[0], s.last_i1[1] = i1.real, i1.imag


@njit(cache=True, nogil=True)
def _close_hop(s: Record, slot: int, out: NDArray[Any], n_out: int, frame: int) -> int:
    """Write the hop's row, move the oscillator, begin the next hop."""
    sums = np.empty(N_SUMS)
    present = _window_sums(s, sums)
    row = out[n_out]
    row.slot, row.frame = slot, frame
    row.t_ns = s.anchor_ns + int(round(s.anchor_samples * (1e9 / s.rate_hz)))
    row.rate_hz, row.set_hz, row.f_hz = s.rate_hz, s.set_hz, s.f_hz
    row.present = present
    _fill_moments(sums, row)
    z_max, z_min = s.z_max, s.z_min
    if s.has_previous:
        z_max, z_min = max(z_max, s.previous_z_max), min(z_min, s.previous_z_min)
    row.z_peak_up = max(z_max - row.mean[2], 0.0)
    row.z_peak_down = max(row.mean[2] - z_min, 0.0)
    seen = max(s.b[_W], 1.0)
    for axis in range(3):
        row.a_hw[axis] = math.sqrt(s.wh_sum[axis] / seen) * STANDARD_GRAVITY_M_S2
    row.clipped = s.clipped / seen
    row.stuck = 0
    for c in range(4):
        if s.longest_run[c] >= s.hop_samples:
            row.stuck |= 1 << c
    row.settled = s.settled
    if present >= MIN_PRESENT * (1.0 if s.has_previous else 0.5):
        if s.set_hz > 0.0:
            _track_frequency(s, row)
        s.previous_a[:] = s.a[:]
        s.has_previous = 1
    else:
        s.settled = 0
        s.has_previous = 0
    s.previous_z_max, s.previous_z_min = s.z_max, s.z_min
    start_hop(s)
    return n_out + 1


@njit(cache=True, nogil=True)
def advance(
    state: NDArray[Any],
    slots: NDArray[np.int32],
    starts: NDArray[np.int64],
    missing: NDArray[np.int64],
    t0_ns: NDArray[np.int64],
    rate_hz: NDArray[np.float64],
    set_hz: NDArray[np.float64],
    g_per_lsb: NDArray[np.float64],
    a_per_lsb: NDArray[np.float64],
    samples: NDArray[np.int16],
    out: NDArray[Any],
) -> int:
    """Advance the guns in `slots` by their frames, in order; returns how many HOP rows were written.

    `state` is SIGNAL; frame j has samples[starts[j]:starts[j + 1]] (int16, shape (n, 4)) and comes
    after `missing[j]` samples that never arrived; −1 says "begin anew" (first frame, new boot, a gap
    longer than two hops, a step of the clock). `t0_ns` re-anchors time then and when it has drifted
    from the count of samples by over 2 ms. `out` is HOP and large enough (see features.hops_bound).
    """
    n_out = 0
    v = np.zeros(N_SUMS)
    for j in range(slots.size):
        s = state[slots[j]]
        if missing[j] < 0:
            reset_signal(s, rate_hz[j], t0_ns[j], set_hz[j])
        else:
            if missing[j] > 0:
                n_out = skip_samples(s, missing[j], slots[j], out, n_out, j)
            _take_header(s, rate_hz[j], t0_ns[j], set_hz[j])
        first, last = starts[j], starts[j + 1]
        while first < last:
            stop = min(last, first + s.hop_samples - s.hop_position)
            _accumulate(s, samples, first, stop, g_per_lsb[j], a_per_lsb[j], v)
            s.anchor_samples += stop - first
            first = stop
            if s.hop_position == s.hop_samples:
                n_out = _close_hop(s, slots[j], out, n_out, j)
    return n_out


@njit(cache=True, nogil=True)
def _take_header(s: Record, rate_hz: float, t0_ns: int, set_hz: float) -> None:
    """Follow a frame's rate, clock and commanded speed."""
    predicted = s.anchor_ns + int(round(s.anchor_samples * (1e9 / s.rate_hz)))
    if rate_hz != s.rate_hz:
        s.rate_hz = rate_hz
        design_wh(rate_hz, s.wh_b, s.wh_a)
        s.anchor_ns, s.anchor_samples = t0_ns, 0
    elif abs(t0_ns - predicted) > 2_000_000:  # engineering choice: 1 % of a hop
        s.anchor_ns, s.anchor_samples = t0_ns, 0
    if set_hz != s.set_hz:
        s.set_hz = set_hz
        s.f_hz = set_hz * s.ratio
        s.settled = 0
