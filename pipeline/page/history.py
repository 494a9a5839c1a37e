"""A gun's last minutes as rows of numbers, and its alarms as spans of time; pure.

May import `words`, the store's types, `rules`, `sites` and `model`. All times are the gun's sample
times: a gun whose clock is wrong still shows its values and alarms against each other rightly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.model import Alarm, FeatureSecond, Priority
from pipeline.page import alarm_lines, words
from pipeline.rules import ALARMS, Signal
from pipeline.sites import SiteTable
from pipeline.store import AlarmTransition

NS_PER_MS = 1_000_000
# A gun that has just begun fills the chart instead of its last sliver. Engineering choice.
WINDOW_NS_MIN = 60_000_000_000
GAP_NS = (
    3_000_000_000  # a longer pause is drawn as one; engineering choice: two seconds may be late
)
COVERAGE = 2.0  # the band is two standard uncertainties to each side: 95 % of a normal distribution

Cell = float | int | None
COLUMNS = (
    "t_ms",
    "force_n",
    "force_n_low",
    "force_n_band",  # from the lower edge of the band to the upper
    "force_limit_n",
    "dwell_s",
    "dwell_advisory_s",
    "dwell_limit_s",
    "stiffness",
    "percussion_hz",
    "motion_deg_s",
)


@dataclass(frozen=True, slots=True)
class Span:
    """One occurrence of an alarm. `panel` is the chart that shows its evidence, if one does."""

    title: str
    priority: Priority
    panel: str | None
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class History:
    """What the charts draw: `rows` have COLUMNS, the range is that of the axis."""

    from_ms: int
    to_ms: int
    rows: tuple[tuple[Cell, ...], ...]
    spans: tuple[Span, ...]


def make_history(
    seconds: Sequence[FeatureSecond],
    transitions: Iterable[AlarmTransition],
    standing: Iterable[Alarm],
    sites: SiteTable,
    from_ns: int,
    to_ns: int,
) -> History:
    """`transitions` are those within the range, `standing` the gun's alarms as they stand now.

    The range shrinks to where the gun began, down to a minute.
    """
    alarms = [transition.alarm for transition in transitions] + list(standing)
    if seconds:
        from_ns = min(max(from_ns, seconds[0].last.t_ns), to_ns - WINDOW_NS_MIN)
    return History(
        from_ms=from_ns // NS_PER_MS,
        to_ms=to_ns // NS_PER_MS,
        rows=_rows(seconds, sites),
        spans=_spans(alarms, from_ns, to_ns),
    )


def _rows(seconds: Sequence[FeatureSecond], sites: SiteTable) -> tuple[tuple[Cell, ...], ...]:
    rows: list[tuple[Cell, ...]] = []
    before_ns: int | None = None
    for second in seconds:
        t_ns = second.last.t_ns
        if before_ns is not None and t_ns - before_ns > GAP_NS:
            rows.append(((before_ns + t_ns) // 2 // NS_PER_MS, *[None] * (len(COLUMNS) - 1)))
        rows.append(_row(second, sites))
        before_ns = t_ns
    return tuple(rows)


def _row(second: FeatureSecond, sites: SiteTable) -> tuple[Cell, ...]:
    last = second.last
    site = sites.limits(last.site)
    force_n = _rounded(last.contact_force_n)
    low_n = band_n = None
    sd_n = words.finite(last.contact_force_n_sd)
    if force_n is not None and sd_n is not None and last.contact:
        low_n = round(max(0.0, force_n - COVERAGE * sd_n), 1)
        band_n = round(force_n + COVERAGE * sd_n - low_n, 1)
    return (
        last.t_ns // NS_PER_MS,
        force_n,
        low_n,
        band_n,
        site.force_limit_n,
        _rounded(last.dwell_s),
        site.dwell_advisory_s,
        site.dwell_limit_s,
        _rounded(last.stiffness, 2) if last.contact else None,
        _rounded(last.percussion_hz),
        _rounded(last.motion_deg_s),
    )


def _rounded(value: float, digits: int = 1) -> float | None:
    return round(value, digits) if words.finite(value) is not None else None


def _spans(alarms: Iterable[Alarm], from_ns: int, to_ns: int) -> tuple[Span, ...]:
    """Every record of an occurrence says when it was raised; the first inactive one, its end."""
    occurrences: dict[tuple[str, int], Alarm] = {}
    ended_ns: dict[tuple[str, int], int] = {}
    for alarm in alarms:
        key = (alarm.alarm_id, alarm.raised_at_ns)
        occurrences.setdefault(key, alarm)
        if not alarm_lines.is_active(alarm):
            ended_ns[key] = min(ended_ns.get(key, alarm.changed_at_ns), alarm.changed_at_ns)
    spans = [
        _span(alarm, max(alarm.raised_at_ns, from_ns), min(ended_ns.get(key, to_ns), to_ns))
        for key, alarm in occurrences.items()
    ]
    kept = [span for span in spans if span.to_ms >= span.from_ms]
    return tuple(sorted(kept, key=lambda span: span.from_ms))


def _span(alarm: Alarm, from_ns: int, to_ns: int) -> Span:
    return Span(
        title=words.rule_title(alarm.rule),
        priority=alarm.priority,
        panel=_panel(alarm),
        from_ms=from_ns // NS_PER_MS,
        to_ms=to_ns // NS_PER_MS,
    )


_PANELS: Mapping[tuple[Signal, str], str] = {
    (Signal.FORCE, "N"): "force",
    (Signal.CONTACT, "N"): "force",
    (Signal.CONTACT, "s"): "dwell",
    (Signal.STIFFNESS, "1"): "stiffness",
    (Signal.MOTOR, "A"): "percussion",
}


def _panel(alarm: Alarm) -> str | None:
    row = ALARMS.get(alarm.rule)
    return _PANELS.get((row.signal, row.unit)) if row is not None else None
