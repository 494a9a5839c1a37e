"""The fleet as the page shows it: a tile a gun, worst first; pure, the time is an argument.

May import `alarm_lines`, `board`, `words`, the store's types, `sites`, `rules` and `model`. Each
value is the newest of store and board. What a gun has not said lately is not known, and is not
shown as if it were.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipeline.model import (
    Alarm,
    DeviceId,
    DeviceStatus,
    Features,
    LiveGun,
    MotorState,
    Priority,
)
from pipeline.page import alarm_lines, words
from pipeline.page.alarm_lines import NS_PER_S, AlarmLine, Badge
from pipeline.page.board import LiveBoard
from pipeline.rules import SILENCE_S
from pipeline.sites import Site, SiteTable
from pipeline.store import GunView

# A gun lifted for a moment keeps its place: tiles that jump cannot be read. Engineering choice.
CONTACT_HELD_NS = 15 * NS_PER_S
# A session whose gun has said nothing for this long is not going on. Engineering choice.
SESSION_HELD_NS = 300 * NS_PER_S
SILENCE_NS = round(SILENCE_S * NS_PER_S)
LINES_MAX = 40  # what anybody reads of a clinic's list; the others are counted


class GunState(StrEnum):
    CONTACT = "contact"
    AIR = "air"  # the motor runs
    RESTING = "resting"  # the motor is off
    SILENT = "silent"  # no values for a while, and the motor ran
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Readings:
    """What the gun measures now; None is unknown. Force and tissue are of contact alone."""

    force_n: float | None
    dwell_s: float | None
    stiffness: float | None
    tissue: str | None
    percussion_hz: float | None


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the site under treatment."""

    force_n: float
    dwell_advisory_s: float
    dwell_s: float


@dataclass(frozen=True, slots=True)
class Tile:
    """One gun. `attention` is the priority of its worst active alarm that concerns people."""

    clinic: str
    device: str
    state: GunState
    silent_s: int
    in_use: bool
    attention: Priority | None
    operator: str | None
    site: str | None
    in_session: bool
    battery_v: float | None
    calibrated: bool
    readings: Readings | None
    limits: Limits
    alarm: Badge | None  # the most urgent
    alarms_standing: int
    alarms_urgent: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """One message to every browser: all that the fleet page shows."""

    now_ms: int
    error: str | None
    guns: tuple[Tile, ...]
    alarms: tuple[AlarmLine, ...]  # LINES_MAX of each clinic, the most urgent first


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store said when it was last read; `error` is why it could not be."""

    guns: tuple[GunView, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    error: str | None = None


@dataclass(slots=True)
class _Sighting:
    t_ns: int  # the newest sample time
    seen_at_ns: int  # when that came, by the page's clock
    contact_at_ns: int | None = None  # by the page's clock


class Sightings:
    """When each gun last said something new.

    Its own clock may be hours off, so silence is measured by the page's clock from the moment the
    sample time last changed, and the age of an alarm by the gun's clock as it must stand now.
    """

    def __init__(self) -> None:
        self._guns: dict[DeviceId, _Sighting] = {}

    def see(self, gun: DeviceId, t_ns: int, contact: bool, now_ns: int) -> None:
        seen = self._guns.get(gun)
        if seen is None:  # nothing tells yet how its clock stands: taken to be right
            seen = self._guns[gun] = _Sighting(t_ns, min(now_ns, t_ns))
        elif seen.t_ns != t_ns:
            seen.t_ns, seen.seen_at_ns = t_ns, now_ns
        if contact:
            seen.contact_at_ns = seen.seen_at_ns

    def keep_only(self, guns: Iterable[DeviceId]) -> None:
        wanted = set(guns)
        self._guns = {gun: seen for gun, seen in self._guns.items() if gun in wanted}

    def silent_ns(self, gun: DeviceId, now_ns: int) -> int:
        seen = self._guns.get(gun)
        return max(0, now_ns - seen.seen_at_ns) if seen is not None else 0

    def had_contact(self, gun: DeviceId, now_ns: int) -> bool:
        seen = self._guns.get(gun)
        if seen is None or seen.contact_at_ns is None:
            return False
        return now_ns - seen.contact_at_ns <= CONTACT_HELD_NS

    def gun_now_ns(self, gun: DeviceId, now_ns: int) -> int:
        """What the gun's own clock must show now; the page's where the gun was never heard."""
        seen = self._guns.get(gun)
        return seen.t_ns + max(0, now_ns - seen.seen_at_ns) if seen is not None else now_ns


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest values of one gun, from whichever source has them."""

    t_ns: int
    contact: bool
    running: bool
    contact_force_n: float
    stiffness: float
    dwell_s: float
    percussion_hz: float
    session_id: str | None
    site: str


def compose(
    stored: Stored, board: LiveBoard, sites: SiteTable, sightings: Sightings, now_ns: int
) -> Fleet:
    """Everything the fleet page shows at `now_ns`; takes note in `sightings` of what is new."""
    views = {view.id: view for view in stored.guns}
    guns = views.keys() | board.guns.keys() | board.statuses.keys()
    alarms = alarm_lines.standing(stored.alarms, board)
    by_gun: Mapping[DeviceId, list[Alarm]] = defaultdict(list)
    for alarm in alarms:
        by_gun[alarm.id].append(alarm)
    sightings.keep_only(guns)
    placed = []
    for gun in guns | by_gun.keys():
        view = views.get(gun) or GunView(gun, None, None)
        tile = _tile(view, board, by_gun[gun], sites, sightings, now_ns)
        placed.append((_place(tile, by_gun[gun], sightings.had_contact(gun, now_ns)), tile))
    placed.sort(key=lambda pair: pair[0])
    return Fleet(
        now_ms=now_ns // 1_000_000,
        error=stored.error,
        guns=tuple(tile for _, tile in placed),
        alarms=tuple(
            alarm_lines.to_line(alarm, sightings.gun_now_ns(alarm.id, now_ns))
            for alarm in _first_of_each_clinic(alarms)
        ),
    )


def _first_of_each_clinic(alarms: Iterable[Alarm]) -> Iterator[Alarm]:
    listed: Counter[str] = Counter()
    for alarm in alarms:
        listed[alarm.id.clinic] += 1
        if listed[alarm.id.clinic] <= LINES_MAX:
            yield alarm


_Place = tuple[int, bool, bool, int, bool, list[tuple[str, int]], str]


def _place(tile: Tile, alarms: list[Alarm], had_contact: bool) -> _Place:
    """Worst first: active alarms, use, contact, alarms that are over, online, name."""
    urgent = max((alarm_lines.attention(alarm) for alarm in alarms), default=0)
    any_rank = max((alarm_lines.RANK[alarm.priority] for alarm in alarms), default=0)
    offline = tile.state is GunState.OFFLINE
    return (
        -urgent,
        not tile.in_use,
        not had_contact,
        -any_rank,
        offline,
        _natural(tile.device),
        tile.clinic,
    )


def _natural(name: str) -> list[tuple[str, int]]:
    """gun-9 before gun-10: words by letter, numbers by size."""
    parts = re.findall(r"(\D*)(\d*)", name)
    return [(letters, int(digits or 0)) for letters, digits in parts]


def _tile(
    view: GunView,
    board: LiveBoard,
    alarms: list[Alarm],
    sites: SiteTable,
    sightings: Sightings,
    now_ns: int,
) -> Tile:
    gun = view.id
    status = board.statuses.get(gun) or view.status
    last = view.latest.last if view.latest is not None else None
    newest = _newest(last, board.guns.get(gun))
    if newest is not None:
        sightings.see(gun, newest.t_ns, newest.contact, now_ns)
    silent_ns = sightings.silent_ns(gun, now_ns)
    state = _state(status, newest, silent_ns)
    urgent = [alarm for alarm in alarms if alarm_lines.attention(alarm)]
    in_session = (
        newest is not None
        and newest.session_id is not None
        and state is not GunState.OFFLINE
        and silent_ns <= SESSION_HELD_NS
    )
    known = state is not GunState.OFFLINE and silent_ns <= SILENCE_NS
    gun_now_ns = sightings.gun_now_ns(gun, now_ns)
    return Tile(
        clinic=gun.clinic,
        device=gun.device,
        state=state,
        silent_s=silent_ns // NS_PER_S,
        in_use=in_session or state in (GunState.CONTACT, GunState.AIR) or bool(urgent),
        attention=urgent[0].priority if urgent else None,
        operator=_operator(last, newest),
        site=words.site_words(newest.site) if newest is not None else None,
        in_session=in_session,
        battery_v=last.battery_mv / 1000 if last is not None and last.battery_mv else None,
        calibrated=status.calibrated if status is not None else bool(last and last.calibrated),
        readings=_readings(newest) if known and newest is not None else None,
        limits=_limits(sites.limits(newest.site if newest is not None else None)),
        alarm=alarm_lines.to_badge(alarms[0], gun_now_ns) if alarms else None,
        alarms_standing=len(alarms),
        alarms_urgent=len(urgent),
    )


def _newest(last: Features | None, live: LiveGun | None) -> _Newest | None:
    if live is not None and (last is None or live.t_ns >= last.t_ns):
        return _of(live, running=live.percussion_hz > 0)
    return _of(last, running=last.motor is not MotorState.OFF) if last is not None else None


def _of(values: Features | LiveGun, *, running: bool) -> _Newest:
    return _Newest(
        t_ns=values.t_ns,
        contact=values.contact,
        running=running,
        contact_force_n=values.contact_force_n,
        stiffness=values.stiffness,
        dwell_s=values.dwell_s,
        percussion_hz=values.percussion_hz,
        session_id=values.session_id,
        site=values.site,
    )


def _state(status: DeviceStatus | None, newest: _Newest | None, silent_ns: int) -> GunState:
    if status is not None and not status.online:
        return GunState.OFFLINE
    if newest is None:
        return GunState.RESTING
    if silent_ns > SILENCE_NS:
        return GunState.SILENT if newest.running else GunState.RESTING
    if newest.contact:
        return GunState.CONTACT
    return GunState.AIR if newest.running else GunState.RESTING


def _operator(last: Features | None, newest: _Newest | None) -> str | None:
    """Live values do not say who; the store's second does, if it is of the same session."""
    if last is None or newest is None or last.session_id != newest.session_id:
        return None
    return last.operator


def _readings(newest: _Newest) -> Readings:
    stiffness = words.finite(newest.stiffness) if newest.contact else None
    return Readings(
        force_n=words.finite(newest.contact_force_n) if newest.contact else None,
        dwell_s=words.finite(newest.dwell_s),
        stiffness=stiffness,
        tissue=words.tissue_word(stiffness),
        percussion_hz=words.finite(newest.percussion_hz),
    )


def _limits(site: Site) -> Limits:
    return Limits(site.force_limit_n, site.dwell_advisory_s, site.dwell_limit_s)
