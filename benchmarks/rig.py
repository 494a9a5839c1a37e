"""A broker, a consumer, and the load between them: who took how many frames at which cost.

Everything is a process of its own, of which the processor time is read. Brokers are set up as
the README says. All share one machine, so a rate is that of all of them together.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import load
from benchmarks.consumers import Consumer, cpu_s, memory_bytes, pipeline
from tests import servers

WINDOW: Final = 16_384  # README: max_inflight_messages, mqtt.max_ack_pending
POLL_S: Final = 0.1
SETTLE_S: Final = 3.0
FIRST_S_MAX: Final = 60.0
LOOK_S: Final = 4.0  # as far apart as checkpoints are under load
CPU_TICK_S: Final = 0.01  # how finely Linux tells processor time
LAST_S_MAX: Final = 20.0  # for what is under way when the load ends
COUNTED_BY: Final = 100  # frames: how finely a peer says what it has taken


@contextmanager
def broker(kind: str, directory: Path) -> Iterator[servers.Server]:
    if kind == "nats":
        with servers.nats_server(directory, window=WINDOW, ack_wait_s=30.0, log=True) as server:
            yield server
    else:
        with servers.mosquitto(directory, window=WINDOW) as server:
            yield server


@cache
def frames_file() -> Path:
    """The loops that the load plays, made once a run."""
    path = Path(tempfile.mkdtemp()) / "frames.npy"
    load.write_frames(path)
    return path


def frame_bytes() -> int:
    size: int = np.load(frames_file(), mmap_mode="r").shape[2]
    return size


def popen(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _pid(server: servers.Server) -> int:
    assert server.process is not None  # noqa: S101
    return server.process.pid


# --------------------------------------------------------------------------------- in real time


@dataclass(frozen=True, slots=True)
class Run:
    """What `guns` guns did to one pipeline. Rates and costs are of the measured seconds."""

    kind: str
    guns: int
    offered_hz: float
    frames_hz: float
    us_per_frame: float
    broker_us: float
    load_us: float
    lag_s_max: float
    lost: int  # published, and judged neither then nor in the seconds after
    memory_bytes: float  # more than before the first gun, the black box's ring left out
    latencies_ms: tuple[float, ...]

    @property
    def keeps_up(self) -> bool:
        return self.lost == 0 and self.lag_s_max < 1.0 and self.frames_hz > 0.97 * self.offered_hz

    @property
    def cores(self) -> float:
        """What broker, load and pipeline together would need for what is offered."""
        return (self.us_per_frame + self.broker_us + self.load_us) * self.offered_hz / 1e6


def run(kind: str, guns: int, seconds: float) -> Run:
    """Have a pipeline watch so many guns; the first seconds do not count."""
    frames = str(frames_file())
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        broker(kind, Path(name) / "broker") as server,
        pipeline(server, kind, Path(name)) as ours,
    ):
        ears = popen("benchmarks.ears", server.url)
        empty = memory_bytes(ours.pid)
        guns_load = popen("benchmarks.load", server.url, str(guns), frames, str(seconds))
        servers.until(lambda: ours.frames > guns, "frames come", FIRST_S_MAX)
        time.sleep(SETTLE_S)
        pids = ours.pid, _pid(server)
        began_s, taken, used = time.monotonic(), ours.frames, [cpu_s(each) for each in pids]
        lags = [0.0]
        while time.monotonic() - began_s < seconds - SETTLE_S - 2.0:
            time.sleep(0.5)
            lags.append(ours.metrics().get("myoguard_lag_seconds", lags[-1]))
        took_s = time.monotonic() - began_s
        count = max(ours.frames - taken, 1)
        ours_s, broker_s = (cpu_s(each) - b for each, b in zip(pids, used, strict=True))
        ring = ours.metrics().get("myoguard_ring_bytes", 0.0)
        memory = memory_bytes(ours.pid) - empty - ring
        report: dict[str, Any] = json.loads(guns_load.communicate()[0])
        lost = _lost(ours, report["frames"])
        heard = json.loads(ears.communicate()[0])
    return Run(
        kind,
        guns,
        guns / load.FRAME_S,
        count / took_s,
        1e6 * ours_s / count,
        1e6 * broker_s / count,
        1e6 * report["cpu_s"] / report["frames"],
        max(lags),
        lost,
        memory,
        tuple(_latencies_ms(heard, report)),
    )


def _latencies_ms(heard: list[tuple[int, int]], report: Mapping[str, Any]) -> Iterator[float]:
    """From when the frame that ends at an alarm's sample time was published to its being heard."""
    start_ns, late_us = report["start_ns"], report["late_us"]
    for heard_ns, raised_ns in heard:
        step = -(-(raised_ns - start_ns) // load.TICK_NS)
        if SETTLE_S * 1e9 / load.TICK_NS < step < len(late_us):
            published_ns = start_ns + step * load.TICK_NS + late_us[step] * 1_000
            yield (heard_ns - published_ns) / 1e6


# --------------------------------------------------------------------------- as fast as it takes


@dataclass(frozen=True, slots=True)
class Flood:
    """What a consumer takes when there is always more, every few seconds."""

    frames_hz: tuple[float, ...]
    frames_per_cpu_s: tuple[float, ...]
    broker_cores: tuple[float, ...]
    lost: int  # of all that was published

    @property
    def us_per_frame(self) -> float:
        return 1e6 / float(np.median(self.frames_per_cpu_s))


def flood(
    consumer: Consumer,
    server: servers.Server,
    guns: int,
    seconds: float,
    settled: int = 0,
    meanwhile: Callable[[], None] = lambda: None,
) -> Flood:
    """Guns publish as the consumer takes: the highest rate at which nothing is left behind.

    What counts begins SETTLE_S after the first frame and when `settled` frames have been taken, for
    a gun that is new costs more; then `meanwhile` is called, once.
    """
    guns_load = popen("benchmarks.load", server.url, str(guns), str(frames_file()))
    assert guns_load.stdin is not None  # noqa: S101
    before, began_s = consumer.frames, time.monotonic()
    looks: list[tuple[float, int, float, float]] = []
    while not looks or looks[-1][0] - looks[0][0] < seconds:
        time.sleep(POLL_S)
        now_s, taken = time.monotonic(), consumer.frames - before
        guns_load.stdin.write(f"{taken}\n")
        guns_load.stdin.flush()
        if not taken:
            began_s = now_s
        elif now_s - began_s >= SETTLE_S and taken >= settled:
            if not looks:
                meanwhile()
            if not looks or now_s - looks[-1][0] >= LOOK_S:
                looks.append((now_s, taken, cpu_s(consumer.pid), cpu_s(_pid(server))))
    report: dict[str, Any] = json.loads(guns_load.communicate()[0])
    lost = _lost(consumer, before + report["frames"])
    s, frames, ours, brokers = np.diff(np.array(looks), axis=0).T
    ours = np.maximum(ours, CPU_TICK_S)
    return Flood(tuple(frames / s), tuple(frames / ours), tuple(brokers / s), lost)


def _lost(consumer: Consumer, published: int) -> int:
    """What does not come in the seconds after the last frame either."""
    with suppress(AssertionError):
        servers.until(lambda: consumer.frames > published - COUNTED_BY, "all is taken", LAST_S_MAX)
    left = published - consumer.frames
    return left if left >= COUNTED_BY else 0
