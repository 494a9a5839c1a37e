"""Whoever reads the guns' frames: `myoguard run` and its peers, each a process of its own.

A `Consumer` says how many frames it has taken and used. Ours is asked for its metrics; a peer in
Python or Node-RED prints its count every hundred frames, which costs it nothing that shows;
mosquitto_sub is believed by the bytes that it has written.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import psutil

from benchmarks.table import UnavailableError
from tests import servers

START_S_MAX: Final = 300.0  # cold, on a busy machine
STOP_S_MAX: Final = 60.0
TELEMETRY: Final = "massage/v1/+/+/telemetry"


def cpu_s(pid: int) -> float:
    """Processor time of a process, its threads, and its children that are over."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def memory_bytes(pid: int) -> int:
    resident: int = psutil.Process(pid).memory_info().rss
    return resident


class Consumer(Protocol):
    @property
    def pid(self) -> int: ...

    @property
    def frames(self) -> int:
        """How many it has taken, from the first on."""
        ...


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()  # SIGINT is ignored by what a shell starts in the background
    try:
        process.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
            [sys.executable, "-m", "pipeline.cli", "run"], env=env, stderr=self._log, text=True
        )

    @property
    def pid(self) -> int:
        return self.process.pid

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
        _stop(self.process)
        self._log.close()


@contextmanager
def pipeline(server: servers.Server, kind: str, directory: Path) -> Iterator[Pipeline]:
    running = Pipeline(server, kind, directory)
    try:
        servers.until(lambda: running.is_connected, "the pipeline watches", START_S_MAX)
        yield running
    finally:
        running.stop()


def python(module: str, *arguments: str) -> tuple[str, ...]:
    return sys.executable, "-m", module, *arguments


class _Counting:
    """A process that prints lines that end with how many frames it has taken, the first a 0."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self.frames = -1
        self.said: list[str] = []
        self.process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise UnavailableError(f"{self.process.args!r} ended: {''.join(self.said)[-500:]}")
        return self.frames >= 0

    def _listen(self) -> None:
        assert self.process.stdout is not None  # noqa: S101
        for line in self.process.stdout:
            count = re.search(r"count (\d+)$", line)
            if count:
                self.frames = int(count[1])
            else:
                self.said = [*self.said[-20:], line]


@contextmanager
def counting(*command: str | Path) -> Iterator[Consumer]:
    """A peer that prints `count N`; to be fed when it has printed `count 0`."""
    running = _Counting(command)
    try:
        servers.until(lambda: running.is_ready, f"{command[0]} subscribes", START_S_MAX)
        yield running
    finally:
        _stop(running.process)


class _Writing:
    """mosquitto_sub, every payload to /dev/null."""

    def __init__(self, process: subprocess.Popen[str], frame_bytes: int) -> None:
        self.pid = process.pid
        self._frame_bytes = frame_bytes

    @property
    def frames(self) -> int:
        io = Path(f"/proc/{self.pid}/io").read_text()
        return int(io.partition("wchar: ")[2].split()[0]) // self._frame_bytes


@contextmanager
def mosquitto_sub(server: servers.Server, frame_bytes: int) -> Iterator[Consumer]:
    binary = shutil.which("mosquitto_sub")
    if binary is None:
        raise UnavailableError("mosquitto_sub is not installed: apt-get install mosquitto-clients")
    command = [binary, "-p", str(server.port), "-q", "1", "-t", TELEMETRY, "-N"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)  # noqa: S603
    try:
        yield _Writing(process, frame_bytes)
    finally:
        _stop(process)
