"""Alarms: are they rare enough to be heard, and are they answered?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from dashboards import limits, panels
from dashboards.influx import IN_TIME, OF_GUN, alarm_marks, clinic, device
from dashboards.panels import HIDDEN, Column
from pipeline.model import Priority
from pipeline.rules import AlarmKind

USE = limits.rules_of(AlarmKind.USE, *Priority)
RAISED = 'count(distinct("alarm_id")) AS "raised"'
ACKNOWLEDGED = f"\"state\" = 'active_ack' AND {OF_GUN} AND {IN_TIME}"


def alarms() -> models.Dashboard:
    return panels.board(
        "alarms",
        "Alarms",
        "How many alarms an hour of treating brings, by rule and site, and how soon they are seen.",
        *_numbers(),
        panels.chart(
            "Alarms raised, by rule",
            (
                (
                    f'SELECT {RAISED} FROM "alarms"'
                    f" WHERE {OF_GUN} AND {USE} AND {IN_TIME}"
                    ' GROUP BY time($__interval), "rule" fill(none)'
                ),
                "$tag_rule",
            ),
            unit=panels.NONE,
            bars=True,
        ),
        *_tables(),
        variables=(clinic(), device()),
        annotation=alarm_marks(f"{OF_GUN} AND \"priority\" = 'high'"),
        since="now-7d",
        refresh="1m",
    )


def _numbers() -> tuple[panels.Panel, ...]:
    return (
        panels.number(
            "Use alarms an operator's hour of contact",
            'SELECT sum("alarms") / sum("contact_s") * 3600 FROM "sessions"'
            f" WHERE {OF_GUN} AND {IN_TIME}",
            panels.NONE,
            limits.steps(),
            span=8,
            help_text="Over the sessions that ended in the time shown.",
        ),
        panels.number(
            "Half are acknowledged within",
            f'SELECT median("since_raised_s") FROM "alarms" WHERE {ACKNOWLEDGED}',
            panels.SECONDS,
            limits.steps(),
            span=8,
        ),
        panels.number(
            "Chattering",
            'SELECT count(distinct("alarm_id")) FROM "alarms"'
            f' WHERE "chattering" = 1 AND {OF_GUN} AND {IN_TIME}',
            panels.NONE,
            limits.any_at_all(),
            span=8,
            help_text="More than 5 transitions in 60 s: a limit too near to how people work, or a"
            " fault. Alarms, not transitions.",
        ),
    )


def _tables() -> tuple[panels.Panel, ...]:
    return (
        panels.listing(
            "An operator's hour of contact",
            'SELECT sum("alarms") / sum("contact_s") * 3600 AS "alarms an hour",'
            ' sum("contact_s") AS "contact" FROM "sessions"'
            f' WHERE {OF_GUN} AND {IN_TIME} GROUP BY "clinic", "operator"',
            {"Time": HIDDEN, "contact": Column(unit=panels.SECONDS)},
            span=12,
        ),
        panels.listing(
            "Time to acknowledge, by rule",
            'SELECT median("since_raised_s") AS "half within",'
            ' percentile("since_raised_s", 90) AS "nine of ten within",'
            ' count("since_raised_s") AS "of"'
            f' FROM "alarms" WHERE {ACKNOWLEDGED} GROUP BY "rule"',
            {
                "Time": HIDDEN,
                "half within": Column(unit=panels.SECONDS),
                "nine of ten within": Column(unit=panels.SECONDS),
            },
            span=12,
        ),
        panels.listing(
            "By rule and site",
            f'SELECT {RAISED} FROM "alarms" WHERE {OF_GUN} AND {USE} AND {IN_TIME}'
            ' GROUP BY "rule", "site"',
            {"Time": HIDDEN},
            span=12,
        ),
        panels.listing(
            "Chattering, by rule and gun",
            'SELECT count(distinct("alarm_id")) AS "alarms", count("chattering") AS "transitions"'
            f' FROM "alarms" WHERE "chattering" = 1 AND {OF_GUN} AND {IN_TIME}'
            ' GROUP BY "rule", "clinic", "device"',
            {
                "Time": HIDDEN,
                "device": Column(
                    link=panels.opens("device", "Open this gun", clinic="clinic", device="device")
                ),
            },
            span=12,
        ),
        panels.listing(
            "Transitions, newest first",
            'SELECT "rule", "state", "priority", "clinic", "device", "operator", "site", "value",'
            ' "setpoint", "unit", "session", "by", "note" FROM "alarms"'
            f" WHERE {OF_GUN} AND {IN_TIME} ORDER BY time DESC LIMIT 500",
            {
                "priority": Column(names=panels.PRIORITY, width=90),
                "session": Column(
                    link=panels.over(
                        panels.opens(
                            "session",
                            "Review this session",
                            clinic="clinic",
                            device="device",
                            session="session",
                        ),
                        "${__from}",
                        "${__to}",
                    )
                ),
            },
        ),
    )
