"""What a frame, a second of the fleet, a snapshot and a checkpoint cost: `make bench`.

Figures, not verdicts: nothing fails here for being slow. `extra_info` says what one round holds.
The budget is in design: 2,000 guns are 8,000 frames a second, each of 400 samples.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pipeline.app import KnownGuns, make_monitor
from pipeline.config import Settings
from pipeline.features import warm_up
from pipeline.model import DeviceId, Frame, Received
from pipeline.monitor import Monitor
from pipeline.store import Store
from pipeline.wire import decode, encode

GUNS, FRAMES_A_SECOND, SAMPLES, RATE_HZ = 200, 4, 400, 1600.0
START_NS = 1_790_000_000_000_000_000


def frame(gun: int, seq: int) -> Frame:
    """A gun in contact at 40 Hz, as far as its cost goes: a tone, harmonics and noise."""
    rng = np.random.default_rng([gun, seq])
    phase = 2.0 * np.pi * 40.0 * (seq * SAMPLES + np.arange(SAMPLES)) / RATE_HZ
    accel = 3000.0 * np.cos(phase) + 900.0 * np.cos(2.0 * phase)
    samples = np.stack([0.1 * accel, 0.1 * accel, 2000.0 + accel, np.full(SAMPLES, 1500.0)], 1)
    samples += rng.normal(0.0, 20.0, samples.shape)
    t0_ns = START_NS + round(seq * SAMPLES / RATE_HZ * 1e9)
    id_ = DeviceId("bench", f"gun-{gun}")
    return Frame(id_, 1, seq, t0_ns, RATE_HZ, 40.0, 5e-4, 1e-3, samples.astype(np.int16))


def second_of_the_fleet(second: int) -> list[Received]:
    seqs = range(second * FRAMES_A_SECOND, (second + 1) * FRAMES_A_SECOND)
    return [
        Received(START_NS + round((seq + 1) * SAMPLES / RATE_HZ * 1e9), *encode(frame(gun, seq)))
        for seq in seqs
        for gun in range(GUNS)
    ]


@pytest.fixture
def monitor() -> Monitor:
    warm_up()
    return make_monitor(Settings(), KnownGuns())


def test_decode_a_frame(benchmark: BenchmarkFixture) -> None:
    topic, payload = encode(frame(0, 0))
    benchmark(decode, topic, payload)


def test_feed_a_second_of_the_fleet(benchmark: BenchmarkFixture, monitor: Monitor) -> None:
    seconds = count()
    benchmark.extra_info["frames"] = GUNS * FRAMES_A_SECOND

    def next_second() -> tuple[tuple[list[Received]], dict[str, object]]:
        return (second_of_the_fleet(next(seconds)),), {}

    benchmark.pedantic(monitor.feed, setup=next_second, rounds=8, warmup_rounds=2)


def test_snapshot(benchmark: BenchmarkFixture, monitor: Monitor) -> None:
    monitor.feed(second_of_the_fleet(0))
    benchmark.extra_info["guns"] = GUNS
    benchmark.extra_info["bytes"] = len(benchmark(monitor.snapshot))


def test_checkpoint(benchmark: BenchmarkFixture, monitor: Monitor, tmp_path: Path) -> None:
    seconds = count()
    benchmark.extra_info["guns"] = GUNS
    with Store.open(tmp_path) as store:

        def next_second() -> tuple[tuple[object, ...], dict[str, object]]:
            records = monitor.feed(second_of_the_fleet(next(seconds)))
            return (records, monitor.snapshot(), monitor.counters), {}

        benchmark.pedantic(store.checkpoint, setup=next_second, rounds=8, warmup_rounds=2)
