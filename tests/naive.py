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


def waveform_residuals(p: Floats, stroke: Stroke, points: int = 32) -> Floats:
    """The nine residuals for parameters p (…, 4), from the equations in pipeline.waveform.

    Curves over one stroke are drawn point by point and their harmonics are taken by FFT.
    """
    depth, damping = np.exp(p[..., 0]) - 1.0, np.exp(p[..., 1])
    force = np.exp(p[..., 3])
    k = np.arange(1, 4)
    z = stroke.z * np.exp(1j * k * p[..., 2, None])
    crank = np.array([1.0, stroke.rod, 0.0])
    ahead = swing_of(p, stroke, points)
    firm, loss_s, _, _, second_re, second_im, third_re, third_im = stroke.gun[:8]
    give = np.array([1.0, complex(second_re, second_im), complex(third_re, third_im)])
    # what squeezed the head is what moved the housing
    squeeze = (stroke.free - z) * give.conj() / np.maximum(np.abs(give) ** 2, 0.3**2) + k**2 * ahead
    way = (crank * stroke.swell - stroke.recoil * z) / k**2 + ahead - stroke.soft * squeeze
    push, crank_speed = hunt_crossley(depth, damping, way, crank / k**2, points)
    total = np.maximum(push.mean(axis=-1), 1e-12 / points)
    push_force = push * (force / total)[..., None]
    passed = stroke.passed * 2.0 * np.fft.fft(push_force, axis=-1)[..., 1:4] / points
    error = z - (stroke.free + give * (k**2 * ahead - passed))
    size = np.abs(stroke.z)
    sd = np.array([0.02 + 0.03 * size[0]] + 2 * [0.02 + 0.015 * (size[0] + size[1])])
    shape = np.stack((error.real / sd, error.imag / sd), axis=-1).reshape(*p.shape[:-1], 6)
    stiffness = (p[..., 3] - 1.5 * p[..., 0] + np.log(stroke.inertia_n / firm)) / 0.5
    loss = (p[..., 1] - np.log(loss_s * 2.0 * np.pi * stroke.f_hz)) / 0.5
    turn = np.exp(1j * k[:, None] * 2.0 * np.pi * np.arange(points) / points)
    work = np.maximum((np.real(passed @ turn) * crank_speed).mean(axis=-1), 1e-3)
    current = np.log(stroke.torque / work) / 0.15 if stroke.torque > 0 else np.zeros_like(work)
    return np.concatenate((shape, np.stack((stiffness, loss, current), axis=-1)), axis=-1)


def swing_of(p: Floats, stroke: Stroke, points: int) -> Complexes:
    """Harmonics 1 to 3 of how far the slider is ahead because its crank is: (…, 3), over r.

    To first order in the angle: the slider's speed times the angle, point by point.
    """
    k = np.arange(1, 3)
    extra = stroke.ripple * np.exp(1j * k * p[..., 2, None]) - stroke.free_ripple
    kappa = complex(stroke.gun[2], stroke.gun[3])
    angle = 1j * kappa / (2.0 * np.pi * stroke.f_hz * k) * extra
    theta = 2.0 * np.pi * np.arange(points) / points
    turn = np.exp(1j * k[:, None] * theta)
    slider_speed = -np.sin(theta) - 0.5 * stroke.rod * np.sin(2.0 * theta)
    way = np.real(angle @ turn) * slider_speed
    return np.asarray(2.0 * np.fft.fft(way, axis=-1)[..., 1:4] / points)


def hunt_crossley(
    depth: Floats, damping: Floats, way: Complexes, crank_way: Complexes, points: int
) -> tuple[Floats, Floats]:
    """Hunt and Crossley's force over one stroke (any scale), and the crank's speed.

    `way`: complex amplitudes of what the head moves into the tissue, by harmonic.
    """
    k = np.arange(1, 4)[:, None]
    turn = np.exp(1j * k * 2.0 * np.pi * np.arange(points) / points)
    x = depth[..., None] + np.real(way @ turn)
    speed = np.real((1j * k[:, 0] * way) @ turn)
    pushes = np.maximum(x, 0.0) ** 1.5 * (1.0 + damping[..., None] * speed)
    return np.maximum(pushes, 0.0), np.real((1j * k[:, 0] * crank_way) @ turn)
