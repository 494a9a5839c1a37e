"""One session as the review shows it: rows of a second, alarms as bands, sites in turn. Pure.

All times are the gun's sample times. What the store no longer has, or never had, is missing here
and said so, never drawn as zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipeline.capture import AFTER_NS, BEFORE_NS
from pipeline.model import Alarm, FeatureSecond, Priority, SessionSummary
from pipeline.page import alarm_lines, words
from pipeline.page.alarm_lines import NS_PER_S
from pipeline.page.history import History, make_history
from pipeline.page.review.guidance import Check, SiteTime, checks, site_times
from pipeline.rules import ALARMS
from pipeline.sessions import FORCE_BAND_N, FORCE_BANDS, HOP_S
from pipeline.sites import SiteTable
from pipeline.store import AlarmTransition

NS_PER_MS = 1_000_000
MARGIN_NS = 2 * NS_PER_S  # shown before the start and after the end; engineering choice


@dataclass(frozen=True, slots=True)
class SiteSpan:
    """For how long the console said this site was treated."""

    site: str
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class RawSpan:
    """Of this span every sample is kept."""

    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One occurrence of an alarm in the session; `capture` names its black box, if it has one."""

    key: str
    title: str
    priority: Priority
    from_ms: int
    to_ms: int
    goes_on: bool
    evidence: str
    site: str | None
    advice: str
    notes: tuple[str, ...]
    capture: str | None


@dataclass(frozen=True, slots=True)
class SessionLine:
    """One session in a list, and the head of its review."""

    clinic: str
    device: str
    session_id: str
    operator: str | None
    client: str | None
    started_ms: int
    ended_ms: int | None
    contact_s: float
    force_n_mean: float
    force_n_max: float
    dwell_s_max: float
    alarms: int
    sites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SessionReview:
    """All that is known of one session."""

    line: SessionLine
    history: History
    sites: tuple[SiteSpan, ...]
    occurrences: tuple[Occurrence, ...]
    site_times: tuple[SiteTime, ...]
    checks: tuple[Check, ...]
    guidance: tuple[str, ...]
    histogram_s: tuple[float, ...]
    raw: tuple[RawSpan, ...]  # where single samples can be looked at
    is_cut: bool  # there is more of it than is shown


def up_to_date(summary: SessionSummary, own: Sequence[FeatureSecond]) -> SessionSummary:
    """An open session is summed up once a minute: what its seconds say already goes before that."""
    in_contact = [second for second in own if second.contact_hops]
    contact_s = sum(second.contact_hops for second in in_contact) * HOP_S
    if summary.ended_at_ns is not None or contact_s <= summary.contact_s:
        return summary
    by_site: dict[str, float] = {}
    bands = [0.0] * FORCE_BANDS
    force_n_s = 0.0
    for second in in_contact:
        own_s, force_n = second.contact_hops * HOP_S, max(0.0, second.last.contact_force_n)
        by_site[second.last.site] = by_site.get(second.last.site, 0.0) + own_s
        bands[min(int(force_n / FORCE_BAND_N), FORCE_BANDS - 1)] += own_s
        force_n_s += force_n * own_s
    return replace(
        summary,
        contact_s=contact_s,
        contact_s_by_site=by_site,
        force_histogram_s=tuple(bands),
        contact_force_n_mean=force_n_s / contact_s,
        contact_force_n_max=max(second.contact_force_n_max for second in in_contact),
        dwell_s_max=max(second.dwell_s_max for second in in_contact),
    )


def to_line(summary: SessionSummary) -> SessionLine:
    by_time = sorted(summary.contact_s_by_site.items(), key=lambda item: -item[1])
    return SessionLine(
        clinic=summary.id.clinic,
        device=summary.id.device,
        session_id=summary.session_id,
        operator=summary.operator,
        client=summary.client,
        started_ms=summary.started_at_ns // NS_PER_MS,
        ended_ms=summary.ended_at_ns // NS_PER_MS if summary.ended_at_ns is not None else None,
        contact_s=summary.contact_s,
        force_n_mean=summary.contact_force_n_mean,
        force_n_max=summary.contact_force_n_max,
        dwell_s_max=summary.dwell_s_max,
        alarms=sum(summary.alarms_by_rule.values()),
        sites=tuple(words.site_words(site) or "Site not named" for site, _ in by_time),
    )


def span_ns(summary: SessionSummary, now_ns: int) -> tuple[int, int]:
    """The sample times a review covers."""
    ended_ns = summary.ended_at_ns if summary.ended_at_ns is not None else now_ns
    return summary.started_at_ns - MARGIN_NS, max(ended_ns, summary.started_at_ns) + MARGIN_NS


def make_review(
    summary: SessionSummary,
    seconds: Sequence[FeatureSecond],
    transitions: Iterable[AlarmTransition],
    sites: SiteTable,
    kept: frozenset[str],
    *,
    kept_whole: bool = False,
    is_cut: bool,
) -> SessionReview:
    """`transitions` are the session's, newest first; `kept` the captures that are on the disk.

    `kept_whole`: every sample of the session is on the disk, too.
    """
    said = list(transitions)
    own = [second for second in seconds if second.last.session_id == summary.session_id]
    summary = up_to_date(summary, own)
    from_ns, to_ns = _range(summary, own)
    return SessionReview(
        line=to_line(summary),
        history=make_history(seconds, said, (), sites, from_ns, to_ns),
        sites=site_spans(own),
        occurrences=occurrences([each.alarm for each in said], to_ns, kept),
        site_times=site_times(summary, sites),
        checks=checks(summary, own, sites),
        guidance=summary.guidance,
        histogram_s=summary.force_histogram_s,
        raw=_raw_spans([each.alarm for each in said], kept, (from_ns, to_ns), kept_whole),
        is_cut=is_cut,
    )


def _raw_spans(
    alarms: Iterable[Alarm], kept: frozenset[str], range_ns: tuple[int, int], kept_whole: bool
) -> tuple[RawSpan, ...]:
    """In order, without overlaps."""
    from_ns, to_ns = range_ns
    spans = [(from_ns, to_ns)] if kept_whole else list(captured_spans_ns(alarms, kept).values())
    joined: list[RawSpan] = []
    for begin, end in sorted((max(b, from_ns), min(e, to_ns)) for b, e in spans):
        if joined and begin // NS_PER_MS <= joined[-1].to_ms:
            joined[-1] = RawSpan(joined[-1].from_ms, max(joined[-1].to_ms, end // NS_PER_MS))
        elif begin < end:
            joined.append(RawSpan(begin // NS_PER_MS, end // NS_PER_MS))
    return tuple(joined)


def captured_spans_ns(alarms: Iterable[Alarm], kept: frozenset[str]) -> dict[str, tuple[int, int]]:
    """The sample times that captures cover, by name; of an alarm's records any order will do."""
    first_ns: dict[str, int] = {}
    for alarm in alarms:
        if alarm.capture is not None and alarm.capture in kept:
            known_ns = first_ns.get(alarm.capture, alarm.changed_at_ns)
            first_ns[alarm.capture] = min(known_ns, alarm.changed_at_ns)
    return {name: (at - BEFORE_NS, at + AFTER_NS) for name, at in first_ns.items()}


def _range(summary: SessionSummary, own: Sequence[FeatureSecond]) -> tuple[int, int]:
    ends = [each for each in (summary.ended_at_ns,) if each is not None]
    ends += [second.last.t_ns for second in own[-1:]]
    return summary.started_at_ns, max(ends, default=summary.started_at_ns)


def site_spans(seconds: Sequence[FeatureSecond]) -> tuple[SiteSpan, ...]:
    spans: list[SiteSpan] = []
    for second in seconds:
        name = words.site_words(second.last.site) or "Site not named"
        t_ms = second.last.t_ns // NS_PER_MS
        if spans and spans[-1].site == name:
            spans[-1] = SiteSpan(name, spans[-1].from_ms, t_ms)
        else:
            spans.append(SiteSpan(name, spans[-1].to_ms if spans else t_ms - 1_000, t_ms))
    return tuple(spans)


def occurrences(
    alarms: Sequence[Alarm], end_ns: int, kept: frozenset[str]
) -> tuple[Occurrence, ...]:
    """Every time an alarm was raised, in order; `alarms` are its records, newest first."""
    by_raise: dict[tuple[str, int], list[Alarm]] = {}
    for alarm in reversed(alarms):
        by_raise.setdefault((alarm.alarm_id, alarm.raised_at_ns), []).append(alarm)
    found = [_occurrence(records, end_ns, kept) for records in by_raise.values()]
    return tuple(sorted(found, key=lambda each: each.from_ms))


def _occurrence(records: Sequence[Alarm], end_ns: int, kept: frozenset[str]) -> Occurrence:
    last = records[-1]
    over = next((each for each in records if not alarm_lines.is_active(each)), None)
    to_ns = over.changed_at_ns if over is not None else max(end_ns, last.changed_at_ns)
    row = ALARMS.get(last.rule)
    captured = [each.capture for each in records if each.capture in kept]
    return Occurrence(
        key=f"{last.alarm_id}-{last.raised_at_ns}",
        title=words.rule_title(last.rule),
        priority=last.priority,
        from_ms=last.raised_at_ns // NS_PER_MS,
        to_ms=to_ns // NS_PER_MS,
        goes_on=over is None,
        evidence=words.evidence(last, is_over=True),
        site=words.site_words(last.site),
        advice=row.advice if row is not None else "",
        notes=_notes(records),
        capture=captured[-1] if captured else None,
    )


def _notes(records: Sequence[Alarm]) -> tuple[str, ...]:
    notes = []
    by = next((each.by for each in reversed(records) if each.by), None)
    if by is not None:
        notes.append(f"answered by {by}")
    if any(each.chattering for each in records):
        notes.append("came and went")
    return tuple(notes)
