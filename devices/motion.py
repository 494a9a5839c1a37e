"""How a hand carries a gun: path over the skin, attitude, and what carrying adds to the sensor.

Pure and seeded; continuous over any sequence of segments. The attitude follows from the position (a
limb is curved) plus tremor, so that gliding swings the gun and holding still does not. Positions
are in centimetres along and across the limb; attitude is two angles (along, across) from pointing
straight down.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from devices.gun import FREE, HELD, ON_TABLE, FloatArray
from devices.script import Motion, Segment
from devices.unit import Operator

FALL_S = 0.42  # from 0.87 m, a treatment table
IMPACTS = ((0.0, 90.0), (0.16, 30.0), (0.27, 10.0))  # (after landing [s], peak [g]); ABS on tile
IMPACT_S = 0.004
SETTLE_S = 0.6  # laying a gun down
TRANSFER_S = 0.9  # moving through the air to another site
AIR_SHAKE_DEG = np.array([2.0, 1.5])  # tremor and posture of a gun not resting on anything
STEP_HZ = 1.9  # walking
REST_ANGLE_RAD = -math.pi / 2.0  # lying on its side: x points up


class Moves(NamedTuple):
    """A segment's motion, one row a sample."""

    position_cm: FloatArray  # (n, 2)
    slow_g: FloatArray  # (n, 3) specific force in the housing frame
    support: FloatArray


class Wander:
    """A stationary first-order random wander with unit variance, continuous over calls."""

    def __init__(self, correlation_s: float, rng: np.random.Generator) -> None:
        """Starts at a draw from its own distribution."""
        self._correlation_s = correlation_s
        self._rng = rng
        self._last = float(rng.standard_normal())

    def next(self, count: int, dt: float) -> FloatArray:
        """The next `count` values, `dt` seconds apart."""
        keep = math.exp(-dt / self._correlation_s)
        drive = self._rng.standard_normal(count) * math.sqrt(1.0 - keep * keep)
        out: FloatArray
        out, _ = lfilter([1.0], [1.0, -keep], drive, zi=[keep * self._last])
        self._last = float(out[-1])
        return out


def _smooth(share: FloatArray) -> FloatArray:
    """From 0 to 1 without a jerk (3s² − 2s³), held at the ends."""
    s = np.clip(share, 0.0, 1.0)
    eased: FloatArray = s * s * (3.0 - 2.0 * s)
    return eased


class Hand:
    """Where the gun is and how it is held; `move` carries it through one segment."""

    def __init__(self, operator: Operator, rng: np.random.Generator) -> None:
        """At a first site, lifted."""
        self._operator = operator
        self._rng = rng
        self._centre = np.zeros(2)
        self._position = np.zeros(2)
        self._angles = self._draw_site_angles()
        self._site_angles = self._angles.copy()
        self._swing_rad = np.zeros(2)
        self._draw_curve()
        self._tremors = [Wander(0.35, rng), Wander(0.35, rng)]
        self._postures = [Wander(15.0, rng), Wander(15.0, rng)]
        self._slips = [Wander(1.5, rng), Wander(1.5, rng)]
        self._phase = 0.0
        self._shaky_deg = AIR_SHAKE_DEG

    def move(self, segment: Segment, count: int, dt: float) -> Moves:
        """The next `count` samples, `dt` apart, doing what the segment says."""
        t: FloatArray = np.arange(1, count + 1, dtype=np.float64) * dt
        if segment.motion is Motion.MOVE:
            path, angles = self._transfer(t)
        else:
            path = self._path(segment, t)
            self._position = path[-1].copy()
            lying = segment.motion in (Motion.LIE, Motion.FALL)
            angles = self._lie(t) if lying else self._held_angles(path)
            if segment.motion is Motion.ROCK:
                angles[:, 0] += math.radians(segment.rock_deg) * np.sin(
                    2.0 * math.pi * segment.rock_hz * t
                )
        shaken = angles + self._shake(segment, count, dt)
        slow_g = -_gravity(shaken)
        support = np.full(count, HELD)
        if segment.motion is Motion.WALK:
            slow_g += self._gait_g(t)
        elif segment.motion is Motion.LIE:
            support[t > SETTLE_S] = ON_TABLE
        elif segment.motion is Motion.FALL:
            self._fall(t, slow_g, support)
        slip_cm = 0.15 * np.column_stack([slip.next(count, dt) for slip in self._slips])
        return Moves(path + slip_cm, slow_g, support)

    def _draw_site_angles(self) -> FloatArray:
        """How the gun points at a site: mostly down on a lying client, sometimes nearly level."""
        return np.radians([self._rng.normal(0.0, 18.0), self._rng.normal(0.0, 18.0)])

    def _draw_curve(self) -> None:
        """The limb's curve as radians of swing per centimetre, along and (less) across."""
        swing = math.radians(self._operator.swing_deg * float(self._rng.uniform(0.7, 1.3)))
        swing = min(max(swing, math.radians(3.0)), math.radians(15.0))
        sign = 1.0 if self._rng.random() < 0.5 else -1.0
        self._swing_rad = sign * np.array([swing, 0.6 * swing]) / self._operator.glide_cm

    def _held_angles(self, path: FloatArray) -> FloatArray:
        held: FloatArray = self._site_angles + (path - self._centre) * self._swing_rad
        self._angles = held[-1].copy()
        return held

    def _transfer(self, t: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Through the air to a new site 12-30 cm away with its own curve and attitude."""
        start, start_angles = self._position.copy(), self._angles.copy()
        heading = self._rng.uniform(0.0, 2.0 * math.pi)
        reach_cm = self._rng.uniform(12.0, 30.0)
        self._centre = start + reach_cm * np.array([math.cos(heading), math.sin(heading)])
        self._site_angles = self._draw_site_angles()
        self._draw_curve()
        self._phase = 0.0
        share = _smooth(t / min(TRANSFER_S, t[-1]))[:, None]
        self._position = self._centre.copy()
        self._angles = self._site_angles.copy()
        return (
            start + share * (self._centre - start),
            start_angles + share * (self._site_angles - start_angles),
        )

    def _path(self, segment: Segment, t: FloatArray) -> FloatArray:
        """Positions of a segment that stays at its site."""
        path = np.tile(self._position, (len(t), 1))
        if segment.motion is Motion.GLIDE:
            path[:, 0] = self._glide(t)
        elif segment.motion is Motion.CIRCLE:
            radius = segment.radius_cm * _smooth(t / 1.0)
            turn = 2.0 * math.pi * t * self._rng.uniform(0.4, 0.9)
            path += np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])
        elif segment.motion is Motion.CREEP:
            path[:, 0] += segment.creep_cm_s * t
        return path

    def _glide(self, t: FloatArray) -> FloatArray:
        """To and fro about the site's centre at the operator's mean speed, from here on."""
        half = self._operator.glide_cm
        along = float(self._position[0] - self._centre[0])
        if abs(along) > half:
            self._centre[0] = self._position[0]
            self._site_angles = self._angles.copy()
            along = 0.0
        if abs(math.sin(self._phase) * half - along) > 0.01:
            self._phase = math.asin(along / half)
        rate = 2.0 * math.pi * self._operator.glide_cm_s / (4.0 * half)
        path: FloatArray = self._centre[0] + half * np.sin(self._phase + rate * t)
        self._phase = float((self._phase + rate * t[-1]) % (2.0 * math.pi))
        return path

    def _shake(self, segment: Segment, count: int, dt: float) -> FloatArray:
        """Tremor [rad]: sway, the 8-12 Hz tremor of a hand that works, and a drifting posture."""
        aim = np.array([self._operator.tremor_deg, self._operator.posture_deg])
        if segment.motion in (Motion.LIE, Motion.FALL):
            aim[:] = 0.0
        elif segment.airborne:
            aim = np.maximum(aim, AIR_SHAKE_DEG)
        fading = np.exp(-np.arange(1, count + 1) * dt / 0.2)[:, None]
        levels = aim + (self._shaky_deg - aim) * fading
        self._shaky_deg = levels[-1].copy()
        physiological = 0.1 * np.sin(
            2.0 * math.pi * self._rng.uniform(8.0, 12.0) * dt * np.arange(count)
        )
        columns = [
            levels[:, 0] * (tremor.next(count, dt) + physiological)
            + levels[:, 1] * posture.next(count, dt)
            for tremor, posture in zip(self._tremors, self._postures, strict=True)
        ]
        tremor_rad: FloatArray = np.radians(np.column_stack(columns))
        return tremor_rad

    def _lie(self, t: FloatArray) -> FloatArray:
        """Turning onto its side."""
        goal = np.array([REST_ANGLE_RAD, 0.0])
        share = _smooth(t / SETTLE_S)[:, None]
        angles: FloatArray = self._angles + share * (goal - self._angles)
        self._angles = angles[-1].copy()
        self._site_angles, self._centre = self._angles.copy(), self._position.copy()
        return angles

    def _gait_g(self, t: FloatArray) -> FloatArray:
        """Specific force of walking: heel strikes along, sway across (0.1-0.3 g at the hand)."""
        strength = self._rng.uniform(0.10, 0.28)
        turn = 2.0 * math.pi * STEP_HZ * t + self._rng.uniform(0.0, 2.0 * math.pi)
        gait: FloatArray = strength * np.column_stack(
            [0.5 * np.sin(turn), 0.6 * np.sin(turn / 2.0), np.sin(turn) + 0.4 * np.sin(2.0 * turn)]
        )
        return gait

    def _fall(self, t: FloatArray, slow_g: FloatArray, support: NDArray[np.float64]) -> None:
        """Weightless, then impacts on random axes, then lying; changes both arrays in place."""
        falling = t <= FALL_S
        slow_g[falling] = 0.0
        support[:] = np.where(falling, FREE, ON_TABLE)
        for after_s, peak_g in IMPACTS:
            since = t - FALL_S - after_s
            pulse = np.where(
                (since > 0.0) & (since < IMPACT_S), np.sin(math.pi * since / IMPACT_S), 0
            )
            direction = self._rng.normal(size=3)
            slow_g += peak_g * pulse[:, None] * direction / np.linalg.norm(direction)


def _gravity(angles: FloatArray) -> FloatArray:
    """Unit gravity in the housing frame; (0, 0, 1) when the head points straight down."""
    along, across = angles[:, 0], angles[:, 1]
    return np.column_stack(
        [np.sin(along), np.cos(along) * np.sin(across), np.cos(along) * np.cos(across)]
    )
