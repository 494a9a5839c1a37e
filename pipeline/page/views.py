"""The pages as NiceGUI builds them: one custom element each, fed by the Watch.

May import `watch`, `charts`, `model` and NiceGUI. An element is given whole
messages as text and draws what differs; nothing here makes an element a gun. What comes in by URL
is checked here; what comes from the network is drawn as text by Vue, never as HTML.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import cast

from nicegui import app, ui
from nicegui.element import Element

from pipeline.model import DeviceId
from pipeline.page import charts
from pipeline.page.watch import Watch

IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")  # telemetry.md: {clinic}, {device}
NOT_FOUND = 404
_STYLE = f"<style>{(files(__package__) / 'assets' / 'page.css').read_text('utf-8')}</style>"


class MessagePanel(Element):
    """An element that draws the last message it was given."""

    @property
    def connected(self) -> bool:
        # A page that was fetched but never opened, or whose connection is cut, would only queue.
        return self.client.has_socket_connection

    def show(self, message: str) -> None:
        self._props["message"] = message


class FleetBoard(
    MessagePanel,
    component="assets/fleet_board.js",
    dependencies=["assets/myoguard_parts.js"],
):
    """The whole fleet."""

    def __init__(self, message: str, clinic: str) -> None:
        super().__init__()
        self._props["clinic"] = clinic
        self.show(message)


class GunPanel(
    MessagePanel,
    component="assets/gun_panel.js",
    dependencies=["assets/myoguard_parts.js"],
):
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


@ui.page("/", title="MyoGuard")
async def fleet_page(clinic: str = "") -> None:
    _prepare()
    if clinic and not IDENTIFIER.fullmatch(clinic):
        _say_not_found("No clinic can have that name: letters, digits, _ and - make one.")
        return
    watch = _watch()
    board = FleetBoard(await watch.fleet_message(), clinic)
    watch.fleet_viewers.add(board)
    ui.context.client.on_delete(lambda: watch.fleet_viewers.discard(board))


@ui.page("/gun/{clinic}/{device}")
async def gun_page(clinic: str, device: str) -> None:
    _prepare()
    if not (IDENTIFIER.fullmatch(clinic) and IDENTIFIER.fullmatch(device)):
        _say_not_found("No gun can have that name: letters, digits, _ and - make one.")
        return
    gun = DeviceId(clinic, device)
    ui.page_title(f"{device} · MyoGuard")
    watch = _watch()
    found = await watch.gun(gun)
    if found is None:
        _say_not_found(f"No gun {gun} has been seen.")
        return
    panel = GunPanel(gun, *found)
    watch.gun_viewers.add(panel)
    ui.context.client.on_delete(lambda: watch.gun_viewers.discard(panel))


def not_found_page() -> None:
    """What any other address shows."""
    _prepare()
    _say_not_found("There is no such page.")


def _watch() -> Watch:
    """What `serve` put there before the first request."""
    return cast("Watch", app.state.watch)


def _prepare() -> None:
    ui.add_head_html(_STYLE)


def _say_not_found(sentence: str) -> None:
    ui.context.client.status_code = NOT_FOUND
    with ui.element("main").classes("lone"):
        ui.label(sentence).classes("empty")
        ui.link("All guns", "/").classes("back")
