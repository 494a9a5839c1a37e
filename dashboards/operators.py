"""Operators: hand-arm vibration of the day, A(8), against the action value and the limit value."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from dashboards import limits, panels
from dashboards.influx import IN_TIME, OF_CLINIC, clinic
from dashboards.panels import HIDDEN, Column
from pipeline.rules import HAV_ACTION_M_S2, HAV_LIMIT_M_S2

WHO = '"clinic", "operator"'


def operators() -> models.Dashboard:
    return panels.board(
        "operators",
        "Operators",
        f"Hand-arm vibration: A(8) against {HAV_ACTION_M_S2:g} (action) and {HAV_LIMIT_M_S2:g} m/s²"
        " (limit), Directive 2002/44/EC. Measured at the housing, not at the grip: indicative.",
        panels.listing(
            "The newest day of each",
            'SELECT last("a8_m_s2") AS "A(8)", "day", "points", "minutes_to_action" AS "to action",'
            ' "minutes_to_limit" AS "to limit", "trigger_s" AS "trigger time"'
            f' FROM "operators" WHERE {OF_CLINIC} AND {IN_TIME} GROUP BY {WHO}',
            {
                "Time": HIDDEN,
                "A(8)": Column(unit=panels.ACCELERATION, thresholds=limits.exposure()),
                "to action": Column(unit=panels.MINUTES),
                "to limit": Column(unit=panels.MINUTES),
                "trigger time": Column(unit=panels.SECONDS),
            },
            help_text="Points: 100 at the action value, 400 at the limit. Minutes are of a running"
            " gun, at the day's magnitude so far. Days are UTC days.",
        ),
        panels.chart(
            "A(8) of each day",
            (
                (
                    f'SELECT max("a8_m_s2") FROM "operators" WHERE {OF_CLINIC} AND {IN_TIME}'
                    f" GROUP BY time(1d), {WHO} fill(none)"
                ),
                "$tag_clinic $tag_operator",
            ),
            unit=panels.ACCELERATION,
            thresholds=limits.exposure(),
            bars=True,
            height=10,
        ),
        panels.chart(
            "Through the day",
            (
                (
                    f'SELECT max("a8_m_s2") FROM "operators" WHERE {OF_CLINIC} AND {IN_TIME}'
                    f" GROUP BY time($__interval), {WHO} fill(none)"
                ),
                "$tag_clinic $tag_operator",
            ),
            unit=panels.ACCELERATION,
            thresholds=limits.exposure(),
            stepped=True,
        ),
        panels.listing(
            "Sessions and contact",
            'SELECT count("contact_s") AS "sessions", sum("contact_s") AS "contact",'
            ' max("contact_force_n_max") AS "force", sum("alarms") AS "alarms" FROM "sessions"'
            f" WHERE {OF_CLINIC} AND {IN_TIME} GROUP BY {WHO}",
            {
                "Time": HIDDEN,
                "contact": Column(unit=panels.SECONDS),
                "force": Column(unit=panels.NEWTON, thresholds=limits.force()),
            },
        ),
        variables=(clinic(),),
        since="now-7d",
        refresh="1m",
    )
