"""Looking back in a real browser where there is little, or something hostile, to look back on.

All there is to do with sessions is done in test_page_demo.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from page_server import PHONE, TOO_FAINT, WALL, Served, serious, serving, window
from playwright.sync_api import Browser, expect
from store_records import GUN, T0_NS, session

from pipeline.model import DeviceId, SessionSummary
from pipeline.page.review.library import day_ns
from pipeline.store import Store

MARKUP = "<img src=x onerror=\"document.title='owned'\">{{ 6 * 7 }}"
HOSTILE = DeviceId("demo", "gun-99")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two sessions of one gun, and one of a hostile console."""
    hostile = session(MARKUP, T0_NS, HOSTILE)
    with Store.open(tmp_path_factory.mktemp("clinic") / "store") as store:
        sessions = [session(f"s-{at}", T0_NS + at * 600 * 10**9) for at in range(2)]
        store.checkpoint([*sessions, _marked(hostile)], b"")
        with serving(store.directory) as page:
            yield page


def _marked(hostile: SessionSummary) -> SessionSummary:
    return SessionSummary(
        **{
            name: getattr(hostile, name)
            for name in SessionSummary.__slots__
            if name not in {"client", "operator", "contact_s_by_site", "guidance"}
        },
        client=MARKUP,
        operator=MARKUP,
        contact_s_by_site={MARKUP: 12.0},
        guidance=(MARKUP,),
    )


def test_text_of_a_hostile_console_is_text(browser: Browser, served: Served) -> None:
    path = f"/session/{HOSTILE.clinic}/{HOSTILE.device}?id={quote(MARKUP)}"
    with window(browser, served.address + path, PHONE) as page:
        expect(page.locator("main.review")).to_contain_text(MARKUP)
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert page.evaluate(TOO_FAINT) == []
        expect(page.locator("img[src=x]")).to_have_count(0)
        assert "MyoGuard" in page.title()


def test_what_is_not_there_is_said_in_a_sentence(browser: Browser, served: Served) -> None:
    sentences = {
        "/session/demo/gun-01?id=none": "There is no such session",
        "/session/demo/%3Cb%3E?id=1": "No gun can have that name",
        f"/capture/demo/gun-01/{'a' * 16}-1-medium": "This capture is not kept",
        "/capture/demo/gun-01/..%2F..%2Fetc%2Fpasswd": "There is no such page",
        "/compare?a=x&b=y": "There is no such session",
        "/sessions?operator=nobody": "No session is like that.",
    }
    with window(browser, served.address, PHONE) as page:
        for path, sentence in sentences.items():
            response = page.goto(served.address + path)
            assert response is not None
            assert response.status == (200 if path.startswith("/sessions") else 404)
            expect(page.locator(".empty")).to_contain_text(sentence)
        missing = page.request.get(f"{served.address}/download/session/demo/gun-01/table.csv?id=no")
        assert missing.status == 404


def test_a_day_restricts_the_list(browser: Browser, served: Served) -> None:
    day = next(
        day
        for day in (f"2026-09-{number:02}" for number in range(1, 31))
        if (day_ns(day)[0] or 0) <= T0_NS < (day_ns(day)[1] or 0)
    )
    search = f"{served.address}/sessions?gun={GUN.device}&day="
    with window(browser, search + day, WALL) as page:
        expect(page.get_by_role("checkbox")).to_have_count(2)
        page.goto(search + "2020-01-01")
        expect(page.locator(".empty")).to_be_visible()


def test_what_is_chosen_stays_when_the_page_draws_itself_anew(
    browser: Browser, served: Served
) -> None:
    with window(browser, served.address + "/sessions", WALL) as page:
        page.get_by_label("Client").fill("c-1")
        page.get_by_label("Gun").select_option(GUN.device)
        page.get_by_role("checkbox").first.check()
        expect(page.locator(".compare-bar")).to_be_visible()
        expect(page.get_by_label("Gun")).to_have_value(GUN.device)
        page.get_by_role("button", name="Find").click()
        expect(page).to_have_url(re.compile(f"client=c-1.*gun={GUN.device}"))


def test_on_a_phone_the_bar_of_what_is_ticked_stands_over_the_navigation(
    browser: Browser, served: Served
) -> None:
    with window(browser, served.address + "/sessions", PHONE) as page:
        ticks = page.get_by_role("checkbox")
        for tick in (ticks.first, ticks.last):
            tick.check()
        bar, navigation = page.locator(".compare-bar"), page.locator(".header nav")
        expect(bar.get_by_role("link", name="Compare")).to_be_visible()
        below, above = bar.bounding_box(), navigation.bounding_box()
        assert below is not None
        assert above is not None
        assert below["y"] + below["height"] <= above["y"]
