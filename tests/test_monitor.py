"""The whole fleet as a state machine: messages in, records out, the same in any pieces.

Hops come from `Hops`, an extractor of the same contract as pipeline.features that reads each hop's
features straight from a sample, so that a test says what the rules shall see. The last tests use
the real one.
"""

import json
import random
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pytest

from pipeline import wire
from pipeline.features import FeatureExtractor
from pipeline.model import (
    HOP_NS,
    ActionKind,
    Alarm,
    AlarmAction,
    AlarmState,
    DeadLetter,
    DeviceId,
    DeviceState,
    DeviceStatus,
    Features,
    Frame,
    FrameFlag,
    MotorState,
    OperatorExposure,
    Quality,
    Received,
    SessionEvent,
    SessionEventKind,
    SessionSummary,
    StreamEvent,
    StreamEventKind,
)
from pipeline.monitor import ModelFacts, Monitor, MonitorSettings, SnapshotError
from pipeline.monitor.board import Board
from pipeline.monitor.fleet import LOG_STEP_NS
from pipeline.rules import ALARMS, FALSE, SILENCE_S, TRUE

S = 1_000_000_000
T0 = 1_790_000_000 * S
ADA, BOB, EVE = (DeviceId("clinic", name) for name in ("ada", "bob", "eve"))
START, SITE, END = SessionEventKind
MOTORS = (MotorState.OFF, MotorState.STARTING, MotorState.RUNNING, MotorState.STALLED)
WINDOW_NS = S // 2


class Touch(NamedTuple):
    """One hop as a sample carries it."""

    force_n: int = 20
    stiffness_pct: int = 10
    dwell_s: int = 2
    contact: bool = True
    motor: int = 2
    bad: bool = False
    clipped: bool = False
    a_hv_m_s2: int = 4

    def sample(self):
        bits = self.motor | self.contact << 2 | self.bad << 3 | self.clipped << 4
        return (self.force_n, self.stiffness_pct, self.dwell_s, bits | self.a_hv_m_s2 << 5)


AIR = Touch(force_n=0, stiffness_pct=0, dwell_s=0, contact=False)
OFF = AIR._replace(motor=0, a_hv_m_s2=0)
PRESS = Touch(force_n=60)


class Advance(NamedTuple):
    hops: list[Features]
    events: list[StreamEvent]


@dataclass
class Stream:
    next_seq: int | None = None
    end_ns: int = 0
    waiting: dict[int, tuple[int, Frame]] | None = None

    def __post_init__(self):
        self.waiting = self.waiting or {}


class Hops:
    """An extractor: in order by seq, held behind a gap for half a second, one hop a sample."""

    def __init__(self):
        self.streams, self.models = {}, {}

    def set_model(self, device, model, head):
        self.models[device] = (model, head)

    def advance(self, frames):
        done = Advance([], [])
        seen = [frame.id for _, frame in frames]
        assert len(seen) == len(set(seen)), "at most one frame a gun in a call"
        for received_ns, frame in frames:
            stream = self.streams.setdefault(frame.id, Stream())
            if stream.next_seq is None:
                stream.next_seq = frame.seq
            if frame.seq < stream.next_seq or frame.seq in stream.waiting:
                done.events.append(StreamEvent(frame.id, StreamEventKind.DUPLICATE, frame.t0_ns))
                continue
            stream.waiting[frame.seq] = (received_ns, frame)
            self._release(stream, done)
        return done

    def tick(self, now_ns):
        done = Advance([], [])
        for stream in self.streams.values():
            while stream.waiting and now_ns - min(stream.waiting.values())[0] > WINDOW_NS:
                self._skip(stream, done)
        return done

    def flush(self):
        done = Advance([], [])
        for stream in self.streams.values():
            while stream.waiting:
                self._skip(stream, done)
        return done

    def _skip(self, stream, done):
        first = min(stream.waiting)
        frame = stream.waiting[first][1]
        lost = first - stream.next_seq
        done.events.append(StreamEvent(frame.id, StreamEventKind.SEQUENCE_GAP, frame.t0_ns, lost))
        stream.next_seq = first
        self._release(stream, done)

    def _release(self, stream, done):
        while stream.next_seq in stream.waiting:
            _, frame = stream.waiting.pop(stream.next_seq)
            stream.next_seq += 1
            if stream.end_ns and abs(frame.t0_ns - stream.end_ns) > 3600 * S:
                step = StreamEvent(frame.id, StreamEventKind.CLOCK_STEP, frame.t0_ns)
                done.events.append(step)
            stream.end_ns = frame.t0_ns
            for number, row in enumerate(frame.samples_lsb.tolist(), 1):
                done.hops.append(features_of(frame, frame.t0_ns + number * HOP_NS, row))

    def snapshot(self):
        streams = [
            [
                *device,
                stream.next_seq,
                stream.end_ns,
                [[t, wire.encode(f)[1].hex()] for t, f in waiting],
            ]
            for device, stream in self.streams.items()
            for waiting in [stream.waiting.values()]
        ]
        return json.dumps(streams).encode()

    def restore(self, data):
        for clinic, device, next_seq, end_ns, waiting in json.loads(data):
            topic = f"massage/v1/{clinic}/{device}/telemetry"
            frames = [(t, wire.decode(topic, bytes.fromhex(body))) for t, body in waiting]
            held = {frame.seq: (t, frame) for t, frame in frames}
            self.streams[DeviceId(clinic, device)] = Stream(next_seq, end_ns, held)


def features_of(frame, t_ns, row):
    force_n, stiffness_pct, dwell_s, bits = row
    return Features(
        id=frame.id,
        t_ns=t_ns,
        motor=MOTORS[bits & 3],
        contact=bool(bits & 4),
        quality=Quality.BAD if bits & 8 else Quality.GOOD,
        clipped=bool(bits & 16),
        percussion_hz=frame.set_percussion_hz,
        contact_force_n=float(force_n),
        contact_force_n_sd=1.0,
        stiffness=stiffness_pct / 100,
        dwell_s=float(dwell_s),
        motion_deg_s=0.0,
        accel_rms_g=1.0,
        crest=2.0,
        kurtosis=2.0,
        current_a=1.0,
        current_ripple_a=0.1,
        h1=0.8,
        h2_4=0.1,
        h_sub=0.0,
        a_hw_x_m_s2=0.0,
        a_hw_y_m_s2=0.0,
        a_hw_z_m_s2=float(bits >> 5),
        a_hv_m_s2=float(bits >> 5),
        set_percussion_hz=frame.set_percussion_hz,
        calibrated=True,
        battery_mv=frame.battery_mv,
        temperature_c=frame.temperature_c,
    )


class Clinic:
    """Writes the log of messages: guns play their part in order, and `at_s` is the time."""

    def __init__(self, at_s=0.0):
        self.at_s, self.log = at_s, []
        self.seq = {}

    @property
    def now_ns(self):
        return T0 + round(self.at_s * S)

    def say(self, message):
        self.log.append(Received(self.now_ns, *wire.encode(message)))
        return self

    def raw(self, device, kind, payload):
        topic = f"massage/v1/{device.clinic}/{device.device}/{kind}"
        self.log.append(Received(self.now_ns, topic, payload))
        return self

    def birth(self, device, boot_id=7, **more):
        return self.say(DeviceState(device, online=True, boot_id=boot_id, **more))

    def will(self, device, boot_id=7):
        return self.say(DeviceState(device, online=False, boot_id=boot_id))

    def session(self, device, kind, session="s-1", **more):
        return self.say(SessionEvent(device, session, kind, self.now_ns, **more))

    def act(self, device, rule, kind, until_s=None):
        until_ns = None if until_s is None else T0 + until_s * S
        return self.say(AlarmAction(device, rule, kind, "op-1", self.now_ns, "", until_ns))

    def frame(self, device, *touches, skip=0, late_s=0.0, **more):
        """One frame of hops that end now, or did so a while ago."""
        seq = self.seq.get(device, 0) + skip
        self.seq[device] = seq + 1
        samples = np.array([touch.sample() for touch in touches], np.int16)
        t0_ns = self.now_ns - len(touches) * HOP_NS - round(late_s * S)
        values = {"boot_id": 7, "rate_hz": 1600.0, "set_percussion_hz": 30.0} | more
        return self.say(
            Frame(
                device,
                seq=seq,
                t0_ns=t0_ns,
                accel_g_per_lsb=1.0,
                current_a_per_lsb=1.0,
                samples_lsb=samples,
                **values,
            )
        )

    def hops(self, device, touch, seconds, **more):
        """A frame of one hop every quarter second."""
        for _ in range(round(seconds * 4)):
            self.at_s += 0.25
            self.frame(device, touch, **more)
        return self

    def wait(self, seconds):
        self.at_s += seconds
        return self


def monitor_of(**settings):
    return Monitor(MonitorSettings(**settings), Hops())


def run(clinic, monitor=None):
    return (monitor or monitor_of()).feed(clinic.log)


def of(records, kind):
    return [record for record in records if isinstance(record, kind)]


def told(records, *rules):
    """(rule, state, seconds) of the alarms, of these rules or of all."""
    return [
        (a.rule, a.state.value, (a.changed_at_ns - T0) / S)
        for a in of(records, Alarm)
        if not rules or a.rule in rules
    ]


# ----- what becomes of the messages


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


# ----- being offline, silent, away


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


def test_a_log_that_begins_again_earlier_goes_on_from_there():
    first = Clinic().birth(ADA).hops(ADA, OFF, 60)
    second = Clinic().birth(BOB).hops(BOB, AIR, 2).wait(10).birth(EVE)
    monitor = monitor_of()
    run(first, monitor)
    assert first.now_ns - second.log[0].received_at_ns > LOG_STEP_NS
    assert told(run(second, monitor)) == [("NO_FRAMES", "active_unack", 7.0)]


# ----- sessions and exposure


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


# ----- live


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


# ----- the same log, in any pieces


class Day(Clinic):
    """A seeded log of three guns with everything that may happen to them."""

    GUNS = (ADA, BOB, EVE)
    TOUCHES = (
        OFF,
        AIR,
        Touch(),
        PRESS,
        Touch(stiffness_pct=90),
        Touch(dwell_s=31),
        Touch(force_n=120),
        PRESS._replace(bad=True),
        AIR._replace(clipped=True),
        AIR._replace(a_hv_m_s2=700),
        Touch(motor=3),
    )
    RULES = ("EXCESS_PRESSURE", "NO_GO_SITE", "TENDON_PROXIMITY", "NO_FRAMES")

    def __init__(self, seed, steps):
        super().__init__()
        self.rng = random.Random(seed)
        self.boots = dict.fromkeys(self.GUNS, 7)
        self.touch = dict.fromkeys(self.GUNS, OFF)
        events = (
            self.be_born,
            self.go,
            self.treat,
            self.treat,
            self.babble,
            self.pause,
            self.person,
            self.person,
            self.person,
        )
        for _ in range(steps):
            gun = self.rng.choice(self.GUNS)
            if self.rng.random() < 0.1:
                self.rng.choice(events)(gun)
            else:
                self.play(gun)

    def play(self, gun):
        """A frame or two, some lost, some late, some twice."""
        rng = self.rng
        if rng.random() < 0.15:
            self.touch[gun] = rng.choice(self.TOUCHES)
        parts = [self.touch[gun]] * rng.randint(1, 3)
        self.wait(0.25 * rng.choice([1, 1, 1, 2]))
        skip = rng.choice([0] * 12 + [1, 2])
        self.frame(gun, *parts, skip=skip, boot_id=self.boots[gun])
        if rng.random() < 0.1:
            self.log.append(self.log[-1])
        if skip and rng.random() < 0.5:
            self.seq[gun] -= skip + 1
            self.frame(gun, *parts, boot_id=self.boots[gun])
            self.seq[gun] += skip

    def be_born(self, gun):
        self.boots[gun] += self.rng.randint(0, 1)
        model = self.rng.choice(["hx", "lt"])
        self.birth(gun, self.boots[gun], model=model, t_ns=self.now_ns)

    def go(self, gun):
        self.will(gun, self.boots[gun] - self.rng.randint(0, 1))

    def treat(self, gun):
        self.session(
            gun,
            self.rng.choice([START, START, SITE, END]),
            f"s-{self.rng.randint(1, 4)}",
            operator=self.rng.choice(["op-1", "op-2", None]),
            site=self.rng.choice(["calf_left", "spine", "shin", None]),
        )

    def babble(self, gun):
        kind = self.rng.choice(["telemetry", "state", "nonsense"])
        for _ in range(self.rng.randint(1, 4)):
            self.raw(gun, kind, b"broken")

    def pause(self, _gun):
        self.wait(self.rng.choice([1, 4, 6, 12, 2500]))

    def person(self, gun):
        kind = self.rng.choice(list(ActionKind))
        until_s = round(self.at_s) + 20 if kind is ActionKind.SHELVE else None
        self.act(gun, self.rng.choice(self.RULES), kind, until_s)


def a_day_in_the_clinic(seed, steps):
    return Day(seed, steps).log


FACTS = {"hx": ModelFacts(speeds_hz=(20.0, 25.0, 30.0), battery_low_mv=7000.0)}
SEEDS = range(6)


def whole(log):
    monitor = monitor_of(models=FACTS)
    return monitor, monitor.feed(log) + monitor.flush()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_log_gives_the_same_records_in_any_pieces_and_however_often_one_ticks(seed):
    log = a_day_in_the_clinic(seed, 1500)
    expected_monitor, expected = whole(log)
    rng = random.Random(seed)
    for most, ticks in ((1, 0), (7, 1), (100, 5)):
        monitor, records, at = monitor_of(models=FACTS), [], 0
        while at < len(log):
            size = rng.randint(1, most)
            records += monitor.feed(log[at : at + size])
            at += size
            for _ in range(ticks if at < len(log) else 0):
                before, after = log[at - 1].received_at_ns, log[at].received_at_ns
                records += monitor.tick(rng.randint(before, after))
        records += monitor.flush()
        assert records == expected
        assert monitor.counters == expected_monitor.counters


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_a_restart_at_any_point_gives_the_records_of_an_undisturbed_run(seed):
    log = a_day_in_the_clinic(seed, 110)
    expected_monitor, expected = whole(log)
    first, records = monitor_of(models=FACTS), []
    for split, received in enumerate(log):
        second = monitor_of(models=FACTS)
        second.restore(first.snapshot())
        rest = second.feed(log[split:]) + second.flush()
        assert records + rest == expected, f"restarted before message {split}"
        assert second.counters == expected_monitor.counters
        records += first.feed([received])


def test_a_monitor_restored_at_every_step_gives_the_same_records():
    log = a_day_in_the_clinic(99, 800)
    records, data = [], monitor_of().snapshot()
    for at in range(0, len(log), 3):
        monitor = monitor_of(models=FACTS)
        monitor.restore(data)
        records += monitor.feed(log[at : at + 3])
        data = monitor.snapshot()
    records += monitor.flush()
    assert records == whole(log)[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_frame_is_accounted_for_and_every_alarm_keeps_its_rules(seed):
    monitor, records = whole(a_day_in_the_clinic(seed, 1500))
    counters = monitor.counters
    assert counters.frames == (
        counters.frames_processed
        + counters.frames_duplicate
        + counters.frames_late
        + counters.frames_rejected
    )
    last: dict[str, Alarm] = {}
    for alarm in of(records, Alarm):
        before = last.get(alarm.alarm_id)
        last[alarm.alarm_id] = alarm
        assert alarm.rule in ALARMS
        if before is None:
            assert alarm.count == 1
            assert alarm.state in (AlarmState.ACTIVE_UNACK, AlarmState.SHELVED)
        else:
            assert (before.id, before.rule, before.session_id) == (
                alarm.id,
                alarm.rule,
                alarm.session_id,
            )
            assert alarm.count >= before.count


def test_the_seeded_days_show_every_alarm_and_state():
    """What the tests above compare is worth comparing."""
    alarms = [a for seed in SEEDS for a in of(whole(a_day_in_the_clinic(seed, 1500))[1], Alarm)]
    rules = {alarm.rule for alarm in alarms}
    absent = {"SESSION_TIME", "MUSCLE_GROUP_TIME", "CLOCK_STEP", "CLOCK_UNSYNCED"}
    absent |= {"BATTERY_LOW", "OVERHEATED", "UNCALIBRATED", "SENSOR_STUCK"}
    assert rules >= set(ALARMS) - absent
    assert {alarm.state for alarm in alarms} == set(AlarmState)


# ----- the snapshot's own faults


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


# ----- with the real extractor


def real_log(cut=None):
    """Two guns shaking in air; the parts a frame is `cut` into arrive when the whole would."""
    log = []
    n, rate_hz = 400, 1600.0
    for number in range(40):
        received_ns = T0 + (number + 1) * HOP_NS + 20_000_000
        for device, f0 in ((ADA, 30.0), (BOB, 40.0)):
            t = (np.arange(n) + number * n) / rate_hz
            samples = np.zeros((n, 4), np.int16)
            samples[:, 2] = 2000 + 4000 * np.cos(2 * np.pi * f0 * t)
            samples[:, 3] = 800
            whole_frame = Frame(
                device, 7, number, T0 + number * HOP_NS, rate_hz, f0, 5e-4, 1e-3, samples
            )
            parts = [whole_frame] if cut is None else cut(whole_frame)
            log += [Received(received_ns, *wire.encode(part)) for part in parts]
    return log


def cut_small(rng, next_seq):
    def cut(frame):
        parts, at = [], 0
        while at < len(frame.samples_lsb):
            size = rng.randint(1, 50)
            t0_ns = frame.t0_ns + round(at * 1e9 / frame.rate_hz)
            seq = next_seq[frame.id] = next_seq.get(frame.id, -1) + 1
            samples = frame.samples_lsb[at : at + size]
            parts.append(replace(frame, seq=seq, t0_ns=t0_ns, samples_lsb=samples))
            at += size
        return parts

    return cut


def test_with_the_real_extractor_the_cut_of_the_frames_does_not_matter():
    def records(log):
        monitor = Monitor(MonitorSettings(), FeatureExtractor())
        return monitor.feed(log) + monitor.flush()

    small = records(real_log(cut_small(random.Random(5), {})))
    large = records(real_log())
    assert small == large
    assert len(of(large, Features)) > 60


def over_bad_radio(log, seed):
    """The log as a poor network delivers it: some lost, some twice, some overtaken."""
    rng = random.Random(seed)
    order = []
    for number, received in enumerate(log):
        fate = rng.random()
        late = rng.choice([1, 5, 20]) if fate < 0.2 else 0
        copies = 0 if 0.2 <= fate < 0.25 else 2 if 0.25 <= fate < 0.35 else 1
        order += [(number + late, received)] * copies
    order.sort(key=lambda pair: pair[0])
    times = sorted(received.received_at_ns for _, received in order)
    return [
        received._replace(received_at_ns=at_ns)
        for at_ns, (_, received) in zip(times, order, strict=True)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_with_the_real_extractor_over_bad_radio_pieces_ticks_and_restarts_change_nothing(seed):
    log = over_bad_radio(real_log(), seed)
    expected_monitor = Monitor(MonitorSettings(), FeatureExtractor())
    expected = expected_monitor.feed(log) + expected_monitor.flush()
    rng = random.Random(seed)
    monitor, records, at = Monitor(MonitorSettings(), FeatureExtractor()), [], 0
    while at < len(log):
        size = rng.randint(1, 9)
        records += monitor.feed(log[at : at + size])
        at += size
        if at < len(log):
            records += monitor.tick(log[at].received_at_ns)
        restarted = Monitor(MonitorSettings(), FeatureExtractor())
        restarted.restore(monitor.snapshot())
        monitor = restarted
    assert records + monitor.flush() == expected
    assert monitor.counters == expected_monitor.counters
    assert expected_monitor.counters.frames_missing > 0
    assert told(expected, "SEQUENCE_GAP")


def test_with_the_real_extractor_a_restart_changes_nothing():
    log = real_log()
    whole_monitor = Monitor(MonitorSettings(), FeatureExtractor())
    expected = whole_monitor.feed(log)
    for split in range(0, len(log), 17):
        first = Monitor(MonitorSettings(), FeatureExtractor())
        second = Monitor(MonitorSettings(), FeatureExtractor())
        records = first.feed(log[:split])
        second.restore(first.snapshot())
        assert records + second.feed(log[split:]) == expected
