"""What really happened in a labelled session, read from its `NAME.truth.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

STEP_NS = 100_000_000  # of the truth's tracks


class EvaluationError(Exception):
    """The folder cannot be evaluated; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Hazard:
    """One true condition; times in ns."""

    rule: str
    onset_ns: int
    end_ns: int
    allowed_from_ns: int
    must: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """A session's labels: hazards; force [N], tissue and dwell [s] every 0.1 s from `t0_ns`."""

    name: str
    model: str
    t0_ns: int
    hazards: tuple[Hazard, ...]
    force_n: NDArray[np.float64]
    tissue: NDArray[np.int64]
    dwell_s: NDArray[np.float64]


def read_truth(path: Path) -> Truth:
    """Read a `NAME.truth.json`. Raises EvaluationError naming the file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        hazards = tuple(
            Hazard(h["rule"], h["onset_ns"], h["end_ns"], h["allowed_from_ns"], bool(h["must"]))
            for h in raw["hazards"]
        )
        return Truth(
            path.name.removesuffix(".truth.json"),
            str(raw.get("model", "unknown")),
            int(raw["t0_ns"]),
            hazards,
            np.array(raw["force_10hz"], np.float64),
            np.array(raw["tissue_10hz"], np.int64),
            np.array(raw["dwell_10hz"], np.float64),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path} is not a truth file: {error!r}") from error
