"""What a frame costs, step by step, beside a peer in vectorised numpy and scipy.

    pytest benchmarks/bench_kernels.py --benchmark-only

`make bench` makes its table of the kernels from it (benchmarks/kernels.py). A frame is 400 samples
of four channels, 0.25 s at 1600 Hz, of a gun in contact: one frame in, one hop out. Times say
something on a quiet machine only, and nothing is asserted of them.
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

from benchmarks import c_twin
from pipeline import baseline, contact, kernels, weighting, wire
from pipeline.features import GENERIC, FeatureExtractor, warm_up
from pipeline.model import DeviceId, Frame
from pipeline.stiffness import STIFFNESS_MODEL
from tests import signals

RATE_HZ = 1600.0
SAMPLES = 400
WINDOW = 2 * SAMPLES
ROUNDS, WARMUP_ROUNDS = 2000, 12
BATCH, SETTLING = 8, 8
FLEETS = (1, 10, 200, 4000)
SNAPSHOT_GUNS = 200
FAR_BYTES = 256 * 1024**2


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
        warmup_rounds=min(WARMUP_ROUNDS, rounds),
    )


@pytest.mark.benchmark(group="samples to a hop, a frame of each of 8 guns")
@pytest.mark.parametrize("twin", [kernels.advance, c_twin.advance], ids=["kernels", "c"])
def test_advance(benchmark: BenchmarkFixture, twin: Callable[..., int]) -> None:
    """As a batch is run: one call, many guns; few enough that nothing else gets in between."""
    guns = [stream(seed=k) for k in range(BATCH)]
    state, out = np.zeros(BATCH, kernels.SIGNAL), np.zeros(2 * BATCH, kernels.HOP)

    def arguments() -> tuple[NDArray[np.void], NDArray[np.void], NDArray[np.int16]]:
        frames = [next(gun) for gun in guns]
        rows = [signals.header(f, -1 if f.seq == 0 else 0, k) for k, f in enumerate(frames)]
        samples = np.concatenate([f.samples_lsb for f in frames])
        return state, np.array(rows, kernels.FRAME), samples

    for _ in range(SETTLING):  # with the kernel: the twin follows a frequency, and finds none
        kernels.advance(*arguments(), out)
    c_twin.check(*arguments())
    measure(benchmark, twin, lambda: (*arguments(), out))
    benchmark.extra_info["frames"] = BATCH


@pytest.mark.benchmark(group="samples to a hop, a frame of each of 8 guns")
def test_memory(benchmark: BenchmarkFixture) -> None:
    """What a frame brings through memory, read and written again: samples, state, hop."""
    size = BATCH * (8 * SAMPLES + kernels.SIGNAL.itemsize + kernels.HOP.itemsize)
    far = np.ones((FAR_BYTES // size, size), np.uint8)  # more than any cache holds
    out, turns = far.copy(), count()  # both touched: a page that is not there yet costs more

    def arguments() -> tuple[object, ...]:
        row = next(turns) % len(far)
        return out[row], far[row]

    measure(benchmark, np.copyto, arguments)
    benchmark.extra_info["frames"] = BATCH


class Peer:
    """The same quantities of the same window by vectorised calls, the frequency by Welch's method.

    Its frequency is as fine as its bins, 2 Hz; a user who wants ours adds more.
    """

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
        kurtosis = w @ centred[:, 2] ** 4 / sd[2] ** 4
        hz, power = signal.welch(v[:, 2], RATE_HZ, nperseg=WINDOW)
        near = (hz >= 30.0) & (hz <= 50.0)  # about the commanded 40 Hz
        f_hz = hz[near][np.argmax(power[near])]
        turn = np.exp(-1j * np.pi * f_hz / RATE_HZ * np.arange(WINDOW))
        orders = [2.0 * np.sum(w * v[:, 2] * turn**k) for k in (1, 2, 3, 4, 6, 8)]
        orders += [2.0 * np.sum(w * v[:, 3] * turn**k) for k in (2, 4)]
        weighted, self._filtered = signal.sosfilt(
            self._sos, v[SAMPLES:, :3], axis=0, zi=self._filtered
        )
        a_hw = np.sqrt(np.mean(weighted**2, axis=0)) * kernels.STANDARD_GRAVITY_M_S2
        clipped = np.mean(np.abs(lsb[:, :3].astype(np.int32)).max(axis=1) >= 32767)
        stuck = np.all(np.diff(lsb, axis=0, prepend=self._last_lsb[None]) == 0, axis=0)
        self._last_lsb = lsb[-1]
        return f_hz, mean, sd, kurtosis, orders, a_hw, clipped, stuck, v[:, 2].max()


@pytest.mark.benchmark(group="samples to a hop, one gun")
def test_numpy_and_scipy_peer(benchmark: BenchmarkFixture) -> None:
    frames = stream()
    measure(benchmark, Peer().take, lambda: (next(frames).samples_lsb,))


@pytest.mark.benchmark(group="one frame of 400 samples")
def test_contact_interpret(benchmark: BenchmarkFixture) -> None:
    """Of a hop in contact: the inversion runs, from a warm start."""
    frames = stream()
    some = [next(frames) for _ in range(80)]
    hops = signals.run_kernel(signals.fresh(), some)
    units = np.zeros(1, baseline.UNIT)
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


@pytest.mark.benchmark(group="frame to Features, order and contact included; a call of many guns")
@pytest.mark.parametrize("guns", FLEETS)
def test_extractor(benchmark: BenchmarkFixture, guns: int) -> None:
    """A frame of each gun in one call; all guns hear the same second, each for itself."""
    extractor, frames = FeatureExtractor(), stream()
    ids = [DeviceId("clinic", f"gun-{k}") for k in range(guns)]

    def arguments() -> tuple[object, ...]:
        frame = next(frames)
        return ([(0, replace(frame, id=id_)) for id_ in ids],)

    measure(benchmark, extractor.advance, arguments, rounds=max(ROUNDS // (10 * guns), 8))
    benchmark.extra_info["frames"] = guns


@pytest.mark.benchmark(group="snapshot of 200 guns")
def test_snapshot_of_a_fleet(benchmark: BenchmarkFixture) -> None:
    """Once a second, whatever came."""
    extractor = FeatureExtractor()
    guns = [stream(DeviceId("clinic", f"gun-{k}")) for k in range(SNAPSHOT_GUNS)]
    extractor.advance([(0, next(gun)) for gun in guns])
    benchmark(extractor.snapshot)
