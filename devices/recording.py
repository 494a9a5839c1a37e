"""Performances as files, in the form of the shared labelled recordings.

`NAME.parquet` (one row an MQTT message as a broker delivered it), `NAME.truth.json`, and for a
bench session `NAME.bench.parquet` with `NAME.bench.loadcell.csv`. Uses the wire encoder; knows no
broker and no detector. Network faults of a script are applied here as a broker would have seen
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from devices.network import FaultyPath, Packet
from devices.performance import Performance, Take
from devices.script import NetworkFaults, Script
from devices.tissue import Client
from devices.truth import GRID_S, Hazard, spans, tracks
from devices.unit import Operator, Unit
from pipeline.model import DeviceId, DeviceState, Frame, Received
from pipeline.wire import encode

START_NS = 1_790_000_000_000_000_000  # as in the shared recordings
DELIVERY_S = (0.004, 0.025)  # from a frame's last sample to the broker
LOADCELL_S = 0.05
LOADCELL_NOISE_N = 0.1
TENTH = round(0.1 / GRID_S)
SCHEMA = pa.schema(
    [("received_at_ns", pa.int64()), ("topic", pa.string()), ("payload", pa.binary())]
)


class Truth(TypedDict):
    """What `NAME.truth.json` holds."""

    name: str
    model: str
    t0_ns: int
    hazards: list[Hazard]
    force_10hz: list[float]
    tissue_10hz: list[int]
    dwell_10hz: list[float]
    device: str


@dataclass(frozen=True, slots=True)
class LoadcellClock:
    """The load cell's own clock against the gun's."""

    offset_s: float = 0.0
    drift_ppm: float = 0.0


@dataclass(frozen=True, slots=True)
class Player:
    """Who plays: a gun with its address, the hand that holds it and the body under it."""

    id: DeviceId
    unit: Unit
    operator: Operator
    client: Client
    boot_id: int = 7


def frame_of(take: Take, player: Player) -> Frame:
    """The telemetry frame a gun would send of this take."""
    sensor = player.unit.profile.sensor
    return Frame(
        id=player.id,
        boot_id=player.boot_id,
        seq=take.seq,
        t0_ns=take.clock_ns,
        rate_hz=take.rate_hz,
        set_percussion_hz=take.set_hz,
        accel_g_per_lsb=sensor.accel_g_per_lsb,
        current_a_per_lsb=sensor.current_a_per_lsb,
        samples_lsb=take.samples_lsb,
        flags=take.flags,
        battery_mv=take.battery_mv,
        temperature_c=round(take.temperature_c, 2),
    )


def birth_of(player: Player, t_ns: int) -> DeviceState:
    """What a gun says when it comes online."""
    return DeviceState(
        id=player.id,
        online=True,
        boot_id=player.boot_id,
        model=player.unit.profile.model,
        serial=player.unit.serial,
        firmware="1.0.0",
        head=player.unit.head.kind,
        rate_hz=player.unit.profile.sensor.rate_hz,
        t_ns=t_ns,
    )


def play(
    script: Script, player: Player, rng: np.random.Generator, start_ns: int = START_NS
) -> list[Take]:
    """The whole performance."""
    return list(Performance(script, player.unit, player.operator, player.client, rng, start_ns))


def delivered(
    takes: Iterable[Take], player: Player, faults: NetworkFaults, rng: np.random.Generator
) -> Iterator[Received]:
    """The messages in the order in which a broker passes them on."""
    path = FaultyPath(faults, rng)
    arrived_ns = START_NS
    yield Received(arrived_ns, *encode(birth_of(player, START_NS)))
    for take in takes:
        end_s = take.t_s + len(take.force_n) / take.true_rate_hz
        sent_ns = START_NS + round((end_s + rng.uniform(*DELIVERY_S)) * 1e9)
        for packet in path.pass_on(Packet(*encode(frame_of(take, player)))):
            arrived_ns = max(arrived_ns + 1, sent_ns)
            yield Received(arrived_ns, *packet)
    for packet in path.flush():
        arrived_ns += 1
        yield Received(arrived_ns, *packet)


def truth_of(takes: list[Take], script: Script, player: Player, performed: Performance) -> Truth:
    """The truth file's content; hazard times are on the gun's clock."""
    state = tracks(takes)
    hazards: list[Hazard] = [
        {
            "rule": span.rule,
            "start_ns": performed.clock_ns(span.start_s),
            "onset_ns": performed.clock_ns(span.onset_s),
            "end_ns": performed.clock_ns(span.end_s),
            "allowed_from_ns": performed.clock_ns(span.allowed_from_s),
            "must": span.must,
        }
        for span in spans(state)
    ]
    return {
        "name": script.name,
        "model": player.unit.profile.model,
        "t0_ns": START_NS,
        "hazards": hazards,
        "force_10hz": [round(float(value), 2) for value in state.force_n[::TENTH]],
        "tissue_10hz": [int(value) for value in state.tissue[::TENTH]],
        "dwell_10hz": [round(float(value), 1) for value in state.dwell_s[::TENTH]],
        "device": player.id.device,
    }


def write_messages(path: Path, messages: Iterable[Received]) -> int:
    """Write a recording; the number of messages."""
    rows = list(messages)
    columns = [list(column) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd")
    return len(rows)


def write_recording(
    folder: Path, name: str, script: Script, player: Player, rng: np.random.Generator
) -> Truth:
    """Play a script and write `name`.parquet and `name`.truth.json into `folder`."""
    performance = Performance(script, player.unit, player.operator, player.client, rng, START_NS)
    takes = list(performance)
    write_messages(folder / f"{name}.parquet", delivered(takes, player, script.network, rng))
    truth = truth_of(takes, script, player, performance)
    truth["name"] = name
    (folder / f"{name}.truth.json").write_text(json.dumps(truth))
    return truth


def write_bench(
    folder: Path,
    name: str,
    script: Script,
    player: Player,
    rng: np.random.Generator,
    clock: LoadcellClock | None = None,
) -> None:
    """Play a bench script and write `name`.bench.parquet and `name`.bench.loadcell.csv."""
    takes = play(script, player, rng)
    path = folder / f"{name}.bench.parquet"
    write_messages(path, delivered(takes, player, script.network, rng))
    rows = loadcell_rows(takes, clock or LoadcellClock(), rng)
    lines = ["t_ns,force_n", *(f"{t_ns},{force_n:.2f}" for t_ns, force_n in rows)]
    (folder / f"{name}.bench.loadcell.csv").write_text("\n".join(lines) + "\n")


def loadcell_rows(
    takes: list[Take], clock: LoadcellClock, rng: np.random.Generator
) -> list[tuple[int, float]]:
    """(time, mean force over LOADCELL_S) as a load cell logs it, on its own clock."""
    force = np.concatenate([take.force_n for take in takes])
    t_s = np.concatenate(
        [take.t_s + np.arange(len(take.force_n)) / take.true_rate_hz for take in takes]
    )
    bins = (t_s / LOADCELL_S).astype(np.int64)
    means = np.bincount(bins, weights=force) / np.maximum(1, np.bincount(bins))
    noisy = means + rng.normal(0.0, LOADCELL_NOISE_N, len(means))
    shown_s = clock.offset_s + np.arange(len(means)) * LOADCELL_S * (1.0 + clock.drift_ppm * 1e-6)
    return [
        (START_NS + round(float(t) * 1e9), float(value))
        for t, value in zip(shown_s, np.maximum(noisy, 0.0), strict=True)
    ]
