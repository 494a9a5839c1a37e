"""The technician's view and its requests: guns to configure, calibration, configuration, health,
test.

May import `frame`, `gate`, `workshop`, `archive`, `watch`, FastAPI and NiceGUI. Every request asks
for the role anew.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from base64 import b64encode
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final, cast

from fastapi import APIRouter, Body, Depends, HTTPException, Request
from nicegui import app, ui
from nicegui.element import Element
from starlette.datastructures import UploadFile
from starlette.responses import PlainTextResponse, Response

from pipeline.accounts import Role
from pipeline.model import DeviceId, DeviceStatus
from pipeline.page.archive import Archive
from pipeline.page.fleet import Tile
from pipeline.page.frame import frame, watch_of_app
from pipeline.page.gate import API, FORBIDDEN, login_of
from pipeline.page.json_response import JsonOf
from pipeline.page.logins import Login
from pipeline.page.workshop import TEST_GUN, Fact, Proposal, Workshop, WorkshopError
from pipeline.store import StoreError

TOO_LARGE, LENGTH_REQUIRED, UNPROCESSABLE, CONFLICT, GONE, UNAVAILABLE = (
    413,
    411,
    422,
    409,
    410,
    503,
)
# Engineering choice: an hour at the bench is 46 MB as samples, before it is compressed.
UPLOAD_BYTES_MAX: Final = 64 * 2**20
COPY_BYTES: Final = 2**20
BUSY: Final = "Another bench is being fitted: try again in a minute."


@dataclass(frozen=True, slots=True)
class _Kept:
    key: str
    proposal: Proposal
    directory: Path


class Bench:
    """At most one fit at a time, and one proposal that waits to be accepted."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._kept: _Kept | None = None

    def keep(self, proposal: Proposal, directory: Path) -> str:
        self.clear()
        self._kept = _Kept(secrets.token_urlsafe(8), proposal, directory)
        return self._kept.key

    def find(self, key: str) -> _Kept | None:
        return self._kept if self._kept is not None and self._kept.key == key else None

    def clear(self) -> None:
        if self._kept is not None:
            shutil.rmtree(self._kept.directory, ignore_errors=True)
        self._kept = None


bench: Final = Bench()


class TechnicianBoard(
    Element, component="assets/technician_board.js", dependencies=["assets/myoguard_parts.js"]
):
    """It asks for what it shows."""


@ui.page("/technician")
async def technician_page(request: Request) -> None:
    with frame(request, "Technician", here="/technician", role=Role.TECHNICIAN) as login:
        if login is not None:
            TechnicianBoard()


def _technician(request: Request) -> Login:
    login = login_of(request.state)
    if not login.may(Role.TECHNICIAN):
        raise HTTPException(FORBIDDEN, f"This takes a technician; {login.name} is a {login.role}.")
    return login


def _workshop() -> Workshop:
    workshop = cast("Workshop | None", app.state.workshop)
    if workshop is None:
        raise HTTPException(UNAVAILABLE, "This page only shows: there is no pipeline behind it.")
    return workshop


router = APIRouter(prefix=f"{API}technician")
Technician = Annotated[Login, Depends(_technician)]
TheWorkshop = Annotated[Workshop, Depends(_workshop)]


@router.get("/state")
async def state(_technician: Technician, workshop: TheWorkshop) -> Response:
    guns = [_gun(*known, workshop.models) for known in await watch_of_app().guns_known()]
    guns = [gun for gun in guns if gun["device"] != TEST_GUN]
    guns.sort(key=lambda gun: not gun["wants"])
    return JsonOf({"guns": guns, "facts": [*workshop.facts(), *await _store()]})


@router.get("/configuration")
async def configuration(_technician: Technician, workshop: TheWorkshop) -> Response:
    return JsonOf({"rows": workshop.configuration()})


@router.post("/bench")
async def fit(request: Request, _technician: Technician, workshop: TheWorkshop) -> Response:
    """A recording and a load cell's log in, a fit out; nothing is changed yet."""
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        return PlainTextResponse("Say how long it is.", LENGTH_REQUIRED)
    if int(length) > UPLOAD_BYTES_MAX:
        return PlainTextResponse(
            f"The files are over {UPLOAD_BYTES_MAX >> 20} MB: record a shorter bench.", TOO_LARGE
        )
    if bench.lock.locked():
        return PlainTextResponse(BUSY, CONFLICT)
    async with bench.lock:
        directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="myoguard-bench-"))
        try:
            await _save_uploads(request, directory)
            recording, loadcell = directory / "recording.parquet", directory / "loadcell.csv"
            proposal = await workshop.fit(recording, loadcell, directory)
        except BaseException as error:
            shutil.rmtree(directory, ignore_errors=True)
            if isinstance(error, WorkshopError):
                return PlainTextResponse(_sentence(error), UNPROCESSABLE)
            raise
        key = bench.keep(proposal, directory)
    shown = asdict(proposal) | {"picture": b64encode(proposal.picture).decode(), "key": key}
    return JsonOf(shown)


@router.post("/bench/accept")
async def accept(
    _technician: Technician, workshop: TheWorkshop, key: Annotated[str, Body(embed=True)]
) -> Response:
    """Write it, and judge by it from now on."""
    kept = bench.find(key)
    if kept is None:
        return PlainTextResponse("That fit is gone: upload the bench again.", GONE)
    gun = DeviceId(kept.proposal.clinic, kept.proposal.device)
    try:
        path = workshop.accept(kept.directory, gun)
    except WorkshopError as error:
        return PlainTextResponse(_sentence(error), UNPROCESSABLE)
    bench.clear()
    return JsonOf({"said": f"{gun} is calibrated from its next quarter of a second on: {path}"})


@router.post("/test-alarm")
async def test_alarm(
    technician: Technician,
    workshop: TheWorkshop,
    clinic: Annotated[str, Body(embed=True, pattern=r"^[A-Za-z0-9_-]{1,64}$")],
) -> Response:
    return JsonOf({"steps": await workshop.test_alarm(clinic, technician.name)})


async def _save_uploads(request: Request, directory: Path) -> None:
    """Raises WorkshopError where a file is missing."""
    async with request.form(max_files=2, max_fields=2) as form:
        for field, name in (("recording", "recording.parquet"), ("loadcell", "loadcell.csv")):
            upload = form.get(field)
            if not isinstance(upload, UploadFile) or not upload.size:
                raise WorkshopError(
                    "two files are needed: the gun's recording, the load cell's log"
                )
            with (directory / name).open("wb") as file:
                await asyncio.to_thread(shutil.copyfileobj, upload.file, file, COPY_BYTES)


def _gun(tile: Tile, status: DeviceStatus | None, models: frozenset[str]) -> dict[str, object]:
    wants = []
    if status is None or status.model is None:
        wants.append("it has not said what it is: check its birth message")
    elif status.model not in models:
        wants.append(f"no profile of model {status.model}: add one (profiles.directory)")
    if not tile.calibrated:
        wants.append("not calibrated: upload its bench below")
    return {
        "clinic": tile.clinic,
        "device": tile.device,
        "model": status.model if status else None,
        "serial": status.serial if status else None,
        "firmware": status.firmware if status else None,
        "head": status.head if status else None,
        "state": tile.state,
        "calibrated": tile.calibrated,
        "wants": wants,
    }


async def _store() -> list[Fact]:
    try:
        size = await cast("Archive", app.state.archive).size()
    except StoreError as error:
        return [Fact("Store", "Readable", "no", f"{error}.")]
    return [
        Fact("Store", "Size", f"{size.used_bytes / 1e6:,.1f} MB"),
        Fact("Store", "Not yet folded in", f"{size.log_bytes / 1e6:,.1f} MB"),
        Fact("Store", "Guns", f"{size.guns:,}"),
        Fact("Store", "Unreadable messages kept", f"{size.dead_letters:,}"),
        Fact("Store", "Waiting for InfluxDB", f"{size.spooled:,}"),
        Fact("Store", "Refused by InfluxDB", f"{size.influx_refused:,}"),
        Fact("Store", "Given up for want of room", f"{size.spool_dropped:,}"),
    ]


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."
