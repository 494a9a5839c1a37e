"""The fleet as the page shows it: a tile a gun, worst first; pure, the time is an argument.

May import `alarm_lines`, `board`, `sightings`, `words`, the store's types, `sites`, `rules` and
`model`. Each value is the newest of store and board. What a gun has not said lately is not known,
and is not shown as if it were.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from pipeline.model import (
    PIPELINE_CLINIC,
    Alarm,
    AlarmState,
    DeviceId,
    DeviceStatus,
    Features,
    LiveGun,
    MotorState,
    Priority,
)
from pipeline.page import alarm_lines, words
from pipeline.page.actions import Asked
from pipeline.page.alarm_lines import NS_PER_S, AlarmLine, Badge
from pipeline.page.board import AlarmKey, LiveBoard, alarm_key
from pipeline.page.sightings import Sightings
from pipeline.page.workshop import TEST_GUN
from pipeline.rules import SILENCE_S
from pipeline.sites import Site, SiteTable
from pipeline.store import GunView

# A session whose gun has said nothing for this long is not going on. Engineering choice.
SESSION_HELD_NS = 300 * NS_PER_S
SILENCE_NS = round(SILENCE_S * NS_PER_S)
NOTHING_ASKED: Mapping[AlarmKey, Asked] = MappingProxyType({})
LINES_MAX = 40  # what anybody reads of a clinic's list; the others are counted


class GunState(StrEnum):
    CONTACT = "contact"
    AIR = "air"  # the motor runs
    RESTING = "resting"  # the motor is off
    SILENT = "silent"  # no values for a while, and the motor ran
    UNHEARD = "unheard"  # no values ever
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
    calls: bool  # nobody has acknowledged it
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


@dataclass(frozen=True, slots=True)
class _Gun:
    """All that is known of one gun at one moment; `now_ns` is what its own clock must show."""

    id: DeviceId
    status: DeviceStatus | None
    last: Features | None
    newest: _Newest | None
    alarms: list[Alarm]
    silent_ns: int
    had_contact: bool
    now_ns: int

    @property
    def is_offline(self) -> bool:
        return self.status is not None and not self.status.online


def compose(
    stored: Stored,
    board: LiveBoard,
    sites: SiteTable,
    sightings: Sightings,
    now_ns: int,
    asked: Mapping[AlarmKey, Asked] = NOTHING_ASKED,
) -> Fleet:
    """Everything the fleet page shows at `now_ns`; takes note in `sightings` of what is new."""
    alarms = alarm_lines.standing(stored.alarms, board)
    by_gun: dict[DeviceId, list[Alarm]] = defaultdict(list)
    for alarm in alarms:
        by_gun[alarm.id].append(alarm)
    views = {view.id: view for view in stored.guns}
    known = views.keys() | board.guns.keys() | board.statuses.keys() | by_gun.keys()
    known = {id_ for id_ in known if id_.clinic != PIPELINE_CLINIC}
    sightings.keep_only(known)
    placed: list[tuple[_Place, Tile]] = []
    for id_ in known:
        if id_.device == TEST_GUN and not by_gun[id_]:
            continue
        view = views.get(id_) or GunView(id_, None, None)
        gun = _learn(view, board, by_gun[id_], sightings, now_ns)
        tile = _tile(gun, sites)
        placed.append((_place(tile, gun), tile))
    placed.sort(key=lambda pair: pair[0])
    return Fleet(
        now_ms=now_ns // 1_000_000,
        error=stored.error,
        guns=tuple(tile for _, tile in placed),
        alarms=tuple(
            alarm_lines.to_line(
                alarm, sightings.gun_now_ns(alarm.id, now_ns), asked.get(alarm_key(alarm))
            )
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


def _place(tile: Tile, gun: _Gun) -> _Place:
    """Worst first: active alarms, use, contact, alarms that are over, online, name."""
    return (
        -max((alarm_lines.attention(alarm) for alarm in gun.alarms), default=0),
        not tile.in_use,
        not gun.had_contact,
        -max((alarm_lines.RANK[alarm.priority] for alarm in gun.alarms), default=0),
        tile.state is GunState.OFFLINE,
        _natural(tile.device),
        tile.clinic,
    )


def _natural(name: str) -> list[tuple[str, int]]:
    """gun-9 before gun-10: words by letter, numbers by size."""
    parts = re.findall(r"(\D*)(\d*)", name)
    return [(letters, int(digits or 0)) for letters, digits in parts]


def _learn(
    view: GunView, board: LiveBoard, alarms: list[Alarm], sightings: Sightings, now_ns: int
) -> _Gun:
    id_ = view.id
    last = view.latest.last if view.latest is not None else None
    newest = _newest(last, board.guns.get(id_))
    if newest is not None:
        sightings.see(id_, newest.t_ns, newest.contact, now_ns)
    return _Gun(
        id=id_,
        status=board.statuses.get(id_) or view.status,
        last=last,
        newest=newest,
        alarms=alarms,
        silent_ns=sightings.silent_ns(id_, now_ns),
        had_contact=sightings.had_contact(id_, now_ns),
        now_ns=sightings.gun_now_ns(id_, now_ns),
    )


def _tile(gun: _Gun, sites: SiteTable) -> Tile:
    status, last, newest, alarms = gun.status, gun.last, gun.newest, gun.alarms
    state, in_session = _state(gun), _is_in_session(gun)
    urgent = [alarm for alarm in alarms if alarm_lines.attention(alarm)]
    return Tile(
        clinic=gun.id.clinic,
        device=gun.id.device,
        state=state,
        silent_s=gun.silent_ns // NS_PER_S,
        in_use=in_session or state in (GunState.CONTACT, GunState.AIR) or bool(urgent),
        attention=urgent[0].priority if urgent else None,
        calls=any(alarm.state is AlarmState.ACTIVE_UNACK for alarm in urgent),
        operator=_operator(last, newest),
        site=words.site_words(newest.site) if newest is not None else None,
        in_session=in_session,
        battery_v=last.battery_mv / 1000 if last is not None and last.battery_mv else None,
        calibrated=status.calibrated if status is not None else bool(last and last.calibrated),
        readings=_readings(gun),
        limits=_limits(sites.limits(newest.site if newest is not None else None)),
        alarm=alarm_lines.to_badge(alarms[0], gun.now_ns) if alarms else None,
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


def _state(gun: _Gun) -> GunState:
    newest = gun.newest
    if gun.is_offline:
        return GunState.OFFLINE
    if newest is None:
        return GunState.UNHEARD
    if gun.silent_ns > SILENCE_NS:
        return GunState.SILENT if newest.running else GunState.RESTING
    if newest.contact:
        return GunState.CONTACT
    return GunState.AIR if newest.running else GunState.RESTING


def _is_in_session(gun: _Gun) -> bool:
    if gun.newest is None or gun.is_offline or gun.silent_ns > SESSION_HELD_NS:
        return False
    return gun.newest.session_id is not None


def _operator(last: Features | None, newest: _Newest | None) -> str | None:
    """Live values do not say who; the store's second does, if it is of the same session."""
    if last is None or newest is None or last.session_id != newest.session_id:
        return None
    return last.operator


def _readings(gun: _Gun) -> Readings | None:
    newest = gun.newest
    if newest is None or gun.is_offline or gun.silent_ns > SILENCE_NS:
        return None
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
