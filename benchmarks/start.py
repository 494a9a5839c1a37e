"""How long a start takes: `--help`, and `myoguard run` until it watches, cold and warm; then idle.

Processes of their own, as a user starts them, on a nats-server of ours. Cold is with an empty
directory for numba, as after installing; Python's own bytecode is there, as pip leaves it.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.consumers import cpu_s, pipeline
from benchmarks.table import Aim, Table, digits, figure
from tests.servers import Server, nats_server

HELP_ROUNDS, WARM_ROUNDS, COLD_ROUNDS, IMPORT_ROUNDS = 9, 3, 1, 3
START_S_MAX = 300.0
IDLE_S, IDLE_ROUNDS, IDLE_SHARE_MAX = 4.0, 3, 0.01
LIBRARIES = ("numba", "nicegui", "nats", "influxdb_client", "pyarrow.parquet", "pydantic_settings")
KERNELS = "from pipeline.features import warm_up; warm_up()"
MYOGUARD = str(Path(sysconfig.get_path("scripts")) / "myoguard")


class Took(NamedTuple):
    """A process: seconds by the clock, and of processor time."""

    wall_s: float
    cpu_s: float


def table() -> Table:
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        finished([MYOGUARD, "--help"])  # writes what bytecode is missing
        python = [finished([sys.executable, "-c", ""]) for _ in range(HELP_ROUNDS)]
        imported = imported_by("import pipeline.cli")
        asked = [finished([MYOGUARD, "--help"]) for _ in range(HELP_ROUNDS)]
        libraries = {name: imported_by(f"import {name}") for name in LIBRARIES}
        kernels = imported_by(KERNELS)
        with nats_server(here) as broker:
            cold = [watching(broker.url, here, f"cold-{k}") for k in range(COLD_ROUNDS)]
            warm = [watching(broker.url, here, "cold-0") for _ in range(WARM_ROUNDS)]
            idle = idle_shares(broker, here)
    rows = [
        row("python that does nothing", python),
        row("python that imports `pipeline.cli`", imported),
        row("`myoguard --help`", asked),
        row("`myoguard run` until it watches, warm", warm),
        row("`myoguard run` until it watches, cold", cold),
        *(row(f"python that imports `{name}`", took) for name, took in libraries.items()),
        row("python that loads the kernels, compiled before, and so imports numba", kernels),
        ("`myoguard run` without guns, of a core", "", figure([100 * k for k in idle], "%")),
    ]
    return Table(
        "Start, and idle",
        ("what", "by the clock", "processor time"),
        rows,
        (
            "A process each. Cold: nothing compiled by numba yet; progress is shown meanwhile.",
            "Until it watches: store open, page served, subscribed on a nats-server.",
            "A library's row holds what it imports itself; some import the same.",
        ),
        (
            aim("`--help` in 0.3 s", asked, 0.3),
            aim("ready warm in 2 s", warm, 2.0),
            aim("ready cold in 25 s", cold, 25.0),
            Aim(
                "idle under 1 % of a core",
                figure([100 * k for k in idle], "%"),
                median(idle) < IDLE_SHARE_MAX,
                "ten turns of the loop and two looks at its health a second, a checkpoint",
            ),
        ),
    )


def imported_by(program: str) -> list[Took]:
    return [finished([sys.executable, "-c", program]) for _ in range(IMPORT_ROUNDS)]


def row(what: str, took: list[Took]) -> tuple[str, ...]:
    return what, figure([t.wall_s for t in took], "s"), figure([t.cpu_s for t in took], "s")


def aim(what: str, took: list[Took], seconds: float) -> Aim:
    walls, cpu = [t.wall_s for t in took], median(t.cpu_s for t in took)
    why = f"{digits(cpu)} s of it at the processor, the rest waiting for it or for the disk"
    return Aim(what, figure(walls, "s"), median(walls) < seconds, why)


def finished(command: list[str]) -> Took:
    """A command from its start to its end."""
    before, began = _children_s(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=_environment())  # noqa: S603
    return Took(time.perf_counter() - began, _children_s() - before)


def watching(broker_url: str, here: Path, cache: str) -> Took:
    """`myoguard run` until it says that it watches; `cache` names numba's directory."""
    config = here / "myoguard.toml"
    config.write_text(
        f'[broker]\nurl = "{broker_url}"\n[store]\ndirectory = "{here / "store"}"\n'
        "[page]\nport = 0\n[metrics]\nport = 0\n"
    )
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603
        [MYOGUARD, "run", "--config", str(config)],
        env={**_environment(), "NUMBA_CACHE_DIR": str(here / cache)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None  # noqa: S101
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if "watching" in line:
                return Took(time.perf_counter() - began, cpu_s(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_S_MAX)
        process.stderr.close()
    raise RuntimeError("myoguard run did not come to watch: " + "".join(said))


def idle_shares(broker: Server, here: Path) -> list[float]:
    """What a pipeline takes of a core while no gun speaks, some seconds a round."""
    (here / "idle").mkdir()
    with pipeline(broker, "mqtt", here / "idle") as ours:
        looks = []
        for _ in range(IDLE_ROUNDS + 1):
            time.sleep(IDLE_S)
            looks.append((time.monotonic(), time.clock_gettime(_cpu_clock(ours.pid))))
    return [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(looks)]


def _cpu_clock(pid: int) -> int:
    """Of a process, to the nanosecond: what clock_getcpuclockid(3) makes of its number."""
    return (~pid << 3) | 2


def _environment() -> dict[str, str]:
    """Ours, but for what keeps Python from writing bytecode: then every start compiles it all."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
