"""The frame around every view: header, ways to the other views, and who is signed in.

May import `logins`, `panels`, `watch` and NiceGUI. A view builds itself inside `frame(request, …)`.
To add one, add a row to DESTINATIONS; its role is checked here, on the server, each time it opens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Final, cast

from fastapi import Request
from nicegui import app, ui
from nicegui.client import Client
from nicegui.element import Element

from pipeline.accounts import Role
from pipeline.page.gate import FORBIDDEN, login_of
from pipeline.page.logins import Login, Logins
from pipeline.page.watch import Watch

SWEEP_S: Final = 1.0  # how long a page may stay open after its login is over
_STYLES: Final = ("page.css", "review.css")
_STYLE: Final = "".join(
    f"<style>{(files(__package__) / 'assets' / name).read_text('utf-8')}</style>"
    for name in _STYLES
)


@dataclass(frozen=True, slots=True)
class Destination:
    """A view that the header leads to. `icon` is a path on a grid of 24 × 24, drawn as a line."""

    path: str
    title: str
    icon: str
    role: Role = Role.VIEWER


DESTINATIONS: Final = (
    Destination("/", "Fleet", "M3 4h7v7H3zM14 4h7v7h-7zM3 14h7v6H3zM14 14h7v6h-7z"),
    Destination("/alarms", "Alarms", "M12 3a6 6 0 0 1 6 6v4l2 4H4l2-4V9a6 6 0 0 1 6-6zM10 20.5h4"),
    Destination("/sessions", "Sessions", "M3 12h4l3-8 4 16 3-8h4"),
    Destination("/what-if", "What if", "M12 3v4M5 21v-6l5-5h4l5 5v6M5 15h14", Role.THERAPIST),
    Destination(
        "/technician",
        "Technician",
        "M14.5 6.5a4 4 0 0 1 5-3.8l-2.7 2.7.9 1.9 1.9.9 2.7-2.7a4 4 0 0 1-5.3 5L8 19.5 4.5 16l9-9z",
        Role.TECHNICIAN,
    ),
)


class Panel(Element):
    """An element that draws the last message it was given; of a page whose login still stands."""

    @property
    def connected(self) -> bool:
        # A page that was fetched but never opened, or whose connection is cut, would only queue.
        return self.client.has_socket_connection and not presence.is_over(self.client)

    def show(self, message: str) -> None:
        self._props["message"] = message


class PageHeader(
    Panel, component="assets/page_header.js", dependencies=["assets/myoguard_parts.js"]
):
    """The header; its message is a Pulse."""

    def __init__(self, login: Login, here: str, message: str) -> None:
        super().__init__()
        self._props["login"] = {
            "name": login.name,
            "role": login.role,
            "csrf": login.csrf,
            "open": login.open,
        }
        self._props["here"] = here
        self._props["destinations"] = [
            asdict(each) for each in DESTINATIONS if login.may(each.role)
        ]
        self.show(message)


class Presence:
    """Whose the open pages are; pages of a login that is over are closed within SWEEP_S."""

    def __init__(self) -> None:
        self._logins_of: dict[Client, tuple[Logins, Login]] = {}

    def enter(self, client: Client, logins: Logins, login: Login) -> None:
        self._logins_of[client] = (logins, login)
        client.on_delete(lambda: self._logins_of.pop(client, None))

    def is_over(self, client: Client) -> bool:
        entered = self._logins_of.get(client)
        return entered is None or entered[0].is_over(entered[1])

    async def run(self) -> None:
        """Close what is over: ask the browser to load the page again, then cut it off."""
        asked: set[Client] = set()
        while True:
            await asyncio.sleep(SWEEP_S)
            over = {client for client in self._logins_of if self.is_over(client)}
            for client in over & asked:
                if client.has_socket_connection:  # NiceGUI forgets the others, once
                    client.delete()
            for client in over - asked:
                with client:
                    ui.run_javascript("location.reload()")
            asked = over - asked


presence: Final = Presence()


def watch_of_app() -> Watch:
    """What `serve` put there before the first request."""
    return cast("Watch", app.state.watch)


@contextmanager
def frame(
    request: Request, title: str = "", here: str = "", role: Role = Role.VIEWER
) -> Iterator[Login | None]:
    """The frame; gives the login, or None, after saying so, where it lacks the role."""
    login = login_of(request.state)
    client = ui.context.client
    presence.enter(client, request.state.logins, login)
    ui.page_title(f"{title} · MyoGuard" if title else "MyoGuard")
    ui.add_head_html(_STYLE)
    watch = watch_of_app()
    header = PageHeader(login, here, watch.pulse_message())
    watch.header_viewers.add(header)
    client.on_delete(lambda: watch.header_viewers.discard(header))
    if login.may(role):
        yield login
    else:
        say(f"This is for a {role}; {login.name} is a {login.role}.", FORBIDDEN)
        yield None
    with ui.element("footer").classes("foot"):
        ui.label(
            "Not a medical device. Massage is no substitute for training or medical care, and the "
            "evidence for it is modest."
        ).classes("plain")


def say(sentence: str, status: int) -> None:
    """A sentence where the view would be."""
    ui.context.client.status_code = status
    with ui.element("main").classes("lone"):
        ui.label(sentence).classes("empty")
        ui.link("All guns", "/").classes("back")
