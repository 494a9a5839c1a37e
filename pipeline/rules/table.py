"""The ALARMS table: one sourced row an alarm.

A row says when an alarm stands, how urgent it is, how long its delays are, what to do about it and
who says so. The machine that moves alarms is elsewhere (`alarms`), and so are the conditions
(`conditions`). May import `conditions`, `sites` and `model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from pipeline.model import Priority, Quality
from pipeline.rules.conditions import (
    HOP_CONDITIONS,
    PIPELINE_ON_S,
    UNKNOWN,
    Condition,
    HopCondition,
    Situation,
    Verdict,
)


class AlarmKind(StrEnum):
    USE = "use"  # about the treatment
    TECHNICAL = "technical"  # about the equipment


class Signal(StrEnum):
    """What a rule looks at. The first four are worth nothing when the samples are BAD."""

    CONTACT = "contact"
    FORCE = "force"
    STIFFNESS = "stiffness"
    MOTOR = "motor"
    SAMPLES = "samples"  # the samples' own health
    TIMING = "timing"  # order and clock of the frames
    HOUSEKEEPING = "housekeeping"  # calibration, battery, temperature
    SESSION = "session"  # what has been summed up over session, site or operator's day
    LINK = "link"  # the messages themselves
    PIPELINE = "pipeline"  # this program, whatever guns do

    @property
    def needs_good_samples(self) -> bool:
        return self in _SAMPLED


_SAMPLED = frozenset({Signal.CONTACT, Signal.FORCE, Signal.STIFFNESS, Signal.MOTOR})


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """One alarm: when it stands, how urgent it is, what to do about it, and who says so.

    LOW clears by itself, MEDIUM wants an acknowledgement, HIGH, where `latched`, also a reset.
    `priority_highest` is what a condition may raise `priority` to. `falling`: small values are the
    bad ones, so the peak is the smallest.
    """

    rule: str
    kind: AlarmKind
    signal: Signal
    priority: Priority
    on_delay_s: float
    off_delay_s: float
    unit: str
    condition: str
    advice: str
    source: str
    latched: bool = False
    priority_highest: Priority | None = None
    falling: bool = False

    @property
    def on_delay_ns(self) -> int:
        return round(self.on_delay_s * 1e9)

    @property
    def off_delay_ns(self) -> int:
        return round(self.off_delay_s * 1e9)


_USE, _TECHNICAL = AlarmKind.USE, AlarmKind.TECHNICAL
_LOW, _MEDIUM, _HIGH = Priority.LOW, Priority.MEDIUM, Priority.HIGH
_DETECTION = "detection.md, use alarms"

_ROWS = (
    AlarmRow(
        "OVERDWELL_ADVISORY",
        _USE,
        Signal.CONTACT,
        _LOW,
        on_delay_s=0.0,
        off_delay_s=2.0,
        unit="s",
        condition="in contact on one spot (head within 3 cm) for the site's advisory time",
        advice="Move on: this spot has had its time.",
        source=f"{_DETECTION}; seconds: sites",
    ),
    AlarmRow(
        "OVERDWELL",
        _USE,
        Signal.CONTACT,
        _MEDIUM,
        on_delay_s=0.0,
        off_delay_s=2.0,
        unit="s",
        condition="in contact on one spot (head within 3 cm) for the site's limit",
        advice="Move the gun now; keep it gliding, and leave this spot for today.",
        source=f"{_DETECTION}; seconds: sites",
    ),
    AlarmRow(
        "EXCESS_PRESSURE",
        _USE,
        Signal.FORCE,
        _MEDIUM,
        on_delay_s=1.0,
        off_delay_s=1.0,
        unit="N",
        condition="contact force (1 s mean), less half its standard uncertainty (on tendon and"
        " bone all of it) if the gun is calibrated, over the site's limit; off under 90 % of it",
        advice="Ease off: let the gun's own weight do the work.",
        source=f"{_DETECTION}; newtons: sites",
    ),
    AlarmRow(
        "EXTREME_PRESSURE",
        _USE,
        Signal.FORCE,
        _HIGH,
        on_delay_s=0.5,
        off_delay_s=1.0,
        unit="N",
        condition="contact force, less half its standard uncertainty (on tendon and bone all of it)"
        " if the gun is calibrated, over twice the site's limit or its ISO/TS 15066 ceiling,"
        " whichever is lower; off under 90 % of it",
        advice="Lift off at once. Ask how it felt, look at the skin, and reset when all is well.",
        source=f"{_DETECTION}; ceiling: ISO/TS 15066:2016 Table A.2",
        latched=True,
    ),
    AlarmRow(
        "TENDON_PROXIMITY",
        _USE,
        Signal.STIFFNESS,
        _MEDIUM,
        on_delay_s=1.0,
        off_delay_s=1.0,
        unit="1",
        condition="head on tendon, attachment or thin-covered bone (stiffness over 0.5) at 12 N or"
        " more, in the force and its standard uncertainty if the gun is calibrated; high"
        " when the force is over the site's tendon limit",
        advice="Move to the belly of the muscle: tendon and bone are under the head.",
        source=f"{_DETECTION}; stiffness 0.5: engineering choice, midway between muscle and tendon",
        latched=True,
        priority_highest=_HIGH,
    ),
    AlarmRow(
        "NO_GO_SITE",
        _USE,
        Signal.CONTACT,
        _HIGH,
        on_delay_s=0.5,
        off_delay_s=2.0,
        unit="N",
        condition="contact on a site the client asked to leave alone, or one never treated",
        advice="Lift off: this site is not to be treated.",
        source=f"{_DETECTION}; sites never treated: sites",
        latched=True,
    ),
    AlarmRow(
        "MUSCLE_GROUP_TIME",
        _USE,
        Signal.SESSION,
        _LOW,
        on_delay_s=0.0,
        off_delay_s=0.0,
        unit="s",
        condition="120 s of contact on one site in this session; off when the site changes",
        advice="Change to another muscle group.",
        source=f"{_DETECTION}: 30 s to 2 min a muscle group",
    ),
    AlarmRow(
        "SESSION_TIME",
        _USE,
        Signal.SESSION,
        _LOW,
        on_delay_s=0.0,
        off_delay_s=0.0,
        unit="s",
        condition="15 min of contact in this session; off when it ends",
        advice="Bring the session to its end.",
        source=f"{_DETECTION}: 10-20 min a session",
    ),
    AlarmRow(
        "STARTED_TOO_STRONG",
        _USE,
        Signal.SESSION,
        _LOW,
        on_delay_s=0.0,
        off_delay_s=0.0,
        unit="1",
        condition="first contact above the second-lowest speed, or over 30 N within 10 s of it;"
        " off 10 s later. The value is how many times too much",
        advice="Begin at the lowest speed and with little pressure; let the tissue warm up.",
        source=_DETECTION,
    ),
    AlarmRow(
        "HAV_ACTION",
        _USE,
        Signal.SESSION,
        _MEDIUM,
        on_delay_s=0.0,
        off_delay_s=0.0,
        unit="m/s²",
        condition="the operator's daily exposure A(8) reaches 2.5 m/s²; off the next day",
        advice="Share the remaining treatments with a colleague, or use a gun that shakes less.",
        source="Directive 2002/44/EC Art. 3: exposure action value",
    ),
    AlarmRow(
        "HAV_LIMIT",
        _USE,
        Signal.SESSION,
        _HIGH,
        on_delay_s=0.0,
        off_delay_s=0.0,
        unit="m/s²",
        condition="the operator's daily exposure A(8) reaches 5.0 m/s²; off the next day",
        advice="Put the gun down: this operator has had today's dose of vibration.",
        source="Directive 2002/44/EC Art. 3: exposure limit value",
        latched=True,
    ),
    AlarmRow(
        "DEVICE_OFFLINE",
        _TECHNICAL,
        Signal.LINK,
        _LOW,
        on_delay_s=0.0,
        off_delay_s=0.0,
        unit="1",
        condition="the gun's Last Will has come; medium while a session is open",
        advice="The gun is not watched. Check its battery and the wireless network.",
        source="telemetry.md, state; priority: engineering choice, low while nobody is treated",
        priority_highest=_MEDIUM,
    ),
    AlarmRow(
        "NO_FRAMES",
        _TECHNICAL,
        Signal.LINK,
        _MEDIUM,
        on_delay_s=0.0,
        off_delay_s=0.0,
        unit="s",
        condition="online and its motor ran, but silent for 5 s",
        advice="The gun may run unwatched: stop it, and start it again.",
        source="detection.md, technical alarms",
    ),
    AlarmRow(
        "SEQUENCE_GAP",
        _TECHNICAL,
        Signal.TIMING,
        _LOW,
        on_delay_s=0.0,
        off_delay_s=10.0,
        unit="frames",
        condition="frames are missing and will not come any more; off after 10 s without loss",
        advice="The wireless network loses data: move the access point or the gun.",
        source="detection.md, technical alarms; 10 s: engineering choice, 40 hops of evidence",
    ),
    AlarmRow(
        "SENSOR_CLIPPED",
        _TECHNICAL,
        Signal.SAMPLES,
        _LOW,
        on_delay_s=0.5,
        off_delay_s=5.0,
        unit="1",
        condition="samples at the rail, or the device's own clipping flag",
        advice="Pressure and tissue cannot be judged: ease off, or lower the speed.",
        source="detection.md, technical alarms; 0.5 s: engineering choice, a knock clips one hop",
    ),
    AlarmRow(
        "SENSOR_STUCK",
        _TECHNICAL,
        Signal.SAMPLES,
        _MEDIUM,
        on_delay_s=1.0,
        off_delay_s=5.0,
        unit="1",
        condition="an axis does not move while the motor runs",
        advice="The sensor is broken: take the gun out of use.",
        source="detection.md, technical alarms; delays: engineering choice",
    ),
    AlarmRow(
        "CLOCK_STEP",
        _TECHNICAL,
        Signal.TIMING,
        _LOW,
        on_delay_s=0.0,
        off_delay_s=10.0,
        unit="1",
        condition="the gun's clock jumped; off after 10 s without a jump",
        advice="Times of this gun's records jump here; check its time source if it recurs.",
        source="detection.md, technical alarms; 10 s: engineering choice",
    ),
    AlarmRow(
        "CLOCK_UNSYNCED",
        _TECHNICAL,
        Signal.TIMING,
        _LOW,
        on_delay_s=5.0,
        off_delay_s=1.0,
        unit="1",
        condition="the gun says that its clock is not synchronised, or it is ten years off",
        advice="Times of this gun's records may be wrong; check its time source.",
        source="telemetry.md, flags bit 0; 5 s: engineering choice, a start-up takes that long; ten"
        " years: engineering choice, a clock without a battery begins in 1970, 1980 or 2000",
    ),
    AlarmRow(
        "BATTERY_LOW",
        _TECHNICAL,
        Signal.HOUSEKEEPING,
        _LOW,
        on_delay_s=5.0,
        off_delay_s=5.0,
        unit="mV",
        condition="battery under the model's low mark; off over 103 % of it",
        advice="Charge the gun before the next client.",
        source="the model's profile; 5 s: engineering choice, a start sags the battery briefly",
        falling=True,
    ),
    AlarmRow(
        "OVERHEATED",
        _TECHNICAL,
        Signal.HOUSEKEEPING,
        _MEDIUM,
        on_delay_s=5.0,
        off_delay_s=5.0,
        unit="°C",
        condition="housing at 48 °C or more; off under 46 °C",
        advice="Put the gun down and let it cool: longer contact would burn the skin.",
        source="ISO 13732-1:2006, burn threshold for 10 min; 46 °C and 5 s: engineering choice",
    ),
    AlarmRow(
        "STALLED",
        _TECHNICAL,
        Signal.MOTOR,
        _MEDIUM,
        on_delay_s=0.5,
        off_delay_s=1.0,
        unit="A",
        condition="the motor is held still against its command",
        advice="Switch off, free the head, and press less.",
        source="detection.md, technical alarms; 0.5 s: its bound on inrush",
    ),
    AlarmRow(
        "UNCALIBRATED",
        _TECHNICAL,
        Signal.HOUSEKEEPING,
        _LOW,
        on_delay_s=1.0,
        off_delay_s=0.0,
        unit="1",
        condition="no bench calibration of this unit: force is the model's prior, less sure",
        advice="Calibrate this gun on the bench; until then read its force as a rough figure.",
        source="detection.md, technical alarms; 1 s: engineering choice",
    ),
    AlarmRow(
        "REJECTING_FRAMES",
        _TECHNICAL,
        Signal.LINK,
        _MEDIUM,
        on_delay_s=0.0,
        off_delay_s=0.0,
        unit="frames",
        condition="3 bad frames of this gun within 10 s; off when there are fewer",
        advice="Part of what the gun sends cannot be read: check its firmware and its network.",
        source="detection.md, technical alarms; 3 in 10 s: engineering choice",
    ),
    AlarmRow(
        "STORE_UNREACHABLE",
        _TECHNICAL,
        Signal.PIPELINE,
        _MEDIUM,
        on_delay_s=PIPELINE_ON_S,
        off_delay_s=5.0,
        unit="s",
        condition="InfluxDB has taken nothing for 30 s although something waits; high while what"
        " waits is over half of what may wait, off under 40 % of it; high, too, when the store on"
        " our own disk has taken nothing for 5 s",
        advice="Nothing is lost yet. InfluxDB: guns are watched as ever; put it, its network or our"
        " access to it right before the spool is full; the page says what it answers. Our own disk:"
        " free it or mend it at once, for guns are watched only until the broker's window is full.",
        source="detection.md, technical alarms; 30 s, half, 40 %: engineering choices",
        latched=True,
        priority_highest=_HIGH,
    ),
    AlarmRow(
        "STORE_FULL",
        _TECHNICAL,
        Signal.PIPELINE,
        _LOW,
        on_delay_s=0.0,
        off_delay_s=0.0,
        unit="1",
        condition="the store on our own disk gives up features or rollups before their time, to"
        " stay below its size; medium when sessions, alarms that are over or what InfluxDB waits"
        " for go too",
        advice="Watching goes on. Raise store.size_max_gb, or keep less: store.features_days.",
        source="issue 5, limits: engineering choice",
        priority_highest=_MEDIUM,
    ),
    AlarmRow(
        "BROKER_UNREACHABLE",
        _TECHNICAL,
        Signal.PIPELINE,
        _MEDIUM,
        on_delay_s=PIPELINE_ON_S,
        off_delay_s=5.0,
        unit="s",
        condition="the pipeline cannot read from the broker",
        advice="No gun is watched. Put the broker, its network or our access to it right; what is"
        " missing stands in the log and on the page. Nothing has to be started again.",
        source="engineering choice: no data is never normal; 5 s: a restart is quicker",
    ),
    AlarmRow(
        "PIPELINE_LAG",
        _TECHNICAL,
        Signal.PIPELINE,
        _MEDIUM,
        on_delay_s=PIPELINE_ON_S,
        off_delay_s=5.0,
        unit="s",
        condition="messages are 5 s old and more before they are judged; off under 2 s",
        advice="Alarms come late. After an outage wait until it has caught up; else the machine is"
        " too slow for so many guns, or its disk is.",
        source="detection.md, technical alarms; seconds: engineering choice, README: within about a"
        " second",
    ),
)

ALARMS: Mapping[str, AlarmRow] = MappingProxyType({row.rule: row for row in _ROWS})


_Rule: TypeAlias = tuple[AlarmRow, str, bool, HopCondition]


def _rules(*signals: Signal) -> tuple[_Rule, ...]:
    return tuple(
        (row, row.rule, row.signal in _SAMPLED, HOP_CONDITIONS[row.rule])
        for row in ALARMS.values()
        if row.signal in signals and row.rule in HOP_CONDITIONS
    )


_OF_CONTACT = _rules(Signal.CONTACT, Signal.FORCE, Signal.STIFFNESS)
_OF_SESSION = _rules(Signal.SESSION)
_OF_GUN = _rules(Signal.MOTOR, Signal.SAMPLES, Signal.TIMING, Signal.HOUSEKEEPING)


def judge_hop(situation: Situation, held: Mapping[str, bool]) -> list[tuple[AlarmRow, Condition]]:
    """Every rule of a hop whose alarm has to take a step: the TRUE ones, and those in `held`.

    `held` names the alarms that are not simply normal, and whether each stands. A rule that needs
    samples which are BAD is UNKNOWN without a look. This is most of what a quiet hop costs, so
    rules of contact are passed over in air, and rules of sessions without one, where none can be
    TRUE.
    """
    bad = situation.features.quality is Quality.BAD
    said = []
    for rules, apply in (
        (_OF_CONTACT, situation.features.contact),
        (_OF_SESSION, situation.in_session),
        (_OF_GUN, True),
    ):
        if not apply and not held:
            continue
        for row, rule, sampled, decide in rules:
            condition = UNKNOWN if bad and sampled else decide(situation, held.get(rule, False))
            if condition.verdict is Verdict.TRUE or rule in held:
                said.append((row, condition))
    return said
