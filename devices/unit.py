"""One individual gun of a model and one operator's hand: what varies behind the published figures.

Pure and seeded. `draw_unit` takes a profile and scatters it as manufacture does (mechanics ±15 %,
sensor mounting, bias, noise, sampling rate); `draw_operator` draws a hand (mass, stiffness, tremor,
habits); `physics` puts both together for `gun.Gun`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from devices.gun import BOOST, HOLD_SPEED, SAG, FloatArray, Physics
from devices.profile import Governor, Head, Profile

MECHANICS_SPREAD = 0.15  # masses, stiffness, friction and damping of one unit against its model
TORQUE_SHARE = 2.0 / 3.0  # of that spread: motor data sheets give ±10 %
MOUNT_DEG_MAX = 10.0
TREMOR_DEG = (0.3, 3.0)  # from a steady hand to one that shakes visibly
POSTURE_DEG = (0.2, 1.0)  # engineering choice: what the arm of somebody who stands still drifts
RATE_ERROR_MAX = 0.03  # true sampling rate against nominal
RATE_DRIFT_MAX = 0.002  # slow swing of the true rate with temperature
RATE_MEASUREMENT_SD = 0.0005  # what `rate_hz` in a frame is off by
BIAS_SD_G = 0.02
RECTIFICATION_G_PER_G2 = (2e-4, 1.2e-3)  # vibration rectification: tens of mg at 5-8 g RMS

_GOVERNORS = {Governor.HOLD: HOLD_SPEED, Governor.SAG: SAG, Governor.BOOST: BOOST}
INT16_MAX = 32767
NOMINAL_CELL_V = 3.9  # where the speed steps of an open-loop gun are true
_PIN_RADIUS_M = 0.004  # crank pin; times a friction coefficient
_CELL_EMPTY_V, _CELL_FLAT_V, _CELL_FULL_V = 3.1, 3.62, 4.18  # lithium-ion, open circuit
_THERMAL_S = 900.0


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """One gun as it left the factory, with its attachment."""

    profile: Profile
    head: Head
    serial: str
    scale: dict[str, float]  # multipliers of the profile's mechanics, by name
    mount: FloatArray  # (3, 3) housing to sensor axes
    bias_g: FloatArray
    noise_scale: float
    rectification_g_per_g2: float
    rate_hz: float  # true, before drift
    rate_drift: float
    rate_drift_s: float
    rate_reported_ratio: float

    def true_rate_hz(self, t_s: float) -> float:
        """The sampling rate at a time since power-on."""
        return self.rate_hz * (
            1.0 + self.rate_drift * math.sin(2.0 * math.pi * t_s / self.rate_drift_s)
        )


@dataclass(frozen=True, slots=True)
class Operator:
    """One therapist's hand and habits."""

    hand_kg: float  # what of hand and forearm moves with the housing
    grip_stiffness_n_m: float
    grip_damping_n_s_m: float
    arm_stiffness_n_m: float
    arm_damping_n_s_m: float
    push_rate_s: float
    force_wander: float  # relative standard deviation
    force_wander_s: float
    tremor_deg: float  # standard deviation of attitude while holding, by trembling
    posture_deg: float  # and by a posture that drifts over a quarter of a minute
    swing_deg: float  # attitude at the ends of a glide
    glide_cm_s: float
    glide_cm: float  # half the length of a glide


def draw_unit(profile: Profile, rng: np.random.Generator, head: str | None = None) -> Unit:
    """A unit of this model with the named head, or one of the model's heads at random."""
    heads = [entry for entry in profile.heads if head in (None, entry.kind)]
    if not heads:
        kinds = ", ".join(entry.kind for entry in profile.heads)
        raise ValueError(f"{profile.model} has no head {head!r}; it has {kinds}")
    low, high = math.log(RECTIFICATION_G_PER_G2[0]), math.log(RECTIFICATION_G_PER_G2[1])
    spread = MECHANICS_SPREAD
    names = (
        "reciprocating", "head", "inertia", "friction", "unbalance", "torque", "resistance",
        "housing",
    )  # fmt: skip
    return Unit(
        profile=profile,
        head=heads[int(rng.integers(len(heads)))],
        serial=f"{rng.integers(36**4):05d}",
        scale={name: float(rng.uniform(1.0 - spread, 1.0 + spread)) for name in names},
        mount=_draw_mount(rng),
        bias_g=rng.normal(0.0, BIAS_SD_G, 3),
        noise_scale=float(rng.uniform(0.7, 2.0)),
        rectification_g_per_g2=math.exp(rng.uniform(low, high)),
        rate_hz=profile.sensor.rate_hz * float(1.0 + rng.uniform(-1.0, 1.0) * RATE_ERROR_MAX),
        rate_drift=float(rng.uniform(0.0, RATE_DRIFT_MAX)),
        rate_drift_s=float(rng.uniform(200.0, 1200.0)),
        rate_reported_ratio=1.0 + float(rng.normal(0.0, RATE_MEASUREMENT_SD)),
    )


def _draw_mount(rng: np.random.Generator) -> FloatArray:
    """Rotation by up to MOUNT_DEG_MAX about a random axis (Rodrigues' formula)."""
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = math.radians(MOUNT_DEG_MAX) * float(rng.uniform(0.0, 1.0))
    cross = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    turned: FloatArray = (
        np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * (cross @ cross)
    )
    return turned


def draw_operator(rng: np.random.Generator) -> Operator:
    """Any adult's hand; masses and impedances in the range of ISO 10068 hand-arm models."""
    return Operator(
        hand_kg=float(rng.uniform(0.22, 0.50)),
        grip_stiffness_n_m=float(rng.uniform(15e3, 35e3)),
        grip_damping_n_s_m=float(rng.uniform(50.0, 110.0)),
        arm_stiffness_n_m=float(rng.uniform(450.0, 1000.0)),
        arm_damping_n_s_m=float(rng.uniform(20.0, 45.0)),
        push_rate_s=float(rng.uniform(3.5, 6.0)),
        force_wander=float(rng.uniform(0.02, 0.06)),
        force_wander_s=float(rng.uniform(0.7, 2.5)),
        tremor_deg=float(math.exp(rng.uniform(math.log(TREMOR_DEG[0]), math.log(TREMOR_DEG[1])))),
        posture_deg=float(rng.uniform(*POSTURE_DEG)),
        swing_deg=float(rng.uniform(4.0, 15.0)),
        glide_cm_s=float(rng.uniform(2.5, 7.0)),
        glide_cm=float(rng.uniform(5.0, 11.0)),
    )


# The bench's press: a steady technician, as heavy a hand as an average operator's.
BENCH_OPERATOR = Operator(
    hand_kg=0.34, grip_stiffness_n_m=24e3, grip_damping_n_s_m=75.0, arm_stiffness_n_m=700.0,
    arm_damping_n_s_m=30.0, push_rate_s=5.0, force_wander=0.004, force_wander_s=1.0,
    tremor_deg=0.24, posture_deg=0.18, swing_deg=4.0, glide_cm_s=3.0, glide_cm=5.0,
)  # fmt: skip


def physics(unit: Unit, operator: Operator) -> Physics:
    """The numbers of this unit in this hand."""
    drive, motor, sensor = unit.profile.drive, unit.profile.motor, unit.profile.sensor
    scale, top_rad_s = unit.scale, 2.0 * math.pi * drive.speeds_hz[-1]
    return Physics(
        crank_radius_m=drive.stroke_mm / 2000.0,
        rod_ratio=drive.rod_ratio,
        slider_kg=drive.reciprocating_kg * scale["reciprocating"],
        tip_kg=unit.head.mass_kg,
        head_stiffness_n_m=unit.head.stiffness_n_m * scale["head"],
        head_damping_n_s_m=unit.head.damping_n_s_m * scale["head"],
        inertia_kg_m2=drive.inertia_kg_m2 * scale["inertia"],
        friction_n_m=drive.friction_n_m * scale["friction"],
        viscous_n_m_s=0.4 * drive.friction_n_m / top_rad_s,
        pin_friction_m=0.05 * _PIN_RADIUS_M * scale["friction"],
        torque_constant_n_m_a=motor.torque_constant_n_m_a
        * (1.0 + TORQUE_SHARE * (scale["torque"] - 1.0)),
        resistance_ohm=motor.resistance_ohm * scale["resistance"],
        inductance_h=motor.inductance_h,
        current_limit_a=motor.current_limit_a,
        nominal_volts=unit.profile.battery.cells * NOMINAL_CELL_V,
        slew_rad_s2=top_rad_s / drive.spin_up_s,
        governor=_GOVERNORS[drive.governor],
        governor_gain=1.5,
        governor_integral_s=0.08,
        boost_ratio=drive.boost_ratio,
        boost_current_a=drive.boost_current_a,
        housing_kg=unit.profile.housing.mass_kg * scale["housing"],
        hand_kg=operator.hand_kg,
        grip_stiffness_n_m=operator.grip_stiffness_n_m,
        grip_damping_n_s_m=operator.grip_damping_n_s_m,
        arm_stiffness_n_m=operator.arm_stiffness_n_m,
        arm_damping_n_s_m=operator.arm_damping_n_s_m,
        push_rate_s=operator.push_rate_s,
        unbalance_kg_m=drive.unbalance_g_mm * 1e-6 * scale["unbalance"],
        rocking_x=0.04,
        rocking_y=0.03,
        side_rad_s=2.0 * math.pi * 11.0,
        side_damping=0.35,
        panel_rad_s=2.0 * math.pi * unit.profile.housing.panel_hz,
        panel_damping=unit.profile.housing.panel_damping,
        panel_share=unit.profile.housing.panel_share,
        filter_hz=sensor.filter_hz,
        range_g=min(sensor.range_g, INT16_MAX * sensor.accel_g_per_lsb),
        accel_g_per_lsb=sensor.accel_g_per_lsb,
        current_a_per_lsb=sensor.current_a_per_lsb,
        noise_g=sensor.noise_g * unit.noise_scale,
        gear_noise_g=0.04 * unit.noise_scale,
        gear_noise_rad_s=top_rad_s,
        noise_a=sensor.current_noise_a * unit.noise_scale,
        offset_a=0.02 * (unit.noise_scale - 1.0),
        rectification_g_per_g2=unit.rectification_g_per_g2,
    )


def cell_volts(charge: float) -> float:
    """Open-circuit voltage of one cell at a state of charge from 0 to 1: flat, steep at the end."""
    knee = _CELL_FLAT_V + (_CELL_FULL_V - _CELL_FLAT_V) * charge
    return knee - (_CELL_FLAT_V - _CELL_EMPTY_V) * math.exp(-charge / 0.03)


def housing_temperature_c(t_s: float, mean_watts: float) -> float:
    """Housing temperature after `t_s` at a mean loss: 1.2 °C a watt with a 15 min time constant."""
    return 24.0 + 1.2 * mean_watts * (1.0 - math.exp(-t_s / _THERMAL_S))
