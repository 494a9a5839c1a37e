"""The percussion frequency: followed by phase, and found again by a comb when it has jumped.

Numba kernels on the SIGNAL state and HOP rows of pipeline.kernels; numpy and numba only. The
lock-in multiplies z by an oscillator. While that is nearly right, the phase of what comes out turns
slowly, and how far it turned between two windows is the error. A gun that jumps in speed when
pressed leaves no phase to follow: what was multiplied is therefore also summed in short blocks,
from which the power at any frequency near by, and at its double (a second harmonic may dominate),
can still be computed.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

Record: TypeAlias = Any  # one element of a structured array, as in pipeline.kernels

# In a hop: 192 a second, at which gravity, at −2f after multiplication, is no alias of 2f.
N_BLOCKS = 48
# Windows until phase can be followed: one of mixed frequencies, a clean one, one to compare.
MEASURED = 3
SETTLED = 4  # one more, to be sure
# Of the variance of z and current, at f, below which their phase says nothing: noise of 400 samples
# has 0.01 there.
HEARD_SHARE = 0.02
LOST_SHARE = 0.4  # in air and on tissue over 0.8 of z's variance is harmonic; engineering choice
FOUND_SHARE = 0.2  # of z's variance at f and 2f: less is noise, or a motor that stands still
FAINT_G2 = 1e-3  # 45 mg: percussion has 1 to 8 g in air (contract), the leak of gravity under 1 mg
FOUND_GAIN = 2.0  # engineering choice: twice the power elsewhere is a jump, less is scatter
JUMP_HZ = 2.0  # half of the window's main lobe, and what phase can follow
# Of the commanded speed, how far guns jump or sag; engineering choice: all but weak motors by under
# 20 %. Those ran at 0.60 of their lowest speed under 97 N, with hardly any harmonics: further down
# than SURE_REACH the first alone is believed, as the others may be those of a faster gun, or of a
# head that bounces on every second or third stroke.
SURE_REACH, SAG_MOST = 0.25, 0.42
SEARCH_STEPS = 43  # over both: at 60 Hz one hertz, half of the main lobe at 2f
# By how much of a hop one half of the window lies beside its centre, times the half's share of the
# weight: the integral of t·cos²(πt/2) over a hop.
HALF_LEVER = 0.25 - 1.0 / math.pi**2


@njit(cache=True, nogil=True)
def track(s: Record, row: Record) -> None:
    """Set the next hop's oscillator and the row's frequency; `row` holds the window just closed.

    Two windows' centres are one hop apart, and that hop ran at `last_f_hz`: how far the phasor
    turns between them is that hop's error, unambiguous within ±2 Hz.
    """
    now, hop_s = s.f_hz, s.hop_samples / s.rate_hz
    # where the oscillator changed its frequency between the halves of the window, the phase leans
    lean = 2.0 * math.pi * HALF_LEVER * hop_s * (s.last_f_hz - now)
    upright = complex(math.cos(lean), -math.sin(lean))
    z1, i1 = row.z_order[1] * upright, row.i_order[1] * upright
    share = harmonic_share(row, _far_down(s, now))
    f = now
    if s.settled >= MEASURED and _loudness(row) > HEARD_SHARE:
        f = s.last_f_hz + _phase_advance(s, row, z1, i1) / (2.0 * math.pi * hop_s)
    jumped = False
    if s.settled < MEASURED or share < LOST_SHARE:
        found = _find(s, row.sd[2] ** 2)
        if found > 0.0:
            f, jumped = found, s.settled >= MEASURED or abs(found - now) > JUMP_HZ
    f = min(max(f, (1.0 - SAG_MOST) * s.set_hz), (1.0 + SURE_REACH) * s.set_hz)
    s.settled = 1 if jumped else s.settled + 1
    if s.settled >= SETTLED and share > 2.0 * LOST_SHARE:
        s.ratio = f / s.set_hz
    row.f_hz = f
    s.last_f_hz, s.f_hz = now, f
    s.last_z1[0], s.last_z1[1] = z1.real, z1.imag
    s.last_i1[0], s.last_i1[1] = i1.real, i1.imag


@njit(cache=True, nogil=True)
def _far_down(s: Record, f_hz: float) -> bool:
    """Whether a frequency is so low that its first harmonic alone is believed."""
    return bool(f_hz < (1.0 - SURE_REACH) * s.set_hz)


@njit(cache=True, nogil=True)
def harmonic_share(row: Record, first_alone: bool) -> float:
    """Share of z's variance that lies at the orders of the oscillator's frequency, or at it."""
    power = 0.0
    for h in range(1 if first_alone else 0, 2 if first_alone else row.z_order.size):
        power += 0.5 * (row.z_order[h].real ** 2 + row.z_order[h].imag ** 2)
    return float(power / max(row.sd[2] ** 2, 1e-8))


@njit(cache=True, nogil=True)
def _loudness(row: Record) -> float:
    """Share of the variance at f, of z or of the current, whichever has more."""
    z = 0.5 * abs(row.z_order[1]) ** 2 / max(row.sd[2] ** 2, 1e-6)
    i = 0.5 * abs(row.i_order[1]) ** 2 / max(row.sd[3] ** 2, 1e-6)
    return float(max(z, i))


@njit(cache=True, nogil=True)
def _phase_advance(s: Record, row: Record, z1: complex, i1: complex) -> float:
    """Angle from the last window's phasors to these, z and current each by its variance."""
    wz, wi = 1.0 / max(row.sd[2] ** 2, 1e-6), 1.0 / max(row.sd[3] ** 2, 1e-6)
    za, ia = complex(s.last_z1[0], -s.last_z1[1]), complex(s.last_i1[0], -s.last_i1[1])
    advance = wz * z1 * za + wi * i1 * ia
    return math.atan2(advance.imag, advance.real)


@njit(cache=True, nogil=True)
def _find(s: Record, variance: float) -> float:
    """The frequency within reach where a percussion stands out; 0 if none does.

    Nor does one while a motor that was just told another speed is on its way there.
    """
    if s.settled == 0 and s.has_previous:
        return 0.0
    y = np.zeros((2 * N_BLOCKS, 4))
    _lay_out(s, y)
    low, step = (1.0 - SAG_MOST) * s.set_hz, (SAG_MOST + SURE_REACH) * s.set_hz / SEARCH_STEPS
    best, power = 0, 0.0
    for k in range(1, SEARCH_STEPS):
        here = _comb_power(s, y, low + k * step)
        if here > power:
            best, power = k, here
    at = low + best * step
    before, after = _comb_power(s, y, at - step), _comb_power(s, y, at + step)
    bend = before - 2.0 * power + after
    share = LOST_SHARE if _far_down(s, at) else FOUND_SHARE
    if max(before, after) > power or bend >= 0.0 or power < max(share * variance, FAINT_G2):
        return 0.0  # the skirt of something out of reach, or noise
    at += 0.5 * step * (before - after) / bend
    is_near = s.settled < MEASURED and abs(at - s.f_hz) < JUMP_HZ
    if s.has_previous and not is_near and power < FOUND_GAIN * _comb_power(s, y, s.f_hz):
        return 0.0
    return float(at)


@njit(cache=True, nogil=True)
def _lay_out(s: Record, y: NDArray[np.float64]) -> None:
    """The blocks of the last two hops under a Hann window, as if all had been multiplied at f_hz.

    y: (2 · N_BLOCKS, 4), zero; by time. Where there is one hop only, the window is over that.
    """
    first = 0 if s.has_previous else N_BLOCKS
    width = 2 * N_BLOCKS - first
    # an amplitude is twice the mean, and the window's mean is a half
    scale = 4.0 * s.g_per_lsb * N_BLOCKS / (width * s.hop_samples)
    detuned = 2.0 * math.pi * (s.last_f_hz - s.f_hz) * s.hop_samples / (s.rate_hz * N_BLOCKS)
    for at in range(first, 2 * N_BLOCKS):
        w = scale * math.sin(math.pi * (at - first + 0.5) / width) ** 2
        hop, b = at // N_BLOCKS, at % N_BLOCKS
        angle = detuned * (b + 0.5 - N_BLOCKS) if hop == 0 else 0.0  # from the end of that hop
        for k in range(2):
            c, d = w * math.cos((k + 1) * angle), w * math.sin((k + 1) * angle)
            re, im = s.blocks[hop, b, 2 * k], s.blocks[hop, b, 2 * k + 1]
            y[at, 2 * k], y[at, 2 * k + 1] = re * c - im * d, re * d + im * c


@njit(cache=True, nogil=True)
def _comb_power(s: Record, y: NDArray[np.float64], f_hz: float) -> float:
    """Mean square of z [g²] at f and 2f; far down at f alone."""
    step = 2.0 * math.pi * (f_hz - s.f_hz) * s.hop_samples / (s.rate_hz * N_BLOCKS)
    turn_c, turn_d = math.cos(step), -math.sin(step)
    c, d = 1.0, 0.0
    re1 = im1 = re2 = im2 = 0.0
    for b in range(2 * N_BLOCKS):
        re1 += y[b, 0] * c - y[b, 1] * d
        im1 += y[b, 0] * d + y[b, 1] * c
        c2, d2 = c * c - d * d, 2.0 * c * d
        re2 += y[b, 2] * c2 - y[b, 3] * d2
        im2 += y[b, 2] * d2 + y[b, 3] * c2
        c, d = c * turn_c - d * turn_d, c * turn_d + d * turn_c
    first, second = re1 * re1 + im1 * im1, re2 * re2 + im2 * im2
    return 0.5 * (first if _far_down(s, f_hz) else first + second)
