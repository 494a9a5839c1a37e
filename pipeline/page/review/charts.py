"""Sessions and raw waveforms as ECharts options; pure. May import `page.charts` and the nouns here.

A session's chart is the gun's (`page.charts`) with the sites in turn above it and a window that can
be zoomed to a second. Colours are CSS variables, which the SVG renderer hands through.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import cast

from pipeline.page import charts
from pipeline.page.charts import AXIS_PX, LEFT_PX, RIGHT_PX, TITLE_DROP_PX, TITLE_PX, Options
from pipeline.page.history import COLUMNS
from pipeline.page.review.session import SessionReview
from pipeline.page.review.waveform import Waveform

SITE_PX = 30
SLIDER_PX = 46
SESSION_PX = charts.HEIGHT_PX + SITE_PX + TITLE_PX + SLIDER_PX
# Below the others where single samples are kept of a part; the browser fetches what is in sight.
_RAW = (("raw_z", "Raw acceleration along the stroke, g", 110), ("raw_a", "Raw current, A", 80))
RAW_PX = sum(height + TITLE_PX for *_, height in _RAW)
_RAW_SHADE: Options = {"color": "var(--value)", "opacity": 0.07}
TITLE_STYLE: Options = {"color": "var(--ink)", "fontSize": 14, "fontWeight": 500}

# A bar a site with its name inside; the name stays in sight while its bar is half out of it. The
# names are handed over as JSON, which is a script's literal too, and drawn as text.
_SITE_BAR = """(names => (params, api) => {
  const area = params.coordSys;
  const from = Math.max(api.coord([api.value(0), 0])[0], area.x);
  const to = Math.min(api.coord([api.value(1), 0])[0], area.x + area.width);
  if (to <= from) return null;
  const width = Math.max(to - from - 2, 1);
  return { type: "group", children: [
    { type: "rect", shape: { x: from + 1, y: area.y + 2, width, height: area.height - 4, r: 5 },
      style: { fill: "var(--track)" } },
    { type: "text", style: { text: width > 34 ? names[params.dataIndex] : "", x: from + 8,
      y: area.y + area.height / 2, fill: "var(--ink)", verticalAlign: "middle", font: "13px FONT",
      width: Math.max(width - 14, 1), overflow: "truncate", ellipsis: "…" } } ] };
})(NAMES)""".replace("FONT", charts.FONT)


def session_options(review: SessionReview) -> Options:
    """The whole session on one time axis."""
    options = charts.options(review.history)
    grids, titles = _dicts(options["grid"]), _dicts(options["title"])
    for part in (*grids, *titles):
        part["top"] = cast("int", part["top"]) + SITE_PX + TITLE_PX
    x_axes, y_axes = _dicts(options["xAxis"]), _dicts(options["yAxis"])
    series = _dicts(options["series"])
    if review.raw:
        _add_raw(review, grids, titles, x_axes, y_axes, series)
    last = len(grids)
    x_axis = dict(x_axes[0]) | {"gridIndex": last, "splitLine": {"show": False}}
    x_axis |= {"axisLabel": {"show": False}, "axisTick": {"show": False}}
    x_axis |= {"axisLine": {"show": False}}
    grid: Options = {"left": LEFT_PX, "right": RIGHT_PX, "top": TITLE_PX, "height": SITE_PX}
    return {
        **options,
        "aria": {"enabled": True, "label": {"description": _description(review)}},
        "title": [*titles, _title("Site", TITLE_PX)],
        "grid": [*grids, grid],
        "xAxis": [*x_axes, x_axis],
        "yAxis": [*y_axes, {"type": "value", "gridIndex": last, "show": False}],
        "dataZoom": _zoom(last + 1),
        "series": [*series, _sites(review, last)],
    }


def session_px(review: SessionReview) -> int:
    return SESSION_PX + (RAW_PX if review.raw else 0)


def _add_raw(
    review: SessionReview,
    grids: list[Options],
    titles: list[Options],
    x_axes: list[Options],
    y_axes: list[Options],
    series: list[Options],
) -> None:
    """Panels that stay empty until one looks closely enough; shaded where there is something."""
    spans: list[charts.Json] = [[{"xAxis": s.from_ms}, {"xAxis": s.to_ms}] for s in review.raw]
    top_px = cast("int", grids[-1]["top"]) + cast("int", grids[-1]["height"]) + TITLE_PX
    bottom = x_axes[-1]
    x_axes[-1] = dict(x_axes[0]) | {"gridIndex": len(grids) - 1}
    for at, (name, title, height) in enumerate(_RAW):
        axis = len(grids)
        grids.append({"left": LEFT_PX, "right": RIGHT_PX, "top": top_px, "height": height})
        titles.append(_title(title, top_px))
        base = bottom if at == len(_RAW) - 1 else x_axes[0]
        x_axes.append(dict(base) | {"gridIndex": axis})
        y_axes.append(_plain_axis(axis) | {"scale": True})
        shade: Options = {"silent": True, "itemStyle": _RAW_SHADE, "data": spans}
        series.append(_wave(name, "var(--value)", axis) | {"markArea": shade})
        series[-1]["tooltip"] = {"show": False}
        top_px += height + TITLE_PX


def _description(review: SessionReview) -> str:
    minutes = (review.history.to_ms - review.history.from_ms) / 60_000
    return (
        f"Contact force, dwell, stiffness, percussion and motion over {minutes:.0f} minutes on "
        f"{len(review.site_times)} sites, with {len(review.occurrences)} alarms. The figures and "
        "the alarms are listed beside the chart, and can be downloaded as a table."
    )


def _sites(review: SessionReview, axis: int) -> Options:
    return {
        "id": "sites",
        "type": "custom",
        "xAxisIndex": axis,
        "yAxisIndex": axis,
        "encode": {"x": [0, 1]},
        "data": [[span.from_ms, span.to_ms] for span in review.sites],
        ":renderItem": _SITE_BAR.replace("NAMES", json.dumps([s.site for s in review.sites])),
        "silent": True,
        "clip": True,
        "tooltip": {"show": False},
    }


def _zoom(axes: int) -> list[Options]:
    """Drag and pinch within, a slider below; the wheel is the page's unless Ctrl is held."""
    every: list[int] = list(range(axes))
    return [
        {
            "type": "inside",
            "xAxisIndex": every,
            "filterMode": "none",
            "zoomOnMouseWheel": "ctrl",
            "moveOnMouseWheel": False,
            "preventDefaultMouseMove": False,
        },
        {
            "type": "slider",
            "xAxisIndex": every,
            "filterMode": "none",
            "left": LEFT_PX,
            "right": RIGHT_PX,
            "bottom": 8,
            "height": 24,
            "showDetail": False,
            "showDataShadow": False,
            "brushSelect": False,
            "borderColor": "var(--line)",
            "backgroundColor": "var(--page)",
            "fillerColor": "var(--zoomed)",
            "handleStyle": {"color": "var(--card)", "borderColor": "var(--value)"},
            "moveHandleStyle": {"color": "var(--value)"},
            "emphasis": {
                "handleStyle": {"color": "var(--card)", "borderColor": "var(--value)"},
                "moveHandleStyle": {"color": "var(--value)"},
            },
        },
    ]


# Two sessions over each other.

_COMPARED = (
    ("force_n", "Contact force, N", 210),
    ("dwell_s", "Dwell on one spot, s", 130),
    ("stiffness", "Stiffness under the head", 90),
    ("motion_deg_s", "Motion, °/s", 90),
)
COMPARE_PX = sum(height + TITLE_PX for *_, height in _COMPARED) + AXIS_PX + SLIDER_PX
_COLORS = ("var(--value)", "var(--other)")
_SINCE_START = "s => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')}`"


def compare_options(reviews: Sequence[SessionReview]) -> Options:
    """Both from their start on; the second in another colour, and dashed."""
    top_px = TITLE_PX
    grids: list[Options] = []
    titles: list[Options] = []
    series: list[Options] = []
    end_s = max((r.history.to_ms - r.history.from_ms) / 1000 for r in reviews)
    for at, (column, title, height) in enumerate(_COMPARED):
        grids.append({"left": LEFT_PX, "right": RIGHT_PX, "top": top_px, "height": height})
        titles.append(_title(title, top_px))
        series += [_compared(review, order, column, at) for order, review in enumerate(reviews)]
        top_px += height + TITLE_PX
    return {
        "animation": False,
        "textStyle": {"fontFamily": charts.FONT, "color": "var(--ink)"},
        "aria": {"enabled": True, "label": {"description": _compared_description(reviews)}},
        "axisPointer": {"link": [{"xAxisIndex": "all"}], "lineStyle": {"color": "var(--ink-2)"}},
        "title": titles,
        "grid": grids,
        "xAxis": [
            _value_axis(at, 0, end_s, len(_COMPARED), _SINCE_START) for at in range(len(grids))
        ],
        "yAxis": [_plain_axis(at) | _tissue(column) for at, (column, *_) in enumerate(_COMPARED)],
        "dataZoom": _zoom(len(grids)),
        "series": series,
    }


def _compared(review: SessionReview, order: int, column: str, axis: int) -> Options:
    at, from_ms = COLUMNS.index(column), review.history.from_ms
    points = [[(cast("int", row[0]) - from_ms) / 1000, row[at]] for row in review.history.rows]
    color = _COLORS[order]
    return {
        "type": "line",
        "data": points,
        "xAxisIndex": axis,
        "yAxisIndex": axis,
        "showSymbol": False,
        "silent": True,
        "emphasis": {"disabled": True},
        "lineStyle": {"width": 2, "color": color, "type": [6, 3] if order else "solid"},
        "itemStyle": {"color": color},
    }


def _tissue(column: str) -> Options:
    if column != "stiffness":
        return {}
    label: Options = {"color": "var(--ink-2)", ":formatter": charts.TISSUE_WORDS}
    return {"min": 0, "max": 2, "interval": 1, "axisLabel": label, "boundaryGap": [0, 0]}


def _compared_description(reviews: Sequence[SessionReview]) -> str:
    names = " and ".join(review.line.session_id for review in reviews)
    return f"Contact force, dwell, stiffness and motion of the sessions {names} since their start."


# Raw samples.

_WAVES = (
    ("Acceleration along the stroke, g", 190, (("z", "var(--value)"),)),
    (
        "Acceleration across, g: x, and y in orange",
        120,
        (("x", "var(--value)"), ("y", "var(--other)")),
    ),
    ("Motor current, A", 110, (("current", "var(--value)"),)),
)
SPECTRUM_PX = 170
WAVEFORM_PX = sum(h + TITLE_PX for _, h, _ in _WAVES) + SPECTRUM_PX + TITLE_PX + AXIS_PX + SLIDER_PX
# The spectrogram is one picture, laid where its times and frequencies are, so that it zooms along.
_PICTURE = """(params, api) => {
  const [left, top] = api.coord([api.value(0), api.value(3)]);
  const [right, bottom] = api.coord([api.value(1), api.value(2)]);
  return { type: "image", style: { image: PICTURE, x: left, y: top,
    width: right - left, height: bottom - top } };
}"""


def waveform_options(waveform: Waveform) -> Options:
    """In seconds from the alarm; what is too fine for the screen is drawn as its extremes.

    The samples are not in it: the browser fetches them as numbers, which text would be thrice.
    """
    top_px = TITLE_PX
    grids: list[Options] = []
    titles: list[Options] = []
    series: list[Options] = []
    for at, (title, height, lines) in enumerate(_WAVES):
        grids.append({"left": LEFT_PX, "right": RIGHT_PX, "top": top_px, "height": height})
        titles.append(_title(title, top_px))
        series += [_wave(name, color, at) for name, color in lines]
        series[-1] |= _alarm_line(at)
        top_px += height + TITLE_PX
    last = len(grids)
    grids.append({"left": LEFT_PX, "right": RIGHT_PX, "top": top_px, "height": SPECTRUM_PX})
    titles.append(_title("Spectrum along the stroke, Hz", top_px))
    from_s, to_s = waveform.from_s, waveform.to_s
    return {
        "animation": False,
        "textStyle": {"fontFamily": charts.FONT, "color": "var(--ink)"},
        "aria": {"enabled": True, "label": {"description": waveform.description}},
        "axisPointer": {"link": [{"xAxisIndex": "all"}], "lineStyle": {"color": "var(--ink-2)"}},
        "title": titles,
        "grid": grids,
        "xAxis": [_value_axis(at, from_s, to_s, last + 1, None) for at in range(last + 1)],
        "yAxis": [
            *(_plain_axis(at) | {"scale": True} for at in range(last)),
            _plain_axis(last) | {"min": 0, "max": waveform.top_hz, "boundaryGap": [0, 0]},
        ],
        "dataZoom": _zoom(last + 1),
        "series": [*series, _spectrum(waveform, last)],
    }


def _wave(name: str, color: str, axis: int) -> Options:
    return {
        "id": name,
        "data": [],
        "type": "line",
        "xAxisIndex": axis,
        "yAxisIndex": axis,
        "sampling": "minmax",
        "showSymbol": False,
        "silent": True,
        "emphasis": {"disabled": True},
        "lineStyle": {"width": 1, "color": color},
        "itemStyle": {"color": color},
    }


def _alarm_line(axis: int) -> Options:
    label: Options = {"show": axis == 0, "formatter": "alarm", "color": "var(--limit)"}
    return {
        "markLine": {
            "silent": True,
            "symbol": "none",
            "label": label,
            "lineStyle": {"color": "var(--limit)", "type": "solid", "width": 2},
            "data": [{"xAxis": 0}],
        }
    }


def _spectrum(waveform: Waveform, axis: int) -> Options:
    data: list[charts.Json] = [
        waveform.from_s,
        waveform.to_s,
        0,
        waveform.top_hz,
        waveform.spectrogram,
    ]
    return {
        "type": "custom",
        "xAxisIndex": axis,
        "yAxisIndex": axis,
        "encode": {"x": [0, 1], "y": [2, 3]},
        "data": [data],
        ":renderItem": _PICTURE.replace("PICTURE", json.dumps(waveform.spectrogram)),
        "silent": True,
        "clip": True,
    }


def _title(text: str, top_px: int) -> Options:
    top = top_px - TITLE_DROP_PX
    return {"text": text, "left": 0, "top": top, "padding": 0, "textStyle": TITLE_STYLE}


def _value_axis(at: int, low: float, high: float, axes: int, format_: str | None) -> Options:
    is_last = at == axes - 1
    label: Options = {"show": is_last, "color": "var(--ink-2)", "hideOverlap": True}
    if format_ is not None:
        label[":formatter"] = format_
    else:
        label["formatter"] = "{value} s"
    return {
        "type": "value",
        "gridIndex": at,
        "min": _rounded(low),
        "max": _rounded(high),
        "axisLabel": label | {"showMinLabel": False, "showMaxLabel": False},
        "axisTick": {"show": is_last},
        "axisLine": {"onZero": False, "lineStyle": {"color": "var(--line-2)"}},
        "splitLine": {"show": True, "lineStyle": {"color": "var(--line)"}},
        "axisPointer": {"label": {"show": False}},
    }


def _plain_axis(at: int) -> Options:
    return {
        "type": "value",
        "gridIndex": at,
        "splitNumber": 3,
        "boundaryGap": [0, "8%"],
        "axisLine": {"show": False},
        "axisTick": {"show": False},
        "axisLabel": {"color": "var(--ink-2)", "hideOverlap": True},
        "splitLine": {"lineStyle": {"color": "var(--line)"}},
    }


def _rounded(value: float) -> float:
    return math.floor(value * 100) / 100


def _dicts(options: object) -> list[Options]:
    return [dict(cast("Mapping[str, charts.Json]", each)) for each in cast("list[object]", options)]
