"""Who treats whom, where: the session of one gun, what adds up in it, and the advice at its start.

A Schedule turns a console's messages into at most one open Session a gun. Console and gun have
their own clocks and paths, so an event waits until samples taken after it arrive, or until it is
2 s old. Consoles repeat themselves (retained messages, redelivery), so every event may come twice.
A session nobody ends is over when the motor has not run for half an hour. Pure; may import `alarms`
and inward.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, NamedTuple

from pipeline.model import (
    HOP_NS,
    UNKNOWN_SITE,
    DeviceId,
    Features,
    Quality,
    SessionContext,
    SessionEvent,
    SessionEventKind,
    SessionSummary,
)
from pipeline.rules import START_FORCE_N, START_WINDOW_S

HOP_S = HOP_NS / 1e9
EVENT_WAIT_NS = 2_000_000_000  # engineering choice: longer than a frame and its way here take
IDLE_NS = 1800 * 1_000_000_000  # engineering choice: sessions last 10-20 min, no pause lasts 30
SUMMARY_EVERY_NS = 60 * 1_000_000_000  # engineering choice: what a crash of the viewer may miss
WAITING_MAX = (
    16  # engineering choice: a console sends a few a minute; the oldest then applies at once
)
ENDED_KEPT = 4  # engineering choice: redelivery goes back a second or two, not four sessions
FORCE_BAND_N = 10.0
FORCE_BANDS = 11  # ten of 10 N, and one for 100 N (the general EXTREME_PRESSURE) and over
SPEED_TOLERANCE_HZ = 0.5  # engineering choice: a tenth of the usual step between speeds

HARD_RUN_H = 6.0  # engineering choice for "right after a hard run": the same half-day
RACE_H_LAST, RACE_H_DEEP = 72.0, 120.0  # detection.md: the last massage comes 3 to 5 days before

ALWAYS = (
    "Never on an injury.",
    "Start at the lowest speed and keep the gun moving.",
    "Keep to the large muscle groups, away from attachments and tendons.",
    "As a warm-up, 15 to 30 s on each large muscle group.",
)


def guidance(context: SessionContext | None, avoid: Sequence[str] = ()) -> tuple[str, ...]:
    """The advice for one session, the particular before the general."""
    said = [f"Keep off: {', '.join(avoid).replace('_', ' ')}."] if avoid else []
    if context is not None:
        said += _guidance_from_run(context.hours_since_hard_run)
        said += _guidance_from_race(context.hours_to_race)
        if context.modality == "deep_tissue":
            said.append("After deep-tissue work, no hard workout for 12 to 24 h.")
    return (*said, *ALWAYS)


def _guidance_from_run(hours_since: float | None) -> list[str]:
    if hours_since is None or not 0.0 <= hours_since < HARD_RUN_H:
        return []
    return [
        "Not right after a hard run: muscle damage may worsen. Better wait, or stay very light."
    ]


def _guidance_from_race(hours_to: float | None) -> list[str]:
    if hours_to is None or not 0.0 <= hours_to < RACE_H_DEEP:
        return []
    if hours_to < RACE_H_LAST:
        return ["The last massage belongs 3 to 5 days before the race: light work only, if any."]
    return ["No deep work in the days before a race: let this be the last massage before it."]


def start_speed_hz(speeds_hz: Iterable[float]) -> float | None:
    """The second-lowest speed of a gun: the strongest to begin with. None where it has no third."""
    speeds = sorted(set(speeds_hz))
    return speeds[1] if len(speeds) > 2 else None


@dataclass(slots=True)
class Session:
    """One treatment with one gun, and what has added up in it so far; sums in sample time."""

    session_id: str
    started_at_ns: int
    operator: str | None = None
    client: str | None = None
    site: str | None = None  # as the console names it
    avoid: tuple[str, ...] = ()
    guidance: tuple[str, ...] = ()
    updated_at_ns: int = 0  # the newest event applied
    seen_at_ns: int = 0  # the newest hop
    summed_at_ns: int = 0  # the newest summary
    summed_contact_s: float = 0.0
    contact_s: float = 0.0
    contact_s_by_site: dict[str, float] = field(default_factory=dict)
    force_histogram_s: list[float] = field(default_factory=lambda: [0.0] * FORCE_BANDS)
    force_n_s: float = 0.0
    force_n_max: float = 0.0
    dwell_s_max: float = 0.0
    alarms_by_rule: dict[str, int] = field(default_factory=dict)
    first_contact_ns: int | None = None
    start_excess: float = 0.0
    too_strong_at_ns: int | None = None

    def observe(self, features: Features, site: str, start_hz: float | None) -> None:
        """Add one hop; `site` as it is recorded, `start_hz` the strongest speed to begin with."""
        self.seen_at_ns = features.t_ns
        if not features.contact or features.quality is Quality.BAD:
            return
        force_n = max(0.0, features.contact_force_n)
        self.contact_s += HOP_S
        self.contact_s_by_site[site] = self.contact_s_by_site.get(site, 0.0) + HOP_S
        band = min(int(force_n / FORCE_BAND_N), FORCE_BANDS - 1)
        self.force_histogram_s[band] += HOP_S
        self.force_n_s += force_n * HOP_S
        self.force_n_max = max(self.force_n_max, force_n)
        self.dwell_s_max = max(self.dwell_s_max, features.dwell_s)
        self._judge_start(features, force_n, start_hz)

    def _judge_start(self, features: Features, force_n: float, start_hz: float | None) -> None:
        excess = 0.0
        if self.first_contact_ns is None:
            self.first_contact_ns = features.t_ns
            if start_hz is not None and features.set_percussion_hz > start_hz + SPEED_TOLERANCE_HZ:
                excess = features.set_percussion_hz / start_hz
        if 0 <= features.t_ns - self.first_contact_ns <= START_WINDOW_S * 1e9:
            excess = max(excess, force_n / START_FORCE_N)
        if excess > 1.0:
            self.start_excess = max(self.start_excess, excess)
            self.too_strong_at_ns = self.too_strong_at_ns or features.t_ns

    def start_excess_at(self, t_ns: int) -> float:
        """How many times too strong the session began, for as long as that is worth saying."""
        since_ns = self.too_strong_at_ns
        if since_ns is None or not 0 <= t_ns - since_ns < START_WINDOW_S * 1e9:
            return 0.0
        return self.start_excess

    def contact_s_on(self, site: str) -> float:
        """Contact on one site; nothing on a site nobody named, which may be several."""
        return 0.0 if site == UNKNOWN_SITE else self.contact_s_by_site.get(site, 0.0)

    def count_alarm(self, rule: str) -> None:
        self.alarms_by_rule[rule] = self.alarms_by_rule.get(rule, 0) + 1

    def summary_due(self, t_ns: int) -> bool:
        """Whether a minute has passed since the last summary, and anything with it."""
        if self.contact_s == self.summed_contact_s:
            return False
        return not 0 <= t_ns - self.summed_at_ns < SUMMARY_EVERY_NS

    def summary(self, device: DeviceId, t_ns: int, ended_at_ns: int | None) -> SessionSummary:
        self.summed_at_ns, self.summed_contact_s = t_ns, self.contact_s
        return SessionSummary(
            id=device,
            session_id=self.session_id,
            operator=self.operator,
            client=self.client,
            started_at_ns=self.started_at_ns,
            ended_at_ns=ended_at_ns,
            contact_s=self.contact_s,
            contact_s_by_site=dict(self.contact_s_by_site),
            force_histogram_s=tuple(self.force_histogram_s),
            contact_force_n_mean=self.force_n_s / self.contact_s if self.contact_s else 0.0,
            contact_force_n_max=self.force_n_max,
            dwell_s_max=self.dwell_s_max,
            alarms_by_rule=dict(self.alarms_by_rule),
            guidance=self.guidance,
        )

    def dump(self) -> object:
        return _values(self)

    @classmethod
    def load(cls, values: Sequence[Any]) -> Session:
        row = dict(zip(_FIELDS, values, strict=True))
        row["avoid"], row["guidance"] = tuple(row["avoid"]), tuple(row["guidance"])
        return cls(**row)


_FIELDS = tuple(each.name for each in fields(Session))
_values = attrgetter(*_FIELDS)


class _Waiting(NamedTuple):
    received_at_ns: int
    event: SessionEvent


class Schedule:
    """The sessions of one gun, one after the other: what the console said and what came of it.

    Every method that may begin or end a session returns the summaries of those that did.
    """

    def __init__(self, device: DeviceId) -> None:
        self.device = device
        self.session: Session | None = None
        self._waiting: list[_Waiting] = []
        self._ended_at_ns: dict[str, int] = {}

    def expect(self, event: SessionEvent, received_at_ns: int) -> list[SessionSummary]:
        """Take an event that applies once its time has come (`advance`)."""
        self._waiting.append(_Waiting(received_at_ns, event))
        return self._apply_first() if len(self._waiting) > WAITING_MAX else []

    @property
    def due_ns(self) -> int | None:
        """When the first waiting event has waited long enough, on the clock of arrival."""
        return self._waiting[0].received_at_ns + EVENT_WAIT_NS if self._waiting else None

    def advance(self, t_ns: int | None, received_at_ns: int) -> list[SessionSummary]:
        """Apply what belongs before a hop at `t_ns`, or has waited long enough."""
        summaries: list[SessionSummary] = []
        while self._waiting:
            first = self._waiting[0]
            overdue = received_at_ns - first.received_at_ns >= EVENT_WAIT_NS
            if not overdue and (t_ns is None or t_ns <= first.event.t_ns):
                break
            summaries += self._apply_first()
        return summaries

    def resume(self, away_ns: int) -> None:
        """The clock of arrival went on without us: waiting goes on where it stood."""
        self._waiting = [
            _Waiting(each.received_at_ns + away_ns, each.event) for each in self._waiting
        ]

    def close_idle(self) -> list[SessionSummary]:
        """End a session nobody ended; it may go on if its console speaks of it again."""
        if self.session is None:
            return []
        return [self._close(max(self.session.seen_at_ns, self.session.started_at_ns))]

    def _apply_first(self) -> list[SessionSummary]:
        event = self._waiting.pop(0).event
        if event.t_ns <= self._ended_at_ns.get(event.session_id, -1):
            return []  # told again about a session that is over
        current = self.session
        if current is not None and current.session_id == event.session_id:
            return self._go_on(current, event)
        if event.event is SessionEventKind.END:
            return []
        closed = [self._close(event.t_ns)] if current is not None else []
        return [*closed, self._open(event)]

    def _go_on(self, session: Session, event: SessionEvent) -> list[SessionSummary]:
        if event.event is SessionEventKind.END:
            ended = self._close(event.t_ns)
            while len(self._ended_at_ns) >= ENDED_KEPT:
                del self._ended_at_ns[next(iter(self._ended_at_ns))]
            self._ended_at_ns[session.session_id] = event.t_ns
            return [ended]
        if event.t_ns >= session.updated_at_ns:
            session.updated_at_ns = event.t_ns
            session.site = event.site
            session.operator = event.operator or session.operator
            session.client = event.client or session.client
            session.avoid = event.avoid or session.avoid
        return []

    def _open(self, event: SessionEvent) -> SessionSummary:
        self.session = Session(
            session_id=event.session_id,
            started_at_ns=event.t_ns,
            operator=event.operator,
            client=event.client,
            site=event.site,
            avoid=event.avoid,
            guidance=guidance(event.context, event.avoid),
            updated_at_ns=event.t_ns,
        )
        return self.session.summary(self.device, event.t_ns, None)

    def _close(self, t_ns: int) -> SessionSummary:
        session, self.session = self.session, None
        if session is None:
            raise ValueError(f"{self.device}: no session is open; there is nothing to close")
        return session.summary(self.device, t_ns, max(t_ns, session.started_at_ns))

    def dump(self) -> list[object]:
        waiting = [[each.received_at_ns, _dump_event(each.event)] for each in self._waiting]
        session = self.session.dump() if self.session is not None else None
        return [session, waiting, self._ended_at_ns]

    def load(self, values: Sequence[Any]) -> None:
        session, waiting, ended_at_ns = values
        self.session = None if session is None else Session.load(session)
        self._waiting = [_Waiting(at_ns, _load_event(self.device, row)) for at_ns, row in waiting]
        self._ended_at_ns = ended_at_ns


def _dump_event(event: SessionEvent) -> list[object]:
    context = event.context
    return [
        event.session_id,
        event.event,
        event.t_ns,
        event.operator,
        event.client,
        event.site,
        event.avoid,
        context and [context.hours_since_hard_run, context.hours_to_race, context.modality],
    ]


def _load_event(device: DeviceId, row: Sequence[Any]) -> SessionEvent:
    session_id, kind, t_ns, operator, client, site, avoid, context = row
    return SessionEvent(
        id=device,
        session_id=session_id,
        event=SessionEventKind(kind),
        t_ns=t_ns,
        operator=operator,
        client=client,
        site=site,
        avoid=tuple(avoid),
        context=None if context is None else SessionContext(*context),
    )
