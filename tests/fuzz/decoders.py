"""What the fuzzer calls with any bytes, what must hold then, and what it begins with."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.wire import DecodeError, decode, encode, sample_time_ns

VECTORS = Path(__file__).parents[1] / "data" / "frames.json"
_GUN = "massage/v1/clinic/gun"
TOPICS = (
    f"{_GUN}/telemetry",
    f"{_GUN}/state",
    f"{_GUN}/session",
    f"{_GUN}/alarm/OVERDWELL",
    f"{_GUN}/alarm/OVERDWELL/action",
    "massage/v1/clinic/live",
    f"{_GUN}/command",
    f"{_GUN}/command/result",
    f"{_GUN}/rejected",
)
MENDED = len(TOPICS)  # a frame whose CRC is put right: no mutation would find it
ANY_TOPIC = MENDED + 1  # the topic, a zero, the payload
KINDS = ANY_TOPIC + 1

_TIMES = {"t_ns": 1_790_000_000_000_000_000}
_ALARM = {
    "alarm_id": "a-1",
    "rule": "OVERDWELL",
    "priority": "medium",
    "state": "active_unack",
    "raised_at_ns": _TIMES["t_ns"],
    "changed_at_ns": _TIMES["t_ns"],
    "value": 63.2,
    "peak": 71.0,
    "setpoint": None,
    "unit": "s",
    "session_id": "s-01",
    "site": "calf_left",
    "operator": "op-7",
    "count": 1,
    "quality": "good",
    "config_version": "v",
    "capture": None,
    "chattering": True,
}
_LIVE_GUN = {
    "contact": True,
    "contact_force_n": 31.2,
    "stiffness": None,
    "dwell_s": 4.0,
    "percussion_hz": 40.1,
    "session_id": None,
    "site": "unknown",
}
# The contract's own examples, one of each kind and more where a kind has several.
EXAMPLES: tuple[tuple[int, dict[str, object]], ...] = (
    (
        1,
        {"online": True, "boot_id": 7, "model": "hx-16", "head": "ball", "rate_hz": 1600, **_TIMES},
    ),
    (1, {"online": False, "boot_id": 7}),
    (2, {"session_id": "s-01", "event": "start", "operator": "op-7", "client": "c", **_TIMES}),
    (2, {"session_id": "s", "event": "site", "site": "calf_left", "avoid": ["shin"], **_TIMES}),
    (2, {"session_id": "s", "event": "end", "context": {"hours_to_race": 60}, **_TIMES}),
    (3, _ALARM),
    (4, {"action": "ack", "by": "op-7", "note": "", **_TIMES}),
    (4, {"action": "shelve", "by": "op-7", "until_ns": _TIMES["t_ns"], **_TIMES}),
    (5, {"guns": {"gun-1": {**_LIVE_GUN, **_TIMES}}, **_TIMES}),
    (6, {"command_id": "1", "action": "stop", "value": 1, "expires_at_ns": 9, "alarm_id": "a"}),
    (7, {"command_id": "1", "result": "done", **_TIMES}),
    (8, {"received_at_ns": 1, "topic": "t", "reason": "bad_crc", "payload_start": "AAEC"}),
)


def seeds() -> Iterator[bytes]:
    for vector in json.loads(VECTORS.read_text(encoding="utf-8")):
        payload = bytes.fromhex(vector["hex"])
        yield bytes([0]) + payload
        yield bytes([MENDED]) + payload[:-4]
    for kind, example in EXAMPLES:
        payload = json.dumps(example).encode()
        yield bytes([kind]) + payload
        yield bytes([ANY_TOPIC]) + TOPICS[kind].encode() + b"\0" + payload


def words() -> list[str]:
    """What JSON messages are made of, for the fuzzer's dictionary."""
    found: set[str] = {"null", "true", "NaN", "1e999", "[[[[", "\\\\u0000"}
    for _, example in EXAMPLES:
        found |= {f'\\"{key}\\"' for key in example}
    return sorted(found)


def check(data: bytes) -> None:
    """Any bytes are a message or a DecodeError; and what is read can be written and read again."""
    if not data:
        return
    kind, payload = data[0] % KINDS, data[1:]
    if kind == ANY_TOPIC:
        name, _, payload = payload.partition(b"\0")
        topic = name.decode(errors="surrogateescape")
    else:
        topic = TOPICS[kind % len(TOPICS)]
    if kind == MENDED:
        payload += zlib.crc32(payload).to_bytes(4, "little")
    sample_time_ns(payload)
    try:
        message = decode(topic, payload)
    except DecodeError:
        return
    written = encode(message)
    assert encode(decode(*written)) == written
