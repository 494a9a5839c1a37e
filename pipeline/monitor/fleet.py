"""The monitor of the whole fleet: one ordered log of messages in, records out.

`feed` takes messages in order of arrival and `tick` the time in between; neither reads a clock. The
same log gives the same records, whole or in pieces and however often somebody ticks, because

- a gun has at most one frame in a call of the extractor, so that what a call returns is the doing
  of that frame, and guns are gone through in order of arrival;
- any other message, and any deadline that passes, first waits for the frames before it;
- what time decides has its own time: the extractor is told of time on a fixed grid, and silence,
  waiting and shelving end at their deadlines, in order, whoever notices and when.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from typing import Any, Final, Protocol

from pipeline.alarms import ActionRefusedError
from pipeline.exposure import Exposures
from pipeline.features import Calibration
from pipeline.model import (
    DEAD_LETTER_BYTES_MAX,
    PIPELINE_CLINIC,
    Alarm,
    AlarmAction,
    Counters,
    DeadLetter,
    DeviceId,
    DeviceState,
    Features,
    Frame,
    FrameFlag,
    Live,
    LiveGun,
    Message,
    OperatorExposure,
    Received,
    Record,
    SessionEvent,
    StreamEvent,
    StreamEventKind,
)
from pipeline.monitor.away import Away
from pipeline.monitor.board import Board
from pipeline.monitor.gun import SILENCE_NS, Gun
from pipeline.monitor.refusals import Refusals
from pipeline.monitor.settings import MonitorSettings
from pipeline.packing import HEAD_BYTES, pack, unpack
from pipeline.rules import ALARMS, HEALTH_CONDITIONS, Health
from pipeline.wire import DecodeError, DecodeReason, TopicKind, decode, parse_topic

GRID_NS: Final = (
    250_000_000  # engineering choice: one hop; how finely the extractor is told of time
)
LEAVE_NS: Final = 3_600_000_000_000  # engineering choice: how often it is asked who is gone
LOG_STEP_NS: Final = 10_000_000_000  # engineering choice: arrivals this far back mean a set clock
NEVER_NS: Final = (1 << 63) - 1

_MAGIC: Final = b"MGSNAP04"


class Advanced(Protocol):
    """What a call of the extractor releases; of one gun in time order."""

    @property
    def hops(self) -> Sequence[Features]: ...

    @property
    def events(self) -> Sequence[StreamEvent]: ...


class Extractor(Protocol):
    """Frames in, hops out: what the monitor needs of `features`."""

    def set_model(self, device: DeviceId, model: str | None, head: str | None) -> None: ...
    def calibrate(self, device: DeviceId, calibration: Calibration) -> None: ...
    def calibrated_at_ns(self, device: DeviceId) -> int | None: ...
    def advance(self, frames: Sequence[tuple[int, Frame]]) -> Advanced: ...
    def tick(self, now_ns: int) -> Advanced: ...
    def flush(self) -> Advanced: ...
    def resume(self, away_ns: int) -> None: ...
    def release(self, device: DeviceId) -> bytes: ...
    def take_back(self, data: bytes) -> None: ...
    def snapshot(self) -> bytes: ...
    def restore(self, data: bytes) -> None: ...


class SnapshotError(ValueError):
    """A snapshot that this version cannot read; says what to do."""


class Monitor:
    """The fleet. Bounded: guns by `devices_max`, as many away, all else by gun or operator."""

    def __init__(self, settings: MonitorSettings, extractor: Extractor) -> None:
        self.counters = Counters()
        self._settings = settings
        # After this long without a frame nothing is held: the window, and a step of the grid each
        # for the frame that opened it and for the time that ends it.
        self._held_ns = round(settings.reorder_window_s * 1e9) + 2 * GRID_NS
        self._extractor = extractor
        self._exposures = Exposures()
        self._refusals = Refusals()
        self._guns: dict[DeviceId, Gun] = {}
        self._away = Away(settings.devices_max)
        self._resumed_ns = 0  # how far `resume` has moved what is remembered of guns, in all
        self._own = Board(DeviceId(PIPELINE_CLINIC, settings.pipeline), settings.config_version)
        self._batch: dict[DeviceId, tuple[int, Frame]] = {}  # empty between calls
        self._now_ns = 0  # the newest time of the log
        self._framed_ns = 0  # when the newest frame arrived
        self._grid_ns = NEVER_NS  # when the extractor is told of time next
        self._dues: list[tuple[int, DeviceId]] = []
        self._leave_ns = NEVER_NS  # when it is asked next who is gone
        self._next_ns = NEVER_NS  # the earliest of the three

    def feed(self, messages: Iterable[Received]) -> list[Record]:
        """Take messages in order of arrival; the records they give rise to, in order."""
        out: list[Record] = []
        for received in messages:
            now_ns = self._pass_time(received.received_at_ns, out)
            self.counters.messages += 1
            try:
                message = decode(received.topic, received.payload)
            except DecodeError as error:
                self._advance(out)
                self._reject(received, now_ns, error.reason, out)
                continue
            if isinstance(message, Frame):
                self._take_frame(message, received, now_ns, out)
            else:
                self._advance(out)
                self._apply(message, received, now_ns, out)
        self._advance(out)
        return out

    def tick(self, now_ns: int) -> list[Record]:
        """Let time pass to `now_ns`: only when every message that came before it has been fed."""
        out: list[Record] = []
        self._pass_time(now_ns, out)
        return out

    def judge_health(self, health: Health, now_ns: int) -> list[Record]:
        """What the pipeline says of itself, at least once a second; it is in no log of messages."""
        out: list[Record] = []
        self._own.unshelve(now_ns, now_ns, out)
        for rule, decide in HEALTH_CONDITIONS.items():
            condition = decide(health, self._own.held.get(rule, False))
            self._own.judge_link(ALARMS[rule], condition, now_ns, out)
        return out

    def flush(self) -> list[Record]:
        """The end of a recording: nothing more will come, so what is held back comes out."""
        out: list[Record] = []
        self._distribute(self._extractor.flush(), {}, out)
        return out

    def calibrate(self, device: DeviceId, calibration: Calibration) -> None:
        """Judge a gun by its new calibration from its next hop on."""
        self._extractor.calibrate(device, calibration)
        if device in self._guns:
            self._guns[device].calibrated_at_ns = calibration.calibrated_at_ns

    def resume(self, now_ns: int) -> None:
        """Go on at `now_ns` after the pipeline itself was away, or its clock was set.

        Silence, waiting and idle sessions count on as if no time had passed: they are about guns.
        """
        away_ns = now_ns - self._now_ns
        self._now_ns = now_ns
        self._framed_ns += away_ns
        if self._grid_ns != NEVER_NS:
            self._grid_ns = _next_on_grid(now_ns)
        if self._leave_ns != NEVER_NS:
            self._leave_ns += away_ns
        self._resumed_ns += away_ns
        self._extractor.resume(away_ns)
        for gun in self._guns.values():
            gun.resume(away_ns)
        self._schedule_all()

    def hear_again(self, now_ns: int) -> None:
        """Go on with what arrives at `now_ns` after a lost connection: that was not the guns'."""
        if now_ns > self._now_ns:
            self.resume(now_ns)

    # Time.

    def _pass_time(self, now_ns: int, out: list[Record]) -> int:
        """Do everything that was due up to `now_ns`; gives the time of the log after it."""
        if now_ns < self._now_ns:
            if now_ns >= self._now_ns - LOG_STEP_NS:
                return self._now_ns
            self._advance(out)
            self.resume(now_ns)
        while self._next_ns <= now_ns:
            self._advance(out)
            self._do_next(out)
        self._now_ns = now_ns
        return now_ns

    def _do_next(self, out: list[Record]) -> None:
        if self._leave_ns == self._next_ns:
            self._let_go(self._leave_ns)
        elif self._dues and self._dues[0][0] < self._grid_ns:
            due_ns, device = heapq.heappop(self._dues)
            gun = self._guns.get(device)
            if gun is not None and due_ns == gun.scheduled_ns:
                gun.scheduled_ns = None
                if gun.due_ns == due_ns:
                    gun.wake(due_ns, out)
                self._schedule(gun)
        else:
            at_ns = self._grid_ns
            later_ns = at_ns + GRID_NS
            self._grid_ns = later_ns if later_ns <= self._framed_ns + self._held_ns else NEVER_NS
            self._now_ns = at_ns
            self._distribute(self._extractor.tick(at_ns), {}, out)
        self._find_next()

    def _schedule(self, gun: Gun) -> None:
        """Have a gun woken at its deadline; one that has moved away by then is only looked at."""
        due_ns = gun.due_ns
        if due_ns is not None and (gun.scheduled_ns is None or due_ns < gun.scheduled_ns):
            gun.scheduled_ns = due_ns
            heapq.heappush(self._dues, (due_ns, gun.id))
            self._find_next()

    def _schedule_all(self) -> None:
        self._dues = []
        for gun in self._guns.values():
            gun.scheduled_ns = None
            self._schedule(gun)
        self._find_next()

    def _find_next(self) -> None:
        due_ns = self._dues[0][0] if self._dues else NEVER_NS
        self._next_ns = min(self._grid_ns, due_ns, self._leave_ns)

    # Messages.

    def _take_frame(self, frame: Frame, received: Received, now_ns: int, out: list[Record]) -> None:
        gun = self._gun(frame.id, now_ns)
        if gun is None:
            self._reject(received, now_ns, "too_many_devices", out)
            return
        if frame.id in self._batch:
            self._advance(out)
        self.counters.frames += 1
        gun.frame(bool(frame.flags & FrameFlag.CLOCK_SYNCHRONISED))
        self._batch[frame.id] = (now_ns, frame)
        self._framed_ns = now_ns
        if self._grid_ns == NEVER_NS:
            self._grid_ns = _next_on_grid(now_ns)
            self._find_next()

    def _advance(self, out: list[Record]) -> None:
        """Let the extractor see the frames that have gathered."""
        if not self._batch:
            return
        batch, self._batch = self._batch, {}
        self.counters.frames_processed += len(batch)
        self._distribute(self._extractor.advance(list(batch.values())), batch, out)

    def _distribute(
        self, advanced: Advanced, batch: Mapping[DeviceId, tuple[int, Frame]], out: list[Record]
    ) -> None:
        """Give every gun its events, then its hops, in order of the arrival of their frames."""
        for event in advanced.events:
            self._count(event)
            self._guns[event.id].stream_event(event)
        released: dict[DeviceId, list[Features]] = {}
        for features in advanced.hops:
            released.setdefault(features.id, []).append(features)
        unasked = sorted(released.keys() - batch.keys())
        for device in (*batch, *unasked):
            gun = self._guns[device]
            received_at_ns = batch[device][0] if device in batch else self._now_ns
            for features in released.get(device, ()):
                gun.hop(features, received_at_ns, out)
            if gun.scheduled_ns is None or gun.scheduled_ns > received_at_ns + SILENCE_NS:
                self._schedule(gun)

    def _count(self, event: StreamEvent) -> None:
        counters = self.counters
        if event.kind is StreamEventKind.SEQUENCE_GAP:
            counters.frames_missing += event.count
        elif event.kind is StreamEventKind.DUPLICATE:
            counters.frames_duplicate += event.count
            counters.frames_processed -= event.count
        elif event.kind is StreamEventKind.LATE:
            counters.frames_late += event.count
            counters.frames_processed -= event.count

    def _apply(self, message: Message, received: Received, now_ns: int, out: list[Record]) -> None:
        """A birth, a will, a session or an action; what the pipeline itself says is no news."""
        if isinstance(message, AlarmAction):
            self._act(message, received, now_ns, out)
            return
        if not isinstance(message, DeviceState | SessionEvent):
            return
        gun = self._gun(message.id, now_ns)
        if gun is None:
            self._reject(received, now_ns, "too_many_devices", out)
            return
        if isinstance(message, SessionEvent):
            gun.session_event(message, now_ns, out)
        elif gun.state(message, now_ns, out) and message.online:
            self._extractor.set_model(message.id, message.model, message.head)
        self._schedule(gun)

    def _act(self, action: AlarmAction, received: Received, now_ns: int, out: list[Record]) -> None:
        gun = self._known(action.id, now_ns)
        try:
            if action.id == self._own.device:
                self._own.act(action, now_ns, now_ns, out)
                return
            if gun is None:
                raise ActionRefusedError(f"no gun {action.id} is known; there is nothing to act on")
            gun.action(action, now_ns, out)
        except ActionRefusedError:
            self._reject(received, now_ns, "action_refused", out)
        else:
            self._schedule(gun)

    def _reject(self, received: Received, now_ns: int, reason: str, out: list[Record]) -> None:
        """Count a message that cannot be used, and keep it as a dead letter: once if it repeats."""
        counters = self.counters
        is_frame, device = _telemetry_of(received.topic)
        is_new = self._refusals.is_new(received)
        if is_new:
            counters.rejected[str(reason)] = counters.rejected.get(str(reason), 0) + 1
        if reason == DecodeReason.EMPTY and not is_frame:
            return  # how MQTT clears a retained message: it says nothing, and is no fault
        if is_new:
            payload = received.payload[:DEAD_LETTER_BYTES_MAX]
            out.append(DeadLetter(received.received_at_ns, received.topic, str(reason), payload))
        if is_frame:
            counters.frames += 1
            counters.frames_rejected += is_new
            counters.frames_duplicate += not is_new
            gun = self._known(device, now_ns)
            if gun is not None:
                gun.frame_rejected(now_ns, out)
                self._schedule(gun)

    def _gun(self, device: DeviceId, now_ns: int) -> Gun | None:
        """The gun of that name, which has just been heard of; made if there is room for it."""
        gun = self._known(device, now_ns)
        if gun is None and len(self._guns) < self._settings.devices_max:
            gun = self._add(device)
            gun.spoken_ns = now_ns
        return gun

    def _add(self, device: DeviceId) -> Gun:
        gun = self._guns[device] = Gun(device, self._settings, self._exposures)
        gun.calibrated_at_ns = self._extractor.calibrated_at_ns(device)
        if self._leave_ns == NEVER_NS:
            self._leave_ns = self._now_ns + LEAVE_NS
            self._find_next()
        return gun

    def _known(self, device: DeviceId, now_ns: int) -> Gun | None:
        """The gun of that name, which has just been heard of, if there ever was one."""
        gun = self._guns.get(device)
        if gun is None and (state := self._away.take(device)) is not None:
            gun = self._take_back(device, state)
        if gun is not None:
            gun.spoken_ns = now_ns
        return gun

    # Absence.

    def _let_go(self, now_ns: int) -> None:
        """Guns that are gone leave their slots to others."""
        for gun in [gun for gun in self._guns.values() if gun.is_gone(now_ns)]:
            state = self._extractor.release(gun.id)
            self._away.put(gun.id, pack([self._resumed_ns, gun.dump()], state))
            del self._guns[gun.id]
        self._leave_ns = now_ns + LEAVE_NS if self._guns else NEVER_NS

    def _take_back(self, device: DeviceId, packed: bytes) -> Gun:
        """As if it had never been away."""
        (resumed_ns, values), state = unpack(packed)
        gun = self._add(device)
        gun.load(values)
        gun.resume(self._resumed_ns - resumed_ns)
        self._extractor.take_back(state)
        self._schedule(gun)
        return gun

    # What others read.

    @property
    def now_ns(self) -> int:
        """The newest time of the log."""
        return self._now_ns

    @property
    def devices(self) -> int:
        return len(self._guns)

    @property
    def devices_away(self) -> int:
        return len(self._away)  # not heard of for a day; they would come back whole

    @property
    def devices_forgotten(self) -> int:
        return self._away.forgotten  # away, and one too many

    def live(self) -> list[Live]:
        """By clinic, the guns in contact and those that changed since this was last asked."""
        clinics: dict[str, dict[str, LiveGun]] = {}
        for device, gun in self._guns.items():
            news = gun.take_news()
            if news is not None:
                clinics.setdefault(device.clinic, {})[device.device] = news
        return [
            Live(clinic, max(gun.t_ns for gun in guns.values()), guns)
            for clinic, guns in clinics.items()
        ]

    def snapshot(self) -> bytes:
        """Everything that later records depend on, as bytes with a version."""
        away, packed = self._away.dump()
        state = {
            "now_ns": self._now_ns,
            "framed_ns": self._framed_ns,
            "grid_ns": self._grid_ns,
            "leave_ns": self._leave_ns,
            "resumed_ns": self._resumed_ns,
            "counters": asdict(self.counters),
            "exposures": self._exposures.dump(),
            "own": self._own.dump(),
            "refusals": self._refusals.dump(),
            "guns": [[*device, gun.dump()] for device, gun in self._guns.items()],
            "away": away,
        }
        return pack(state, packed, self._extractor.snapshot(), mark=_MAGIC)

    def restore(self, data: bytes) -> None:
        """Become the monitor that made this snapshot. Raises SnapshotError."""
        if data[: len(_MAGIC)] != _MAGIC or len(data) < len(_MAGIC) + HEAD_BYTES:
            raise SnapshotError(
                f"the snapshot begins {data[:8]!r}, this version writes {_MAGIC!r}: restore it with"
                " the version that wrote it, or start anew without the checkpoint"
            )
        try:
            state, rest = unpack(data[len(_MAGIC) :])
            self._load(state)
            self._extractor.restore(rest[self._away.load(state["away"], rest) :])
        except (ValueError, TypeError, KeyError) as error:
            raise SnapshotError(
                f"the snapshot is damaged ({error}): start anew without the checkpoint"
            ) from error

    def take_over(
        self, counters: Counters, exposures: Iterable[OperatorExposure], alarms: Iterable[Alarm]
    ) -> list[Record]:
        """Begin anew, but go on with what is left of a state that cannot be read: its records.

        Exposures oldest first. Alarms that stood are unknown until they are judged.
        """
        out: list[Record] = []
        self.counters = deepcopy(counters)
        for exposure in exposures:
            self._exposures.take_over(exposure)
        for alarm in alarms:
            if alarm.id == self._own.device:
                self._own.take_over(alarm, out)
            elif (gun := self._gun(alarm.id, self._now_ns)) is not None:
                gun.take_over(alarm, out)
                self._schedule(gun)
        return out

    def _load(self, state: dict[str, Any]) -> None:
        self._now_ns, self._framed_ns = state["now_ns"], state["framed_ns"]
        self._grid_ns, self._leave_ns = state["grid_ns"], state["leave_ns"]
        self._resumed_ns = state["resumed_ns"]
        self.counters = Counters(**state["counters"])
        self._exposures.load(state["exposures"])
        self._own.load(state["own"])
        self._refusals.load(state["refusals"])
        self._guns = {}
        for clinic, device, values in state["guns"]:
            self._add(DeviceId(clinic, device)).load(values)
        self._schedule_all()


def _next_on_grid(now_ns: int) -> int:
    return (now_ns // GRID_NS + 1) * GRID_NS


def _telemetry_of(topic: str) -> tuple[bool, DeviceId]:
    """Whether a topic is one of frames, and whose; never raises."""
    try:
        address = parse_topic(topic)
    except DecodeError:
        return False, DeviceId("", "")
    return address.kind is TopicKind.TELEMETRY, address.id
