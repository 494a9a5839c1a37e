"""Draw the two pictures of docs/detection.md from one simulated gun.

    .venv/bin/python -m benchmarks.draw_detection

writes docs/img/strokes.svg (what the sensor sees over two strokes in air, on muscle, tendon and
bone, above the contact force behind it) and docs/img/session.svg (a scripted session: force, dwell
and stiffness as detected, beside the truth). The gun is calibrated on its own simulated bench
first. Seeded: the same code draws the same lines.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from devices.performance import Take
from devices.profile import load_profile
from devices.recording import (
    START_NS,
    LoadcellClock,
    Player,
    delivered,
    frame_of,
    loadcell_rows,
    play,
)
from devices.scenarios import bench_script
from devices.script import NO_FAULTS, Motion, Script, Segment
from devices.tissue import TissueKind, draw_client
from devices.truth import GRID_S, Tracks, tracks
from devices.unit import BENCH_OPERATOR, draw_operator, draw_unit
from pipeline import calibration
from pipeline.evaluation import Replayed, replay
from pipeline.model import AlarmState, DeviceId, Features
from pipeline.monitor import MonitorSettings

SEED, MODEL, HEAD = 4, "hx-16", "ball"
IMAGES = Path(__file__).parent.parent / "docs" / "img"
INK, MUTED, ACCENT, LIMIT = "#22303b", "#8494a1", "#2a6f97", "#b3452c"

Floats = NDArray[np.float64]

_AIR, _LIFTED = Segment(4.0, Motion.MOVE), Segment(3.0, Motion.MOVE)
GROUNDS = (
    ("air", Segment(4.0, Motion.MOVE)),
    ("soft muscle, 30 N", Segment(6.0, Motion.HOLD, 30.0)),
    ("tendon, 25 N", Segment(6.0, Motion.HOLD, 25.0, TissueKind.TENDON)),
    ("thin-covered bone, 22 N", Segment(6.0, Motion.HOLD, 22.0, TissueKind.BONE)),
)
SESSION = (
    _AIR,
    Segment(12.0, Motion.GLIDE, 28.0),
    _LIFTED,
    Segment(35.0, Motion.HOLD, 30.0),
    _LIFTED,
    Segment(8.0, Motion.GLIDE, 30.0),
    Segment(6.0, Motion.HOLD, 78.0),
    Segment(8.0, Motion.GLIDE, 28.0),
    Segment(6.0, Motion.GLIDE, 24.0, TissueKind.TENDON),
    Segment(8.0, Motion.GLIDE, 28.0),
    _LIFTED,
)


class Stroke(NamedTuple):
    """Two strokes' worth of one ground: time in strokes, z acceleration [g], contact force [N]."""

    turn: Floats
    z_g: Floats
    force_n: Floats


def draw_player() -> Player:
    rng = np.random.default_rng(SEED)
    unit = draw_unit(load_profile(MODEL), rng, HEAD)
    return Player(DeviceId("docs", "gun-1"), unit, draw_operator(rng), draw_client(rng))


def strokes_of(takes: list[Take], until_s: float, hz: float, g_per_lsb: float) -> Stroke:
    """The last two strokes before `until_s`."""
    rate_hz = takes[0].true_rate_hz
    z_g = np.concatenate([take.samples_lsb[:, 2] for take in takes]) * g_per_lsb
    force_n = np.concatenate([take.force_n for take in takes])
    last = int(until_s * rate_hz)
    first = last - round(2 * rate_hz / hz) - 1
    turn = np.arange(last - first, dtype=np.float64) * (hz / rate_hz)
    return Stroke(turn, z_g[first:last] - z_g[first:last].mean(), force_n[first:last])


def draw_strokes(player: Player) -> Figure:
    script = Script("grounds", "one after the other", tuple(ground for _, ground in GROUNDS))
    takes = play(script, player, np.random.default_rng(SEED))
    hz = float(np.median(np.concatenate([take.crank_hz for take in takes])))
    figure = Figure(figsize=(10.0, 4.0), layout="constrained", facecolor="white")
    axes = figure.subplots(2, len(GROUNDS), sharex=True, sharey="row")
    until_s = 0.0
    for column, (name, ground) in enumerate(GROUNDS):
        until_s += ground.duration_s
        stroke = strokes_of(takes, until_s - 0.5, hz, player.unit.profile.sensor.accel_g_per_lsb)
        above, below = axes[0, column], axes[1, column]
        above.plot(stroke.turn, stroke.z_g, color=ACCENT, lw=1.4)
        below.fill_between(stroke.turn, stroke.force_n, color=LIMIT, alpha=0.25, lw=0)
        below.plot(stroke.turn, stroke.force_n, color=LIMIT, lw=1.2)
        above.set_title(name, color=INK)
        below.set_xlabel("time, strokes")
    axes[0, 0].set_ylabel("acceleration of\nthe housing, g")
    axes[1, 0].set_ylabel("contact force, N")
    for each in axes.flat:
        _tidy(each)
    return figure


def replay_session(player: Player, takes: list[Take]) -> Replayed:
    """What the pipeline makes of the session, with the gun's own calibration."""
    rng = np.random.default_rng(SEED + 1)
    at_bench = replace(player, operator=BENCH_OPERATOR)
    bench = play(bench_script(len(player.unit.profile.drive.speeds_hz)), at_bench, rng)
    rows = loadcell_rows(bench, LoadcellClock(), rng)
    fitted = calibration.fit(
        [frame_of(take, at_bench) for take in bench],
        np.array([t_ns for t_ns, _ in rows], np.int64),
        np.array([force_n for _, force_n in rows]),
        player.unit.profile.drive.stroke_mm / 1000.0,
    )
    messages = delivered(takes, player, NO_FAULTS, rng)
    return replay(messages, {player.id: fitted.calibration}, MonitorSettings())


def draw_session(player: Player) -> Figure:
    script = Script("session", "glide, stay, press, tendon", SESSION)
    takes = play(script, player, np.random.default_rng(SEED))
    replayed, truth = replay_session(player, takes), tracks(takes)
    figure = Figure(figsize=(10.0, 6.2), layout="constrained", facecolor="white")
    force, dwell, stiffness = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1.3, 1))
    t_s = np.array([(each.t_ns - START_NS) / 1e9 for each in replayed.features])
    _draw_force(force, t_s, replayed.features, truth)
    dwell.plot(_grid(truth.dwell_s), truth.dwell_s, color=MUTED, lw=2.5, label="truth")
    dwell.plot(t_s, [each.dwell_s for each in replayed.features], color=ACCENT, lw=1.3)
    dwell.axhline(20.0, color=LIMIT, lw=0.8, ls=":")
    dwell.axhline(30.0, color=LIMIT, lw=0.8)
    dwell.set_ylabel("dwell, s")
    stiffness.plot(t_s, [each.stiffness for each in replayed.features], color=ACCENT, lw=1.3)
    stiffness.axhline(0.5, color=LIMIT, lw=0.8)
    stiffness.set(ylabel="stiffness index", xlabel="time, s", ylim=(-0.1, 2.1))
    stiffness.set_xlim(0.0, t_s[-1])
    stands = {"EXCESS_PRESSURE": force, "OVERDWELL": dwell, "TENDON_PROXIMITY": stiffness}
    for rule, axes in stands.items():
        for begin_s, end_s in _standing(replayed, rule, t_s[-1]):
            axes.axvspan(begin_s, end_s, color=LIMIT, alpha=0.15, lw=0)
            x_s, side = (end_s + 0.6, "left") if end_s < 0.8 * t_s[-1] else (begin_s - 0.6, "right")
            top = 0.97 * axes.get_ylim()[1]
            axes.text(x_s, top, rule, color=LIMIT, fontsize=8, va="top", ha=side)
    for axes in (force, dwell, stiffness):
        _tidy(axes)
    return figure


def _draw_force(axes: Any, t_s: Floats, features: list[Features], truth: Tracks) -> None:
    mean = np.array([each.contact_force_n for each in features])
    sd = np.array([each.contact_force_n_sd for each in features])
    axes.fill_between(
        t_s, mean - 2 * sd, mean + 2 * sd, color=ACCENT, alpha=0.18, lw=0, label="± 2 SD"
    )
    axes.plot(_grid(truth.force_n), truth.force_n, color=MUTED, lw=2.5, label="truth, 1 s mean")
    axes.plot(t_s, mean, color=ACCENT, lw=1.3, label="detected")
    axes.axhline(50.0, color=LIMIT, lw=0.8)
    axes.set(ylabel="contact force, N", ylim=(0.0, 120.0))
    axes.legend(loc="upper left", frameon=False, fontsize=8, ncols=3)


def _grid(values: NDArray[Any]) -> Floats:
    return np.arange(len(values), dtype=np.float64) * GRID_S


def _standing(replayed: Replayed, rule: str, end_s: float) -> list[tuple[float, float]]:
    """Spans in which the alarm is active."""
    spans, since_s = [], None
    for alarm in replayed.alarms:
        if alarm.rule != rule:
            continue
        at_s = (alarm.changed_at_ns - START_NS) / 1e9
        active = alarm.state in (AlarmState.ACTIVE_UNACK, AlarmState.ACTIVE_ACK)
        if active and since_s is None:
            since_s = at_s
        elif not active and since_s is not None:
            spans.append((since_s, at_s))
            since_s = None
    return [*spans, (since_s, end_s)] if since_s is not None else spans


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="0.92", lw=0.6)
    axes.set_axisbelow(True)


def main(folder: Path = IMAGES) -> None:
    mpl.rcParams.update({"svg.hashsalt": "myoguard", "path.simplify_threshold": 0.5})
    mpl.rcParams.update({"text.color": INK, "axes.labelcolor": INK, "font.size": 9})
    folder.mkdir(parents=True, exist_ok=True)
    player = draw_player()
    for name, figure in (("strokes", draw_strokes(player)), ("session", draw_session(player))):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
