"""What the page calls things: rules, states, sites, tissue. Pure; imports `model` and `rules`.

One sentence fragment a thing, in the words a therapist uses. What to do about an alarm stands in
its row of the ALARMS table, not here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from pipeline.model import UNKNOWN_SITE, Alarm, AlarmState
from pipeline.rules.conditions import TENDON_STIFFNESS
from pipeline.sites import SIDES, base_name

BONE_STIFFNESS = 1.5  # engineering choice: midway between tendon (1) and bone (2)

RULE_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "OVERDWELL_ADVISORY": "This spot has had its time",
        "OVERDWELL": "Too long on one spot",
        "EXCESS_PRESSURE": "Pressing too hard",
        "EXTREME_PRESSURE": "Pressing far too hard",
        "TENDON_PROXIMITY": "On tendon or bone",
        "NO_GO_SITE": "Site not to be treated",
        "MUSCLE_GROUP_TIME": "Long on one muscle group",
        "SESSION_TIME": "Long session",
        "STARTED_TOO_STRONG": "Started too strong",
        "HAV_ACTION": "Operator's vibration: action value",
        "HAV_LIMIT": "Operator's vibration: daily limit",
        "DEVICE_OFFLINE": "Gun offline",
        "NO_FRAMES": "Gun silent",
        "SEQUENCE_GAP": "Data missing",
        "SENSOR_CLIPPED": "Sensor out of range",
        "SENSOR_STUCK": "Sensor stuck",
        "CLOCK_STEP": "Clock jumped",
        "CLOCK_UNSYNCED": "Clock not set",
        "BATTERY_LOW": "Battery low",
        "OVERHEATED": "Gun too hot",
        "STALLED": "Motor stalled",
        "UNCALIBRATED": "Not calibrated",
        "REJECTING_FRAMES": "Unreadable data",
        "STORE_UNREACHABLE": "Results are not stored",
        "STORE_FULL": "Store is full",
        "BROKER_UNREACHABLE": "No broker",
        "PIPELINE_LAG": "Alarms come late",
    }
)

# {} stands for how long: since it was raised while an alarm stands, since its end after that.
STATE_WORDS: Mapping[AlarmState, str] = MappingProxyType(
    {
        AlarmState.ACTIVE_UNACK: "active for {}",
        AlarmState.ACTIVE_ACK: "active for {}, acknowledged",
        AlarmState.RTN_UNACK: "over {} ago, not acknowledged",
        AlarmState.LATCHED: "over {} ago, waits for a reset",
        AlarmState.SHELVED: "shelved {} ago",
        AlarmState.SUPPRESSED: "set aside {} ago, while the gun is offline",
        AlarmState.UNKNOWN: "cannot be judged without data, raised {} ago",
        AlarmState.CLEARED: "cleared {} ago",
    }
)


# What a transition into a state is, told afterwards.
EVENT_WORDS: Mapping[AlarmState, str] = MappingProxyType(
    {
        AlarmState.ACTIVE_UNACK: "raised",
        AlarmState.ACTIVE_ACK: "acknowledged",
        AlarmState.RTN_UNACK: "over, not acknowledged",
        AlarmState.LATCHED: "over, waits for a reset",
        AlarmState.SHELVED: "shelved",
        AlarmState.SUPPRESSED: "set aside, gun offline",
        AlarmState.UNKNOWN: "cannot be judged",
        AlarmState.CLEARED: "cleared",
    }
)


def rule_title(rule: str) -> str:
    """A rule this version does not know, from an older store, is called by its own name."""
    return RULE_TITLES.get(rule) or _sentence(rule.lower())


def site_words(site: str) -> str | None:
    """`calf_left` -> `Left calf`; None where nobody named a site."""
    if site == UNKNOWN_SITE:
        return None
    side = next((side[1:] for side in SIDES if site.endswith(side)), "")
    return _sentence(f"{side} {base_name(site)}".strip())


def tissue_word(stiffness: float | None) -> str | None:
    if stiffness is None:
        return None
    if stiffness < TENDON_STIFFNESS:
        return "muscle"
    return "tendon" if stiffness < BONE_STIFFNESS else "bone"


# What a mere number (unit 1) is a number of; of the other rules without a unit it says nothing.
_UNITLESS: Mapping[str, str] = MappingProxyType(
    {"TENDON_PROXIMITY": "stiffness {}", "STARTED_TOO_STRONG": "{} times the start limit"}
)


_OF_ONE = {"frames": "frame"}


def evidence(alarm: Alarm, *, is_over: bool) -> str:
    """The value against its setpoint: `63 N, limit 50 N`; empty where the rule has neither.

    Once it is over the peak is the evidence: the value is back to normal then.
    """
    shown = quantity(alarm.peak if is_over else alarm.value, alarm)
    if not shown or alarm.rule == "STARTED_TOO_STRONG":
        return shown
    setpoint = words_of(alarm.setpoint, alarm.unit) if alarm.setpoint else ""
    shown = f"peak {shown}" if is_over else shown
    return f"{shown}, limit {setpoint}" if setpoint else shown


def quantity(value: float | None, alarm: Alarm) -> str:
    """A value of an alarm in its unit, or with the noun that stands for one."""
    words = words_of(value, alarm.unit)
    if alarm.unit != "1" or not words:
        return words
    return _UNITLESS.get(alarm.rule, "").format(words)


def words_of(value: float | None, unit: str) -> str:
    """As many figures as a person reads at a glance; empty where there is no value."""
    if (shown := finite(value)) is None:
        return ""
    digits = 0 if abs(shown) >= 100 else 1 if abs(shown) >= 10 else 2
    number = f"{shown:.{digits}f}"
    number = number.rstrip("0").rstrip(".") if digits else number
    unit = _OF_ONE.get(unit, unit) if number == "1" else unit
    return number if unit == "1" else f"{number} {unit}"


def finite(value: float | None) -> float | None:
    """A value to show, or None: what is missing or not a number is never drawn as 0."""
    return value if value is not None and math.isfinite(value) else None


def _sentence(name: str) -> str:
    return name.replace("_", " ").capitalize()


def length(seconds: float) -> str:
    """How long something lasted: `48 s`, `12 min 5 s`, `1 h 4 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
