"""From frames to features: whose frame it is, what is next; then the kernels.

A slot a gun in structured arrays (pipeline.kernels.SIGNAL, pipeline.contact.CONTACT), and beside it
a Stream (pipeline.ordering) that puts the gun's frames in order. What a call releases runs through
the kernels at once, however many guns it is from. May import contact, kernels, ordering, stiffness,
wire (to keep waiting frames in a snapshot) and model. No I/O, no clock.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice, pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline import baseline, contact, dwell, kernels, wire
from pipeline.model import (
    UNKNOWN_SITE,
    DeviceId,
    Features,
    Frame,
    FrameFlag,
    MotorState,
    Quality,
    StreamEvent,
)
from pipeline.ordering import ANEW, REORDER_WINDOW_S, Ordered, Stream, StreamDump
from pipeline.packing import pack, unpack
from pipeline.stiffness import STIFFNESS_MODEL
from pipeline.waveform import GENERIC_GUN, N_GUN

Records: TypeAlias = NDArray[np.void]  # a structured array

SLOTS_LEAST = 16  # engineering choice: doubled whenever more guns appear
_LAYOUT = zlib.crc32(repr((kernels.SIGNAL.descr, contact.CONTACT.descr)).encode())
_LEARNT = (
    "a1_scale",
    "i0_scale",
    "second_shift",
    "third_shift",
    "was_learnt",
    "learnt",
    "learnt_hz",
)  # of CONTACT: what a gun in air taught of itself

_MOTOR = (MotorState.OFF, MotorState.STARTING, MotorState.RUNNING, MotorState.STALLED)
_QUALITY = (Quality.GOOD, Quality.DEGRADED, Quality.BAD)
_CLIPPED = int(FrameFlag.ACCEL_CLIPPED | FrameFlag.CURRENT_CLIPPED)
_FIELDS = [f.name for f in fields(Features)]
# what MEANING calls by the same name and gives as it is, and what it gives as numbers for words
_NUMBERS = _FIELDS[_FIELDS.index("percussion_hz") : _FIELDS.index("set_percussion_hz") + 1]
_CODES = ["motor", "contact", "quality", "clipped", "stuck"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known of one unit: from its bench, or (`calibrated` false) from its model's profile.

    Tuples are by speed, ascending. `a1_per_hz2`: free-running first harmonic of the housing over f²
    [g/Hz²]; `second`, `third`: those harmonics over the first, phases relative to it; the rest as
    in pipeline.baseline.UNIT.
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
    i1_a: tuple[complex, ...] = ()  # ripple of the current in air at f, and at 2f; empty: not known
    i2_a: tuple[complex, ...] = ()
    gun: tuple[float, ...] = GENERIC_GUN  # as in pipeline.waveform.Stroke
    calibrated_at_ns: int | None = None  # the end of its bench session, to the second

    def __post_init__(self) -> None:
        by_speed = (self.a1_per_hz2, self.second, self.third, self.i0_a)
        n = len(self.speed_hz)
        if not 1 <= n <= baseline.MAX_SPEEDS or any(len(values) != n for values in by_speed):
            counts = [n, *(len(values) for values in by_speed)]
            raise ValueError(
                f"a calibration needs 1 to {baseline.MAX_SPEEDS} speeds and one a1_per_hz2, "
                f"second, third and i0_a for each, not {counts}: thin out the speeds of its "
                "bench session"
            )
        if not {len(self.i1_a), len(self.i2_a)} <= {0, n} or len(self.gun) != N_GUN:
            raise ValueError(
                f"a calibration has a ripple of the current at each of its {n} speeds, or none, and"
                f" {N_GUN} numbers of its gun: run `myoguard calibrate` again"
            )
        if any(after <= before for before, after in pairwise(self.speed_hz)):
            raise ValueError(f"the speeds of a calibration must ascend, not {self.speed_hz} Hz")

    def fill(self, unit: np.void) -> None:
        """Write into one UNIT record (pipeline.contact)."""
        n = len(self.speed_hz)
        unit["calibrated"] = self.calibrated
        unit["n_speeds"] = n
        unit["radius_m"] = self.stroke_m / 2.0
        unit["mass_kg"] = self.mass_kg
        for name in ("speed_hz", "a1_per_hz2", "i0_a"):
            unit[name][:n] = getattr(self, name)
        for name in ("second", "third", "i1_a", "i2_a"):
            values = getattr(self, name) or (0j,) * n
            unit[name][:n] = [(c.real, c.imag) for c in values]
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
            "gun",
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


class _Placed(NamedTuple):
    """A frame whose turn has come, with its gun's slot; `missing_samples` as in ordering.Turn."""

    slot: int
    missing_samples: int
    frame: Frame


class _Guns(NamedTuple):
    """What a dump says of guns: their streams, and their records in the same order."""

    streams: list[Stream]
    signal: Records
    touched: Records
    models: dict[DeviceId, str]


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
        self._streams: dict[DeviceId, Stream] = {}
        self._slots: dict[DeviceId, int] = {}  # in the order of _streams
        self._free: list[int] = []  # slots that guns have left
        self._models: dict[DeviceId, str] = {}
        self._signal = np.zeros(0, kernels.SIGNAL)
        self._contact = np.zeros(0, contact.CONTACT)
        self._units = np.zeros(0, baseline.UNIT)

    # What is known of the guns.

    def set_model(self, device: DeviceId, model: str | None, head: str | None) -> None:
        """Note the model a gun announced at birth; its profile stands in for a calibration."""
        del head  # the inversion sees the head and the tissue as one spring
        if model is None or self._models.get(device) == model:
            return
        self._models[device] = model
        self._fill_unit(device)

    def is_calibrated(self, device: DeviceId) -> bool:
        return device in self._calibrations

    def calibrated_at_ns(self, device: DeviceId) -> int | None:
        """When a unit was at its bench; None where nobody knows."""
        known = self._calibrations.get(device)
        return None if known is None else known.calibrated_at_ns

    def calibrate(self, device: DeviceId, calibration: Calibration) -> None:
        """Use a new calibration from the next hop on."""
        self._calibrations[device] = calibration
        self._fill_unit(device)

    # Messages in, hops out.

    def advance(self, frames: Sequence[tuple[int, Frame]]) -> Advance:
        """Take (received_at_ns, frame) in order of arrival, of many devices."""
        out = Ordered()
        for received_at_ns, frame in frames:
            stream = self._streams.get(frame.id) or self._add(Stream(frame.id))
            stream.admit(received_at_ns, frame, self._window_ns, out)
        return self._run(out)

    def tick(self, now_ns: int) -> Advance:
        """Release frames that wait behind a gap although nothing came for the reorder window."""
        out = Ordered()
        for stream in self._streams.values():
            stream.release_overdue(now_ns, self._window_ns, out)
        return self._run(out)

    def flush(self) -> Advance:
        """The end of a recording: release all that waits."""
        out = Ordered()
        for stream in self._streams.values():
            stream.release_all(out)
        return self._run(out)

    def resume(self, away_ns: int) -> None:
        """Go on after nobody listened for `away_ns`: no frame has waited longer for it."""
        for stream in self._streams.values():
            stream.postpone(away_ns)

    # The kernels.

    def _run(self, ordered: Ordered) -> Advance:
        """Run all turns at once, but for a gun that forgets between two of its frames."""
        hops: list[Features] = []
        part: list[_Placed] = []
        slots: set[int] = set()
        for turn in ordered.turns:
            slot = self._slots[turn.frame.id]
            if turn.unseen and slot in slots:
                hops += self._run_part(part)
                part, slots = [], set()
            if turn.unseen:
                self._forget_touch(slot)
            part.append(_Placed(slot, turn.missing_samples, turn.frame))
            slots.add(slot)
        hops += self._run_part(part)
        return Advance(hops, ordered.events)

    def _run_part(self, placed: Sequence[_Placed]) -> list[Features]:
        if not placed:
            return []
        hops = _advance_signals(self._signal, placed)
        if not hops.size:
            return []
        meaning = np.zeros(hops.size, contact.MEANING)
        contact.interpret(self._contact, self._units, STIFFNESS_MODEL, hops, meaning)
        rows = zip(
            hops["frame"].tolist(),
            hops["flags"].tolist(),
            meaning["t_ns"].tolist(),
            _block(meaning, _CODES, np.int32).tolist(),
            _block(meaning, _NUMBERS, np.float64).tolist(),
            strict=True,
        )
        return [
            self._features(placed[j].frame, flags, t_ns, codes, numbers)
            for j, flags, t_ns, codes, numbers in rows
        ]

    def _forget_touch(self, slot: int) -> None:
        """Keep the baselines and forget contact and dwell."""
        before = self._contact[slot].copy()
        self._contact[slot] = np.zeros((), contact.CONTACT)
        for name in _LEARNT:
            self._contact[slot][name] = before[name]

    def _features(
        self, frame: Frame, flags: int, t_ns: int, codes: Sequence[int], numbers: Sequence[float]
    ) -> Features:
        """A hop that ended with `frame`, in the order of Features; `flags` of all its frames."""
        motor, in_contact, quality, clipped, stuck = codes
        values: tuple[Any, ...] = (
            frame.id,
            t_ns,
            _MOTOR[motor],
            bool(in_contact),
            _QUALITY[quality],
            *numbers,
            None,
            None,
            UNKNOWN_SITE,
            frame.id in self._calibrations,
            frame.battery_mv,
            frame.temperature_c,
            bool(clipped or flags & _CLIPPED),
            bool(stuck),
        )
        return Features(*values)

    # Slots.

    def _add(self, stream: Stream) -> Stream:
        slot = self._free.pop() if self._free else len(self._slots)
        if slot >= self._signal.size:
            self._resize(max(SLOTS_LEAST, 2 * slot))
        self._streams[stream.device] = stream
        self._slots[stream.device] = slot
        self._fill_unit(stream.device)
        return stream

    def _resize(self, size: int) -> None:
        self._signal = _resized(self._signal, size)
        self._contact = _resized(self._contact, size)
        self._units = _resized(self._units, size)

    def _fill_unit(self, device: DeviceId) -> None:
        """Note what is known of a gun in its slot, if it has one yet."""
        slot = self._slots.get(device)
        if slot is not None:
            known = self._calibrations.get(device)
            known = known or self._priors.get(self._models.get(device, ""), GENERIC)
            known.fill(self._units[slot])

    # Across a restart, and across a long absence.

    def snapshot(self) -> bytes:
        """Everything that the next hop depends on, and nothing that configuration gives."""
        return self._dump({**self._slots, **dict.fromkeys(self._models)})

    def restore(self, data: bytes) -> None:
        """Continue from a snapshot. Raises ValueError when another layout wrote it."""
        guns = _read(data)
        self._streams, self._slots, self._free, self._models = {}, {}, [], {}
        self._resize(0)
        self._take_in(guns)

    def release(self, device: DeviceId) -> bytes:
        """Give up a gun's slot; what `take_back` needs to go on as if it had never been away."""
        data = self._dump([device])
        self._models.pop(device, None)
        if self._streams.pop(device, None) is not None:
            slot = self._slots.pop(device)
            for records in (self._signal, self._contact, self._units):
                records[slot] = np.zeros((), records.dtype)
            self._free.append(slot)
        return data

    def _dump(self, devices: Collection[DeviceId]) -> bytes:
        """What is known of these guns."""
        streams = [self._streams[device] for device in devices if device in self._streams]
        slots = [self._slots[stream.device] for stream in streams]
        early = [e.frame for s in streams for e in s.early.values()]
        payloads = [wire.encode(frame)[1] for frame in early]
        header = {
            "layout": _LAYOUT,
            "models": [[*d, self._models[d]] for d in devices if d in self._models],
            "streams": [stream.dump() for stream in streams],
            "payload_bytes": [len(payload) for payload in payloads],
        }
        state = [np.take(records, slots).data for records in (self._signal, self._contact)]
        return pack(header, *state, *payloads)

    def take_back(self, data: bytes) -> None:
        """Go on with guns that were released. Raises ValueError when another layout wrote it."""
        self._take_in(_read(data))

    def _take_in(self, guns: _Guns) -> None:
        self._models |= guns.models
        for stream, signal, touched in zip(guns.streams, guns.signal, guns.touched, strict=True):
            self._add(stream)
            slot = self._slots[stream.device]
            self._signal[slot], self._contact[slot] = signal, touched


def _read(data: bytes) -> _Guns:
    """What was dumped; ValueError where another layout wrote it."""
    header, rest = unpack(data)
    if header["layout"] != _LAYOUT:
        raise ValueError("it was written by a version that keeps another state of the features")
    n = len(header["streams"])
    signal = np.frombuffer(rest, kernels.SIGNAL, n)
    touched = np.frombuffer(rest, contact.CONTACT, n, signal.nbytes)
    payloads = _split(rest[signal.nbytes + touched.nbytes :], header["payload_bytes"])
    streams = [_loaded(dump, payloads) for dump in header["streams"]]
    models = {DeviceId(c, d): model for c, d, model in header["models"]}
    return _Guns(streams, signal, touched, models)


def _block(rows: Records, names: Sequence[str], dtype: type[np.generic]) -> NDArray[np.generic]:
    """Fields that lie side by side as one table: `tolist` of records takes ten times as long."""
    first, size = _offset(rows, names[0]), np.dtype(dtype).itemsize
    assert _offset(rows, names[-1]) == first + size * (len(names) - 1)  # noqa: S101
    return np.ndarray((rows.size, len(names)), dtype, rows, first, (rows.itemsize, size))


def _offset(rows: Records, name: str) -> int:
    fields_by_name = rows.dtype.fields
    assert fields_by_name is not None  # noqa: S101
    return fields_by_name[name][1]


def _advance_signals(signal: Records, placed: Sequence[_Placed]) -> Records:
    """HOP rows of frames that are in order."""
    frames = np.array(
        [
            (
                slot,
                len(frame.samples_lsb),
                missing_samples,
                frame.t0_ns,
                frame.rate_hz,
                frame.set_percussion_hz,
                frame.accel_g_per_lsb,
                frame.current_a_per_lsb,
                frame.flags,
            )
            for slot, missing_samples, frame in placed
        ],
        kernels.FRAME,
    )
    # always a copy: a payload's own bytes are read-only and may be unaligned, which numba would
    # compile a second kernel for
    samples = np.concatenate([p.frame.samples_lsb for p in placed])
    out = np.zeros(kernels.hops_bound(frames), kernels.HOP)
    return out[: kernels.advance(signal, frames, samples, out)]


def signal_hops(frames: Sequence[Frame]) -> Records:
    """HOP rows of one gun's frames, already in order: for a bench session."""
    placed = [_Placed(0, 0 if k else ANEW, frame) for k, frame in enumerate(frames)]
    return _advance_signals(np.zeros(1, kernels.SIGNAL), placed)


def warm_up() -> None:
    """Compile every kernel with its real types, so that the first frame does not wait."""
    extractor = FeatureExtractor()
    for seq in (0, 1, 3, 4, 5, 6):
        extractor.advance([(0, _any_frame(seq))])
    extractor.flush()


def warm_up_samples() -> None:
    """Compile the half of it that makes hops of samples; and, as it is the shorter one, dwell."""
    signal_hops([_any_frame(0)])
    dwell.update_dwell(np.zeros(1, contact.CONTACT)[0], False)


def warm_up_meaning() -> None:
    """Compile the half of it that needs nothing of the other, and may be done beside it."""
    state, units = np.zeros(1, contact.CONTACT), np.zeros(1, baseline.UNIT)
    hops, meaning = np.zeros(1, kernels.HOP), np.zeros(1, contact.MEANING)
    contact.interpret(state, units, STIFFNESS_MODEL, hops, meaning)


def _any_frame(seq: int) -> Frame:
    samples = np.zeros((400, 4), np.int16)
    samples[:, 2] = (2000 + 4000 * np.cos(2 * np.pi * 40 * np.arange(400) / 1600)).astype(np.int16)
    samples[:, 3] = 3000
    device = DeviceId("warm", "up")
    return Frame(device, 1, seq, seq * 250_000_000, 1600.0, 40.0, 5e-4, 1e-3, samples)


def _resized(array: Records, size: int) -> Records:
    grown = np.zeros(size, array.dtype)
    n = min(array.size, size)
    grown[:n] = array[:n]
    return grown


def _loaded(dump: StreamDump, payloads: Iterator[bytes]) -> Stream:
    """A stream with the frames that waited, taken from `payloads`."""
    topic = wire.format_topic(wire.Address(wire.TopicKind.TELEMETRY, DeviceId(*dump["device"])))
    early = [
        wire.decode(topic, payload) for payload in islice(payloads, len(dump["received_at_ns"]))
    ]
    return Stream.load(dump, [frame for frame in early if isinstance(frame, Frame)])


def _split(data: bytes, lengths: Iterable[int]) -> Iterator[bytes]:
    at = 0
    for length in lengths:
        yield data[at : at + length]
        at += length
