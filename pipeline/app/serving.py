"""The page as an edge: served for as long as the pipeline runs, and missed by no gun if it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from pipeline.app.desk import Desk

_log = structlog.get_logger("myoguard")


@asynccontextmanager
async def page(desk: Desk) -> AsyncIterator[None]:
    """Serve the page and put its address on the desk. Raises PageError."""
    from pipeline.page import LiveBoard, listen, serve  # noqa: PLC0415  a second, and optional

    section, board, started = desk.settings.page, LiveBoard(), asyncio.Event()
    listener = listen(section.host, section.port)
    host, port = listener.getsockname()[:2]
    serving = serve(
        board,
        desk.settings.store.directory,
        section.host,
        port,
        started=started,
        sites=desk.settings.site_table,
        listener=listener,
    )
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
