"""The page as a server: uvicorn in the caller's event loop, NiceGUI on FastAPI, until cancelled.

May import the views, the requests, `gate`, `watch` and the libraries. NiceGUI keeps one application
a process, so one page is served at a time. Everything passes the gate.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from nicegui import app as nicegui_app
from nicegui import ui

from pipeline.accounts import Accounts
from pipeline.page import (
    alarm_requests,
    review_downloads,
    review_views,
    sign_in,
    technician,
    views,
    what_if_view,
)
from pipeline.page.actions import Errands
from pipeline.page.archive import Archive
from pipeline.page.board import LiveBoard
from pipeline.page.frame import presence
from pipeline.page.gate import ExposedError, Gate, Reach, refuse_exposure
from pipeline.page.logins import Logins
from pipeline.page.review.library import Library, Shelves
from pipeline.page.watch import Watch
from pipeline.page.workshop import Workshop
from pipeline.sites import SiteTable
from pipeline.whatif import Judge

GRACE_S = 1  # for requests under way when the page stops; the rest of it is done within another
# A browser whose connection was cut gets what it missed again. Each message replaces the one
# before it, so a few suffice: NiceGUI's 1,000 of 200 guns would be 50 MB a browser.
MESSAGES_KEPT = 40
RECONNECT_S = 10.0  # a phone between two access points; engineering choice
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" '
    'fill="#00558c"/><path d="M4 17h6l3-8 5 15 4-10 2 3h4" fill="none" stroke="#fff" '
    'stroke-width="2.6" stroke-linejoin="round" stroke-linecap="round"/></svg>'
)


class PageError(Exception):
    """The page cannot be served: one sentence with the place and the remedy."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the page is served, and who may come in. Without accounts, only on this machine."""

    host: str
    port: int
    accounts: Accounts
    public_url: str | None = None

    @property
    def reach(self) -> Reach:
        return Reach(self.host, self.public_url)


@dataclass(frozen=True, slots=True)
class Sources:
    """What the page shows, and who does what it is asked; without those it only shows."""

    board: LiveBoard
    store_directory: Path
    sites: SiteTable = field(default_factory=SiteTable)
    errands: Errands | None = None
    workshop: Workshop | None = None
    captures_directory: Path | None = None  # without it, there are none
    judge: Judge = field(default_factory=Judge)  # how recordings are judged again

    @property
    def library(self) -> Library:
        """What there is to look back on."""
        captures = self.captures_directory or self.store_directory / "captures"
        return Library(Shelves(self.store_directory, captures, self.sites, self.judge))


async def serve(
    sources: Sources,
    place: Place,
    *,
    started: asyncio.Event | None = None,
    listener: socket.socket | None = None,
) -> None:
    """Serve the page at `place`, or on a `listener` for it, until cancelled.

    Raises PageError where the address cannot be had.
    """
    listener = listener or listen(place)
    archive = Archive(sources.store_directory)
    watch = Watch(sources.board, archive, sources.sites)
    logins = Logins(place.accounts, open_to_all=place.reach.is_local)
    with contextlib.closing(listener), _on_show(watch, archive, sources):
        gate = Gate(_application(), place.reach, logins)
        server = _Server(_configuration(gate), started or asyncio.Event())
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="page server")
        beside = [
            asyncio.create_task(watch.run(), name="page watch"),
            asyncio.create_task(presence.run(), name="page logins"),
        ]
        try:
            done, _ = await asyncio.wait({serving, *beside}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            server.should_exit = True
            for task in beside:
                task.cancel()
            await asyncio.wait({serving, *beside})
            archive.close()


def listen(place: Place) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises PageError and AccountError."""
    try:
        refuse_exposure(place.reach, place.accounts)
    except ExposedError as error:
        raise PageError(str(error)) from None
    host, port = place.host, place.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        remedy = (
            "set page.port to a free one, or 0" if taken else "set page.host to an address here"
        )
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise PageError(f"the page cannot listen on {host}:{port} ({reason}): {remedy}") from error


@contextlib.contextmanager
def _on_show(watch: Watch, archive: Archive, sources: Sources) -> Iterator[None]:
    state = nicegui_app.state
    if getattr(state, "watch", None) is not None:
        raise PageError("this process already serves a page: start a second one as its own process")
    state.watch, state.archive, state.library = watch, archive, sources.library
    state.errands, state.workshop = sources.errands, sources.workshop
    try:
        yield
    finally:
        state.watch = state.archive = state.library = state.errands = state.workshop = None
        technician.bench.clear()


class _Server(uvicorn.Server):
    """uvicorn without its hands on the process: signals stay with whoever runs the loop."""

    def __init__(self, config: uvicorn.Config, ready: asyncio.Event) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()


def _configuration(gate: Gate) -> uvicorn.Config:
    return uvicorn.Config(
        gate,
        log_config=None,  # logging belongs to the process
        access_log=False,
        server_header=False,
        ws_per_message_deflate=False,  # it would cost more than the rest of the page together
        timeout_graceful_shutdown=GRACE_S,
    )


# Each registers its pages when it is imported.
_VIEWS = (views, review_views, what_if_view)


@functools.cache
def _application() -> FastAPI:
    """NiceGUI can be mounted once a process; the pages find what they show in its state."""
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    application.include_router(sign_in.router)
    application.include_router(alarm_requests.router)
    application.include_router(technician.router)
    application.include_router(review_downloads.router)
    ui.run_with(
        application,
        root=views.not_found_page,
        title="MyoGuard",
        favicon=FAVICON,
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=RECONNECT_S,
        message_history_length=MESSAGES_KEPT,
        binding_refresh_interval=None,
    )
    return application
