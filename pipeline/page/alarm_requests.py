"""What browsers ask about alarms beside looking: to do something with one, and for the past ones.

May import `actions`, `archive`, `gate`, `watch`, the store's filter and FastAPI. The server decides
here what a role may do, whatever the page offered.
"""

from __future__ import annotations

import time
from typing import Annotated, cast

from fastapi import APIRouter, Body, Path, Query, Request
from nicegui import app
from starlette.responses import PlainTextResponse, Response

from pipeline.model import ActionKind, Alarm, AlarmAction, DeviceId, Priority
from pipeline.page import alarm_lines
from pipeline.page.actions import (
    NOTE_LENGTH_MAX,
    ROLE_OF,
    SHELF_MIN_MAX,
    ErrandError,
    Errands,
    offered,
)
from pipeline.page.archive import Archive
from pipeline.page.frame import watch_of_app
from pipeline.page.gate import API, FORBIDDEN, login_of
from pipeline.page.json_response import JsonOf
from pipeline.store import AlarmFilter, StoreError

ACCEPTED, UNPROCESSABLE, CONFLICT, UNAVAILABLE = 202, 422, 409, 503
PAGE_ROWS = 100
_NAME = r"^[A-Za-z0-9_-]{1,64}$"
_NS_PER_MIN = 60_000_000_000
_NS_PER_H = 60 * _NS_PER_MIN

router = APIRouter(prefix=API.rstrip("/"))
Name = Annotated[str, Path(pattern=_NAME)]
OptionalName = Annotated[str | None, Query(pattern=_NAME)]


@router.post("/alarms/{clinic}/{device}/{rule}")
def act(
    request: Request,
    clinic: Name,
    device: Name,
    rule: Name,
    action: Annotated[ActionKind, Body()],
    alarm_id: Annotated[str, Body(max_length=256)],
    note: Annotated[str, Body(max_length=NOTE_LENGTH_MAX)] = "",
    minutes: Annotated[int | None, Body(ge=1, le=SHELF_MIN_MAX)] = None,
) -> Response:
    """Send an action to the broker. 202 is sent: what came of it, the alarm says."""
    login, role = login_of(request.state), ROLE_OF[action]
    if not login.may(role):
        return PlainTextResponse(
            f"To {action} an alarm takes a {role}; {login.name} is a {login.role}.", FORBIDDEN
        )
    if action is ActionKind.SHELVE and not (minutes and note.strip()):
        return PlainTextResponse("Say for how long it is shelved, and why.", UNPROCESSABLE)
    alarm = _find(DeviceId(clinic, device), rule, alarm_id)
    if alarm is None or action not in offered(alarm):
        return PlainTextResponse("The alarm has changed: look at it again.", CONFLICT)
    now_ns = time.time_ns()
    until_ns = now_ns + minutes * _NS_PER_MIN if minutes and action is ActionKind.SHELVE else None
    said = AlarmAction(alarm.id, rule, action, login.name, now_ns, note.strip(), until_ns)
    errands = cast("Errands | None", app.state.errands)
    try:
        if errands is None:
            raise ErrandError("This page only shows: there is no pipeline behind it.")
        errands.act(said)
    except ErrandError as error:
        return PlainTextResponse(str(error), UNAVAILABLE)
    watch_of_app().pending.ask(said, alarm, now_ns / alarm_lines.NS_PER_S)
    return PlainTextResponse("Sent.", ACCEPTED)


@router.get("/alarms/past")
async def past(
    clinic: OptionalName = None,
    device: OptionalName = None,
    rule: OptionalName = None,
    priority: Priority | None = None,
    operator: Annotated[str | None, Query(max_length=256)] = None,
    hours: Annotated[float | None, Query(gt=0, le=24 * 3_650)] = None,
    before: Annotated[int | None, Query(ge=0)] = None,
) -> Response:
    """Transitions, newest first; `before` is the position of the last one that is known."""
    from_ns = time.time_ns() - round(hours * _NS_PER_H) if hours else None
    wanted = AlarmFilter(
        clinic=clinic or None,
        device=device or None,
        rule=rule or None,
        priority=priority,
        operator=operator or None,
        from_ns=from_ns,
        before=before,
    )
    archive = cast("Archive", app.state.archive)
    try:
        found = await archive.past(wanted, PAGE_ROWS)
    except StoreError as error:
        return PlainTextResponse(f"The store cannot be read: {error}.", UNAVAILABLE)
    lines = [alarm_lines.to_past(each.position, each.alarm) for each in found]
    return JsonOf({"rows": lines, "more": len(found) == PAGE_ROWS})


def _find(gun: DeviceId, rule: str, alarm_id: str) -> Alarm | None:
    """That very alarm: what was clicked must not acknowledge another that came in between."""
    for alarm in watch_of_app().standing():
        if (alarm.id, alarm.rule, alarm.alarm_id) == (gun, rule, alarm_id):
            return alarm
    return None
