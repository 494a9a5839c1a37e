"""A clinic on paper: a writer of message logs, and an extractor that reads hops from samples.

`Hops` keeps the contract of pipeline.features.FeatureExtractor, but every sample of a frame is one
hop that says itself what the rules shall see; so a test of the monitor needs no physics.
"""

import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline import wire
from pipeline.model import (
    HOP_NS,
    Alarm,
    AlarmAction,
    DeviceId,
    DeviceState,
    Features,
    Frame,
    MotorState,
    Quality,
    Received,
    SessionEvent,
    SessionEventKind,
    StreamEvent,
    StreamEventKind,
)
from pipeline.monitor import Monitor, MonitorSettings

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
        self.streams, self.models, self.benched_ns = {}, {}, {}

    def set_model(self, device, model, head):
        self.models[device] = (model, head)

    def calibrate(self, device, calibration):
        self.benched_ns[device] = calibration.calibrated_at_ns

    def calibrated_at_ns(self, device):
        return self.benched_ns.get(device)

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

    def resume(self, away_ns):
        for stream in self.streams.values():
            stream.waiting = {seq: (t + away_ns, f) for seq, (t, f) in stream.waiting.items()}

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
        return self._dump(list(self.streams))

    def release(self, device):
        data = self._dump([device] if device in self.streams else [])
        self.streams.pop(device, None)
        return data

    def _dump(self, devices):
        streams = [
            [
                *device,
                stream.next_seq,
                stream.end_ns,
                [[t, wire.encode(f)[1].hex()] for t, f in stream.waiting.values()],
            ]
            for device in devices
            for stream in [self.streams[device]]
        ]
        return json.dumps(streams).encode()

    def restore(self, data):
        self.take_back(data)

    def take_back(self, data):
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
