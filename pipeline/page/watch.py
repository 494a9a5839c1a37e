"""The page's own beat: compose the fleet four times a second and hand it to every open browser.

May import `archive`, `actions`, `board`, `fleet`, `pulse`, `history`, `charts`; knows nothing of
NiceGUI, only of viewers. One message is made for all of them. While nobody looks, nothing is read
or made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import orjson

from pipeline.model import Alarm, DeviceId, DeviceStatus
from pipeline.page import alarm_lines, charts, pulse
from pipeline.page.actions import Pending
from pipeline.page.alarm_lines import NS_PER_S, AlarmLine
from pipeline.page.archive import Archive
from pipeline.page.board import LiveBoard, alarm_key
from pipeline.page.fleet import Fleet, Stored, Tile, compose
from pipeline.page.history import History, make_history
from pipeline.page.sightings import Sightings
from pipeline.sites import SiteTable

TICK_S = 0.25  # the hop: nothing changes faster
STORE_S = 1.0  # the store's checkpoint: nothing in it changes faster
WINDOW_NS = 300_000_000_000  # a gun's last minutes: five. Engineering choice, ten spots of 30 s
PAST_MAX = 20  # past alarms listed with a gun
ALARMS_MAX = 300  # in the list of all: more than anybody reads; the others are counted


@dataclass(frozen=True, slots=True)
class Identity:
    """What a gun says it is."""

    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    head: str | None = None


@dataclass(frozen=True, slots=True)
class GunDetails:
    """One message to the browsers that look at one gun."""

    now_ms: int
    error: str | None
    gun: Tile
    identity: Identity
    alarms: tuple[AlarmLine, ...]
    past: tuple[AlarmLine, ...]
    has_values: bool


@dataclass(frozen=True, slots=True)
class AllAlarms:
    """One message to the browsers that look at the alarms: ALARMS_MAX, most urgent first."""

    now_s: int
    error: str | None
    alarms: tuple[AlarmLine, ...]
    standing: int


class Viewer(Protocol):
    """A browser with one of the pages open."""

    @property
    def connected(self) -> bool: ...

    def show(self, message: str) -> None:
        """The newest message, JSON of what the view shows; it replaces the last one."""


class GunViewer(Viewer, Protocol):
    gun: DeviceId

    def draw(self, changes: charts.Options) -> None:
        """Bring the charts up to date."""


class Watch:
    """What the pages show, and to whom. Belongs to one event loop."""

    def __init__(
        self,
        board: LiveBoard,
        archive: Archive,
        sites: SiteTable,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._board = board
        self._archive = archive
        self._sites = sites
        self._clock_ns = clock_ns
        self._sightings = Sightings()
        self._stored = Stored()
        self._read_at_s: float | None = None
        self._histories: dict[DeviceId, History] = {}
        self._past: dict[DeviceId, tuple[AlarmLine, ...]] = {}
        self.pending = Pending()
        self._pulse_text = ""
        self.header_viewers: set[Viewer] = set()  # every open page has one
        self.fleet_viewers: set[Viewer] = set()
        self.alarm_viewers: set[Viewer] = set()
        self.gun_viewers: set[GunViewer] = set()

    async def run(self) -> None:
        """Read and show until cancelled. Neither waits for the other: no alarm waits for a disk."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_reading(), name="page reads the store")
            tasks.create_task(self._keep_showing(), name="page shows")

    async def fleet_message(self) -> str:
        """The fleet as it is now, for a page that opens."""
        await self._read_store()
        return _encode(self._compose())

    def pulse_message(self) -> str:
        """What the header shows now, for a page that opens."""
        return _encode(pulse.take(self._compose(), self._board.notice()))

    async def alarms_message(self) -> str:
        """The alarms as they are now, for a page that opens."""
        await self._read_store()
        return self._alarms_message(self._compose())

    def standing(self) -> list[Alarm]:
        """The alarms that are not cleared, as the pages show them."""
        return alarm_lines.standing(self._stored.alarms, self._board)

    async def guns_known(self) -> list[tuple[Tile, DeviceStatus | None]]:
        """Every gun that was ever seen, with what it last said of itself."""
        await self._read_store()
        statuses = {view.id: view.status for view in self._stored.guns} | dict(self._board.statuses)
        return [(t, statuses.get(DeviceId(t.clinic, t.device))) for t in self._compose().guns]

    async def gun(self, gun: DeviceId) -> tuple[str, charts.Options] | None:
        """A gun's message and charts, for a page that opens; None where it was never seen."""
        await self._read_store()
        if _tile_of(gun, self._compose()) is None:
            return None
        await self._read_history(gun)
        message = self._gun_message(gun, self._compose())
        return (message, charts.options(self._histories[gun])) if message is not None else None

    async def _keep_reading(self) -> None:
        while True:
            viewers = [viewer for viewer in self.gun_viewers if viewer.connected]
            if any(viewer.connected for viewer in self.header_viewers):
                await self._read_store()
                await self._draw(viewers)
            await asyncio.sleep(STORE_S)

    async def _keep_showing(self) -> None:
        due_s = time.monotonic()
        while True:
            self._show()
            due_s = max(due_s + TICK_S, time.monotonic())  # a late tick is not made up for
            await asyncio.sleep(due_s - time.monotonic())

    def _show(self) -> None:
        headers = _connected(self.header_viewers)
        if not headers:
            self._sightings.forget()  # what comes while nobody looks is not seen coming
            return
        fleet = self._compose()
        text = _encode(pulse.take(fleet, self._board.notice()))
        if text != self._pulse_text:
            self._pulse_text = text
            _tell(headers, text)
        if fleet_viewers := _connected(self.fleet_viewers):
            _tell(fleet_viewers, _encode(fleet))
        if alarm_viewers := _connected(self.alarm_viewers):
            _tell(alarm_viewers, self._alarms_message(fleet))
        gun_viewers = [viewer for viewer in self.gun_viewers if viewer.connected]
        details = {gun: self._gun_message(gun, fleet) for gun in {v.gun for v in gun_viewers}}
        for gun_viewer in gun_viewers:
            if (message_of_gun := details[gun_viewer.gun]) is not None:
                gun_viewer.show(message_of_gun)

    async def _draw(self, viewers: list[GunViewer]) -> None:
        for gun in self._histories.keys() - {viewer.gun for viewer in self.gun_viewers}:
            del self._histories[gun]
            self._past.pop(gun, None)
        for gun in {viewer.gun for viewer in viewers}:
            await self._read_history(gun)
            changes = charts.changes(self._histories[gun])
            for viewer in viewers:
                if viewer.gun == gun and viewer in self.gun_viewers:  # it may just have left
                    viewer.draw(changes)

    async def _read_store(self) -> None:
        """Read the store, unless somebody just did."""
        now_s = time.monotonic()
        if self._read_at_s is not None and now_s - self._read_at_s < STORE_S / 2:
            return
        self._read_at_s = now_s
        stored = await self._archive.fleet()
        # What was read before a fault still stands as far as anybody knows, and grows old visibly.
        self._stored = replace(self._stored, error=stored.error) if stored.error else stored

    async def _read_history(self, gun: DeviceId) -> None:
        """A gun's last minutes up to its newest stored second."""
        seconds = (v.latest for v in self._stored.guns if v.id == gun and v.latest is not None)
        newest = next(seconds, None)
        to_ns = newest.last.t_ns if newest is not None else self._clock_ns()
        from_ns = to_ns - WINDOW_NS
        rows = await self._archive.seconds(gun, from_ns, to_ns + 1)
        transitions = await self._archive.transitions(gun, from_ns)
        own = self._alarms_of(gun)
        self._histories[gun] = make_history(rows, transitions, own, self._sites, from_ns, to_ns)
        gun_now_ns = self._sightings.gun_now_ns(gun, self._clock_ns())
        past = alarm_lines.cleared([transition.alarm for transition in transitions], own)
        self._past[gun] = tuple(alarm_lines.to_line(a, gun_now_ns) for a in past[:PAST_MAX])

    def _alarms_of(self, gun: DeviceId) -> list[Alarm]:
        return [alarm for alarm in self.standing() if alarm.id == gun]

    def _compose(self) -> Fleet:
        now_ns = self._clock_ns()
        asked = self.pending.settle(self.standing(), now_ns / NS_PER_S)
        return compose(self._stored, self._board, self._sites, self._sightings, now_ns, asked)

    def _lines(self, alarms: Iterable[Alarm]) -> tuple[AlarmLine, ...]:
        now_ns = self._clock_ns()
        alarms = list(alarms)
        asked = self.pending.settle(self.standing(), now_ns / NS_PER_S)
        return tuple(
            alarm_lines.to_line(
                alarm, self._sightings.gun_now_ns(alarm.id, now_ns), asked.get(alarm_key(alarm))
            )
            for alarm in alarms
        )

    def _alarms_message(self, fleet: Fleet) -> str:
        standing = self.standing()
        lines = self._lines(standing[:ALARMS_MAX])
        return _encode(AllAlarms(fleet.now_ms // 1_000, fleet.error, lines, len(standing)))

    def _gun_message(self, gun: DeviceId, fleet: Fleet) -> str | None:
        tile = _tile_of(gun, fleet)
        if tile is None:
            return None
        history = self._histories.get(gun)
        details = GunDetails(
            now_ms=fleet.now_ms,
            error=fleet.error,
            gun=tile,
            identity=self._identity(gun),
            alarms=self._lines(self._alarms_of(gun)),
            past=self._past.get(gun, ()),
            has_values=history is not None and bool(history.rows),
        )
        return _encode(details)

    def _identity(self, gun: DeviceId) -> Identity:
        stored = (view.status for view in self._stored.guns if view.id == gun)
        status = self._board.statuses.get(gun) or next(stored, None)
        if status is None:
            return Identity()
        return Identity(status.model, status.serial, status.firmware, status.head)


def _tile_of(gun: DeviceId, fleet: Fleet) -> Tile | None:
    return next((tile for tile in fleet.guns if (tile.clinic, tile.device) == gun), None)


def _connected(viewers: Iterable[Viewer]) -> list[Viewer]:
    return [viewer for viewer in viewers if viewer.connected]


def _tell(viewers: Iterable[Viewer], message: str) -> None:
    for viewer in viewers:
        viewer.show(message)


def _encode(message: Fleet | GunDetails | AllAlarms | pulse.Pulse) -> str:
    return orjson.dumps(message).decode()
