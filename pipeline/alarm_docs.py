"""Writes `docs/alarms.md` from the ALARMS and SITES tables, so that the page cannot drift.

    python -m pipeline.alarm_docs > docs/alarms.md

A test holds the committed page against `alarms_page()`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from pipeline.rules import ALARMS, AlarmKind, AlarmRow
from pipeline.sites import GENERAL, SITES, Site

_INTRODUCTION = """\
# Alarms and sites

Generated from `pipeline/rules/table.py` and `pipeline/sites.py` by `python -m pipeline.alarm_docs`;
do not edit.

An alarm is raised when its condition has been seen to hold for the on-delay, and returns when it
has been seen not to hold for the off-delay. Delays run on the time of the gun's samples. A `low`
alarm then clears by itself, a `medium` one waits for an acknowledgement, a `high` one that latches
waits for a reset. While the samples cannot be trusted, or do not come, an alarm that stands becomes
`unknown`: no data is never normal.

There is one alarm a gun, rule and session; coming back raises its count. Without a session, coming
back after `cleared` is a new alarm.
"""

_SITES = """\
## Sites

Names on the wire may end in `_left` or `_right`. A site nobody named gets the row `unknown`. A
clinic may set its own numbers, up to the ceiling; it cannot open a site that is never treated.
`EXTREME_PRESSURE` begins at twice the force limit or at the ceiling, whichever is lower.
"""


def alarms_page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for kind, title in ((AlarmKind.USE, "Use alarms"), (AlarmKind.TECHNICAL, "Technical alarms")):
        rows = [row for row in ALARMS.values() if row.kind is kind]
        parts += [f"## {title}\n", _table(_ALARM_COLUMNS, map(_alarm_cells, rows))]
        parts += [_table(("rule", "what to do", "source"), map(_advice_cells, rows))]
    sites = [*SITES.values(), GENERAL]
    parts += [_SITES, _table(_SITE_COLUMNS, map(_site_cells, sites))]
    parts += [_table(("site", "source"), ((f"`{row.site}`", row.source) for row in sites))]
    return "\n".join(parts)


_ALARM_COLUMNS = (
    "rule",
    "condition",
    "priority",
    "on-delay",
    "off-delay",
    "unit",
    "needs",
    "latches",
)


def _alarm_cells(row: AlarmRow) -> Sequence[str]:
    priority = row.priority.value
    if row.priority_highest is not None:
        priority += f" to {row.priority_highest.value}"
    return (
        f"`{row.rule}`",
        row.condition,
        priority,
        f"{row.on_delay_s:g} s",
        f"{row.off_delay_s:g} s",
        row.unit,
        row.signal.value,
        "when high" if row.latched else "no",
    )


def _advice_cells(row: AlarmRow) -> Sequence[str]:
    return (f"`{row.rule}`", row.advice, row.source)


_SITE_COLUMNS = (
    "site",
    "group",
    "force limit [N]",
    "tendon limit [N]",
    "dwell advisory [s]",
    "dwell limit [s]",
    "never treated",
    "ceiling [N]",
)


def _site_cells(row: Site) -> Sequence[str]:
    return (
        f"`{row.site}`",
        row.group.value,
        f"{row.force_limit_n:g}",
        f"{row.tendon_limit_n:g}",
        f"{row.dwell_advisory_s:g}",
        f"{row.dwell_limit_s:g}",
        "never" if row.never else "",
        f"{row.ceiling_n:g}",
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    sys.stdout.write(alarms_page())
