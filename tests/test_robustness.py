"""What must not change a decision: bad networks, and sensors as far off as the contract allows.

One session of a calibrated gun (a dwell, a press, a stay on a tendon) is judged as it was sent,
then as it could have come. Chunk invariance is in test_features.py and test_monitor_replay.py; that
no NaN comes in or out, in test_wire.py and test_features.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import benches
import numpy as np
import pytest

from devices.network import FaultyPath, Packet
from devices.recording import LoadcellClock, write_recording
from devices.script import Motion, NetworkFaults, Script, Segment
from devices.tissue import TissueKind
from pipeline import calibration, wire
from pipeline.capture import read_recording
from pipeline.evaluation import calibrate_from_files, raises_of, read_loadcell, read_truth, replay
from pipeline.evaluation.scoring import GATED, matches
from pipeline.evaluation.truth import Truth
from pipeline.features import Calibration
from pipeline.model import Frame, Received
from pipeline.monitor import MonitorSettings

GLIDE, LIFT = Segment(8.0, Motion.GLIDE, 28.0), Segment(3.0, Motion.MOVE)
SESSION = Script(
    "everything",
    "a dwell, a press and a tendon",
    (
        LIFT, GLIDE, LIFT, Segment(36.0, Motion.HOLD, 28.0), LIFT,
        GLIDE, Segment(7.0, Motion.HOLD, 85.0), GLIDE, LIFT,
        GLIDE, Segment(6.0, Motion.GLIDE, 25.0, TissueKind.TENDON), GLIDE, LIFT,
    ),
)  # fmt: skip

Messages = Sequence[Received]
Change = Callable[[Frame], Frame]


@dataclass(frozen=True)
class Stage:
    """The gun's bench and session, as files, and the truth."""

    folder: Path
    truth: Truth
    messages: Messages
    calibration: Calibration


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    folder = tmp_path_factory.mktemp("stage")
    print(f"seed {benches.SEED}")
    benches.write_gun_bench(folder, "s", LoadcellClock())
    write_recording(folder, "s", SESSION, benches.player(), np.random.default_rng(2))
    fitted = calibrate_from_files(
        folder / "s.bench.parquet", folder / "s.bench.loadcell.csv", {}, benches.STROKE_M
    )
    return Stage(
        folder,
        read_truth(folder / "s.truth.json"),
        list(read_recording(folder / "s.parquet")),
        fitted.calibration,
    )


def decided(messages: Messages, stage: Stage, known: Calibration | None = None) -> list[str]:
    """What was raised of the rules that have an aim, in order, and whether each was right."""
    done = replay(messages, {benches.GUN: known or stage.calibration}, MonitorSettings())
    said = []
    for rule in GATED:
        hazards = [h for h in stage.truth.hazards if h.rule == rule]
        times = raises_of([a for a in done.alarms if a.rule == rule])
        right = [any(matches(t, h) for h in hazards) for t in times]
        said += [f"{rule} {'right' if each else 'false'}" for each in right]
    return said


def changed(messages: Messages, change: Change) -> list[Received]:
    """The messages with every frame changed."""

    def resend(received: Received) -> Received:
        message = wire.decode(received.topic, received.payload)
        if not isinstance(message, Frame):
            return received
        return Received(received.received_at_ns, *wire.encode(change(message)))

    return [resend(received) for received in messages]


def recalibrated(stage: Stage, change: Change) -> Calibration:
    """The gun's calibration, its bench seen through the same sensor."""
    frames = [
        change(message)
        for received in read_recording(stage.folder / "s.bench.parquet")
        if isinstance(message := wire.decode(received.topic, received.payload), Frame)
    ]
    load = read_loadcell(stage.folder / "s.bench.loadcell.csv")
    return calibration.fit(frames, *load, benches.STROKE_M).calibration


ALL_FOUND = [f"{rule} right" for rule in GATED]


def test_as_sent_everything_is_found_once(stage: Stage) -> None:
    assert decided(stage.messages, stage) == ALL_FOUND


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "faults",
    [
        NetworkFaults(drop=0.05),
        NetworkFaults(duplicate=0.3),
        NetworkFaults(reorder=0.3),
        NetworkFaults(drop=0.05, duplicate=0.1, reorder=0.1),
    ],
    ids=["dropped", "doubled", "swapped", "all"],
)
def test_a_bad_network_changes_no_hazard_found(
    stage: Stage, faults: NetworkFaults, seed: int
) -> None:
    print(f"seed {seed}")
    assert decided(list(resent(stage.messages, faults, seed)), stage) == ALL_FOUND


def resent(messages: Messages, faults: NetworkFaults, seed: int) -> Iterator[Received]:
    """The frames once more over a network with faults."""
    path = FaultyPath(faults, np.random.default_rng(seed))
    for received in messages:
        for packet in path.pass_on(Packet(received.topic, received.payload)):
            yield Received(received.received_at_ns, *packet)


@pytest.mark.parametrize("gain", [0.9, 1.1])
def test_a_sensor_with_another_gain_decides_the_same(stage: Stage, gain: float) -> None:
    """Acceleration and current wrong by a tenth, at the bench as in use."""

    def wrong(frame: Frame) -> Frame:
        return replace(
            frame,
            accel_g_per_lsb=frame.accel_g_per_lsb * gain,
            current_a_per_lsb=frame.current_a_per_lsb / gain,
        )

    known = recalibrated(stage, wrong)
    assert decided(changed(stage.messages, wrong), stage, known) == ALL_FOUND


@pytest.mark.parametrize("error", [-0.002, 0.002])
def test_a_rate_measured_wrongly_decides_the_same(stage: Stage, error: float) -> None:
    """Four times the scatter with which simulated guns measure their rate."""

    def wrong(frame: Frame) -> Frame:
        return replace(frame, rate_hz=frame.rate_hz * (1.0 + error))

    assert decided(changed(stage.messages, wrong), stage) == ALL_FOUND
