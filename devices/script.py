"""The words a scripted session is written in: segments of work, and what goes wrong beside them.

Plain frozen dataclasses, no behaviour. A script says what the operator means to do (where, how
hard, how moving, at which speed step) and which faults befall the gun; what then truly happens
comes out of the physics, and the truth is measured there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from devices.tissue import Tissue, TissueKind


class Motion(StrEnum):
    """How the gun moves during a segment."""

    HOLD = "hold"  # on one spot, but for a hand's tremor
    GLIDE = "glide"  # to and fro along the limb, tilting with its curve
    CIRCLE = "circle"  # around the spot, `radius_cm` from its centre
    ROCK = "rock"  # on one spot, tilting to and fro by `rock_deg` about it
    CREEP = "creep"  # slowly along the limb at `creep_cm_s`
    MOVE = "move"  # through the air to another site
    RETURN = "return"  # up and back to the same spot
    WALK = "walk"  # carried in the air by a walking operator
    LIE = "lie"  # laid on a table
    FALL = "fall"  # dropped to the floor, and left there


AIRBORNE = frozenset({Motion.MOVE, Motion.RETURN, Motion.WALK, Motion.LIE, Motion.FALL})


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of a session. `force_n` is the operator's aim; airborne motions have none."""

    duration_s: float
    motion: Motion = Motion.GLIDE
    force_n: float = 30.0
    tissue: TissueKind = TissueKind.MUSCLE
    speed: int | None = 1  # index into the model's speeds, at most the last; None: off
    radius_cm: float = 1.5
    creep_cm_s: float = 0.12
    rock_deg: float = 8.0
    rock_hz: float = 0.5
    jam_n_m: float = 0.0  # something blocks the crank
    pad: Tissue | None = None  # a known tissue in place of a drawn one (the bench)
    site: str | None = None  # what the console says from here on

    @property
    def airborne(self) -> bool:
        """Whether the operator keeps the head off the skin."""
        return self.motion in AIRBORNE or self.force_n <= 0.0


@dataclass(frozen=True, slots=True)
class StuckAxis:
    """From `from_s` to `to_s` one accelerometer axis (0 x, 1 y, 2 z) repeats its last value."""

    axis: int
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class ClockStep:
    """At `at_s` the gun's clock jumps by `step_s`."""

    at_s: float
    step_s: float


@dataclass(frozen=True, slots=True)
class NetworkFaults:
    """What the way to the broker does to frames: the probability of each, per frame."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0  # swapped with the frame after it
    corrupt: float = 0.0  # one bit changed
    disconnect: float = 0.0  # the connection breaks without a word (fleet only)

    def __post_init__(self) -> None:
        for name in ("drop", "duplicate", "reorder", "corrupt", "disconnect"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"NetworkFaults.{name} is {value}; give a probability, 0 to 1")


NO_FAULTS = NetworkFaults()


@dataclass(frozen=True, slots=True)
class Script:
    """A named session with everything that happens in it."""

    name: str
    summary: str
    segments: tuple[Segment, ...]
    charge: float = 0.9  # of the battery, at the start
    stuck: tuple[StuckAxis, ...] = ()
    clock_steps: tuple[ClockStep, ...] = ()
    clock_synchronised: bool = True
    network: NetworkFaults = NO_FAULTS

    @property
    def duration_s(self) -> float:
        return sum(segment.duration_s for segment in self.segments)
