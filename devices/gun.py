"""The physics of one simulated massage gun: a crank drives a head into tissue, a sensor listens.

Pure and seeded: inputs and noise are arguments, the same arguments give the same bytes. Knows numpy
and numba alone; knows nothing of detection, MQTT or scripts.

The idea. Along the percussion axis z (positive toward the head, 0 = undisturbed skin) move a
housing, the hand that holds it through a soft grip, and a head tip on its own spring. A
crank-slider with exact kinematics couples housing and crank; a DC motor with back-EMF, resistance
and inductance turns the crank against whatever comes back. The skin answers with a Hunt-Crossley
force, in compression only: `F = k·δⁿ·(1 + d·δ̇)`, never below zero (Hunt & Crossley 1975,
doi:10.1115/1.3423596). Everything the sensors show (harmonics, crest, bounce on alternate strokes,
current against force) follows from that; nothing is drawn as a wave. The operator closes a slow
loop on the felt mean force.

Gravity does not enter the motion (the operator carries the gun's weight); it enters the
accelerometer through `slow_g`. Semi-implicit Euler: the stiffest spring (hard head and bone, 10⁶
N/m together, on a 20 g tip) has a period of 0.9 ms, 35 steps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

STEP_S_MAX = 25e-6  # halving it moves mean features by under 1 % (tests/test_gun.py)
G_M_S2 = 9.80665

HELD, ON_TABLE, FREE = 0.0, 1.0, 2.0  # what carries the housing: `Inputs.support`
HOLD_SPEED, SAG, BOOST = 0.0, 1.0, 2.0  # speed governors: `Physics.governor`

# The state vector, one float64 each.
(
    THETA, OMEGA, AMPS, OMEGA_LP, AMPS_LP, OMEGA_REF, PI_VOLTS, BOOSTED,
    X_HOUSING, V_HOUSING, X_HAND, V_HAND, X_TIP, V_TIP, X_ARM, FORCE_LP,
    X_SIDE, V_SIDE, Y_SIDE, V_Y_SIDE, X_PANEL, V_PANEL,
    MEAN_SQUARE_X, MEAN_SQUARE_Y, MEAN_SQUARE_Z,
    FILTER_0,
) = range(26)  # fmt: skip
FILTER_STATES_PER_CHANNEL = 4  # two biquads of two states
STATE_SIZE = FILTER_0 + 4 * FILTER_STATES_PER_CHANNEL

RETRACT_M = -0.035  # where a lifted head is carried, mid-stroke; clears an 8 mm crank
RETRACT_RATE_S = 8.0  # how fast it is pulled back, 1/s: clear of the skin in about 0.15 s
APPROACH_M_S_MAX = 0.25  # engineering choice: a hand closing on a limb, not a blow
FORCE_SENSE_S = 0.12  # the lag of a hand's sense of force (reaction times are 0.1-0.2 s)
SPEED_SENSE_S = 0.012  # a governor averages about half a stroke
BOOST_SENSE_S = 0.25
BOOST_RELEASE = 0.7  # hysteresis of the pressed-gun boost, of its threshold
RECTIFICATION_S = 0.05
TABLE_STIFFNESS_N_M, TABLE_DAMPING_N_S_M = 60_000.0, 25.0  # rubbered housing on wood
TABLE_GRIP_N_M, TABLE_DRAG_N_S_M = 3_000.0, 25.0  # friction of a lying gun, linearised
CREEP_RAD_S = 1.0  # friction is smoothed below this crank speed


class Physics(NamedTuple):
    """The numbers of one individual gun in one hand, in SI units."""

    crank_radius_m: float
    rod_ratio: float  # crank radius over connecting-rod length
    slider_kg: float
    tip_kg: float
    head_stiffness_n_m: float
    head_damping_n_s_m: float
    inertia_kg_m2: float
    friction_n_m: float
    viscous_n_m_s: float
    pin_friction_m: float  # bearing friction: torque per newton of rod force
    torque_constant_n_m_a: float  # equals the back-EMF constant in V·s/rad
    resistance_ohm: float
    inductance_h: float
    current_limit_a: float
    nominal_volts: float  # of the pack; an open-loop gun's duty cycle refers to it
    slew_rad_s2: float
    governor: float
    governor_gain: float  # proportional action in multiples of the back-EMF constant
    governor_integral_s: float
    boost_ratio: float
    boost_current_a: float
    housing_kg: float
    hand_kg: float
    grip_stiffness_n_m: float
    grip_damping_n_s_m: float
    arm_stiffness_n_m: float
    arm_damping_n_s_m: float
    push_rate_s: float  # bandwidth of the operator's force loop
    unbalance_kg_m: float
    rocking_x: float  # transverse over axial force at the sensor
    rocking_y: float
    side_rad_s: float
    side_damping: float
    panel_rad_s: float
    panel_damping: float
    panel_share: float  # how much of the housing shell's own mode the sensor sees
    filter_hz: float
    range_g: float
    accel_g_per_lsb: float
    current_a_per_lsb: float
    noise_g: float
    gear_noise_g: float  # at `gear_noise_rad_s`, growing with speed
    gear_noise_rad_s: float
    noise_a: float
    offset_a: float
    rectification_g_per_g2: float


class Inputs(NamedTuple):
    """What happens to the gun, one row a sample. `noise` is standard normal, in four columns."""

    target_force_n: FloatArray  # what the operator wants to feel; 0 lifts the gun
    set_rad_s: FloatArray  # commanded crank speed; 0 switches the motor off
    stiffness: FloatArray  # Hunt-Crossley k [N/mⁿ] under the head
    exponent: FloatArray
    damping_s_m: FloatArray
    support: FloatArray
    jam_n_m: FloatArray  # extra crank friction
    slow_g: FloatArray  # (n, 3) gravity and carrying motion as specific force, housing frame
    noise: FloatArray  # (n, 4)


class Outputs(NamedTuple):
    """What the sensor delivers, and the truth beside it, one row a sample."""

    samples_lsb: NDArray[np.int16]  # (n, 4)
    force_n: FloatArray  # contact force, mean over the sample
    force_n_peak: FloatArray
    crank_hz: FloatArray
    clipped: NDArray[np.uint8]  # bit 0 acceleration, bit 1 current


@njit(cache=True, nogil=True)
def slider(theta: float, radius: float, ratio: float) -> tuple[float, float, float]:
    """Slider position and its first two derivatives by crank angle [m, m/rad, m/rad²].

    Exact for rod length radius/ratio; zero at mid-stroke, farthest out at theta = 0.
    """
    sine, cosine = math.sin(theta), math.cos(theta)
    root = math.sqrt(1.0 - (ratio * sine) ** 2)
    along = radius * cosine + radius / ratio * (root - 1.0)
    first = -radius * sine * (1.0 + ratio * cosine / root)
    bend = (cosine * cosine - sine * sine) / root + (ratio * sine * cosine) ** 2 / root**3
    return along, first, -radius * (cosine + ratio * bend)


@njit(cache=True, nogil=True)
def contact_force(
    depth: float, speed: float, stiffness: float, exponent: float, damping: float
) -> float:
    """Force of the tissue on the head [N]: Hunt-Crossley in compression, never a pull."""
    if depth <= 0.0:
        return 0.0
    return float(max(0.0, stiffness * depth**exponent * (1.0 + damping * speed)))


@njit(cache=True, nogil=True)
def _govern(s: FloatArray, p: Physics, wanted: float, volts_max: float, dt: float) -> float:
    """Motor voltage for one sample: ramp, governor and current limit of the electronics."""
    step = p.slew_rad_s2 * dt
    s[OMEGA_REF] += min(max(wanted - s[OMEGA_REF], -step), step)
    s[OMEGA_LP] += (s[OMEGA] - s[OMEGA_LP]) * min(1.0, dt / SPEED_SENSE_S)
    s[AMPS_LP] += (s[AMPS] - s[AMPS_LP]) * min(1.0, dt / BOOST_SENSE_S)
    reference = s[OMEGA_REF]
    if p.governor == BOOST:
        if s[AMPS_LP] > p.boost_current_a:
            s[BOOSTED] = 1.0
        elif s[AMPS_LP] < BOOST_RELEASE * p.boost_current_a:
            s[BOOSTED] = 0.0
        reference *= 1.0 + p.boost_ratio * s[BOOSTED]
    volts = p.torque_constant_n_m_a * reference
    if p.governor == SAG:
        volts *= volts_max / p.nominal_volts
    else:
        error_volts = p.torque_constant_n_m_a * (reference - s[OMEGA_LP])
        limit = 0.5 * volts_max
        s[PI_VOLTS] += error_volts * dt / p.governor_integral_s
        s[PI_VOLTS] = min(max(s[PI_VOLTS], -limit), limit)
        volts += p.governor_gain * error_volts + s[PI_VOLTS]
    room = p.resistance_ohm * p.current_limit_a
    back_emf = p.torque_constant_n_m_a * s[OMEGA]
    volts = min(max(volts, back_emf - 0.3 * room), back_emf + room)
    return float(min(max(volts, 0.0), volts_max))


@njit(cache=True, nogil=True)
def _motor_torque(s: FloatArray, p: Physics, volts: float, driven: bool, dt: float) -> float:
    """Advance the winding current implicitly; its torque [N·m]. Undriven, the winding is open."""
    if not driven:
        s[AMPS] = 0.0
        return 0.0
    drive = volts - p.torque_constant_n_m_a * s[OMEGA]
    rate = dt / p.inductance_h
    s[AMPS] = (s[AMPS] + rate * drive) / (1.0 + rate * p.resistance_ohm)
    return float(p.torque_constant_n_m_a * s[AMPS])


@njit(cache=True, nogil=True)
def _support_force(s: FloatArray, p: Physics, support: float, dt: float) -> float:
    """Force on the housing from the hand (advanced here), from a table, or none in a fall."""
    if support != HELD:
        s[X_HAND], s[V_HAND] = s[X_HOUSING], s[V_HOUSING]
        if support == FREE:
            return 0.0
        drag = TABLE_DRAG_N_S_M * s[V_HOUSING]
        return float(TABLE_GRIP_N_M * (s[X_ARM] - s[X_HOUSING]) - drag)
    stretch, rate = s[X_HAND] - s[X_HOUSING], s[V_HAND] - s[V_HOUSING]
    grip = p.grip_stiffness_n_m * stretch + p.grip_damping_n_s_m * rate
    arm = p.arm_stiffness_n_m * (s[X_ARM] - s[X_HAND]) - p.arm_damping_n_s_m * s[V_HAND]
    s[V_HAND] += dt * (arm - grip) / p.hand_kg
    s[X_HAND] += dt * s[V_HAND]
    return float(grip)


@njit(cache=True, nogil=True)
def _mechanics(
    s: FloatArray, p: Physics, x: Inputs, k: int, torque: float, dt: float
) -> tuple[float, float, float]:
    """One step of housing, crank and tip; (contact force, head-spring force, housing acceleration).

    Lagrange's equations of (housing position, crank angle), solved as a 2×2 system: the slider's
    inertia couples them through the crank's own kinematics.
    """
    along, first, second = slider(s[THETA], p.crank_radius_m, p.rod_ratio)
    squeeze = s[X_HOUSING] + along - s[X_TIP]
    squeeze_rate = s[V_HOUSING] + first * s[OMEGA] - s[V_TIP]
    head = p.head_stiffness_n_m * squeeze + p.head_damping_n_s_m * squeeze_rate
    force = contact_force(s[X_TIP], s[V_TIP], x.stiffness[k], x.exponent[k], x.damping_s_m[k])
    throw = p.slider_kg * second * s[OMEGA] ** 2
    push = _support_force(s, p, x.support[k], dt) - head - throw
    twist = torque - p.viscous_n_m_s * s[OMEGA] - first * (head + throw)
    mass, cross = p.housing_kg + p.slider_kg, p.slider_kg * first
    inertia = p.inertia_kg_m2 + cross * first
    inverse = 1.0 / (mass * inertia - cross * cross)
    acceleration = (inertia * push - cross * twist) * inverse
    s[OMEGA] += dt * (mass * twist - cross * push) * inverse
    drag = p.friction_n_m + x.jam_n_m[k] + p.pin_friction_m * abs(head + throw)
    s[OMEGA] /= 1.0 + dt * drag / (inertia * (abs(s[OMEGA]) + CREEP_RAD_S))
    s[THETA] += dt * s[OMEGA]
    s[V_HOUSING] += dt * acceleration
    s[X_HOUSING] += dt * s[V_HOUSING]
    s[V_TIP] += dt * (head - force) / p.tip_kg
    s[X_TIP] += dt * s[V_TIP]
    return force, head, acceleration


@njit(cache=True, nogil=True)
def _sideways(
    s: FloatArray, p: Physics, support: float, head: float, dt: float
) -> tuple[float, float]:
    """Transverse accelerations [m/s²]: unbalance, rod thrust, rocking; rattle on a table."""
    mass = p.housing_kg + p.slider_kg + (p.hand_kg if support == HELD else 0.0)
    sine = math.sin(s[THETA])
    drive_x = p.unbalance_kg_m * s[OMEGA] ** 2 * sine + (p.rocking_x + p.rod_ratio * sine) * head
    if support == ON_TABLE:
        floor = 0.0
        if s[X_SIDE] < 0.0:
            floor = max(0.0, -TABLE_STIFFNESS_N_M * s[X_SIDE] - TABLE_DAMPING_N_S_M * s[V_SIDE])
        side_x = (drive_x + floor) / mass - G_M_S2
    else:
        damping = 2.0 * p.side_damping * p.side_rad_s
        side_x = drive_x / mass - damping * s[V_SIDE] - p.side_rad_s**2 * s[X_SIDE]
    damping = 2.0 * p.side_damping * p.side_rad_s
    side_y = p.rocking_y * head / mass - damping * s[V_Y_SIDE] - p.side_rad_s**2 * s[Y_SIDE]
    s[V_SIDE] += dt * side_x
    s[X_SIDE] += dt * s[V_SIDE]
    s[V_Y_SIDE] += dt * side_y
    s[Y_SIDE] += dt * s[V_Y_SIDE]
    return side_x, side_y


@njit(cache=True, nogil=True)
def _panel(s: FloatArray, p: Physics, acceleration: float, dt: float) -> float:
    """Axial acceleration at the sensor: the housing's plus a share of its shell's own mode."""
    bend = -acceleration - 2.0 * p.panel_damping * p.panel_rad_s * s[V_PANEL]
    bend -= p.panel_rad_s**2 * s[X_PANEL]
    s[V_PANEL] += dt * bend
    s[X_PANEL] += dt * s[V_PANEL]
    return float(acceleration + p.panel_share * bend)


@njit(cache=True, nogil=True)
def _low_pass(s: FloatArray, at: int, taps: FloatArray, value: float) -> float:
    """One channel of the anti-alias filter: two biquads, transposed direct form II."""
    for section in range(2):
        i = at + 2 * section
        out = taps[section, 0] * value + s[i]
        s[i] = taps[section, 1] * value - taps[section, 3] * out + s[i + 1]
        s[i + 1] = taps[section, 2] * value - taps[section, 4] * out
        value = out
    return value


@njit(cache=True, nogil=True)
def _push(s: FloatArray, p: Physics, target_n: float, felt_n: float, dt: float) -> None:
    """The operator moves the arm until the felt force is the wanted one, or lifts the gun clear."""
    s[FORCE_LP] += (felt_n - s[FORCE_LP]) * min(1.0, dt / FORCE_SENSE_S)
    if target_n > 0.0:
        speed = p.push_rate_s * (target_n - s[FORCE_LP]) / p.arm_stiffness_n_m
        speed = min(max(speed, -APPROACH_M_S_MAX), APPROACH_M_S_MAX)
    else:
        speed = RETRACT_RATE_S * (RETRACT_M - s[X_ARM])
    s[X_ARM] += dt * speed


@njit(cache=True, nogil=True)
def _clip(value: float, limit: float) -> tuple[float, bool]:
    if value > limit:
        return limit, True
    if value < -limit:
        return -limit, True
    return value, False


@njit(cache=True, nogil=True)
def _sense(
    s: FloatArray, p: Physics, mount: FloatArray, bias_g: FloatArray,
    signal: FloatArray, slow: FloatArray, noise: FloatArray, out: NDArray[np.int16],
) -> int:  # fmt: skip
    """Rotate, bias, clip and quantise one sample (ax, ay, az in m/s², amperes); the clip bits."""
    clipped = 0
    shake = p.noise_g + p.gear_noise_g * abs(s[OMEGA]) / p.gear_noise_rad_s
    for row in range(3):
        value = bias_g[row] + p.rectification_g_per_g2 * s[MEAN_SQUARE_X + row] + shake * noise[row]
        for column in range(3):
            value += mount[row, column] * (signal[column] / G_M_S2 + slow[column])
        value, over = _clip(value, p.range_g)
        clipped |= 1 if over else 0
        out[row] = int(min(max(round(value / p.accel_g_per_lsb), -32768.0), 32767.0))
    amps = (signal[3] + p.offset_a + p.noise_a * noise[3]) / p.current_a_per_lsb
    amps, over = _clip(amps, 32767.0)
    out[3] = round(amps)
    return clipped | (2 if over else 0)


@njit(cache=True, nogil=True)
def _sample(
    s: FloatArray, p: Physics, taps: FloatArray, x: Inputs, k: int, volts: float,
    substeps: int, dt: float, signal: FloatArray, mean_square: FloatArray,
) -> tuple[float, float]:  # fmt: skip
    """Integrate over one sample; its mean and peak contact force.

    Into `signal` go the filtered channels, into `mean_square` the unfiltered acceleration's.
    """
    driven = x.set_rad_s[k] > 0.0
    force_sum, peak = 0.0, 0.0
    mean_square[:] = 0.0
    for _ in range(substeps):
        torque = _motor_torque(s, p, volts, driven, dt)
        force, head, axial = _mechanics(s, p, x, k, torque, dt)
        side_x, side_y = _sideways(s, p, x.support[k], head, dt)
        axial = _panel(s, p, axial, dt)
        mean_square[0] += side_x * side_x / substeps
        mean_square[1] += side_y * side_y / substeps
        mean_square[2] += axial * axial / substeps
        signal[0] = _low_pass(s, FILTER_0, taps, side_x)
        signal[1] = _low_pass(s, FILTER_0 + 4, taps, side_y)
        signal[2] = _low_pass(s, FILTER_0 + 8, taps, axial)
        signal[3] = _low_pass(s, FILTER_0 + 12, taps, s[AMPS])
        force_sum += force
        peak = max(peak, force)
    return force_sum / substeps, peak


@njit(cache=True, nogil=True)
def _advance(
    s: FloatArray, p: Physics, mount: FloatArray, bias_g: FloatArray, taps: FloatArray, x: Inputs,
    volts_max: float, substeps: int, rate_hz: float, out: Outputs,
) -> float:  # fmt: skip
    """Run every sample of `x` through the gun into `out`; the charge drawn [A·s].

    `rate_hz` is the true sampling rate; `substeps` integration steps make a sample.
    """
    period, dt = 1.0 / rate_hz, 1.0 / (rate_hz * substeps)
    signal, mean_square, charge = np.zeros(4), np.zeros(3), 0.0
    keep = min(1.0, period / RECTIFICATION_S)
    for k in range(len(x.target_force_n)):
        volts = _govern(s, p, x.set_rad_s[k], volts_max, period)
        force, peak = _sample(s, p, taps, x, k, volts, substeps, dt, signal, mean_square)
        for axis in range(3):
            square = mean_square[axis] / (G_M_S2 * G_M_S2)
            s[MEAN_SQUARE_X + axis] += keep * (square - s[MEAN_SQUARE_X + axis])
        _push(s, p, x.target_force_n[k], force, period)
        out.force_n[k], out.force_n_peak[k] = force, peak
        out.crank_hz[k] = s[OMEGA_LP] / (2.0 * math.pi)
        out.clipped[k] = _sense(
            s, p, mount, bias_g, signal, x.slow_g[k], x.noise[k], out.samples_lsb[k]
        )
        charge += abs(s[AMPS]) * period
    return charge


def low_pass_taps(cutoff_hz: float, step_hz: float) -> FloatArray:
    """Fourth-order Butterworth low-pass: two biquads (b0 b1 b2 a1 a2), bilinear, prewarped."""
    taps = np.empty((2, 5))
    w = math.tan(math.pi * cutoff_hz / step_hz)
    for row, quality in enumerate((0.54119610, 1.30656296)):  # 1/(2 cos(π/8)), 1/(2 cos(3π/8))
        norm = 1.0 / (1.0 + w / quality + w * w)
        taps[row] = (
            w * w * norm,
            2.0 * w * w * norm,
            w * w * norm,
            2.0 * (w * w - 1.0) * norm,
            (1.0 - w / quality + w * w) * norm,
        )
    return taps


class Gun:
    """One gun running: its state, its unit's physics and the true sampling rate of its sensor."""

    def __init__(
        self, physics: Physics, mount: FloatArray, bias_g: FloatArray, theta_rad: float = 0.0
    ) -> None:
        """Lifted clear of the skin, motor still; `mount` turns housing into sensor axes."""
        self._physics = physics
        self._mount = np.ascontiguousarray(mount, dtype=np.float64)
        self._bias_g = np.ascontiguousarray(bias_g, dtype=np.float64)
        self._state = np.zeros(STATE_SIZE)
        self._state[THETA] = theta_rad
        self._state[[X_HOUSING, X_HAND, X_ARM]] = RETRACT_M
        along, _, _ = slider(theta_rad, physics.crank_radius_m, physics.rod_ratio)
        self._state[X_TIP] = RETRACT_M + along
        self.charge_a_s = 0.0

    @property
    def mean_amps(self) -> float:
        """Motor current over the last quarter of a second [A]."""
        return float(self._state[AMPS_LP])

    def advance(self, inputs: Inputs, rate_hz: float, volts_max: float) -> Outputs:
        """The gun's next `len(inputs.noise)` samples at the true rate `rate_hz` [Hz].

        `volts_max` is what the battery can give now. The same calls give the same bytes, however
        the samples are cut into calls, as long as rate and voltage stay.
        """
        count = len(inputs.target_force_n)
        substeps = math.ceil(1.0 / (rate_hz * STEP_S_MAX))
        taps = low_pass_taps(self._physics.filter_hz, rate_hz * substeps)
        out = Outputs(
            np.empty((count, 4), dtype=np.int16),
            np.empty(count),
            np.empty(count),
            np.empty(count),
            np.empty(count, dtype=np.uint8),
        )
        self.charge_a_s += _advance(
            self._state, self._physics, self._mount, self._bias_g, taps, inputs,
            volts_max, substeps, rate_hz, out,
        )  # fmt: skip
        return out
