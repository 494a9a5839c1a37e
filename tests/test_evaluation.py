"""Scoring on hand-made alarms, and the whole path on simulated sessions of a calibrated gun."""

from __future__ import annotations

import json
import math
from pathlib import Path

import benches
import numpy as np
import pytest

from devices.recording import LoadcellClock
from pipeline import evaluation
from pipeline.evaluation import Hazard, Report, SessionResult, Truth
from pipeline.model import Alarm, AlarmState, DeviceId, Priority, Quality

S = 1_000_000_000
SESSIONS = (
    "good_practice",
    "overdwell",
    "excess_pressure",
    "tendon_graze",
    "tendon_stay",
    "bone",
    "circles_in_place",
    "lift_and_return",
    "on_table",
    "carried",
    "stalled_motor",
    "flaky_network",
)


def alarm(state: AlarmState, at_s: float) -> Alarm:
    return Alarm(
        id=DeviceId("c", "g"),
        alarm_id="a",
        rule="OVERDWELL",
        priority=Priority.MEDIUM,
        state=state,
        raised_at_ns=round(at_s * S),
        changed_at_ns=round(at_s * S),
        value=31.0,
        peak=31.0,
        setpoint=30.0,
        unit="s",
        session_id=None,
        site="unknown",
        operator=None,
        count=1,
        quality=Quality.GOOD,
        config_version="v",
    )


def truth(*hazards: Hazard) -> Truth:
    return Truth("t", "m", 0, hazards, np.zeros(0), np.zeros(0, np.int64), np.zeros(0))


def hazard(onset_s: float, end_s: float, must: bool = True) -> Hazard:
    return Hazard("OVERDWELL", round(onset_s * S), round(end_s * S), round((onset_s - 4) * S), must)


def result(alarms: list[Alarm], *hazards: Hazard) -> evaluation.Score:
    return evaluation.score(truth(*hazards), alarms, []).scores["OVERDWELL"]


UP, DOWN = AlarmState.ACTIVE_UNACK, AlarmState.RTN_UNACK


@pytest.mark.parametrize(
    ("raised_s", "found", "true"),
    [
        (24.9, 0, 0),
        (25.1, 1, 1),
        (30.0, 1, 1),
        (32.4, 1, 1),
        (32.6, 0, 1),
        (40.4, 0, 1),
        (40.6, 0, 0),
    ],
)
def test_a_raise_counts_within_its_window(raised_s: float, found: int, true: int) -> None:
    score = result([alarm(UP, raised_s), alarm(DOWN, raised_s + 0.1)], hazard(30, 40))
    assert (score.found, score.must, score.true_raises, score.raises) == (found, 1, true, 1)


def test_an_alarm_already_standing_counts_as_found() -> None:
    score = result([alarm(UP, 12.0)], hazard(10, 20), hazard(24, 30))
    assert (score.found, score.must) == (2, 2)


def test_a_hazard_that_need_not_be_found_neither_helps_nor_hurts() -> None:
    assert result([], hazard(30, 40, must=False)).must == 0
    score = result([alarm(UP, 31.0)], hazard(30, 40, must=False))
    assert (score.raises, score.true_raises) == (1, 1)


def test_unknown_is_neither_a_raise_nor_a_return() -> None:
    history = [alarm(UP, 31), alarm(AlarmState.UNKNOWN, 32), alarm(UP, 33), alarm(DOWN, 34)]
    assert evaluation.raises_of(history) == [31 * S]


def test_acknowledging_is_not_raising() -> None:
    history = [alarm(UP, 31), alarm(AlarmState.ACTIVE_ACK, 32), alarm(DOWN, 34), alarm(UP, 36)]
    assert evaluation.raises_of(history) == [31 * S, 36 * S]


def test_delays_are_counted_from_the_onset() -> None:
    score = result([alarm(UP, 31.5)], hazard(30, 40))
    assert score.delays_s == [1.5]


def test_wilson_interval_of_known_cases() -> None:
    # E. B. Wilson 1927; values by statsmodels.stats.proportion.proportion_confint
    assert evaluation.wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    low, high = evaluation.wilson(10, 10)
    assert low == pytest.approx(0.7224672, abs=1e-6)
    assert high == pytest.approx(1.0)
    assert all(math.isnan(x) for x in evaluation.wilson(0, 0))


def test_a_rule_without_labels_is_not_scored() -> None:
    report = Report([SessionResult("s", "m")])
    assert report.to_json()["rules"] == {}


def test_an_empty_folder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(evaluation.EvaluationError, match=r"holds no \*\.truth\.json"):
        evaluation.evaluate(tmp_path)


def test_a_truth_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.truth.json").write_text(json.dumps({"hazards": []}))
    with pytest.raises(evaluation.EvaluationError, match=r"x\.truth\.json"):
        evaluation.evaluate(tmp_path)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("sessions")
    print(f"seed {benches.SEED}")
    benches.write_gun_bench(folder, "bench", LoadcellClock(offset_s=0.03))
    for name in SESSIONS:
        benches.write_gun_session(folder, name)
        for suffix in (".bench.parquet", ".bench.loadcell.csv"):
            (folder / (name + suffix)).symlink_to(folder / ("bench" + suffix))
    return evaluation.evaluate(folder)


def by_name(report: Report, name: str) -> SessionResult:
    return next(s for s in report.sessions if s.name == name)


@pytest.mark.parametrize("name", SESSIONS)
def test_scripted_sessions_are_judged_right(report: Report, name: str) -> None:
    session = by_name(report, name)
    assert session.calibrated
    assert session.remarks == []


def test_force_on_muscle_is_near_the_truth(report: Report) -> None:
    errors = report.force_errors()
    assert errors.size > 1000
    assert np.median(errors) < 0.2


def test_dangers_are_found_while_the_hand_is_still_on_the_body(report: Report) -> None:
    scores = report.pooled()
    for rule in ("OVERDWELL", "EXCESS_PRESSURE", "TENDON_PROXIMITY"):
        assert scores[rule].found == scores[rule].must > 0
        assert max(scores[rule].delays_s) < 2.5
