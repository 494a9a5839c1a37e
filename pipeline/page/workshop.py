"""What the technician's view asks of the pipeline, as data and a protocol; `app` does it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.config import Explained
from pipeline.model import DeviceId

TEST_GUN = "myoguard-test"  # the gun that a test alarm is of; shown only while one of its stands


class WorkshopError(Exception):
    """Why it cannot be done, in a sentence for the technician."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of how things stand. `remark` says what to do where all is not well."""

    subject: str
    name: str
    value: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A calibration as fitted, for somebody to accept. Percentages are of the load."""

    clinic: str
    device: str
    speeds_hz: Sequence[float]
    loads: int
    load_n_max: float
    error_percent_median: float
    error_percent_p95: float
    force_sd_percent: float
    picture: bytes  # PNG


@dataclass(frozen=True, slots=True)
class Step:
    """One station of a test alarm, and when it came by; `problem` where it did not."""

    name: str
    after_ms: int | None
    problem: str = ""


class Workshop(Protocol):
    """The pipeline's back room."""

    @property
    def models(self) -> frozenset[str]:
        """The models of gun whose profiles are known."""

    def configuration(self) -> Sequence[Explained]:
        """Every setting with its source."""

    def facts(self) -> Sequence[Fact]:
        """How the pipeline, its broker and its versions stand."""

    async def fit(self, recording: Path, loadcell: Path, into: Path) -> Proposal:
        """Fit a calibration, and keep it in the directory `into`. Raises WorkshopError."""

    def accept(self, kept_in: Path, gun: DeviceId) -> Path:
        """Write it where calibrations lie, and judge by it from now on. Raises WorkshopError."""

    async def test_alarm(self, clinic: str, by: str) -> Sequence[Step]:
        """Raise an alarm the way a gun would, see it come back, and end it."""
