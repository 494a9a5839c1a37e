"""The page on a free port, a window on it, and guns to show, for the tests of the page."""

from __future__ import annotations

import asyncio
import http.client
import re
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, StorageState, expect, sync_playwright
from servers import DEADLINE_S, HOST, free_port
from store_records import GUN, HOP_NS, T0_NS, alarm, hop, status

from pipeline.accounts import Accounts
from pipeline.model import (
    Alarm,
    AlarmState,
    DeviceId,
    Features,
    Live,
    LiveGun,
    MotorState,
    Record,
)
from pipeline.page import LiveBoard, Place, Sources, serve
from pipeline.store import Store

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DEADLINE_MS = 60_000  # a page on a machine that is busy with other things
WALL = {"width": 1400, "height": 900}
PHONE = {"width": 390, "height": 844}
expect.set_options(timeout=DEADLINE_MS)


def live_gun(t_ns: int = T0_NS, **changes: object) -> LiveGun:
    plain = LiveGun(t_ns, True, 31.0, 0.1, 4.0, 40.0, "s-01", "calf_left")
    return replace(plain, **changes)  # type: ignore[arg-type]


def put(board: LiveBoard, gun: LiveGun, device: DeviceId = GUN) -> None:
    board.put(Live(device.clinic, gun.t_ns, {device.device: gun}))


class Served:
    """The page on a free port, its event loop in a thread of its own."""

    def __init__(self, directory: Path, *, public_url: str | None = None) -> None:
        self.directory = directory
        self.board = LiveBoard()
        self.accounts = Accounts(directory.parent / "accounts.json")
        self._public_url = public_url
        self.port = free_port()
        self.address = f"http://{HOST}:{self.port}"
        self.error: BaseException | None = None
        self.talking: dict[DeviceId, LiveGun] = {}
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop, started = asyncio.get_running_loop(), asyncio.Event()
        self._task = asyncio.create_task(
            serve(
                Sources(self.board, self.directory),
                Place(HOST, self.port, self.accounts, self._public_url),
                started=started,
            )
        )
        self._talk()
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({self._task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        self._started.set()
        try:
            await self._task
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - for the test to raise
            self.error = error

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(DEADLINE_S)
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the page did not stop when cancelled"
        if self.error is not None:
            raise self.error

    def tell(self, news: Live | Alarm) -> None:
        """Put on the board in the thread it belongs to."""
        if isinstance(news, Live):
            self._loop.call_soon_threadsafe(self.board.put, news)
        else:
            self._loop.call_soon_threadsafe(self.board.alarm, news)

    def run(self, work: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def _talk(self) -> None:
        """The guns in `talking` say the same again, as guns do: what is silent is not shown."""
        for gun, values in tuple(self.talking.items()):
            put(self.board, replace(values, t_ns=time.time_ns()), gun)
        self._loop.call_later(0.25, self._talk)


@contextmanager
def serving(directory: Path) -> Iterator[Served]:
    served = Served(directory)
    served.start()
    try:
        yield served
    finally:
        served.stop()


@contextmanager
def window(
    browser: Browser,
    address: str,
    size: dict[str, int],
    script: str = "",
    login: StorageState | None = None,
) -> Iterator[Page]:
    """A window on an address; fails on an error of a script and on a request to anywhere else.

    `script` runs in it before those of the page; `login` is what another window kept.
    """
    context = browser.new_context(viewport=size, storage_state=login)  # type: ignore[arg-type]
    context.set_default_timeout(DEADLINE_MS)
    faults: list[str] = []
    page = context.new_page()
    page.add_init_script(script)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: _note_error(said.text, faults))
    page.on("request", lambda request: _note_foreign(request.url, faults))
    try:
        page.goto(address)
        yield page
        assert faults == []
    finally:
        context.close()


def _note_error(said: str, faults: list[str]) -> None:
    """What Vue caught and only told the console."""
    if re.match(r"\w*Error: ", said):
        faults.append(said)


def _note_foreign(url: str, faults: list[str]) -> None:
    if not url.startswith((f"http://{HOST}:", f"ws://{HOST}:", "data:", "blob:")):
        faults.append(f"asked for {url}")


def session_hops(gun: DeviceId, now_ns: int, **changes: object) -> list[Features]:
    """A minute of one gun in a session, up to `now_ns`."""
    plain = hop(
        now_ns,
        gun,
        contact_force_n=38.4,
        contact_force_n_sd=2.0,
        stiffness=0.1,
        dwell_s=12.0,
        percussion_hz=40.0,
        session_id="s-01",
        operator="op-7",
        site="calf_left",
        battery_mv=7400,
        calibrated=True,
    )
    plain = replace(plain, **changes)  # type: ignore[arg-type]
    return [replace(plain, t_ns=now_ns - back * HOP_NS) for back in reversed(range(240))]


def write_eight(store: Store, served: Served | None = None) -> list[DeviceId]:
    """Eight guns of two clinics: one pressed too hard, one offline, one resting; the rest talk."""
    now_ns = time.time_ns()
    guns = [DeviceId("north" if i < 6 else "riverside", f"gun-{i}") for i in range(8)]
    records: list[Record] = []
    for gun in guns[:6]:
        records += [status(True, gun), *session_hops(gun, now_ns)]
    records += [status(False, guns[6]), *session_hops(guns[6], now_ns)]
    resting = {"motor": MotorState.OFF, "contact": False, "session_id": None, "percussion_hz": 0.0}
    records += [status(True, guns[7]), *session_hops(guns[7], now_ns, **resting)]
    records.append(raise_pressure(guns[3], now_ns))
    store.checkpoint(records, b"")
    if served is not None:
        served.talking = dict.fromkeys(guns[:6], live_gun(contact_force_n=38.4, dwell_s=12.0))
    return guns


def raise_pressure(gun: DeviceId, now_ns: int, **changes: object) -> Alarm:
    raised = alarm("EXCESS_PRESSURE", AlarmState.ACTIVE_UNACK, now_ns, gun, raised_at_ns=now_ns)
    return replace(raised, **changes)  # type: ignore[arg-type]


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS, headless=True
        )


CUT_OFF = """() => [...document.querySelectorAll(".tile, .chip, .alarm, .top, .header, .banner")]
  .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.textContent)"""

# Every piece of text whose contrast with what it stands on is under 4.5:1 (WCAG 2.2, 1.4.3 AA).
TOO_FAINT = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    throw new Error("no ground under " + element.outerHTML);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (!text || element.matches("style, script, option, .nicegui-error-popup *")) continue;
    if (!element.checkVisibility({ checkOpacity: true })) continue;
    const style = getComputedStyle(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(channels(ink)), light(ground(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.push(`${text}: ${contrast.toFixed(2)}`);
  }
  return found;
}"""

# Whatever can be clicked and never had the focus; of radio buttons a Tab finds but one.
FOCUSABLE = """[...document.querySelectorAll("a[href], button, input, select, textarea")].length"""
UNREACHED = """() => [...document.querySelectorAll("a[href], button, input, select, textarea")]
  .filter((each) => !each.reached && !each.disabled && each.type !== "radio")
  .filter((each) => each.checkVisibility())
  .map((each) => each.outerHTML.slice(0, 200))"""


def serious(page: Page) -> list[str]:
    """What axe-core finds of serious or critical impact."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]


def unreached(page: Page) -> list[str]:
    """What can be clicked, and that no Tab leads to."""
    found = set(page.evaluate(UNREACHED))
    for _ in range(3):  # rounds: a live page brings up new things behind the focus, or loads anew
        page.evaluate("addEventListener('focusin', ({ target }) => { target.reached = true; })")
        for _ in range(len(found) and page.evaluate(FOCUSABLE)):
            page.keyboard.press("Tab")
        found &= set(page.evaluate(UNREACHED))
    return sorted(found)
    return sorted(found)


def answer(served: Served, path: str = "/", **headers: str) -> int:
    connection = http.client.HTTPConnection(HOST, served.port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()
