"""What the monitor remembers of one gun, and what each thing that happens to it makes of that.

Two clocks meet here. Hops carry sample time, and everything they decide is stamped with it. The log
of messages has its own time of arrival; it is good for silence, shelving and waiting only, and is
carried over to sample time (`sample_ns`) wherever it has to be written down. What the log's clock
decides happens at a deadline (`due_ns`, `wake`), never at the moment somebody looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from pipeline.exposure import Exposures, Operator
from pipeline.exposure import record as exposure_record
from pipeline.model import (
    Alarm,
    AlarmAction,
    DeviceId,
    DeviceState,
    DeviceStatus,
    Features,
    LiveGun,
    MotorState,
    Quality,
    Record,
    SessionEvent,
    SessionSummary,
    StreamEvent,
    StreamEventKind,
)
from pipeline.monitor.board import Board
from pipeline.monitor.settings import ModelFacts, MonitorSettings
from pipeline.rules import (
    ALARMS,
    LINK_CONDITIONS,
    REJECTED_FRAMES,
    REJECTED_WINDOW_S,
    SILENCE_S,
    Link,
    Situation,
    judge_hop,
)
from pipeline.sessions import HOP_S, IDLE_NS, Schedule, start_speed_hz

SILENCE_NS = round(SILENCE_S * 1e9)
REJECTED_WINDOW_NS = round(REJECTED_WINDOW_S * 1e9)
GONE_NS = 86_400_000_000_000  # issue "Nothing lost", limits: unseen for a day
CLOCK_WRONG_NS = 10 * 365 * 86_400_000_000_000  # ten years (rules.table, CLOCK_UNSYNCED)
REVIVAL_NS = 1_000_000_000  # engineering choice: stray frames behind a will are fewer than 1 s
BOOTS_KEPT = 4  # engineering choice: redelivery goes back seconds, not four power-ons
SPEEDS_KEPT = 16  # engineering choice: no gun has more; the bound on what a bad one can say

_NO_FACTS = ModelFacts()
_BIRTH = tuple(each.name for each in fields(DeviceState) if each.name != "id")
_STATUS = tuple(each.name for each in fields(DeviceStatus) if each.name != "id")


class Gun:
    """One gun. Every method appends the records it gives rise to `out`."""

    def __init__(self, device: DeviceId, settings: MonitorSettings, exposures: Exposures) -> None:
        self.id = device
        self._settings = settings
        self._exposures = exposures
        self.calibrated_at_ns: int | None = None  # of its calibration in force
        self.scheduled_ns: int | None = None  # the earliest deadline its monitor holds for it
        self.spoken_ns = 0  # when anything last arrived from it or about it
        self._newest: Features | None = None  # and not yet shown
        self._shown: LiveGun | None = None
        self.schedule = Schedule(device)
        self._board = Board(device, settings.config_version)
        self.online = False
        self._was_online = False
        self._revived_ns: int | None = None
        self._birth: DeviceState | None = None
        self._boots: tuple[int, ...] = ()  # newest last
        self._calibrated = False  # as the newest hop says
        self._calibrated_at_ns: int | None = None
        self._status: DeviceStatus | None = None
        self._t_ns: int | None = None  # sample time of the newest hop
        self._heard_ns = 0  # when it arrived
        self._busy_ns = 0  # when the motor last ran, or a session was last spoken of
        self._motor = MotorState.OFF
        self._silent = False
        self._clock_synchronised = True
        self._frames_missing = 0  # since the newest hop
        self._clock_steps = 0
        self._rejected_at_ns: tuple[int, ...] = ()
        self._speeds_hz: tuple[float, ...] = ()
        self._learn_facts()
        self._learn_session()

    def sample_ns(self, now_ns: int) -> int:
        """The gun's own time at the time `now_ns` of the log, as its newest hop tells it."""
        return now_ns if self._t_ns is None else self._t_ns + max(0, now_ns - self._heard_ns)

    # What frames say.

    def frame(self, clock_synchronised: bool) -> None:
        self._clock_synchronised = clock_synchronised

    def stream_event(self, event: StreamEvent) -> None:
        if event.kind is StreamEventKind.SEQUENCE_GAP:
            self._frames_missing += event.count
        elif event.kind is StreamEventKind.CLOCK_STEP:
            self._clock_steps += event.count

    def hop(self, features: Features, received_at_ns: int, out: list[Record]) -> None:
        """One hop: what it adds up to, and what every rule says of it."""
        if self.schedule.due_ns is not None:
            self._advance_schedule(features.t_ns, received_at_ns, out)
        self._hear(features, received_at_ns)
        session = self.schedule.session
        if session is not None:
            features.session_id, features.operator = session.session_id, session.operator
            features.site = self._site
            session.observe(features, self._site, self._start_hz)
        self._newest = features
        out.append(features)
        self._judge(features, self._expose(features, out), out)
        self._recover(features, out)
        if session is not None and session.summary_due(features.t_ns):
            out.append(session.summary(self.id, features.t_ns, None))

    def _hear(self, features: Features, received_at_ns: int) -> None:
        self._t_ns, self._heard_ns = features.t_ns, received_at_ns
        self._motor = features.motor
        if features.motor is not MotorState.OFF:
            self._busy_ns = received_at_ns
            speed_hz = features.set_percussion_hz
            if speed_hz not in self._speeds_hz and speed_hz > 0.0:
                self._speeds_hz = (*self._speeds_hz, speed_hz)[-SPEEDS_KEPT:]
                self._learn_facts()

    def _expose(self, features: Features, out: list[Record]) -> float:
        """The operator's A(8) of the day, with this hop in it where the motor ran."""
        operator = self._operator
        if operator is None:
            return 0.0
        if features.motor is not MotorState.RUNNING:
            return self._exposures.dose(operator, features.t_ns).a8_m_s2
        a_hv_m_s2 = None if features.quality is Quality.BAD else features.a_hv_m_s2
        dose, minute = self._exposures.add(operator, features.t_ns, a_hv_m_s2, HOP_S)
        if minute:
            out.append(exposure_record(operator, features.t_ns, dose))
        return dose.a8_m_s2

    def _judge(self, features: Features, a8_m_s2: float, out: list[Record]) -> None:
        session = self.schedule.session
        situation = Situation(
            features=features,
            limits=self._limits,
            in_session=session is not None,
            no_go=self._no_go,
            site_contact_s=session.contact_s_on(self._site) if session is not None else 0.0,
            session_contact_s=session.contact_s if session is not None else 0.0,
            start_excess=session.start_excess_at(features.t_ns) if session is not None else 0.0,
            a8_m_s2=a8_m_s2,
            battery_low_mv=self._battery_low_mv,
            clock_synchronised=self._clock_synchronised
            and abs(features.t_ns - self._heard_ns) < CLOCK_WRONG_NS,
            frames_missing=self._frames_missing,
            clock_steps=self._clock_steps,
        )
        self._frames_missing = self._clock_steps = 0
        said = judge_hop(situation, self._board.held)
        if said:
            self._board.judge(said, features.t_ns, features.quality, out)

    def _recover(self, features: Features, out: list[Record]) -> None:
        """Hops end silence at once, and being offline once they have come for a second."""
        if self._silent:
            self._silent = False
            self._judge_link("NO_FRAMES", features.t_ns, out)
        if not self.online:
            since_ns = self._revived_ns
            if since_ns is None or features.t_ns < since_ns:
                since_ns = self._revived_ns = features.t_ns
            if not self._was_online or features.t_ns - since_ns >= REVIVAL_NS:
                self._go_online(features.t_ns, out)
        calibration = (features.calibrated, self.calibrated_at_ns)
        if calibration != (self._calibrated, self._calibrated_at_ns):
            self._calibrated, self._calibrated_at_ns = calibration
            self._tell_status(features.t_ns, out)

    def frame_rejected(self, now_ns: int, out: list[Record]) -> None:
        """A frame of this gun could not be used."""
        self._rejected_at_ns = (*self._rejected_at_ns, now_ns)[-REJECTED_FRAMES:]
        self._judge_rejected(now_ns, out)

    def _judge_rejected(self, now_ns: int, out: list[Record]) -> None:
        recent = sum(now_ns - at_ns < REJECTED_WINDOW_NS for at_ns in self._rejected_at_ns)
        self._judge_link("REJECTING_FRAMES", self.sample_ns(now_ns), out, frames_rejected=recent)

    # What birth and will say.

    def state(self, state: DeviceState, now_ns: int, out: list[Record]) -> bool:
        """Take a birth or a will; False if it is an old one, told again or overtaken."""
        if not state.online:
            if self._boots and state.boot_id != self._boots[-1]:
                return False
            self._boots = self._boots or (state.boot_id,)
            self._go_offline(self.sample_ns(now_ns), out)
            return True
        if self._is_past(state):
            return False
        if state.boot_id not in self._boots[-1:]:
            self._boots = (*self._boots, state.boot_id)[-BOOTS_KEPT:]
            self._motor = MotorState.OFF  # until its samples say otherwise
        self._birth = state
        self._learn_facts()
        self._go_online(self.sample_ns(now_ns), out)
        return True

    def _is_past(self, birth: DeviceState) -> bool:
        """Whether a birth belongs to a boot that another has followed."""
        if birth.boot_id not in self._boots[:-1]:
            return False
        known = self._birth
        if known is None or known.t_ns is None or birth.t_ns is None:
            return True
        return birth.t_ns <= known.t_ns

    def _go_online(self, t_ns: int, out: list[Record]) -> None:
        self.online = self._was_online = True
        self._revived_ns = None
        self._judge_link("DEVICE_OFFLINE", t_ns, out)
        self._board.suppress(False, t_ns, out)
        self._tell_status(t_ns, out)

    def _go_offline(self, t_ns: int, out: list[Record]) -> None:
        self.online = False
        self._revived_ns = None
        if self._was_online:  # one that was never seen online has not gone offline
            self._judge_link("DEVICE_OFFLINE", t_ns, out)
        self._judge_link("NO_FRAMES", t_ns, out)
        self._board.suppress(True, t_ns, out)
        self._tell_status(t_ns, out)

    def _tell_status(self, t_ns: int, out: list[Record]) -> None:
        birth = self._birth or DeviceState(self.id, online=False, boot_id=0)
        status = DeviceStatus(
            id=self.id,
            t_ns=t_ns,
            online=self.online,
            model=birth.model,
            serial=birth.serial,
            firmware=birth.firmware,
            head=birth.head,
            calibrated=self._calibrated,
            calibrated_at_ns=self._calibrated_at_ns,
        )
        if self._status is None or replace(status, t_ns=self._status.t_ns) != self._status:
            self._status = status
            out.append(status)

    # What the console says.

    def session_event(self, event: SessionEvent, now_ns: int, out: list[Record]) -> None:
        self._busy_ns = now_ns
        self._take_summaries(self.schedule.expect(event, now_ns), self.sample_ns(now_ns), out)

    def action(self, action: AlarmAction, now_ns: int, out: list[Record]) -> None:
        """What a person asks of an alarm. Raises ActionRefusedError."""
        self._board.act(action, self.sample_ns(now_ns), now_ns, out)

    def _advance_schedule(self, t_ns: int | None, now_ns: int, out: list[Record]) -> None:
        summaries = self.schedule.advance(t_ns, now_ns)
        self._take_summaries(summaries, self.sample_ns(now_ns) if t_ns is None else t_ns, out)

    def _take_summaries(
        self, summaries: Sequence[SessionSummary], t_ns: int, out: list[Record]
    ) -> None:
        """Record the sessions that began or ended, and close the books of those that did."""
        out.extend(summaries)
        operator = self._operator
        if operator is not None and any(each.ended_at_ns is not None for each in summaries):
            dose = self._exposures.dose(operator, t_ns)
            if dose.trigger_s:
                out.append(exposure_record(operator, t_ns, dose))
        self._learn_session()
        if summaries:
            self._board.end_session(t_ns, out)

    # What time says.

    @property
    def due_ns(self) -> int | None:
        """The next deadline on the clock of arrival."""
        dues = [] if self._silent or self._t_ns is None else [self._heard_ns + SILENCE_NS]
        if self.schedule.due_ns is not None:
            dues.append(self.schedule.due_ns)
        if self.schedule.session is not None:
            dues.append(self._busy_ns + IDLE_NS)
        if self._board.held.get("REJECTING_FRAMES"):
            dues.append(self._rejected_at_ns[0] + REJECTED_WINDOW_NS)
        shelf_ends_ns = self._board.shelf_ends_ns
        if shelf_ends_ns is not None:
            dues.append(shelf_ends_ns)
        return min(dues, default=None)

    def wake(self, now_ns: int, out: list[Record]) -> None:
        """Do what is due at `now_ns`; called with exactly `due_ns`."""
        t_ns = self.sample_ns(now_ns)
        if self.schedule.due_ns is not None:
            self._advance_schedule(None, now_ns, out)
        if not self._silent and self._t_ns is not None and now_ns - self._heard_ns >= SILENCE_NS:
            self._fall_silent(self._t_ns, t_ns, out)
        if self.schedule.session is not None and now_ns - self._busy_ns >= IDLE_NS:
            self._take_summaries(self.schedule.close_idle(), t_ns, out)
        if "REJECTING_FRAMES" in self._board:
            self._judge_rejected(now_ns, out)
        self._board.unshelve(t_ns, now_ns, out)

    def _fall_silent(self, since_ns: int, t_ns: int, out: list[Record]) -> None:
        """Nothing has come for a while: no data is never normal."""
        self._silent = True
        if self.online and self._motor is not MotorState.OFF:
            self._judge_link("NO_FRAMES", t_ns, out, silent_s=SILENCE_S)
        self._board.lose_samples(since_ns, t_ns, out)

    def is_gone(self, now_ns: int) -> bool:
        """Whether nothing has been heard for so long that nothing is waited for any more."""
        return now_ns - self.spoken_ns >= GONE_NS and self.due_ns is None

    def resume(self, away_ns: int) -> None:
        """The pipeline itself was away: its absence is no silence of the gun."""
        self.spoken_ns += away_ns
        self._heard_ns += away_ns
        self._busy_ns += away_ns
        self._rejected_at_ns = tuple(at_ns + away_ns for at_ns in self._rejected_at_ns)
        self.schedule.resume(away_ns)

    def _judge_link(
        self,
        rule: str,
        t_ns: int,
        out: list[Record],
        silent_s: float = 0.0,
        frames_rejected: int = 0,
    ) -> None:
        session_open = self.schedule.session is not None
        link = Link(self.online, session_open, silent_s, frames_rejected)
        self._board.judge_link(ALARMS[rule], LINK_CONDITIONS[rule](link), t_ns, out)

    def take_over(self, alarm: Alarm, out: list[Record]) -> None:
        """Go on with an alarm of which only the record is left."""
        self._board.take_over(alarm, out)
        if alarm.rule == "NO_FRAMES":
            self._silent = True  # its next hop ends it
        elif alarm.rule == "REJECTING_FRAMES":
            self._judge_link(alarm.rule, alarm.changed_at_ns, out)

    # What others see.

    def take_news(self) -> LiveGun | None:
        """The newest values, if they are newer than the last taken, and in contact or changed."""
        newest, self._newest = self._newest, None
        if newest is None:
            return None
        shown = self._shown
        now = LiveGun(
            t_ns=newest.t_ns,
            contact=newest.contact,
            contact_force_n=newest.contact_force_n,
            stiffness=newest.stiffness,
            dwell_s=newest.dwell_s,
            percussion_hz=newest.percussion_hz,
            session_id=newest.session_id,
            site=newest.site,
        )
        if not now.contact and shown is not None and now == replace(shown, t_ns=now.t_ns):
            return None
        self._shown = now
        return now

    # What follows from birth and session, kept until they change.

    def _learn_facts(self) -> None:
        model = self._birth.model if self._birth is not None else None
        facts = self._settings.models.get(model, _NO_FACTS) if model is not None else _NO_FACTS
        self._start_hz = start_speed_hz(facts.speeds_hz or self._speeds_hz)
        self._battery_low_mv = facts.battery_low_mv

    def _learn_session(self) -> None:
        session = self.schedule.session
        sites = self._settings.sites
        site = session.site if session is not None else None
        self._site = sites.recorded_name(site)
        self._board.serve(session, self._site)
        self._limits = sites.limits(site)
        self._no_go = session is not None and sites.is_no_go(site, session.avoid)
        self._operator = (
            Operator(self.id.clinic, session.operator)
            if session is not None and session.operator is not None
            else None
        )

    # The snapshot.

    def dump(self) -> list[object]:
        return [
            _plain(self),
            None if self._birth is None else _birth(self._birth),
            None if self._status is None else _status(self._status),
            self.schedule.dump(),
            self._board.dump(),
        ]

    def load(self, values: Sequence[Any]) -> None:
        plain, birth, status, schedule, lives = values
        for name, value in zip(_PLAIN, plain, strict=True):
            setattr(self, name, tuple(value) if isinstance(value, list) else value)
        self._motor = MotorState(self._motor)
        self._birth = None if birth is None else DeviceState(self.id, *birth)
        self._status = None if status is None else DeviceStatus(self.id, *status)
        self.schedule.load(schedule)
        self._board.load(lives)
        self._learn_facts()
        self._learn_session()


_PLAIN = (
    "spoken_ns",
    "online",
    "_was_online",
    "_revived_ns",
    "_boots",
    "_calibrated",
    "_calibrated_at_ns",
    "_t_ns",
    "_heard_ns",
    "_busy_ns",
    "_motor",
    "_silent",
    "_clock_synchronised",
    "_frames_missing",
    "_clock_steps",
    "_rejected_at_ns",
    "_speeds_hz",
)
_plain, _birth, _status = attrgetter(*_PLAIN), attrgetter(*_BIRTH), attrgetter(*_STATUS)
