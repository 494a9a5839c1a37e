"""The pure conditions of the alarms: one moment in, TRUE, FALSE or UNKNOWN out.

A condition sees one Situation (a hop of features, the limits of the site, what is known of session,
operator and gun), one Link (what the messages themselves say) or the pipeline's Health, and answers
with the value and the setpoint. `held` says that the alarm stands: deadbands hold it then, and only
then. May import `sites` and `model`.

No data is never normal: a value that is missing makes its condition UNKNOWN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from pipeline.model import Features, MotorState, Priority
from pipeline.sites import Site

PRESSURE_DEADBAND = 0.9  # detection.md: EXCESS_PRESSURE is off under 90 % of its limit
# An alarm of force is raised once the force less so many of its standard uncertainties is over the
# limit: of all between 0 and 1, the middle of those that missed none of 41 presses on the guns for
# fitting; with none of it one in six was false. A gun that was never on a bench is judged by its
# force as it is: that it lacks a calibration must not cost an alarm.
SURE_SDS = 0.5
# On tendon and bone neither witness of the force is good: there a whole one counts, against an
# alarm of force and for one of a tendon. Of 917 presses none was lost by it, two of four false ones
# were, and six more of 1,245 tendons found, on which a head's bouncing made the force said half of
# the true one (six suites).
HARD_SURE_SDS = 1.0
TENDON_STIFFNESS = 0.5  # engineering choice: midway between muscle (0) and tendon (1)
TENDON_FORCE_N = 12.0  # detection.md: lighter contact does no harm and gives no reliable stiffness
SITE_CONTACT_ADVISORY_S = 120.0  # detection.md: 30 s to 2 min a muscle group
SESSION_CONTACT_ADVISORY_S = 900.0  # detection.md: 10-20 min a session
START_FORCE_N = 30.0  # detection.md, STARTED_TOO_STRONG
START_WINDOW_S = 10.0  # detection.md, STARTED_TOO_STRONG: its window, and how long it stands
HAV_ACTION_M_S2 = 2.5  # Directive 2002/44/EC, exposure action value A(8)
HAV_LIMIT_M_S2 = 5.0  # Directive 2002/44/EC, exposure limit value A(8)
SILENCE_S = 5.0  # detection.md, NO_FRAMES
REJECTED_FRAMES = 3  # engineering choice: one bad frame is radio weather, three are a cause
REJECTED_WINDOW_S = 10.0  # engineering choice: 2.5 s to 10 s of frames at 1 to 4 a second
HOT_C = 48.0  # ISO 13732-1:2006: burn threshold of any material touched for 10 min
COOL_C = 46.0  # engineering choice: 2 °C of deadband, the housing's drift in a pause
STORE_FAILING_S = 30.0  # engineering choice: a restart of InfluxDB takes some seconds
PIPELINE_ON_S = 5.0  # engineering choice: one slow second is none of anybody's business
# Engineering choices: an alarm is promised within about a second (README); at five it is worth
# somebody's time, and at two it is over.
LAG_S, LAG_OFF_S = 5.0, 2.0
SPOOL_SHARE = 0.5  # engineering choice: as long again is left to set it right
SPOOL_SHARE_OFF = 0.4  # engineering choice: a deadband of a fifth
BATTERY_DEADBAND = 1.03  # engineering choice: a pack recovers about 3 % when the load is taken off


class Verdict(Enum):
    FALSE = 0
    TRUE = 1
    UNKNOWN = 2


class Condition(NamedTuple):
    """What a rule says of one moment; `priority` only where it is not the row's."""

    verdict: Verdict
    value: float | None = None
    setpoint: float | None = None
    priority: Priority | None = None


TRUE = Condition(Verdict.TRUE)
FALSE = Condition(Verdict.FALSE)
UNKNOWN = Condition(Verdict.UNKNOWN)
_VERDICT = (Verdict.FALSE, Verdict.TRUE)


class Situation(NamedTuple):
    """Everything the conditions of one hop look at."""

    features: Features
    limits: Site
    in_session: bool = False
    no_go: bool = False  # the session's site is one to keep off
    site_contact_s: float = 0.0  # in this session on this site; 0 where no site is named
    session_contact_s: float = 0.0
    start_excess: float = 0.0  # over 1: how many times too strong the session began; else 0
    a8_m_s2: float = 0.0  # the operator's day so far; 0 where nobody is named
    battery_low_mv: float | None = None  # of this model of gun; None: not known
    clock_synchronised: bool = True
    frames_missing: int = 0  # since the hop before
    clock_steps: int = 0  # since the hop before


class Link(NamedTuple):
    """What the messages of one gun say, beside their content."""

    online: bool
    session_open: bool
    silent_s: float  # since the last frame of a gun whose motor ran
    frames_rejected: int  # within REJECTED_WINDOW_S


class Shortage(IntEnum):
    """What the store on our own disk gives up to stay below its size, before its time."""

    NONE = 0
    DETAIL = 1  # features and rollups
    RECORDS = 2  # what InfluxDB still waits for, sessions, alarms that are over


class Health(NamedTuple):
    """What the pipeline knows of itself; nobody's gun has it."""

    store_failing_s: float = 0.0  # since InfluxDB last took something although something waited
    spool_share: float = 0.0  # of what may wait for it at most
    not_storing_s: float = 0.0  # since the store on our own disk last took something
    not_connected_s: float = 0.0  # since there was a broker
    lag_s: float = 0.0  # how old the oldest message is that is not judged yet
    shortage: Shortage = Shortage.NONE  # of room in the store


def overdwell_advisory(s: Situation, _held: bool) -> Condition:
    return _dwell(s.features, s.limits.dwell_advisory_s)


def overdwell(s: Situation, _held: bool) -> Condition:
    return _dwell(s.features, s.limits.dwell_limit_s)


def _dwell(f: Features, limit_s: float) -> Condition:
    if math.isnan(f.dwell_s):
        return UNKNOWN
    return Condition(_VERDICT[f.contact and f.dwell_s >= limit_s], f.dwell_s, limit_s)


def excess_pressure(s: Situation, held: bool) -> Condition:
    return _force_over(s.features, s.limits.force_limit_n, held)


def extreme_pressure(s: Situation, held: bool) -> Condition:
    return _force_over(s.features, s.limits.extreme_force_n, held)


def _force_over(f: Features, limit_n: float, held: bool) -> Condition:
    force_n, sd_n = f.contact_force_n, f.contact_force_n_sd
    if math.isnan(force_n) or math.isnan(sd_n):
        return UNKNOWN
    over = force_n > PRESSURE_DEADBAND * limit_n if held else force_n - _doubt_n(f) > limit_n
    return Condition(_VERDICT[f.contact and over], force_n, limit_n)


def _doubt_n(f: Features) -> float:
    if not f.calibrated:
        return 0.0
    hard = f.stiffness > TENDON_STIFFNESS
    return (HARD_SURE_SDS if hard else SURE_SDS) * f.contact_force_n_sd


def tendon_proximity(s: Situation, _held: bool) -> Condition:
    """Not asked for where the force is surely under its least: a bouncing head's is uncertain."""
    f = s.features
    if math.isnan(f.stiffness + f.contact_force_n + f.contact_force_n_sd):
        return UNKNOWN
    heavy = f.contact_force_n + _doubt_n(f) >= TENDON_FORCE_N
    near = f.contact and f.stiffness > TENDON_STIFFNESS and heavy
    pressed = near and f.contact_force_n > s.limits.tendon_limit_n
    priority = Priority.HIGH if pressed else None
    return Condition(_VERDICT[near], f.stiffness, TENDON_STIFFNESS, priority)


def no_go_site(s: Situation, _held: bool) -> Condition:
    if not (s.no_go and s.features.contact):
        return FALSE
    return Condition(Verdict.TRUE, s.features.contact_force_n, 0.0)


def muscle_group_time(s: Situation, _held: bool) -> Condition:
    return _reached(s.site_contact_s, SITE_CONTACT_ADVISORY_S)


def session_time(s: Situation, _held: bool) -> Condition:
    return _reached(s.session_contact_s, SESSION_CONTACT_ADVISORY_S)


def started_too_strong(s: Situation, _held: bool) -> Condition:
    return Condition(Verdict.TRUE, s.start_excess, 1.0) if s.start_excess > 1.0 else FALSE


def hav_action(s: Situation, held: bool) -> Condition:
    return _exposed(s, HAV_ACTION_M_S2, held)


def hav_limit(s: Situation, held: bool) -> Condition:
    return _exposed(s, HAV_LIMIT_M_S2, held)


def _exposed(s: Situation, limit_m_s2: float, held: bool) -> Condition:
    """Raised on the gun the operator uses now, not on every one that waits with the motor off."""
    in_use = held or s.features.motor is not MotorState.OFF
    return Condition(_VERDICT[in_use and s.a8_m_s2 >= limit_m_s2], s.a8_m_s2, limit_m_s2)


def _reached(value: float, limit: float) -> Condition:
    return Condition(_VERDICT[value >= limit], value, limit)


def sequence_gap(s: Situation, _held: bool) -> Condition:
    return Condition(Verdict.TRUE, float(s.frames_missing), 0.0) if s.frames_missing else FALSE


def clock_step(s: Situation, _held: bool) -> Condition:
    return Condition(Verdict.TRUE, float(s.clock_steps), 0.0) if s.clock_steps else FALSE


def clock_unsynced(s: Situation, _held: bool) -> Condition:
    return FALSE if s.clock_synchronised else TRUE


def sensor_clipped(s: Situation, _held: bool) -> Condition:
    return TRUE if s.features.clipped else FALSE


def sensor_stuck(s: Situation, _held: bool) -> Condition:
    return TRUE if s.features.stuck else FALSE


def uncalibrated(s: Situation, _held: bool) -> Condition:
    return FALSE if s.features.calibrated else TRUE


def stalled(s: Situation, _held: bool) -> Condition:
    if s.features.motor is not MotorState.STALLED:
        return FALSE
    return Condition(Verdict.TRUE, s.features.current_a)


def battery_low(s: Situation, held: bool) -> Condition:
    battery_mv, low_mv = s.features.battery_mv, s.battery_low_mv
    if battery_mv is None or low_mv is None:
        return UNKNOWN
    threshold_mv = BATTERY_DEADBAND * low_mv if held else low_mv
    return Condition(_VERDICT[battery_mv < threshold_mv], float(battery_mv), low_mv)


def overheated(s: Situation, held: bool) -> Condition:
    temperature_c = s.features.temperature_c
    if temperature_c is None or math.isnan(temperature_c):
        return UNKNOWN
    threshold_c = COOL_C if held else HOT_C
    return Condition(_VERDICT[temperature_c >= threshold_c], temperature_c, HOT_C)


def device_offline(link: Link) -> Condition:
    priority = Priority.MEDIUM if link.session_open else None
    return Condition(_VERDICT[not link.online], priority=priority)


def no_frames(link: Link) -> Condition:
    return _reached(link.silent_s, SILENCE_S)


def rejecting_frames(link: Link) -> Condition:
    return _reached(float(link.frames_rejected), float(REJECTED_FRAMES))


def store_unreachable(health: Health, held: bool) -> Condition:
    """InfluxDB may restart; our own disk may not: what is not stored stays with the broker."""
    if health.not_storing_s > 0.0:
        return Condition(Verdict.TRUE, health.not_storing_s, PIPELINE_ON_S, Priority.HIGH)
    filling = health.spool_share >= (SPOOL_SHARE_OFF if held else SPOOL_SHARE)
    failing = health.store_failing_s > (0.0 if held else STORE_FAILING_S - PIPELINE_ON_S)
    priority = Priority.HIGH if filling else None
    return Condition(
        _VERDICT[filling or failing], health.store_failing_s, STORE_FAILING_S, priority
    )


def store_full(health: Health, _held: bool) -> Condition:
    shortage = health.shortage
    priority = Priority.MEDIUM if shortage is Shortage.RECORDS else None
    return Condition(_VERDICT[shortage > Shortage.NONE], float(shortage), 1.0, priority)


def broker_unreachable(health: Health, _held: bool) -> Condition:
    is_so = health.not_connected_s > 0.0
    return Condition(_VERDICT[is_so], health.not_connected_s, PIPELINE_ON_S)


def pipeline_lag(health: Health, held: bool) -> Condition:
    is_so = health.lag_s >= (LAG_OFF_S if held else LAG_S)
    return Condition(_VERDICT[is_so], health.lag_s, LAG_S)


HopCondition: TypeAlias = Callable[[Situation, bool], Condition]
LinkCondition: TypeAlias = Callable[[Link], Condition]
HealthCondition: TypeAlias = Callable[[Health, bool], Condition]

HOP_CONDITIONS: Mapping[str, HopCondition] = MappingProxyType(
    {
        "OVERDWELL_ADVISORY": overdwell_advisory,
        "OVERDWELL": overdwell,
        "EXCESS_PRESSURE": excess_pressure,
        "EXTREME_PRESSURE": extreme_pressure,
        "TENDON_PROXIMITY": tendon_proximity,
        "NO_GO_SITE": no_go_site,
        "MUSCLE_GROUP_TIME": muscle_group_time,
        "SESSION_TIME": session_time,
        "STARTED_TOO_STRONG": started_too_strong,
        "HAV_ACTION": hav_action,
        "HAV_LIMIT": hav_limit,
        "SEQUENCE_GAP": sequence_gap,
        "SENSOR_CLIPPED": sensor_clipped,
        "SENSOR_STUCK": sensor_stuck,
        "CLOCK_STEP": clock_step,
        "CLOCK_UNSYNCED": clock_unsynced,
        "BATTERY_LOW": battery_low,
        "OVERHEATED": overheated,
        "STALLED": stalled,
        "UNCALIBRATED": uncalibrated,
    }
)

LINK_CONDITIONS: Mapping[str, LinkCondition] = MappingProxyType(
    {
        "DEVICE_OFFLINE": device_offline,
        "NO_FRAMES": no_frames,
        "REJECTING_FRAMES": rejecting_frames,
    }
)

HEALTH_CONDITIONS: Mapping[str, HealthCondition] = MappingProxyType(
    {
        "STORE_UNREACHABLE": store_unreachable,
        "STORE_FULL": store_full,
        "BROKER_UNREACHABLE": broker_unreachable,
        "PIPELINE_LAG": pipeline_lag,
    }
)
