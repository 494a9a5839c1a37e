"""The same log gives the same records: whole, in pieces, ticked, restarted, and cut anew."""

import random
from dataclasses import replace

import numpy as np
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
    Touch,
    monitor_of,
    of,
    told,
)

from pipeline import wire
from pipeline.features import FeatureExtractor
from pipeline.model import (
    HOP_NS,
    ActionKind,
    Alarm,
    AlarmState,
    Features,
    Frame,
    Received,
)
from pipeline.monitor import ModelFacts, Monitor, MonitorSettings
from pipeline.rules import ALARMS, HEALTH_CONDITIONS


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
    absent |= set(HEALTH_CONDITIONS)  # not of messages
    assert rules >= set(ALARMS) - absent
    assert {alarm.state for alarm in alarms} == set(AlarmState)


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
