"""What the header of every view shows, wherever one looks: which alarms call, and that all is
alive.

Pure; may import `fleet`, `alarm_lines` and `model`. It is small, and sent when it changes and once
a second, so that a browser can tell that nothing comes any more.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline.model import Priority
from pipeline.page.fleet import Fleet

CALLS_MAX = 40  # spoken or sounded at once; nobody follows more


@dataclass(frozen=True, slots=True)
class Call:
    """An alarm that stands and that people are told of, once or until somebody acknowledges it."""

    key: str
    clinic: str
    device: str
    title: str
    priority: Priority
    waits: bool  # for an acknowledgement


@dataclass(frozen=True, slots=True)
class Pulse:
    """One message to every open page."""

    now_s: int
    error: str | None
    notice: str | None  # what the pipeline has to say of itself
    alarms_by_clinic: dict[str, int]  # urgent ones, 0 included: every clinic there is
    calls: tuple[Call, ...]


def take(fleet: Fleet, notice: str | None = None) -> Pulse:
    """The pulse of a fleet as it was composed."""
    counted: Counter[str] = Counter()
    for tile in fleet.guns:
        counted[tile.clinic] += tile.alarms_urgent
    active = (line for line in fleet.alarms if line.active and line.priority is not Priority.LOW)
    calls = [
        Call(line.key, line.clinic, line.device, line.title, line.priority, line.waits)
        for line in active
    ]
    return Pulse(
        fleet.now_ms // 1_000,
        fleet.error,
        notice,
        dict(sorted(counted.items())),
        tuple(calls[:CALLS_MAX]),
    )
