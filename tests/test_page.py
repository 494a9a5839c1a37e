"""The page in a real browser, against the real server and a real store.

What it does with a pipeline behind it: test_page_demo.py; who may come in: test_page_gate.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
from page_server import (
    CUT_OFF,
    DEADLINE_MS,
    PHONE,
    TOO_FAINT,
    WALL,
    Served,
    answer,
    live_gun,
    raise_pressure,
    serving,
    session_hops,
    window,
    write_eight,
)
from playwright.sync_api import Browser, expect
from servers import HOST, free_port, until
from store_records import GUN, SECOND_NS, hop, status
from visitor import PASSWORD, visitor

from pipeline.accounts import Accounts, Role
from pipeline.model import (
    AlarmState,
    DeviceId,
    Priority,
    Record,
)
from pipeline.page import LiveBoard, PageError, Place, Sources, listen, serve
from pipeline.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def served(store: Store) -> Iterator[Served]:
    with serving(store.directory) as page:
        yield page


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
    del handshake["Origin"]  # every browser names one
    assert answer(served, path, Host=own, **handshake) == 403


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


def test_a_proxy_in_front_is_known_by_its_name(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "accounts.json")
    accounts.add("kim", Role.TECHNICIAN, PASSWORD)
    with Store.open(tmp_path / "store") as store:
        served = Served(store.directory, public_url="https://guns.example")
        served.start()
        try:
            kim = visitor(served)
            kim.own = "guns.example"
            form = urlencode({"name": "kim", "password": PASSWORD})
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = kim.ask("POST", "/sign-in", form, Origin="https://guns.example", **kind)
            assert answer.status == 303
            assert "secure" in answer.headers["set-cookie"].lower()
            assert kim.ask("GET", "/", Host="evil.example").status == 403
        finally:
            served.stop()


COUNT_TONES = """
  window.tones = 0;
  const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (at) {
    window.tones += 1;
    return start.call(this, at);
  };
"""


def test_a_high_alarm_sounds_until_it_is_silenced_or_acknowledged(
    browser: Browser, store: Store, served: Served
) -> None:
    guns = write_eight(store, served)
    with window(browser, served.address, WALL, COUNT_TONES) as page:
        button = page.locator("button.sound")
        expect(button).to_have_text("Click once for sound", timeout=DEADLINE_MS)
        page.locator("h1").first.dispatch_event("pointerdown")
        page.mouse.click(5, 300)
        expect(button).to_have_text("Sound on", timeout=DEADLINE_MS)
        assert page.evaluate("tones") == 0  # one of medium priority stands, and does not sound
        high = {"rule": "NO_GO_SITE", "priority": Priority.HIGH}
        raised = raise_pressure(guns[5], time.time_ns(), alarm_id="one", **high)
        served.tell(raised)
        expect(button).to_have_text("Silence for 2 min", timeout=DEADLINE_MS)
        until(lambda: page.evaluate("tones") == 40, "a burst of ten pulses of four tones")
        button.click()
        expect(button).to_have_text("Silenced")
        another = raise_pressure(guns[4], time.time_ns(), alarm_id="two", **high)
        served.tell(another)  # what comes new is not silenced
        until(lambda: page.evaluate("tones") == 80, "the new alarm sounds")
        expect(button).to_have_text("Silence for 2 min")
        served.tell(replace(another, state=AlarmState.ACTIVE_ACK))
        expect(button).to_have_text("Silenced", timeout=DEADLINE_MS)
        served.tell(replace(raised, state=AlarmState.ACTIVE_ACK))
        expect(button).to_have_text("Sound on", timeout=DEADLINE_MS)
        button.click()
        expect(button).to_have_text("Sound off")
        page.reload()
        expect(button).to_have_text("Sound off", timeout=DEADLINE_MS)


def test_a_page_is_closed_when_its_account_is_removed(
    browser: Browser, store: Store, served: Served
) -> None:
    write_eight(store, served)
    served.accounts.add("kim", Role.TECHNICIAN, PASSWORD)
    with window(browser, served.address, WALL) as page:
        page.get_by_label("Name").fill("kim")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("article[data-gun]")).to_have_count(8, timeout=DEADLINE_MS)
        expect(page.locator(".user")).to_contain_text("kim technician")
        expect(page.locator(".banner")).to_have_count(0)
        served.accounts.add("lee", Role.VIEWER, PASSWORD)
        served.accounts.remove("kim")
        expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=DEADLINE_MS)
        page.get_by_label("Name").fill("lee")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.locator("article[data-gun]")).to_have_count(8, timeout=DEADLINE_MS)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Password")).to_be_visible(timeout=DEADLINE_MS)


def test_without_accounts_a_banner_says_so(browser: Browser, store: Store, served: Served) -> None:
    write_eight(store, served)
    with window(browser, served.address, PHONE) as page:
        banner = page.locator(".banner")
        expect(banner).to_contain_text("No accounts yet", timeout=DEADLINE_MS)
        expect(banner).to_contain_text("myoguard account add NAME --role technician")


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
        listen(Place(HOST, served.port, served.accounts))
    place = Place(HOST, free_port(), served.accounts)
    with pytest.raises(PageError, match="already serves a page"):
        served.run(serve(Sources(LiveBoard(), tmp_path), place))
    assert answer(served) == 200


def test_two_hundred_guns_in_three_browsers(browser: Browser, store: Store, served: Served) -> None:
    """What it costs is measured in benchmarks/page_load.py."""
    guns = [DeviceId("north", f"gun-{number}") for number in range(200)]
    now_ns = time.time_ns()
    records: list[Record] = [status(True, gun) for gun in guns]
    records += [each for gun in guns for each in session_hops(gun, now_ns)[-4:]]
    store.checkpoint(records, b"")
    with (
        window(browser, served.address, WALL) as page,
        window(browser, served.address, PHONE) as phone,
        window(browser, served.address + "/alarms", WALL) as alarms,
    ):
        for each in (page, phone):
            expect(each.locator(".tile")).to_have_count(200, timeout=DEADLINE_MS)
        served.talking[guns[199]] = live_gun(contact_force_n=41.7)
        for each in (page, phone):
            meter = each.locator("[data-gun='north/gun-199']").get_by_role("meter")
            expect(meter).to_have_attribute("aria-valuenow", "42", timeout=DEADLINE_MS)
        expect(alarms.get_by_text("No alarm stands.")).to_be_visible()
