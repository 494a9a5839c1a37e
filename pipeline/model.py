"""The nouns of MyoGuard: what comes in from MQTT and what goes out as records.

Plain frozen, slotted dataclasses and enums; the innermost layer, so it may import only numpy and
the standard library. Names carry their units (`_n` newton, `_ns` nanosecond, `_s`, `_hz`, `_g`,
`_m_s2`). All times are integer nanoseconds since the Unix epoch, UTC. `t_ns` is sample time, read
from frames; only `received_at_ns` is wall-clock time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag, StrEnum
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

UNKNOWN_SITE = "unknown"  # what records say where no session or site is set (contract, "session")
# The clinic of what the pipeline says of itself: an alarm about the store is no gun's.
PIPELINE_CLINIC = "pipeline"
HOP_NS = 250_000_000  # the step at which features come out (contract, "Quantities")


class DeviceId(NamedTuple):
    """One gun: the clinic it belongs to and its name there, both `[A-Za-z0-9_-]{1,64}`."""

    clinic: str
    device: str

    def __str__(self) -> str:
        return f"{self.clinic}/{self.device}"


class Received(NamedTuple):
    """One MQTT message as the broker delivered it: the unit of the log that all comes from."""

    received_at_ns: int
    topic: str
    payload: bytes


# Messages.

# Nouns are frozen but for those of every frame (`dataclass(slots=True)` alone): to make one of 32
# fields frozen takes nine times as long, 6.5 against 0.7 µs. Whoever made one may complete it;
# nobody else changes it.


class FrameFlag(IntFlag):
    """Bits of the telemetry header's `flags`; unknown bits are kept and ignored."""

    CLOCK_SYNCHRONISED = 1
    ACCEL_CLIPPED = 2
    CURRENT_CLIPPED = 4


@dataclass(slots=True, eq=False)
class Frame:
    """One telemetry frame.

    `samples_lsb` is int16 of shape (n, 4): ax, ay, az, motor current, in least significant bits;
    z is the percussion axis, positive toward the head. Multiply by `accel_g_per_lsb` [g] and
    `current_a_per_lsb` [A]. `set_percussion_hz` 0 means the motor is commanded off.
    """

    id: DeviceId
    boot_id: int
    seq: int
    t0_ns: int
    rate_hz: float
    set_percussion_hz: float
    accel_g_per_lsb: float
    current_a_per_lsb: float
    samples_lsb: NDArray[np.int16]
    flags: FrameFlag = FrameFlag.CLOCK_SYNCHRONISED
    battery_mv: int | None = None
    temperature_c: float | None = None


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A gun's birth (online) or Last Will (not online: only `boot_id` is known)."""

    id: DeviceId
    online: bool
    boot_id: int
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    head: str | None = None
    rate_hz: float | None = None
    t_ns: int | None = None


class SessionEventKind(StrEnum):
    START = "start"
    SITE = "site"
    END = "end"


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What guidance at session start is chosen from; every field may be absent."""

    hours_since_hard_run: float | None = None
    hours_to_race: float | None = None
    modality: str | None = None


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """Who is treated, by whom, where on the body. `client` is a pseudonym, never a name."""

    id: DeviceId
    session_id: str
    event: SessionEventKind
    t_ns: int
    operator: str | None = None
    client: str | None = None
    site: str | None = None
    avoid: tuple[str, ...] = ()
    context: SessionContext | None = None


class ActionKind(StrEnum):
    ACK = "ack"
    SHELVE = "shelve"
    UNSHELVE = "unshelve"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class AlarmAction:
    """What a person asks of an alarm: acknowledge, shelve until, unshelve, reset a latched one."""

    id: DeviceId
    rule: str
    action: ActionKind
    by: str
    t_ns: int
    note: str = ""
    until_ns: int | None = None  # required by SHELVE, absent otherwise


class Priority(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class AlarmState(StrEnum):
    """The states of the contract's life cycle. `pending` and `normal` never leave the machine."""

    ACTIVE_UNACK = "active_unack"
    ACTIVE_ACK = "active_ack"
    RTN_UNACK = "rtn_unack"
    CLEARED = "cleared"
    LATCHED = "latched"
    SHELVED = "shelved"
    SUPPRESSED = "suppressed"
    UNKNOWN = "unknown"


class Quality(StrEnum):
    """How far a signal can be trusted. BAD never reaches an alarm message: that is `unknown`."""

    GOOD = "good"
    DEGRADED = "degraded"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm as it stands after a transition: retained MQTT message and stored record alike.

    `alarm_id` is a hash of device, rule, session and the sample time at which the condition began.
    `value`, `peak` and `setpoint` are in `unit`.
    """

    id: DeviceId
    alarm_id: str
    rule: str
    priority: Priority
    state: AlarmState
    raised_at_ns: int
    changed_at_ns: int
    value: float | None
    peak: float | None
    setpoint: float | None
    unit: str
    session_id: str | None
    site: str
    operator: str | None
    count: int
    quality: Quality
    config_version: str
    capture: str | None = None
    chattering: bool = False
    by: str | None = None  # who acknowledged, shelved or reset it last
    note: str = ""
    until_ns: int | None = None  # the end of shelving


@dataclass(frozen=True, slots=True)
class LiveGun:
    """The newest values of one gun, as the live topic carries them."""

    t_ns: int
    contact: bool
    contact_force_n: float
    stiffness: float
    dwell_s: float
    percussion_hz: float
    session_id: str | None
    site: str


@dataclass(frozen=True, slots=True)
class Live:
    """Newest values of a clinic's guns in contact or changed; `guns` is keyed by device."""

    clinic: str
    t_ns: int
    guns: Mapping[str, LiveGun]


class CommandKind(StrEnum):
    HAPTIC = "haptic"
    LIMIT_PERCUSSION = "limit_percussion"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Command:
    """An advisory to a gun; the gun ignores it after `expires_at_ns`."""

    id: DeviceId
    command_id: str
    action: CommandKind
    value: float
    expires_at_ns: int
    alarm_id: str


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What the gun did with a command."""

    id: DeviceId
    command_id: str
    result: str
    t_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A dead letter: why a message was refused, and the start of its payload."""

    id: DeviceId
    received_at_ns: int
    topic: str
    reason: str
    payload_start: bytes


Message: TypeAlias = (
    Frame
    | DeviceState
    | SessionEvent
    | Alarm
    | AlarmAction
    | Live
    | Command
    | CommandResult
    | Rejected
)

# Records.


class MotorState(StrEnum):
    OFF = "off"
    STARTING = "starting"  # inrush or a change of speed: current is not a witness of force
    RUNNING = "running"
    STALLED = "stalled"


@dataclass(slots=True)
class Features:
    """What one hop (0.25 s of samples, ending at `t_ns`) says about one gun.

    `contact_force_n` is the mean over the last 1 s with its standard uncertainty; `stiffness` runs
    from 0 (soft muscle) over 1 (tendon) to 2 (bone); h1, h2_4 and h_sub are the shares of the
    housing's alternating acceleration power at f0, 2-4·f0 and f0/2; `a_hw_*` is the ISO 5349-1
    Wh-weighted RMS acceleration by axis and `a_hv_m_s2` their vector sum.
    """

    id: DeviceId
    t_ns: int
    motor: MotorState
    contact: bool
    quality: Quality
    percussion_hz: float
    contact_force_n: float
    contact_force_n_sd: float
    stiffness: float
    dwell_s: float
    motion_deg_s: float
    accel_rms_g: float
    crest: float
    kurtosis: float
    current_a: float
    current_ripple_a: float
    h1: float
    h2_4: float
    h_sub: float
    a_hw_x_m_s2: float
    a_hw_y_m_s2: float
    a_hw_z_m_s2: float
    a_hv_m_s2: float
    set_percussion_hz: float
    session_id: str | None = None
    operator: str | None = None
    site: str = UNKNOWN_SITE
    calibrated: bool = False
    battery_mv: int | None = None
    temperature_c: float | None = None
    clipped: bool = False  # samples at the rail, or the device's own clipping flag
    stuck: bool = False  # an axis that does not move while the motor runs


class StreamEventKind(StrEnum):
    """What the order of a gun's frames said, beside the samples themselves."""

    FIRST_FRAME = "first_frame"  # a device or a boot_id not seen before
    SEQUENCE_GAP = "sequence_gap"  # frames are missing and will not come any more
    DUPLICATE = "duplicate"  # same boot_id and seq as a frame already taken
    LATE = "late"  # older than the reorder window
    CLOCK_STEP = "clock_step"  # the device's clock jumped between two consecutive frames


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """`count` frames concerned, at sample time `t_ns`."""

    id: DeviceId
    kind: StreamEventKind
    t_ns: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A finished (or so far) session: one record at its start, end and every minute between.

    `force_histogram_s` are seconds of contact in bands of 10 N, the last one open.
    """

    id: DeviceId
    session_id: str
    operator: str | None
    client: str | None
    started_at_ns: int
    ended_at_ns: int | None
    contact_s: float
    contact_s_by_site: Mapping[str, float]
    force_histogram_s: tuple[float, ...]
    contact_force_n_mean: float
    contact_force_n_max: float
    dwell_s_max: float
    alarms_by_rule: Mapping[str, int]
    guidance: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OperatorExposure:
    """An operator's hand-arm vibration exposure of one UTC day, over all guns of the clinic."""

    clinic: str
    operator: str
    day: str  # YYYY-MM-DD
    t_ns: int
    a_hv_m_s2: float  # equivalent magnitude over the trigger time
    trigger_s: float
    a8_m_s2: float
    points: float  # HSE: 100 at the action value, 400 at the limit
    minutes_to_action: float  # at the present magnitude; 0 when reached
    minutes_to_limit: float


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A gun as the fleet view shows it, recorded when any of it changes."""

    id: DeviceId
    t_ns: int
    online: bool
    model: str | None
    serial: str | None
    firmware: str | None
    head: str | None
    calibrated: bool
    calibrated_at_ns: int | None  # when this unit was at its bench, if its calibration says so


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be used, kept with the reason."""

    received_at_ns: int
    topic: str
    reason: str
    payload: bytes  # the first DEAD_LETTER_BYTES_MAX of it


# A frame's header and its first 500 samples; 64 MB of a whole window. Engineering choice.
DEAD_LETTER_BYTES_MAX = 4_096


Record: TypeAlias = Features | Alarm | SessionSummary | OperatorExposure | DeviceStatus | DeadLetter


# Features as the stores keep them.


@dataclass(slots=True)
class FeatureSecond:
    """One whole second of a gun's hops: the last of them, and the worst value some of them reached.

    A hop belongs to the second in which its samples end. `contact_hops` of `hops` were in contact.
    """

    last: Features
    hops: int
    contact_hops: int
    contact_force_n_max: float
    stiffness_max: float
    dwell_s_max: float
    accel_rms_g_max: float
    crest_max: float
    a_hv_m_s2_max: float
    quality_worst: Quality


@dataclass(slots=True)
class MinuteRollup:
    """One whole minute of a gun's hops, starting at `t_ns`, as sums that add exactly and as maxima.

    Contact force is summed over the hops in contact, percussion and a_hv² over those with the motor
    on. `session_id` and `site` are those of the last hop, which ended at `last_t_ns`.
    """

    id: DeviceId
    t_ns: int
    last_t_ns: int
    session_id: str | None
    site: str
    hops: int
    contact_hops: int
    running_hops: int
    degraded_hops: int  # quality worse than good
    contact_force_n_sum: float
    contact_force_n_max: float
    stiffness_max: float
    dwell_s_max: float
    accel_rms_g_max: float
    percussion_hz_sum: float
    a_hv_m2_s4_sum: float
    a_hv_m_s2_max: float


@dataclass(slots=True)
class Counters:
    """What became of every message since the store began.

    frames = frames_processed + frames_duplicate + frames_late + frames_rejected; `rejected` counts
    refused messages of every kind, by reason.
    """

    messages: int = 0
    frames: int = 0
    frames_processed: int = 0
    frames_duplicate: int = 0
    frames_late: int = 0
    frames_rejected: int = 0
    frames_missing: int = 0  # sequence numbers that never came
    rejected: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """The pipeline itself at `t_ns` of the server's clock: what it counted, and what waits."""

    pipeline: str  # its name at the broker
    t_ns: int
    guns: int
    counters: Counters
    lag_s: float  # from a message to its records, at worst since the last status; nan: none came
    store_bytes: int
    spool_records: int
    spool_bytes: int
    spool_dropped: int
    influx_refused: int


OutboundRecord: TypeAlias = (
    FeatureSecond
    | MinuteRollup
    | Alarm
    | SessionSummary
    | OperatorExposure
    | DeviceStatus
    | PipelineStatus
)  # what is spooled for InfluxDB; dead letters stay in the embedded store
