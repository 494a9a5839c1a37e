"""The house style: a number, a chart, a table, a band of states, and the board they stand on.

Nothing here knows what is shown. A telephone gets one panel under the other, so titles say all,
units are always there, tables have few columns, and legends lie below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from grafana_foundation_sdk.builders import bargauge, common, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models

from dashboards.influx import Annotation, InfluxQuery
from dashboards.limits import BAD, CALM, DIM, WARN

Panel: TypeAlias = (
    stat.Panel | timeseries.Panel | table.Panel | statetimeline.Panel | bargauge.Panel
)
Thresholds: TypeAlias = build.ThresholdsConfig

WIDTH: Final = 24  # of Grafana's grid
TAG: Final = "myoguard"
# The units of Grafana that are ours.
NEWTON, SECONDS, HERTZ, G, AMPERE, NONE = "forceN", "s", "hertz", "accG", "amp", "none"
ACCELERATION, DEGREES_S, CELSIUS, MILLIVOLT, BYTES = (
    "accMS2",
    "suffix: °/s",
    "celsius",
    "mvolt",
    "bytes",
)
SHARE, PER_SECOND, MINUTES, WHEN = "percentunit", "cps", "m", "dateTimeAsLocal"


def number(
    title: str,
    query: str,
    unit: str,
    thresholds: Thresholds,
    *,
    help_text: str = "",
    span: int = 4,
    window: str = "",
    text: bool = False,
) -> stat.Panel:
    """One value, large; `window` looks back that far whatever time the board shows."""
    panel = (
        stat.Panel()
        .title(title)
        .description(help_text)
        .unit(unit)
        .thresholds(thresholds)
        .color_mode(looks.BigValueColorMode.VALUE)
        .graph_mode(looks.BigValueGraphMode.NONE)
        .reduce_options(
            common.ReduceDataOptions().calcs(["lastNotNull"]).fields("/.*/" if text else "")
        )
        .no_value("–")
        .height(4)
        .span(span)
        .with_target(InfluxQuery(query, table=text))
    )
    return panel.time_from(window).hide_time_override(True) if window else panel


def chart(
    title: str,
    *queries: tuple[str, str],
    unit: str,
    thresholds: Thresholds | None = None,
    help_text: str = "",
    span: int = WIDTH,
    height: int = 8,
    stepped: bool = False,
    bars: bool = False,
) -> timeseries.Panel:
    """Lines over time, each query with the name of its series; thresholds as dashed lines."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(help_text)
        .unit(unit)
        .height(height)
        .span(span)
        .line_width(1)
        .fill_opacity(60 if bars else 0)
        .show_points(looks.VisibilityMode.AUTO)
        .axis_soft_min(0)
        .legend(
            common.VizLegendOptions()
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(looks.TooltipDisplayMode.MULTI)
            .sort(looks.SortOrder.DESCENDING)
        )
    )
    for ref_id, (query, alias) in zip("ABCDEFGH", queries, strict=False):
        panel.with_target(InfluxQuery(query, alias=alias, ref_id=ref_id))
    if bars:
        panel.draw_style(looks.GraphDrawStyle.BARS)
    if stepped:
        panel.line_interpolation(looks.LineInterpolation.STEP_AFTER)
    if thresholds is not None:
        panel.thresholds(thresholds).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED)
        )
    return panel


@dataclass(frozen=True, slots=True)
class Column:
    """How one column of a table looks; where a click on it leads."""

    unit: str | None = None
    thresholds: Thresholds | None = None
    link: tuple[str, str] | None = None  # its words, and the address
    names: Mapping[str, tuple[str, str]] | None = None  # value -> words and colour
    hidden: bool = False
    width: int | None = None

    def properties(self) -> list[models.DynamicConfigValue]:
        found: list[tuple[str, object]] = []
        if self.hidden:
            found.append(("custom.hidden", True))
        if self.unit is not None:
            found.append(("unit", self.unit))
        if self.width is not None:
            found.append(("custom.width", self.width))
        if self.names is not None:
            found.append(("mappings", [named(self.names)]))
        if self.thresholds is not None:
            found.append(("thresholds", self.thresholds.build()))
        if self.thresholds is not None or self.names is not None:
            found.append(("custom.cellOptions", {"type": "color-text"}))
        if self.link is not None:
            title, url = self.link
            found.append(("links", [{"title": title, "url": url}]))
        return [models.DynamicConfigValue(name, value) for name, value in found]


HIDDEN: Final = Column(hidden=True)


def listing(
    title: str,
    query: str,
    columns: Mapping[str, Column],
    *,
    help_text: str = "",
    span: int = WIDTH,
    height: int = 9,
    window: str = "",
) -> table.Panel:
    """Rows as the query gives them, with a filter above each column."""
    panel = (
        table.Panel()
        .title(title)
        .description(help_text)
        .height(height)
        .span(span)
        .filterable(True)
        .cell_height(looks.TableCellHeight.SM)
        .min_width(70)
        .no_value("–")
        .with_target(InfluxQuery(query, table=True))
    )
    for name, column in columns.items():
        panel.override_by_name(name, column.properties())
    return panel.time_from(window).hide_time_override(True) if window else panel


def states(
    title: str,
    query: str,
    *,
    alias: str = "",
    names: Mapping[str, tuple[str, str]] | None = None,
    only: Sequence[str] = (),
    help_text: str = "",
    height: int = 6,
) -> statetimeline.Panel:
    """Bands over time: what something was, and for how long. `only`: these columns of a table."""
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(help_text)
        .height(height)
        .span(WIDTH)
        .merge_values(True)
        .show_value(looks.VisibilityMode.AUTO)
        .legend(
            common.VizLegendOptions()
            .show_legend(False)
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
        )
        .with_target(InfluxQuery(query, alias=alias, table=bool(only)))
    )
    if names is not None:
        panel.mappings([named(names)])
    if only:
        pattern = f"^({'|'.join(('Time', *only))})$"
        panel.with_transformation(
            models.DataTransformerConfig(
                id_val="filterFieldsByName", options={"include": {"pattern": pattern}}
            )
        )
    return panel


def shares(title: str, query: str, alias: str, unit: str) -> bargauge.Panel:
    """A bar for each series."""
    return (
        bargauge.Panel()
        .title(title)
        .unit(unit)
        .height(8)
        .span(WIDTH)
        .orientation(looks.VizOrientation.HORIZONTAL)
        .display_mode(looks.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .min(0)
        .no_value("–")
        .with_target(InfluxQuery(query, alias=alias))
    )


def named(names: Mapping[str, tuple[str, str]]) -> models.ValueMap:
    """Words and a colour instead of a value."""
    return models.ValueMap(
        options={
            value: models.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(names.items())
        }
    )


YES_NO: Final = {"0": ("no", DIM), "1": ("yes", CALM)}
STANDS: Final = {"0": ("–", DIM), "1": ("stands", BAD)}
ONLINE: Final = {"0": ("offline", WARN), "1": ("online", CALM)}
PRIORITY: Final = {"low": ("low", CALM), "medium": ("medium", WARN), "high": ("high", BAD)}


def board(
    uid: str,
    title: str,
    description: str,
    *panels: Panel,
    variables: Sequence[build.QueryVariable | build.TextBoxVariable],
    annotation: Annotation | None = None,
    since: str = "now-15m",
    refresh: str = "10s",
) -> models.Dashboard:
    """A dashboard; its uid is `myoguard-` and `uid`. Above it, links to all the others."""
    made = (
        build.Dashboard(f"MyoGuard · {title}")
        .uid(f"{TAG}-{uid}")
        .description(description)
        .tags([TAG])
        .readonly()
        .time(since, "now")
        .refresh(refresh)
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            build.DashboardLink("MyoGuard")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .keep_time(False)
            .include_vars(False)
        )
    )
    made.variables(list(variables)).annotations([annotation] if annotation is not None else [])
    for number_of, panel in enumerate(panels, 1):
        made.with_panel(panel.id(number_of))
    return made.build()


def opens(uid: str, title: str, **values: str) -> tuple[str, str]:
    """A link to another of our dashboards; `values` are its variables, from the row clicked on."""
    query = "&".join(f"var-{name}=${{__data.fields.{column}}}" for name, column in values.items())
    return title, f"/d/{TAG}-{uid}?{query}"


def over(link: tuple[str, str], since: str, until: str) -> tuple[str, str]:
    """The link with a time of its own."""
    title, url = link
    return title, f"{url}&from={since}&to={until}"
