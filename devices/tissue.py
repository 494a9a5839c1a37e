"""What lies under the head: Hunt-Crossley tissues of a simulated client, and the bench's pads.

Pure; knows numpy only. A client has one tension, from soft and relaxed to lean or contracted; every
site on the client draws its own tissue around it. The stiffness is given as the static depth of a
25 mm head at 30 N, which a therapist can picture, and turned into `k` of `F = k·δⁿ`. Relaxed and
contracted muscle differ by a factor of 2 to 4 in force at equal depth; a tendon gives one or two
millimetres, skin over a shin less than half of one. The exact bounds are engineering choices inside
that picture. Damping d [s/m] is from the energy lost in a stroke: muscle returns about half of it,
tendon and bone more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

_Number = TypeVar("_Number", float, NDArray[np.float64])

REFERENCE_FORCE_N = 30.0  # a firm treatment; the depths below are at this force


class TissueKind(IntEnum):
    """What the head is on; the numbers are those of `tissue_10hz` in a truth file."""

    AIR = 0
    MUSCLE = 1
    TENDON = 2
    BONE = 3


class Tissue(NamedTuple):
    """`F = k·δ^exponent·(1 + damping·δ̇)` with k such that 30 N sinks `depth_m`."""

    kind: TissueKind
    depth_m: float
    exponent: float
    damping_s_m: float

    @property
    def stiffness(self) -> float:
        """Hunt-Crossley k [N/mⁿ]."""
        return stiffness_from_depth(self.depth_m, self.exponent)


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a tissue kind: static depth at 30 N [m], exponent and damping."""

    depth_m: tuple[float, float]
    exponent: tuple[float, float]
    damping_s_m: tuple[float, float]


RANGES: dict[TissueKind, Range] = {
    # soft relaxed thigh to contracted calf
    TissueKind.MUSCLE: Range((0.0050, 0.0165), (1.40, 1.60), (0.32, 0.48)),
    # Achilles, patellar and hamstring tendons, attachments
    TissueKind.TENDON: Range((0.0012, 0.0023), (1.45, 1.55), (0.20, 0.32)),
    # shin, kneecap, elbow under thin skin
    TissueKind.BONE: Range((0.00016, 0.00045), (1.45, 1.55), (0.18, 0.28)),
}
TEXTURE_SD = 0.10  # natural-log stiffness within one muscle, along a glide; engineering choice


def stiffness_from_depth(depth_m: _Number, exponent: _Number) -> _Number:
    """Hunt-Crossley k of a tissue into which 30 N sinks `depth_m`; for numbers and arrays."""
    stiffness: _Number = REFERENCE_FORCE_N / depth_m**exponent
    return stiffness


@dataclass(frozen=True, slots=True)
class Client:
    """One body: `tension` from 0 (soft, relaxed, well padded) to 1 (lean or contracted)."""

    tension: float


def draw_client(rng: np.random.Generator) -> Client:
    """An adult of any build."""
    return Client(tension=float(rng.uniform(0.0, 1.0)))


def draw_tissue(kind: TissueKind, client: Client, rng: np.random.Generator) -> Tissue:
    """A site of this kind on this client: tension varies by ±0.15 from site to site."""
    if kind is TissueKind.AIR:
        raise ValueError("air is no tissue: lift the gun by a segment with force 0 instead")
    bounds = RANGES[kind]
    share = float(np.clip(client.tension + rng.uniform(-0.15, 0.15), 0.0, 1.0))
    soft, firm = math.log(bounds.depth_m[1]), math.log(bounds.depth_m[0])
    depth_m = math.exp(soft + share * (firm - soft))
    exponent = float(rng.uniform(*bounds.exponent))
    return Tissue(kind, depth_m, exponent, float(rng.uniform(*bounds.damping_s_m)))


# The two reference pads of a calibration bench: gel blocks at the soft and the firm end of muscle.
SOFT_PAD = Tissue(TissueKind.MUSCLE, 0.0125, 1.50, 0.40)
FIRM_PAD = Tissue(TissueKind.MUSCLE, 0.0064, 1.50, 0.37)
