"""Slow and obvious twins of the kernels: numpy and scipy on whole signals, no state, no recursion.

Written from what the quantities mean, not from how the kernels compute them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from pipeline.waveform import Stroke

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

G_M_S2 = 9.80665


class Moments(NamedTuple):
    mean: float
    sd: float
    kurtosis: float


def hann(n: int) -> Floats:
    """A Hann window sampled at the middle of each of n samples."""
    return np.asarray(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2)


def moments(v: Floats, weights: Floats) -> Moments:
    """Weighted by the definition: central powers about the weighted mean."""
    mean = np.average(v, weights=weights)
    centred = v - mean
    variance = np.average(centred**2, weights=weights)
    fourth = np.average(centred**4, weights=weights)
    return Moments(
        float(mean),
        float(np.sqrt(variance)),
        float(fourth / variance**2),
    )


def phase(f_by_hop: Floats, hop_samples: int, rate_hz: float) -> Floats:
    """θ at each sample of an oscillator that has one frequency a hop and never jumps in phase."""
    turns = f_by_hop / rate_hz  # a sample; added up by hop, as ten thousand sums err by 1e-10
    begun = hop_samples * (np.cumsum(turns) - turns)
    by_hop = begun[:, None] + turns[:, None] * np.arange(hop_samples)
    return np.asarray(2.0 * np.pi * by_hop.ravel(), np.float64)


def lock_in(v: Floats, theta: Floats, order: float, weights: Floats) -> complex:
    """One-sided amplitude and phase of v at a multiple of the oscillator."""
    return complex(2.0 * np.average(v * np.exp(-1j * order * theta), weights=weights))


def clipped_share(lsb: NDArray[np.int16]) -> float:
    """Share of samples in which an accelerometer axis sits at an end of its scale."""
    at_end = np.isin(lsb[:, :3], (-32768, -32767, 32767)).any(axis=1)
    return float(at_end.mean())


def stuck_channels(lsb: NDArray[np.int16]) -> int:
    """A bit for each channel that never changes."""
    return sum(1 << c for c in range(4) if np.unique(lsb[:, c]).size == 1)


def wh_zpk() -> tuple[Complexes, Complexes, float]:
    """Zeros, poles and gain of Wh: equations (1) to (4) of ISO 8041-1:2017."""
    w1, w2, w4 = 2 * np.pi * 10**0.8, 2 * np.pi * 10**3.1, 100.0
    pairs = ((w1, 1 / np.sqrt(2)), (w2, 1 / np.sqrt(2)), (w4, 0.64))
    poles = np.concatenate([np.roots([1.0, w / q, w * w]) for w, q in pairs])
    return np.array([0.0, 0.0, -w4], np.complex128), poles, float(w2**2 * w4)


def response(zeros: Complexes, poles: Complexes, gain: float, s: Complexes) -> Complexes:
    """A transfer function at the points s."""
    above, below = (np.prod(s[:, None] - roots, axis=1) for roots in (zeros, poles))
    return np.asarray(gain * above / below)


def wh(f_hz: Floats) -> Complexes:
    """Wh(f), complex."""
    return response(*wh_zpk(), np.asarray(2j * np.pi * f_hz, np.complex128))


def weighted(g: Floats, rate_hz: float) -> Floats:
    """The Wh-weighted acceleration [m/s²] of a whole signal, by its spectrum."""
    padded = np.concatenate((np.zeros(g.size), g, np.zeros(g.size)))
    factors = wh(np.asarray(np.fft.rfftfreq(padded.size, 1.0 / rate_hz), np.float64))
    spectrum = np.asarray(np.fft.rfft(padded), np.complex128) * factors
    return np.asarray(np.fft.irfft(spectrum, padded.size)[g.size : 2 * g.size] * G_M_S2)


def percussion_hz(z: Floats, rate_hz: float, set_hz: float) -> float:
    """The strongest comb of first and second harmonic within a quarter of the commanded speed."""
    n = 1 << 17
    f, power = signal.periodogram(z, rate_hz, window="hann", nfft=n)
    candidates = f[(f > 0.75 * set_hz) & (f < 1.25 * set_hz)]
    comb = np.interp(candidates, f, power) + np.interp(2.0 * candidates, f, power)
    return float(candidates[np.argmax(comb)])


ORDERS = np.array([0.5, 1.0, 1.5, 2.0, 3.0])
HARMONICS = np.arange(1, 4)


def waveform_residuals(p: Floats, stroke: Stroke, points: int = 32) -> Floats:
    """The residuals for parameters p (…, 4), from the equations in pipeline.waveform.

    Curves over two strokes are drawn point by point and their orders are taken by FFT.
    """
    depth, damping = np.exp(p[..., 0]) - 1.0, np.exp(p[..., 1])
    k = ORDERS
    bounces = stroke.strokes == 2
    whole = np.array([bounces, True, bounces, True, True])
    z = np.array(stroke.z) * np.exp(1j * k * p[..., 2, None])
    crank = np.array([0.0, 1.0, 0.0, stroke.rod, 0.0])
    ahead = swing_of(p, stroke, points)
    firm, loss_s, _, _, second_re, second_im, third_re, third_im = stroke.gun[:8]
    second = complex(second_re, second_im)
    between = 1.0 + (second - 1.0) * np.log(1.5) / np.log(2.0)
    give = np.array([1.0, 1.0, between, second, complex(third_re, third_im)])
    # what squeezed the head is what moved the housing
    squeeze = (np.array(stroke.free) - z) * give.conj() / np.maximum(np.abs(give) ** 2, 0.3**2)
    squeeze = squeeze + k**2 * ahead
    way = (crank * np.array(stroke.swell) - stroke.recoil * z) / k**2 + ahead
    way = whole * (way - np.array(stroke.soft) * squeeze)
    push, crank_speed = hunt_crossley(depth, damping, way, crank / k**2, points, k)
    total = np.maximum(push.mean(axis=-1), 1e-12 / points)
    push_force = push * (np.exp(p[..., 3]) / total)[..., None]
    passed = np.array(stroke.passed) * amplitudes(push_force, k)
    error = z - (np.array(stroke.free) + give * (k**2 * ahead - passed))
    half, one, three, two, _ = np.abs(np.array(stroke.z))
    share = 0.03 + stroke.doubt
    sd2 = 0.02 + 0.5 * share * (one + two)
    sd = np.array([0.02 + share * one, sd2, sd2])
    stiffness = (p[..., 3] - 1.5 * p[..., 0] + np.log(stroke.inertia_n / firm)) / 0.5
    loss = (p[..., 1] - np.log(loss_s * 2.0 * np.pi * stroke.f_hz)) / 0.5
    turn = np.exp(1j * k[:, None] * angles(points, k))
    whole_only = np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    work = np.maximum((np.real((whole_only * passed) @ turn) * crank_speed).mean(axis=-1), 1e-3)
    current = np.log(stroke.torque / work) / 0.15 if stroke.torque > 0 else np.zeros_like(work)
    sd_half = 0.02 + 0.5 * (share + 0.1) * (one + np.array([half, three]))
    return np.concatenate(
        (
            _pairs(error[..., [1, 3, 4]] / sd),
            np.stack((stiffness, loss, current), axis=-1),
            _pairs(error[..., [0, 2]] / sd_half) * float(bounces),
        ),
        axis=-1,
    )


def _pairs(a: Complexes) -> Floats:
    """Real and imaginary parts in turn."""
    return np.stack((a.real, a.imag), axis=-1).reshape(*a.shape[:-1], -1)


def angles(points: int, orders: Floats) -> Floats:
    """Of the crank: `points` a stroke, over two strokes where orders are halves."""
    strokes = 2 if np.any(orders % 1.0) else 1
    return np.asarray(2.0 * np.pi * np.arange(strokes * points) / points)


def amplitudes(curve: Floats, orders: Floats) -> Complexes:
    """One-sided amplitudes of a curve (…, n) over one stroke, or two where orders are halves."""
    strokes = 2 if np.any(orders % 1.0) else 1
    spectrum = 2.0 * np.fft.fft(curve, axis=-1) / curve.shape[-1]
    return np.asarray(spectrum[..., (strokes * orders).astype(int)])


def swing_of(p: Floats, stroke: Stroke, points: int) -> Complexes:
    """By how much the slider is ahead because its crank is: (…, 5), over r.

    To first order in the angle: the slider's speed times the angle, point by point.
    """
    k = ORDERS[:4]
    extra = np.array(stroke.current[:4]) * np.exp(1j * k * p[..., 2, None])
    extra = extra - np.array(stroke.free_current[:4])
    kappa = complex(stroke.gun[2], stroke.gun[3])
    angle = 1j * kappa / (2.0 * np.pi * stroke.f_hz * k) * extra
    theta = angles(points, ORDERS)
    slider_speed = -np.sin(theta) - 0.5 * stroke.rod * np.sin(2.0 * theta)
    way = np.real(angle @ np.exp(1j * k[:, None] * theta)) * slider_speed
    return amplitudes(way, ORDERS)


def hunt_crossley(
    depth: Floats,
    damping: Floats,
    way: Complexes,
    crank_way: Complexes,
    points: int,
    orders: Floats = HARMONICS,
) -> tuple[Floats, Floats]:
    """Hunt and Crossley's force (any scale), and the crank's speed.

    `way`: complex amplitudes of what the head moves into the tissue, by order.
    """
    turn = np.exp(1j * orders[:, None] * angles(points, orders))
    x = depth[..., None] + np.real(way @ turn)
    speed = np.real((1j * orders * way) @ turn)
    pushes = np.maximum(x, 0.0) ** 1.5 * (1.0 + damping[..., None] * speed)
    return np.maximum(pushes, 0.0), np.real((1j * orders * crank_way) @ turn)
