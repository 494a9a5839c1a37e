"""docs/screens.md and its pictures: every view of the page, on a wall's screen and on a telephone.

    python -m benchmarks.draw_page [8] [200]

`myoguard run` watches a crowd of so many guns; once the first session is over, each view is taken
as it is. What takes long, eight guns recorded and at the bench, is kept in var/screens.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from benchmarks import crowd
from devices.recording import write_messages
from pipeline.accounts import Accounts, Role
from pipeline.calibration import to_toml
from pipeline.cli.demo_units import Units
from pipeline.features import Calibration
from pipeline.model import DeviceId
from pipeline.store import SessionFilter, StoreError, StoreReader
from tests import servers
from tests.clinic_log import SEED, clinic_log

ROOT: Final = Path(__file__).parents[1]
INTO: Final = ROOT / "docs" / "img" / "screens"
KEPT: Final = ROOT / "var" / "screens"
FLEETS: Final = (8, 200)
WIDTHS: Final[Mapping[int, int]] = {1400: 900, 390: 844}  # with the heights of their windows
HEIGHT_MAX: Final = 1_700  # of a picture: what comes below is more of the same
RECORDED_S: Final = 210.0  # two sessions of each of the eight
PATIENT_S: Final = 600.0  # on a machine that is busy with other things
COLOURS: Final = 256  # a PNG's palette
CHROMIUM: Final = "/usr/bin/chromium"
NAME: Final = "kim"
GUN: Final = crowd.gun_id(0)
SHOWN: Final = ROOT / "docs" / "screens.md"
PREFACE: Final = """# Every view of the page

At 1400 pixels and, to the right, at the 390 of a telephone. Taken, and this page written, by
`python -m benchmarks.draw_page`; tall pages are cut. What each view is for: [page.md](page.md).
"""
TITLES: Final[Mapping[str, str]] = {
    "sign-in": "Sign in",
    "fleet": "Fleet",
    "alarms": "Alarms",
    "gun": "A gun",
    "sessions": "Sessions",
    "session": "A session",
    "capture": "Black box",
    "report": "The report to print",
    "compare": "Two sessions",
    "what-if": "What if",
    "technician": "Technician",
}
SHOWN_PX: Final[Mapping[int, int]] = {1400: 560, 390: 156}  # how wide in the page of them all


@cache
def recording() -> Path:
    """What the demo's eight guns say in their first sessions."""
    path = KEPT / "clinic.parquet"
    if not path.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        write_messages(path, clinic_log(crowd.DEMO, RECORDED_S))
    return path


@cache
def calibrations() -> Mapping[DeviceId, Calibration]:
    """Of all eight: the bench leaves out the last, here a ninth."""
    units = Units(crowd.DEMO + 1, SEED, KEPT / "benches")
    with units.at_the_bench():
        recording()
    return units.calibrations()


def calibrate(guns: int, folder: Path) -> None:
    """All but the eighth, which shows what an uncalibrated gun looks like."""
    for number in range(guns):
        like = DeviceId("demo", f"gun-{crowd.part_of(number) + 1:02}")
        if number != crowd.DEMO - 1 and like in calibrations():
            unit = crowd.gun_id(number)
            path = folder / unit.clinic / f"{unit.device}.toml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(to_toml(calibrations()[like], unit), encoding="utf-8")


@contextmanager
def clinic(guns: int, directory: Path, password: str) -> Iterator[str]:
    """A page's address, once the first session is over."""
    accounts = Accounts(directory / "accounts.json")
    accounts.add(NAME, Role.TECHNICIAN, password)
    calibrate(guns, directory / "calibration")
    port = servers.free_port()
    with servers.mosquitto(directory / "broker", window=16_384) as broker:
        settings = {
            "BROKER__URL": broker.url,
            "STORE__DIRECTORY": directory / "store",
            "CALIBRATION__DIRECTORY": directory / "calibration",
            "PAGE__PORT": port,
            "PAGE__ACCOUNTS_FILE": accounts.path,
            "CAPTURE__SESSIONS": "true",
            "METRICS__ENABLED": "false",
        }
        own = {f"MYOGUARD_{name}": str(value) for name, value in settings.items()}
        address = f"http://{servers.HOST}:{port}"
        with (directory / "log").open("w") as log, running("pipeline.cli", "run", env=own, log=log):
            servers.until(lambda: _answers(address), "the page answers", PATIENT_S)
            with running("benchmarks.crowd", broker.port, guns, recording(), env={}, log=log):
                over = "the first session is over"
                servers.until(lambda: _has_ended(directory / "store"), over, PATIENT_S)
                yield address


@contextmanager
def running(
    module: str, *words: object, env: Mapping[str, str], log: io.TextIOBase
) -> Iterator[None]:
    command = [sys.executable, "-m", module, *map(str, words)]
    process = subprocess.Popen(command, env=os.environ | env, stderr=log)  # noqa: S603 -- ours
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, follow_redirects=True).is_success
    except httpx.TransportError:
        return False


def _has_ended(store: Path) -> bool:
    try:
        with StoreReader.open(store) as reader:
            found = reader.sessions(SessionFilter(clinic=GUN.clinic, device=GUN.device))
    except StoreError:
        return False
    return len(found) > 1 and found[-1].ended_at_ns is not None and found[0].contact_s > 0


def views(page: Page, address: str) -> dict[str, str]:
    """What there is to take, by name; sessions and a capture are found as anybody would."""
    page.goto(f"{address}/sessions?gun={GUN.device}&clinic={GUN.clinic}")
    links = page.locator(".session-link")
    links.first.wait_for()
    other, session = (links.nth(at).get_attribute("href") or "" for at in (-2, -1))
    page.goto(address + session)
    raw = page.get_by_role("link", name="Raw samples of Pressing too hard").first
    both = [re.sub(r"/session/(.*)\?id=", r"\1/", each) for each in (session, other)]
    return {
        "fleet": "/",
        "alarms": "/alarms",
        "gun": f"/gun/{GUN}",
        "sessions": "/sessions",
        "session": session,
        "capture": raw.get_attribute("href") or "",
        "report": page.get_by_role("link", name="Report").get_attribute("href") or "",
        "compare": f"/compare?a={both[0]}&b={both[1]}",
        "what-if": "/what-if",
        "technician": "/technician",
    }


def prepare(page: Page, view: str) -> None:
    """Until there is all of it; a trial that nobody made would be an empty form."""
    page.locator("main, .fleet, body > h1, article").first.wait_for()
    if view == "what-if":
        page.get_by_label("Site 1").select_option("quadriceps")
        page.get_by_label("Value 1 to try").fill("90")
        page.get_by_role("button", name="Try", exact=True).click()
        page.locator(".verdict-table").wait_for()
    if view in ("session", "capture", "compare", "gun"):
        page.locator(".charts svg path").first.wait_for(state="attached")
    if view == "session":
        page.get_by_text("The lowest panels show every sample").wait_for()
    if view == "capture":
        page.locator(".charts svg image").wait_for(state="attached")
    if view == "technician":
        page.get_by_text("connected since").first.wait_for()
    if view == "alarms":
        page.locator(".past tbody tr").first.wait_for()
    page.evaluate("document.fonts.ready.then(() => scrollTo(0, 0))")
    page.wait_for_timeout(1_500)  # a tick of the page, or some: what moves has come to rest


def take(page: Page, width: int, path: Path) -> None:
    height = min(page.evaluate("document.documentElement.scrollHeight"), HEIGHT_MAX)
    page.set_viewport_size({"width": width, "height": max(height, WIDTHS[width])})
    page.wait_for_timeout(500)
    page.locator(".notice").first.wait_for(state="detached")  # that it is old: it catches up
    keep(page.screenshot(), path)


def keep(png: bytes, path: Path) -> None:
    whole = KEPT / "whole" / path.name  # with all colours, to look at closely
    whole.parent.mkdir(parents=True, exist_ok=True)
    whole.write_bytes(png)
    taken = Image.open(io.BytesIO(png)).convert("RGB")
    few = taken.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    path.parent.mkdir(parents=True, exist_ok=True)
    few.save(path, optimize=True)
    print(
        f"{path.name:28} {few.width} x {few.height}, {path.stat().st_size // 1000} kB", flush=True
    )


def draw(browser: Browser, address: str, guns: int, password: str) -> None:
    for width, height in WIDTHS.items():
        size: ViewportSize = {"width": width, "height": height}
        context = browser.new_context(viewport=size)
        context.set_default_timeout(PATIENT_S * 1000)
        page = context.new_page()
        page.goto(address)
        page.get_by_label("Name").fill(NAME)
        if guns == FLEETS[0]:
            take(page, width, INTO / f"sign-in-{width}.png")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.locator(".header").wait_for()
        for view, path in views(page, address).items():
            page.set_viewport_size(size)
            page.goto(address + path)
            prepare(page, view)
            take(page, width, INTO / f"{view}-{guns}-{width}.png")
        context.close()


def show() -> None:
    """Write the page that shows the pictures there are."""
    parts = [PREFACE]
    for view, title in TITLES.items():
        parts.append(f"## {title}\n")
        for guns in (None, *FLEETS):
            names = {
                width: f"{view}-{guns}-{width}" if guns else f"{view}-{width}" for width in WIDTHS
            }
            shown = [
                f'<img src="img/screens/{name}.png" alt="{title}" width="{SHOWN_PX[width]}">'
                for width, name in names.items()
                if (INTO / f"{name}.png").exists()
            ]
            if shown:
                parts += [f"{guns} guns:\n"] if guns else []
                parts.append(" ".join(shown) + "\n")
    SHOWN.write_text("\n".join(parts), encoding="utf-8")


def main(fleets: tuple[int, ...]) -> None:
    password = secrets.token_urlsafe(12)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        for guns in fleets:
            with (
                tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
                clinic(guns, Path(directory), password) as address,
            ):
                draw(browser, address, guns, password)
    show()


if __name__ == "__main__":
    main(tuple(int(word) for word in sys.argv[1:]) or FLEETS)
