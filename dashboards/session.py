"""Session review: all of one session on one time axis, with its limits, its alarms and its sum."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from dashboards import limits, panels
from dashboards.influx import IN_TIME, OF_SESSION, alarm_marks, clinic, device, page, session
from dashboards.panels import Column

CAPTURE = "${page:raw}/capture/${clinic}/${device}/${__value.raw}"
EACH = "GROUP BY time($__interval) fill(none)"
SPLIT = "GROUP BY time($__interval) fill(null)"  # a gap stays a gap


def mean(field: str) -> str:
    return f'SELECT mean("{field}") FROM "features" WHERE {OF_SESSION} AND {IN_TIME} {SPLIT}'


def highest(field: str) -> str:
    return f'SELECT max("{field}") FROM "features" WHERE {OF_SESSION} AND {IN_TIME} {SPLIT}'


def limit_lines(column: str, words: str) -> list[tuple[str, str]]:
    """A stepped line of the limit of the site that is treated, one query for each limit there is.

    Whatever is there of a site, times nothing, plus its limit: a line where the site was, only.
    """
    return [
        (
            (
                f'SELECT 0 * max("hops") + {value:g} FROM "features"'
                f' WHERE {OF_SESSION} AND "site" =~ {sites} AND {IN_TIME} {SPLIT}'
            ),
            f"{words} {value:g}",
        )
        for value, sites in limits.limits_of_sites(column)
    ]


def review() -> models.Dashboard:
    return panels.board(
        "session",
        "Session review",
        "One session: force against limits, dwell, stiffness, motion, percussion, sites, alarms."
        " Limits are the built-in ones; what an alarm was compared with is its setpoint.",
        *_numbers(),
        *_tracks(),
        _alarms(),
        _by_site(),
        variables=(clinic(every=False), device(every=False), session(), page()),
        annotation=alarm_marks(OF_SESSION),
        since="now-1h",
        refresh="",
    )


def _numbers() -> tuple[panels.Panel, ...]:
    """While the session runs from its features; what is known at its end alone stays empty."""

    def at_its_end(field: str) -> str:
        return f'SELECT last("{field}") FROM "sessions" WHERE {OF_SESSION}'

    return (
        panels.number(
            "Time in contact",
            f'SELECT sum("contact_hops") / 4 FROM "features" WHERE {OF_SESSION} AND {IN_TIME}',
            panels.SECONDS,
            limits.session_contact(),
            help_text="Of the time shown. A hop is a quarter of a second.",
        ),
        panels.number(
            "Highest force",
            f'SELECT max("contact_force_n_max") FROM "features" WHERE {OF_SESSION} AND {IN_TIME}',
            panels.NEWTON,
            limits.force(),
        ),
        panels.number(
            "Longest on one spot",
            f'SELECT max("dwell_s") FROM "features" WHERE {OF_SESSION} AND {IN_TIME}',
            panels.SECONDS,
            limits.dwell(),
        ),
        panels.number(
            "Alarms",
            f'SELECT count(distinct("alarm_id")) FROM "alarms" WHERE {OF_SESSION} AND {IN_TIME}',
            panels.NONE,
            limits.any_at_all(),
        ),
        panels.number(
            "Duration",
            at_its_end("duration_s"),
            panels.SECONDS,
            limits.steps(),
            help_text="Known when it is over.",
        ),
        panels.number(
            "Mean force in contact",
            at_its_end("contact_force_n_mean"),
            panels.NEWTON,
            limits.force(),
            help_text="Known when it is over.",
        ),
    )


def _tracks() -> tuple[panels.Panel, ...]:
    return (
        panels.chart(
            "Contact force",
            (mean("contact_force_n"), "force, mean of 1 s"),
            (highest("contact_force_n_max"), "highest"),
            (
                (
                    'SELECT mean("contact_force_n") + mean("contact_force_n_sd") FROM "features"'
                    f" WHERE {OF_SESSION} AND {IN_TIME} {SPLIT}"
                ),
                "one sd above",
            ),
            *limit_lines("force_limit_n", "limit of the site"),
            unit=panels.NEWTON,
            height=10,
        ),
        panels.states(
            "Alarms that stood",
            f'SELECT "active" FROM "alarms" WHERE {OF_SESSION} AND {IN_TIME} GROUP BY "rule"',
            alias="$tag_rule",
            names=panels.STANDS,
        ),
        panels.states(
            "Site",
            'SELECT last("hops") AS "heard", "site" FROM "features"'
            f" WHERE {OF_SESSION} AND {IN_TIME} {EACH}",
            only=("site",),
            height=4,
        ),
        panels.chart(
            "On one spot",
            (highest("dwell_s"), "dwell"),
            *limit_lines("dwell_limit_s", "limit of the site"),
            unit=panels.SECONDS,
        ),
        panels.chart(
            "Stiffness under the head",
            (mean("stiffness"), "stiffness"),
            (highest("stiffness_max"), "highest"),
            unit=panels.NONE,
            thresholds=limits.stiffness(),
            span=12,
            help_text="0 soft muscle, 1 tendon, 2 bone.",
        ),
        panels.chart("Motion", (mean("motion_deg_s"), "motion"), unit=panels.DEGREES_S, span=12),
        panels.chart(
            "Percussion",
            (mean("percussion_hz"), "measured"),
            (mean("set_percussion_hz"), "set"),
            unit=panels.HERTZ,
            span=12,
        ),
        panels.chart(
            "Vibration at the housing",
            (highest("a_hv_m_s2"), "a_hv"),
            unit=panels.ACCELERATION,
            span=12,
        ),
    )


def _alarms() -> panels.Panel:
    return panels.listing(
        "Alarms, transition by transition",
        'SELECT "rule", "state", "priority", "value", "peak", "setpoint", "unit", "site", "count",'
        ' "by", "note", "capture" FROM "alarms"'
        f" WHERE {OF_SESSION} AND {IN_TIME} ORDER BY time DESC",
        {
            "priority": Column(names=panels.PRIORITY, width=90),
            "count": Column(width=70),
            "capture": Column(link=("Look at the raw samples", CAPTURE)),
        },
        help_text="capture is the black box: the raw samples around the alarm, on MyoGuard's page.",
    )


def _by_site() -> panels.Panel:
    return panels.shares(
        "Contact by site",
        'SELECT sum("contact_hops") / 4 FROM "features"'
        f' WHERE {OF_SESSION} AND {IN_TIME} GROUP BY "site"',
        "$tag_site",
        panels.SECONDS,
    )
