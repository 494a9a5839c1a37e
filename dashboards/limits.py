"""Colours, and where they change: every threshold comes from `pipeline.rules` or `pipeline.sites`.

Blue, orange, red: told apart by those who do not see red and green as two. Never the only sign:
values stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as models

from pipeline.model import Priority
from pipeline.rules import (
    ALARMS,
    HAV_ACTION_M_S2,
    HAV_LIMIT_M_S2,
    HOT_C,
    SESSION_CONTACT_ADVISORY_S,
    TENDON_STIFFNESS,
    AlarmKind,
)
from pipeline.sites import GENERAL, SIDES, SITES, Site

CALM: Final = "blue"
WARN: Final = "orange"
BAD: Final = "red"
DIM: Final = "text"

# An operator is near the limit at 80 % of it: A(8) grows with the root of the time, so at the same
# magnitude a third of the day's time is left (0.8² = 64 % of the dose). Engineering choice.
NEAR_LIMIT_M_S2: Final = 0.8 * HAV_LIMIT_M_S2


def steps(*above: tuple[float, str], under: str = CALM) -> build.ThresholdsConfig:
    """`under` below the first value, then each colour from its value on."""
    found = [models.Threshold(None, under)]
    found += [models.Threshold(value, color) for value, color in above]
    return build.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def force() -> build.ThresholdsConfig:
    """Of a site nobody named; the limit of a site that is known is drawn as a series of its own."""
    return steps((GENERAL.force_limit_n, WARN), (GENERAL.extreme_force_n, BAD))


def dwell() -> build.ThresholdsConfig:
    return steps((GENERAL.dwell_advisory_s, WARN), (GENERAL.dwell_limit_s, BAD))


def stiffness() -> build.ThresholdsConfig:
    return steps((TENDON_STIFFNESS, WARN))


def exposure() -> build.ThresholdsConfig:
    return steps((HAV_ACTION_M_S2, WARN), (HAV_LIMIT_M_S2, BAD))


def session_contact() -> build.ThresholdsConfig:
    return steps((SESSION_CONTACT_ADVISORY_S, WARN))


def temperature() -> build.ThresholdsConfig:
    return steps((HOT_C, BAD))


def any_at_all(color: str = WARN) -> build.ThresholdsConfig:
    """Calm at nothing."""
    return steps((1.0, color))


def limits_of_sites(column: str) -> Iterator[tuple[float, str]]:
    """Each limit there is, and the InfluxQL regular expression of the sites that have it."""

    def limit(site: Site) -> float:
        return float(getattr(site, column))

    for value, sites in groupby(sorted((*SITES.values(), GENERAL), key=limit), key=limit):
        names = "|".join(site.site for site in sites)
        yield value, f"/^({names})({'|'.join(SIDES)})?$/"


def rules_of(kind: AlarmKind, *priorities: Priority) -> str:
    """The InfluxQL condition that an alarm is of a kind and can reach one of the priorities.

    Without the `$` of a regular expression, which an alert rule must not hold.
    """
    names = [
        row.rule
        for row in ALARMS.values()
        if row.kind is kind and {row.priority, row.priority_highest} & set(priorities)
    ]
    return "(" + " OR ".join(f"\"rule\" = '{name}'" for name in names) + ")"
