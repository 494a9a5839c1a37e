"""A script played by one gun: frames as its firmware makes them, with the truth of each beside it.

Pure and seeded: the same script, unit, operator, client and seed give the same takes. Works frame
by frame and holds one segment at a time, so an hour-long session costs no more memory than a
minute.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from devices.gun import FloatArray, Gun, Inputs, Outputs
from devices.motion import Hand, Wander
from devices.profile import load_profiles
from devices.script import Motion, Script, Segment
from devices.tissue import (
    SOFT_PAD,
    TEXTURE_SD,
    Client,
    Tissue,
    TissueKind,
    draw_client,
    draw_tissue,
    stiffness_from_depth,
)
from devices.unit import (
    BENCH_OPERATOR,
    Operator,
    Unit,
    cell_volts,
    draw_unit,
    housing_temperature_c,
    physics,
)
from pipeline.model import FrameFlag

EDGE_S = 0.03  # a head crosses from one tissue to the next in about three of these
FORCE_N_MIN = 1.0  # what a wandering hand still aims at
SPENT_CHARGE = 0.01
TEXTURE_WAVES_CM = (3.1, 5.3, 9.7)  # bands of firmer and softer muscle along a limb


class Take(NamedTuple):
    """One frame's worth of a performance. `t_s` is true time since the performance began."""

    seq: int
    t_s: float
    true_rate_hz: float
    rate_hz: float  # as the gun measured it
    clock_ns: int  # the gun's clock at the first sample
    set_hz: float
    samples_lsb: NDArray[np.int16]
    flags: FrameFlag
    battery_mv: int
    temperature_c: float
    force_n: FloatArray
    force_n_peak: FloatArray
    crank_hz: FloatArray
    tissue: NDArray[np.int8]  # under the head, touched or not
    position_cm: FloatArray
    site: str | None


@dataclass(slots=True)
class _Plan:
    """Rows of one segment still to be played."""

    inputs: Inputs
    tissue: NDArray[np.int8]
    position_cm: FloatArray
    set_hz: float
    site: str | None


class Performance:
    """Plays one script on one unit; iterate for its takes."""

    def __init__(
        self,
        script: Script,
        unit: Unit,
        operator: Operator,
        client: Client,
        rng: np.random.Generator,
        start_ns: int,
        *,
        loop: bool = False,
    ) -> None:
        """`start_ns` is what the gun's clock shows at the first sample; `loop` never ends."""
        self._script, self._unit, self._operator, self._client = script, unit, operator, client
        self._rng, self._start_ns, self._loop = rng, start_ns, loop
        self._physics = physics(unit, operator)
        self._gun = Gun(self._physics, unit.mount, unit.bias_g, float(rng.uniform(0.0, 6.28)))
        self._hand = Hand(operator, rng)
        self._force_wander = Wander(operator.force_wander_s, rng)
        self._site_tissues: dict[TissueKind, Tissue] = {}
        self._ground = np.array(
            [math.log(SOFT_PAD.depth_m), SOFT_PAD.exponent, SOFT_PAD.damping_s_m]
        )
        self._texture = rng.uniform(0.0, 2.0 * math.pi, len(TEXTURE_WAVES_CM))
        self._plans: list[_Plan] = []
        self._held_lsb = np.zeros(4, dtype=np.int16)

    def __iter__(self) -> Iterator[Take]:
        """Every frame of the script; the last one may be short."""
        script = self._script.segments
        segments = cycle(script) if self._loop else iter(script)
        ends_s, planned_s, t_s, seq = 0.0, 0.0, 0.0, 0
        while True:
            rate_hz = self._unit.true_rate_hz(t_s)
            wanted = round(self._unit.profile.sensor.frame_s * self._unit.profile.sensor.rate_hz)
            ready = sum(len(plan.tissue) for plan in self._plans)
            while ready < wanted and (segment := next(segments, None)) is not None:
                ends_s += segment.duration_s
                count = max(1, round((ends_s - planned_s) * rate_hz))
                planned_s += count / rate_hz
                self._plans.append(self._plan(segment, count, 1.0 / rate_hz))
                ready += count
            if ready == 0:
                return
            count = min(wanted, ready)
            yield self._take(seq, t_s, rate_hz, count)
            t_s += count / rate_hz
            seq += 1

    def _take(self, seq: int, t_s: float, rate_hz: float, count: int) -> Take:
        """Play the next `count` rows of the plan."""
        rows = _draw_rows(self._plans, count)
        open_volts = self._unit.profile.battery.cells * cell_volts(self._charge())
        amps = self._gun.mean_amps
        volts = open_volts - self._unit.profile.battery.resistance_ohm * amps
        out = self._gun.advance(rows.inputs, rate_hz, max(0.5, volts))
        watts = self._physics.resistance_ohm * amps * amps + 0.15 * open_volts * amps
        return Take(
            seq=seq,
            t_s=t_s,
            true_rate_hz=rate_hz,
            rate_hz=rate_hz * self._unit.rate_reported_ratio,
            clock_ns=self.clock_ns(t_s),
            set_hz=rows.set_hz,
            samples_lsb=self._stick(out.samples_lsb, t_s, rate_hz),
            flags=self._flags(out),
            battery_mv=round(1000.0 * volts),
            temperature_c=housing_temperature_c(t_s, watts),
            force_n=out.force_n,
            force_n_peak=out.force_n_peak,
            crank_hz=out.crank_hz,
            tissue=rows.tissue,
            position_cm=rows.position_cm,
            site=rows.site,
        )

    def _flags(self, out: Outputs) -> FrameFlag:
        flags = FrameFlag(0)
        if self._script.clock_synchronised:
            flags |= FrameFlag.CLOCK_SYNCHRONISED
        if bool((out.clipped & 1).any()):
            flags |= FrameFlag.ACCEL_CLIPPED
        if bool((out.clipped & 2).any()):
            flags |= FrameFlag.CURRENT_CLIPPED
        return flags

    def clock_ns(self, t_s: float) -> int:
        """What the gun's clock shows at true time `t_s`."""
        steps_s = sum(step.step_s for step in self._script.clock_steps if step.at_s <= t_s)
        return self._start_ns + round((t_s + steps_s) * 1e9)

    def _charge(self) -> float:
        used = self._gun.charge_a_s / (3600.0 * self._unit.profile.battery.capacity_a_h)
        return max(SPENT_CHARGE, self._script.charge - used)

    def _stick(self, samples: NDArray[np.int16], t_s: float, rate_hz: float) -> NDArray[np.int16]:
        """Freeze what the script says is stuck."""
        t = t_s + np.arange(len(samples)) / rate_hz
        for fault in self._script.stuck:
            stuck = (t >= fault.from_s) & (t < fault.to_s)
            if stuck.any():
                first = int(np.argmax(stuck))
                if first > 0:
                    self._held_lsb[fault.axis] = samples[first - 1, fault.axis]
                samples[stuck, fault.axis] = self._held_lsb[fault.axis]
        self._held_lsb = samples[-1].copy()
        return samples

    def _plan(self, segment: Segment, count: int, dt: float) -> _Plan:
        """Everything of a segment that does not depend on the physics."""
        if segment.motion is Motion.MOVE:
            self._site_tissues.clear()
        moves = self._hand.move(segment, count, dt)
        set_hz = self._set_hz(segment)
        tissue, ground = self._ground_under(segment, moves.position_cm, dt)
        target_n = np.zeros(count)
        if not segment.airborne:
            wander = self._operator.force_wander * self._force_wander.next(count, dt)
            target_n = np.maximum(FORCE_N_MIN, segment.force_n * (1.0 + wander))
        inputs = Inputs(
            target_force_n=target_n,
            set_rad_s=np.full(count, 2.0 * math.pi * set_hz),
            stiffness=stiffness_from_depth(np.exp(ground[0]), ground[1]),
            exponent=ground[1],
            damping_s_m=ground[2],
            support=moves.support,
            jam_n_m=np.full(count, segment.jam_n_m),
            slow_g=moves.slow_g,
            noise=self._rng.standard_normal((count, 4)),
        )
        return _Plan(inputs, tissue, moves.position_cm, set_hz, segment.site)

    def _set_hz(self, segment: Segment) -> float:
        speeds = self._unit.profile.drive.speeds_hz
        return 0.0 if segment.speed is None else speeds[min(segment.speed, len(speeds) - 1)]

    def _ground_under(
        self, segment: Segment, position_cm: FloatArray, dt: float
    ) -> tuple[NDArray[np.int8], FloatArray]:
        """Kind and (log depth, exponent, damping) under the head, blended from the last segment."""
        kind = segment.tissue
        tissue = segment.pad or self._site_tissues.get(kind)
        if tissue is None:
            tissue = self._site_tissues[kind] = draw_tissue(kind, self._client, self._rng)
        goal = np.array([math.log(tissue.depth_m), tissue.exponent, tissue.damping_s_m])
        ground = np.tile(goal, (len(position_cm), 1))
        if segment.pad is None:
            waves = 2.0 * math.pi * position_cm[:, :1] / np.array(TEXTURE_WAVES_CM)
            scale = TEXTURE_SD * math.sqrt(2.0 / len(TEXTURE_WAVES_CM)) / tissue.exponent
            ground[:, 0] += scale * np.sin(waves + self._texture).sum(axis=1)
        keep = math.exp(-dt / EDGE_S)
        ground, _ = lfilter(
            [1.0 - keep], [1.0, -keep], ground, axis=0, zi=keep * self._ground[None, :]
        )
        self._ground = ground[-1].copy()
        rows: FloatArray = np.ascontiguousarray(ground.T)  # one layout, one compiled kernel
        return np.full(len(position_cm), int(kind), dtype=np.int8), rows


def _draw_rows(plans: list[_Plan], count: int) -> _Plan:
    """Take `count` rows off the front; set speed and site are those of the last row."""
    parts: list[_Plan] = []
    while count > 0:
        plan = plans[0]
        size = min(count, len(plan.tissue))
        head, rest = _split(plan, size)
        parts.append(head)
        if len(rest.tissue):
            plans[0] = rest
        else:
            plans.pop(0)
        count -= size
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(part.inputs for part in parts), strict=True)
    return _Plan(
        Inputs(*(np.concatenate(column) for column in columns)),
        np.concatenate([part.tissue for part in parts]),
        np.concatenate([part.position_cm for part in parts]),
        parts[-1].set_hz,
        parts[-1].site,
    )


def _split(plan: _Plan, size: int) -> tuple[_Plan, _Plan]:
    front = Inputs(*(column[:size] for column in plan.inputs))
    back = Inputs(*(column[size:] for column in plan.inputs))
    return (
        _Plan(front, plan.tissue[:size], plan.position_cm[:size], plan.set_hz, plan.site),
        _Plan(back, plan.tissue[size:], plan.position_cm[size:], plan.set_hz, plan.site),
    )


def warm_up() -> None:
    """Compile the physics, or load it from numba's cache: seconds the first time, then a tenth."""
    rng = np.random.default_rng(0)
    unit = draw_unit(next(iter(load_profiles().values())), rng)
    script = Script("warm_up", "one short frame", (Segment(0.02, Motion.HOLD),))
    for _ in Performance(script, unit, BENCH_OPERATOR, draw_client(rng), rng, 0):
        pass
