"""Messages to topic and payload and back: one decoder for each row of the contract's topic table.

`decode` raises DecodeError and nothing else. An empty payload is a DecodeError too (`empty`): on a
retained topic it is how MQTT clears what was retained, and clearing is no statement about a gun,
a session or an alarm; those end with their own messages.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Final, TypeAlias

from pydantic import TypeAdapter
from pydantic_core import to_json

from pipeline.model import (
    ActionKind,
    Alarm,
    AlarmAction,
    Command,
    CommandResult,
    DeviceId,
    DeviceState,
    Frame,
    Live,
    LiveGun,
    Message,
    Rejected,
    SessionContext,
    SessionEvent,
)
from pipeline.wire.errors import DecodeError, DecodeReason
from pipeline.wire.frame import decode_frame, encode_frame
from pipeline.wire.shapes import (
    LIVE_BYTES_MAX,
    ActionJson,
    AlarmJson,
    CommandJson,
    GunJson,
    LiveJson,
    RejectedJson,
    ResultJson,
    SessionJson,
    StateJson,
    parse,
)
from pipeline.wire.topics import Address, TopicKind, format_topic, parse_topic

REJECTED_PAYLOAD_BYTES: Final = 256
"""Of the payload in a dead letter. Engineering choice: a frame's header and its first samples."""

_STATE = TypeAdapter(StateJson)
_SESSION = TypeAdapter(SessionJson)
_ALARM = TypeAdapter(AlarmJson)
_ACTION = TypeAdapter(ActionJson)
_LIVE = TypeAdapter(LiveJson)
_COMMAND = TypeAdapter(CommandJson)
_RESULT = TypeAdapter(ResultJson)
_REJECTED = TypeAdapter(RejectedJson)


def decode(topic: str, payload: bytes) -> Message:
    """The message that `payload` on `topic` is. Raises DecodeError, and nothing else."""
    address = parse_topic(topic)
    if not payload:
        raise DecodeError(DecodeReason.EMPTY, "no payload: a retained message was cleared")
    if address.kind is TopicKind.TELEMETRY:  # nearly every message; a table costs it 5 %
        return decode_frame(address.id, payload)
    return _DECODERS[address.kind](address, payload)


def encode(message: Message) -> tuple[str, bytes]:
    """The topic and payload that carry `message`; frames in binary, a NaN in JSON as null.

    Values are the caller's to keep in the contract's ranges; what its form cannot hold at all
    raises ValueError or struct.error.
    """
    topic = format_topic(_address(message))
    if isinstance(message, Frame):
        return topic, encode_frame(message)
    body = _said(message)
    if isinstance(message, Rejected):
        start = message.payload_start[:REJECTED_PAYLOAD_BYTES]
        body["payload_start"] = base64.b64encode(start).decode()
    return topic, to_json(body, inf_nan_mode="null")


# ----------------------------------------------------------------------------------------- encoding

_KINDS: Mapping[type[Message], TopicKind] = {
    Frame: TopicKind.TELEMETRY,
    DeviceState: TopicKind.STATE,
    SessionEvent: TopicKind.SESSION,
    Alarm: TopicKind.ALARM,
    AlarmAction: TopicKind.ACTION,
    Live: TopicKind.LIVE,
    Command: TopicKind.COMMAND,
    CommandResult: TopicKind.COMMAND_RESULT,
    Rejected: TopicKind.REJECTED,
}
_IN_TOPIC: Mapping[type, frozenset[str]] = {
    AlarmAction: frozenset({"id", "rule"}),
    Live: frozenset({"clinic"}),
}
_Key: TypeAlias = tuple[str, object]  # a field in the payload, and its default
_KEYS: Mapping[type, tuple[_Key, ...]] = {
    kind: tuple(
        (item.name, item.default)
        for item in fields(kind)
        if item.name not in _IN_TOPIC.get(kind, {"id"})
    )
    for kind in (*_KINDS, SessionContext)
}
_ALWAYS_SAID = frozenset({"capture"})  # of the contract's keys, though model gives it a default


def _address(message: Message) -> Address:
    kind = _KINDS[type(message)]
    if isinstance(message, Live):
        return Address(kind, DeviceId(message.clinic, ""))
    rule = message.rule if isinstance(message, Alarm | AlarmAction) else ""
    return Address(kind, message.id, rule)


def _said(message: Message | SessionContext) -> dict[str, object]:
    """The JSON keys of a message: optional ones only where they say something."""
    body: dict[str, object] = {}
    for name, default in _KEYS[type(message)]:
        value = getattr(message, name)
        if value != default or name in _ALWAYS_SAID:
            body[name] = _said(value) if isinstance(value, SessionContext) else value
    return body


# ----------------------------------------------------------------------------------------- decoding


def _decode_state(address: Address, payload: bytes) -> DeviceState:
    return DeviceState(address.id, **parse(_STATE, payload))


def _decode_session(address: Address, payload: bytes) -> SessionEvent:
    body = parse(_SESSION, payload)
    context = body.get("context")
    return SessionEvent(
        address.id,
        session_id=body["session_id"],
        event=body["event"],
        t_ns=body["t_ns"],
        operator=body.get("operator"),
        client=body.get("client"),
        site=body.get("site"),
        avoid=tuple(body.get("avoid") or ()),
        context=None if context is None else SessionContext(**context),
    )


def _decode_alarm(address: Address, payload: bytes) -> Alarm:
    body = parse(_ALARM, payload)
    if body["rule"] != address.rule:
        raise DecodeError(
            DecodeReason.BAD_FIELD, f"rule {body['rule']!r} on the topic of {address.rule!r}"
        )
    return Alarm(address.id, **body)


def _decode_action(address: Address, payload: bytes) -> AlarmAction:
    body = parse(_ACTION, payload)
    shelve, until_ns = body["action"] is ActionKind.SHELVE, body.get("until_ns")
    if shelve and until_ns is None:
        raise DecodeError(DecodeReason.BAD_FIELD, "until_ns: shelve needs it")
    return AlarmAction(
        address.id,
        address.rule,
        action=body["action"],
        by=body["by"],
        t_ns=body["t_ns"],
        note=body.get("note") or "",
        until_ns=until_ns if shelve else None,
    )


def _decode_live(address: Address, payload: bytes) -> Live:
    body = parse(_LIVE, payload, LIVE_BYTES_MAX)
    return Live(
        address.id.clinic, body["t_ns"], {name: _gun(gun) for name, gun in body["guns"].items()}
    )


def _gun(body: GunJson) -> LiveGun:
    def known(value: float | None) -> float:
        return math.nan if value is None else value

    return LiveGun(
        t_ns=body["t_ns"],
        contact=body["contact"],
        contact_force_n=known(body["contact_force_n"]),
        stiffness=known(body["stiffness"]),
        dwell_s=known(body["dwell_s"]),
        percussion_hz=known(body["percussion_hz"]),
        session_id=body["session_id"],
        site=body["site"],
    )


def _decode_command(address: Address, payload: bytes) -> Command:
    return Command(address.id, **parse(_COMMAND, payload))


def _decode_result(address: Address, payload: bytes) -> CommandResult:
    return CommandResult(address.id, **parse(_RESULT, payload))


def _decode_rejected(address: Address, payload: bytes) -> Rejected:
    body = parse(_REJECTED, payload)
    try:
        payload_start = base64.b64decode(body["payload_start"], validate=True)
    except binascii.Error as error:
        raise DecodeError(DecodeReason.BAD_FIELD, f"payload_start: {error}") from None
    return Rejected(
        address.id, body["received_at_ns"], body["topic"], body["reason"], payload_start
    )


_DECODERS: Mapping[TopicKind, Callable[[Address, bytes], Message]] = {
    TopicKind.STATE: _decode_state,
    TopicKind.SESSION: _decode_session,
    TopicKind.ALARM: _decode_alarm,
    TopicKind.ACTION: _decode_action,
    TopicKind.LIVE: _decode_live,
    TopicKind.COMMAND: _decode_command,
    TopicKind.COMMAND_RESULT: _decode_result,
    TopicKind.REJECTED: _decode_rejected,
}
