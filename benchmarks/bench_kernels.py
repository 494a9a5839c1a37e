"""What a frame costs, step by step, beside a peer in vectorised numpy and scipy.

    pytest benchmarks/bench_kernels.py

A frame is 400 samples of four channels, 0.25 s at 1600 Hz, of a gun in contact: one frame in, one
hop out. Budget (docs, "Budget"): under 20 µs a frame in the kernels. Times say something on a quiet
machine only, and nothing is asserted of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from scipy import signal

from pipeline import contact, force, kernels, weighting, wire
from pipeline.features import GENERIC, FeatureExtractor, warm_up
from pipeline.model import DeviceId, Frame
from pipeline.stiffness import STIFFNESS_MODEL
from tests import signals

RATE_HZ = 1600.0
SAMPLES = 400
WINDOW = 2 * SAMPLES
ROUNDS, WARMUP_ROUNDS = 3000, 40
FLEET = 200


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    warm_up()


def stream(device: DeviceId = signals.GUN, seed: int = 0) -> Iterator[Frame]:
    """Frames without end: one second of contact, over and over, as numbers and time go on."""
    f_hz = signals.steady(40.0, RATE_HZ, 1.0)
    lsb = signals.percussion(f_hz, RATE_HZ, signals.CONTACT, current_a=1.9, seed=seed)
    second = signals.cut(lsb, [SAMPLES], RATE_HZ, 40.0, device)
    for seq in count():
        frame = second[seq % len(second)]
        yield replace(frame, seq=seq, t0_ns=signals.T0_NS + seq * 250_000_000)


def header(frame: Frame) -> NDArray[np.void]:
    return np.array([signals.header(frame, -1 if frame.seq == 0 else 0)], kernels.FRAME)


def measure(
    benchmark: BenchmarkFixture,
    function: Callable[..., object],
    arguments: Callable[[], tuple[object, ...]],
    rounds: int = ROUNDS,
) -> None:
    """Time `function` with fresh arguments each round; making them is not timed."""
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        function,
        setup=lambda: (arguments(), {}),
        rounds=rounds,
        warmup_rounds=WARMUP_ROUNDS,
    )


@pytest.mark.benchmark(group="samples to a hop: the kernel and its peer")
def test_kernels_advance(benchmark: BenchmarkFixture) -> None:
    state, frames, out = signals.fresh(), stream(), np.zeros(4, kernels.HOP)

    def arguments() -> tuple[object, ...]:
        frame = next(frames)
        return state, header(frame), frame.samples_lsb, out

    measure(benchmark, kernels.advance, arguments)


class Peer:
    """The same quantities of the same window by vectorised calls, the frequency given."""

    def __init__(self) -> None:
        b, a = np.zeros((weighting.SECTIONS, 3)), np.zeros((weighting.SECTIONS, 2))
        weighting.design_wh(RATE_HZ, b, a)
        self._sos = np.column_stack((b, np.ones(weighting.SECTIONS), a))
        self._filtered = np.zeros((weighting.SECTIONS, 2, 3))
        self._window = np.zeros((WINDOW, 4))
        self._weights = np.hanning(WINDOW)
        self._last_lsb = np.zeros(4, np.int16)

    def take(self, lsb: signals.Samples) -> tuple[object, ...]:
        scale = (signals.G_PER_LSB, signals.G_PER_LSB, signals.G_PER_LSB, signals.A_PER_LSB)
        v = np.concatenate((self._window[SAMPLES:], lsb * scale))
        self._window = v
        w = self._weights / self._weights.sum()
        mean = w @ v
        centred = v - mean
        sd = np.sqrt(w @ centred**2)
        skewness, kurtosis = (w @ centred[:, 2] ** k / sd[2] ** k for k in (3, 4))
        turn = np.exp(-2j * np.pi * 20.0 / RATE_HZ * np.arange(WINDOW))
        orders = [2.0 * np.sum(w * v[:, 2] * turn**k) for k in (1, 2, 3, 4, 6, 8)]
        orders += [2.0 * np.sum(w * v[:, 3] * turn**k) for k in (2, 4)]
        weighted, self._filtered = signal.sosfilt(
            self._sos, v[SAMPLES:, :3], axis=0, zi=self._filtered
        )
        a_hw = np.sqrt(np.mean(weighted**2, axis=0)) * kernels.STANDARD_GRAVITY_M_S2
        clipped = np.mean(np.abs(lsb[:, :3].astype(np.int32)).max(axis=1) >= 32767)
        stuck = np.all(np.diff(lsb, axis=0, prepend=self._last_lsb[None]) == 0, axis=0)
        self._last_lsb = lsb[-1]
        return mean, sd, skewness, kurtosis, orders, a_hw, clipped, stuck, v[:, 2].max()


@pytest.mark.benchmark(group="samples to a hop: the kernel and its peer")
def test_numpy_and_scipy_peer(benchmark: BenchmarkFixture) -> None:
    frames = stream()
    measure(benchmark, Peer().take, lambda: (next(frames).samples_lsb,))


@pytest.mark.benchmark(group="one frame of 400 samples")
def test_contact_interpret(benchmark: BenchmarkFixture) -> None:
    """Of a hop in contact: the inversion runs, from a warm start."""
    frames = stream()
    some = [next(frames) for _ in range(80)]
    hops = signals.run_kernel(signals.fresh(), some)
    units = np.zeros(1, force.UNIT)
    GENERIC.fill(units[0])
    state, turns = np.zeros(1, contact.CONTACT), count()

    def arguments() -> tuple[object, ...]:
        row = next(turns) % len(hops)
        out = np.zeros(1, contact.MEANING)
        return state, units, STIFFNESS_MODEL, hops[row : row + 1], out

    measure(benchmark, contact.interpret, arguments)
    if state["contact"][0] != 1:
        pytest.fail("the gun was not in contact: what was timed is not the inversion")


@pytest.mark.benchmark(group="one frame of 400 samples")
def test_wire_decode(benchmark: BenchmarkFixture) -> None:
    topic, payload = wire.encode(next(stream()))
    benchmark(wire.decode, topic, payload)


@pytest.mark.benchmark(group="one frame of 400 samples")
def test_extractor_of_one_gun(benchmark: BenchmarkFixture) -> None:
    """From a frame to Features, order and contact included."""
    extractor, frames = FeatureExtractor(), stream()
    measure(benchmark, extractor.advance, lambda: ([(0, next(frames))],))


@pytest.mark.benchmark(group="a frame of each of 200 guns: divide by 200")
def test_extractor_of_a_fleet(benchmark: BenchmarkFixture) -> None:
    extractor = FeatureExtractor()
    guns = [stream(DeviceId("clinic", f"gun-{k}"), seed=k) for k in range(FLEET)]
    measure(
        benchmark,
        extractor.advance,
        lambda: ([(0, next(gun)) for gun in guns],),
        rounds=ROUNDS // 50,
    )


@pytest.mark.benchmark(group="a frame of each of 200 guns: divide by 200")
def test_snapshot_of_a_fleet(benchmark: BenchmarkFixture) -> None:
    """Once a second, whatever came."""
    extractor = FeatureExtractor()
    guns = [stream(DeviceId("clinic", f"gun-{k}")) for k in range(FLEET)]
    extractor.advance([(0, next(gun)) for gun in guns])
    benchmark(extractor.snapshot)
