"""Fleet: who is on, in contact, alarms now, worst force, battery, offline."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from dashboards import limits, panels
from dashboards.influx import IN_TIME, OF_CLINIC, OF_GUN, alarm_marks, clinic, device
from dashboards.limits import BAD
from dashboards.panels import HIDDEN, Column

GUNS = 'GROUP BY "clinic", "device"'
NOW = "1m"  # a gun that runs has a point a second; one that is silent a minute is not on
DEVICE = panels.opens("device", "Open this gun", clinic="clinic", device="device")
SESSION = panels.over(
    panels.opens(
        "session", "Review this session", clinic="clinic", device="device", session="session"
    ),
    "now-1h",
    "now",
)

OPEN_ALARMS = (
    'SELECT "open", "active", "priority_now" AS "priority", "state_now" AS "state", "value",'
    ' "setpoint", "unit", "site_now" AS "site", "operator", "session" FROM ('
    'SELECT last("open") AS "open", "active", "priority" AS "priority_now", "state" AS "state_now",'
    ' "value", "setpoint", "unit", "site" AS "site_now", "operator", "session" FROM "alarms"'
    f' WHERE {OF_GUN} AND time > now() - 1d GROUP BY "clinic", "device", "rule"'
    ') WHERE "open" = 1 GROUP BY "clinic", "device", "rule"'
)


def fleet() -> models.Dashboard:
    return panels.board(
        "fleet",
        "Fleet",
        "Every gun now: who is on, in contact, its force, its alarms, its battery.",
        *_numbers(),
        _guns(),
        _alarms(),
        panels.chart(
            "Highest contact force of each gun",
            (
                (
                    f'SELECT max("contact_force_n_max") FROM "features"'
                    f" WHERE {OF_GUN} AND {IN_TIME}"
                    ' GROUP BY time($__interval), "clinic", "device" fill(none)'
                ),
                "$tag_clinic $tag_device",
            ),
            unit=panels.NEWTON,
            thresholds=limits.force(),
            help_text="Dashed: the limit of a site nobody named, and where it is extreme.",
        ),
        _sessions(),
        variables=(clinic(), device()),
        annotation=alarm_marks(OF_GUN),
        refresh="5s",
    )


def _numbers() -> tuple[panels.Panel, ...]:
    return (
        panels.number(
            "Guns on",
            'SELECT count("n") FROM (SELECT last("hops") AS "n" FROM "features"'
            f" WHERE {OF_GUN} AND {IN_TIME} {GUNS})",
            panels.NONE,
            limits.steps(),
            help_text="Heard within the last minute.",
            window=NOW,
        ),
        panels.number(
            "In contact",
            'SELECT sum("n") FROM (SELECT last("contact") AS "n" FROM "features"'
            f" WHERE {OF_GUN} AND {IN_TIME} {GUNS})",
            panels.NONE,
            limits.steps(),
            window=NOW,
        ),
        panels.number(
            "Alarms that stand",
            'SELECT sum("n") FROM (SELECT last("active") AS "n" FROM "alarms"'
            f' WHERE {OF_GUN} AND time > now() - 1d GROUP BY "clinic", "device", "rule")',
            panels.NONE,
            limits.any_at_all(),
            help_text="Raised within a day, and not known to have returned.",
        ),
        panels.number(
            "Highest force",
            f'SELECT max("contact_force_n_max") FROM "features" WHERE {OF_GUN} AND {IN_TIME}',
            panels.NEWTON,
            limits.force(),
        ),
        panels.number(
            "Lowest battery",
            'SELECT min("n") FROM (SELECT last("battery_mv") AS "n" FROM "features"'
            f" WHERE {OF_GUN} AND {IN_TIME} {GUNS})",
            panels.MILLIVOLT,
            limits.steps(),
            help_text="Which is low depends on the model: BATTERY_LOW says so.",
        ),
        panels.number(
            "Offline",
            'SELECT count("n") - sum("n") FROM (SELECT last("online") AS "n" FROM "devices"'
            f" WHERE {OF_GUN} {GUNS})",
            panels.NONE,
            limits.any_at_all(),
        ),
    )


def _guns() -> panels.Panel:
    columns = {
        "Time": HIDDEN,
        "heard": HIDDEN,
        "clinic": Column(width=90),
        "device": Column(link=DEVICE),
        "session": Column(link=SESSION),
        "contact": Column(names=panels.YES_NO, width=80),
        "force": Column(unit=panels.NEWTON, thresholds=limits.force()),
        "dwell": Column(unit=panels.SECONDS, thresholds=limits.dwell()),
        "battery": Column(unit=panels.MILLIVOLT),
    }
    return panels.listing(
        "Guns that are on",
        'SELECT last("hops") AS "heard", "contact", "contact_force_n" AS "force",'
        ' "dwell_s" AS "dwell", "operator", "session", "site", "battery_mv" AS "battery"'
        f' FROM "features" WHERE {OF_GUN} AND {IN_TIME} {GUNS}',
        columns,
        window=NOW,
    )


def _alarms() -> panels.Panel:
    return panels.listing(
        "Alarms now",
        OPEN_ALARMS,
        {
            "open": HIDDEN,
            "clinic": Column(width=90),
            "device": Column(link=DEVICE),
            "session": Column(link=SESSION),
            "active": Column(names=panels.STANDS, width=80),
            "priority": Column(names=panels.PRIORITY, width=90),
        },
        help_text="Open alarms of a day: raised, and not cleared. What to do about each stands in"
        " docs/alarms.md. MQTT and the page are faster than this.",
    )


def _sessions() -> panels.Panel:
    whole = panels.over(
        panels.opens(
            "session", "Review this session", clinic="clinic", device="device", session="session"
        ),
        "${__data.fields.Time.numeric}",
        "${__data.fields.end.numeric}",
    )
    return panels.listing(
        "Sessions that ended last",
        'SELECT "session", "clinic", "device", "operator", "duration_s" AS "duration",'
        ' "contact_s" AS "contact", "contact_force_n_max" AS "force", "alarms",'
        f' "ended_at_ms" AS "end" FROM "sessions" WHERE {OF_CLINIC} AND "device" =~ /^$device$/'
        " AND time > now() - 7d ORDER BY time DESC LIMIT 50",
        {
            "session": Column(link=whole),
            "device": Column(link=DEVICE),
            "duration": Column(unit=panels.SECONDS),
            "contact": Column(unit=panels.SECONDS),
            "force": Column(unit=panels.NEWTON, thresholds=limits.force()),
            "alarms": Column(thresholds=limits.any_at_all(BAD)),
            "end": Column(unit=panels.WHEN),
        },
    )
