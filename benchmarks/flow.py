"""The whole way: guns at a broker, `myoguard run`, an alarm at a subscriber. About 200 s.

Each row is a broker, a pipeline with its defaults (it stores, and keeps its black box), the load
and a subscriber, four processes on one machine, for some twenty seconds. Every gun is pressed too
hard once in 24 s, far more often than in a clinic.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks import rig
from benchmarks.table import Aim, Table, digits

# Broker, guns, seconds: few guns raise few alarms, so they play for longer.
RUNS: Final = (
    ("mqtt", 10, 40.0),
    ("mqtt", 200, 24.0),
    ("mqtt", 2_000, 24.0),
    ("nats", 200, 16.0),
    ("nats", 2_000, 16.0),
    ("nats", 4_000, 16.0),
)
LATENCY_MS: Final = {200: 50.0, 2_000: 150.0}  # issue 6, 4: the 99th percentile
GUNS_AIMED_AT: Final = {"mqtt": 2_000, "nats": 4_000}
CORES: Final = 2
_COLUMNS = (
    *("source", "guns", "frames/s", "judged/s", "CPU a frame", "broker's", "load's"),
    *("guns on 2 cores of ours", "lag at most", "not judged", "alarm after p50 / p99 / max"),
)

_NOTES = (
    (
        "Broker, load and pipeline share the machine; the column before lag says how many guns two"
        " cores would carry that do nothing else, by CPU a frame alone."
    ),
    (
        "An alarm's time runs from when the frame was published in which its delay ends until a"
        " subscriber hears it; live: myoguard_latency_seconds in /metrics."
    ),
)


def table() -> Table:
    runs = [rig.run(kind, guns, seconds) for kind, guns, seconds in RUNS]
    aims = tuple(_aims(runs))
    return Table("The whole way", _COLUMNS, [_row(each) for each in runs], _NOTES, aims)


def _row(run: rig.Run) -> tuple[str, ...]:
    return (
        run.kind,
        f"{run.guns:,}",
        digits(run.offered_hz),
        digits(run.frames_hz),
        f"{digits(run.us_per_frame)} µs",
        f"{digits(run.broker_us)} µs",
        f"{digits(run.load_us)} µs",
        f"{_guns_alone(run):,.0f}",
        f"{digits(run.lag_s_max)} s",
        f"{run.lost:,}",
        _latency(run),
    )


def _guns_alone(run: rig.Run) -> float:
    return CORES * 1e6 / run.us_per_frame * run.guns / run.offered_hz


def _latency(run: rig.Run) -> str:
    if not run.latencies_ms:
        return "-"
    p50, p99, worst = np.quantile(run.latencies_ms, (0.5, 0.99, 1.0))
    return f"{digits(p50)} / {digits(p99)} / {digits(worst)} ms of {len(run.latencies_ms)}"


def _aims(runs: list[rig.Run]) -> list[Aim]:
    aims = []
    for kind, guns in GUNS_AIMED_AT.items():
        run = next(each for each in runs if (each.kind, each.guns) == (kind, guns))
        said = f"{digits(run.frames_hz)} of {digits(run.offered_hz)} frames/s"
        why = f"{_cores(run)} cores would be needed by all processes together"
        aims.append(Aim(f"{guns:,} guns over {kind}", said, run.keeps_up, why))
    for guns, limit_ms in LATENCY_MS.items():
        run = next(each for each in runs if (each.kind, each.guns) == ("mqtt", guns))
        p99_ms = float(np.quantile(run.latencies_ms or (np.inf,), 0.99))
        what = f"Alarm heard within {limit_ms:.0f} ms, 99 of 100, at {guns:,} guns"
        aims.append(Aim(what, f"{digits(p99_ms)} ms", p99_ms < limit_ms, "see lag and cores"))
    return aims


def _cores(run: rig.Run) -> str:
    us = run.us_per_frame + run.broker_us + run.load_us
    return digits(us * run.offered_hz / 1e6)
