"""Pipeline: does it keep up, what does it refuse, what waits for the store?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from dashboards import limits, panels
from dashboards.influx import IN_TIME

WHICH = '"pipeline"'
EACH = f"GROUP BY time($__interval), {WHICH} fill(none)"


def rate(field: str) -> str:
    """A second, of a counter that only grows."""
    change = f'non_negative_derivative(last("{field}"), 1s)'
    return f'SELECT {change} FROM "pipeline" WHERE {IN_TIME} {EACH}'


def newest(field: str) -> str:
    return f'SELECT last("{field}") FROM "pipeline" WHERE {IN_TIME}'


def over_time(field: str) -> str:
    return f'SELECT last("{field}") FROM "pipeline" WHERE {IN_TIME} {EACH}'


def pipeline() -> models.Dashboard:
    return panels.board(
        "pipeline",
        "Pipeline",
        "Frames in, what became of them, how late it is, and what waits for the store.",
        panels.number("Guns", newest("guns"), panels.NONE, limits.steps()),
        panels.number("Lag", newest("lag_s"), panels.SECONDS, limits.steps()),
        panels.number("Records waiting", newest("spool_records"), panels.NONE, limits.steps()),
        panels.number(
            "Points lost", newest("spool_dropped"), panels.NONE, limits.any_at_all(limits.BAD)
        ),
        panels.number(
            "Points refused",
            newest("influx_refused"),
            panels.NONE,
            limits.any_at_all(),
            help_text="By InfluxDB; kept as dead letters with its words.",
        ),
        panels.number("Embedded store", newest("store_bytes"), panels.BYTES, limits.steps()),
        panels.chart(
            "Frames a second",
            (rate("frames"), "$tag_pipeline"),
            (rate("frames_processed"), "$tag_pipeline, processed"),
            unit=panels.PER_SECOND,
        ),
        panels.chart(
            "Frames that were not processed, a second",
            (rate("frames_rejected"), "$tag_pipeline, rejected"),
            (rate("frames_duplicate"), "$tag_pipeline, duplicate"),
            (rate("frames_late"), "$tag_pipeline, late"),
            (rate("frames_missing"), "$tag_pipeline, never came"),
            unit=panels.PER_SECOND,
            span=12,
        ),
        panels.chart(
            "Messages refused, a second",
            (rate("rejected"), "$tag_pipeline"),
            unit=panels.PER_SECOND,
            span=12,
        ),
        panels.chart(
            "Lag over time",
            (over_time("lag_s"), "$tag_pipeline"),
            unit=panels.SECONDS,
            span=12,
            help_text="How old the newest message was when it was judged.",
        ),
        panels.chart(
            "Records that wait for InfluxDB",
            (over_time("spool_records"), "$tag_pipeline"),
            unit=panels.NONE,
            span=12,
            help_text="What is written during an outage comes here after it, in order.",
        ),
        panels.chart(
            "On the pipeline's disk",
            (over_time("store_bytes"), "$tag_pipeline, store"),
            (over_time("spool_bytes"), "$tag_pipeline, waiting"),
            unit=panels.BYTES,
        ),
        variables=(),
        since="now-6h",
        refresh="30s",
    )
