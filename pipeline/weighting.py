"""Wh, the weighting of hand-arm vibration (ISO 5349-1, ISO 8041-1): exact, and as a digital filter.

Numba kernels; numpy and numba only, no state. A bilinear Wh is 22 % off at 400 Hz for 1600 Hz
sampling, so only its lower band limit is bilinear (there is no warping at 6.3 Hz). The upper band
limit and the a-v transition keep their exact poles (z = exp(sT)), and one numerator makes the whole
meet Wh at three frequencies.

What holds, for every rate from 100 to 6400 Hz (tests/test_weighting.py): within 2.6 % from 16 Hz to
0.4 of the rate, within 5 % from 6.3 Hz on. Above 0.4 of the rate nothing is claimed, and what
vibrates faster than half of it is not in the figure at all: at 100 Hz, every harmonic.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

SECTIONS = 3  # biquads: lower band limit, a-v transition, upper band limit
# ISO 8041-1:2017, Table 3, Wh
_LOWER_RAD_S: float = 2.0 * math.pi * 10.0**0.8
_UPPER_RAD_S: float = 2.0 * math.pi * 10.0**3.1
_TRANSITION_RAD_S = 100.0
_Q_BAND = 1.0 / math.sqrt(2.0)
_Q_TRANSITION = 0.64
# Where the digital filter meets Wh: the middle of the percussion band (contract, 20-60 Hz), or a
# tenth of a slow rate, and two shares of the rate that leave the least error between them.
_MEETS_HZ = 20.0
_MEETS_SHARES = (0.1, 0.2, 0.4)


@njit(cache=True, nogil=True)
def wh_squared(f_hz: float) -> float:
    """|Wh(f)|². ISO 8041-1:2017, Table 3 and equations (1) to (4)."""
    w = (2.0 * math.pi * f_hz) ** 2
    low, high, transition = _LOWER_RAD_S**2, _UPPER_RAD_S**2, _TRANSITION_RAD_S**2
    band = 1.0 / (_Q_BAND * _Q_BAND) - 2.0
    bend = 1.0 / (_Q_TRANSITION * _Q_TRANSITION) - 2.0
    lower_limit = w * w / (w * w + band * w * low + low * low)
    upper_limit = high * high / (w * w + band * w * high + high * high)
    step = (w + transition) * transition / (w * w + bend * w * transition + transition * transition)
    return lower_limit * upper_limit * step


@njit(cache=True, nogil=True)
def design_wh(rate_hz: float, b: NDArray[np.float64], a: NDArray[np.float64]) -> None:
    """Digital Wh for one sampling rate: b (SECTIONS, 3), a (SECTIONS, 2), unit leading a."""
    _lower_limit(rate_hz, b[0], a[0])
    _poles(_TRANSITION_RAD_S, _Q_TRANSITION, rate_hz, a[1])
    _poles(_UPPER_RAD_S, _Q_BAND, rate_hz, a[2])
    b[2, 0], b[2, 1], b[2, 2] = 1.0 + a[2, 0] + a[2, 1], 0.0, 0.0  # one at 0 Hz
    x = np.empty(3)
    y = np.empty(3)
    for k in range(3):
        f = _MEETS_SHARES[k] * rate_hz
        if k == 0:
            f = min(_MEETS_HZ, f)
        w = 2.0 * math.pi * f / rate_hz
        others = _power(b[0], a[0], w) * _power(b[2], a[2], w)
        x[k] = math.cos(w)
        y[k] = wh_squared(f) / others * _pole_power(a[1], w)
    _numerator(x, y, b[1])


@njit(cache=True, nogil=True)
def _lower_limit(rate_hz: float, b: NDArray[np.float64], a: NDArray[np.float64]) -> None:
    """Second-order high-pass by the bilinear transform, exact at its corner."""
    w = _LOWER_RAD_S
    k = w / math.tan(w / (2.0 * rate_hz))
    a0 = k * k + k * w / _Q_BAND + w * w
    b[0], b[1], b[2] = k * k / a0, -2.0 * k * k / a0, k * k / a0
    a[0] = 2.0 * (w * w - k * k) / a0
    a[1] = (k * k - k * w / _Q_BAND + w * w) / a0


@njit(cache=True, nogil=True)
def _poles(w: float, q: float, rate_hz: float, a: NDArray[np.float64]) -> None:
    """A resonance's own poles, sampled."""
    radius = math.exp(-w / (2.0 * q * rate_hz))
    angle = w * math.sqrt(1.0 - 1.0 / (4.0 * q * q)) / rate_hz
    a[0], a[1] = -2.0 * radius * math.cos(angle), radius * radius


@njit(cache=True, nogil=True)
def _pole_power(a: NDArray[np.float64], w: float) -> float:
    """|1 + a0 z⁻¹ + a1 z⁻²|² at the angle w."""
    re = 1.0 + a[0] * math.cos(w) + a[1] * math.cos(2.0 * w)
    im = a[0] * math.sin(w) + a[1] * math.sin(2.0 * w)
    return float(re * re + im * im)


@njit(cache=True, nogil=True)
def _power(b: NDArray[np.float64], a: NDArray[np.float64], w: float) -> float:
    """|H|² of one section at the angle w."""
    re = b[0] + b[1] * math.cos(w) + b[2] * math.cos(2.0 * w)
    im = b[1] * math.sin(w) + b[2] * math.sin(2.0 * w)
    return float(re * re + im * im) / _pole_power(a, w)


@njit(cache=True, nogil=True)
def _numerator(x: NDArray[np.float64], y: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    """Minimum-phase b (3,) with |b(w)|² = y where cos w = x: r0 + 2 r1 cos w + 2 r2 cos 2w.

    In cos w that is a parabola, found by divided differences.
    """
    slope = (y[1] - y[0]) / (x[1] - x[0])
    bend = ((y[2] - y[1]) / (x[2] - x[1]) - slope) / (x[2] - x[0])
    slope -= bend * (x[0] + x[1])
    at_zero = y[0] + slope * (1.0 - x[0]) + bend * (1.0 - x[0] * x[0])
    at_pi = y[0] - slope * (1.0 + x[0]) + bend * (1.0 - x[0] * x[0])
    at_zero, at_pi = math.sqrt(max(at_zero, 0.0)), math.sqrt(max(at_pi, 0.0))
    product = 0.25 * bend  # b0 · b2
    both = 0.5 * (at_zero + at_pi)  # b0 + b2
    b[0] = 0.5 * (both + math.sqrt(max(both * both - 4.0 * product, 0.0)))
    b[1] = 0.5 * (at_zero - at_pi)
    b[2] = product / b[0] if b[0] > 0.0 else 0.0
