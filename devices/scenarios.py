"""Scripted sessions: the named ones, the bench, and random ones like a clinic's day.

Pure and seeded; a script says what is meant to happen, the truth is measured when it is played.
"""

from __future__ import annotations

import numpy as np

from devices.script import Motion, Script, Segment
from devices.tissue import FIRM_PAD, SOFT_PAD, TissueKind

BENCH_FORCES_N = (0.0, 10.0, 20.0, 40.0, 70.0, 100.0)
BENCH_STEP_S = 3.0


def bench_script(speed_count: int) -> Script:
    """Every speed, both reference pads, 0 to 100 N, three seconds each."""
    segments = tuple(
        Segment(BENCH_STEP_S, Motion.HOLD, force_n, speed=speed, pad=pad)
        for speed in range(speed_count)
        for pad in (SOFT_PAD, FIRM_PAD)
        for force_n in BENCH_FORCES_N
    )
    return Script("bench", "calibration on two reference pads", segments)


def _lifted(rng: np.random.Generator, speed: int) -> Segment:
    return Segment(float(rng.uniform(1.6, 4.5)), Motion.MOVE, 0.0, speed=speed)


def _treatment(rng: np.random.Generator, speed: int, force_n: float) -> list[Segment]:
    """One thing a therapist does at a site."""
    kind = rng.choice(
        [
            "glide",
            "dwell",
            "near_dwell",
            "press",
            "near_press",
            "tendon",
            "graze",
            "bone",
            "circle",
        ],
        p=[0.24, 0.16, 0.06, 0.14, 0.06, 0.12, 0.08, 0.08, 0.06],
    )
    work = Segment(float(rng.uniform(8.0, 20.0)), Motion.GLIDE, force_n, speed=speed)
    match kind:
        case "glide":
            return [work]
        case "dwell":
            return [Segment(float(rng.uniform(34.0, 44.0)), Motion.HOLD, force_n, speed=speed)]
        case "near_dwell":
            return [Segment(float(rng.uniform(9.0, 16.0)), Motion.HOLD, force_n, speed=speed)]
        case "circle":
            radius_cm = float(rng.uniform(0.8, 2.0))
            circle = Segment(
                float(rng.uniform(23.0, 40.0)), Motion.CIRCLE, force_n, speed=speed,
                radius_cm=radius_cm,
            )  # fmt: skip
            return [circle]
        case "press" | "near_press":
            low, high = (60.0, 105.0) if kind == "press" else (36.0, 44.0)
            motion = Motion.HOLD if rng.random() < 0.5 else Motion.GLIDE
            hard = Segment(
                float(rng.uniform(3.5, 8.0)), motion, float(rng.uniform(low, high)), speed=speed
            )
            return [work, hard, Segment(5.0, Motion.GLIDE, force_n, speed=speed)]
        case _:
            return _hard_ground(rng, str(kind), speed, force_n, work)


def _hard_ground(
    rng: np.random.Generator, kind: str, speed: int, force_n: float, work: Segment
) -> list[Segment]:
    """Onto a tendon or bone: a stay of some seconds, or a crossing of well under one."""
    tissue = TissueKind.BONE if kind == "bone" else TissueKind.TENDON
    seconds = rng.uniform(0.3, 0.75) if kind == "graze" else rng.uniform(2.5, 7.0)
    motion = Motion.HOLD if rng.random() < 0.3 else Motion.GLIDE
    aim_n = float(rng.uniform(18.0, min(40.0, max(20.0, force_n))))
    stay = Segment(float(seconds), motion, aim_n, tissue, speed)
    return [work, stay, Segment(float(rng.uniform(3.0, 8.0)), Motion.GLIDE, force_n, speed=speed)]


def draw_session(
    rng: np.random.Generator, speed_count: int, seconds: float = 130.0, name: str = "session"
) -> Script:
    """A random session of about `seconds`: treatments at changing sites, forces and speeds."""
    speed = int(rng.integers(speed_count))
    segments = [Segment(float(rng.uniform(2.0, 4.0)), Motion.MOVE, 0.0, speed=speed)]
    played_s = segments[0].duration_s
    while played_s < seconds:
        force_n = float(rng.uniform(14.0, 42.0))
        block = [*_treatment(rng, speed, force_n), _lifted(rng, speed)]
        if rng.random() < 0.35:
            speed = int(rng.integers(speed_count))
        segments += block
        played_s += sum(segment.duration_s for segment in block)
    return Script(name, "random clinic session", tuple(segments))
