"""The whole way in real time: guns at a broker, `myoguard run`, an alarm at a subscriber. 150 s.

Each row is a broker, a pipeline with its defaults (it stores, and keeps its black box), the load
and a subscriber, four processes on one machine, for ten to thirty seconds. Every gun is pressed too
hard once in 24 s, far more often than in a clinic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from benchmarks import rig
from benchmarks.table import Aim, Table, digits

# Broker, guns, seconds: few guns raise few alarms, so they play for longer.
RUNS: Final = (
    ("mqtt", 10, 20.0),
    ("mqtt", 200, 20.0),
    ("mqtt", 2_000, 10.0),
    ("nats", 10, 12.0),
    ("nats", 200, 12.0),
    ("nats", 4_000, 8.0),
)
LATENCY_MS: Final = {200: 50.0, 2_000: 150.0}  # issue 6, 4: the 99th percentile
GUNS_AIMED_AT: Final = {"mqtt": 2_000, "nats": 4_000}
COST_SPREAD_MAX: Final = 1.1  # issue 6, 2: dearest over cheapest gun, from 10 to 4,000
GUN_BYTES_MAX: Final = 32_768  # issue 6, 5
_COLUMNS: Final = (
    *("source", "guns", "frames/s", "judged/s", "CPU a frame", "broker's", "load's"),
    *("cores in all", "lag at most", "not judged", "alarm after p50 / p99 / max"),
)
_NOTES: Final = (
    (
        "Broker, load and pipeline share the machine: where the cores they need in all are more"
        " than it has, guns wait whoever is to blame."
    ),
    (
        "An alarm's time runs from when the frame was published in which its delay ends until a"
        " subscriber in another process hears it. Live: the histogram myoguard_latency_seconds in"
        " `/metrics`, by hop."
    ),
)


def table() -> Table:
    runs = [rig.run(kind, guns, seconds) for kind, guns, seconds in RUNS]
    return Table("The whole way", _COLUMNS, [_row(each) for each in runs], _NOTES, aims(runs))


def aims(runs: Sequence[rig.Run]) -> tuple[Aim, ...]:
    return (*_kept_up(runs), _steady(runs), *_latencies(runs), _memory(runs))


def _row(run: rig.Run) -> tuple[str, ...]:
    return (
        run.kind,
        f"{run.guns:,}",
        digits(run.offered_hz),
        digits(run.frames_hz),
        f"{digits(run.us_per_frame)} µs",
        f"{digits(run.broker_us)} µs",
        f"{digits(run.load_us)} µs",
        digits(run.cores),
        f"{digits(run.lag_s_max)} s",
        f"{run.lost:,}",
        _alarms(run),
    )


def _alarms(run: rig.Run) -> str:
    if not run.latencies_ms:
        return "-"
    p50, p99, worst = np.quantile(run.latencies_ms, (0.5, 0.99, 1.0))
    return f"{digits(p50)} / {digits(p99)} / {digits(worst)} ms of {len(run.latencies_ms)}"


def _kept_up(runs: Sequence[rig.Run]) -> Iterator[Aim]:
    for kind, guns in GUNS_AIMED_AT.items():
        run = _of(runs, kind, guns)
        said = f"{digits(run.frames_hz)} of {digits(run.offered_hz)} frames/s"
        yield Aim(f"{guns:,} guns over {kind}", said, run.keeps_up, _short_of(run))


def _short_of(run: rig.Run) -> str:
    return (
        f"{digits(run.cores)} cores are wanted, of them ours"
        f" {digits(run.us_per_frame * run.offered_hz / 1e6)}; lag {digits(run.lag_s_max)} s"
    )


def _steady(runs: Sequence[rig.Run]) -> Aim:
    """Of one source, since two sources cost differently."""
    few, some, many = (_of(runs, "nats", guns) for guns in (10, 200, 4_000))
    costs = [run.us_per_frame for run in (few, some, many)]
    spread = max(costs) / min(costs)
    said = " / ".join(digits(cost) for cost in costs) + " µs a frame"
    falls = sorted(costs, reverse=True) == costs
    why = "it falls: what a batch costs is shared by more frames" if falls else "see the profile"
    what = "Cost of a gun constant within 10 %, 10 / 200 / 4,000 guns"
    return Aim(what, said, spread <= COST_SPREAD_MAX, why)


def _latencies(runs: Sequence[rig.Run]) -> Iterator[Aim]:
    for guns, limit_ms in LATENCY_MS.items():
        run = _of(runs, "mqtt", guns)
        p99_ms = float(np.quantile(run.latencies_ms or (np.inf,), 0.99))
        what = f"Alarm heard within {limit_ms:.0f} ms, 99 of 100, at {guns:,} guns"
        yield Aim(what, f"{digits(p99_ms)} ms", p99_ms < limit_ms, _short_of(run))


def _memory(runs: Sequence[rig.Run]) -> Aim:
    """By what the many take more than the few: what libraries take is no gun's."""
    few, many = _of(runs, "nats", 200), _of(runs, "nats", 4_000)
    gun_bytes = (many.memory_bytes - few.memory_bytes) / (many.guns - few.guns)
    said = f"{digits(gun_bytes / 1024)} KB"
    backlog = f"frames wait, too: lag {digits(many.lag_s_max)} s"
    why = "state, Python's objects and records until they are stored"
    return Aim(
        "Memory a gun under 32 KB, beside the black box's ring",
        said,
        gun_bytes < GUN_BYTES_MAX,
        why if many.keeps_up else backlog,
    )


def _of(runs: Sequence[rig.Run], kind: str, guns: int) -> rig.Run:
    return next(each for each in runs if (each.kind, each.guns) == (kind, guns))
