"""The page as a server: uvicorn in the caller's event loop, NiceGUI on FastAPI, until cancelled.

May import `watch`, `views` and the libraries. NiceGUI keeps one application a process, so one page
is served at a time. The page asks nobody who they are: it answers only under its own name, and only
to itself, so that no other site open in the same browser can read or drive it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from nicegui import app as nicegui_app
from nicegui import ui
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.page import views
from pipeline.page.archive import Archive
from pipeline.page.board import LiveBoard
from pipeline.page.watch import Watch
from pipeline.sites import SiteTable

GRACE_S = 1  # for requests under way when the page stops; the rest of it is done within another
# A browser whose connection was cut gets what it missed again. Each message replaces the one
# before it, so a few suffice: NiceGUI's 1,000 of 200 guns would be 50 MB a browser.
MESSAGES_KEPT = 40
RECONNECT_S = 10.0  # a phone between two access points; engineering choice
FORBIDDEN = 403
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" '
    'fill="#00558c"/><path d="M4 17h6l3-8 5 15 4-10 2 3h4" fill="none" stroke="#fff" '
    'stroke-width="2.6" stroke-linejoin="round" stroke-linecap="round"/></svg>'
)
# NiceGUI compiles its templates in the browser and writes scripts into the page: hence the two
# 'unsafe-'. Nothing is ever loaded from, or sent to, anywhere else.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


class PageError(Exception):
    """The page cannot be served: one sentence with the place and the remedy."""


async def serve(
    board: LiveBoard,
    store_directory: Path,
    host: str,
    port: int,
    *,
    started: asyncio.Event | None = None,
    sites: SiteTable | None = None,
    listener: socket.socket | None = None,
) -> None:
    """Serve the page at `host`:`port`, or on `listener`, until cancelled.

    `sites` are the limits in force. Raises PageError where the address cannot be had.
    """
    archive = Archive(store_directory)
    watch = Watch(board, archive, sites or SiteTable())
    listener = listener or listen(host, port)
    with contextlib.closing(listener), _on_show(watch):
        server = _Server(_configuration(host), started or asyncio.Event())
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="page server")
        watching = asyncio.create_task(watch.run(), name="page watch")
        try:
            done, _ = await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            server.should_exit = True
            watching.cancel()
            await asyncio.wait({serving, watching})
            archive.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises PageError."""
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
def _on_show(watch: Watch) -> Iterator[None]:
    state = nicegui_app.state
    if getattr(state, "watch", None) is not None:
        raise PageError("this process already serves a page: start a second one as its own process")
    state.watch = watch
    try:
        yield
    finally:
        state.watch = None


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


def _configuration(host: str) -> uvicorn.Config:
    return uvicorn.Config(
        _Guard(_application(), host),
        log_config=None,  # logging belongs to the process
        access_log=False,
        server_header=False,
        ws_per_message_deflate=False,  # it would cost more than the rest of the page together
        timeout_graceful_shutdown=GRACE_S,
    )


@functools.cache
def _application() -> FastAPI:
    """NiceGUI can be mounted once a process; the pages find what they show in its state."""
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
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


class _Guard:
    """Refuses requests under a foreign name or from a foreign page, and sets the page's policy.

    A foreign name in Host is DNS rebinding, a foreign Origin another site open in the browser.
    """

    def __init__(self, application: ASGIApp, host: str) -> None:
        self._application = application
        self._names = {"localhost", "127.0.0.1", "::1", host} if _is_loopback(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        if not self._is_ours(Headers(scope=scope)):
            refusal = PlainTextResponse("This page answers only to itself.", FORBIDDEN)
            await refusal(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        await self._application(scope, receive, send_with_policy)

    def _is_ours(self, headers: Headers) -> bool:
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            is_our_name = self._names is None or urlsplit(f"//{host}").hostname in self._names
            return is_our_name and (origin is None or urlsplit(origin).netloc == host)
        except ValueError:  # an address in brackets that is none
            return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
