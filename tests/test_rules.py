"""The ALARMS table and the conditions of its rows."""

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from pipeline.alarm_docs import alarms_page
from pipeline.model import DeviceId, Features, MotorState, Priority, Quality
from pipeline.rules import (
    ALARMS,
    HEALTH_CONDITIONS,
    HOP_CONDITIONS,
    LINK_CONDITIONS,
    AlarmKind,
    Health,
    Link,
    Shortage,
    Signal,
    Situation,
    Verdict,
    judge_hop,
)
from pipeline.sites import SiteTable

TRUE, FALSE, UNKNOWN = Verdict.TRUE, Verdict.FALSE, Verdict.UNKNOWN
TABLE = SiteTable()

FEATURES = Features(
    id=DeviceId("c", "g"),
    t_ns=0,
    motor=MotorState.RUNNING,
    contact=True,
    quality=Quality.GOOD,
    percussion_hz=40.0,
    contact_force_n=20.0,
    contact_force_n_sd=1.0,
    stiffness=0.1,
    dwell_s=3.0,
    motion_deg_s=2.0,
    accel_rms_g=2.0,
    crest=2.0,
    kurtosis=2.0,
    current_a=1.0,
    current_ripple_a=0.1,
    h1=0.8,
    h2_4=0.1,
    h_sub=0.0,
    a_hw_x_m_s2=1.0,
    a_hw_y_m_s2=1.0,
    a_hw_z_m_s2=3.0,
    a_hv_m_s2=3.3,
    set_percussion_hz=40.0,
    calibrated=True,
    battery_mv=7400,
    temperature_c=30.0,
)


def situation(site=None, **changes):
    own = {name: changes.pop(name) for name in list(changes) if name in Situation._fields}
    return Situation(replace(FEATURES, **changes), TABLE.limits(site), **own)


def say(rule, held=False, **changes):
    changes = {"in_session": True} | changes
    said = {row.rule: condition for row, condition in judge_hop(situation(**changes), {rule: held})}
    return said[rule]


@pytest.mark.parametrize("row", ALARMS.values(), ids=lambda row: row.rule)
def test_every_row_is_complete(row):
    assert row.condition
    assert row.advice.endswith(".")
    assert row.source
    assert row.unit
    homes = (HOP_CONDITIONS, LINK_CONDITIONS, HEALTH_CONDITIONS)
    assert sum(row.rule in home for home in homes) == 1
    assert (row.signal is Signal.LINK) == (row.rule in LINK_CONDITIONS)
    assert (row.signal is Signal.PIPELINE) == (row.rule in HEALTH_CONDITIONS)
    highest = row.priority_highest or row.priority
    assert row.latched == (highest is Priority.HIGH)


def test_the_rows_are_those_of_the_contract():
    use = {rule for rule, row in ALARMS.items() if row.kind is AlarmKind.USE}
    assert use == {
        "OVERDWELL_ADVISORY",
        "OVERDWELL",
        "EXCESS_PRESSURE",
        "EXTREME_PRESSURE",
        "TENDON_PROXIMITY",
        "NO_GO_SITE",
        "MUSCLE_GROUP_TIME",
        "SESSION_TIME",
        "STARTED_TOO_STRONG",
        "HAV_ACTION",
        "HAV_LIMIT",
    }
    delays = {rule: (ALARMS[rule].on_delay_s, ALARMS[rule].off_delay_s) for rule in use}
    assert delays["OVERDWELL"] == delays["OVERDWELL_ADVISORY"] == (0.0, 2.0)
    assert delays["EXCESS_PRESSURE"] == delays["TENDON_PROXIMITY"] == (1.0, 1.0)
    assert delays["EXTREME_PRESSURE"] == (0.5, 1.0)
    assert delays["NO_GO_SITE"] == (0.5, 2.0)


def test_the_generated_page_is_fresh():
    page = Path(__file__).parents[1] / "docs" / "alarms.md"
    assert page.read_text() == alarms_page(), "run: python -m pipeline.alarm_docs > docs/alarms.md"


@pytest.mark.parametrize("rule", sorted(HOP_CONDITIONS))
def test_an_ordinary_moment_is_no_alarm(rule):
    assert say(rule, battery_low_mv=6600.0).verdict is FALSE


@pytest.mark.parametrize("rule", sorted(HOP_CONDITIONS))
def test_bad_samples_make_unknown_what_needs_them_and_only_that(rule):
    verdict = say(rule, quality=Quality.BAD, battery_low_mv=6600.0).verdict
    assert (verdict is UNKNOWN) == ALARMS[rule].signal.needs_good_samples


# rule, changes to the ordinary moment, whether the alarm stands already, what is said
CASES = [
    ("OVERDWELL_ADVISORY", {"dwell_s": 19.99}, False, FALSE),
    ("OVERDWELL_ADVISORY", {"dwell_s": 20.0}, False, TRUE),
    ("OVERDWELL_ADVISORY", {"dwell_s": 20.0, "contact": False}, True, FALSE),
    ("OVERDWELL_ADVISORY", {"dwell_s": 15.0, "site": "shin_left"}, False, TRUE),
    ("OVERDWELL_ADVISORY", {"dwell_s": math.nan}, False, UNKNOWN),
    ("OVERDWELL", {"dwell_s": 29.99}, False, FALSE),
    ("OVERDWELL", {"dwell_s": 30.0}, False, TRUE),
    ("OVERDWELL", {"dwell_s": 20.0, "site": "foot"}, False, TRUE),
    ("EXCESS_PRESSURE", {"contact_force_n": 50.5}, False, FALSE),
    ("EXCESS_PRESSURE", {"contact_force_n": 50.6}, False, TRUE),
    ("EXCESS_PRESSURE", {"contact_force_n": 60.0, "contact_force_n_sd": 20.0}, False, FALSE),
    ("EXCESS_PRESSURE", {"contact_force_n": 60.1, "contact_force_n_sd": 20.0}, False, TRUE),
    ("EXCESS_PRESSURE", {"contact_force_n": 46.0, "contact_force_n_sd": 20.0}, True, TRUE),
    ("EXCESS_PRESSURE", {"contact_force_n_sd": math.nan}, False, UNKNOWN),
    ("EXCESS_PRESSURE", {"contact_force_n": 50.9, "stiffness": 1.0}, False, FALSE),
    ("EXCESS_PRESSURE", {"contact_force_n": 51.1, "stiffness": 1.0}, False, TRUE),
    ("EXCESS_PRESSURE", {"contact_force_n": 46.0}, True, TRUE),
    ("EXCESS_PRESSURE", {"contact_force_n": 44.9}, True, FALSE),
    ("EXCESS_PRESSURE", {"contact_force_n": 60.0, "contact": False}, True, FALSE),
    ("EXCESS_PRESSURE", {"contact_force_n": 26.0, "site": "forearm_right"}, False, TRUE),
    ("EXCESS_PRESSURE", {"contact_force_n": math.nan}, False, UNKNOWN),
    ("EXTREME_PRESSURE", {"contact_force_n": 100.5}, False, FALSE),
    ("EXTREME_PRESSURE", {"contact_force_n": 100.6}, False, TRUE),
    ("EXTREME_PRESSURE", {"contact_force_n": 91.0}, True, TRUE),
    ("EXTREME_PRESSURE", {"contact_force_n": 50.6, "site": "face"}, False, TRUE),
    ("TENDON_PROXIMITY", {"stiffness": 0.51, "contact_force_n": 12.0}, False, TRUE),
    ("TENDON_PROXIMITY", {"stiffness": 0.5, "contact_force_n": 20.0}, False, FALSE),
    ("TENDON_PROXIMITY", {"stiffness": 1.0, "contact_force_n": 10.9}, False, FALSE),
    (
        "TENDON_PROXIMITY",
        {"stiffness": 1.9, "contact_force_n": 9.5, "contact_force_n_sd": 5.0},
        False,
        TRUE,
    ),
    ("TENDON_PROXIMITY", {"stiffness": 1.0, "contact": False}, True, FALSE),
    ("TENDON_PROXIMITY", {"stiffness": math.nan}, True, UNKNOWN),
    ("TENDON_PROXIMITY", {"stiffness": 1.0, "contact_force_n_sd": math.nan}, True, UNKNOWN),
    ("NO_GO_SITE", {"no_go": True}, False, TRUE),
    ("NO_GO_SITE", {"no_go": True, "contact": False}, False, FALSE),
    ("MUSCLE_GROUP_TIME", {"site_contact_s": 119.75}, False, FALSE),
    ("MUSCLE_GROUP_TIME", {"site_contact_s": 120.0}, False, TRUE),
    ("SESSION_TIME", {"session_contact_s": 900.0}, False, TRUE),
    ("STARTED_TOO_STRONG", {"start_excess": 1.0}, False, FALSE),
    ("STARTED_TOO_STRONG", {"start_excess": 1.2}, False, TRUE),
    ("HAV_ACTION", {"a8_m_s2": 2.5}, False, TRUE),
    ("HAV_LIMIT", {"a8_m_s2": 4.99}, False, FALSE),
    ("HAV_LIMIT", {"a8_m_s2": 5.0}, False, TRUE),
    ("HAV_LIMIT", {"a8_m_s2": 5.0, "motor": MotorState.OFF}, False, FALSE),  # not the gun in use
    ("HAV_LIMIT", {"a8_m_s2": 5.0, "motor": MotorState.OFF}, True, TRUE),
    ("SEQUENCE_GAP", {"frames_missing": 2}, False, TRUE),
    ("CLOCK_STEP", {"clock_steps": 1}, False, TRUE),
    ("CLOCK_UNSYNCED", {"clock_synchronised": False}, False, TRUE),
    ("SENSOR_CLIPPED", {"clipped": True, "quality": Quality.BAD}, False, TRUE),
    ("SENSOR_STUCK", {"stuck": True, "quality": Quality.BAD}, False, TRUE),
    ("UNCALIBRATED", {"calibrated": False}, False, TRUE),
    ("STALLED", {"motor": MotorState.STALLED}, False, TRUE),
    ("BATTERY_LOW", {"battery_low_mv": 7401.0}, False, TRUE),
    ("BATTERY_LOW", {"battery_low_mv": 7400.0}, False, FALSE),
    ("BATTERY_LOW", {"battery_low_mv": 7200.0}, True, TRUE),
    ("BATTERY_LOW", {}, False, UNKNOWN),
    ("BATTERY_LOW", {"battery_low_mv": 6600.0, "battery_mv": None}, False, UNKNOWN),
    ("OVERHEATED", {"temperature_c": 48.0}, False, TRUE),
    ("OVERHEATED", {"temperature_c": 47.0}, False, FALSE),
    ("OVERHEATED", {"temperature_c": 47.0}, True, TRUE),
    ("OVERHEATED", {"temperature_c": None}, True, UNKNOWN),
]


@pytest.mark.parametrize(("rule", "changes", "held", "verdict"), CASES)
def test_a_condition(rule, changes, held, verdict):
    assert say(rule, held, **changes).verdict is verdict


@pytest.mark.parametrize("rule", sorted(HOP_CONDITIONS))
def test_every_hop_condition_is_shown_true(rule):
    assert any(case[0] == rule and case[3] is TRUE for case in CASES)


def test_values_and_setpoints_are_the_ones_compared():
    assert say("EXCESS_PRESSURE", contact_force_n=63.0)[:3] == (TRUE, 63.0, 50.0)
    assert say("EXTREME_PRESSURE", site="shin", contact_force_n=51.0)[:3] == (TRUE, 51.0, 50.0)
    assert say("OVERDWELL", site="hand", dwell_s=4.0)[:3] == (FALSE, 4.0, 20.0)


def test_a_tendon_is_more_urgent_when_pressed():
    light = say("TENDON_PROXIMITY", stiffness=1.0, contact_force_n=25.0)
    pressed = say("TENDON_PROXIMITY", stiffness=1.0, contact_force_n=25.1)
    assert (light.priority, pressed.priority) == (None, Priority.HIGH)
    sensitive = say("TENDON_PROXIMITY", site="hand", stiffness=1.0, contact_force_n=12.6)
    assert sensitive.priority is Priority.HIGH


@pytest.mark.parametrize("rule", sorted(HOP_CONDITIONS))
@pytest.mark.parametrize(("contact", "in_session"), list(product([True, False], repeat=2)))
def test_passing_rules_over_changes_nothing(rule, contact, in_session):
    """What judge_hop says is what every condition says, asked one by one."""
    worst = {
        "dwell_s": 99.0,
        "contact_force_n": 300.0,
        "stiffness": 2.0,
        "frames_missing": 1,
        "clock_steps": 1,
        "clipped": True,
        "stuck": True,
        "temperature_c": 60.0,
        "motor": MotorState.STALLED,
        "no_go": in_session,
        "site_contact_s": 200.0 * in_session,
        "session_contact_s": 2000.0 * in_session,
        "start_excess": 2.0 * in_session,
        "a8_m_s2": 6.0 * in_session,
    }
    now = situation(contact=contact, in_session=in_session, **worst)
    told = {row.rule: condition for row, condition in judge_hop(now, {})}
    alone = HOP_CONDITIONS[rule](now, False)
    assert told.get(rule) == (alone if alone.verdict is TRUE else None)


def test_only_what_has_to_take_a_step_is_told():
    assert judge_hop(situation(), {}) == []
    said = judge_hop(situation(dwell_s=30.0), {"HAV_LIMIT": False})
    assert [row.rule for row, _ in said] == ["OVERDWELL_ADVISORY", "OVERDWELL", "HAV_LIMIT"]


QUIET = Link(online=True, session_open=False, silent_s=0.0, frames_rejected=0)


@pytest.mark.parametrize(
    ("rule", "link", "verdict", "priority"),
    [
        ("DEVICE_OFFLINE", QUIET, FALSE, None),
        ("DEVICE_OFFLINE", QUIET._replace(online=False), TRUE, None),
        (
            "DEVICE_OFFLINE",
            QUIET._replace(online=False, session_open=True),
            TRUE,
            Priority.MEDIUM,
        ),
        ("NO_FRAMES", QUIET._replace(silent_s=4.9), FALSE, None),
        ("NO_FRAMES", QUIET._replace(silent_s=5.0), TRUE, None),
        ("REJECTING_FRAMES", QUIET._replace(frames_rejected=2), FALSE, None),
        ("REJECTING_FRAMES", QUIET._replace(frames_rejected=3), TRUE, None),
    ],
)
def test_a_link_condition(rule, link, verdict, priority):
    condition = LINK_CONDITIONS[rule](link)
    assert condition.verdict is verdict
    if verdict is TRUE:
        assert condition.priority is priority


@pytest.mark.parametrize(
    ("failing_s", "share", "held", "expected"),
    [
        (0.0, 0.0, False, (FALSE, None)),
        (25.0, 0.0, False, (FALSE, None)),
        (25.1, 0.0, False, (TRUE, None)),  # the on-delay waits for the rest of 30 s
        (0.1, 0.0, True, (TRUE, None)),
        (0.0, 0.49, False, (FALSE, None)),
        (0.0, 0.5, False, (TRUE, Priority.HIGH)),
        (900.0, 0.7, True, (TRUE, Priority.HIGH)),
        (0.0, 0.45, True, (TRUE, Priority.HIGH)),
        (0.0, 0.39, True, (FALSE, None)),
    ],
)
def test_a_store_that_takes_nothing_is_an_alarm_and_a_filling_spool_a_high_one(
    failing_s, share, held, expected
):
    said = HEALTH_CONDITIONS["STORE_UNREACHABLE"](Health(failing_s, share), held)
    assert (said.verdict, said.priority) == expected
    assert (said.value, said.setpoint) == (failing_s, 30.0)


@pytest.mark.parametrize(
    ("rule", "health", "held", "verdict"),
    [
        ("BROKER_UNREACHABLE", Health(not_connected_s=0.1), False, TRUE),
        ("BROKER_UNREACHABLE", Health(), True, FALSE),
        ("STORE_FULL", Health(), True, FALSE),
        ("STORE_FULL", Health(shortage=Shortage.DETAIL), False, TRUE),
        ("PIPELINE_LAG", Health(lag_s=4.9), False, FALSE),
        ("PIPELINE_LAG", Health(lag_s=5.0), False, TRUE),
        ("PIPELINE_LAG", Health(lag_s=2.0), True, TRUE),
        ("PIPELINE_LAG", Health(lag_s=1.9), True, FALSE),
    ],
)
def test_no_broker_and_lag_are_the_pipelines_own_alarms(rule, health, held, verdict):
    assert HEALTH_CONDITIONS[rule](health, held).verdict is verdict


def test_a_store_that_gives_up_more_than_detail_is_urgent():
    detail, records = (
        HEALTH_CONDITIONS["STORE_FULL"](Health(shortage=each), False)
        for each in (Shortage.DETAIL, Shortage.RECORDS)
    )
    assert (detail.priority, records.priority) == (None, Priority.MEDIUM)


def test_a_disk_that_takes_nothing_is_high_whatever_influxdb_does():
    said = HEALTH_CONDITIONS["STORE_UNREACHABLE"](Health(not_storing_s=0.5), False)
    assert (said.verdict, said.priority) == (TRUE, Priority.HIGH)
