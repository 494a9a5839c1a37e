"""What makers publish of their gun models, as the detection and the rules want to be told it.

The one place where the profiles of `devices` become the pipeline's own words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from devices.profile import Profile, load_profiles, parse_profile
from pipeline.app import KnownGuns
from pipeline.calibration import load_folder
from pipeline.cli.terminal import CommandError
from pipeline.config import Settings
from pipeline.features import GENERIC, Calibration
from pipeline.monitor import ModelFacts

STANDARD_GRAVITY_M_S2 = 9.80665
HAND_KG = 0.35  # engineering choice: of ISO 10068's hand-arm models, what moves with the handle
# No-load current over what bearing friction alone takes. Engineering choice: belts, brushes and
# windage are not in any data sheet; the first seconds in air replace the figure.
IDLE_RATIO = 3.0
CELL_LOW_MV = 3_300  # engineering choice: under load, a tenth of a Li-ion cell's charge is left


def all_profiles(directory: Path | None) -> Mapping[str, Profile]:
    """The packaged models and those of `directory`, which win. Raises ProfileError."""
    found = dict(load_profiles())
    for path in sorted(directory.glob("*.toml")) if directory is not None else ():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"The profile {path} cannot be read ({error})") from None
        found[path.stem] = parse_profile(text, path.stem)
    return found


def known_guns(settings: Settings) -> KnownGuns:
    """The calibrated units and the models there are. Raises CalibrationError or ProfileError."""
    profiles = all_profiles(settings.profiles.directory)
    return KnownGuns(
        calibrations=load_folder(settings.calibration.directory),
        priors={model: prior(profile) for model, profile in profiles.items()},
        models={model: facts(profile) for model, profile in profiles.items()},
    )


def strokes_m(profiles: Mapping[str, Profile]) -> dict[str, float]:
    """Strokes by model, for the bench."""
    return {model: profile.drive.stroke_mm / 1000.0 for model, profile in profiles.items()}


def facts(profile: Profile) -> ModelFacts:
    """What the rules ask of a model."""
    return ModelFacts(profile.drive.speeds_hz, float(CELL_LOW_MV * profile.battery.cells))


def prior(profile: Profile) -> Calibration:
    """What stands in for the bench of a unit of this model.

    In air the housing moves with (m_r / M) r ω², and with the rod's share of it at 2 ω (contract,
    "Physics to build on").
    """
    drive = profile.drive
    stroke_m = drive.stroke_mm / 1000.0
    moved_kg = profile.housing.mass_kg + HAND_KG
    reciprocating_kg = drive.reciprocating_kg + profile.heads[0].mass_kg
    amplitude_m = reciprocating_kg / moved_kg * stroke_m / 2.0
    a1_per_hz2 = amplitude_m * (2.0 * math.pi) ** 2 / STANDARD_GRAVITY_M_S2
    i0_a = IDLE_RATIO * drive.friction_n_m / profile.motor.torque_constant_n_m_a
    return Calibration(
        calibrated=False,
        stroke_m=stroke_m,
        mass_kg=moved_kg,
        speed_hz=drive.speeds_hz[:1],  # the same at every speed, as far as a profile can say
        a1_per_hz2=(a1_per_hz2,),
        second=(complex(drive.rod_ratio),),
        third=GENERIC.third,
        i0_a=(i0_a,),
    )
