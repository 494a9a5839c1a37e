"""What other limits would have done: the same recordings, judged twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from clinic_log import SEED, clinic_log

from pipeline.capture import RecordingWriter
from pipeline.cli.gun_models import known_guns
from pipeline.config import load
from pipeline.sites import SiteTable, with_overrides
from pipeline.whatif import Judge, Trial, WhatIfError, run, run_apart


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every main alarm of the demo's first gun."""
    print(f"seed {SEED}")
    path = tmp_path_factory.mktemp("log") / "demo.parquet"
    with RecordingWriter(path) as writer:
        for message in clinic_log(1, 95.0):
            writer.append(message)
    return path


@pytest.fixture(scope="module")
def judge() -> Judge:
    guns = known_guns(load(None))
    return Judge(dict(guns.calibrations), dict(guns.priors), dict(guns.models))


def trial(judge: Judge, log: Path, **limits: float) -> Trial:
    names = ("calf", "quadriceps", "hamstrings", "gluteals", "upper_back")
    tried = with_overrides(dict.fromkeys(names, limits)) if limits else SiteTable()
    return Trial(judge, SiteTable(), tried, ((log,),))


def test_the_same_limits_change_nothing(judge: Judge, log: Path) -> None:
    verdict = run(trial(judge, log))
    assert {"OVERDWELL", "EXCESS_PRESSURE", "TENDON_PROXIMITY"} <= {r.rule for r in verdict.rules}
    assert all(row.now == row.tried > 0 for row in verdict.rules)
    assert verdict.gained == verdict.lost == ()
    assert verdict.contact_s > 30


def test_a_lower_limit_gains_and_a_higher_one_loses(judge: Judge, log: Path) -> None:
    lower = run(trial(judge, log, force_limit_n=8.0, tendon_limit_n=8.0))
    (pressure,) = [row for row in lower.rules if row.rule == "EXCESS_PRESSURE"]
    assert pressure.gained > 0
    assert pressure.lost == 0
    assert Counter(each.rule for each in lower.gained)["EXCESS_PRESSURE"] == pressure.gained
    higher = run(trial(judge, log, force_limit_n=120.0))
    (pressure,) = [row for row in higher.rules if row.rule == "EXCESS_PRESSURE"]
    assert pressure.lost == pressure.now > 0
    assert pressure.tried == pressure.gained == 0
    longer = run(trial(judge, log, dwell_limit_s=300.0, dwell_advisory_s=200.0))
    assert {"OVERDWELL", "OVERDWELL_ADVISORY"} <= {each.rule for each in longer.lost}


def test_apart_it_is_the_same_and_tells_how_far_it_is(judge: Judge, log: Path) -> None:
    asked = trial(judge, log, force_limit_n=8.0, tendon_limit_n=8.0)
    told: list[tuple[int, int]] = []
    assert run_apart(asked, lambda done, every: told.append((done, every))) == run(asked)
    assert told == [(0, 1), (1, 1)]


def test_it_can_be_stopped(judge: Judge, log: Path) -> None:
    with pytest.raises(WhatIfError, match="stopped"):
        run_apart(trial(judge, log), lambda _done, _every: None, stopped=lambda: True)


def test_a_damaged_recording_is_counted_and_the_others_judged(
    judge: Judge, log: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 and nothing more")
    verdict = run(Trial(judge, SiteTable(), SiteTable(), ((damaged,), (log,))))
    assert verdict.unreadable == 1
    assert verdict.logs == 2
    assert verdict.rules


def test_an_alarm_in_two_captures_counts_once(judge: Judge, log: Path, tmp_path: Path) -> None:
    other = tmp_path / "again.parquet"
    other.write_bytes(log.read_bytes())
    once = run(trial(judge, log))
    twice = run(Trial(judge, SiteTable(), SiteTable(), ((log,), (other,))))
    assert twice.rules == once.rules
