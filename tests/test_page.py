"""The page in a real browser against the real server and a real store, and its pure parts alone.

Run with `-s` to see the share of a core that the page takes with 200 guns and three browsers.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import math
import random
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import psutil  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, expect, sync_playwright
from servers import DEADLINE_S, HOST, free_port, until
from store_records import GUN, HOP_NS, SECOND_NS, T0_NS, alarm, hop, status

from pipeline.model import (
    Alarm,
    AlarmState,
    DeviceId,
    Features,
    Live,
    LiveGun,
    MotorState,
    Priority,
    Record,
)
from pipeline.page import LiveBoard, PageError, listen, serve, words
from pipeline.page.fleet import Fleet, GunState, Stored, Tile, compose
from pipeline.page.history import COLUMNS, make_history
from pipeline.page.sightings import Sightings
from pipeline.rules import ALARMS
from pipeline.sites import SiteTable
from pipeline.store import AlarmTransition, GunView, Store, StoreReader

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
DEADLINE_MS = DEADLINE_S * 1000
WALL = {"width": 1400, "height": 900}
PHONE = {"width": 390, "height": 844}

# ------------------------------------------------------------------------------------- pure parts


def live_gun(t_ns: int = T0_NS, **changes: object) -> LiveGun:
    plain = LiveGun(t_ns, True, 31.0, 0.1, 4.0, 40.0, "s-01", "calf_left")
    return replace(plain, **changes)  # type: ignore[arg-type]


def put(board: LiveBoard, gun: LiveGun, device: DeviceId = GUN) -> None:
    board.put(Live(device.clinic, gun.t_ns, {device.device: gun}))


def shown(
    board: LiveBoard,
    stored: Stored | None = None,
    now_ns: int = T0_NS,
    seen: Sightings | None = None,
) -> Fleet:
    return compose(stored or Stored(), board, SiteTable(), seen or Sightings(), now_ns)


def only_tile(fleet: Fleet) -> Tile:
    (tile,) = fleet.guns
    return tile


def stored_gun(tmp_path: Path, *records: Record) -> Stored:
    """What a store says that holds these records."""
    with Store.open(tmp_path) as store, StoreReader.open(tmp_path) as reader:
        store.checkpoint(list(records), b"")
        return Stored(reader.guns(), reader.current_alarms())


def test_the_board_keeps_what_came_last_and_no_more_than_its_bounds() -> None:
    board = LiveBoard(guns_max=3, alarms_max=2)
    for number in (1, 2, 3, 1, 4):
        put(board, live_gun(T0_NS - number), DeviceId("c", f"gun-{number}"))
        board.alarm(alarm("OVERDWELL", AlarmState.ACTIVE_UNACK, gun=DeviceId("c", f"g-{number}")))
        board.status(status(True, DeviceId("c", f"gun-{number}")))
    assert [gun.device for gun in board.guns] == ["gun-3", "gun-1", "gun-4"]
    assert [gun.device for gun in board.statuses] == ["gun-3", "gun-1", "gun-4"]
    assert [key[0].device for key in board.alarms] == ["g-1", "g-4"]
    put(
        board, live_gun(T0_NS - 99), DeviceId("c", "gun-4")
    )  # its clock went back: still the newest
    assert board.guns[DeviceId("c", "gun-4")].t_ns == T0_NS - 99


def test_every_rule_and_every_state_has_words() -> None:
    assert words.RULE_TITLES.keys() == ALARMS.keys()
    assert words.STATE_WORDS.keys() == set(AlarmState)
    assert len(set(words.RULE_TITLES.values())) == len(ALARMS)


@pytest.mark.parametrize(
    ("rule", "unit", "value", "setpoint", "said"),
    [
        ("EXCESS_PRESSURE", "N", 63.24, 50.0, "63.2 N, limit 50 N"),
        ("TENDON_PROXIMITY", "1", 1.104, 0.5, "stiffness 1.1, limit 0.5"),
        ("STARTED_TOO_STRONG", "1", 1.4, 1.0, "1.4 times the start limit"),
        ("BATTERY_LOW", "mV", 6700.0, None, "6700 mV"),
        ("NO_GO_SITE", "N", 8.0, 0.0, "8 N"),
        ("UNCALIBRATED", "1", 1.0, 1.0, ""),
        ("EXCESS_PRESSURE", "N", None, 50.0, ""),
        ("EXCESS_PRESSURE", "N", math.nan, 50.0, ""),
    ],
)
def test_evidence_is_the_value_against_its_setpoint(
    rule: str, unit: str, value: float | None, setpoint: float | None, said: str
) -> None:
    raised = alarm(rule, AlarmState.ACTIVE_UNACK, unit=unit, value=value, setpoint=setpoint)
    assert words.evidence(raised, is_over=False) == said


def test_the_evidence_of_an_alarm_that_is_over_is_its_peak() -> None:
    over = alarm("EXCESS_PRESSURE", AlarmState.LATCHED, value=3.0, peak=71.0, setpoint=50.0)
    assert words.evidence(over, is_over=True) == "peak 71 N, limit 50 N"


@pytest.mark.parametrize(
    ("site", "said"),
    [("calf_left", "Left calf"), ("upper_back", "Upper back"), ("unknown", None)],
)
def test_a_site_in_words(site: str, said: str | None) -> None:
    assert words.site_words(site) == said


def test_the_worst_gun_comes_first() -> None:
    """Active alarms by priority, then contact (what is over first), the air, offline; by name."""
    expected = ["z-high", "y-medium", "x-low", "v-over", "gun-9", "gun-10", "b-air", "a-offline"]
    guns = {name: DeviceId("c", name) for name in expected}
    events: list[Live | Alarm] = [
        Live("c", T0_NS, {name: live_gun() for name in ("gun-10", "gun-9", "v-over")}),
        Live("c", T0_NS, {"b-air": live_gun(contact=False)}),
    ]
    for name, priority in zip(expected[:3], reversed(Priority), strict=True):
        raised = alarm("EXCESS_PRESSURE", AlarmState.ACTIVE_UNACK, gun=guns[name])
        events.append(replace(raised, priority=priority))
    events.append(alarm("NO_GO_SITE", AlarmState.LATCHED, gun=guns["v-over"]))
    waiting = alarm("UNCALIBRATED", AlarmState.ACTIVE_UNACK, gun=guns["a-offline"])
    events.append(replace(waiting, priority=Priority.LOW))
    for order in itertools.islice(itertools.permutations(events), 0, None, 97):
        board = LiveBoard()
        board.status(status(False, guns["a-offline"]))
        for event in order:
            board.put(event) if isinstance(event, Live) else board.alarm(event)
        assert [tile.device for tile in shown(board).guns] == expected


def test_the_board_knows_better_than_the_store(tmp_path: Path) -> None:
    raised = alarm("OVERDWELL", AlarmState.ACTIVE_UNACK)
    stored = stored_gun(tmp_path, hop(T0_NS, contact_force_n=20.0), raised)
    board = LiveBoard()
    assert [line.title for line in shown(board, stored).alarms] == ["Too long on one spot"]
    board.alarm(replace(raised, state=AlarmState.CLEARED))
    assert shown(board, stored).alarms == ()
    put(board, live_gun(T0_NS + HOP_NS, contact_force_n=44.0))
    readings = only_tile(shown(board, stored)).readings
    assert readings is not None
    assert readings.force_n == 44.0


def test_a_gun_that_says_nothing_is_not_shown_as_if_it_did() -> None:
    board, seen = LiveBoard(), Sightings()
    put(board, live_gun(T0_NS))
    tile = only_tile(shown(board, now_ns=T0_NS + 4 * SECOND_NS, seen=seen))
    assert (tile.state, tile.readings is None) == (GunState.CONTACT, False)
    tile = only_tile(shown(board, now_ns=T0_NS + 6 * SECOND_NS, seen=seen))
    assert (tile.state, tile.readings, tile.silent_s) == (GunState.SILENT, None, 6)


def test_a_gun_that_was_only_born_has_a_tile_without_values() -> None:
    stored = Stored(guns=(GunView(GUN, status(True), None),))
    tile = only_tile(shown(LiveBoard(), stored))
    assert (tile.state, tile.readings, tile.in_use) == (GunState.UNHEARD, None, False)


@pytest.mark.parametrize("clock_off_s", [-7200, 7200])
def test_silence_and_age_do_not_trust_the_clock_of_a_gun(clock_off_s: int) -> None:
    board, seen = LiveBoard(), Sightings()
    raised = alarm("OVERDWELL", AlarmState.ACTIVE_UNACK)
    for step in range(20):
        now_ns = T0_NS + step * HOP_NS
        gun_ns = now_ns + clock_off_s * SECOND_NS
        put(board, live_gun(gun_ns))
        board.alarm(replace(raised, raised_at_ns=T0_NS + clock_off_s * SECOND_NS))
        fleet = shown(board, now_ns=now_ns, seen=seen)
    assert only_tile(fleet).state is GunState.CONTACT
    assert fleet.alarms[0].age_s == 4
    fleet = shown(board, now_ns=now_ns + 7 * SECOND_NS, seen=seen)
    assert only_tile(fleet).state is GunState.SILENT
    assert fleet.alarms[0].age_s == 11


@given(
    force=st.floats(),
    dwell=st.floats(),
    stiffness=st.floats(),
    contact=st.booleans(),
    site=st.text(max_size=9),
    device=st.text(max_size=9),
)
def test_any_value_makes_a_message_and_none_that_is_missing_becomes_a_number(
    force: float, dwell: float, stiffness: float, contact: bool, site: str, device: str
) -> None:
    board = LiveBoard()
    values = live_gun(contact=contact, contact_force_n=force, dwell_s=dwell, stiffness=stiffness)
    put(board, replace(values, site=site), DeviceId("c", device))
    fleet = json.loads(orjson.dumps(shown(board)), parse_constant=pytest.fail)
    readings = fleet["guns"][0]["readings"]
    assert readings["force_n"] == (force if contact and math.isfinite(force) else None)
    assert readings["dwell_s"] == (dwell if math.isfinite(dwell) else None)


def test_a_history_breaks_where_nothing_came_and_spans_an_alarm_from_raise_to_end(
    tmp_path: Path,
) -> None:
    times_s = [1, 2, 3, 9, 10]
    hops = [
        hop(T0_NS + s * SECOND_NS, contact_force_n=40.0, contact_force_n_sd=3.0) for s in times_s
    ]
    with Store.open(tmp_path) as store, StoreReader.open(tmp_path) as reader:
        store.checkpoint(hops, b"")
        seconds = reader.feature_seconds(GUN, T0_NS, T0_NS + 60 * SECOND_NS, 100)
    raised = alarm("EXCESS_PRESSURE", AlarmState.ACTIVE_UNACK, raised_at_ns=T0_NS - 5 * SECOND_NS)
    over = replace(raised, state=AlarmState.RTN_UNACK, changed_at_ns=T0_NS + 4 * SECOND_NS)
    again = replace(raised, raised_at_ns=T0_NS + 8 * SECOND_NS, count=2)
    transitions = [AlarmTransition(2, again), AlarmTransition(1, over)]
    history = make_history(
        seconds, transitions, [again], SiteTable(), T0_NS, T0_NS + 10 * SECOND_NS
    )
    force = [row[COLUMNS.index("force_n")] for row in history.rows]
    assert force == [40.0, 40.0, 40.0, None, 40.0, 40.0]
    low, band = (COLUMNS.index(name) for name in ("force_n_low", "force_n_band"))
    assert (history.rows[0][low], history.rows[0][band]) == (34.0, 12.0)
    zero_ms = T0_NS // 1_000_000
    spans = [(span.panel, span.from_ms - zero_ms, span.to_ms - zero_ms) for span in history.spans]
    assert spans == [("force", -5000, 4000), ("force", 8000, 10000)]


@pytest.mark.parametrize(("began_s", "shown_s"), [(10, 60), (90, 89), (400, 300)])
def test_the_charts_begin_where_the_gun_began(tmp_path: Path, began_s: int, shown_s: int) -> None:
    with Store.open(tmp_path) as store, StoreReader.open(tmp_path) as reader:
        store.checkpoint([hop(T0_NS + s * SECOND_NS) for s in range(1, began_s + 1)], b"")
        to_ns = T0_NS + began_s * SECOND_NS
        from_ns = to_ns - 300 * SECOND_NS
        seconds = reader.feature_seconds(GUN, from_ns, to_ns + 1, 1000)
    history = make_history(seconds, [], [], SiteTable(), from_ns, to_ns)
    assert history.to_ms - history.from_ms == shown_s * 1000


def test_an_acknowledged_alarm_no_longer_calls() -> None:
    board = LiveBoard()
    raised = alarm("EXTREME_PRESSURE", AlarmState.ACTIVE_UNACK, priority=Priority.HIGH)
    board.alarm(raised)
    assert only_tile(shown(board)).calls
    board.alarm(replace(raised, state=AlarmState.ACTIVE_ACK))
    tile = only_tile(shown(board))
    assert (tile.attention, tile.calls) == (Priority.HIGH, False)


# -------------------------------------------------------------------------------- in the browser


class Served:
    """The page on a free port, its event loop in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.board = LiveBoard()
        self.port = free_port()
        self.address = f"http://{HOST}:{self.port}"
        self.error: BaseException | None = None
        self.talking: dict[DeviceId, LiveGun] = {}
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop, started = asyncio.get_running_loop(), asyncio.Event()
        self._task = asyncio.create_task(
            serve(self.board, self.directory, HOST, self.port, started=started)
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS, headless=True
        )
        yield chromium
        chromium.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def served(store: Store) -> Iterator[Served]:
    with serving(store.directory) as page:
        yield page


@contextmanager
def window(browser: Browser, address: str, size: dict[str, int]) -> Iterator[Page]:
    """A window on an address; fails on an error of a script and on a request to anywhere else."""
    context = browser.new_context(viewport=size)  # type: ignore[arg-type]
    faults: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: _note_foreign(request.url, faults))
    try:
        page.goto(address)
        yield page
        assert faults == []
    finally:
        context.close()


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


def test_the_tiles_show_what_was_written(browser: Browser, store: Store, served: Served) -> None:
    write_eight(store, served)
    with window(browser, served.address, WALL) as page:
        worst = page.locator(".tile").first
        expect(worst).to_have_attribute("data-gun", "north/gun-3", timeout=DEADLINE_MS)
        expect(worst).to_contain_text("Pressing too hard")
        expect(worst).to_have_class("tile contact attention-medium calls")
        tile = page.locator("[data-gun='north/gun-1']")
        for said in ("op-7 · Left calf · north", "38", "of 50 N", "In contact", "40 Hz", "7.4 V"):
            expect(tile).to_contain_text(said)
        expect(tile.get_by_role("meter")).to_have_attribute(
            "aria-valuetext", "38 newtons, limit 50"
        )
        expect(tile.get_by_label("Dwell on one spot: 12 of 30 seconds")).to_be_visible()
        expect(tile.get_by_label("Under the head: muscle")).to_be_visible()
        counts = ["8 guns", "6 in contact", "1 not heard", "1 alarm now"]
        expect(page.locator(".counts li")).to_have_text(counts)
        expect(page.locator("[data-gun='riverside/gun-6']")).to_contain_text("Offline")
        expect(page.locator("[data-gun='riverside/gun-7']")).to_contain_text("Motor off")
        item = page.locator(".alarm")
        expect(item).to_contain_text("63.2 N, limit 50 N")
        expect(item.get_by_label("Medium priority")).to_be_visible()
        expect(page.get_by_text("Not a medical device.")).to_have_count(1)


def test_an_alarm_shows_at_once_and_goes_when_it_is_cleared(
    browser: Browser, store: Store, served: Served
) -> None:
    guns = write_eight(store, served)
    with window(browser, served.address, WALL) as page:
        expect(page.locator(".alarm")).to_have_count(1, timeout=DEADLINE_MS)
        raised = raise_pressure(
            guns[5], time.time_ns(), rule="TENDON_PROXIMITY", priority=Priority.HIGH
        )
        served.tell(raised)
        expect(page.locator(".tile").first).to_contain_text("On tendon or bone", timeout=2000)
        expect(page.locator(".alarm").first.get_by_label("High priority")).to_be_visible()
        expect(page.locator("[aria-live]")).to_have_text("High alarm, gun-5: On tendon or bone")
        served.tell(replace(raised, state=AlarmState.CLEARED))
        expect(page.locator(".alarm")).to_have_count(1, timeout=2000)


def test_live_values_overtake_the_store(browser: Browser, store: Store, served: Served) -> None:
    guns = write_eight(store, served)
    with window(browser, served.address, WALL) as page:
        force = page.locator("[data-gun='north/gun-0']").get_by_role("meter")
        expect(force).to_have_attribute("aria-valuenow", "38", timeout=DEADLINE_MS)
        served.talking[guns[0]] = live_gun(contact_force_n=61.2)
        expect(force).to_have_attribute("aria-valuenow", "61", timeout=2000)
        expect(page.locator("[data-gun='north/gun-0'] .force")).to_have_class("force over")


def test_a_clinic_can_be_chosen_and_stays_in_the_address(
    browser: Browser, store: Store, served: Served
) -> None:
    write_eight(store, served)
    with window(browser, served.address, WALL) as page:
        expect(page.locator("article[data-gun]")).to_have_count(8, timeout=DEADLINE_MS)
        page.get_by_label("Clinic").select_option("riverside")
        expect(page.locator("article[data-gun]")).to_have_count(2)
        expect(page.locator(".alarm")).to_have_count(0)
        assert page.url == f"{served.address}/?clinic=riverside"
        page.reload()
        expect(page.locator("article[data-gun]")).to_have_count(2, timeout=DEADLINE_MS)


def test_a_gun_has_its_charts_its_alarms_and_what_to_do(
    browser: Browser, store: Store, served: Served
) -> None:
    guns = write_eight(store, served)
    now_ns = time.time_ns()
    done = raise_pressure(guns[3], now_ns, rule="OVERDWELL", unit="s", alarm_id="d")
    store.checkpoint([done, replace(done, state=AlarmState.CLEARED)], b"")
    with window(browser, served.address, WALL) as page:
        page.get_by_role("link", name="gun-3").first.click()
        expect(page).to_have_title("gun-3 · MyoGuard", timeout=DEADLINE_MS)
        for title in ("Contact force, N", "Dwell on one spot, s", "Stiffness under the head"):
            expect(page.locator(".charts svg text", has_text=title)).to_be_visible()
        lines = "path[fill='none'][stroke='var(--value)']"
        until(lambda: page.locator(f".charts svg {lines}").count() >= 5, "five lines are drawn")
        drawn = page.locator(f".charts svg {lines}").count()
        box = page.locator(".charts svg").bounding_box()
        assert box is not None
        for step in (0, 1):  # a pointer that moves, over the force
            page.mouse.move(box["x"] + box["width"] - 30 - step, box["y"] + 200)
        expect(page.get_by_text("Contact force, N 38.4")).to_be_visible()
        assert page.locator(f".charts svg {lines}").count() >= drawn
        tint = "[fill='var(--medium-mark)'][fill-opacity='0.25']"
        until(
            lambda: page.locator(f".charts svg path{tint}").count() == 1,
            "the alarm is a band in its chart",
        )
        standing = page.locator("section", has=page.get_by_role("heading", name="Alarms"))
        expect(standing.first).to_contain_text("Ease off: let the gun's own weight do the work.")
        expect(standing.first).to_contain_text("63.2 N, limit 50 N · peak 71 N")
        expect(page.get_by_text("Too long on one spot")).to_be_visible()
        expect(page.locator(".top .who")).to_contain_text("fx-16 · serial A12")
        page.get_by_role("link", name="All guns").click()
        expect(page.locator("article[data-gun]")).to_have_count(8, timeout=DEADLINE_MS)


def test_the_charts_move_on(browser: Browser, store: Store, served: Served) -> None:
    guns = write_eight(store, served)
    path = "(() => document.querySelectorAll('.charts svg path').length)()"
    drawn = "document.querySelector('.charts')?.innerHTML ?? ''"
    with window(browser, f"{served.address}/gun/north/gun-1", WALL) as page:
        until(lambda: page.evaluate(path) > 10, "the charts are drawn")
        before = page.evaluate(drawn)
        store.checkpoint([hop(time.time_ns() + 30 * SECOND_NS, guns[1], contact_force_n=90.0)], b"")
        until(lambda: page.evaluate(drawn) != before, "the charts show what came after")


@pytest.mark.parametrize("path", ["/", "/gun/north/gun-3"])
def test_a_phone_need_not_scroll_sideways_and_text_stands_out(
    browser: Browser, store: Store, served: Served, path: str
) -> None:
    guns = write_eight(store, served)
    long = DeviceId("north", "g" * 64)
    now_ns = time.time_ns()
    own = {"operator": "o" * 64, "site": "popliteal_fossa_left", "contact_force_n": 104.0}
    hops = session_hops(long, now_ns, **{**own, "calibrated": False})
    raised = [
        raise_pressure(gun, now_ns, priority=priority, operator="o" * 64)
        for gun, priority in zip([long, *guns[3:5]], Priority, strict=True)
    ]
    over = raise_pressure(guns[1], now_ns, state=AlarmState.LATCHED)
    store.checkpoint([status(True, long), *hops, *raised, over], b"")
    with window(browser, served.address + path, PHONE) as page:
        expect(page.locator(".alarm").first).to_be_visible(timeout=DEADLINE_MS)
        expect(page.locator(".tile").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert page.evaluate(CUT_OFF) == []
        assert page.evaluate(TOO_FAINT) == []
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(TOO_FAINT) == []


# Every box with text that reaches out of it.
CUT_OFF = """() => [...document.querySelectorAll(".tile, .chip, .alarm, .top")]
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


def test_the_contrast_test_finds_faint_text(browser: Browser, store: Store, served: Served) -> None:
    write_eight(store, served)
    with window(browser, served.address, PHONE) as page:
        expect(page.locator(".tile").first).to_be_visible(timeout=DEADLINE_MS)
        page.add_style_tag(content=".plain { color: #8a97a0 !important; }")
        (faint,) = page.evaluate(TOO_FAINT)
        assert faint.startswith("Not a medical device.")


def test_the_keyboard_reaches_every_gun(browser: Browser, store: Store, served: Served) -> None:
    write_eight(store, served)
    with window(browser, served.address, WALL) as page:
        expect(page.locator("article[data-gun]")).to_have_count(8, timeout=DEADLINE_MS)
        reached = set()
        for _ in range(20):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.closest('[data-gun]')?.dataset.gun"))
        assert len(reached - {None}) == 8
        page.locator("[data-gun='north/gun-2'] a").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="gun-2")).to_be_visible(timeout=DEADLINE_MS)


def test_text_from_the_network_is_text(browser: Browser, store: Store, served: Served) -> None:
    markup = "<img src=x onerror=\"document.title='owned'\">{{ 6 * 7 }}"
    now_ns = time.time_ns()
    hops = session_hops(GUN, now_ns, operator=markup)
    raised = raise_pressure(GUN, now_ns, operator=markup, unit=markup, site=markup)
    identity = replace(status(True), model=markup, serial=markup)
    store.checkpoint([identity, *hops, raised], b"")
    for path in ("/", f"/gun/{GUN}"):
        with window(browser, served.address + path, WALL) as page:
            expect(page.locator(".tile .who")).to_contain_text(markup, timeout=DEADLINE_MS)
            expect(page.locator(".alarm")).to_contain_text(markup)
            expect(page.locator("img[src=x]")).to_have_count(0)
            assert "MyoGuard" in page.title()


def test_an_address_that_is_none_is_answered_in_a_sentence(
    browser: Browser, store: Store, served: Served
) -> None:
    write_eight(store, served)
    sentences = {
        "/gun/north/gun-99": "No gun north/gun-99 has been seen.",
        "/gun/north/%3Cscript%3E": "No gun can have that name",
        f"/gun/north/{'g' * 65}": "No gun can have that name",
        "/?clinic=%3Cb%3E": "No clinic can have that name",
        "/nowhere": "There is no such page.",
    }
    with window(browser, served.address, PHONE) as page:
        for path, sentence in sentences.items():
            response = page.goto(served.address + path)
            assert response is not None
            assert response.status == 404
            expect(page.locator(".empty")).to_contain_text(sentence, timeout=DEADLINE_MS)


def answer(served: Served, path: str = "/", **headers: str) -> int:
    connection = http.client.HTTPConnection(HOST, served.port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_page_answers_only_to_itself(served: Served) -> None:
    own = f"{HOST}:{served.port}"
    assert answer(served) == 200
    assert answer(served, Host=f"localhost:{served.port}") == 200
    assert answer(served, Host=own, Origin=f"http://{own}") == 200
    assert answer(served, Host="evil.example") == 403
    assert answer(served, Host="[") == 403
    assert answer(served, Host=own, Origin="http://evil.example") == 403
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    handshake |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": "http://evil.example"}
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    assert answer(served, path, Host=own, **handshake) == 403
    assert answer(served, path, Host=own, **(handshake | {"Origin": f"http://{own}"})) == 101


def test_without_a_store_it_says_so_and_goes_on_when_there_is_one(
    browser: Browser, tmp_path: Path
) -> None:
    directory = tmp_path / "store"
    with serving(directory) as served, window(browser, served.address, WALL) as page:
        expect(page.get_by_role("alert")).to_contain_text(
            f"The store cannot be read: {directory} holds no store yet", timeout=DEADLINE_MS
        )
        expect(page.get_by_text("No alarm stands.")).to_have_count(0)  # nobody knows that
        with Store.open(directory) as store:
            expect(page.get_by_role("alert")).to_have_count(0, timeout=DEADLINE_MS)
            expect(page.locator(".empty")).to_contain_text("No gun has been seen yet.")
            expect(page.get_by_text("No alarm stands.")).to_be_visible()
            write_eight(store, served)
            expect(page.locator("article[data-gun]")).to_have_count(8, timeout=DEADLINE_MS)


def test_a_page_that_hears_nothing_says_that_it_is_old(browser: Browser, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        write_eight(store)
    served = Served(tmp_path)
    served.start()
    with window(browser, served.address, WALL) as page:
        expect(page.locator("article[data-gun]")).to_have_count(8, timeout=DEADLINE_MS)
        served.stop()
        alert = page.locator(".notice")
        expect(alert).to_contain_text("What is shown here is old", timeout=DEADLINE_MS)


def test_a_taken_port_and_a_second_page_are_refused_in_a_sentence(
    served: Served, tmp_path: Path
) -> None:
    with pytest.raises(PageError, match=rf"cannot listen on {HOST}:{served.port} .*page\.port"):
        listen(HOST, served.port)
    with pytest.raises(PageError, match="already serves a page"):
        served.run(serve(LiveBoard(), tmp_path, HOST, free_port()))
    assert answer(served) == 200


def fleet_values(guns: Sequence[DeviceId], rng: random.Random) -> Live:
    now_ns = time.time_ns()
    values = {
        gun.device: live_gun(now_ns, contact_force_n=rng.uniform(5, 60), dwell_s=rng.uniform(0, 25))
        for gun in guns
    }
    return Live(guns[0].clinic, now_ns, values)


def test_two_hundred_guns_four_times_a_second_in_three_browsers(
    browser: Browser, store: Store, served: Served
) -> None:
    guns = [DeviceId("north", f"gun-{number}") for number in range(200)]
    now_ns = time.time_ns()
    records: list[Record] = [status(True, gun) for gun in guns]
    records += [each for gun in guns for each in session_hops(gun, now_ns)[-4:]]
    store.checkpoint(records, b"")
    seed = 20260921
    rng = random.Random(seed)
    print(f"\nseed {seed}")
    with (
        window(browser, served.address, WALL) as page,
        window(browser, served.address, PHONE) as phone,
        window(browser, served.address, WALL) as wall,
    ):
        for each in (page, phone, wall):
            expect(each.locator(".tile")).to_have_count(200, timeout=DEADLINE_MS)
        busy_s, share, seconds = _busy_s(), 0.0, 3.0
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            served.tell(fleet_values(guns, rng))
            page.wait_for_timeout(250)  # the pace of the live values, not a wait for an outcome
        share = (_busy_s() - busy_s) / seconds
        print(f"200 guns, 4 Hz, 3 browsers: {share:.0%} of a core in the whole process")
        last = fleet_values(guns, random.Random(seed))
        expected = str(round(last.guns["gun-199"].contact_force_n))
        served.tell(last)
        for each in (page, phone, wall):
            meter = each.locator("[data-gun='north/gun-199']").get_by_role("meter")
            expect(meter).to_have_attribute("aria-valuenow", expected, timeout=DEADLINE_MS)


def _busy_s() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
