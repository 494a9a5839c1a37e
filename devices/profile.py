"""Gun models: what a maker would publish, read from `profiles/*.toml` into frozen dataclasses.

Reads the packaged files and nothing else; knows no unit, no body and nothing of detection. Every
field states its bounds beside it, so a wrong figure is named with its file, key, value and remedy
when the file is loaded, not when a simulation explodes. Every table carries a `source`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid")
Text = Annotated[str, Field(min_length=1)]
SpeedHz = Annotated[float, Field(ge=15.0, le=65.0)]


class ProfileError(ValueError):
    """A profile that cannot be used: which file, key and value, and what is allowed."""


class Governor(StrEnum):
    """What a gun's electronics do when it is pressed."""

    HOLD = "hold"  # closed loop on speed
    SAG = "sag"  # fixed voltage: slows under load and with an emptying battery
    BOOST = "boost"  # holds speed, and jumps to a higher one when pressed


@dataclass(frozen=True, slots=True, config=_STRICT)
class Drive:
    """The crank and what it moves."""

    source: Text
    stroke_mm: Annotated[float, Field(ge=6.0, le=20.0)]
    speeds_hz: Annotated[tuple[SpeedHz, ...], Field(min_length=1)]  # from slow to fast
    rod_ratio: Annotated[float, Field(ge=0.05, le=0.4)]  # crank radius over rod length
    reciprocating_kg: Annotated[float, Field(ge=0.02, le=0.2)]  # slider and shaft, no head
    inertia_kg_m2: Annotated[float, Field(ge=1e-5, le=1e-3)]  # rotor, crank, counterweight
    friction_n_m: Annotated[float, Field(ge=5e-4, le=0.05)]
    unbalance_g_mm: Annotated[float, Field(ge=0.0, le=200.0)]  # left by the counterweight
    spin_up_s: Annotated[float, Field(ge=0.05, le=0.6)]  # from rest to the highest speed
    governor: Governor
    boost_ratio: Annotated[float, Field(ge=0.0, le=0.4)] = 0.0
    boost_current_a: Annotated[float, Field(ge=0.5, le=30.0)] = 30.0


@dataclass(frozen=True, slots=True, config=_STRICT)
class Motor:
    """Winding and electronics."""

    source: Text
    torque_constant_n_m_a: Annotated[float, Field(ge=0.004, le=0.15)]
    resistance_ohm: Annotated[float, Field(ge=0.02, le=3.0)]
    inductance_h: Annotated[float, Field(ge=1e-5, le=5e-3)]
    current_limit_a: Annotated[float, Field(ge=3.0, le=32.0)]


@dataclass(frozen=True, slots=True, config=_STRICT)
class Battery:
    """The pack, at 25 °C."""

    source: Text
    cells: Annotated[int, Field(ge=1, le=12)]  # in series
    capacity_a_h: Annotated[float, Field(ge=0.5, le=12.0)]
    resistance_ohm: Annotated[float, Field(ge=0.005, le=1.0)]


@dataclass(frozen=True, slots=True, config=_STRICT)
class Housing:
    """What the operator holds."""

    source: Text
    mass_kg: Annotated[float, Field(ge=0.3, le=1.3)]  # without reciprocating parts and head
    panel_hz: Annotated[float, Field(ge=150.0, le=900.0)]  # first mode of the sensor's shell
    panel_damping: Annotated[float, Field(ge=0.01, le=0.3)]
    panel_share: Annotated[float, Field(ge=0.0, le=0.5)]  # of that mode, seen by the sensor


@dataclass(frozen=True, slots=True, config=_STRICT)
class Sensor:
    """Accelerometer and current sensor as the data sheet says."""

    source: Text
    rate_hz: Annotated[float, Field(ge=400.0, le=6400.0)]
    frame_s: Annotated[float, Field(ge=0.05, le=1.0)]
    range_g: Annotated[float, Field(ge=4.0, le=64.0)]
    accel_g_per_lsb: Annotated[float, Field(ge=1e-5, le=0.01)]
    noise_g: Annotated[float, Field(ge=0.0, le=0.2)]  # RMS in the sensor's own band
    filter_hz: Annotated[float, Field(ge=50.0, le=3000.0)]  # anti-alias, fourth order
    current_a_per_lsb: Annotated[float, Field(ge=1e-4, le=0.05)]
    current_noise_a: Annotated[float, Field(ge=0.0, le=0.5)]


@dataclass(frozen=True, slots=True, config=_STRICT)
class Head:
    """One attachment: its tip on its own spring."""

    source: Text
    kind: Text
    mass_kg: Annotated[float, Field(ge=0.012, le=0.08)]  # lighter tips outrun the time step
    stiffness_n_m: Annotated[float, Field(ge=3e3, le=5e5)]
    damping_n_s_m: Annotated[float, Field(ge=0.5, le=80.0)]


@dataclass(frozen=True, slots=True, config=_STRICT)
class Profile:
    """One gun model; its name is the name of its file."""

    model: Text
    summary: Text
    drive: Drive
    motor: Motor
    battery: Battery
    housing: Housing
    sensor: Sensor
    heads: Annotated[tuple[Head, ...], Field(min_length=1)]


_PROFILE = TypeAdapter(Profile)


def parse_profile(text: str, model: str) -> Profile:
    """The profile in `text`, named `model`; ProfileError says everything that is wrong in it."""
    try:
        profile = _PROFILE.validate_python({**tomllib.loads(text), "model": model})
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"profile {model}: is not TOML: {error}") from error
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(key) for key in fault['loc'])} is {fault['input']!r}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise ProfileError(f"profile {model}: " + "; ".join(faults)) from error
    if list(profile.drive.speeds_hz) != sorted(profile.drive.speeds_hz):
        speeds = list(profile.drive.speeds_hz)
        raise ProfileError(f"profile {model}: drive.speeds_hz is {speeds}: sort it, slow to fast")
    return profile


@lru_cache(maxsize=1)
def load_profiles() -> Mapping[str, Profile]:
    """Every packaged model by name, in order of name."""
    folder = files("devices").joinpath("profiles")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    profiles = {}
    for name in names:
        model = name.removesuffix(".toml")
        profiles[model] = parse_profile(folder.joinpath(name).read_text("utf-8"), model)
    return profiles


def load_profile(model: str) -> Profile:
    """The packaged model of this name."""
    profiles = load_profiles()
    if model not in profiles:
        raise ProfileError(f"no gun model {model!r}; known are {', '.join(profiles)}")
    return profiles[model]
