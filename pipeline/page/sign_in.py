"""The page to sign in at: plain HTML, no script, nothing behind it is told before one is in.

May import `gate`, `logins` and FastAPI.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from pipeline.page.gate import API, COOKIE, SEE_OTHER, SIGN_IN
from pipeline.page.logins import LASTS_S, Logins, TooManyAttemptsError

UNAUTHORISED, TOO_MANY = 401, 429
_COOKIE_S = max(LASTS_S.values())  # the server says when a login is over; the cookie may outlive it
_CSS = (files(__package__) / "assets" / "page.css").read_text("utf-8")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in · MyoGuard</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>{css}</style></head><body class="gatehouse"><main>
<h1><svg viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="16" r="15"/>
<path d="M4 17h6l3-8 5 15 4-10 2 3h4"/></svg>MyoGuard</h1>
{complaint}
<form method="post" action="{action}">
<label>Name <input name="name" autocomplete="username" value="{name}" maxlength="64" required
 autocapitalize="none" spellcheck="false" {focus_name}></label>
<label>Password <input name="password" type="password" autocomplete="current-password"
 maxlength="1024" required {focus_password}></label>
<input type="hidden" name="to" value="{to}">
<button type="submit" class="primary">Sign in</button></form>
<p>Accounts are made on the machine that runs MyoGuard, with <code>myoguard account add</code>.</p>
<p>Not a medical device.</p>
</main></body></html>"""

router = APIRouter()


@router.get(SIGN_IN)
def show(request: Request, to: str = "/") -> Response:
    if request.state.login is not None:
        return RedirectResponse(_own(to), SEE_OTHER)
    return _page(to=to)


@router.post(SIGN_IN)
async def sign_in(
    request: Request,
    name: Annotated[str, Form(max_length=64)],
    password: Annotated[str, Form(max_length=1_024)],
    to: Annotated[str, Form(max_length=2_048)] = "/",
) -> Response:
    logins: Logins = request.state.logins
    address = request.client.host if request.client is not None else ""
    try:
        token = await logins.sign_in(name, password, address)
    except TooManyAttemptsError as error:
        page = _page("Too many attempts. Wait a few minutes, then try again.", name, to, TOO_MANY)
        page.headers["Retry-After"] = f"{error.seconds:.0f}"
        return page
    if token is None:
        return _page("Name or password is wrong.", name, to, UNAUTHORISED)
    answer = RedirectResponse(_own(to), SEE_OTHER)
    answer.set_cookie(
        COOKIE,
        token,
        max_age=_COOKIE_S,
        httponly=True,
        samesite="lax",
        secure=request.state.reach.is_encrypted,
    )
    return answer


@router.post(f"{API}sign-out")
def sign_out(request: Request) -> Response:
    request.state.logins.sign_out(request.cookies.get(COOKIE, ""))
    answer = JSONResponse({"to": SIGN_IN})
    answer.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return answer


def _page(complaint: str = "", name: str = "", to: str = "/", status: int = 200) -> Response:
    said = f'<p class="notice" role="alert">{escape(complaint)}</p>' if complaint else ""
    content = _PAGE.format(
        css=_CSS,
        complaint=said,
        action=SIGN_IN,
        name=escape(name),
        to=escape(_own(to)),
        focus_name="" if name else "autofocus",
        focus_password="autofocus" if name else "",
    )
    return HTMLResponse(content, status, {"Cache-Control": "no-store"})


def _own(path: str) -> str:
    """A path of ours; `//elsewhere` and `/\\elsewhere` are not."""
    ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if ours else "/"
