"""A gun's history as ECharts options; pure. May import `history` and `model`.

Six panels on one time axis, alarms on top. Colours are CSS variables of the page, which the SVG
renderer hands through: the charts follow the page's light and dark without being told. `options`
draws a chart once; `changes` is what moves after that, so that a reader's zoom and tooltip stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.model import Priority
from pipeline.page.history import COLUMNS, History, Span

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
Options: TypeAlias = dict[str, Json]

LEFT_PX, RIGHT_PX, TITLE_PX, AXIS_PX = 58, 14, 40, 26
TITLE_DROP_PX = 22  # how far above its panel a title stands
FONT = "Roboto, system-ui, sans-serif"
PRIORITIES = (Priority.LOW, Priority.MEDIUM, Priority.HIGH)  # the rows of the alarm panel
LANE_PX = 12
FORCE_ROOM = 1.2  # the axis ends so far above the highest value, in whole tens; engineering choice


@dataclass(frozen=True, slots=True)
class Panel:
    name: str
    title: str
    height_px: int


PANELS = (
    Panel("alarms", "Alarms", 54),
    Panel("force", "Contact force, N", 190),
    Panel("dwell", "Dwell on one spot, s", 120),
    Panel("stiffness", "Stiffness under the head", 90),
    Panel("percussion", "Percussion, Hz", 80),
    Panel("motion", "Motion, °/s", 80),
)
HEIGHT_PX = sum(panel.height_px + TITLE_PX for panel in PANELS) + AXIS_PX
_MAIN_LINES = {
    "force": "force_n",
    "dwell": "dwell_s",
    "stiffness": "stiffness",
    "percussion": "percussion_hz",
    "motion": "motion_deg_s",
}
_SHADE: Options = {"color": "var(--value)", "opacity": 0.22}
TISSUE_WORDS = "v => ['muscle', 'tendon', 'bone'][v] ?? ''"
_INDEX = {panel.name: index for index, panel in enumerate(PANELS)}


def options(history: History) -> Options:
    """The whole chart, for the first drawing."""
    return {
        "animation": False,
        "textStyle": {"fontFamily": FONT, "color": "var(--ink)"},
        "aria": {"enabled": True, "label": {"description": _description(history)}},
        "axisPointer": {"link": [{"xAxisIndex": "all"}], "lineStyle": {"color": "var(--ink-2)"}},
        "tooltip": _tooltip(),
        "title": list(_titles()),
        "grid": list(_grids()),
        "xAxis": _x_axes(history),
        "yAxis": [_y_axis(panel) | _ceiling(panel, history) for panel in PANELS],
        "dataset": _dataset(history),
        "series": [*_lines(history), *_alarm_lanes(history)],
    }


def changes(history: History) -> Options:
    """What a later drawing changes; ECharts merges it by position and id."""
    lanes = (_lane(history, each, at) for at, each in enumerate(PRIORITIES, start=1))
    return {
        "xAxis": _x_axes(history),
        "yAxis": [_ceiling(panel, history) for panel in PANELS],
        "dataset": _dataset(history),
        "series": [*_bands(history), *lanes],
    }


def _description(history: History) -> str:
    minutes = (history.to_ms - history.from_ms) / 60_000
    return (
        f"Contact force, dwell, stiffness, percussion and motion over {minutes:.0f} minutes, "
        f"with {len(history.spans)} alarms. The alarms are listed beside the chart."
    )


# Names are our own and values are numbers: nothing from the network is in it.
_TOOLTIP_TEXT = """items => [
  new Date(items[0].axisValue).toLocaleTimeString([], { hourCycle: 'h23' }),
  ...items.map(item => `${item.seriesName} <b>${item.value[item.encode.y[0]] ?? "–"}</b>`),
].join("<br>")"""


def _tooltip() -> Options:
    return {
        ":formatter": _TOOLTIP_TEXT,
        "trigger": "axis",
        "backgroundColor": "var(--card)",
        "borderColor": "var(--line)",
        "textStyle": {"color": "var(--ink)", "fontSize": 13},
        "confine": True,
    }


def _tops() -> Iterator[int]:
    top_px = TITLE_PX
    for panel in PANELS:
        yield top_px
        top_px += panel.height_px + TITLE_PX


def _titles() -> Iterator[Options]:
    for panel, top_px in zip(PANELS, _tops(), strict=True):
        yield {
            "text": panel.title,
            "left": 0,
            "top": top_px - TITLE_DROP_PX,
            "padding": 0,
            "textStyle": {"color": "var(--ink)", "fontSize": 14, "fontWeight": 500},
        }


def _grids() -> Iterator[Options]:
    for panel, top_px in zip(PANELS, _tops(), strict=True):
        yield {"left": LEFT_PX, "right": RIGHT_PX, "top": top_px, "height": panel.height_px}


def _x_axes(history: History) -> list[Options]:
    last = len(PANELS) - 1
    return [
        {
            "type": "time",
            "gridIndex": index,
            "min": history.from_ms,
            "max": history.to_ms,
            "axisLabel": {"show": index == last, "color": "var(--ink-2)", "hideOverlap": True},
            "axisTick": {"show": index == last},
            "axisLine": {"lineStyle": {"color": "var(--line-2)"}},
            "splitLine": {"show": True, "lineStyle": {"color": "var(--line)"}},
            "axisPointer": {"label": {"show": False}},
        }
        for index in range(len(PANELS))
    ]


def _ceiling(panel: Panel, history: History) -> Options:
    """The force has room for itself and its limit; a band of great doubt may leave the panel."""
    if panel.name != "force":
        return {}
    force, limit = COLUMNS.index("force_n"), COLUMNS.index("force_limit_n")
    values = [row[column] or 0 for row in history.rows for column in (force, limit)]
    return {"max": math.ceil(max(values, default=0) * FORCE_ROOM / 10) * 10 or None}


def _y_axis(panel: Panel) -> Options:
    axis: Options = {
        "type": "value",
        "gridIndex": _INDEX[panel.name],
        "min": 0,
        "boundaryGap": [0, "8%"],
        "splitNumber": 3 if panel.height_px > 100 else 2,
        "axisLabel": {"color": "var(--ink-2)", "hideOverlap": True},
        "splitLine": {"lineStyle": {"color": "var(--line)"}},
    }
    if panel.name == "alarms":
        words = f"v => {[priority.value for priority in PRIORITIES]}[v - 1] ?? ''"
        axis |= {"max": 3.5, "min": 0.5, "interval": 0.5, "splitLine": {"show": False}}
        axis |= {"axisLabel": {"color": "var(--ink-2)", ":formatter": words, "hideOverlap": False}}
    if panel.name == "stiffness":
        axis |= {"max": 2, "interval": 1}
        axis |= {"axisLabel": {"color": "var(--ink-2)", ":formatter": TISSUE_WORDS}}
    return axis


def _dataset(history: History) -> Options:
    return {"dimensions": list(COLUMNS), "source": [list(row) for row in history.rows]}


def _lines(history: History) -> Iterator[Options]:
    """Every line of every panel; the bands of alarms lie behind the first line of their panel."""
    unseen: Options = {"lineStyle": {"opacity": 0}, "stack": "band"}
    yield _line("force_n_low", "force") | unseen
    yield _line("force_n_band", "force") | unseen | {"areaStyle": _SHADE}
    yield _line("force_limit_n", "force") | _limit_style("var(--limit)")
    yield _line("dwell_advisory_s", "dwell") | _limit_style("var(--advisory)")
    yield _line("dwell_limit_s", "dwell") | _limit_style("var(--limit)")
    bands = {band["id"]: band for band in _bands(history)}
    for panel, column in _MAIN_LINES.items():
        told: Options = {"name": PANELS[_INDEX[panel]].title, "tooltip": {"show": True}}
        yield _line(column, panel) | told | bands.get(column, {})


def _line(column: str, panel: str) -> Options:
    return {
        "id": column,
        "tooltip": {"show": False},
        "type": "line",
        "xAxisIndex": _INDEX[panel],
        "yAxisIndex": _INDEX[panel],
        "encode": {"x": "t_ms", "y": column},
        "showSymbol": False,
        "silent": True,
        "emphasis": {"disabled": True},  # ECharts would reckon a lighter colour, and cannot
        "lineStyle": {"width": 2, "color": "var(--value)"},
        "itemStyle": {"color": "var(--value)"},
    }


def _limit_style(color: str) -> Options:
    return {
        "step": "end",
        "lineStyle": {"width": 2, "type": [6, 4], "color": color},
        "itemStyle": {"color": color},
    }


def _bands(history: History) -> Iterator[Options]:
    """The alarms of each panel as tinted bands, carried by the panel's main line.

    Low ones have their lane on top; under a higher one of the same kind they would only muddy it.
    """
    for panel, column in _MAIN_LINES.items():
        spans = [each for each in history.spans if each.panel == panel]
        areas = [_area(each) for each in spans if each.priority is not Priority.LOW]
        yield {"id": column, "markArea": {"silent": True, "data": areas}}


def _area(span: Span) -> list[Options]:
    tint: Options = {"color": f"var(--{span.priority}-mark)", "opacity": 0.25}
    return [{"xAxis": span.from_ms, "itemStyle": tint}, {"xAxis": span.to_ms}]


# A bar from raise to end, cut off where the panel ends; what lasted a moment is still to be seen.
_LANE_BAR = """(params, api) => {
  const area = params.coordSys;
  const [from, middle] = api.coord([api.value(0), api.value(2)]);
  const to = Math.max(api.coord([api.value(1), 0])[0], from + 4);
  const [x, end] = [Math.max(from, area.x), Math.min(to, area.x + area.width)];
  if (end <= x) return null;
  return { type: "rect", style: { fill: "COLOR" },
    shape: { x, y: middle - HEIGHT / 2, width: end - x, height: HEIGHT } };
}"""


def _alarm_lanes(history: History) -> Iterator[Options]:
    for lane, priority in enumerate(PRIORITIES, start=1):
        bar = _LANE_BAR.replace("COLOR", f"var(--{priority}-mark)")
        yield {
            **_lane(history, priority, lane),
            "name": f"{priority.value.capitalize()} alarm",
            "type": "custom",
            "xAxisIndex": _INDEX["alarms"],
            "yAxisIndex": _INDEX["alarms"],
            "encode": {"x": [0, 1], "y": 2},
            ":renderItem": bar.replace("HEIGHT", str(LANE_PX)),
            "silent": True,
            "tooltip": {"show": False},
        }


def _lane(history: History, priority: Priority, lane: int) -> Options:
    spans = [each for each in history.spans if each.priority is priority]
    return {
        "id": f"alarms_{priority}",
        "data": [[each.from_ms, each.to_ms, lane] for each in spans],
    }
