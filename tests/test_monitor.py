"""What the monitor makes of messages: births and wills, silence, sessions, people, bad input."""

from dataclasses import replace

import pytest
from clinic import (
    ADA,
    AIR,
    BOB,
    END,
    EVE,
    OFF,
    PRESS,
    SITE,
    START,
    T0,
    Clinic,
    Hops,
    S,
    Touch,
    monitor_of,
    of,
    run,
    told,
)

from pipeline.features import GENERIC
from pipeline.model import (
    HOP_NS,
    ActionKind,
    Alarm,
    AlarmState,
    DeadLetter,
    DeviceId,
    DeviceStatus,
    Features,
    FrameFlag,
    OperatorExposure,
    Priority,
    Quality,
    Received,
    SessionSummary,
)
from pipeline.monitor import ModelFacts, Monitor, MonitorSettings, SnapshotError
from pipeline.monitor.board import Board
from pipeline.monitor.fleet import LOG_STEP_NS
from pipeline.monitor.refusals import REMEMBERED_MAX
from pipeline.rules import ALARMS, FALSE, SILENCE_S, TRUE, Health

# A press, and what a person does.


def test_a_press_becomes_an_alarm_with_its_session_and_ends():
    clinic = Clinic().birth(ADA)
    clinic.session(ADA, START, operator="op-1", client="c-1", site="calf_left")
    clinic.hops(ADA, Touch(), 2).hops(ADA, PRESS, 3).hops(ADA, AIR, 3)
    alarms = of(run(clinic), Alarm)
    raised, returned = (alarm for alarm in alarms if alarm.rule == "EXCESS_PRESSURE")
    assert raised.state is AlarmState.ACTIVE_UNACK
    assert (raised.value, raised.setpoint, raised.unit) == (60.0, 50.0, "N")
    assert (raised.session_id, raised.site, raised.operator) == ("s-1", "calf_left", "op-1")
    assert (raised.raised_at_ns - T0) / S == 3.25  # first TRUE hop at 2.25 s, and 1 s
    assert returned.state is AlarmState.RTN_UNACK
    assert (returned.changed_at_ns - T0) / S == 6.25
    assert returned.config_version == "default"


def test_hops_are_recorded_with_what_the_session_knows():
    clinic = Clinic().hops(ADA, AIR, 0.25)
    clinic.session(ADA, START, operator="op-1", site="elbow").hops(ADA, AIR, 0.25)
    clinic.session(ADA, SITE, site="calf_left").hops(ADA, AIR, 0.25)
    hops = of(run(clinic), Features)
    plain = of(run(Clinic().wait(0.25).hops(ADA, AIR, 0.5)), Features)
    assert replace(hops[2], session_id=None, operator=None, site="unknown") == plain[1]
    assert [(hop.session_id, hop.operator, hop.site) for hop in hops] == [
        (None, None, "unknown"),
        ("s-1", "op-1", "unknown"),  # a name the table does not hold
        ("s-1", "op-1", "calf_left"),
    ]


def test_the_limits_are_those_of_the_site():
    clinic = Clinic().session(ADA, START, site="shin_left")
    clinic.hops(ADA, Touch(force_n=26), 2).session(ADA, SITE, site="calf").hops(
        ADA, Touch(force_n=26), 3
    )
    assert [state for _, state, _ in told(run(clinic), "EXCESS_PRESSURE")] == [
        "active_unack",
        "rtn_unack",
    ]


def test_a_site_to_avoid_latches_until_reset():
    clinic = Clinic().session(ADA, START, site="calf_left", avoid=("calf",))
    clinic.hops(ADA, Touch(), 1).hops(ADA, AIR, 3).act(ADA, "NO_GO_SITE", ActionKind.RESET)
    assert [state for _, state, _ in told(run(clinic), "NO_GO_SITE")] == [
        "active_unack",
        "latched",
        "cleared",
    ]


def test_a_person_acknowledges():
    clinic = Clinic().hops(ADA, PRESS, 2).act(ADA, "EXCESS_PRESSURE", ActionKind.ACK)
    clinic.hops(ADA, AIR, 2)
    acked = of(run(clinic), Alarm)[1]
    assert (acked.state, acked.by) == (AlarmState.ACTIVE_ACK, "op-1")
    assert told(run(clinic))[-1] == ("EXCESS_PRESSURE", "cleared", 3.25)


@pytest.mark.parametrize(
    ("device", "rule"),
    [(BOB, "OVERDWELL"), (ADA, "OVERDWELL"), (ADA, "NO_SUCH_RULE")],
)
def test_an_action_that_makes_no_sense_is_a_dead_letter(device, rule):
    clinic = Clinic().hops(ADA, AIR, 1).act(device, rule, ActionKind.ACK)
    monitor = monitor_of()
    (letter,) = of(run(clinic, monitor), DeadLetter)
    assert letter.reason == "action_refused"
    assert monitor.counters.rejected == {"action_refused": 1}
    assert monitor.counters.frames_rejected == 0


def test_shelving_ends_at_its_time_whoever_notices():
    clinic = Clinic().hops(ADA, PRESS, 2)
    clinic.act(ADA, "EXCESS_PRESSURE", ActionKind.SHELVE, until_s=5)
    clinic.hops(ADA, PRESS, 4)
    assert told(run(clinic)) == [
        ("EXCESS_PRESSURE", "active_unack", 1.25),
        ("EXCESS_PRESSURE", "shelved", 2.0),
        ("EXCESS_PRESSURE", "active_unack", 5.0),
    ]


# Bad messages, and bounds.


def test_bad_messages_are_counted_kept_and_stop_nothing():
    clinic = Clinic().hops(ADA, AIR, 0.25)
    clinic.raw(ADA, "telemetry", b"MGF1 but short").raw(ADA, "session", b"{").raw(ADA, "x", b"")
    clinic.raw(BOB, "state", b"").hops(ADA, AIR, 0.25)
    monitor = monitor_of()
    records = run(clinic, monitor)
    letters = of(records, DeadLetter)
    assert [letter.reason for letter in letters] == ["too_short", "bad_json", "bad_topic"]
    assert letters[0].payload == b"MGF1 but short"
    assert len(of(records, Features)) == 2
    counters = monitor.counters
    assert (counters.messages, counters.frames, counters.frames_rejected) == (6, 3, 1)
    assert counters.rejected == {"too_short": 1, "bad_json": 1, "bad_topic": 1, "empty": 1}


def test_a_bad_message_that_comes_again_is_refused_once_also_across_a_restart():
    clinic = Clinic().hops(ADA, AIR, 0.25)
    for _ in range(2):
        clinic.raw(ADA, "telemetry", b"broken").raw(ADA, "session", b"{")
    clinic.raw(BOB, "telemetry", b"broken")  # by another gun it is another message
    monitor = monitor_of()
    records = monitor.feed(clinic.log[:3])
    restarted = monitor_of()
    restarted.restore(monitor.snapshot())
    records += restarted.feed(clinic.log[1:])
    assert [(each.topic.split("/")[3], each.reason) for each in of(records, DeadLetter)] == [
        ("ada", "bad_magic"),
        ("ada", "bad_json"),
        ("bob", "bad_magic"),
    ]
    counters = restarted.counters
    assert (counters.frames, counters.frames_rejected, counters.frames_duplicate) == (5, 2, 2)
    assert counters.rejected == {"bad_magic": 2, "bad_json": 1}


def test_of_what_was_refused_only_the_newest_is_remembered():
    monitor = monitor_of()
    topic = "massage/v1/clinic/ada/telemetry"
    log = [Received(T0, topic, b"%d" % k) for k in range(REMEMBERED_MAX + 1)]
    assert len(monitor.feed([*log, log[1], log[0], log[-1]])) == len(log) + 1


def test_a_lost_connection_makes_no_gun_silent_and_no_frame_late():
    """What it held up was on its way: it is put in order when it comes, and silence begins anew."""
    clinic = Clinic().birth(ADA).hops(ADA, PRESS, 2.0)
    clinic.wait(0.5).frame(ADA, PRESS, skip=1)
    before = len(clinic.log)
    clinic.wait(8.0)
    clinic.seq[ADA] -= 2
    clinic.frame(ADA, PRESS, late_s=8.25)
    monitor = monitor_of()
    records = monitor.feed(clinic.log[:before])
    monitor.hear_again(clinic.now_ns)
    monitor.hear_again(clinic.now_ns - S)  # a connection that brought nothing newer
    records += monitor.feed(clinic.log[before:])
    assert monitor.counters.frames_missing == monitor.counters.frames_late == 0
    assert [f.t_ns for f in of(records, Features)] == [T0 + HOP_NS * k for k in range(1, 11)]
    assert told(records, "NO_FRAMES") == []
    silent = monitor.tick(clinic.now_ns + 6 * S)
    assert told(silent, "NO_FRAMES") == [("NO_FRAMES", "active_unack", 7.5)]


def test_three_bad_frames_in_ten_seconds_are_an_alarm_for_ten_seconds():
    clinic = Clinic(at_s=0.0).hops(ADA, OFF, 0.25)
    for _ in range(3):
        clinic.wait(1).raw(ADA, "telemetry", b"broken")
    clinic.wait(30).hops(ADA, OFF, 0.25)
    assert told(run(clinic)) == [
        ("REJECTING_FRAMES", "active_unack", 3.25),
        ("REJECTING_FRAMES", "rtn_unack", 11.25),  # 10 s after the first of the three
    ]


def test_the_fleet_is_bounded():
    clinic = Clinic().birth(ADA).birth(BOB).hops(EVE, AIR, 0.25).session(EVE, START)
    monitor = monitor_of(devices_max=2)
    records = run(clinic, monitor)
    assert [letter.reason for letter in of(records, DeadLetter)] == ["too_many_devices"] * 2
    assert monitor.devices == 2
    assert (monitor.counters.frames, monitor.counters.frames_rejected) == (1, 1)


# Births and wills.


def test_the_birth_tells_the_extractor_the_model_and_the_fleet_view_all():
    extractor = Hops()
    monitor = Monitor(MonitorSettings(), extractor)
    clinic = Clinic().birth(ADA, model="hx-16", head="ball", serial="A1", firmware="1.0")
    clinic.birth(ADA, model="hx-16", head="ball", serial="A1", firmware="1.0")  # retained: again
    clinic.hops(ADA, AIR, 0.5)
    statuses = of(run(clinic, monitor), DeviceStatus)
    assert extractor.models == {ADA: ("hx-16", "ball")}
    assert [(s.online, s.model, s.calibrated) for s in statuses] == [
        (True, "hx-16", False),
        (True, "hx-16", True),
    ]


def test_when_a_gun_was_at_its_bench_is_told_once_and_again_after_the_next_bench():
    extractor = Hops()
    extractor.benched_ns[ADA] = 7
    monitor = Monitor(MonitorSettings(), extractor)
    clinic = Clinic().birth(ADA).hops(ADA, AIR, 0.5)
    assert [s.calibrated_at_ns for s in of(run(clinic, monitor), DeviceStatus)] == [None, 7]
    monitor.calibrate(ADA, replace(GENERIC, calibrated_at_ns=9))
    restarted = Monitor(MonitorSettings(), extractor)
    restarted.restore(monitor.snapshot())
    clinic.log.clear()
    statuses = of(run(clinic.hops(ADA, AIR, 0.5), restarted), DeviceStatus)
    assert [(s.calibrated, s.calibrated_at_ns) for s in statuses] == [(True, 9)]


def test_only_the_newest_boots_will_counts():
    clinic = Clinic().birth(ADA, boot_id=7).wait(1).birth(ADA, boot_id=8).wait(1)
    clinic.will(ADA, boot_id=7).wait(1)
    assert told(run(clinic)) == []
    clinic.will(ADA, boot_id=8)
    assert told(run(clinic)) == [("DEVICE_OFFLINE", "active_unack", 3.0)]


def test_an_old_birth_told_again_changes_nothing():
    clinic = Clinic().birth(ADA, boot_id=7, t_ns=1).birth(ADA, boot_id=8, t_ns=2)
    clinic.birth(ADA, boot_id=7, t_ns=1).will(ADA, boot_id=7)
    assert told(run(clinic)) == []


def test_a_boot_that_comes_again_later_is_believed():
    clinic = Clinic().birth(ADA, boot_id=7, t_ns=1).birth(ADA, boot_id=8, t_ns=2)
    clinic.birth(ADA, boot_id=7, t_ns=3).will(ADA, boot_id=7)
    assert [alarm[:2] for alarm in told(run(clinic))] == [("DEVICE_OFFLINE", "active_unack")]


def test_a_gun_never_seen_online_does_not_go_offline():
    records = run(Clinic().will(ADA))
    assert told(records) == []
    assert [status.online for status in of(records, DeviceStatus)] == [False]


def test_offline_is_more_urgent_in_a_session_and_ends_with_the_next_birth():
    clinic = Clinic().birth(ADA).session(ADA, START).wait(3).will(ADA).wait(60).birth(ADA, 8)
    raised, returned = of(run(clinic), Alarm)
    assert (raised.rule, raised.priority.value) == ("DEVICE_OFFLINE", "medium")
    assert returned.state is AlarmState.RTN_UNACK
    clinic = Clinic().birth(ADA).will(ADA).birth(ADA, 8)
    assert [(a.priority.value, a.state.value) for a in of(run(clinic), Alarm)] == [
        ("low", "active_unack"),
        ("low", "cleared"),
    ]


def test_offline_silences_the_guns_own_use_alarms_and_they_come_back_unknown():
    clinic = Clinic().birth(ADA).hops(ADA, PRESS, 2).will(ADA).wait(60).birth(ADA)
    assert told(run(clinic), "EXCESS_PRESSURE") == [
        ("EXCESS_PRESSURE", "active_unack", 1.25),
        ("EXCESS_PRESSURE", "suppressed", 2.0),
        ("EXCESS_PRESSURE", "unknown", 62.0),
    ]


def test_hops_for_a_second_prove_a_gun_online_and_a_stray_frame_does_not():
    clinic = Clinic().birth(ADA).hops(ADA, AIR, 1).will(ADA).hops(ADA, AIR, 1)
    assert told(run(clinic), "DEVICE_OFFLINE")[-1][1] == "active_unack"
    clinic.hops(ADA, AIR, 0.25)
    assert told(run(clinic), "DEVICE_OFFLINE")[-1] == ("DEVICE_OFFLINE", "cleared", 2.25)


# Silence, samples and clocks.


def test_silence_of_a_running_gun_is_an_alarm_at_its_deadline_and_unknown_is_not_normal():
    clinic = Clinic().birth(ADA).hops(ADA, PRESS, 2).wait(30).birth(BOB).hops(ADA, AIR, 3)
    records = run(clinic)
    (raised, _) = [a for a in of(records, Alarm) if a.rule == "NO_FRAMES"]
    assert (raised.value, raised.setpoint) == (SILENCE_S, SILENCE_S)
    assert told(records) == [
        ("EXCESS_PRESSURE", "active_unack", 1.25),
        ("NO_FRAMES", "active_unack", 7.0),
        ("EXCESS_PRESSURE", "unknown", 7.0),
        ("NO_FRAMES", "rtn_unack", 32.25),
        ("EXCESS_PRESSURE", "rtn_unack", 33.25),
    ]


def test_a_second_silence_is_the_same_alarm_again():
    clinic = Clinic().birth(ADA).hops(ADA, AIR, 1).wait(30).hops(ADA, AIR, 1).wait(30)
    alarms = of(run(clinic.birth(BOB)), Alarm)
    assert [(a.state.value, a.count) for a in alarms] == [
        ("active_unack", 1),
        ("rtn_unack", 1),
        ("active_unack", 2),
    ]


def test_going_offline_ends_the_alarm_of_silence():
    clinic = Clinic().birth(ADA).hops(ADA, AIR, 1).wait(10).will(ADA)
    assert told(run(clinic)) == [
        ("NO_FRAMES", "active_unack", 6.0),
        ("DEVICE_OFFLINE", "active_unack", 11.0),
        ("NO_FRAMES", "rtn_unack", 11.0),
    ]


def test_a_gun_switched_on_anew_is_not_missed_before_it_runs():
    clinic = Clinic().birth(ADA).hops(ADA, AIR, 1).wait(1).birth(ADA, boot_id=8).wait(30)
    assert told(run(clinic.birth(BOB))) == []


def test_a_stalled_network_gives_no_alarm_that_returns_before_it_is_raised():
    clinic = Clinic().birth(ADA).hops(ADA, AIR, 1).wait(7)
    clinic.frame(ADA, AIR, AIR, late_s=6.5)
    assert told(run(clinic)) == [
        ("NO_FRAMES", "active_unack", 6.0),
        ("NO_FRAMES", "rtn_unack", 6.0),
    ]


def test_what_is_held_back_comes_out_in_time_without_another_frame():
    monitor = monitor_of()
    clinic = Clinic().hops(ADA, AIR, 1).frame(ADA, AIR, skip=2)
    assert len(of(run(clinic, monitor), Features)) == 4
    assert monitor.tick(clinic.now_ns + S // 4) == []
    late = monitor.tick(clinic.now_ns + S)
    assert len(of(late, Features)) == 1
    assert told(late, "SEQUENCE_GAP")


def test_a_jump_of_the_guns_clock_is_told_once():
    clinic = Clinic().hops(ADA, AIR, 1)
    clinic.hops(ADA, AIR, 12, late_s=86_400)
    alarms = [a for a in of(run(clinic), Alarm) if a.rule == "CLOCK_STEP"]
    assert [(a.state.value, a.value) for a in alarms] == [("active_unack", 1.0), ("cleared", 1.0)]


def test_silence_of_a_gun_that_is_off_is_no_alarm():
    assert told(run(Clinic().birth(ADA).hops(ADA, OFF, 2).wait(30).birth(BOB))) == []


def test_bad_samples_make_an_alarm_unknown():
    bad = PRESS._replace(bad=True, clipped=True)
    clinic = Clinic().hops(ADA, PRESS, 2).hops(ADA, bad, 3).hops(ADA, AIR, 2)
    assert told(run(clinic)) == [
        ("EXCESS_PRESSURE", "active_unack", 1.25),
        ("SENSOR_CLIPPED", "active_unack", 2.75),
        ("EXCESS_PRESSURE", "unknown", 3.25),
        ("EXCESS_PRESSURE", "rtn_unack", 6.25),
    ]
    clipped = of(run(clinic), Alarm)[1]
    assert clipped.quality is Quality.DEGRADED  # bad never reaches an alarm


def test_what_has_cleared_without_a_session_is_forgotten():
    board = Board(ADA, "v1")
    row = ALARMS["OVERDWELL_ADVISORY"]
    board.judge([(row, TRUE)], 0, Quality.GOOD, [])
    assert board.held == {row.rule: True}
    for number in range(1, 10):
        board.judge([(row, FALSE)], number * HOP_NS, Quality.GOOD, [])
    assert board.held == {}


def test_a_gap_is_an_alarm_and_counted():
    clinic = Clinic().hops(ADA, AIR, 1)
    clinic.frame(ADA, AIR, skip=3)
    clinic.hops(ADA, AIR, 2)
    monitor = monitor_of()
    (alarm,) = of(run(clinic, monitor), Alarm)
    assert (alarm.rule, alarm.value, alarm.unit) == ("SEQUENCE_GAP", 3.0, "frames")
    assert monitor.counters.frames_missing == 3


def test_the_clock_flag_and_the_battery_of_the_model_are_watched():
    facts = {"hx": ModelFacts(battery_low_mv=7000.0)}
    clinic = Clinic().birth(ADA, model="hx").hops(ADA, AIR, 6, flags=FrameFlag(0), battery_mv=6900)
    records = run(clinic, monitor_of(models=facts))
    assert {rule for rule, _, _ in told(records)} == {"CLOCK_UNSYNCED", "BATTERY_LOW"}


# Its own absence.


def test_the_pipelines_own_absence_is_no_silence():
    clinic = Clinic().birth(ADA).session(ADA, START).hops(ADA, Touch(), 2)
    before = monitor_of()
    run(clinic, before)
    after = monitor_of()
    after.restore(before.snapshot())
    clinic.log.clear()
    after.resume(clinic.wait(3000).now_ns)
    records = run(clinic.hops(ADA, Touch(), 2), after)
    assert told(records) == []
    assert {hop.session_id for hop in of(records, Features)} == {"s-1"}
    assert [a[0] for a in told(after.tick(clinic.wait(10).now_ns))] == ["NO_FRAMES"]


def test_what_was_held_back_at_a_crash_still_waits_for_what_comes_again():
    clinic = Clinic().birth(ADA).hops(ADA, Touch(), 2)
    clinic.hops(ADA, Touch(), 0.25)
    late = clinic.log.pop()
    clinic.hops(ADA, Touch(), 0.25)
    before = monitor_of()
    run(clinic, before)
    after = monitor_of()
    after.restore(before.snapshot())
    clinic.log.clear()
    after.resume(clinic.wait(3000).now_ns)
    clinic.log.append(late._replace(received_at_ns=clinic.wait(0.25).now_ns))
    records = run(clinic, after)
    assert len(of(records, Features)) == 2
    assert after.counters.frames_missing == after.counters.frames_duplicate == 0


def test_a_log_that_begins_again_earlier_goes_on_from_there():
    first = Clinic().birth(ADA).hops(ADA, OFF, 60)
    second = Clinic().birth(BOB).hops(BOB, AIR, 2).wait(10).birth(EVE)
    monitor = monitor_of()
    run(first, monitor)
    assert first.now_ns - second.log[0].received_at_ns > LOG_STEP_NS
    assert told(run(second, monitor)) == [("NO_FRAMES", "active_unack", 7.0)]


# Sessions and exposure.


def test_a_session_is_summed_up_at_its_start_every_minute_and_at_its_end():
    clinic = Clinic().session(ADA, START, operator="op-1", site="calf").hops(ADA, PRESS, 90)
    clinic.session(ADA, END).hops(ADA, OFF, 1)
    summaries = of(run(clinic), SessionSummary)
    assert [(s.contact_s, s.ended_at_ns) for s in summaries] == [
        (0.0, None),
        (60.0, None),
        (90.0, T0 + 90 * S),
    ]
    last = summaries[-1]
    assert last.contact_s_by_site == {"calf": 90.0}
    assert last.force_histogram_s[6] == 90.0
    assert last.alarms_by_rule == {"EXCESS_PRESSURE": 1, "STARTED_TOO_STRONG": 1}
    assert last.guidance == summaries[0].guidance != ()


def test_alarms_about_sums_end_with_the_session_even_without_hops():
    clinic = Clinic().session(ADA, START, site="calf").hops(ADA, Touch(), 121)
    clinic.session(ADA, END).wait(60).birth(BOB)
    assert told(run(clinic), "MUSCLE_GROUP_TIME") == [
        ("MUSCLE_GROUP_TIME", "active_unack", 120.0),
        ("MUSCLE_GROUP_TIME", "cleared", 123.0),  # the end waits 2 s for samples
    ]


def test_a_site_nobody_named_may_be_several():
    clinic = Clinic().session(ADA, START).hops(ADA, Touch(), 121)
    assert told(run(clinic), "MUSCLE_GROUP_TIME") == []


def test_another_site_ends_the_time_on_the_muscle_group():
    clinic = Clinic().session(ADA, START, site="calf").hops(ADA, Touch(), 121)
    clinic.session(ADA, SITE, site="lats").hops(ADA, Touch(), 1)
    assert told(run(clinic), "MUSCLE_GROUP_TIME")[-1] == ("MUSCLE_GROUP_TIME", "cleared", 121.25)


def test_a_session_nobody_ends_is_over_after_half_an_hour_without_the_motor():
    clinic = Clinic().session(ADA, START).hops(ADA, Touch(), 10).hops(ADA, OFF, 1)
    clinic.wait(2000).birth(BOB)
    last = of(run(clinic), SessionSummary)[-1]
    assert (last.contact_s, last.ended_at_ns) == (10.0, T0 + 11 * S)


@pytest.mark.parametrize(
    ("facts", "warned"),
    [({}, False), ({"hx": ModelFacts(speeds_hz=(20.0, 25.0, 30.0))}, True)],
)
def test_the_speeds_of_the_model_decide_what_is_too_strong_to_begin_with(facts, warned):
    clinic = Clinic().birth(ADA, model="hx").session(ADA, START).hops(ADA, Touch(), 1)
    records = run(clinic, monitor_of(models=facts))
    assert bool(told(records, "STARTED_TOO_STRONG")) is warned


def test_without_a_profile_the_speeds_seen_decide():
    clinic = Clinic()
    for speed_hz in (20.0, 25.0, 30.0):
        clinic.hops(ADA, AIR, 0.5, set_percussion_hz=speed_hz)
    clinic.session(ADA, START).hops(ADA, Touch(), 1, set_percussion_hz=30.0)
    (alarm,) = of(run(clinic), Alarm)
    assert (alarm.rule, alarm.value) == ("STARTED_TOO_STRONG", pytest.approx(30 / 25))


def test_an_operators_vibration_adds_up_over_guns_and_is_raised_on_the_one_in_use():
    strong = AIR._replace(a_hv_m_s2=120)  # 2.5 m/s² A(8) after 12.5 s
    clinic = Clinic().session(ADA, START, operator="op-1").hops(ADA, strong, 10)
    clinic.session(ADA, END).session(BOB, START, "s-2", operator="op-1").hops(BOB, strong, 5)
    records = run(clinic)
    (alarm,) = [a for a in of(records, Alarm) if a.rule == "HAV_ACTION"]
    assert (alarm.id, alarm.operator) == (BOB, "op-1")
    assert (alarm.changed_at_ns - T0) / S == 12.5
    (exposure,) = of(records, OperatorExposure)  # at the end of the first session
    # That end waited 2 s for samples that did not come; by then bob had run for 1.75 s.
    assert (exposure.operator, exposure.trigger_s, exposure.a_hv_m_s2) == ("op-1", 11.75, 120.0)


def test_hops_that_cannot_be_trusted_count_at_the_magnitude_of_the_day():
    strong = AIR._replace(a_hv_m_s2=120)
    clinic = Clinic().session(ADA, START, operator="op-1").hops(ADA, strong, 10)
    clinic.hops(ADA, AIR._replace(a_hv_m_s2=0, bad=True), 5).session(ADA, END).wait(3).birth(BOB)
    (exposure,) = of(run(clinic), OperatorExposure)
    assert (exposure.trigger_s, exposure.a_hv_m_s2) == (15.0, 120.0)


def test_vibration_counts_while_the_motor_runs_and_somebody_is_named():
    strong = AIR._replace(a_hv_m_s2=120)
    clinic = Clinic().hops(ADA, strong, 20)
    clinic.session(ADA, START, operator="op-1").hops(ADA, strong._replace(motor=0), 20)
    assert told(run(clinic), "HAV_ACTION") == []
    assert of(run(clinic), OperatorExposure) == []


def test_the_next_day_ends_the_alarm_of_the_day():
    clinic = Clinic(at_s=86_400 - T0 / S % 86_400 - 15)
    clinic.session(ADA, START, operator="op-1").hops(ADA, AIR._replace(a_hv_m_s2=120), 14)
    clinic.hops(ADA, AIR, 2)
    assert [state for _, state, _ in told(run(clinic), "HAV_ACTION")] == [
        "active_unack",
        "rtn_unack",
    ]


# What is shown, the snapshot, and its own alarms.


def test_live_tells_of_guns_in_contact_or_changed_once():
    clinic = Clinic().hops(ADA, Touch(), 1).hops(BOB, OFF, 1)
    other = DeviceId("other", "gun")
    clinic.hops(other, OFF, 1)
    monitor = monitor_of()
    run(clinic, monitor)
    first = {live.clinic: live.guns for live in monitor.live()}
    assert {clinic: set(guns) for clinic, guns in first.items()} == {
        "clinic": {"ada", "bob"},
        "other": {"gun"},
    }
    assert first["clinic"]["ada"].contact_force_n == 20.0
    assert monitor.live() == []
    clinic.log.clear()
    clinic.hops(ADA, Touch(), 1).hops(BOB, OFF, 1)
    run(clinic, monitor)
    (live,) = monitor.live()
    assert set(live.guns) == {"ada"}
    assert live.t_ns == live.guns["ada"].t_ns


@pytest.mark.parametrize("spoil", ["empty", "magic", "cut", "json"])
def test_a_snapshot_that_cannot_be_read_is_named(spoil):
    data = monitor_of().snapshot()
    spoiled = {
        "empty": b"",
        "magic": b"XXSNAP99" + data[8:],
        "cut": data[:20],
        "json": data[:16] + b"?" + data[17:],
    }[spoil]
    with pytest.raises(SnapshotError, match="start anew without the checkpoint"):
        monitor_of().restore(spoiled)


def judge(monitor, from_s, to_s, failing, share=0.0):
    """What the pipeline says of itself every half second."""
    records = []
    for step in range(from_s * 2, to_s * 2):
        health = Health(step / 2 - from_s + 0.1 if failing else 0.0, share)
        records += monitor.judge_health(health, T0 + step * S // 2)
    return records


def test_the_pipelines_own_alarm_lives_like_any_other_and_belongs_to_no_gun():
    monitor = monitor_of()
    assert judge(monitor, 0, 20, failing=False) == []
    raised = judge(monitor, 20, 80, failing=True)
    assert told(raised) == [("STORE_UNREACHABLE", "active_unack", 50.0)]
    assert raised[0].id == DeviceId("pipeline", "myoguard")
    assert monitor.devices == 0
    clinic = Clinic().wait(80).act(raised[0].id, "STORE_UNREACHABLE", ActionKind.ACK)
    assert [state for _, state, _ in told(run(clinic, monitor))] == ["active_ack"]
    again = monitor_of()
    again.restore(monitor.snapshot())
    assert [state for _, state, _ in told(judge(again, 82, 100, failing=False))] == ["cleared"]


def test_a_spool_that_fills_makes_it_high_and_that_stays_until_somebody_resets_it():
    monitor = monitor_of()
    records = judge(monitor, 0, 60, failing=True)
    records += judge(monitor, 60, 70, failing=True, share=0.5)
    records += judge(monitor, 70, 80, failing=False)
    assert [(a.state, a.priority) for a in of(records, Alarm)] == [
        (AlarmState.ACTIVE_UNACK, Priority.MEDIUM),
        (AlarmState.ACTIVE_UNACK, Priority.HIGH),
        (AlarmState.LATCHED, Priority.HIGH),
    ]
