"""The contract's topic grammar, both ways, and what the pipeline subscribes to. Sans I/O."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from pipeline.model import DeviceId
from pipeline.wire.errors import DecodeError, DecodeReason


class TopicKind(StrEnum):
    """The rows of the contract's topic table, named by the end of their topics."""

    TELEMETRY = "telemetry"
    STATE = "state"
    SESSION = "session"
    ALARM = "alarm"
    ACTION = "action"
    LIVE = "live"
    COMMAND = "command"
    COMMAND_RESULT = "command/result"
    REJECTED = "rejected"


class Address(NamedTuple):
    """A parsed topic. `rule` is set for alarms and actions; `id.device` is empty for live."""

    kind: TopicKind
    id: DeviceId
    rule: str = ""


_ROOT = "massage/v1"
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME = _IDENTIFIER.pattern
_TOPIC = re.compile(
    rf"{_ROOT}/(?P<clinic>{_NAME})/"
    rf"(?:(?P<live>live)|(?P<device>{_NAME})/"
    rf"(?:(?P<leaf>telemetry|state|session|command/result|command|rejected)"
    rf"|alarm/(?P<rule>{_NAME})(?P<action>/action)?))"
)

# What the pipeline subscribes to, all at QoS 1. Frames, births and sessions by one filter, because
# NATS keeps order within a subscription only, and after an outage a gun's site must change between
# the right frames. It brings back dead letters and commands of our own, which nobody acts on.
PIPELINE_FILTERS: Final = (
    f"{_ROOT}/+/+/+",
    f"{_ROOT}/+/+/alarm/+/action",
    f"{_ROOT}/+/+/command/result",
)


@lru_cache(maxsize=32_768)  # 2,000 guns with all their topics and some 10 alarms each
def parse_topic(topic: str) -> Address:
    """The parts of a topic of the contract's grammar; DecodeError for any other."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        raise DecodeError(
            DecodeReason.BAD_TOPIC, f"topic {topic[:80]!r} is not of the form {_ROOT}/…"
        )
    id_ = DeviceId(match["clinic"], match["device"] or "")
    if match["live"]:
        return Address(TopicKind.LIVE, id_)
    if match["leaf"]:
        return Address(TopicKind(match["leaf"]), id_)
    kind = TopicKind.ACTION if match["action"] else TopicKind.ALARM
    return Address(kind, id_, match["rule"])


@lru_cache(maxsize=32_768)
def format_topic(address: Address) -> str:
    """The inverse of parse_topic; ValueError for an identifier that no topic can carry."""
    kind, id_, rule = address
    if kind is TopicKind.LIVE:
        topic = f"{_ROOT}/{id_.clinic}/live"
    elif kind is TopicKind.ALARM:
        topic = f"{_ROOT}/{id_.clinic}/{id_.device}/alarm/{rule}"
    elif kind is TopicKind.ACTION:
        topic = f"{_ROOT}/{id_.clinic}/{id_.device}/alarm/{rule}/action"
    else:
        topic = f"{_ROOT}/{id_.clinic}/{id_.device}/{kind}"
    if not _TOPIC.fullmatch(topic):
        raise ValueError(f"{topic!r}: clinic, device and rule must match {_NAME}")
    return topic
