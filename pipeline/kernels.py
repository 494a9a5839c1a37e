"""From samples to hops: one pass over the samples of many frames of many guns.

Numba kernels and the SIGNAL state they carry; numpy and numba only, no I/O, no clock. Every 0.25 s
of samples (a hop) one row says what the signals did over the last two hops, seen through a Hann
window made of two halves: each hop keeps the sums B of v and A of w·v, w rising as sin² over the
hop; the window that ends with hop k is then A of hop k−1 plus B − A of hop k. Sums run strictly
sample by sample, so to the last bit the rows do not depend on how the samples were cut into frames.

The lock-in follows the percussion frequency (pipeline.tracking) with an oscillator that never jumps
in phase.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.tracking import N_BLOCKS, track
from pipeline.weighting import SECTIONS, design_wh

Record: TypeAlias = Any  # one element of a structured array; numba gives its fields as attributes

HOP_S = 0.25  # contract, detection.md: "features, every hop of 0.25 s"
STANDARD_GRAVITY_M_S2 = 9.80665  # exact, 3rd CGPM 1901
N_SUMS = 32  # whole vectors of four; index 11 is not used
# indices into the running sums
_W, _Z1, _Z2, _Z3, _Z4, _X1, _X2, _Y1, _Y2, _I1, _I2 = range(11)
_ZC = 12  # z·cos and −z·sin of orders ½, 1, 1½, 2, 3, 4: 12 sums
_IC = 24  # current·cos and −current·sin of orders ½, 1, 1½, 2: 8 sums
ORDERS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)  # multiples of the percussion frequency in HOP["z_order"]
CURRENT_ORDERS = ORDERS[:4]  # and in HOP["i_order"]
MIN_SAMPLES = 8  # a hop; more at every rate of the contract
# Smallest share of a window's weight that must be present: below, half of the strokes are guessed.
MIN_PRESENT = 0.5  # engineering choice
# How far the frames' clock may drift from the count of samples before time is anchored again.
DRIFT_NS = 2_000_000  # engineering choice: 1 % of a hop
# A measured rate wanders by tenths of a percent; a larger step is another sampling, and the window,
# the filters and the count of samples begin anew. Engineering choice.
RATE_STEP = 0.05

SIGNAL = np.dtype(
    [
        ("rate_hz", "f8"),
        ("hop_samples", "i4"),  # length of the running hop
        ("hop_position", "i4"),  # samples of it already seen or known to be missing
        ("has_previous", "i4"),  # the previous hop's A is usable
        ("settled", "i4"),  # windows since the oscillator last jumped
        ("anchor_ns", "i8"),  # time of sample `0` since the last change of rate or clock
        ("anchor_samples", "i8"),  # samples since the anchor
        ("set_hz", "f8"),
        ("f_hz", "f8"),  # the oscillator's frequency
        ("last_f_hz", "f8"),  # the same in the previous hop
        ("ratio", "f8"),  # true over commanded percussion frequency, as last tracked
        ("phase_re", "f8"),  # exp(−iθ/2)
        ("phase_im", "f8"),
        ("window_re", "f8"),  # exp(iπ(position + ½)/hop_samples): the window's angle
        ("window_im", "f8"),
        ("b", "f8", N_SUMS),
        ("a", "f8", N_SUMS),
        ("previous_a", "f8", N_SUMS),
        # z·exp(−iθ) and z·exp(−2iθ), two numbers each, by block of the previous and running hop,
        # in least significant bits: the g of any scale would not fit
        ("blocks", "f4", (2, N_BLOCKS, 4)),
        ("g_per_lsb", "f8"),
        ("last_z1", "f8", 2),  # the previous window's phasors
        ("last_i1", "f8", 2),
        ("z_max", "f8"),
        ("z_min", "f8"),
        ("previous_z_max", "f8"),
        ("previous_z_min", "f8"),
        ("clipped", "i4"),
        ("flags", "i4"),  # of the frames in the running hop, together
        ("last_lsb", "i4", 4),
        ("run", "i4", 4),  # for how many samples of the hop each channel has repeated its value
        ("wh_b", "f8", (SECTIONS, 3)),
        ("wh_a", "f8", (SECTIONS, 2)),
        ("wh_state", "f8", (3, SECTIONS, 2)),
        ("wh_sum", "f8", 3),
    ],
    align=True,
)

FRAME = np.dtype(
    [
        ("slot", "i4"),
        ("samples", "i4"),
        ("missing", "i8"),  # samples that never came before it; −1: too much, begin anew
        ("t0_ns", "i8"),
        ("rate_hz", "f8"),
        ("set_hz", "f8"),
        ("g_per_lsb", "f8"),
        ("a_per_lsb", "f8"),
        ("flags", "i4"),
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
        ("i_order", "c16", len(CURRENT_ORDERS)),  # the same of the motor current [A]
        ("mean", "f8", 4),  # x, y, z [g], current [A]
        ("sd", "f8", 4),
        ("z_kurtosis", "f8"),
        ("z_peak_up", "f8"),
        ("z_peak_down", "f8"),
        ("a_hw", "f8", 3),  # Wh-weighted RMS [m/s²] over the hop
        ("clipped", "f8"),  # share of the hop's samples at the end of the scale
        ("flags", "i4"),  # of the frames that had samples in the hop, together
        ("stuck", "i4"),  # bit per channel that repeated one value through the whole hop
        ("settled", "i4"),
    ],
    align=True,
)


@njit(cache=True, nogil=True)
def advance(
    state: NDArray[np.void],
    frames: NDArray[np.void],
    samples: NDArray[np.int16],
    out: NDArray[np.void],
) -> int:
    """Advance the guns of `frames` (FRAME), in order; returns how many rows of `out` were written.

    `state` is SIGNAL by slot; `samples` (int16, shape (n, 4)) holds the frames' samples one after
    the other. `out` is HOP and large enough (see hops_bound).
    """
    written = np.zeros(1, np.int64)
    v = np.zeros(N_SUMS)
    first = 0
    for j in range(frames.size):
        frame = frames[j]
        s = state[frame.slot]
        if frame.missing < 0 or abs(frame.rate_hz - s.rate_hz) > RATE_STEP * s.rate_hz:
            _begin(s, frame)
        elif frame.missing > 0:
            _skip(s, frame.missing, frame.slot, j, out, written)
        _take_header(s, frame)
        last = first + frame.samples
        while first < last:
            stop = min(last, first + s.hop_samples - s.hop_position)
            _accumulate(s, samples[first:stop], frame.g_per_lsb, frame.a_per_lsb, v)
            s.anchor_samples += stop - first
            s.flags |= frame.flags
            first = stop
            if s.hop_position == s.hop_samples:
                _close_hop(s, frame.slot, j, out, written)
    return int(written[0])


def hops_bound(frames: NDArray[np.void]) -> int:
    """No more hops than this can end with these frames."""
    shortest = np.maximum((1.0 - 2.0 * RATE_STEP) * HOP_S * frames["rate_hz"], MIN_SAMPLES)
    samples = frames["samples"] + np.maximum(frames["missing"], 0)
    return int(np.sum(samples // shortest + 1))


@njit(cache=True, nogil=True)
def _begin(s: Record, frame: Record) -> None:
    """Begin anew: first frame, another boot, a gap too long to bridge, another rate."""
    if s.ratio <= 0.0:
        s.ratio = 1.0
    s.rate_hz = 0.0  # unlike any frame's
    s.set_hz = -1.0
    for axis in range(3):
        for q in range(SECTIONS):
            s.wh_state[axis, q, 0] = s.wh_state[axis, q, 1] = 0.0
    s.phase_re, s.phase_im = 1.0, 0.0
    s.has_previous = 0
    _take_header(s, frame)
    s.last_f_hz = s.f_hz
    _start_hop(s)


@njit(cache=True, nogil=True)
def _take_header(s: Record, frame: Record) -> None:
    """Follow a frame's rate, clock and commanded speed."""
    if frame.rate_hz != s.rate_hz:
        s.rate_hz = frame.rate_hz
        design_wh(s.rate_hz, s.wh_b, s.wh_a)
        s.anchor_ns, s.anchor_samples = frame.t0_ns, 0
    elif abs(frame.t0_ns - _now_ns(s)) > DRIFT_NS:
        s.anchor_ns, s.anchor_samples = frame.t0_ns, 0
    if frame.set_hz != s.set_hz:
        s.set_hz = frame.set_hz
        s.f_hz = s.set_hz * s.ratio
        s.settled = 0


@njit(cache=True, nogil=True)
def _now_ns(s: Record) -> int:
    """Time of the next sample, by count from the anchor."""
    return int(s.anchor_ns + round(s.anchor_samples * (1e9 / s.rate_hz)))


@njit(cache=True, nogil=True)
def _start_hop(s: Record) -> None:
    """Clear the running sums and lay out the next hop at the present rate."""
    s.hop_samples = max(round(HOP_S * s.rate_hz), MIN_SAMPLES)
    s.hop_position = 0
    for j in range(N_SUMS):
        s.b[j] = s.a[j] = 0.0
    for k in range(N_BLOCKS):
        for j in range(4):
            s.blocks[0, k, j], s.blocks[1, k, j] = s.blocks[1, k, j], 0.0
    s.z_max, s.z_min = -1e300, 1e300
    s.clipped = 0
    s.flags = 0
    for c in range(4):
        s.run[c] = 0
    for axis in range(3):
        s.wh_sum[axis] = 0.0
    norm = 1.0 / math.hypot(s.phase_re, s.phase_im)  # rounding must not let the oscillator grow
    s.phase_re *= norm
    s.phase_im *= norm
    _set_window(s)


@njit(cache=True, nogil=True)
def _set_window(s: Record) -> None:
    angle = math.pi * (s.hop_position + 0.5) / s.hop_samples
    s.window_re, s.window_im = math.cos(angle), math.sin(angle)


@njit(cache=True, nogil=True)
def _accumulate(
    s: Record,
    samples: NDArray[np.int16],
    g_per_lsb: float,
    a_per_lsb: float,
    v: NDArray[np.float64],
) -> None:
    """Add samples, which all belong to the running hop, to its sums."""
    n = s.hop_samples
    half = math.pi * s.f_hz / s.rate_hz
    step_re, step_im = math.cos(half), -math.sin(half)
    p_re, p_im = s.phase_re, s.phase_im
    turn_re, turn_im = math.cos(math.pi / n), math.sin(math.pi / n)
    w_re, w_im = s.window_re, s.window_im
    z_max, z_min = s.z_max, s.z_min
    s.g_per_lsb, lsb_per_g = g_per_lsb, 1.0 / g_per_lsb
    block = s.hop_position * N_BLOCKS // n
    into = s.hop_position * N_BLOCKS - block * n  # the rest of that division
    for k in range(samples.shape[0]):
        x, y = samples[k, 0] * g_per_lsb, samples[k, 1] * g_per_lsb
        z, i = samples[k, 2] * g_per_lsb, samples[k, 3] * a_per_lsb
        _fill_terms(x, y, z, i, p_re, p_im, v)
        for j in range(2):
            s.blocks[1, block, j] += v[_ZC + 2 + j] * lsb_per_g
            s.blocks[1, block, 2 + j] += v[_ZC + 6 + j] * lsb_per_g
        into += N_BLOCKS
        while into >= n:
            block, into = block + 1, into - n
        z_max, z_min = max(z_max, z), min(z_min, z)
        _watch_sensor(s, samples, k)
        _weigh(s, x, y, z)
        w = 0.5 - 0.5 * w_re
        # Last: what was just stored as single numbers cannot be loaded as vectors for some cycles.
        for j in range(N_SUMS):
            s.b[j] += v[j]
            s.a[j] += w * v[j]
        p_re, p_im = p_re * step_re - p_im * step_im, p_re * step_im + p_im * step_re
        w_re, w_im = w_re * turn_re - w_im * turn_im, w_re * turn_im + w_im * turn_re
    s.hop_position += samples.shape[0]
    s.window_re, s.window_im = w_re, w_im
    s.phase_re, s.phase_im = p_re, p_im
    s.z_max, s.z_min = z_max, z_min


@njit(cache=True, nogil=True, inline="always")
def _fill_terms(
    x: float, y: float, z: float, i: float, p_re: float, p_im: float, v: NDArray[np.float64]
) -> None:
    """The N_SUMS terms of one sample; p is exp(−iθ/2), from which the orders 1 to 4 follow."""
    c1, s1 = p_re * p_re - p_im * p_im, 2.0 * p_re * p_im
    c2, s2 = c1 * c1 - s1 * s1, 2.0 * c1 * s1
    c3, s3 = c2 * c1 - s2 * s1, c2 * s1 + s2 * c1
    zz = z * z
    v[_W], v[_Z1], v[_Z2], v[_Z3], v[_Z4] = 1.0, z, zz, zz * z, zz * zz
    v[_X1], v[_X2], v[_Y1], v[_Y2] = x, x * x, y, y * y
    v[_I1], v[_I2] = i, i * i
    c1h, s1h = c1 * p_re - s1 * p_im, c1 * p_im + s1 * p_re
    v[_ZC], v[_ZC + 1] = z * p_re, z * p_im
    v[_ZC + 2], v[_ZC + 3] = z * c1, z * s1
    v[_ZC + 4], v[_ZC + 5] = z * c1h, z * s1h
    v[_ZC + 6], v[_ZC + 7] = z * c2, z * s2
    v[_ZC + 8], v[_ZC + 9] = z * c3, z * s3
    v[_ZC + 10], v[_ZC + 11] = z * (c2 * c2 - s2 * s2), z * (2.0 * c2 * s2)
    v[_IC], v[_IC + 1] = i * p_re, i * p_im
    v[_IC + 2], v[_IC + 3] = i * c1, i * s1
    v[_IC + 4], v[_IC + 5] = i * c1h, i * s1h
    v[_IC + 6], v[_IC + 7] = i * c2, i * s2


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
    if at_end:
        s.clipped += 1


@njit(cache=True, nogil=True, inline="always")
def _weigh(s: Record, x: float, y: float, z: float) -> None:
    """Wh-weighted squares by axis: biquads in transposed direct form II."""
    for axis in range(3):
        u = (x, y, z)[axis]
        for q in range(SECTIONS):
            out = s.wh_b[q, 0] * u + s.wh_state[axis, q, 0]
            s.wh_state[axis, q, 0] = s.wh_b[q, 1] * u - s.wh_a[q, 0] * out + s.wh_state[axis, q, 1]
            s.wh_state[axis, q, 1] = s.wh_b[q, 2] * u - s.wh_a[q, 1] * out
            u = out
        s.wh_sum[axis] += u * u


@njit(cache=True, nogil=True)
def _skip(
    s: Record,
    missing: int,
    slot: int,
    frame: int,
    out: NDArray[np.void],
    written: NDArray[np.int64],
) -> None:
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
            _close_hop(s, slot, frame, out, written)
    _set_window(s)


@njit(cache=True, nogil=True)
def _close_hop(
    s: Record, slot: int, frame: int, out: NDArray[np.void], written: NDArray[np.int64]
) -> None:
    """Write the hop's row, move the oscillator, begin the next hop."""
    sums = np.empty(N_SUMS)
    present = _window_sums(s, sums)
    row = out[written[0]]
    written[0] += 1
    row.slot, row.frame = slot, frame
    row.t_ns = _now_ns(s)
    row.rate_hz, row.set_hz, row.f_hz = s.rate_hz, s.set_hz, s.f_hz
    row.present, row.settled, row.flags = present, s.settled, s.flags
    _fill_moments(sums, row)
    _fill_extremes(s, row)
    if present >= MIN_PRESENT * (1.0 if s.has_previous else 0.5):
        if s.set_hz > 0.0:
            track(s, row)
        for j in range(N_SUMS):
            s.previous_a[j] = s.a[j]
        s.has_previous = 1
    else:
        s.settled = 0
        s.has_previous = 0
    s.previous_z_max, s.previous_z_min = s.z_max, s.z_min
    _start_hop(s)


@njit(cache=True, nogil=True)
def _window_sums(s: Record, sums: NDArray[np.float64]) -> float:
    """The Hann window's sums over the last two hops; returns the share of its weight present."""
    if s.has_previous:
        for j in range(N_SUMS):
            sums[j] = s.previous_a[j] + s.b[j] - s.a[j]
        return float(sums[_W] / s.hop_samples)
    for j in range(N_SUMS):  # alone: the plain hop, better than nothing
        sums[j] = s.b[j]
    return float(0.5 * sums[_W] / s.hop_samples)


@njit(cache=True, nogil=True)
def _fill_moments(sums: NDArray[np.float64], row: Record) -> None:
    """Means, deviations, shape and orders from the window's sums."""
    w = max(sums[_W], 1e-9)
    mz, mi = sums[_Z1] / w, sums[_I1] / w
    m2 = max(sums[_Z2] / w - mz * mz, 0.0)
    m4 = sums[_Z4] / w - 4.0 * mz * sums[_Z3] / w + 6.0 * mz * mz * sums[_Z2] / w - 3.0 * mz**4
    row.mean[0], row.mean[1] = sums[_X1] / w, sums[_Y1] / w
    row.mean[2], row.mean[3] = mz, mi
    row.sd[0] = math.sqrt(max(sums[_X2] / w - row.mean[0] ** 2, 0.0))
    row.sd[1] = math.sqrt(max(sums[_Y2] / w - row.mean[1] ** 2, 0.0))
    row.sd[2] = math.sqrt(m2)
    row.sd[3] = math.sqrt(max(sums[_I2] / w - mi * mi, 0.0))
    floor = max(m2, 1e-8)  # (0.1 mg)²: below any sensor's noise, only there to divide by
    row.z_kurtosis = m4 / floor**2
    for h in range(len(ORDERS)):
        row.z_order[h] = complex(sums[_ZC + 2 * h], sums[_ZC + 2 * h + 1]) * 2.0 / w
    for h in range(len(CURRENT_ORDERS)):
        row.i_order[h] = complex(sums[_IC + 2 * h], sums[_IC + 2 * h + 1]) * 2.0 / w


@njit(cache=True, nogil=True)
def _fill_extremes(s: Record, row: Record) -> None:
    """Peaks over the window; of the hop alone, weighted vibration and what the sensor did."""
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
        if s.run[c] >= seen and seen >= MIN_PRESENT * s.hop_samples:
            row.stuck |= 1 << c
