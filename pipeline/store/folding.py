"""Four hops a second become one record a second and one a minute. Pure; may import `model` only.

A gun has one second and one minute open. A hop either extends them or, when it belongs to another
second (or minute), closes the open one and starts the next. Hops of one gun are folded one after
the other in the order they came, so how they were cut into batches cannot change a result by one
bit. The open ones are committed with everything else: a restart goes on where the fold stood.
A value that is not a number adds nothing and is never the worst: `max(known, nan)` is `known`.
"""

from __future__ import annotations

from math import isfinite

from pipeline.model import Features, FeatureSecond, MinuteRollup, MotorState, Quality

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS


def second_start_ns(t_ns: int) -> int:
    """Start of the second a hop that ends at `t_ns` lies in; one that ends on a second ends it."""
    return (t_ns - 1) // SECOND_NS * SECOND_NS


def minute_start_ns(t_ns: int) -> int:
    """Start of the minute a hop that ends at `t_ns` lies in."""
    return (t_ns - 1) // MINUTE_NS * MINUTE_NS


def _worse(a: Quality, b: Quality) -> Quality:
    if a is b or b is Quality.GOOD or a is Quality.BAD:
        return a
    return b


def start_second(hop: Features) -> FeatureSecond:
    """A second that holds nothing yet but the gun and the time of its first hop."""
    return FeatureSecond(hop, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, Quality.GOOD)


def extend_second(second: FeatureSecond, hop: Features) -> FeatureSecond:
    """`second` with one more hop in it."""
    return FeatureSecond(
        last=hop,
        hops=second.hops + 1,
        contact_hops=second.contact_hops + hop.contact,
        contact_force_n_max=max(second.contact_force_n_max, hop.contact_force_n),
        stiffness_max=max(second.stiffness_max, hop.stiffness),
        dwell_s_max=max(second.dwell_s_max, hop.dwell_s),
        accel_rms_g_max=max(second.accel_rms_g_max, hop.accel_rms_g),
        crest_max=max(second.crest_max, hop.crest),
        a_hv_m_s2_max=max(second.a_hv_m_s2_max, hop.a_hv_m_s2),
        quality_worst=_worse(second.quality_worst, hop.quality),
    )


def start_minute(hop: Features) -> MinuteRollup:
    """The minute of `hop`, with nothing in it yet."""
    start = minute_start_ns(hop.t_ns)
    zeros = (0.0,) * 8
    return MinuteRollup(hop.id, start, start, hop.session_id, hop.site, 0, 0, 0, 0, *zeros)


def extend_minute(minute: MinuteRollup, hop: Features) -> MinuteRollup:
    """`minute` with one more hop in it."""
    running = hop.motor is not MotorState.OFF
    force = hop.contact_force_n if hop.contact and isfinite(hop.contact_force_n) else 0.0
    percussion = hop.percussion_hz if running and isfinite(hop.percussion_hz) else 0.0
    a_hv = hop.a_hv_m_s2 if running and isfinite(hop.a_hv_m_s2) else 0.0
    return MinuteRollup(
        id=minute.id,
        t_ns=minute.t_ns,
        last_t_ns=hop.t_ns,
        session_id=hop.session_id,
        site=hop.site,
        hops=minute.hops + 1,
        contact_hops=minute.contact_hops + hop.contact,
        running_hops=minute.running_hops + running,
        degraded_hops=minute.degraded_hops + (hop.quality is not Quality.GOOD),
        contact_force_n_sum=minute.contact_force_n_sum + force,
        contact_force_n_max=max(minute.contact_force_n_max, hop.contact_force_n),
        stiffness_max=max(minute.stiffness_max, hop.stiffness),
        dwell_s_max=max(minute.dwell_s_max, hop.dwell_s),
        accel_rms_g_max=max(minute.accel_rms_g_max, hop.accel_rms_g),
        percussion_hz_sum=minute.percussion_hz_sum + percussion,
        a_hv_m2_s4_sum=minute.a_hv_m2_s4_sum + a_hv * a_hv,
        a_hv_m_s2_max=max(minute.a_hv_m_s2_max, a_hv),
    )
