"""A monitor that cannot read its snapshot goes on with what its records say."""

import pytest
from clinic import ADA, AIR, BOB, PRESS, START, Clinic, S, Touch, monitor_of, of, run, told

from pipeline.model import ActionKind, Alarm, AlarmState, OperatorExposure
from pipeline.rules import Health

RULE = "EXCESS_PRESSURE"


def standing(records):
    last = {(alarm.id, alarm.rule): alarm for alarm in of(records, Alarm)}
    return [alarm for alarm in last.values() if alarm.state is not AlarmState.CLEARED]


def anew_after(clinic):
    """Run a log, lose everything but the records, and begin anew: the monitor, and what it says."""
    before, monitor = monitor_of(), monitor_of()
    records = run(clinic, before)
    clinic.log.clear()
    said = monitor.take_over(before.counters, of(records, OperatorExposure), standing(records))
    assert monitor.counters == before.counters
    return monitor, said, standing(records)


def pressed():
    return Clinic().birth(ADA).hops(ADA, PRESS, 2)


STANDING = {
    "active_unack": (pressed, "unknown"),
    "active_ack": (lambda: pressed().act(ADA, RULE, ActionKind.ACK), "unknown"),
    "shelved": (lambda: pressed().act(ADA, RULE, ActionKind.SHELVE, until_s=60), "shelved"),
    "suppressed": (lambda: pressed().will(ADA), "suppressed"),
    "rtn_unack": (lambda: pressed().hops(ADA, AIR, 2), "rtn_unack"),
}


@pytest.mark.parametrize("state", STANDING)
def test_what_stood_is_unknown_and_ends_as_ever(state):
    make, expected = STANDING[state]
    clinic = make()
    monitor, said, before = anew_after(clinic)
    (old,) = [alarm for alarm in before if alarm.rule == RULE]
    assert old.state.value == state
    changed = [alarm for alarm in of(said, Alarm) if alarm.rule == RULE]
    assert [alarm.state.value for alarm in changed] == ([expected] if expected != state else [])
    clinic.wait(60).act(ADA, RULE, ActionKind.ACK).hops(ADA, AIR, 3)
    (*_, last) = [alarm for alarm in of(run(clinic, monitor), Alarm) if alarm.rule == RULE]
    assert (last.state.value, last.alarm_id, last.peak) == ("cleared", old.alarm_id, old.peak)


def test_a_latched_alarm_waits_for_its_reset():
    clinic = Clinic().session(ADA, START, site="calf_left", avoid=("calf",))
    clinic.hops(ADA, Touch(), 1).hops(ADA, AIR, 3)
    monitor, said, _ = anew_after(clinic)
    assert told(said, "NO_GO_SITE") == []
    clinic.act(ADA, "NO_GO_SITE", ActionKind.RESET)
    assert [state for _, state, _ in told(run(clinic, monitor))] == ["cleared"]


def test_silence_and_bad_frames_of_before_end_too():
    clinic = Clinic().birth(ADA).birth(BOB).hops(ADA, AIR, 1).hops(BOB, AIR, 1).wait(6)
    for _ in range(3):
        clinic.raw(BOB, "telemetry", b"rubbish")
    monitor, said, before = anew_after(clinic)
    silent = [(ADA, "NO_FRAMES"), (BOB, "NO_FRAMES")]
    assert {(a.id, a.rule) for a in before} == {*silent, (BOB, "REJECTING_FRAMES")}
    assert [state for _, state, _ in told(said, "REJECTING_FRAMES")] == ["unknown", "rtn_unack"]
    said = run(clinic.wait(60).hops(ADA, AIR, 1).hops(BOB, AIR, 1), monitor)
    assert told(said, "REJECTING_FRAMES") == []
    ended = {a.id: a.state for a in of(said, Alarm) if a.rule == "NO_FRAMES"}
    assert ended == dict.fromkeys((ADA, BOB), AlarmState.RTN_UNACK)


def test_what_the_pipeline_said_of_itself_is_judged_anew():
    before, monitor = monitor_of(), monitor_of()
    failing = [before.judge_health(Health(100.0), step * S // 2) for step in range(60)]
    records = [record for said in failing for record in said]
    (alarm,) = standing(records)
    assert told(monitor.take_over(before.counters, [], [alarm]), "STORE_UNREACHABLE")
    said = [record for k in range(100) for record in monitor.judge_health(Health(), k * S // 2)]
    assert [a.state for a in of(said, Alarm)] == [AlarmState.RTN_UNACK]


def test_an_operators_day_goes_on():
    strong = AIR._replace(a_hv_m_s2=120)  # 2.5 m/s² A(8) after 12.5 s
    clinic = Clinic().session(ADA, START, operator="op-1").hops(ADA, strong, 10)
    clinic.session(ADA, START, "s-2", operator="op-1").wait(3).birth(ADA)
    monitor, _, _ = anew_after(clinic)
    clinic.session(ADA, START, "s-3", operator="op-1").hops(ADA, strong, 5)
    (alarm,) = [a for a in of(run(clinic, monitor), Alarm) if a.rule == "HAV_ACTION"]
    assert alarm.operator == "op-1"
