"""The contract's JSON messages as TypedDicts with the bound of every field, and their parser.

What a shape does not name is ignored, so that newer firmware can say more. Types are strict: no
number in a string, no 1.0 for a 1. Pydantic stays in this package; imports `model`'s enums only.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal, NotRequired, TypeVar

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic cannot read typing.TypedDict before 3.12

from pipeline.model import ActionKind, AlarmState, CommandKind, Priority, Quality, SessionEventKind
from pipeline.wire.errors import DecodeError, DecodeReason

# Year 2116. Engineering choice: the sum of two valid times fits an int64, so no rule overflows.
T_NS_MAX: Final = 2**62

RATE_HZ_MIN: Final = 100.0  # contract, "Telemetry frame, binary"
RATE_HZ_MAX: Final = 6400.0
SAMPLE_COUNT_MAX: Final = 4096

# Engineering choices: each some times the largest message in use.
JSON_BYTES_MAX: Final = 64 * 1024  # a session that avoids 64 sites of 256 characters each
JSON_FRAME_BYTES_MAX: Final = 512 * 1024  # 4 × 4096 numbers of 25 characters
LIVE_BYTES_MAX: Final = 1024 * 1024  # 2,000 guns at 300 bytes; nats-server's own default limit

_NAME = r"[A-Za-z0-9_-]{1,64}"  # contract, "Identifiers"

U16 = Annotated[int, Field(ge=0, le=2**16 - 1)]
U32 = Annotated[int, Field(ge=0, le=2**32 - 1)]
Count = Annotated[int, Field(ge=0, le=2**53)]  # what every JSON reader holds exactly
TimeNs = Annotated[int, Field(ge=0, le=T_NS_MAX)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
RateHz = Annotated[float, Field(ge=RATE_HZ_MIN, le=RATE_HZ_MAX)]
Identifier = Annotated[str, Field(pattern=rf"^{_NAME}$")]
# The contract gives session, operator, client, site … no grammar: any short printable text.
Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Note = Annotated[str, Field(max_length=256)]
XYZ = tuple[Finite, Finite, Finite]
FAIL_FAST = FailFast()  # an error for each of 4096 bad samples would cost more than the frame

_STRICT = with_config(ConfigDict(strict=True, extra="ignore"))


@_STRICT
class FrameJson(TypedDict):
    """Bounds are those of the binary header: a JSON frame says nothing that a binary one cannot."""

    boot_id: U32
    seq: U32
    t0_ns: TimeNs
    rate_hz: RateHz
    set_percussion_hz: Annotated[float, Field(ge=0, le=655.35)]
    accel_g: Annotated[list[XYZ], Field(min_length=1, max_length=SAMPLE_COUNT_MAX), FAIL_FAST]
    current_a: Annotated[list[Finite], Field(min_length=1, max_length=SAMPLE_COUNT_MAX), FAIL_FAST]
    battery_mv: NotRequired[U16 | None]
    temperature_c: NotRequired[Annotated[float, Field(ge=-327.67, le=327.67)] | None]


@_STRICT
class StateJson(TypedDict):
    online: bool
    boot_id: U32
    model: NotRequired[Name | None]
    serial: NotRequired[Name | None]
    firmware: NotRequired[Name | None]
    head: NotRequired[Name | None]
    rate_hz: NotRequired[RateHz | None]
    t_ns: NotRequired[TimeNs | None]


@_STRICT
class ContextJson(TypedDict):
    hours_since_hard_run: NotRequired[Finite | None]
    hours_to_race: NotRequired[Finite | None]
    modality: NotRequired[Name | None]


@_STRICT
class SessionJson(TypedDict):
    session_id: Name
    event: SessionEventKind
    t_ns: TimeNs
    operator: NotRequired[Name | None]
    client: NotRequired[Name | None]
    site: NotRequired[Name | None]
    avoid: NotRequired[Annotated[list[Name], Field(max_length=64)] | None]
    context: NotRequired[ContextJson | None]


@_STRICT
class ActionJson(TypedDict):
    action: ActionKind
    by: Name
    t_ns: TimeNs
    note: NotRequired[Note | None]
    until_ns: NotRequired[TimeNs | None]


@_STRICT
class AlarmJson(TypedDict):
    alarm_id: Name
    rule: Identifier
    priority: Priority
    state: AlarmState
    raised_at_ns: TimeNs
    changed_at_ns: TimeNs
    value: Finite | None
    peak: Finite | None
    setpoint: Finite | None
    unit: Note  # may be empty: some quantities have none
    session_id: Name | None
    site: Name
    operator: Name | None
    count: Count
    quality: Literal[Quality.GOOD, Quality.DEGRADED]
    config_version: Note
    capture: NotRequired[Name | None]
    chattering: NotRequired[bool]
    by: NotRequired[Name | None]
    note: NotRequired[Note]
    until_ns: NotRequired[TimeNs | None]


@_STRICT
class GunJson(TypedDict):
    t_ns: TimeNs
    contact: bool
    contact_force_n: Finite | None  # null: not known, as JSON has no NaN
    stiffness: Finite | None
    dwell_s: Finite | None
    percussion_hz: Finite | None
    session_id: Name | None
    site: Name


@_STRICT
class LiveJson(TypedDict):
    t_ns: TimeNs
    guns: dict[Identifier, GunJson]


@_STRICT
class CommandJson(TypedDict):
    command_id: Name
    action: CommandKind
    value: Finite
    expires_at_ns: TimeNs
    alarm_id: Name


@_STRICT
class ResultJson(TypedDict):
    command_id: Name
    result: Name
    t_ns: NotRequired[TimeNs | None]


@_STRICT
class RejectedJson(TypedDict):
    received_at_ns: TimeNs
    topic: Annotated[str, Field(max_length=65_535)]  # what MQTT allows
    reason: Name
    payload_start: Annotated[str, Field(max_length=4096)]  # base64


_Body = TypeVar("_Body")


def parse(shape: TypeAdapter[_Body], payload: bytes, bytes_max: int = JSON_BYTES_MAX) -> _Body:
    """The payload as `shape`, known keys only; DecodeError for anything else."""
    if len(payload) > bytes_max:
        raise DecodeError(DecodeReason.TOO_LARGE, f"{len(payload)} bytes, at most {bytes_max}")
    try:
        # Python's parser first, for what pydantic's lets pass: a key twice, NaN, Infinity.
        json.loads(payload.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise DecodeError(DecodeReason.BAD_JSON, "nested too deep") from None
    except ValueError as error:
        raise DecodeError(DecodeReason.BAD_JSON, str(error)[:200]) from None
    try:
        return shape.validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:100]
        reason = (
            DecodeReason.BAD_JSON if first["type"] == "json_invalid" else DecodeReason.BAD_FIELD
        )
        raise DecodeError(reason, f"{where}: {first['msg']}"[:300]) from None


def _unique(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"key {key[:40]!r} stands twice")
        seen.add(key)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
