"""Device: one gun's health, its calibration, the drift of its free run, and what never came."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from dashboards import limits, panels
from dashboards.influx import IN_TIME, OF_GUN, alarm_marks, clinic, device
from dashboards.panels import HIDDEN, Column
from pipeline.model import Priority
from pipeline.rules import AlarmKind

EACH = "GROUP BY time($__interval) fill(none)"
FREE_RUN = f'"contact" = 0 AND "motor" = \'running\' AND {OF_GUN} AND {IN_TIME}'
REFERENCE_HZ = 40.0  # the middle of what guns do, 20 to 60 Hz; any would do, it only scales
TECHNICAL = limits.rules_of(AlarmKind.TECHNICAL, *Priority)


def gun() -> models.Dashboard:
    return panels.board(
        "device",
        "Device",
        "One gun: is it healthy, is its calibration still its own, does anything get lost?",
        *_numbers(),
        *_health(),
        *_signature(),
        *_losses(),
        variables=(clinic(every=False), device(every=False)),
        annotation=alarm_marks(f"{OF_GUN} AND {TECHNICAL}"),
        since="now-24h",
        refresh="1m",
    )


def _numbers() -> tuple[panels.Panel, ...]:
    return (
        panels.listing(
            "As it came last",
            'SELECT last("online") AS "online", "calibrated", "model", "head", "serial", "firmware"'
            f' FROM "devices" WHERE {OF_GUN}',
            {
                "Time": Column(unit=panels.WHEN),
                "online": Column(names=panels.ONLINE),
                "calibrated": Column(names=panels.YES_NO),
            },
            height=4,
            span=12,
        ),
        panels.listing(
            "Calibration age",
            'SELECT last("calibrated_at_ms") AS "calibrated", "serial", "head" FROM "devices"'
            f' WHERE {OF_GUN} AND "calibrated" = 1',
            {"Time": HIDDEN, "calibrated": Column(unit="dateTimeFromNow")},
            height=4,
            span=12,
            help_text="How long ago this unit was at its bench. Empty: it has none, or one written"
            " before calibrations said when (docs/calibration.md).",
        ),
    )


def _health() -> tuple[panels.Panel, ...]:
    return (
        panels.chart(
            "Battery",
            (
                f'SELECT mean("battery_mv") FROM "features" WHERE {OF_GUN} AND {IN_TIME} {EACH}',
                "battery",
            ),
            unit=panels.MILLIVOLT,
            span=12,
        ),
        panels.chart(
            "Housing",
            (
                f'SELECT max("temperature_c") FROM "features" WHERE {OF_GUN} AND {IN_TIME} {EACH}',
                "temperature",
            ),
            unit=panels.CELSIUS,
            thresholds=limits.temperature(),
            span=12,
        ),
    )


def _signature() -> tuple[panels.Panel, ...]:
    """A crank's shaking grows with the square of its speed; scaled so, only wear is left."""
    squared = '(mean("percussion_hz") * mean("percussion_hz"))'
    scaled = f'{REFERENCE_HZ**2:g} * mean("accel_rms_g") / {squared}'
    return (
        panels.chart(
            f"Free run: shaking, as if at {REFERENCE_HZ:g} Hz",
            (f'SELECT {scaled} FROM "features" WHERE {FREE_RUN} {EACH}', "housing, RMS"),
            unit=panels.G,
            span=12,
            help_text="In air. A slow drift means wear, another head, or a calibration that is no"
            " longer this gun's.",
        ),
        panels.chart(
            "Free run: current",
            (f'SELECT mean("current_a") FROM "features" WHERE {FREE_RUN} {EACH}', "current"),
            unit=panels.AMPERE,
            span=12,
            help_text="In air, at whatever speed it ran: the baseline that force is read against.",
        ),
    )


def _losses() -> tuple[panels.Panel, ...]:
    return (
        panels.chart(
            "Share of the seconds it was heard in that never came",
            (
                (
                    'SELECT 1 - sum("hops") / (4 * count("hops")) FROM "features"'
                    f" WHERE {OF_GUN} AND {IN_TIME} {EACH}"
                ),
                "missing",
            ),
            unit=panels.SHARE,
            span=12,
            help_text="A second has 4 hops. Seconds of which nothing came do not count here:"
            " SEQUENCE_GAP and NO_FRAMES below do.",
        ),
        panels.chart(
            "Samples that cannot be trusted",
            (
                (
                    'SELECT sum("degraded_hops") / sum("hops") FROM "features_1m"'
                    f" WHERE {OF_GUN} AND {IN_TIME} GROUP BY time($__interval) fill(none)"
                ),
                "worse than good",
            ),
            unit=panels.SHARE,
            span=12,
        ),
        panels.listing(
            "Technical alarms, by rule",
            'SELECT count(distinct("alarm_id")) AS "raised" FROM "alarms"'
            f' WHERE {OF_GUN} AND {TECHNICAL} AND {IN_TIME} GROUP BY "rule"',
            {"Time": HIDDEN, "raised": Column(thresholds=limits.any_at_all())},
        ),
    )
