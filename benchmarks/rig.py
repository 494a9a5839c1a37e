"""A broker, a consumer, and the load between them: who took how many frames at which cost.

Everything is a process of its own, of which the processor time is read. Brokers are set up as
the README says. All share one machine, so a rate is that of all of them together.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks import load
from tests import servers

WINDOW: Final = 16_384  # README: max_inflight_messages, mqtt.max_ack_pending
START_S_MAX: Final = 120.0


def cpu_s(pid: int) -> float:
    """Processor time of a process and its threads."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def memory_bytes(pid: int) -> int:
    resident: int = psutil.Process(pid).memory_info().rss
    return resident


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


class Pipeline:
    """`myoguard run` with its defaults, storing in `directory`."""

    def __init__(self, server: servers.Server, kind: str, directory: Path) -> None:
        self._port = servers.free_port()
        settings = {
            "BROKER__URL": server.url,
            "STORE__DIRECTORY": str(directory / "store"),
            "METRICS__PORT": str(self._port),
            "PAGE__PORT": "0",
        }
        if kind == "nats":
            settings["BROKER__NATS_URL"] = str(server.nats_url)
        env = {**os.environ, **{f"MYOGUARD_{key}": value for key, value in settings.items()}}
        self._log = (directory / "log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "run"], env=env, stderr=self._log
        )

    def metrics(self) -> Mapping[str, float]:
        """Nothing where it does not answer."""
        with suppress(OSError):
            url = f"http://127.0.0.1:{self._port}/metrics"
            with urllib.request.urlopen(url, timeout=10) as answer:
                text = answer.read().decode()
            return {m[1]: float(m[2]) for m in re.finditer(r"^(\S+) (\S+)$", text, re.MULTILINE)}
        return {}

    @property
    def frames(self) -> int:
        return int(self.metrics().get('myoguard_frames_total{fate="processed"}', 0))

    @property
    def is_connected(self) -> bool:
        return self.metrics().get('myoguard_connected{way="source"}') == 1.0

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


@contextmanager
def pipeline(server: servers.Server, kind: str, directory: Path) -> Iterator[Pipeline]:
    running = Pipeline(server, kind, directory)
    try:
        servers.until(lambda: running.is_connected, "the pipeline watches", START_S_MAX)
        yield running
    finally:
        running.stop()


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
    memory_bytes_per_gun: float
    latencies_ms: tuple[float, ...]
    load_late_ms: float

    @property
    def keeps_up(self) -> bool:
        return self.lost == 0 and self.lag_s_max < 1.0 and self.frames_hz > 0.97 * self.offered_hz


def popen(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603


def run(kind: str, guns: int, seconds: float, settle_s: float = 3.0) -> Run:
    """Have a pipeline watch so many guns; the first `settle_s` do not count."""
    frames_file()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        broker(kind, Path(name) / "broker") as server,
        pipeline(server, kind, Path(name)) as ours,
    ):
        ears = popen("benchmarks.ears", server.url, str(seconds + 15.0))
        empty = memory_bytes(ours.process.pid)
        gun_load = popen("benchmarks.load", server.url, str(guns), str(seconds), str(frames_file()))
        servers.until(lambda: ours.frames > guns, "frames come", 60.0)
        time.sleep(settle_s)
        pids = [ours.process.pid, server.process.pid if server.process else 0]
        began_s, frames, used = time.monotonic(), ours.frames, [cpu_s(each) for each in pids]
        lags = [0.0]
        while time.monotonic() - began_s < seconds - settle_s - 2.0:
            time.sleep(0.5)
            lags.append(ours.metrics().get("myoguard_lag_seconds", lags[-1]))
        took_s = time.monotonic() - began_s
        count = max(ours.frames - frames, 1)
        ours_s, broker_s = (cpu_s(each) - b for each, b in zip(pids, used, strict=True))
        memory = memory_bytes(ours.process.pid) - empty
        report: dict[str, Any] = json.loads(gun_load.communicate()[0])
        with suppress(AssertionError):
            servers.until(lambda: ours.frames >= report["frames"], "all frames are judged", 8.0)
        lost = report["frames"] - ours.frames
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
        memory / guns,
        tuple(_latencies_ms(heard, report, settle_s)),
        report["late_ms_max"],
    )


def _latencies_ms(
    heard: list[tuple[int, int]], report: Mapping[str, Any], settle_s: float
) -> Iterator[float]:
    """From when the frame that ends at an alarm's sample time was published to its being heard."""
    start_ns, late_us = report["start_ns"], report["late_us"]
    for heard_ns, raised_ns in heard:
        step = -(-(raised_ns - start_ns) // load.TICK_NS)
        if settle_s * 1e9 / load.TICK_NS < step < len(late_us):
            published_ns = start_ns + step * load.TICK_NS + late_us[step] * 1_000
            yield (heard_ns - published_ns) / 1e6
