"""Looking back in a real browser: sessions, raw samples, other limits; on a desk and on a phone.

Against a clinic that the real monitor, black box and store made.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from page_server import (
    DEADLINE_MS,
    PHONE,
    TOO_FAINT,
    WALL,
    Served,
    serious,
    serving,
    window,
)
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from review_clinic import keep_clinic, more_sessions
from servers import until
from store_records import session

from pipeline.model import Alarm, DeviceId, SessionSummary
from pipeline.page.review.library import day_ns
from pipeline.store import AlarmFilter, SessionFilter, Store, StoreReader

SLOW_MS = 60_000  # a trial compiles nothing, and starts a process on a machine that may be busy
SIZES = pytest.mark.parametrize("size", [WALL, PHONE], ids=["desk", "phone"])
MARKUP = "<img src=x onerror=\"document.title='owned'\">{{ 6 * 7 }}"
HOSTILE = DeviceId("demo", "gun-99")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gun 1 of the demo over a whole session and the start of the next, and a hostile console."""
    place = tmp_path_factory.mktemp("clinic") / "store"
    with Store.open(place) as store:
        keep_clinic(store, place / "captures", guns=1, seconds=125.0)
        whole = sessions_in(place)[-1]
        hostile = session(MARKUP, whole.started_at_ns - 10**12, HOSTILE)
        store.checkpoint([*more_sessions(2, hostile), _marked(hostile)], b"")
    return place


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


@pytest.fixture(scope="module")
def served(directory: Path) -> Iterator[Served]:
    with serving(directory) as page:
        yield page


def sessions_in(directory: Path) -> tuple[SessionSummary, ...]:
    with StoreReader.open(directory) as reader:
        return reader.sessions(SessionFilter(device="gun-01"))


@pytest.fixture(scope="module")
def whole(directory: Path) -> SessionSummary:
    """The session that has ended."""
    (found,) = [each for each in sessions_in(directory) if each.ended_at_ns is not None]
    return found


@pytest.fixture(scope="module")
def captured(directory: Path, whole: SessionSummary) -> Alarm:
    with StoreReader.open(directory) as reader:
        said = reader.alarm_history(AlarmFilter(session_id=whole.session_id))
    return next(each.alarm for each in reversed(said) if each.alarm.rule == "EXCESS_PRESSURE")


def address(summary: SessionSummary) -> str:
    return f"/session/{summary.id.clinic}/{summary.id.device}?id={quote(summary.session_id)}"


def capture_address(alarm: Alarm) -> str:
    return f"/capture/{alarm.id.clinic}/{alarm.id.device}/{alarm.capture}"


def seen(page: Page) -> list[float]:
    """What part of the chart is in sight, in percent."""
    found: list[float] = page.evaluate(
        """() => {
          const id = document.querySelector(".charts .nicegui-echart").id.slice(1);
          const [zoom] = getElement(Number(id)).chart.getOption().dataZoom;
          return [zoom.start, zoom.end];
        }"""
    )
    return found


@SIZES
def test_a_session_is_found_read_and_zoomed(
    browser: Browser, served: Served, whole: SessionSummary, size: dict[str, int]
) -> None:
    with window(browser, served.address + "/sessions", size) as page:
        expect(page.get_by_role("heading", name="Sessions")).to_be_visible(timeout=DEADLINE_MS)
        page.get_by_label("Operator").select_option(whole.operator)
        page.get_by_label("Gun").select_option("gun-01")
        page.get_by_role("button", name="Find").click()
        link = page.get_by_role("link", name=whole.client or "")
        expect(link).to_have_count(1, timeout=DEADLINE_MS)
        link.click()
        expect(page.get_by_role("heading", name=whole.client or "")).to_be_visible(
            timeout=DEADLINE_MS
        )
        for said in ("Start low", "Keep moving", "Within the limit of force", "Left calf"):
            expect(page.get_by_text(said).first).to_be_visible()
        until(lambda: seen(page) == [0, 100], "the whole session is in sight")
        page.get_by_role("button", name="Zoom in").click()
        until(lambda: seen(page) == [25, 75], "half of it is in sight")
        page.get_by_role("button", name="Later", exact=True).click()
        until(lambda: seen(page) == [50, 100], "the second half is in sight")
        page.get_by_role("button", name="All", exact=True).click()
        page.get_by_role("button", name="Show Pressing too hard").first.press("Enter")
        until(lambda: 0 < seen(page)[1] - seen(page)[0] < 60, "the alarm is in sight")
        text = page.locator(".charts svg text")
        expect(text.filter(has_text="Contact force, N")).to_have_count(1)
        expect(text.filter(has_text="Left").first).to_be_visible()


@SIZES
def test_the_raw_samples_of_an_alarm_are_drawn_to_the_last(
    browser: Browser, served: Served, whole: SessionSummary, size: dict[str, int]
) -> None:
    with window(browser, served.address + address(whole), size) as page:
        page.get_by_role("link", name="Raw samples of Pressing too hard").first.click(
            timeout=DEADLINE_MS
        )
        expect(page.get_by_role("heading", name="Pressing too hard")).to_be_visible(
            timeout=DEADLINE_MS
        )
        expect(page.get_by_text("Fetching the samples")).to_have_count(0, timeout=DEADLINE_MS)
        lines = page.locator(".charts svg path[fill='none'][stroke='var(--value)']")
        until(lambda: lines.count() >= 3, "acceleration and current are drawn")
        expect(page.locator(".charts svg image")).to_have_count(1)
        page.get_by_role("button", name="0.1 s", exact=True).click()
        until(lambda: seen(page)[1] - seen(page)[0] < 1, "a tenth of a second is in sight")
        page.get_by_role("link", name="Session of").click()
        expect(page.get_by_role("heading", name=whole.client or "")).to_be_visible(
            timeout=DEADLINE_MS
        )


def test_a_session_can_be_taken_along(
    browser: Browser, served: Served, whole: SessionSummary, captured: Alarm
) -> None:
    with window(browser, served.address + address(whole), WALL) as page:
        expect(page.get_by_role("link", name="CSV")).to_be_visible(timeout=DEADLINE_MS)

        def body(link: str) -> bytes:
            href = page.get_by_role("link", name=link, exact=True).get_attribute("href")
            answer = page.request.get(f"{served.address}{href}", timeout=SLOW_MS)
            assert answer.status == 200, href
            return answer.body()

        parquet = pq.read_table(io.BytesIO(body("Parquet")))
        csv = pa_csv.read_csv(io.BytesIO(body("CSV")))
        assert parquet.num_rows == csv.num_rows > 90
        assert set(parquet.column("session_id").to_pylist()) == {whole.session_id}
        assert max(parquet.column("contact_force_n_max").to_pylist()) == pytest.approx(
            whole.contact_force_n_max
        )
        assert Image.open(io.BytesIO(body("Picture"))).format == "PNG"
        report = body("Report").decode()
        assert "Pressing too hard" in report
        assert "<script" not in report
        page.goto(served.address + capture_address(captured))
        rows = pq.read_table(io.BytesIO(body("Recording")))
        assert rows.column_names == ["received_at_ns", "topic", "payload"]


@SIZES
def test_two_sessions_are_compared(browser: Browser, served: Served, size: dict[str, int]) -> None:
    with window(browser, served.address + "/sessions?gun=gun-01", size) as page:
        ticks = page.get_by_role("checkbox")
        expect(ticks).to_have_count(2, timeout=DEADLINE_MS)
        for tick in ticks.all():
            tick.check()
        page.get_by_role("link", name="Compare").click()
        expect(page.get_by_role("heading", name="Two sessions")).to_be_visible(timeout=DEADLINE_MS)
        expect(page.locator(".compared tbody tr", has_text="Highest force")).to_have_count(1)
        lines = page.locator(".charts svg path[fill='none'][stroke='var(--other)']")
        until(lambda: lines.count() >= 1, "the second is drawn over the first")


@SIZES
def test_other_limits_are_tried_before_one_is_changed(
    browser: Browser, served: Served, size: dict[str, int]
) -> None:
    with window(browser, served.address + "/what-if", size) as page:
        page.get_by_label("Limit 1").select_option("dwell_advisory_s", timeout=DEADLINE_MS)
        page.get_by_label("Value 1 to try").fill("100")
        page.get_by_role("button", name="Try", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("comes after the alarm")
        page.get_by_label("Limit 1").select_option("dwell_limit_s")
        page.get_by_label("Value 1 to try").fill("35")
        page.get_by_role("button", name="Another limit").click()
        page.get_by_label("Site 2").select_option("gluteals")
        page.get_by_label("Value 2 to try").fill("30")
        page.get_by_role("button", name="Try", exact=True).click()
        table = page.locator(".verdict-table")
        expect(table).to_be_visible(timeout=SLOW_MS)
        expect(table.locator("tr", has_text="Too long on one spot")).to_have_count(1)


VIEWS = ("sessions", "session", "capture", "compare", "what-if", "hostile")


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_fits_a_phone_and_is_fit_for_everybody(
    browser: Browser, served: Served, whole: SessionSummary, captured: Alarm, view: str
) -> None:
    """No scrolling sideways, enough contrast by day and by night, nothing serious for axe-core."""
    key = quote(f"demo/gun-01/{whole.session_id}")
    hostile = f"/session/{HOSTILE.clinic}/{HOSTILE.device}?id={quote(MARKUP)}"
    paths = {
        "sessions": "/sessions",
        "session": address(whole),
        "capture": capture_address(captured),
        "compare": f"/compare?a={key}&b={key}",
        "what-if": "/what-if",
        "hostile": hostile,
    }
    with window(browser, served.address + paths[view], PHONE) as page:
        expect(page.locator("main.review")).to_be_visible(timeout=DEADLINE_MS)
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert page.evaluate(TOO_FAINT) == []
        page.emulate_media(color_scheme="dark")
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
            expect(page.locator(".empty")).to_contain_text(sentence, timeout=DEADLINE_MS)
        missing = page.request.get(f"{served.address}/download/session/demo/gun-01/table.csv?id=no")
        assert missing.status == 404


def test_a_day_restricts_the_list(browser: Browser, served: Served, whole: SessionSummary) -> None:
    day = next(
        day
        for day in (f"2026-09-{number:02}" for number in range(1, 31))
        if (day_ns(day)[0] or 0) <= whole.started_at_ns < (day_ns(day)[1] or 0)
    )
    with window(browser, f"{served.address}/sessions?gun=gun-01&day={day}", WALL) as page:
        expect(page.get_by_role("checkbox")).to_have_count(2, timeout=DEADLINE_MS)
        page.goto(f"{served.address}/sessions?gun=gun-01&day=2020-01-01")
        expect(page.locator(".empty")).to_be_visible(timeout=DEADLINE_MS)
