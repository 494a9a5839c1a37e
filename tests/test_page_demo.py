"""The page of a running `myoguard demo`, used as people use it: by clicking, on a wall's screen and
on a telephone.

One demo serves all of it. Its guns play in real time, so what needs little of them comes first.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from page_server import DEADLINE_MS, PHONE, TOO_FAINT, WALL, serious, unreached, window
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, StorageState, expect
from playwright.sync_api import TimeoutError as TooLate
from running_demo import READY_S_MAX, Demo, demo
from servers import Heard, listening, until
from visitor import PASSWORD

from devices.demo import demo_fleet
from pipeline.accounts import Accounts, Role
from pipeline.cli.demo_benches import put_at_bench
from pipeline.model import AlarmState
from pipeline.store import StoreReader
from pipeline.wire import decode

SIZES = pytest.mark.parametrize("size", [WALL, PHONE], ids=["wall", "phone"])
Size = dict[str, int]
GUNS = 3
LAST = f"gun-0{GUNS}"  # begins without a calibration
SEED = 1  # the demo's own
FLEET = demo_fleet(GUNS, SEED)
ROLES = {"vic": Role.VIEWER, "lee": Role.THERAPIST, "kim": Role.TECHNICIAN}
PLAYED_S = 240.0  # a session of 95 s, on a machine that has much else to do
LINES = ".charts svg path[fill='none'][stroke='var(--value)']"


@dataclass
class Clinic:
    """A demo whose alarms nobody answers but the test, and who has signed in at its page."""

    running: Demo
    directory: Path
    address: str
    broker_port: int
    _logins: dict[str, StorageState] = field(default_factory=dict)

    def alarm(self, device: str, rule: str) -> AlarmState | None:
        """Of that gun and rule the newest in the store; None is cleared, or never raised."""
        with StoreReader.open(self.directory / "store") as reader:
            standing = sorted(reader.current_alarms(), key=lambda each: each.raised_at_ns)
        return {(a.id.device, a.rule): a.state for a in standing}.get((device, rule))

    @contextmanager
    def page(self, browser: Browser, name: str, size: Size, path: str) -> Iterator[Page]:
        """A window of somebody who has signed in; by the form, the first time."""
        with window(browser, self.address + path, size, login=self._logins.get(name)) as page:
            if name not in self._logins:
                sign_in(page, name)
                self._logins[name] = page.context.storage_state()
            yield page

    @contextmanager
    def broker_stands_still(self) -> Iterator[None]:
        children = psutil.Process(self.running.process.pid).children(recursive=True)
        (broker,) = [each for each in children if "nats-server" in each.name()]
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(broker.pid, signal.SIGCONT)


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    directory = tmp_path_factory.mktemp("demo")
    accounts = Accounts(directory / "accounts.json")
    for name, role in ROLES.items():
        accounts.add(name, role, PASSWORD)
    with demo(
        *("--guns", GUNS, "--no-therapist", "--no-bench", "--port", 0, "--data", directory),
        MYOGUARD_PAGE__ACCOUNTS_FILE=accounts.path,
        MYOGUARD_CAPTURE__SESSIONS="true",
        MYOGUARD_METRICS__ENABLED="false",
    ) as running:
        address = running.until(r"Page: (http://\S+)")[1]
        port = int(running.until(r"mqtt://[\d.]+:(\d+)")[1])
        yield Clinic(running, directory, address, port)
        running.process.send_signal(signal.SIGINT)
        assert running.end(READY_S_MAX) == 0, running.said
        assert "Traceback" not in running.said, running.said
        assert re.search(r"; lost 0$", running.said, re.MULTILINE), running.said


# 7. Accounts.


@SIZES
def test_somebody_signs_in_and_out(browser: Browser, clinic: Clinic, size: Size) -> None:
    with window(browser, clinic.address + "/alarms", size) as page:
        expect(page.get_by_label("Name")).to_be_focused()
        assert serious(page) == []
        sign_in(page, "lee", "wrong")
        expect(page.get_by_role("alert")).to_be_visible()
        sign_in(page, "lee")
        expect(page).to_have_url(re.compile("/alarms$"))
        expect(page.locator(".user")).to_contain_text("lee therapist")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Password")).to_be_visible()


@SIZES
def test_a_viewer_is_shown_no_more_than_a_viewer_may_do(
    browser: Browser, clinic: Clinic, size: Size
) -> None:
    with clinic.page(browser, "vic", size, "/alarms") as page:
        expect(page.locator("article.alarm").first).to_be_visible()
        expect(page.locator("article.alarm button")).to_have_count(0)
        for name, path in (("Technician", "/technician"), ("What if", "/what-if")):
            expect(page.get_by_role("link", name=name)).to_have_count(0)
            response = page.goto(clinic.address + path)
            assert response is not None
            assert response.status == 403
            expect(page.locator(".empty")).to_be_visible()


# 1. Fleet.


@SIZES
def test_the_fleet_lives(browser: Browser, clinic: Clinic, size: Size) -> None:
    with clinic.page(browser, "vic", size, "/") as page:
        tiles = page.locator("article[data-gun]")
        expect(tiles).to_have_count(GUNS)
        tile = page.locator("[data-gun='demo/gun-02']")
        expect(tile.get_by_role("meter")).to_have_attribute(
            "aria-valuetext", re.compile(r"\d+ newtons, limit \d+")
        )
        expect(tile).to_contain_text(re.compile("op-2 · "))
        expect(
            tile.get_by_label(re.compile(r"Dwell on one spot: \d+ of \d+ seconds"))
        ).to_be_visible()
        page.get_by_role("link", name="gun-02").first.click()
        until(lambda: page.locator(LINES).count() >= 5, "five lines are drawn")
        page.get_by_role("link", name="All guns").click()
        expect(tiles).to_have_count(GUNS)


# 6. Technician.


@SIZES
def test_the_technician_sees_how_things_stand_and_sends_a_test_alarm(
    browser: Browser, clinic: Clinic, size: Size
) -> None:
    with clinic.page(browser, "kim", size, "/technician") as page:
        expect(page.locator(f"tr[data-gun='demo/{LAST}']")).to_contain_text("not calibrated")
        expect(page.get_by_text("connected since").first).to_be_visible()
        page.get_by_label("Only what is not a default").check()
        expect(page.locator("tr", has_text="store.directory")).to_contain_text(
            str(clinic.directory / "store")
        )
        sessions = page.locator("tr", has_text="capture.sessions").first
        expect(sessions).to_contain_text("MYOGUARD_CAPTURE__SESSIONS")
        expect(page.locator("tr", has_text="monitor.devices_max")).to_have_count(0)
        page.get_by_label("Clinic", exact=True).last.fill("demo")
        page.get_by_role("button", name="Send a test alarm").click()
        steps = page.locator(".steps li")
        expect(steps).to_have_count(5)
        expect(page.locator(".steps .bad")).to_have_count(0)
        expect(steps.last).to_contain_text("ended and acknowledged")
    gone = "the test leaves nothing standing"
    until(lambda: clinic.alarm("myoguard-test", "DEVICE_OFFLINE") is None, gone)


# 2. Alarms.


@SIZES
def test_an_alarm_is_shelved_with_a_reason_and_brought_back(
    browser: Browser, clinic: Clinic, size: Size
) -> None:
    with (
        listening(clinic.broker_port, "massage/v1/+/+/alarm/+/action") as heard,
        clinic.page(browser, "kim", size, "/alarms") as page,
    ):
        shown = card(page, LAST, "Not calibrated")
        hide_for = shown.get_by_label("Hide it for")
        press(shown.get_by_role("button", name="Shelve…"), hide_for.is_visible)
        hide_for.select_option("15")
        expect(shown.get_by_role("button", name="Shelve", exact=True)).to_be_disabled()
        shown.get_by_label("Why").fill("the bench is on Monday")
        shown.get_by_role("button", name="Shelve", exact=True).click()
        expect(shown).to_contain_text("shelved")
        expect(shown).to_contain_text("kim: “the bench is on Monday”")
        until(lambda: heard, "the action is heard")
        said = decode(heard[0].topic, heard[0].payload)
        minutes = (said.until_ns - said.t_ns) / 60e9  # type: ignore[union-attr, operator]
        assert minutes == pytest.approx(15, abs=0.01)
        unshelve = shown.get_by_role("button", name="Unshelve")
        press(unshelve, lambda: "active for" in shown.inner_text())


@pytest.mark.parametrize(
    ("size", "device", "rule", "title"),
    [
        (WALL, "gun-02", "EXCESS_PRESSURE", "Pressing too hard"),
        (PHONE, "gun-01", "OVERDWELL", "Too long on one spot"),
    ],
    ids=["wall", "phone"],
)
def test_an_acknowledgement_goes_over_mqtt_with_the_name_of_who_made_it(
    browser: Browser, clinic: Clinic, size: Size, device: str, rule: str, title: str
) -> None:
    """The broker stands still first: until the pipeline has taken it, an alarm stays as it was."""
    until(lambda: clinic.alarm(device, rule) is not None, f"{rule} is raised", PLAYED_S)
    with (
        listening(clinic.broker_port, "massage/v1/#") as heard,
        clinic.page(browser, "lee", size, "/alarms") as page,
    ):
        expect(card(page, device, title, "not acknowledged")).to_be_visible()
        # Which may have come back, and be active, by the time that the broker stands still.
        alarm = card(page, device, title)
        acknowledge = alarm.get_by_role("button", name="Acknowledge")
        with clinic.broker_stands_still():
            press(acknowledge, lambda: "Acknowledging, lee" in alarm.inner_text())
            expect(acknowledge).to_have_count(0)
        expect(page.get_by_text("Acknowledging, lee")).to_have_count(0)
        ending = f"/{device}/alarm/{rule}"
        until(lambda: heard_of(heard, f"{ending}/action"), "the action is heard")
        said = heard_of(heard, f"{ending}/action")[0]
        assert (said["action"], said["by"]) == ("ack", "lee")
        taken = {("active_ack", "lee"), ("cleared", "lee")}
        until(lambda: taken & states(heard, ending), "the alarm is heard as acknowledged")


@pytest.mark.parametrize(
    ("size", "device", "rule", "title"),
    [
        (WALL, LAST, "TENDON_PROXIMITY", "On tendon or bone"),
        (PHONE, "gun-02", "EXTREME_PRESSURE", "Pressing far too hard"),
    ],
    ids=["wall", "phone"],
)
def test_a_latched_alarm_is_reset_by_a_technician_and_by_nobody_else(
    browser: Browser, clinic: Clinic, size: Size, device: str, rule: str, title: str
) -> None:
    latched_now = lambda: clinic.alarm(device, rule) is AlarmState.LATCHED  # noqa: E731
    until(latched_now, f"{rule} is latched", PLAYED_S)
    with clinic.page(browser, "lee", size, "/alarms") as page:
        latched = card(page, device, title, "waits for a reset")
        expect(latched).to_be_visible()
        expect(latched.get_by_role("button", name="Reset")).to_have_count(0)
        # Hidden is not refused: the same request, made by hand from the therapist's own page.
        assert ask_by_hand(page, f"/api/alarms/demo/{device}/{rule}", "reset") == 403
        assert clinic.alarm(device, rule) is not None  # latched, or raised anew meanwhile
    with (
        listening(clinic.broker_port, "massage/v1/+/+/alarm/+") as heard,
        clinic.page(browser, "kim", size, "/alarms") as page,
    ):
        latched = card(page, device, title, "waits for a reset")
        ending = f"/{device}/alarm/{rule}"
        reset = latched.get_by_role("button", name="Reset")
        press(reset, lambda: ("cleared", "kim") in states(heard, ending))


@SIZES
def test_what_happened_can_be_filtered(browser: Browser, clinic: Clinic, size: Size) -> None:
    with clinic.page(browser, "vic", size, "/alarms") as page:
        past = page.locator(".past")
        expect(past.locator("tbody tr").first).to_be_visible()
        filters = past.locator(".filters")
        filters.get_by_label("Gun").fill("gun-02")
        filters.get_by_label("Priority").select_option("high")
        past.get_by_role("button", name="Show", exact=True).click()
        expect(past.locator("tbody tr", has_text=LAST)).to_have_count(0)
        expect(past.locator("tbody tr", has_text="Pressing far too hard").first).to_be_visible()
        filters.get_by_label("Gun").fill("gun-77")
        past.get_by_role("button", name="Show", exact=True).click()
        expect(past).to_contain_text("Nothing of that kind happened")


# 3. Session review, and 5. the black box.


@SIZES
def test_a_session_is_found_and_read_down_to_the_single_sample(
    browser: Browser, clinic: Clinic, size: Size
) -> None:
    with clinic.page(browser, "vic", size, "/sessions") as page:
        page.get_by_label("Operator").select_option("op-2")
        page.get_by_label("Gun").select_option("gun-02")
        page.get_by_role("button", name="Find").click()
        expect(page).to_have_url(re.compile("gun=gun-02"))
        found = page.locator(".session-rows li")
        expect(found.filter(has_text="op-2 · gun-02")).not_to_have_count(0)
        expect(found.filter(has_not_text="op-2 · gun-02")).to_have_count(0)
        found.last.locator(".session-link").click()  # the first there was
        for said in ("Start low", "Keep moving", "Within the limit of force", "Right quad"):
            expect(page.get_by_text(said).first).to_be_visible()
        until(lambda: seen(page) == [0, 100], "the whole session is in sight")
        page.get_by_role("button", name="Zoom in").click()
        until(lambda: seen(page) == [25, 75], "half of it is in sight")
        page.get_by_role("button", name="Later", exact=True).click()
        until(lambda: seen(page) == [50, 100], "the second half is in sight")
        page.get_by_role("button", name="All", exact=True).click()
        page.get_by_role("button", name=re.compile("Show Pressing too hard")).first.press("Enter")
        until(lambda: 0 < seen(page)[1] - seen(page)[0] < 100, "the alarm is in sight")
        text = page.locator(".charts svg text")
        expect(text.filter(has_text="Raw current, A")).to_have_count(1)
        for _ in range(5):  # 30 s, and half as much with each
            page.get_by_role("button", name="Zoom in").click()
        every = pytest.approx(FLEET[1].player.unit.rate_hz, rel=0.01)
        until(lambda: rate_hz(drawn(page)) == every, "single samples are drawn")


@SIZES
def test_the_raw_samples_of_an_alarm_are_drawn_to_the_last(
    browser: Browser, clinic: Clinic, size: Size
) -> None:
    with clinic.page(browser, "vic", size, "/sessions?gun=gun-02") as page:
        page.locator(".session-link").last.click()
        page.get_by_role("link", name="Raw samples of Pressing too hard").first.click()
        expect(page.get_by_role("heading", name="Pressing too hard")).to_be_visible()
        expect(page.get_by_text("Fetching the samples")).to_have_count(0)
        until(lambda: page.locator(LINES).count() >= 3, "acceleration and current are drawn")
        expect(page.locator(".charts svg image")).to_have_count(1)
        page.get_by_role("button", name="0.1 s", exact=True).click()
        until(lambda: seen(page)[1] - seen(page)[0] < 1, "a tenth of a second is in sight")
        rows = pq.read_table(taken(page, "Recording"))
        kinds = {topic.rsplit("/", 1)[1] for topic in rows.column("topic").to_pylist()}
        assert kinds == {"telemetry", "state", "session"}
        page.get_by_role("link", name=re.compile("Session of")).click()
        expect(page.locator("#session-title")).to_be_visible()


@SIZES
def test_a_session_can_be_taken_along(browser: Browser, clinic: Clinic, size: Size) -> None:
    with clinic.page(browser, "vic", size, "/sessions?gun=gun-01") as page:
        page.locator(".session-link").last.click()
        parquet = pq.read_table(taken(page, "Parquet"))
        csv = pa_csv.read_csv(taken(page, "CSV"))
        assert csv.column_names == parquet.column_names
        assert csv.num_rows >= parquet.num_rows > 10  # it may be going on
        assert len(set(parquet.column("session_id").to_pylist())) == 1
        assert max(parquet.column("contact_force_n_max").to_pylist()) > 10.0
        assert Image.open(taken(page, "Picture")).format == "PNG"
        with page.context.expect_page() as opened:
            page.get_by_role("link", name="Report").click()
        report = opened.value
        expect(report.get_by_role("heading").first).to_be_visible()
        expect(report.locator("svg")).not_to_have_count(0)
        expect(report.locator("script")).to_have_count(0)


@SIZES
def test_two_sessions_are_compared(browser: Browser, clinic: Clinic, size: Size) -> None:
    with clinic.page(browser, "vic", size, "/sessions") as page:
        ticks = page.get_by_role("checkbox")
        expect(ticks.nth(1)).to_be_visible()
        for tick in (ticks.first, ticks.last):
            tick.check()
        page.get_by_role("link", name="Compare").click()
        expect(page.get_by_role("heading", name="Two sessions")).to_be_visible()
        expect(page.locator(".compared tbody tr", has_text="Highest force")).to_have_count(1)
        second = page.locator(".charts svg path[fill='none'][stroke='var(--other)']")
        until(lambda: second.count() >= 1, "the second is drawn over the first")


# 4. What if.


@SIZES
def test_other_limits_are_tried_before_one_is_changed(
    browser: Browser, clinic: Clinic, size: Size
) -> None:
    with clinic.page(browser, "lee", size, "/what-if") as page:
        page.get_by_label("Limit 1").select_option("dwell_advisory_s")
        page.get_by_label("Value 1 to try").fill("100")
        page.get_by_role("button", name="Try", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("comes after the alarm")
        page.get_by_label("Site 1").select_option("quadriceps")
        page.get_by_label("Limit 1").select_option("force_limit_n")
        page.get_by_label("Value 1 to try").fill("65")
        page.get_by_role("button", name="Another limit").click()
        page.get_by_label("Site 2").select_option("calf")
        page.get_by_label("Value 2 to try").fill("30")
        page.get_by_label(re.compile("The latest .* captures")).check()
        page.get_by_role("button", name="Try", exact=True).click()
        table = page.locator(".verdict-table")
        judged = table.locator("tr", has_text="Pressing too hard")
        expect(judged).to_have_count(1, timeout=PLAYED_S * 1000)  # in a process that stands back


# Everybody can use it.

RAW = re.compile("Raw samples")


@SIZES
def test_every_view_fits_and_is_fit_for_everybody(
    browser: Browser, clinic: Clinic, size: Size
) -> None:
    """No scrolling sideways, enough contrast by day and by night; on the wall, which has the same
    elements, all within reach of the keyboard and nothing serious for axe-core.
    """
    with clinic.page(browser, "kim", size, "/sessions?gun=gun-02") as page:
        sessions, raw = page.locator(".session-link"), page.get_by_role("link", name=RAW)
        until(lambda: page.reload() and sessions.count(), "a session")
        session = sessions.last.get_attribute("href") or ""
        until(lambda: page.goto(clinic.address + session) and raw.count(), "samples of an alarm")
        captured = raw.first.get_attribute("href") or ""
        key = "demo/gun-02/" + session.partition("?id=")[2]
        views = ["/", "/alarms", "/gun/demo/gun-01", "/technician", "/sessions", session]
        views += [captured, f"/compare?a={key}&b={key}", "/what-if"]
        faults: dict[str, list[str]] = {}
        for view in views:
            page.goto(clinic.address + view)
            expect(page.locator("h1").first).to_be_attached()
            expect(page.locator("main, .fleet").first).to_be_visible()
            faults[view] = faults_of(page, size)
        assert not any(faults.values()), faults


def faults_of(page: Page, size: Size) -> list[str]:
    faults = [*serious(page), *unreached(page)] if size is WALL else []
    width = page.evaluate("document.documentElement.scrollWidth")
    if width != size["width"]:
        faults.append(f"{width} pixels wide")
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        faults += [f"{scheme}: {faint}" for faint in page.evaluate(TOO_FAINT)]
    return faults


# A bench, at the end: from then on no gun of the demo is without a calibration.


@SIZES
def test_a_bench_is_uploaded_looked_at_and_accepted(
    browser: Browser, clinic: Clinic, bench: tuple[Path, Path], size: Size
) -> None:
    with clinic.page(browser, "kim", size, "/technician") as page:
        files = page.get_by_label("Recording (.parquet)"), page.get_by_label("Load cell's log")
        fit = page.get_by_role("button", name="Fit")
        if size is WALL:
            for each, path in zip(files, reversed(bench), strict=True):  # the wrong way round
                each.set_input_files(path)
            fit.click()
            expect(page.locator("section.card .failed")).to_be_visible()
        for each, path in zip(files, bench, strict=True):
            each.set_input_files(path)
        fit.click()
        proposal = page.locator(".proposal")
        expect(proposal.locator("img")).to_be_visible(timeout=PLAYED_S * 1000)
        expect(proposal).to_contain_text("in the median")
        page.get_by_role("button", name="Accept").click()
        expect(page.get_by_text(f"demo/{LAST} is calibrated")).to_be_visible()
        assert (clinic.directory / "calibration" / "demo" / f"{LAST}.toml").exists()
        row = page.locator(f"tr[data-gun='demo/{LAST}']", has_text="not calibrated")
        expect(row).to_have_count(0)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of the demo's last gun, which begins without a calibration."""
    folder = tmp_path_factory.mktemp("bench")
    put_at_bench(folder, FLEET[-1], SEED)
    unit = folder / str(FLEET[-1].player.id)
    return unit.with_suffix(".bench.parquet"), unit.with_suffix(".bench.loadcell.csv")


def card(page: Page, device: str, title: str, state: str = "") -> Locator:
    """Of an alarm; a later session may have raised another like it."""
    cards = page.locator("article.alarm", has_text=title).filter(has_text=state)
    return cards.filter(has=page.locator(f"a[href$='/{device}']")).last


def press(button: Locator, done: Callable[[], object]) -> None:
    """Cards move as alarms come and go: what moves under a finger is pressed again."""

    def pressed() -> object:
        if not done():
            with suppress(TooLate):
                button.click(timeout=1_000)
        return done()

    until(pressed, "the button is pressed", DEADLINE_MS / 1e3)


def heard_of(heard: list[Heard], ending: str) -> list[dict[str, Any]]:
    """What was said on topics of that ending."""
    return [json.loads(each.payload) for each in heard if each.topic.endswith(ending)]


def states(heard: list[Heard], ending: str) -> set[tuple[str, str | None]]:
    """Of an alarm, with who brought them about."""
    return {(each["state"], each.get("by")) for each in heard_of(heard, ending)}


def ask_by_hand(page: Page, path: str, action: str) -> int:
    status: int = page.evaluate(
        """async ([path, action]) => {
          const { login } = await import("myoguard_parts");
          const headers = { "Content-Type": "application/json", "X-MyoGuard-CSRF": login.csrf };
          const body = JSON.stringify({ action, alarm_id: "any" });
          return (await fetch(path, { method: "POST", headers, body })).status;
        }""",
        [path, action],
    )
    return status


def taken(page: Page, link: str) -> Path:
    """What a link is for, on the disk."""
    with page.expect_download() as download:
        page.get_by_role("link", name=link, exact=True).click()
    return download.value.path()


CHART = """
  const id = document.querySelector(".charts .nicegui-echart").id.slice(1);
  const options = getElement(Number(id)).chart.getOption();
"""


def seen(page: Page) -> list[float]:
    """What part of the chart is in sight, in percent."""
    found: list[float] = page.evaluate(
        f"() => {{ {CHART} const [zoom] = options.dataZoom; return [zoom.start, zoom.end]; }}"
    )
    return found


def drawn(page: Page) -> list[list[float]]:
    """The points of the raw acceleration in a session's chart."""
    found: list[list[float]] = page.evaluate(
        f"() => {{ {CHART} return options.series.find(({{ id }}) => id === 'raw_z').data ?? []; }}"
    )
    return found


def rate_hz(points: list[list[float]]) -> float:
    """Of points; 0 for too few."""
    return 1000.0 / float(np.median(np.diff([at for at, _ in points]))) if len(points) > 99 else 0.0
