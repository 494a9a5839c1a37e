"""Daily hand-arm vibration exposure against the figures of ISO 5349-1, the directive and HSE."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.exposure import (
    DAY_NS,
    DAYS_KEPT,
    MINUTES_MAX,
    OPERATORS_MAX,
    Dose,
    Exposures,
    Operator,
    day_name,
    record,
)

ANNA = Operator("clinic", "anna")
BERT = Operator("clinic", "bert")
HOUR_S = 3600.0
T_NS = 1_790_000_000_000_000_000  # 2026-09-21T14:13:20Z


@pytest.mark.parametrize(
    ("a_hv_m_s2", "hours", "a8_m_s2", "points"),
    [
        (2.5, 8.0, 2.5, 100.0),  # the action value, by definition
        (5.0, 8.0, 5.0, 400.0),  # the limit value
        (10.0, 0.5, 2.5, 100.0),
        (10.0, 2.0, 5.0, 400.0),
        (4.0, 2.0, 2.0, 64.0),  # 2a² = 32 points an hour
        (7.0, 3.0, 7.0 * math.sqrt(3 / 8), 294.0),
    ],
)
def test_exact_figures(a_hv_m_s2, hours, a8_m_s2, points):
    dose = Dose().plus(a_hv_m_s2, hours * HOUR_S)
    assert dose.a_hv_m_s2 == pytest.approx(a_hv_m_s2, rel=1e-12)
    assert dose.a8_m_s2 == pytest.approx(a8_m_s2, rel=1e-12)
    assert dose.points == pytest.approx(points, rel=1e-12)


def test_partial_exposures_add_as_a2t():
    # Two tools by hand: 4 m/s² for 2 h is a partial 2.0, 6 m/s² for 1 h a partial 2.1.
    parts = [(4.0, 2.0), (6.0, 1.0)]
    dose = Dose()
    for a_hv, hours in parts:
        dose = dose.plus(a_hv, hours * HOUR_S)
    partial = [a * math.sqrt(hours / 8) for a, hours in parts]
    assert dose.a8_m_s2 == pytest.approx(math.hypot(*partial), rel=1e-12)
    assert dose.a8_m_s2 == pytest.approx(math.sqrt(8.5), rel=1e-12)
    assert dose.points == pytest.approx(sum(2 * a * a * hours for a, hours in parts))


def test_minutes_left_at_the_magnitude_of_the_day():
    dose = Dose().plus(5.0, HOUR_S)
    assert dose.minutes_to(2.5) == pytest.approx(60.0)  # 2 h of 5 m/s² reach 2.5
    assert dose.minutes_to(5.0) == pytest.approx(7 * 60.0)
    assert dose.plus(5.0, HOUR_S).minutes_to(2.5) == 0.0
    assert Dose().minutes_to(2.5) == MINUTES_MAX
    assert Dose().plus(0.1, 1.0).minutes_to(2.5) == MINUTES_MAX


def test_time_without_a_reading_counts_at_the_magnitude_so_far():
    assert Dose().plus(None, 60.0) == Dose()
    dose = Dose().plus(4.0, 60.0).plus(None, 60.0).plus(math.nan, 60.0)
    assert dose == Dose(180.0, 16.0 * 180.0)


def test_one_operator_over_many_guns_is_one_dose_and_another_is_another():
    exposures = Exposures()
    exposures.add(ANNA, T_NS, 3.0, 0.25)
    exposures.add(BERT, T_NS, 9.0, 0.25)
    dose, _ = exposures.add(ANNA, T_NS + 1, 4.0, 0.25)
    assert dose == Dose(0.5, 0.25 * 25.0) == exposures.dose(ANNA, T_NS)
    assert exposures.dose(Operator("other", "anna"), T_NS) == Dose()


def test_the_next_day_starts_at_nothing():
    exposures = Exposures()
    midnight_ns = (T_NS // DAY_NS + 1) * DAY_NS
    exposures.add(ANNA, midnight_ns - 1, 5.0, HOUR_S)
    assert exposures.dose(ANNA, midnight_ns) == Dose()
    assert exposures.dose(ANNA, midnight_ns - 1).trigger_s == HOUR_S


def test_a_completed_minute_is_told_once():
    exposures = Exposures()
    told = [exposures.add(ANNA, T_NS, 1.0, 0.25)[1] for _ in range(600)]
    assert [index for index, minute in enumerate(told) if minute] == [239, 479]


def test_memory_is_bounded_in_days_and_operators():
    exposures = Exposures()
    for day in range(DAYS_KEPT + 5):
        exposures.add(ANNA, T_NS + day * DAY_NS, 1.0, 1.0)
    kept = [exposures.dose(ANNA, T_NS + day * DAY_NS).trigger_s for day in range(DAYS_KEPT + 5)]
    assert kept == [0.0] * 5 + [1.0] * DAYS_KEPT
    for number in range(OPERATORS_MAX):
        exposures.add(Operator("clinic", str(number)), T_NS, 1.0, 1.0)
    assert len(exposures) == OPERATORS_MAX
    assert exposures.dose(ANNA, T_NS + 7 * DAY_NS) == Dose()


def test_the_record_says_it_all():
    kept = record(ANNA, T_NS, Dose().plus(5.0, HOUR_S))
    assert (kept.clinic, kept.operator, kept.day) == ("clinic", "anna", "2026-09-21")
    assert (kept.trigger_s, kept.a_hv_m_s2, kept.points) == (3600.0, 5.0, 50.0)
    assert kept.a8_m_s2 == pytest.approx(1.7678, abs=1e-4)
    assert (kept.minutes_to_action, kept.minutes_to_limit) == (60.0, 420.0)


def test_a_time_beyond_the_calendar_is_no_crash():
    assert day_name(2**64 - 1).startswith("2554")
    assert day_name(2**80).startswith("day ")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ANNA, BERT]),
            st.integers(0, 3 * DAY_NS),
            st.one_of(st.none(), st.floats(0.0, 50.0)),
        ),
        max_size=60,
    ),
    st.integers(0, 60),
)
def test_the_snapshot_forgets_nothing(events, split):
    whole, first, second = Exposures(), Exposures(), Exposures()
    for operator, t_ns, a_hv in events:
        whole.add(operator, t_ns, a_hv, 0.25)
    for operator, t_ns, a_hv in events[:split]:
        first.add(operator, t_ns, a_hv, 0.25)
    second.load(json.loads(json.dumps(first.dump())))
    for operator, t_ns, a_hv in events[split:]:
        second.add(operator, t_ns, a_hv, 0.25)
    assert second.dump() == whole.dump()
