"""A session and a capture as files: CSV, Parquet, PNG, a report, the recording itself.

May import the review, `export`, `gate` and FastAPI. Everything was let in by the gate; whoever may
look may take along what is looked at.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Final, cast

from fastapi import APIRouter, Path, Query
from nicegui import app
from starlette.responses import FileResponse, PlainTextResponse, Response

from pipeline.capture import RecordingError
from pipeline.export import TableFormat, encode_table, seconds_table
from pipeline.model import DeviceId
from pipeline.page.review.library import Library, SessionData
from pipeline.page.review.picture import to_png, to_svg
from pipeline.page.review.report import report_html
from pipeline.store import StoreError

NOT_FOUND, UNAVAILABLE = 404, 503
PARQUET: Final = TableFormat.PARQUET.media_type

router = APIRouter(prefix="/download")
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
CaptureName = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,200}$")]
SessionId = Annotated[str, Query(alias="id", min_length=1, max_length=256)]


def library_of_app() -> Library:
    """What `serve` put there before the first request."""
    return cast("Library", app.state.library)


@router.get("/session/{clinic}/{device}/table.{form}")
async def table(clinic: Name, device: Name, form: TableFormat, session_id: SessionId) -> Response:
    found = await _session(clinic, device, session_id)
    if isinstance(found, Response):
        return found
    content = await asyncio.to_thread(lambda: encode_table(seconds_table(found.seconds), form))
    return _file(content, form.media_type, found, form)


@router.get("/session/{clinic}/{device}/picture.png")
async def picture(clinic: Name, device: Name, session_id: SessionId) -> Response:
    found = await _session(clinic, device, session_id)
    if isinstance(found, Response):
        return found
    return _file(await asyncio.to_thread(to_png, found.review), "image/png", found, "png")


@router.get("/session/{clinic}/{device}/report.html")
async def report(clinic: Name, device: Name, session_id: SessionId) -> Response:
    """Opens in the browser, to be looked at and printed."""
    found = await _session(clinic, device, session_id)
    if isinstance(found, Response):
        return found
    version = found.alarms[-1].config_version if found.alarms else "not known"
    drawn = await asyncio.to_thread(to_svg, found.review)
    return Response(report_html(found.review, drawn, version), media_type="text/html")


@router.get("/capture/{clinic}/{device}/{name}.parquet")
async def capture(clinic: Name, device: Name, name: CaptureName) -> Response:
    """The recording, as `myoguard replay` reads it."""
    try:
        found = await library_of_app().capture(DeviceId(clinic, device), name)
    except (StoreError, RecordingError) as error:
        return PlainTextResponse(f"{error}.", UNAVAILABLE)
    if found is None:
        return PlainTextResponse("This capture is not kept any more.", NOT_FOUND)
    return FileResponse(found.path, media_type=PARQUET, filename=found.path.name)


@router.get("/capture/{clinic}/{device}/{name}.samples")
async def samples(clinic: Name, device: Name, name: CaptureName) -> Response:
    """The samples as the chart takes them: float32, five columns, one after the other."""
    try:
        found = await library_of_app().capture(DeviceId(clinic, device), name)
    except (StoreError, RecordingError) as error:
        return PlainTextResponse(f"{error}.", UNAVAILABLE)
    if found is None:
        return PlainTextResponse("This capture is not kept any more.", NOT_FOUND)
    columns = found.waveform.samples.astype("<f4").T.tobytes()
    return Response(columns, media_type="application/octet-stream")


@router.get("/session/{clinic}/{device}/samples")
async def stretch(
    clinic: Name, device: Name, session_id: SessionId, from_ms: int, to_ms: int
) -> Response:
    """What is kept of a part of a session: float32, seconds, z and current, one after the other."""
    gun, (from_ns, to_ns) = DeviceId(clinic, device), (from_ms * 1_000_000, to_ms * 1_000_000)
    try:
        found = await library_of_app().stretch(gun, session_id, from_ns, to_ns)
    except (StoreError, RecordingError) as error:
        return PlainTextResponse(f"{error}.", UNAVAILABLE)
    columns = b"" if found is None else found.astype("<f4").T.tobytes()
    return Response(columns, media_type="application/octet-stream")


async def _session(clinic: str, device: str, session_id: str) -> SessionData | Response:
    try:
        found = await library_of_app().session(DeviceId(clinic, device), session_id)
    except StoreError as error:
        return PlainTextResponse(f"The store cannot be read: {error}.", UNAVAILABLE)
    return found or PlainTextResponse("There is no such session.", NOT_FOUND)


def _file(content: bytes, media_type: str, found: SessionData, suffix: str) -> Response:
    """A file named after gun and session; what a console named is not to be trusted in a header."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", found.summary.session_id)[:64]
    name = f"{found.summary.id.device}-{safe}.{suffix}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)
