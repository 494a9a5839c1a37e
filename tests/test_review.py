"""What looking back is made of, without a browser: figures, charts, tables, pictures, reports."""

from __future__ import annotations

import base64
import io
import json
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from store_records import GUN, SECOND_NS, T0_NS, alarm, hop, session

from pipeline import wire
from pipeline.export import TableFormat, alarms_table, encode_table, seconds_table
from pipeline.model import (
    AlarmState,
    Features,
    FeatureSecond,
    Frame,
    Priority,
    Quality,
    Received,
    SessionSummary,
)
from pipeline.page.review import charts
from pipeline.page.review.guidance import Verdict, checks, site_times
from pipeline.page.review.library import day_ns
from pipeline.page.review.picture import to_png, to_svg
from pipeline.page.review.report import report_html
from pipeline.page.review.session import SessionReview, make_review, occurrences, site_spans
from pipeline.page.review.waveform import POINTS_MAX, make_stretch, make_waveform
from pipeline.sites import SiteTable
from pipeline.store import AlarmTransition

SITES = SiteTable()
MARKUP = "<img src=x onerror=alert(1)>"


def second(at: int, **changes: object) -> FeatureSecond:
    plain: dict[str, object] = {
        "contact_force_n": 20.0,
        "contact_force_n_sd": 2.0,
        "stiffness": 0.1,
        "dwell_s": 3.0,
        "set_percussion_hz": 30.0,
        "percussion_hz": 30.0,
        "session_id": "s-1",
        "operator": "op-7",
        "site": "calf_left",
    }
    last: Features = hop(T0_NS + at * SECOND_NS, GUN, **(plain | changes))
    return FeatureSecond(
        last=last,
        hops=4,
        contact_hops=4 if last.contact else 0,
        contact_force_n_max=last.contact_force_n,
        stiffness_max=last.stiffness,
        dwell_s_max=last.dwell_s,
        accel_rms_g_max=1.0,
        crest_max=2.0,
        a_hv_m_s2_max=3.0,
        quality_worst=Quality.GOOD,
    )


def summary(**changes: object) -> SessionSummary:
    plain = replace(
        session("s-1", T0_NS, GUN),
        ended_at_ns=T0_NS + 60 * SECOND_NS,
        contact_s=50.0,
        contact_s_by_site={"calf_left": 22.0, "quadriceps_left": 28.0},
        alarms_by_rule={},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def review(*seconds: FeatureSecond, **changes: object) -> SessionReview:
    raised = alarm("EXCESS_PRESSURE", AlarmState.ACTIVE_UNACK, T0_NS + 20 * SECOND_NS, GUN)
    raised = replace(raised, session_id="s-1", raised_at_ns=raised.changed_at_ns, capture="c-1")
    over = replace(raised, state=AlarmState.CLEARED, changed_at_ns=T0_NS + 25 * SECOND_NS)
    said = [AlarmTransition(2, over), AlarmTransition(1, raised)]
    rows = seconds or tuple(second(at) for at in range(1, 60))
    kept = frozenset({"c-1"})
    return make_review(summary(**changes), rows, said, SITES, kept, is_cut=False)


# Against guidance.


@pytest.mark.parametrize(
    ("site", "contact_s", "verdict"),
    [
        ("calf_left", 10.0, Verdict.WITHIN),
        ("calf_left", 30.0, Verdict.WITHIN),
        ("calf_left", 31.0, Verdict.BESIDE),
        ("calf_left", 121.0, Verdict.BEYOND),
        ("achilles_left", 1.0, Verdict.BEYOND),
        ("forearm_left", 10.0, Verdict.BESIDE),
        ("unknown", 10.0, Verdict.UNKNOWN),
    ],
)
def test_time_on_a_site_is_held_against_guidance(
    site: str, contact_s: float, verdict: Verdict
) -> None:
    (found,) = site_times(summary(contact_s_by_site={site: contact_s}), SITES)
    assert found.verdict is verdict


def verdicts(*seconds: FeatureSecond, **changes: object) -> dict[str, Verdict]:
    return {each.title: each.verdict for each in checks(summary(**changes), seconds, SITES)}


def test_a_calm_session_is_within_guidance() -> None:
    assert set(verdicts(*(second(at) for at in range(60))).values()) == {Verdict.WITHIN}


@pytest.mark.parametrize(
    ("title", "changes", "verdict"),
    [
        ("Start low", {"contact_force_n": 31.0}, Verdict.BESIDE),
        ("Keep moving", {"dwell_s": 21.0}, Verdict.BESIDE),
        ("Keep moving", {"dwell_s": 30.0}, Verdict.BEYOND),
        ("Within the limit of force", {"contact_force_n": 51.0}, Verdict.BEYOND),
    ],
)
def test_what_leaves_guidance_is_said(
    title: str, changes: dict[str, object], verdict: Verdict
) -> None:
    assert verdicts(second(0), second(1, **changes))[title] is verdict


def test_without_contact_there_is_nothing_to_hold_against_guidance() -> None:
    assert verdicts(second(0, contact=False)) == {}


def test_a_long_session_is_worth_a_look() -> None:
    assert verdicts(second(0), contact_s=901.0)["Not too long"] is Verdict.BESIDE


# The session.


def test_an_open_session_is_summed_up_from_its_seconds() -> None:
    open_one = review(*(second(at) for at in range(30)), ended_at_ns=None, contact_s=0.0)
    assert open_one.line.contact_s == 30.0
    assert open_one.line.force_n_mean == pytest.approx(20.0)
    assert open_one.line.sites == ("Left calf",)
    assert sum(open_one.histogram_s) == 30.0
    assert review().line.contact_s == 50.0, "a closed one is as its summary says"


def test_sites_follow_each_other() -> None:
    sites = ["calf_left"] * 3 + ["quadriceps_left"] * 2 + ["unknown"]
    spans = site_spans([second(at, site=site) for at, site in enumerate(sites)])
    assert [span.site for span in spans] == ["Left calf", "Left quadriceps", "Site not named"]
    assert all(a.to_ms == b.from_ms for a, b in pairwise(spans))


def test_every_raise_is_an_occurrence_of_its_own() -> None:
    first = alarm("OVERDWELL", AlarmState.ACTIVE_UNACK, T0_NS, GUN, unit="s")
    over = replace(first, state=AlarmState.RTN_UNACK, changed_at_ns=T0_NS + SECOND_NS)
    again_ns = T0_NS + 5 * SECOND_NS
    again = replace(first, raised_at_ns=again_ns, changed_at_ns=again_ns, count=2)
    high = replace(again, priority=Priority.HIGH, by="op-9", capture="kept")
    found = occurrences([high, again, over, first], T0_NS + 9 * SECOND_NS, frozenset({"kept"}))
    assert [(each.from_ms, each.goes_on) for each in found] == [
        (T0_NS // 10**6, False),
        (again_ns // 10**6, True),
    ]
    assert found[0].to_ms - found[0].from_ms == 1000
    assert found[1].priority is Priority.HIGH
    assert found[1].notes == ("answered by op-9",)
    assert [each.capture for each in found] == [None, "kept"]


def test_a_capture_that_is_gone_is_not_offered() -> None:
    raised = replace(alarm("OVERDWELL", AlarmState.ACTIVE_UNACK, T0_NS, GUN), capture="gone")
    (found,) = occurrences([raised], T0_NS, frozenset())
    assert found.capture is None


# Drawn.


def test_the_chart_has_sites_alarms_and_a_window_to_zoom() -> None:
    options = charts.session_options(review())
    text = json.dumps(options)
    assert "Left calf" in text
    assert options["dataZoom"]
    grids, axes = options["grid"], options["xAxis"]
    assert isinstance(grids, list)
    assert isinstance(axes, list)
    assert len(grids) == len(axes)


def test_single_samples_have_panels_where_they_are_kept() -> None:
    shown = review()
    (span,) = shown.raw  # the capture's 30 s, as far as the session goes
    t0_ms = T0_NS // 1_000_000
    assert (span.from_ms - t0_ms, span.to_ms - t0_ms) == (0, 30_000)
    options = charts.session_options(shown)
    grids, axes = options["grid"], options["xAxis"]
    assert len(grids) == len(axes) == len(charts.charts.PANELS) + 3  # type: ignore[arg-type]
    without = replace(shown, raw=())
    assert charts.session_px(shown) == charts.session_px(without) + charts.RAW_PX
    assert len(charts.session_options(without)["grid"]) == len(grids) - 2  # type: ignore[arg-type]


def test_a_site_cannot_break_out_of_the_script_that_draws_it() -> None:
    evil = '"]); alert(1); (["'
    options = charts.session_options(review(*(second(at, site=evil) for at in range(3))))
    sites = [each for each in options["series"] if each.get("id") == "sites"]  # type: ignore[union-attr]
    script = sites[0][":renderItem"]  # type: ignore[call-overload, index]
    names = script[script.rindex("})(") + 3 : -1]
    assert len(json.loads(names)) == 1


def test_two_sessions_start_together() -> None:
    later = review(*(second(at) for at in range(1, 30)))
    options = charts.compare_options([review(), later])
    firsts = [each["data"][0][0] for each in options["series"]]  # type: ignore[union-attr, index, call-overload]
    assert firsts[0] == firsts[1]


def test_pictures_and_report_are_made_and_carry_no_markup_of_others() -> None:
    shown = review(client=MARKUP, operator=MARKUP, guidance=(MARKUP,))
    image = Image.open(io.BytesIO(to_png(shown)))
    assert image.size == (1650, 1100)
    page = report_html(shown, to_svg(shown), MARKUP)
    assert "<img" not in page
    assert "&lt;img" in page
    for said in ("Keep moving", "Left calf", "Pressing too hard", "within guidance"):
        assert said in page


# Tables.


def test_tables_say_the_same_as_csv_and_parquet() -> None:
    seconds = [second(at, battery_mv=None if at % 2 else 7400) for at in range(5)]
    table = seconds_table(seconds)
    assert table.column("contact_force_n_sd").to_pylist() == [2.0] * 5
    assert table.column("battery_mv").to_pylist() == [7400, None, 7400, None, 7400]
    parquet = pq.read_table(io.BytesIO(encode_table(table, TableFormat.PARQUET)))
    assert parquet.equals(table)
    read = pa_csv.read_csv(io.BytesIO(encode_table(table, TableFormat.CSV)))
    assert read.column("t_ns").to_pylist() == table.column("t_ns").to_pylist()
    assert read.column_names == table.column_names
    raised = alarm("OVERDWELL", AlarmState.ACTIVE_UNACK, T0_NS, GUN)
    assert alarms_table([raised]).column("rule").to_pylist() == ["OVERDWELL"]
    assert seconds_table([]).num_rows == 0


# Waveforms.


def frames(count: int, rate_hz: float, gap: bool) -> list[Received]:
    made = []
    for seq in range(count):
        if gap and seq == count // 2:
            continue
        t0_ns = T0_NS + round(seq * 400 / rate_hz * 1e9)
        times = (np.arange(400) + seq * 400) / rate_hz
        samples = np.zeros((400, 4), np.int16)
        samples[:, 2] = np.round(1000 * np.sin(2 * np.pi * 40.0 * times))
        frame = Frame(GUN, 1, seq, t0_ns, rate_hz, 40.0, 0.001, 0.001, samples)
        made.append(Received(t0_ns, *wire.encode(frame)))
    return made


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 30), st.sampled_from([800.0, 1600.0, 3200.0]), st.booleans())
def test_every_sample_is_in_the_waveform(count: int, rate_hz: float, gap: bool) -> None:
    at_ns = T0_NS + SECOND_NS
    waveform = make_waveform(frames(count, rate_hz, gap), at_ns)
    assert waveform is not None
    real = waveform.samples[np.isfinite(waveform.samples[:, 3])]
    assert len(real) == 400 * (count - gap)
    assert waveform.from_s == pytest.approx(-1.0)
    assert np.all(np.diff(waveform.samples[:, 0]) >= 0)
    assert np.abs(real[:, 3]).max() == pytest.approx(1.0, abs=0.01)
    breaks = len(waveform.samples) - len(real)
    assert breaks == (1 if gap and 0 < count // 2 < count - 1 else 0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 70), st.integers(1, 80), st.booleans())
def test_a_stretch_has_every_sample_or_the_extremes(begin: int, tenths: int, gap: bool) -> None:
    """The slow twin: all samples of the waveform within the same moments."""
    from_ns = T0_NS + begin * SECOND_NS // 10 + 100_000  # between two samples
    to_ns = from_ns + tenths * SECOND_NS // 10
    log = frames(30, 1600.0, gap)
    stretch = make_stretch(log, from_ns, to_ns)
    waveform = make_waveform(log, from_ns)
    assert waveform is not None
    at_s, z = waveform.samples[:, 0].astype(float), waveform.samples[:, 3]
    expected = z[(at_s >= 0.0) & (at_s < tenths / 10) & np.isfinite(z)]
    if stretch is None:
        assert not len(expected)
        return
    found = stretch[np.isfinite(stretch[:, 1]), 1]
    assert (found.min(), found.max()) == (expected.min(), expected.max())
    assert np.all(np.diff(stretch[:, 0]) >= 0)
    if len(expected) <= POINTS_MAX:
        assert found.tolist() == expected.tolist()
    else:
        assert 1_000 < len(found) <= POINTS_MAX  # pieces of time without a sample have none


def test_the_spectrum_is_bright_at_the_percussion() -> None:
    waveform = make_waveform(frames(40, 1600.0, gap=False), T0_NS)
    assert waveform is not None
    picture = np.asarray(Image.open(_data(waveform.spectrogram)), float).sum(axis=2)
    brightest = picture.mean(axis=1).argmax()
    hz = (len(picture) - 1 - brightest) / (len(picture) - 1) * waveform.top_hz
    assert hz == pytest.approx(40.0, abs=2.5)


def _data(url: str) -> io.BytesIO:
    """The PNG within the SVG."""
    svg = base64.b64decode(url.partition(",")[2]).decode()
    return io.BytesIO(base64.b64decode(svg.partition("base64,")[2].partition('"')[0]))


def test_no_frame_is_no_waveform() -> None:
    assert make_waveform([Received(1, "massage/v1/a/b/telemetry", b"no")], T0_NS) is None


def test_a_day_is_a_day_here() -> None:
    from_ns, to_ns = day_ns("2026-09-21")
    assert from_ns is not None
    assert to_ns is not None
    assert time.localtime(from_ns / 1e9)[:5] == (2026, 9, 21, 0, 0)
    assert to_ns - from_ns in {23 * 3600 * 10**9, 24 * 3600 * 10**9, 25 * 3600 * 10**9}
    assert day_ns("yesterday") == (None, None)
