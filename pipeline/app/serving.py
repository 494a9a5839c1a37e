"""The page as an edge: served for as long as the pipeline runs, and missed by no gun if it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from pipeline.accounts import Accounts
from pipeline.app.desk import Desk
from pipeline.config import Settings
from pipeline.whatif import Judge

if TYPE_CHECKING:
    from pipeline.page import Place

_log = structlog.get_logger("myoguard")


def place(settings: Settings) -> Place:
    """Where the settings want the page, and for whom."""
    from pipeline.page import Place  # noqa: PLC0415  a second, and optional

    section = settings.page
    return Place(section.host, section.port, Accounts(section.accounts_file), section.public_url)


@asynccontextmanager
async def page(desk: Desk) -> AsyncIterator[None]:
    """Serve the page and put its address on the desk. Raises PageError and AccountError."""
    from pipeline.app.errands import PageErrands  # noqa: PLC0415  a second, and optional
    from pipeline.app.workshop import PageWorkshop  # noqa: PLC0415
    from pipeline.page import LiveBoard, Sources, listen, serve  # noqa: PLC0415

    where, started = place(desk.settings), asyncio.Event()
    board = LiveBoard(notice=lambda: desk.notice)
    listener = listen(where)
    host, port = listener.getsockname()[:2]
    settings, guns = desk.settings, desk.guns
    window_s = settings.monitor.reorder_window_s
    sources = Sources(
        board,
        settings.store.directory,
        settings.site_table,
        PageErrands(desk),
        PageWorkshop(desk),
        settings.capture_directory,
        Judge(guns.calibrations, guns.priors, guns.models, window_s),
    )
    serving = serve(sources, where, started=started, listener=listener)
    served = asyncio.create_task(serving, name="page")
    try:
        await _until_started(served, started)
        desk.listeners.append(board)
        desk.page_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        yield
    finally:
        served.cancel()
        await asyncio.wait({served})


async def _until_started(served: asyncio.Task[None], started: asyncio.Event) -> None:
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({served, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if served.done():
        served.result()
    served.add_done_callback(_page_ended)


def _page_ended(served: asyncio.Task[None]) -> None:
    """The page is a convenience: without it, the guns are watched all the same."""
    if not served.cancelled():
        _log.error("the page is no longer served", reason=repr(served.exception()))
