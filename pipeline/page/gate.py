"""What every request passes first: is it for us, from us, and from somebody who may come in.

May import `logins`, `sign_in` and starlette. A foreign name in Host is DNS rebinding; a foreign
Origin is another site open in the browser, and what changes something, or opens a websocket, must
name ours. Who sends it stands in `request.state.login` for whatever is behind; what a role may do
is decided there, per request.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.accounts import AccountError, Accounts
from pipeline.page.logins import Login, Logins

COOKIE: Final = "myoguard_login"
SIGN_IN: Final = "/sign-in"
API: Final = "/api/"
CSRF_HEADER: Final = "x-myoguard-csrf"
FORBIDDEN, UNAUTHORISED, SEE_OTHER, UNUSABLE = 403, 401, 303, 500
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# NiceGUI compiles its templates in the browser and writes scripts into the page: hence the two
# 'unsafe-'. Nothing is ever loaded from, or sent to, anywhere else.
_POLICY: Final = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
NOT_OURS: Final = "This page answers only to itself."


class ExposedError(Exception):
    """The page would be open to a network without asking anybody who they are."""


@dataclass(frozen=True, slots=True)
class Reach:
    """From where the page can be reached: at its address, and through a proxy as `public_url`."""

    host: str
    public_url: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host) and self.public_url is None

    @property
    def names(self) -> frozenset[str] | None:
        """What may stand in Host; None is anything, as a machine does not know all its names."""
        if not is_loopback(self.host):
            return None
        public = urlsplit(self.public_url or "").hostname
        return frozenset(
            {"localhost", "127.0.0.1", "::1", self.host, *([public] if public else ())}
        )

    @property
    def public_origin(self) -> str | None:
        return self.public_url

    @property
    def is_encrypted(self) -> bool:
        return bool(self.public_url and self.public_url.startswith("https:"))


def refuse_exposure(reach: Reach, accounts: Accounts) -> None:
    """Raises ExposedError where a network could use a page that asks nobody who they are."""
    if reach.is_local or accounts.all():
        return
    key, value = (
        ("host", reach.host) if not is_loopback(reach.host) else ("public_url", reach.public_url)
    )
    raise ExposedError(
        f"page.{key} is {value}, which others reach, and there are no accounts in {accounts.path}: "
        "add one with `myoguard account add NAME --role technician`, or serve the page on 127.0.0.1"
    )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Gate:
    """ASGI around the whole application."""

    def __init__(self, application: ASGIApp, reach: Reach, logins: Logins) -> None:
        self._application = application
        self._reach = reach
        self._logins = logins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        answer = self._pass(scope) or self._application
        await answer(scope, receive, _with_policy(send))

    def _pass(self, scope: Scope) -> Response | None:
        """The refusal, if it is one; notes in the scope who asks."""
        request = HTTPConnection(scope)
        if not self._is_ours(request.headers, must_say=_does_something(scope)):
            return PlainTextResponse(NOT_OURS, FORBIDDEN)
        try:
            login = self._logins.who(request.cookies.get(COOKIE))
        except AccountError as error:
            return PlainTextResponse(str(error), UNUSABLE)
        scope.setdefault("state", {}).update(login=login, logins=self._logins, reach=self._reach)
        path = scope["path"]
        if path == SIGN_IN:
            return None
        if login is None:
            return _turn_away(scope)
        if scope.get("method", "GET") not in _SAFE and path.startswith(API):
            said = request.headers.get(CSRF_HEADER, "")
            if not secrets.compare_digest(said.encode(), login.csrf.encode()):
                return PlainTextResponse(
                    "This is not from a page of ours: load it again.", FORBIDDEN
                )
        return None

    def _is_ours(self, headers: Headers, *, must_say: bool) -> bool:
        host, origin = headers.get("host", ""), headers.get("origin")
        names = self._reach.names
        try:
            if names is not None and urlsplit(f"//{host}").hostname not in names:
                return False
            if origin is None:
                return not must_say
            return urlsplit(origin).netloc == host or origin == self._reach.public_origin
        except ValueError:  # an address in brackets that is none
            return False


def _does_something(scope: Scope) -> bool:
    return scope["type"] == "websocket" or scope["method"] not in _SAFE


def _turn_away(scope: Scope) -> Response:
    is_view = not scope["path"].startswith((API, "/_nicegui"))
    if scope["type"] == "http" and scope["method"] == "GET" and is_view:
        query = scope["query_string"].decode("latin-1")
        wanted = scope["path"] + (f"?{query}" if query else "")
        return RedirectResponse(f"{SIGN_IN}?to={quote(wanted, safe='')}", SEE_OTHER)
    return PlainTextResponse("Sign in first.", UNAUTHORISED)


def _with_policy(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = _POLICY
            headers["X-Content-Type-Options"] = "nosniff"
            # Not `no-referrer`, under which a form of ours would say that its Origin is null.
            headers["Referrer-Policy"] = "same-origin"
        await send(message)

    return send_with_policy


def login_of(scope_state: object) -> Login:
    """Who sends a request that the gate let pass."""
    login = getattr(scope_state, "login", None)
    if not isinstance(login, Login):
        raise TypeError("the gate lets nobody pass without a login")
    return login
