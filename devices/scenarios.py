"""Scripted sessions: the named ones, the calibration bench, and random ones like a clinic's day.

Pure and seeded. A script says what is meant to happen; what did happen, and with it the truth,
comes out of playing it. `SCENARIOS` is a table: one row a situation that a detector must get right.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from devices.script import ClockStep, Motion, NetworkFaults, Script, Segment, StuckAxis
from devices.tissue import FIRM_PAD, SOFT_PAD, TissueKind

BENCH_FORCES_N = (0.0, 10.0, 20.0, 40.0, 70.0, 100.0)
BENCH_STEP_S = 3.0

_SET_DOWN = Segment(3.0, Motion.MOVE)
_AWAY = Segment(4.0, Motion.MOVE)
_WORK = Segment(10.0, Motion.GLIDE, 28.0)


def _hold(seconds: float, force_n: float = 30.0, speed: int = 1) -> Segment:
    return Segment(seconds, Motion.HOLD, force_n, speed=speed)


def _on(tissue: TissueKind, seconds: float, force_n: float) -> Segment:
    return Segment(seconds, Motion.GLIDE, force_n, tissue)


_ALL = (
    Script(
        "good_practice",
        "four muscles, gliding at 25-35 N, none for long",
        (_SET_DOWN, *(part for aim in (25.0, 35.0, 30.0, 27.0) for part in (
            Segment(14.0, Motion.GLIDE, aim), _AWAY)),
        ),
    ),
    Script("overdwell", "38 s on one spot", (_SET_DOWN, _WORK, _AWAY, _hold(38.0), _AWAY)),
    Script(
        "excess_pressure",
        "6 s at 75 N, holding and gliding",
        (_SET_DOWN, _WORK, _hold(6.0, 75.0), _WORK, Segment(6.0, Motion.GLIDE, 75.0), _WORK, _AWAY),
    ),
    Script(
        "extreme_pressure",
        "5 s at 130 N",
        (_SET_DOWN, _WORK, _hold(5.0, 130.0, speed=2), _WORK, _AWAY),
    ),
    Script(
        "tendon_graze",
        "three crossings of a tendon, each under a second: no alarm",
        (_SET_DOWN, *(part for seconds in (0.4, 0.6, 0.7) for part in (
            _WORK, _on(TissueKind.TENDON, seconds, 25.0))), _WORK, _AWAY,
        ),
    ),
    Script(
        "tendon_stay",
        "6 s on a tendon at 25 N",
        (_SET_DOWN, _WORK, _on(TissueKind.TENDON, 6.0, 25.0), _WORK, _AWAY),
    ),
    Script(
        "bone",
        "5 s on thin-covered bone at 22 N",
        (_SET_DOWN, _WORK, _on(TissueKind.BONE, 5.0, 22.0), _WORK, _AWAY),
    ),
    Script(
        "circles_in_place",
        "circles of 1.8 cm for 38 s: one spot",
        (_SET_DOWN, Segment(38.0, Motion.CIRCLE, 28.0, radius_cm=1.8), _AWAY),
    ),
    Script(
        "slow_creep",
        "off each 3 cm spot in 25 s: advisory, never the limit",
        (_SET_DOWN, Segment(60.0, Motion.CREEP, 28.0, creep_cm_s=0.125), _AWAY),
    ),
    Script(
        "rocking",
        "rocking the wrist by 8 degrees on one spot for 38 s: looks like gliding",
        (_SET_DOWN, Segment(38.0, Motion.ROCK, 28.0), _AWAY),
    ),
    Script(
        "slip_and_return",
        "slips off the spot for half a second and comes back",
        (_SET_DOWN, _hold(16.0), Segment(0.5, Motion.ROCK, 28.0, rock_deg=14.0, rock_hz=1.0),
         _hold(22.0), _AWAY),
    ),
    Script(
        "lift_and_return",
        "two lifts of well under a second do not restart the clock",
        (_SET_DOWN, _hold(16.0), Segment(0.5, Motion.RETURN), _hold(14.0),
         Segment(0.5, Motion.RETURN), _hold(14.0), _AWAY),
    ),
    Script(
        "speed_changes",
        "every speed, off and on again, gliding",
        (_SET_DOWN, *(Segment(7.0, Motion.GLIDE, 28.0, speed=speed) for speed in (0, 2, 1, 3, 0)),
         Segment(4.0, Motion.MOVE, speed=None), Segment(3.0, Motion.MOVE, speed=3),
         Segment(8.0, Motion.GLIDE, 28.0, speed=3), _AWAY),
    ),
    Script(
        "on_table",
        "laid on a table running for 45 s: no contact, no dwell",
        (_SET_DOWN, _WORK, Segment(45.0, Motion.LIE), _AWAY, _WORK, _AWAY),
    ),
    Script(
        "carried",
        "carried running through the room for 40 s",
        (_SET_DOWN, _WORK, Segment(40.0, Motion.WALK), _WORK, _AWAY),
    ),
    Script(
        "dropped",
        "falls off the table and stays on the floor running",
        (_SET_DOWN, _WORK, _AWAY, Segment(30.0, Motion.FALL), _AWAY, _WORK, _AWAY),
    ),
    Script(
        "stuck_axis",
        "the percussion axis of the sensor freezes for 12 s",
        (_SET_DOWN, _WORK, _WORK, _WORK, _AWAY),
        stuck=(StuckAxis(axis=2, from_s=10.0, to_s=22.0),),
    ),
    Script(
        "flaky_network",
        "frames lost, doubled, swapped and spoilt during an overdwell and a press",
        (_SET_DOWN, _hold(38.0), _AWAY, _WORK, _hold(6.0, 75.0), _WORK, _AWAY),
        network=NetworkFaults(drop=0.02, duplicate=0.03, reorder=0.03, corrupt=0.01),
    ),
    Script(
        "clock_step",
        "the gun's clock jumps ahead by 2.5 s, then an overdwell",
        (_SET_DOWN, _WORK, _AWAY, _hold(38.0), _AWAY),
        clock_steps=(ClockStep(at_s=8.0, step_s=2.5),),
    ),
    Script(
        "clock_unsynchronised",
        "a clock that was never set",
        (_SET_DOWN, _WORK, _AWAY),
        clock_synchronised=False,
    ),
    Script(
        "low_battery",
        "an almost empty pack: the motor slows",
        (_SET_DOWN, _WORK, _hold(6.0, 70.0), _WORK, _AWAY),
        charge=0.012,
    ),
    Script(
        "stalled_motor",
        "something blocks the crank for 6 s",
        (_SET_DOWN, _WORK, Segment(6.0, Motion.MOVE, jam_n_m=5.0), _WORK, _AWAY),
    ),
    Script(
        "too_strong_start",
        "the first contact is at the top speed with 40 N",
        (Segment(3.0, Motion.MOVE, speed=9), Segment(12.0, Motion.GLIDE, 40.0, speed=9), _AWAY),
    ),
)  # fmt: skip

SCENARIOS: Mapping[str, Script] = {script.name: script for script in _ALL}


def bench_script(speed_count: int) -> Script:
    """Every speed, both reference pads, 0 to 100 N, three seconds each."""
    segments = tuple(
        Segment(BENCH_STEP_S, Motion.HOLD, force_n, speed=speed, pad=pad)
        for speed in range(speed_count)
        for pad in (SOFT_PAD, FIRM_PAD)
        for force_n in BENCH_FORCES_N
    )
    return Script("bench", "calibration on two reference pads", segments)


# What a therapist does next at a site, and how often; the mix of the shared recordings and more.
_TREATMENTS: Mapping[str, float] = {
    "glide": 0.21, "dwell": 0.15, "near_dwell": 0.06, "press": 0.12, "near_press": 0.06,
    "tendon": 0.10, "graze": 0.07, "bone": 0.07, "circle": 0.05, "speeds": 0.04, "lifts": 0.03,
    "table": 0.02, "carried": 0.02,
}  # fmt: skip


def draw_session(
    rng: np.random.Generator, speed_count: int, seconds: float = 130.0, name: str = "session"
) -> Script:
    """A random session of about `seconds`: treatments at changing sites, forces and speeds."""
    speed = int(rng.integers(speed_count))
    segments = [Segment(float(rng.uniform(2.0, 4.0)), Motion.MOVE, speed=speed)]
    played_s = segments[0].duration_s
    while played_s < seconds:
        force_n = float(rng.uniform(14.0, 42.0))
        lifted = Segment(float(rng.uniform(1.6, 4.5)), Motion.MOVE, speed=speed)
        block = [*_treatment(rng, speed, force_n), lifted]
        if rng.random() < 0.35:
            speed = int(rng.integers(speed_count))
        segments += block
        played_s += sum(segment.duration_s for segment in block)
    return Script(name, "random clinic session", tuple(segments))


def _treatment(rng: np.random.Generator, speed: int, force_n: float) -> list[Segment]:
    """One thing a therapist does at a site."""
    kind = str(rng.choice(list(_TREATMENTS), p=list(_TREATMENTS.values())))
    if kind in ("tendon", "graze", "bone"):
        return _hard_ground(rng, kind, speed, force_n)
    if kind in ("press", "near_press"):
        return _press(rng, kind, speed, force_n)
    if kind in ("speeds", "lifts", "table", "carried"):
        return _interrupted(rng, kind, speed, force_n)
    spans_s = {
        "glide": (8.0, 20.0),
        "dwell": (34.0, 44.0),
        "near_dwell": (9.0, 16.0),
        "circle": (23.0, 40.0),
    }
    motion = {"glide": Motion.GLIDE, "circle": Motion.CIRCLE}.get(kind, Motion.HOLD)
    seconds, radius_cm = float(rng.uniform(*spans_s[kind])), float(rng.uniform(0.8, 2.0))
    return [Segment(seconds, motion, force_n, speed=speed, radius_cm=radius_cm)]


def _interrupted(rng: np.random.Generator, kind: str, speed: int, force_n: float) -> list[Segment]:
    """Work between changes of speed, a dwell with short lifts, or a running gun put away."""
    if kind in ("table", "carried"):
        away = Motion.LIE if kind == "table" else Motion.WALK
        return [Segment(float(rng.uniform(8.0, 30.0)), away, speed=speed)]
    if kind == "speeds":
        return [
            Segment(float(rng.uniform(4.0, 9.0)), Motion.GLIDE, force_n, speed=each)
            for each in (speed, int(rng.integers(4)), speed)
        ]
    segments = [Segment(float(rng.uniform(13.0, 15.0)), Motion.HOLD, force_n, speed=speed)]
    for _ in range(2):
        segments += [
            Segment(float(rng.uniform(0.3, 0.6)), Motion.RETURN, speed=speed),
            Segment(float(rng.uniform(13.0, 15.0)), Motion.HOLD, force_n, speed=speed),
        ]
    return segments


def _press(rng: np.random.Generator, kind: str, speed: int, force_n: float) -> list[Segment]:
    """Hard for some seconds amid ordinary work; a near press stays under 90 % of the limit."""
    low, high = (60.0, 105.0) if kind == "press" else (36.0, 41.0)
    motion = Motion.HOLD if rng.random() < 0.5 else Motion.GLIDE
    aim_n = float(rng.uniform(low, high))
    return [
        Segment(float(rng.uniform(8.0, 20.0)), Motion.GLIDE, force_n, speed=speed),
        Segment(float(rng.uniform(3.5, 8.0)), motion, aim_n, speed=speed),
        Segment(5.0, Motion.GLIDE, force_n, speed=speed),
    ]


def _hard_ground(rng: np.random.Generator, kind: str, speed: int, force_n: float) -> list[Segment]:
    """Onto a tendon or bone: a stay of some seconds, or a crossing of well under one."""
    tissue = TissueKind.BONE if kind == "bone" else TissueKind.TENDON
    seconds = rng.uniform(0.3, 0.75) if kind == "graze" else rng.uniform(2.5, 7.0)
    motion = Motion.HOLD if rng.random() < 0.3 else Motion.GLIDE
    aim_n = float(rng.uniform(18.0, min(40.0, max(20.0, force_n))))
    return [
        Segment(float(rng.uniform(8.0, 20.0)), Motion.GLIDE, force_n, speed=speed),
        Segment(float(seconds), motion, aim_n, tissue, speed),
        Segment(float(rng.uniform(3.0, 8.0)), Motion.GLIDE, force_n, speed=speed),
    ]
