"""From frames to features: whose frame it is, in which order, what is missing; then the kernels.

A slot a gun in structured arrays (pipeline.kernels.SIGNAL, pipeline.contact.CONTACT), and beside it
a small Stream that puts the frames in order: duplicates fall out by (boot_id, seq), frames that come
early wait for the missing ones up to the reorder window, measured in sample time so that a replay
decides the same, and what never came is skipped over in time and counted.
May import contact, kernels, wire (to keep waiting frames in a snapshot) and model. No I/O, no clock.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import contact, kernels, wire
from pipeline.model import (
    DeviceId,
    Features,
    Frame,
    FrameFlag,
    MotorState,
    Quality,
    StreamEvent,
    StreamEventKind,
)
from pipeline.stiffness import STIFFNESS_MODEL

SNAPSHOT_VERSION = 1
REORDER_WINDOW_S = 0.5  # issue "Nothing lost", the default
MOST_WAITING = 64  # frames; 20 a second (contract) for the window, six times over
BRIDGED_S = 2 * kernels.HOP_S  # a longer gap leaves nothing of the analysis window: begin anew
FORGOTTEN_S = 2.0  # detection.md: lifted for 2 s clears a dwell; unseen for 2 s cannot do less
CLOCK_STEP_S = 0.25  # one hop: jitter and drift between two frames are far below it
SEQ_MODULUS = 1 << 32
REMEMBERED_MISSING = 256  # to tell a late frame from a repeated one

_MOTOR = (MotorState.OFF, MotorState.STARTING, MotorState.RUNNING, MotorState.STALLED)
_QUALITY = (Quality.GOOD, Quality.DEGRADED, Quality.BAD)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known of one unit: from its bench, or (`calibrated` false) from its model's profile.

    Tuples are by speed, ascending. `a1_per_hz2`: free-running first harmonic of the housing over f²
    [g/Hz²]; `second`, `third`: those harmonics over the first, phases relative to it; the rest as in
    pipeline.contact.UNIT.
    """

    calibrated: bool
    stroke_m: float
    mass_kg: float
    speed_hz: tuple[float, ...]
    a1_per_hz2: tuple[float, ...]
    second: tuple[complex, ...]
    third: tuple[complex, ...]
    i0_a: tuple[float, ...]
    correction: tuple[float, ...] = (0.0,) * 6
    correction_low: tuple[float, float] = (0.0, 0.0)
    correction_high: tuple[float, float] = (0.0, 0.0)
    # engineering choice: between units that nobody measured, the inversion alone is this good
    force_rel_sd: float = 0.25
    amps_per_work: float = -1.0
    by_current: tuple[float, ...] = (0.0,) * 6
    by_current_low: tuple[float, float] = (0.0, 0.0)
    by_current_high: tuple[float, float] = (0.0, 0.0)
    by_current_rel_sd: float = -1.0  # < 0: the current has not been calibrated

    def fill(self, unit: Any) -> None:
        """Write into one UNIT record (pipeline.contact)."""
        n = len(self.speed_hz)
        unit["calibrated"] = self.calibrated
        unit["n_speeds"] = n
        unit["radius_m"] = self.stroke_m / 2.0
        unit["mass_kg"] = self.mass_kg
        for name in ("speed_hz", "a1_per_hz2", "i0_a"):
            unit[name][:n] = getattr(self, name)
        for name in ("second", "third"):
            unit[name][:n] = [(c.real, c.imag) for c in getattr(self, name)]
        for name in (
            "correction",
            "correction_low",
            "correction_high",
            "force_rel_sd",
            "amps_per_work",
            "by_current",
            "by_current_low",
            "by_current_high",
            "by_current_rel_sd",
        ):
            unit[name] = getattr(self, name)


# A gun nobody described: 12 mm stroke, 0.09 kg reciprocating in 1.1 kg of gun and hand (contract,
# "Physics to build on": middle of the ranges), 0.6 A in air. Baselines are relearnt in air at once.
GENERIC = Calibration(
    calibrated=False,
    stroke_m=0.012,
    mass_kg=1.0,
    speed_hz=(40.0,),
    a1_per_hz2=(0.0021,),
    second=(0.2 + 0j,),
    third=(0j,),
    i0_a=(0.6,),
)


class Advance(NamedTuple):
    """What frames led to: hops and events, each device's in time order."""

    hops: list[Features]
    events: list[StreamEvent]


class _Ready(NamedTuple):
    """A frame whose turn has come, after `missing` lost samples; −1: begin anew."""

    slot: int
    frame: Frame
    missing: int


@dataclass(slots=True)
class _Stream:
    """Where one gun's sequence of frames stands."""

    slot: int
    boot_id: int = -1
    next_seq: int = 0
    end_ns: int = 0
    started: bool = False
    waiting: dict[int, Frame] = field(default_factory=dict)
    waiting_since_ns: int = 0
    missing: list[int] = field(default_factory=list)
    past_boots: list[int] = field(default_factory=list)


class FeatureExtractor:
    """The fleet's slots. `calibrations` by device, `priors` by model name (from the profiles)."""

    def __init__(
        self,
        calibrations: Mapping[DeviceId, Calibration] | None = None,
        priors: Mapping[str, Calibration] | None = None,
        reorder_window_s: float = REORDER_WINDOW_S,
    ) -> None:
        self._calibrations = dict(calibrations or {})
        self._priors = dict(priors or {})
        self._window_ns = int(reorder_window_s * 1e9)
        self._streams: dict[DeviceId, _Stream] = {}
        self._ids: list[DeviceId] = []
        self._models: dict[DeviceId, str] = {}
        self._signal = np.zeros(0, kernels.SIGNAL)
        self._contact = np.zeros(0, contact.CONTACT)
        self._units = np.zeros(0, contact.UNIT)

    # ------------------------------------------------------------------------------ what is known

    def set_model(self, device: DeviceId, model: str | None, head: str | None) -> None:
        """Note the model a gun announced at birth; its profile stands in for a calibration."""
        del head  # the inversion sees the head and the tissue as one spring
        if model is None or self._models.get(device) == model:
            return
        self._models[device] = model
        if device in self._streams:
            self._fill_unit(self._streams[device].slot, device)

    def is_calibrated(self, device: DeviceId) -> bool:
        return device in self._calibrations

    def calibrate(self, device: DeviceId, calibration: Calibration) -> None:
        """Use a new calibration from the next hop on."""
        self._calibrations[device] = calibration
        if device in self._streams:
            self._fill_unit(self._streams[device].slot, device)

    # ------------------------------------------------------------------------------ messages in

    def advance(self, frames: Sequence[tuple[int, Frame]]) -> Advance:
        """Take (received_at_ns, frame) in order of arrival, of many devices."""
        ready: list[_Ready] = []
        events: list[StreamEvent] = []
        for received_at_ns, frame in frames:
            stream = self._stream(frame.id)
            self._admit(stream, received_at_ns, frame, ready, events)
        return Advance(self._run(ready), events)

    def tick(self, now_ns: int) -> Advance:
        """Release frames that wait behind a gap although nothing came for the reorder window."""
        late = [
            s
            for s in self._streams.values()
            if s.waiting and now_ns - s.waiting_since_ns > self._window_ns
        ]
        return self._release(late)

    def flush(self) -> Advance:
        """The end of a recording: release all that waits."""
        return self._release(s for s in self._streams.values() if s.waiting)

    def _release(self, streams: Iterable[_Stream]) -> Advance:
        ready: list[_Ready] = []
        events: list[StreamEvent] = []
        for stream in streams:
            while stream.waiting:
                _skip_gap(stream, ready, events)
        return Advance(self._run(ready), events)

    # ------------------------------------------------------------------------------ order

    def _admit(
        self,
        stream: _Stream,
        received_at_ns: int,
        frame: Frame,
        ready: list[_Ready],
        events: list[StreamEvent],
    ) -> None:
        if not stream.started or frame.boot_id != stream.boot_id:
            if frame.boot_id in stream.past_boots:
                events.append(StreamEvent(frame.id, StreamEventKind.LATE, frame.t0_ns))
                return
            while stream.waiting:
                _skip_gap(stream, ready, events)
            _begin(stream, frame, ready, events)
            return
        ahead = (frame.seq - stream.next_seq) % SEQ_MODULUS
        if ahead >= SEQ_MODULUS // 2:
            kind = StreamEventKind.DUPLICATE
            if frame.seq in stream.missing:
                stream.missing.remove(frame.seq)
                kind = StreamEventKind.LATE
            events.append(StreamEvent(frame.id, kind, frame.t0_ns))
        elif ahead == 0:
            _take(stream, frame, 0, ready, events)
            _take_waiting(stream, ready, events)
        elif frame.seq in stream.waiting:
            events.append(StreamEvent(frame.id, StreamEventKind.DUPLICATE, frame.t0_ns))
        else:
            if not stream.waiting:
                stream.waiting_since_ns = received_at_ns
            stream.waiting[frame.seq] = frame
            while stream.waiting and self._has_waited(stream):
                _skip_gap(stream, ready, events)

    def _has_waited(self, stream: _Stream) -> bool:
        if len(stream.waiting) > MOST_WAITING:
            return True
        newest = max(_end_ns(f) for f in stream.waiting.values())
        return abs(newest - stream.end_ns) > self._window_ns

    # ------------------------------------------------------------------------------ the kernels

    def _run(self, ready: Sequence[_Ready]) -> list[Features]:
        if not ready:
            return []
        for r in ready:
            if r.missing < 0:
                self._forget_touch(r)
        hops = _advance_signals(self._signal, ready)
        meaning = np.zeros(hops.size, contact.MEANING)
        contact.interpret(self._contact, self._units, STIFFNESS_MODEL, hops, meaning)
        return [self._features(row, ready[row[1]]) for row in meaning.tolist()]

    def _forget_touch(self, ready: _Ready) -> None:
        """After a gap that cannot be bridged, keep the baselines and forget contact and dwell."""
        c = self._contact[ready.slot]
        kept = {name: c[name] for name in ("a1_scale", "i0_scale", "learnt")}
        self._contact[ready.slot] = np.zeros(1, contact.CONTACT)[0]
        for name, value in kept.items():
            self._contact[ready.slot][name] = value

    def _features(self, row: tuple[Any, ...], ready: _Ready) -> Features:
        """One MEANING row as Features; the order of the fields is that of contact.MEANING."""
        frame = ready.frame
        clipped = bool(row[6]) or bool(
            frame.flags & (FrameFlag.ACCEL_CLIPPED | FrameFlag.CURRENT_CLIPPED)
        )
        return Features(
            id=frame.id,
            t_ns=row[2],
            motor=_MOTOR[row[3]],
            contact=bool(row[4]),
            quality=_QUALITY[row[5]],
            clipped=clipped,
            stuck=bool(row[7]),
            percussion_hz=row[8],
            contact_force_n=row[9],
            contact_force_n_sd=row[10],
            stiffness=row[11],
            dwell_s=row[12],
            motion_deg_s=row[13],
            accel_rms_g=row[14],
            crest=row[15],
            kurtosis=row[16],
            current_a=row[17],
            current_ripple_a=row[18],
            h1=row[19],
            h2_4=row[20],
            h_sub=row[21],
            a_hw_x_m_s2=row[22],
            a_hw_y_m_s2=row[23],
            a_hw_z_m_s2=row[24],
            a_hv_m_s2=row[25],
            set_percussion_hz=row[26],
            calibrated=frame.id in self._calibrations,
            battery_mv=frame.battery_mv,
            temperature_c=frame.temperature_c,
        )

    # ------------------------------------------------------------------------------ slots

    def _stream(self, device: DeviceId) -> _Stream:
        stream = self._streams.get(device)
        if stream is None:
            slot = len(self._ids)
            if slot >= self._signal.size:
                self._grow(max(16, 2 * self._signal.size))
            stream = self._streams[device] = _Stream(slot)
            self._ids.append(device)
            self._fill_unit(slot, device)
        return stream

    def _grow(self, size: int) -> None:
        self._signal = _resized(self._signal, size)
        self._contact = _resized(self._contact, size)
        self._units = _resized(self._units, size)

    def _fill_unit(self, slot: int, device: DeviceId) -> None:
        known = self._calibrations.get(device)
        known = known or self._priors.get(self._models.get(device, ""), GENERIC)
        known.fill(self._units[slot])

    # ------------------------------------------------------------------------------ snapshot

    def snapshot(self) -> bytes:
        """Everything that the next hop depends on, and nothing that configuration gives."""
        n = len(self._ids)
        waiting: list[bytes] = []
        header = {
            "version": SNAPSHOT_VERSION,
            "signal": kernels.SIGNAL.itemsize,
            "contact": contact.CONTACT.itemsize,
            "models": [[*device, model] for device, model in self._models.items()],
            "streams": [
                _stream_to_json(device, self._streams[device], waiting) for device in self._ids
            ],
        }
        buffer = io.BytesIO()
        np.savez(
            buffer,
            header=np.frombuffer(json.dumps(header).encode(), np.uint8),
            signal=self._signal[:n].view(np.uint8),
            contact=self._contact[:n].view(np.uint8),
            waiting=np.frombuffer(b"".join(waiting), np.uint8),
            lengths=np.array([len(w) for w in waiting], np.int64),
        )
        return buffer.getvalue()

    def restore(self, data: bytes) -> None:
        """Continue from a snapshot. Raises ValueError when another layout wrote it."""
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            header = json.loads(stored["header"].tobytes())
            sizes = (kernels.SIGNAL.itemsize, contact.CONTACT.itemsize)
            if (header["version"], header["signal"], header["contact"]) != (
                SNAPSHOT_VERSION,
                *sizes,
            ):
                raise ValueError("the snapshot was written by another version of the feature state")
            signal = np.frombuffer(stored["signal"].tobytes(), kernels.SIGNAL)
            touched = np.frombuffer(stored["contact"].tobytes(), contact.CONTACT)
            payloads = _split(stored["waiting"].tobytes(), stored["lengths"].tolist())
        self._streams.clear()
        self._ids.clear()
        self._models = {DeviceId(c, d): model for c, d, model in header["models"]}
        self._grow(max(16, signal.size))
        for entry in header["streams"]:
            device = DeviceId(entry["clinic"], entry["device"])
            stream = self._stream(device)
            _stream_from_json(stream, device, entry, payloads)
        self._signal[: signal.size] = signal
        self._contact[: touched.size] = touched


# ---------------------------------------------------------------------------------- order, frame by frame


def _end_ns(frame: Frame) -> int:
    return frame.t0_ns + round(len(frame.samples_lsb) * 1e9 / frame.rate_hz)


def _begin(stream: _Stream, frame: Frame, ready: list[_Ready], events: list[StreamEvent]) -> None:
    if stream.started:
        stream.past_boots = [*stream.past_boots[-7:], stream.boot_id]
    stream.started = True
    stream.boot_id = frame.boot_id
    stream.missing.clear()
    events.append(StreamEvent(frame.id, StreamEventKind.FIRST_FRAME, frame.t0_ns))
    _accept(stream, frame, -1, ready)


def _accept(stream: _Stream, frame: Frame, missing: int, ready: list[_Ready]) -> None:
    ready.append(_Ready(stream.slot, frame, missing))
    stream.next_seq = (frame.seq + 1) % SEQ_MODULUS
    stream.end_ns = _end_ns(frame)


def _take(
    stream: _Stream,
    frame: Frame,
    lost: int,
    ready: list[_Ready],
    events: list[StreamEvent],
) -> None:
    """Accept a frame after `lost` frames that never came."""
    silence_s = (frame.t0_ns - stream.end_ns) / 1e9
    expected_s = lost * len(frame.samples_lsb) / frame.rate_hz
    if abs(silence_s - expected_s) > CLOCK_STEP_S + expected_s:
        if lost == 0 or silence_s < 0:
            events.append(StreamEvent(frame.id, StreamEventKind.CLOCK_STEP, frame.t0_ns))
        _accept(stream, frame, -1, ready)
    elif lost == 0:
        _accept(stream, frame, 0, ready)
    else:
        bridged = 0.0 <= silence_s <= BRIDGED_S
        _accept(stream, frame, round(silence_s * frame.rate_hz) if bridged else -1, ready)


def _take_waiting(stream: _Stream, ready: list[_Ready], events: list[StreamEvent]) -> None:
    while stream.next_seq in stream.waiting:
        _take(stream, stream.waiting.pop(stream.next_seq), 0, ready, events)


def _skip_gap(stream: _Stream, ready: list[_Ready], events: list[StreamEvent]) -> None:
    """Give up on what is missing before the first waiting frame."""
    first = min(stream.waiting, key=lambda seq: (seq - stream.next_seq) % SEQ_MODULUS)
    lost = (first - stream.next_seq) % SEQ_MODULUS
    frame = stream.waiting.pop(first)
    events.append(StreamEvent(frame.id, StreamEventKind.SEQUENCE_GAP, frame.t0_ns, lost))
    gone = [(stream.next_seq + k) % SEQ_MODULUS for k in range(min(lost, REMEMBERED_MISSING))]
    stream.missing = [*stream.missing, *gone][-REMEMBERED_MISSING:]
    _take(stream, frame, lost, ready, events)
    _take_waiting(stream, ready, events)


# ---------------------------------------------------------------------------------- arrays


def hops_bound(ready: Sequence[_Ready]) -> int:
    """No more hops than this can end with these frames."""
    total = 0
    for r in ready:
        hop = max(round(kernels.HOP_S * r.frame.rate_hz), 8)
        total += (len(r.frame.samples_lsb) + max(r.missing, 0)) // hop + 2
    return total


def _advance_signals(signal: NDArray[Any], ready: Sequence[_Ready]) -> NDArray[Any]:
    frames = [r.frame for r in ready]
    starts = np.zeros(len(ready) + 1, np.int64)
    np.cumsum([len(f.samples_lsb) for f in frames], out=starts[1:])
    samples = frames[0].samples_lsb
    if len(frames) > 1:
        samples = np.concatenate([f.samples_lsb for f in frames])
    out = np.zeros(hops_bound(ready), kernels.HOP)
    n = kernels.advance(
        signal,
        np.array([r.slot for r in ready], np.int32),
        starts,
        np.array([r.missing for r in ready], np.int64),
        np.array([f.t0_ns for f in frames], np.int64),
        np.array([f.rate_hz for f in frames], np.float64),
        np.array([f.set_percussion_hz for f in frames], np.float64),
        np.array([f.accel_g_per_lsb for f in frames], np.float64),
        np.array([f.current_a_per_lsb for f in frames], np.float64),
        np.ascontiguousarray(samples),
        out,
    )
    return out[:n]


def signal_hops(frames: Sequence[Frame]) -> NDArray[Any]:
    """HOP rows of one gun's frames, already in order: for a bench session."""
    ready = [_Ready(0, frame, 0 if k else -1) for k, frame in enumerate(frames)]
    return _advance_signals(np.zeros(1, kernels.SIGNAL), ready)


def _resized(array: NDArray[Any], size: int) -> NDArray[Any]:
    grown = np.zeros(size, array.dtype)
    n = min(array.size, size)
    grown[:n] = array[:n]
    return grown


def warm_up() -> None:
    """Compile every kernel with its real types, so that the first frame does not wait."""
    device = DeviceId("warm", "up")
    samples = np.zeros((400, 4), np.int16)
    samples[:, 2] = (2000 + 4000 * np.cos(2 * np.pi * 40 * np.arange(400) / 1600)).astype(np.int16)
    samples[:, 3] = 3000
    extractor = FeatureExtractor()
    for seq in (0, 1, 3, 4, 5, 6):
        frame = Frame(device, 1, seq, seq * 250_000_000, 1600.0, 40.0, 5e-4, 1e-3, samples)
        extractor.advance([(0, frame)])
    extractor.flush()


# ---------------------------------------------------------------------------------- snapshot parts


def _stream_to_json(device: DeviceId, stream: _Stream, waiting: list[bytes]) -> dict[str, Any]:
    for frame in stream.waiting.values():
        waiting.append(wire.encode(frame)[1])
    return {
        "clinic": device.clinic,
        "device": device.device,
        "boot_id": stream.boot_id,
        "next_seq": stream.next_seq,
        "end_ns": stream.end_ns,
        "started": stream.started,
        "waiting": len(stream.waiting),
        "waiting_since_ns": stream.waiting_since_ns,
        "missing": stream.missing,
        "past_boots": stream.past_boots,
    }


def _stream_from_json(
    stream: _Stream, device: DeviceId, entry: Mapping[str, Any], payloads: list[bytes]
) -> None:
    stream.boot_id = entry["boot_id"]
    stream.next_seq = entry["next_seq"]
    stream.end_ns = entry["end_ns"]
    stream.started = entry["started"]
    stream.waiting_since_ns = entry["waiting_since_ns"]
    stream.missing = list(entry["missing"])
    stream.past_boots = list(entry["past_boots"])
    topic = f"massage/v1/{device.clinic}/{device.device}/telemetry"
    for _ in range(entry["waiting"]):
        frame = wire.decode(topic, payloads.pop(0))
        if isinstance(frame, Frame):
            stream.waiting[frame.seq] = frame


def _split(data: bytes, lengths: Sequence[int]) -> list[bytes]:
    parts, at = [], 0
    for length in lengths:
        parts.append(data[at : at + length])
        at += length
    return parts
