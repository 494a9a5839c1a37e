"""A session as a picture, for paper and for files: PNG, and SVG for the report. matplotlib, no
browser. May import the nouns of the review. Light and plain, as it will be printed.
"""

from __future__ import annotations

import io
from datetime import datetime
from typing import TYPE_CHECKING, Final, cast

from pipeline.model import Priority
from pipeline.page.history import COLUMNS
from pipeline.page.review.session import SessionReview

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_IN: Final = (8.25, 5.5)  # as wide as A4: what it says is read at its own size
DPI: Final = 200
INK, INK_2, LINE, VALUE, LIMIT, ADVISORY = (
    "#10202c",
    "#475b6a",
    "#dbe3e9",
    "#0063a8",
    "#a3121c",
    "#7a5a00",
)
MARKS: Final = {Priority.HIGH: "#b8141f", Priority.MEDIUM: "#d48806"}  # as on the page
_PANELS: Final = (
    ("force", "Force, N", "force_n", 2.2),
    ("dwell", "Dwell, s", "dwell_s", 1.3),
    ("stiffness", "Stiffness", "stiffness", 0.9),
    ("percussion", "Percussion, Hz", "percussion_hz", 0.9),
    ("motion", "Motion, °/s", "motion_deg_s", 0.9),
)


def to_png(review: SessionReview) -> bytes:
    return _encode(_draw(review), "png")


def to_svg(review: SessionReview) -> str:
    """With a size of its own taken off: the report says how wide it is."""
    text = _encode(_draw(review), "svg").decode()
    return text[text.index("<svg") :]


def _encode(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else None
    figure.savefig(buffer, format=form, dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def _draw(review: SessionReview) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415  half a second, only when asked for

    figure = Figure(figsize=SIZE_IN, layout="constrained")
    heights = [0.45, *(height for *_, height in _PANELS)]
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_sites(axes[0], review)
    for axis, (panel, title, column, _) in zip(axes[1:], _PANELS, strict=True):
        _draw_panel(axis, review, panel, title, column)
    axes[-1].set_xlabel("minutes since the start", color=INK_2)
    return figure


def _minutes(review: SessionReview, t_ms: float) -> float:
    return (t_ms - review.history.from_ms) / 60_000


def _draw_sites(axis: Axes, review: SessionReview) -> None:
    for number, span in enumerate(review.sites):
        left, right = _minutes(review, span.from_ms), _minutes(review, span.to_ms)
        axis.barh(0, right - left, left=left, color="#dde6ec" if number % 2 else "#cfdbe4")
        axis.text(left, 0, f" {span.site}", va="center", fontsize=8, color=INK, clip_on=True)
    axis.axis("off")


def _draw_panel(axis: Axes, review: SessionReview, panel: str, title: str, column: str) -> None:
    rows = review.history.rows
    minutes = [_minutes(review, cast("int", row[0])) for row in rows]

    def values(name: str) -> list[float]:
        at = COLUMNS.index(name)
        return [float("nan") if row[at] is None else cast("float", row[at]) for row in rows]

    for span in review.history.spans:
        if span.panel == panel and span.priority in MARKS:
            left, right = _minutes(review, span.from_ms), _minutes(review, span.to_ms)
            axis.axvspan(left, right, color=MARKS[span.priority], alpha=0.28, lw=0)
    if panel == "force":
        low, band = values("force_n_low"), values("force_n_band")
        high = [a + b for a, b in zip(low, band, strict=True)]
        axis.fill_between(minutes, low, high, color=VALUE, alpha=0.2, lw=0)
        axis.step(minutes, values("force_limit_n"), color=LIMIT, ls="--", lw=1.2)
        tops = [v for v in (*values("force_n"), *values("force_limit_n")) if v == v]
        axis.set_ylim(0, max(tops, default=1.0) * 1.2)
    if panel == "dwell":
        axis.step(minutes, values("dwell_advisory_s"), color=ADVISORY, ls="--", lw=1.0)
        axis.step(minutes, values("dwell_limit_s"), color=LIMIT, ls="--", lw=1.2)
    if panel == "stiffness":
        axis.set_ylim(0, 2)
        axis.set_yticks((0, 1, 2), ("muscle", "tendon", "bone"))
    axis.plot(minutes, values(column), color=VALUE, lw=1.2)
    axis.set_ylim(bottom=0)
    axis.set_title(title, color=INK, fontsize=9, loc="left", pad=3)
    axis.grid(color=LINE, lw=0.6)
    axis.tick_params(colors=INK_2, labelsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(LINE)


def local_time(t_ms: int) -> datetime:
    """In this machine's zone, which is the clinic's."""
    return datetime.fromtimestamp(t_ms / 1000).astimezone()
