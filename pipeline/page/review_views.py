"""The views that look back: sessions, one of them, two compared, and the black box of an alarm.

May import `frame`, the review and NiceGUI. An element each, given what it draws as one message;
the charts stand in its slot.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import orjson
from fastapi import Query, Request
from nicegui import ui
from nicegui.element import Element

from pipeline.capture import RecordingError
from pipeline.model import DeviceId
from pipeline.page import alarm_lines
from pipeline.page.charts import Options
from pipeline.page.frame import frame, say
from pipeline.page.review import charts
from pipeline.page.review.library import CaptureData, SessionData, Wanted
from pipeline.page.review_downloads import library_of_app
from pipeline.page.views import IDENTIFIER, NOT_FOUND
from pipeline.store import StoreError

UNAVAILABLE = 503
ANSWER_S: Final = 30.0  # a spectrogram on a busy machine; NiceGUI would give up after 3
SESSIONS: Final = "/sessions"
_PARTS: Final[list[str | Path]] = ["assets/myoguard_parts.js", "assets/review_parts.js"]
_ID: Final = Query(alias="id", min_length=1, max_length=256)
_Text = Annotated[str, Query(max_length=256)]
NO_CAPTURE: Final = (
    "This capture is not kept: it gave way to newer ones, or a crash came before its first write."
)
NO_SESSION: Final = "There is no such session in the store (any more)."


class _ReviewElement(Element):
    """Draws one message, once; `chart` stands in its default slot."""

    def __init__(self, message: object, chart: tuple[Options, int] | None = None) -> None:
        super().__init__()
        self._props["message"] = orjson.dumps(message).decode()
        if chart is not None:
            options, height_px = chart
            with self:
                drawn = ui.echart(options, renderer="svg").style(f"height: {height_px}px")
            self._props["chart"] = drawn.id


class SessionsPanel(_ReviewElement, component="assets/sessions_panel.js", dependencies=_PARTS):
    """Sessions to choose from."""


class SessionPanel(_ReviewElement, component="assets/session_panel.js", dependencies=_PARTS):
    """One session."""


class ComparePanel(_ReviewElement, component="assets/compare_panel.js", dependencies=_PARTS):
    """Two sessions over each other."""


class CapturePanel(_ReviewElement, component="assets/capture_panel.js", dependencies=_PARTS):
    """The raw samples around an alarm."""


@ui.page(SESSIONS, response_timeout=ANSWER_S)
async def sessions_page(
    request: Request,
    clinic: _Text = "",
    treated: Annotated[str, Query(alias="client", max_length=256)] = "",
    operator: _Text = "",
    gun: _Text = "",
    day: _Text = "",
) -> None:
    """Which ones, stands in the address; `client` means a browser to NiceGUI, hence its alias."""
    wanted = Wanted(clinic, treated.strip(), operator.strip(), gun.strip(), day)
    found = await library_of_app().sessions(wanted)
    with frame(request, "Sessions", here=SESSIONS):
        SessionsPanel(found)


@ui.page("/session/{clinic}/{device}", response_timeout=ANSWER_S)
async def session_page(
    request: Request, clinic: str, device: str, session_id: Annotated[str, _ID]
) -> None:
    found = await _session(clinic, device, session_id)
    title = f"Session of {found.summary.client or device}" if isinstance(found, SessionData) else ""
    with frame(request, title, here=SESSIONS):
        if not isinstance(found, SessionData):
            say(*found)
            return
        review = found.review
        message = {
            "review": {**asdict(review), "history": None},
            "others": found.others,
            "raw_files": len(found.raw_files),
            "has_values": bool(review.history.rows),
        }
        SessionPanel(message, (charts.session_options(review), charts.session_px(review)))


@ui.page("/compare", response_timeout=ANSWER_S)
async def compare_page(
    request: Request,
    a: Annotated[str, Query(max_length=400)],
    b: Annotated[str, Query(max_length=400)],
) -> None:
    """`a` and `b` are `clinic/device/session`."""
    found = [await _session(*_address(each)) for each in (a, b)]
    with frame(request, "Two sessions", here=SESSIONS):
        both = [each for each in found if isinstance(each, SessionData)]
        if len(both) < 2:
            say(NO_SESSION, NOT_FOUND)
            return
        reviews = [each.review for each in both]
        message = [{**asdict(review), "history": None} for review in reviews]
        ComparePanel(message, (charts.compare_options(reviews), charts.COMPARE_PX))


@ui.page("/capture/{clinic}/{device}/{name}", response_timeout=ANSWER_S)
async def capture_page(request: Request, clinic: str, device: str, name: str) -> None:
    found = await _capture(clinic, device, name)
    title = f"Black box of {device}" if isinstance(found, CaptureData) else ""
    with frame(request, title, here=SESSIONS):
        if not isinstance(found, CaptureData):
            say(*found)
            return
        alarm, waveform = found.alarm, found.waveform
        message = {
            "alarm": alarm_lines.to_line(alarm, alarm.changed_at_ns),
            "at_ms": alarm.changed_at_ns // 1_000_000,
            "name": name,
            "client": found.client,
            "session_id": alarm.session_id,
            "from_s": waveform.from_s,
            "to_s": waveform.to_s,
            "rate_hz": waveform.rate_hz,
            "bytes": found.path.stat().st_size,
        }
        CapturePanel(message, (charts.waveform_options(waveform), charts.WAVEFORM_PX))


def _address(text: str) -> tuple[str, str, str]:
    clinic, _, rest = text.partition("/")
    device, _, session_id = rest.partition("/")
    return clinic, device, session_id


async def _session(clinic: str, device: str, session_id: str) -> SessionData | tuple[str, int]:
    """The session, or what to say and the status."""
    if not (IDENTIFIER.fullmatch(clinic) and IDENTIFIER.fullmatch(device)):
        return "No gun can have that name: letters, digits, _ and - make one.", NOT_FOUND
    try:
        found = await library_of_app().session(DeviceId(clinic, device), session_id)
    except StoreError as error:
        return f"The store cannot be read: {error}.", UNAVAILABLE
    return found or (NO_SESSION, NOT_FOUND)


async def _capture(clinic: str, device: str, name: str) -> CaptureData | tuple[str, int]:
    if not (IDENTIFIER.fullmatch(clinic) and IDENTIFIER.fullmatch(device)):
        return "No gun can have that name: letters, digits, _ and - make one.", NOT_FOUND
    try:
        found = await library_of_app().capture(DeviceId(clinic, device), name)
    except (StoreError, RecordingError) as error:
        return f"{error}.", UNAVAILABLE
    if found is None:
        return NO_CAPTURE, NOT_FOUND
    return found
