"""Percussion signals out of thin air, and frames of them: for tests and benchmarks.

Sums of harmonics with noise, not physics: what the kernels must read out of a signal is known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline import kernels
from pipeline.model import DeviceId, Frame

Samples = NDArray[np.int16]
Floats = NDArray[np.float64]

G_PER_LSB = float(np.float32(0.000488))  # ±16 g; as the f32 of the header holds it
A_PER_LSB = float(np.float32(0.001))
T0_NS = 1_790_000_000_000_000_000
GUN = DeviceId("clinic", "gun-1")
AIR: Mapping[float, complex] = {1.0: 2.6, 2.0: 0.5}  # g by order: a crank with a rod, free
CONTACT: Mapping[float, complex] = {0.5: 0.4, 1.0: 2.2 - 1.0j, 2.0: 1.1 + 0.8j, 3.0: 0.3j}
BOUNCING: Mapping[float, complex] = {0.5: 1.2, 1.0: 2.0, 1.5: 0.9j, 2.0: 1.5, 3.0: 1.0}
SECOND_HARMONIC: Mapping[float, complex] = {1.0: 0.6, 2.0: 2.0, 4.0: 0.5}


def percussion(
    f_hz: Floats,
    rate_hz: float,
    orders: Mapping[float, complex] = AIR,
    *,
    noise_g: float = 0.02,
    current_a: float | Floats = 0.8,
    seed: int = 0,
) -> Samples:
    """Samples of a gun that percusses at `f_hz` (by sample), hanging head down at a slant.

    `orders`: complex amplitude [g] on z by multiple of f; θ is 0 at the first sample.
    """
    rng = np.random.default_rng(seed)
    n = f_hz.size
    theta = 2.0 * np.pi * (np.cumsum(f_hz) - f_hz[0]) / rate_hz
    g = noise_g * rng.standard_normal((n, 3)) + (0.3, -0.2, -0.9)
    for order, amplitude in orders.items():
        g[:, 2] += np.real(amplitude * np.exp(1j * order * theta))
    g[:, 0] += 0.2 * np.cos(theta)
    current = current_a + 0.2 * np.cos(2.0 * theta) + 0.02 * rng.standard_normal(n)
    return to_lsb(np.column_stack((g, current)))


def to_lsb(values: Floats) -> Samples:
    """(n, 4) in g and A as int16, saturated."""
    lsb = np.round(values / (G_PER_LSB, G_PER_LSB, G_PER_LSB, A_PER_LSB))
    clipped: Samples = np.clip(lsb, -32768, 32767).astype(np.int16)
    return clipped


def steady(f_hz: float, rate_hz: float, seconds: float) -> Floats:
    return np.full(round(seconds * rate_hz), f_hz)


def cut(
    samples: Samples,
    lengths: Sequence[int],
    rate_hz: float,
    set_hz: float | Floats,
    device: DeviceId = GUN,
) -> list[Frame]:
    """Frames of these lengths, over and over; `set_hz` may go by sample."""
    frames: list[Frame] = []
    at = 0
    while at < len(samples):
        length = lengths[len(frames) % len(lengths)]
        frames.append(
            Frame(
                id=device,
                boot_id=7,
                seq=len(frames),
                t0_ns=T0_NS + round(at * 1e9 / rate_hz),
                rate_hz=rate_hz,
                set_percussion_hz=float(np.broadcast_to(set_hz, len(samples))[at]),
                accel_g_per_lsb=G_PER_LSB,
                current_a_per_lsb=A_PER_LSB,
                samples_lsb=samples[at : at + length],
            )
        )
        at += length
    return frames


def header(frame: Frame, missing: int, slot: int = 0) -> tuple[float, ...]:
    """A frame as kernels.FRAME has it."""
    return (
        slot,
        len(frame.samples_lsb),
        missing,
        frame.t0_ns,
        frame.rate_hz,
        frame.set_percussion_hz,
        frame.accel_g_per_lsb,
        frame.current_a_per_lsb,
        int(frame.flags),
    )


def run_kernel(
    state: NDArray[np.void], frames: Sequence[Frame], missing: Sequence[int] = ()
) -> NDArray[np.void]:
    """HOP rows of one gun's frames; without `missing`, the first of a fresh state begins anew."""
    if not missing:
        missing = [-1 if state["rate_hz"][0] == 0.0 else 0] + [0] * (len(frames) - 1)
    headers = np.array([header(f, m) for f, m in zip(frames, missing, strict=True)], kernels.FRAME)
    samples = np.concatenate([frame.samples_lsb for frame in frames])
    out = np.zeros(kernels.hops_bound(headers), kernels.HOP)
    return out[: kernels.advance(state, headers, samples, out)]


def fresh() -> NDArray[np.void]:
    return np.zeros(1, kernels.SIGNAL)
