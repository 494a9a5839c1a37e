"""Records as InfluxDB's line protocol, as docs/data-model.md describes them. Pure.

May import `model` only. Written out by hand and not with the client's `Point`, which takes 60 µs a
point, drops what is not a number in silence and raises at numpy's booleans. Here a field says what
it is: text is quoted, flags and counts are integers whatever type they come in, and a number that
is none is left out on purpose. Times are microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import isfinite
from operator import attrgetter
from typing import Any, Final, SupportsInt, assert_never

from pipeline.model import (
    Alarm,
    AlarmState,
    Counters,
    DeviceId,
    DeviceStatus,
    FeatureSecond,
    MinuteRollup,
    OperatorExposure,
    OutboundRecord,
    PipelineStatus,
    SessionSummary,
)

UNKNOWN: Final = "unknown"  # of a tag: never missing, so that one can group by it
CACHED: Final = 16_384  # names of guns, models, operators, sessions: bounded; engineering choice
FORCE_BAND_N: Final = 10  # of a session's histogram (model, SessionSummary)
_ACTIVE: Final = frozenset({AlarmState.ACTIVE_UNACK, AlarmState.ACTIVE_ACK})
# Six digits are finer than anything that is measured here.
_REAL: Final = "%s=%.6g"


def encode(record: OutboundRecord, model: str | None, position: int) -> str:
    """The line of one record; `position` tells transitions of one millisecond apart."""
    match record:
        case FeatureSecond():
            return _second(record, model)
        case MinuteRollup():
            return _minute(record, model)
        case Alarm():
            return _alarm(record, model, position)
        case SessionSummary():
            return _session(record, model)
        case DeviceStatus():
            return _device(record)
        case OperatorExposure():
            return _operator(record)
        case PipelineStatus():
            return _pipeline(record)
        case _:
            assert_never(record)


@lru_cache(CACHED)
def tag(value: str | None) -> str:
    """A tag's value. A backslash becomes a slash: at the end, no InfluxDB can hold one."""
    if not value:
        return UNKNOWN
    plain = "".join(c if c.isprintable() else " " for c in value).replace("\\", "/")
    return plain.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


@lru_cache(CACHED)
def quoted(value: str) -> str:
    """A field's text, on one line."""
    plain = "".join(c if c.isprintable() else " " for c in value)
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def text(name: str, value: str | None) -> str:
    return f"{name}={quoted(value)}" if value else ""


def real(name: str, value: float | None) -> str:
    return _REAL % (name, value) if value is not None and isfinite(value) else ""


def whole(name: str, value: SupportsInt | None) -> str:
    return f"{name}={int(value)}i" if value is not None else ""


def flag(name: str, value: object) -> str:
    return f"{name}={1 if value else 0}i"


def _line(head: str, fields: Iterable[str], t_us: int) -> str:
    return f"{head} {','.join(filter(None, fields))} {t_us}"


@lru_cache(CACHED)
def _head(measurement: str, gun: DeviceId, model: str | None, site: str | None) -> str:
    where = "" if site is None else f",site={tag(site)}"
    return (
        f"{measurement},clinic={tag(gun.clinic)},device={tag(gun.device)},model={tag(model)}{where}"
    )


# A second is nearly all there is to write, so its numbers go through one template.
_LAST: Final = (
    "contact_force_n",
    "contact_force_n_sd",
    "stiffness",
    "dwell_s",
    "motion_deg_s",
    "percussion_hz",
    "set_percussion_hz",
    "accel_rms_g",
    "crest",
    "h1",
    "h2_4",
    "h_sub",
    "current_a",
    "a_hv_m_s2",
)
_WORST: Final = ("contact_force_n_max", "stiffness_max")
_last, _worst = attrgetter(*_LAST), attrgetter(*_WORST)
_NUMBERS: Final = (*_LAST, *_WORST)
_REALS: Final = ",".join(f"{name}=%.6g" for name in _NUMBERS)
_FLAGS: Final = ("contact", "calibrated", "clipped")
_OTHERS: Final = 'motor="%s",quality="%s",' + ",".join(
    f"{name}=%di" for name in (*_FLAGS, "hops", "contact_hops")
)
_flags = attrgetter(*_FLAGS)


def _second(second: FeatureSecond, model: str | None) -> str:
    hop = second.last
    numbers = (*_last(hop), *_worst(second))
    counted = (*_flags(hop), second.hops, second.contact_hops)
    fields = (
        _REALS % numbers if isfinite(sum(numbers)) else _finite(_NUMBERS, numbers),
        _OTHERS % (hop.motor.value, second.quality_worst.value, *counted),
        text("session", hop.session_id),
        text("operator", hop.operator),
        whole("battery_mv", hop.battery_mv),
        real("temperature_c", hop.temperature_c),
    )
    return _line(_head("features", hop.id, model, hop.site), fields, hop.t_ns // 1000)


def _finite(names: Sequence[str], numbers: Sequence[float]) -> str:
    return ",".join(filter(None, map(real, names, numbers)))


def _same(
    write: Callable[[str, Any], str], record: OutboundRecord | Counters, *names: str
) -> Iterator[str]:
    """Fields that are called as the record calls them."""
    return (write(name, getattr(record, name)) for name in names)


def _milliseconds(t_ns: int | None) -> int | None:
    return None if t_ns is None else t_ns // 1_000_000


def _minute(minute: MinuteRollup, model: str | None) -> str:
    # A gun that goes and comes back leaves two parts of one minute. They must stay two points, and
    # end at different milliseconds of it: so many microseconds after its start.
    part_us = (minute.last_t_ns - minute.t_ns) // 1_000_000
    fields = (
        *_same(whole, minute, "hops", "contact_hops", "running_hops", "degraded_hops"),
        *_same(real, minute, "contact_force_n_sum", "contact_force_n_max", "stiffness_max"),
        *_same(real, minute, "dwell_s_max", "accel_rms_g_max", "a_hv_m_s2_max"),
        *_same(real, minute, "percussion_hz_sum", "a_hv_m2_s4_sum"),
        text("session", minute.session_id),
    )
    head = _head("features_1m", minute.id, model, minute.site)
    return _line(head, fields, minute.t_ns // 1000 + part_us)


def _alarm(alarm: Alarm, model: str | None, position: int) -> str:
    # Several transitions can have one sample time; their positions have different last digits.
    t_us = alarm.changed_at_ns // 1_000_000 * 1000 + position % 1000
    fields = (
        text("session", alarm.session_id),
        *_same(text, alarm, "alarm_id", "operator", "unit", "quality", "by", "note"),
        *_same(text, alarm, "config_version", "capture"),
        *_same(real, alarm, "value", "peak", "setpoint"),
        real("since_raised_s", (alarm.changed_at_ns - alarm.raised_at_ns) / 1e9),
        whole("count", alarm.count),
        whole("raised_at_ms", _milliseconds(alarm.raised_at_ns)),
        whole("until_ms", _milliseconds(alarm.until_ns)),
        flag("active", alarm.state in _ACTIVE),
        flag("open", alarm.state is not AlarmState.CLEARED),
        flag("chattering", alarm.chattering),
    )
    head = _head("alarms", alarm.id, model, alarm.site)
    kind = f",rule={tag(alarm.rule)},priority={alarm.priority},state={alarm.state}"
    return _line(head + kind, fields, t_us)


def _session(session: SessionSummary, model: str | None) -> str:
    ended_at_ns = session.ended_at_ns
    duration_s = None if ended_at_ns is None else (ended_at_ns - session.started_at_ns) / 1e9
    bands = enumerate(session.force_histogram_s)
    fields = (
        text("session", session.session_id),
        text("client", session.client),
        text("sites", ",".join(sorted(session.contact_s_by_site))),
        text("guidance", " ".join(session.guidance)),
        whole("ended_at_ms", _milliseconds(ended_at_ns)),
        real("duration_s", duration_s),
        *_same(real, session, "contact_s", "contact_force_n_mean", "contact_force_n_max"),
        real("dwell_s_max", session.dwell_s_max),
        *(real(f"contact_s_on_{site}", s) for site, s in _by_name(session.contact_s_by_site)),
        *(real(f"contact_s_at_{band * FORCE_BAND_N}_n", seconds) for band, seconds in bands),
        whole("alarms", sum(session.alarms_by_rule.values())),
        *(whole(f"alarms_{rule}", n) for rule, n in _by_name(session.alarms_by_rule)),
    )
    head = f"{_head('sessions', session.id, model, None)},operator={tag(session.operator)}"
    return _line(head, fields, session.started_at_ns // 1000)


def _by_name(amounts: Mapping[str, float]) -> list[tuple[str, float]]:
    return [(tag(name.lower()), amount) for name, amount in sorted(amounts.items())]


def _device(status: DeviceStatus) -> str:
    fields = (
        *_same(flag, status, "online", "calibrated"),
        whole("calibrated_at_ms", _milliseconds(status.calibrated_at_ns)),
        *_same(text, status, "serial", "firmware", "head"),
    )
    return _line(_head("devices", status.id, status.model, None), fields, status.t_ns // 1000)


def _operator(exposure: OperatorExposure) -> str:
    fields = (
        text("day", exposure.day),
        *_same(real, exposure, "a8_m_s2", "a_hv_m_s2", "trigger_s", "points"),
        *_same(real, exposure, "minutes_to_action", "minutes_to_limit"),
    )
    head = f"operators,clinic={tag(exposure.clinic)},operator={tag(exposure.operator)}"
    return _line(head, fields, exposure.t_ns // 1000)


def _pipeline(status: PipelineStatus) -> str:
    counters = status.counters
    fields = (
        whole("guns", status.guns),
        whole("rejected", sum(counters.rejected.values())),
        *_same(whole, counters, "messages", "frames", "frames_processed", "frames_duplicate"),
        *_same(whole, counters, "frames_late", "frames_rejected", "frames_missing"),
        real("lag_s", status.lag_s),
        *_same(whole, status, "store_bytes", "spool_records", "spool_bytes", "spool_dropped"),
        whole("influx_refused", status.influx_refused),
    )
    return _line(f"pipeline,pipeline={tag(status.pipeline)}", fields, status.t_ns // 1000)
