"""The views of the fleet and of one gun: a custom element each, fed by the Watch.

May import `frame`, `watch`, `charts`, `model` and NiceGUI. An element is given whole messages as
text and draws what differs; nothing here makes an element a gun. What comes in by URL is checked
here; what comes from the network is drawn as text by Vue, never as HTML.
"""

from __future__ import annotations

import re

from fastapi import Request
from nicegui import ui

from pipeline.model import DeviceId
from pipeline.page import charts
from pipeline.page.frame import Panel, frame, say, watch_of_app

IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")  # telemetry.md: {clinic}, {device}
NOT_FOUND = 404


class FleetBoard(
    Panel, component="assets/fleet_board.js", dependencies=["assets/myoguard_parts.js"]
):
    """The whole fleet."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.show(message)


class AlarmBoard(
    Panel, component="assets/alarm_board.js", dependencies=["assets/myoguard_parts.js"]
):
    """Every alarm that stands, and the way to those that did."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.show(message)


class GunPanel(Panel, component="assets/gun_panel.js", dependencies=["assets/myoguard_parts.js"]):
    """One gun; the charts stand in its default slot."""

    def __init__(self, gun: DeviceId, message: str, options: charts.Options) -> None:
        super().__init__()
        self.gun = gun
        self.show(message)
        with self:
            self._chart = ui.echart(options, renderer="svg")
        self._chart.style(f"height: {charts.HEIGHT_PX}px")

    def draw(self, changes: charts.Options) -> None:
        self._chart.run_chart_method("setOption", changes)


@ui.page("/")
async def fleet_page(request: Request, clinic: str = "") -> None:
    watch = watch_of_app()
    message = await watch.fleet_message()
    with frame(request, here="/"):
        if clinic and not IDENTIFIER.fullmatch(clinic):
            say("No clinic can have that name: letters, digits, _ and - make one.", NOT_FOUND)
            return
        board = FleetBoard(message)
        watch.fleet_viewers.add(board)
        ui.context.client.on_delete(lambda: watch.fleet_viewers.discard(board))


@ui.page("/alarms")
async def alarms_page(request: Request) -> None:
    watch = watch_of_app()
    message = await watch.alarms_message()
    with frame(request, "Alarms", here="/alarms"):
        board = AlarmBoard(message)
        watch.alarm_viewers.add(board)
        ui.context.client.on_delete(lambda: watch.alarm_viewers.discard(board))


@ui.page("/gun/{clinic}/{device}")
async def gun_page(request: Request, clinic: str, device: str) -> None:
    watch = watch_of_app()
    gun = DeviceId(clinic, device)
    named = bool(IDENTIFIER.fullmatch(clinic) and IDENTIFIER.fullmatch(device))
    found = await watch.gun(gun) if named else None
    with frame(request, device if found else "", here="/"):
        if not named:
            say("No gun can have that name: letters, digits, _ and - make one.", NOT_FOUND)
        elif found is None:
            say(f"No gun {gun} has been seen.", NOT_FOUND)
        else:
            panel = GunPanel(gun, *found)
            watch.gun_viewers.add(panel)
            ui.context.client.on_delete(lambda: watch.gun_viewers.discard(panel))


def not_found_page(request: Request) -> None:
    """What any other address shows."""
    with frame(request):
        say("There is no such page.", NOT_FOUND)
