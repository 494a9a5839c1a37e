"""A session against guidance: how long on each site, how it began, whether it moved. Pure.

The guidance is that of detection.md ("Guidance from running practice"): 15 to 30 s on each large
muscle group, start low, keep moving, and the site's limit of force. These are observations for a
conversation between professionals, not alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.model import UNKNOWN_SITE, FeatureSecond, SessionSummary
from pipeline.page import words
from pipeline.page.alarm_lines import NS_PER_S
from pipeline.rules import START_FORCE_N, START_WINDOW_S
from pipeline.sites import Site, SiteGroup, SiteTable

GROUP_S = (15.0, 30.0)  # detection.md: 15-30 s on each large muscle group as a warm-up
GROUP_S_MAX = 120.0  # detection.md: 30 s to 2 min a muscle group; MUSCLE_GROUP_TIME


class Verdict(StrEnum):
    WITHIN = "within"
    BESIDE = "beside"  # worth a look
    BEYOND = "beyond"  # over a limit
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SiteTime:
    """Contact on one site; `share` places it on a bar that ends at GROUP_S_MAX."""

    site: str
    contact_s: float
    verdict: Verdict
    said: str


@dataclass(frozen=True, slots=True)
class Check:
    """One piece of guidance, and how the session stands to it."""

    title: str
    verdict: Verdict
    value: str
    said: str


def site_times(summary: SessionSummary, sites: SiteTable) -> tuple[SiteTime, ...]:
    """Longest first."""
    found = sorted(summary.contact_s_by_site.items(), key=lambda item: -item[1])
    return tuple(_site_time(name, contact_s, sites.limits(name)) for name, contact_s in found)


def _site_time(name: str, contact_s: float, site: Site) -> SiteTime:
    title = words.site_words(name) or "Site not named"
    if name == UNKNOWN_SITE:
        return SiteTime(title, contact_s, Verdict.UNKNOWN, "nobody said where")
    if site.never:
        return SiteTime(title, contact_s, Verdict.BEYOND, "not to be treated")
    if contact_s > GROUP_S_MAX:
        return SiteTime(title, contact_s, Verdict.BEYOND, f"over {GROUP_S_MAX:.0f} s")
    low_s, high_s = GROUP_S
    if site.group is not SiteGroup.LARGE_MUSCLE:
        return SiteTime(title, contact_s, Verdict.BESIDE, "no large muscle group")
    if contact_s < low_s:
        return SiteTime(title, contact_s, Verdict.WITHIN, f"under {low_s:.0f} s")
    if contact_s <= high_s:
        return SiteTime(title, contact_s, Verdict.WITHIN, f"{low_s:.0f} to {high_s:.0f} s")
    return SiteTime(title, contact_s, Verdict.BESIDE, f"over {high_s:.0f} s of warm-up")


def checks(
    summary: SessionSummary, seconds: Sequence[FeatureSecond], sites: SiteTable
) -> tuple[Check, ...]:
    contact = [second.last for second in seconds if second.last.contact]
    if not contact:
        return ()
    return (
        _start(summary, seconds),
        _moving(seconds, sites),
        _force(seconds, sites),
        _length(summary),
    )


def _start(summary: SessionSummary, seconds: Sequence[FeatureSecond]) -> Check:
    first = next(second.last for second in seconds if second.last.contact)
    end_ns = first.t_ns + round(START_WINDOW_S * NS_PER_S)
    begun = [s for s in seconds if s.last.contact and s.last.t_ns <= end_ns]
    force_n = max(second.contact_force_n_max for second in begun)
    too_strong = summary.alarms_by_rule.get("STARTED_TOO_STRONG", 0) > 0
    over = force_n > START_FORCE_N or too_strong
    speed = f" at {first.set_percussion_hz:.0f} Hz" if first.set_percussion_hz else ""
    return Check(
        "Start low",
        Verdict.BESIDE if over else Verdict.WITHIN,
        f"{force_n:.0f} N{speed}",
        f"highest in the first {START_WINDOW_S:.0f} s of contact; up to {START_FORCE_N:.0f} N, "
        "and one of the two lowest speeds",
    )


def _moving(seconds: Sequence[FeatureSecond], sites: SiteTable) -> Check:
    contact = [second for second in seconds if second.last.contact]
    limits = [sites.limits(second.last.site) for second in contact]
    still = sum(s.dwell_s_max >= at.dwell_advisory_s for s, at in zip(contact, limits, strict=True))
    beyond = any(s.dwell_s_max >= at.dwell_limit_s for s, at in zip(contact, limits, strict=True))
    longest_s = max(second.dwell_s_max for second in contact)
    verdict = Verdict.BEYOND if beyond else Verdict.BESIDE if still else Verdict.WITHIN
    return Check(
        "Keep moving",
        verdict,
        f"{longest_s:.0f} s",
        f"longest on one spot; {still} s of {len(contact)} s of contact were past the advisory",
    )


def _force(seconds: Sequence[FeatureSecond], sites: SiteTable) -> Check:
    contact = [second for second in seconds if second.last.contact]
    over = [s for s in contact if s.contact_force_n_max > sites.limits(s.last.site).force_limit_n]
    highest_n = max(second.contact_force_n_max for second in contact)
    return Check(
        "Within the limit of force",
        Verdict.BEYOND if over else Verdict.WITHIN,
        f"{highest_n:.0f} N",
        f"highest; {len(over)} s of {len(contact)} s of contact were over the site's limit",
    )


def _length(summary: SessionSummary) -> Check:
    minutes = summary.contact_s / 60.0
    return Check(
        "Not too long",
        Verdict.WITHIN if minutes <= 15.0 else Verdict.BESIDE,  # detection.md, SESSION_TIME
        words.length(summary.contact_s),
        "contact in this session; guidance ends at 10 to 20 min",
    )
