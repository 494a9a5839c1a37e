"""The wire contract: every golden vector, arbitrary bytes, topics, and round trips."""

from __future__ import annotations

import json
import math
import struct
import zlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.model import (
    ActionKind,
    Alarm,
    AlarmAction,
    AlarmState,
    Command,
    CommandKind,
    CommandResult,
    DeviceId,
    DeviceState,
    Frame,
    FrameFlag,
    Live,
    LiveGun,
    Message,
    Priority,
    Quality,
    Rejected,
    SessionContext,
    SessionEvent,
    SessionEventKind,
)
from pipeline.wire import (
    PIPELINE_FILTERS,
    REJECTED_PAYLOAD_BYTES,
    SAMPLE_COUNT_MAX,
    T_NS_MAX,
    DecodeError,
    DecodeReason,
    decode,
    encode,
    parse_topic,
)

VECTORS = json.loads((Path(__file__).parent / "data" / "frames.json").read_text())
PLAIN = bytes.fromhex(next(v["hex"] for v in VECTORS if v["name"] == "plain"))
TELEMETRY = "massage/v1/clinic-1/gun_1/telemetry"
GUN = DeviceId("clinic-1", "gun_1")
TOPICS = [
    f"massage/v1/clinic-1/{leaf}"
    for leaf in (
        "gun_1/telemetry",
        "gun_1/state",
        "gun_1/session",
        "gun_1/alarm/OVERDWELL",
        "gun_1/alarm/OVERDWELL/action",
        "live",
        "gun_1/command",
        "gun_1/command/result",
        "gun_1/rejected",
    )
]


def reason_of(topic: str, payload: bytes) -> DecodeReason:
    with pytest.raises(DecodeError) as caught:
        decode(topic, payload)
    assert isinstance(caught.value.reason, DecodeReason)
    assert 0 < len(caught.value.detail) < 500
    return caught.value.reason


def decode_frame(payload: bytes) -> Frame:
    frame = decode(TELEMETRY, payload)
    assert isinstance(frame, Frame)
    return frame


def same(a: Message, b: Message) -> bool:
    """Equality; of frames field by field, as arrays have none."""
    if not isinstance(a, Frame) or not isinstance(b, Frame):
        return a == b
    pairs = [(getattr(a, item.name), getattr(b, item.name)) for item in fields(Frame)]
    return all(np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y for x, y in pairs)


# ------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_every_vector_of_the_contract(vector: dict[str, Any]) -> None:
    payload, expect = bytes.fromhex(vector["hex"]), dict(vector["expect"])
    if not expect.pop("ok"):
        reason_of(TELEMETRY, payload)
        return
    frame = decode_frame(payload)
    assert frame.id == GUN
    samples = {
        "accel_lsb": frame.samples_lsb[:, :3].tolist(),
        "current_lsb": frame.samples_lsb[:, 3].tolist(),
    }
    for name, value in expect.items():
        got = samples[name] if name in samples else getattr(frame, name)
        assert got == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty", DecodeReason.EMPTY),
        ("magic", DecodeReason.BAD_MAGIC),
        ("crc", DecodeReason.BAD_CRC),
        ("short", DecodeReason.TOO_SHORT),
        ("long", DecodeReason.TOO_LONG),
        ("rate-nan", DecodeReason.BAD_FIELD),
        ("count-zero", DecodeReason.BAD_FIELD),
        ("count-lies", DecodeReason.TOO_SHORT),
        ("scale-negative", DecodeReason.BAD_FIELD),
        ("header-small", DecodeReason.BAD_FIELD),
    ],
)
def test_a_bad_frame_is_counted_under_its_reason(name: str, reason: DecodeReason) -> None:
    payload = bytes.fromhex(next(v["hex"] for v in VECTORS if v["name"] == name))
    assert reason_of(TELEMETRY, payload) is reason


def test_the_samples_are_a_view_of_the_payload() -> None:
    samples = decode_frame(PLAIN).samples_lsb
    assert samples.dtype == np.int16
    assert np.shares_memory(samples, np.frombuffer(PLAIN, np.uint8))
    assert not samples.flags.writeable


@given(st.binary(max_size=400))
@example(PLAIN)
@example(PLAIN[:4])
def test_arbitrary_bytes_give_a_frame_or_a_decode_error(payload: bytes) -> None:
    try:
        decode_frame(payload)
    except DecodeError:
        assert payload != PLAIN


def with_crc(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


@given(st.lists(st.tuples(st.integers(0, 71), st.integers(0, 255)), max_size=6), st.booleans())
def test_a_mutated_frame_gives_a_frame_of_the_contract_or_a_decode_error(
    changes: list[tuple[int, int]], mend_crc: bool
) -> None:
    mutated = bytearray(PLAIN)
    for at, value in changes:
        mutated[at] = value
    payload = with_crc(bytes(mutated[:-4])) if mend_crc else bytes(mutated)
    try:
        frame = decode_frame(payload)
    except DecodeError:
        return
    assert mend_crc or payload == PLAIN
    assert 1 <= len(frame.samples_lsb) <= SAMPLE_COUNT_MAX
    assert 100 <= frame.rate_hz <= 6400
    assert 0 <= frame.t0_ns <= T_NS_MAX
    assert 0 < frame.accel_g_per_lsb < math.inf
    assert 0 < frame.current_a_per_lsb < math.inf


@given(st.integers(0, len(PLAIN) - 5), st.integers(1, 255))
def test_every_flipped_byte_is_noticed(at: int, flip: int) -> None:
    payload = PLAIN[:at] + bytes([PLAIN[at] ^ flip]) + PLAIN[at + 1 :]
    reason_of(TELEMETRY, payload)


def header(**changes: float) -> bytes:
    """A frame of one sample whose header says what `changes` say."""
    said: dict[str, float] = {
        "header_bytes": 48,
        "flags": 1,
        "boot_id": 7,
        "seq": 0,
        "t0_ns": 1,
        "rate_hz": 1600.0,
        "count": 1,
        "set_chz": 0,
        "accel": 1.0,
        "current": 1.0,
        "battery_mv": 0,
        "temperature_cc": -32768,
        "reserved": 0,
        **changes,
    }
    return with_crc(struct.pack("<4sHHIIQfHHffHhI", b"MGF1", *said.values()) + bytes(8))


@pytest.mark.parametrize(
    "changes",
    [
        *({"t0_ns": t} for t in (0, T_NS_MAX)),
        *({"rate_hz": rate} for rate in (100.0, 6400.0)),
        {"reserved": 2**32 - 1},
        {"flags": 0},
    ],
)
def test_the_ends_of_each_range_are_inside(changes: dict[str, float]) -> None:
    decode_frame(header(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        *({"t0_ns": t} for t in (T_NS_MAX + 1, 2**63, 2**64 - 1)),
        *({"rate_hz": rate} for rate in (99.99, 6400.01, -1600.0, math.inf, math.nan)),
        *({name: v} for name in ("accel", "current") for v in (0.0, -0.0, math.inf, math.nan)),
    ],
)
def test_beyond_each_range_is_a_bad_field(changes: dict[str, float]) -> None:
    assert reason_of(TELEMETRY, header(**changes)) is DecodeReason.BAD_FIELD


def test_the_longest_frame_is_taken_and_one_sample_more_is_not() -> None:
    longest = replace(decode_frame(PLAIN), samples_lsb=np.ones((SAMPLE_COUNT_MAX, 4), np.int16))
    assert len(decode_frame(encode(longest)[1]).samples_lsb) == SAMPLE_COUNT_MAX
    longer = replace(longest, samples_lsb=np.ones((SAMPLE_COUNT_MAX + 1, 4), np.int16))
    assert reason_of(TELEMETRY, encode(longer)[1]) is DecodeReason.BAD_FIELD


# ------------------------------------------------------------------------------------------- topics


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_of_the_grammar_names_its_gun(topic: str) -> None:
    address = parse_topic(topic)
    assert address.id.clinic == "clinic-1"
    assert address.id.device == ("" if topic.endswith("/live") else "gun_1")
    assert address.rule == ("OVERDWELL" if "/alarm/" in topic else "")


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "massage",
        "massage/v1",
        "massage/v2/c/g/state",
        "massage/v1/c/g",
        "massage/v1/c/g/other",
        "massage/v1/c/g/telemetry/",
        "/massage/v1/c/g/telemetry",
        "massage/v1//g/telemetry",
        "massage/v1/c//telemetry",
        "massage/v1/c/g/telemetry\n",
        "massage/v1/c/g h/telemetry",
        "massage/v1/c/ß/telemetry",
        f"massage/v1/c/{'g' * 65}/telemetry",
        "massage/v1/c/g/alarm",
        "massage/v1/c/g/alarm/",
        "massage/v1/c/g/alarm/R/other",
        "massage/v1/c/g/action",
        "massage/v1/c/g/live",
        "massage/v1/c/g/result",
        "massage/v1/+/+/telemetry",
        "massage/v1/c/g/telemetry" * 10_000,
    ],
    ids=lambda topic: repr(topic[:40]),
)
def test_any_other_topic_is_a_bad_topic(topic: str) -> None:
    assert reason_of(topic, PLAIN) is DecodeReason.BAD_TOPIC


@given(st.text(), st.binary(max_size=60))
def test_arbitrary_topics_never_raise_anything_else(topic: str, payload: bytes) -> None:
    assert reason_of(topic, payload) is DecodeReason.BAD_TOPIC


def test_the_pipeline_hears_all_that_is_said_to_it_once_and_no_alarm_of_its_own() -> None:
    def matches(pattern: str, topic: str) -> bool:
        parts, words = pattern.split("/"), topic.split("/")
        pairs = zip(parts, words, strict=False)
        return len(parts) == len(words) and all(part in {"+", word} for part, word in pairs)

    heard = [
        topic.split("/", 4)[-1] for t in PIPELINE_FILTERS for topic in TOPICS if matches(t, topic)
    ]
    said_to_it = {"telemetry", "state", "session", "alarm/OVERDWELL/action", "command/result"}
    assert len(heard) == len(set(heard))
    assert set(heard) - {"command", "rejected"} == said_to_it


@pytest.mark.parametrize("bad", ["", "a/b", "+", "#", "a b", "x" * 65])
def test_an_identifier_that_no_topic_can_carry_is_not_encoded(bad: str) -> None:
    for message in (DeviceState(DeviceId("c", bad), True, 1), Live(bad, 1, {})):
        with pytest.raises(ValueError, match="must match"):
            encode(message)


# -------------------------------------------------------------------------------------- round trips

identifiers = st.text("abcXYZ019_-", min_size=1, max_size=64)
ids = st.builds(DeviceId, identifiers, identifiers)
times_ns = st.integers(0, T_NS_MAX)
u32 = st.integers(0, 2**32 - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=256)
notes = st.text(st.characters(codec="utf-8"), max_size=256)
rates_hz = st.floats(100, 6400, width=32)
scales = st.floats(0, 1e3, width=32, exclude_min=True)
samples = st.integers(1, 64).flatmap(
    lambda n: st.binary(min_size=8 * n, max_size=8 * n).map(
        lambda raw: np.frombuffer(raw, "<i2").reshape(-1, 4)
    )
)
maybe = st.none().__or__

frames = st.builds(
    Frame,
    ids,
    boot_id=u32,
    seq=u32,
    t0_ns=times_ns,
    rate_hz=rates_hz,
    set_percussion_hz=st.integers(0, 65_535).map(lambda chz: chz / 100),
    accel_g_per_lsb=scales,
    current_a_per_lsb=scales,
    samples_lsb=samples,
    flags=st.integers(0, 2**16 - 1).map(FrameFlag),
    battery_mv=maybe(st.integers(1, 65_535)),
    temperature_c=maybe(st.integers(-32_767, 32_767).map(lambda cc: cc / 100)),
)
live_guns = st.builds(
    LiveGun,
    t_ns=times_ns,
    contact=st.booleans(),
    contact_force_n=numbers,
    stiffness=numbers,
    dwell_s=numbers,
    percussion_hz=numbers,
    session_id=maybe(texts),
    site=texts,
)
actions = st.builds(
    AlarmAction,
    ids,
    rule=identifiers,
    action=st.sampled_from([ActionKind.ACK, ActionKind.UNSHELVE, ActionKind.RESET]),
    by=texts,
    t_ns=times_ns,
    note=notes,
)
shelvings = st.builds(
    AlarmAction,
    ids,
    rule=identifiers,
    action=st.just(ActionKind.SHELVE),
    by=texts,
    t_ns=times_ns,
    note=notes,
    until_ns=times_ns,
)
messages: dict[str, st.SearchStrategy[Message]] = {
    "frame": frames,
    "state": st.builds(
        DeviceState,
        ids,
        online=st.booleans(),
        boot_id=u32,
        model=maybe(texts),
        serial=maybe(texts),
        firmware=maybe(texts),
        head=maybe(texts),
        rate_hz=maybe(rates_hz),
        t_ns=maybe(times_ns),
    ),
    "session": st.builds(
        SessionEvent,
        ids,
        session_id=texts,
        event=st.sampled_from(SessionEventKind),
        t_ns=times_ns,
        operator=maybe(texts),
        client=maybe(texts),
        site=maybe(texts),
        avoid=st.lists(texts, max_size=5).map(tuple),
        context=maybe(st.builds(SessionContext, maybe(numbers), maybe(numbers), maybe(texts))),
    ),
    "alarm": st.builds(
        Alarm,
        ids,
        alarm_id=texts,
        rule=identifiers,
        priority=st.sampled_from(Priority),
        state=st.sampled_from(AlarmState),
        raised_at_ns=times_ns,
        changed_at_ns=times_ns,
        value=maybe(numbers),
        peak=maybe(numbers),
        setpoint=maybe(numbers),
        unit=notes,
        session_id=maybe(texts),
        site=texts,
        operator=maybe(texts),
        count=st.integers(0, 2**53),
        quality=st.sampled_from([Quality.GOOD, Quality.DEGRADED]),
        config_version=notes,
        capture=maybe(texts),
        chattering=st.booleans(),
        by=maybe(texts),
        note=notes,
        until_ns=maybe(times_ns),
    ),
    "action": st.one_of(actions, shelvings),
    "live": st.builds(
        Live, identifiers, times_ns, st.dictionaries(identifiers, live_guns, max_size=3)
    ),
    "command": st.builds(
        Command,
        ids,
        command_id=texts,
        action=st.sampled_from(CommandKind),
        value=numbers,
        expires_at_ns=times_ns,
        alarm_id=texts,
    ),
    "result": st.builds(CommandResult, ids, command_id=texts, result=texts, t_ns=maybe(times_ns)),
    "rejected": st.builds(
        Rejected,
        ids,
        received_at_ns=times_ns,
        topic=st.text(st.characters(codec="utf-8"), max_size=300),
        reason=texts,
        payload_start=st.binary(max_size=REJECTED_PAYLOAD_BYTES),
    ),
}


@pytest.mark.parametrize("kind", messages)
@given(data=st.data())
@settings(max_examples=60)
def test_a_message_comes_back_as_it_was(kind: str, data: st.DataObject) -> None:
    message = data.draw(messages[kind])
    topic, payload = encode(message)
    assert same(decode(topic, payload), message)
    assert encode(decode(topic, payload)) == (topic, payload)


def test_an_alarm_has_exactly_the_keys_of_the_contract_and_more_only_when_set() -> None:
    contract = {
        *("alarm_id", "rule", "priority", "state", "raised_at_ns", "changed_at_ns", "value"),
        *("peak", "setpoint", "unit", "session_id", "site", "operator", "count", "quality"),
        *("config_version", "capture"),
    }
    least = Alarm(
        GUN,
        *("a", "R", Priority.LOW, AlarmState.CLEARED, 1, 2, None, None, None, "N", None),
        *("unknown", None, 1, Quality.GOOD, "1"),
    )
    assert set(json.loads(encode(least)[1])) == contract
    most = replace(least, capture="c", chattering=True, by="op", note="n", until_ns=3)
    assert set(json.loads(encode(most)[1])) == contract | {"chattering", "by", "note", "until_ns"}


def test_a_will_says_no_more_than_the_contract_s() -> None:
    topic, payload = encode(DeviceState(GUN, online=False, boot_id=7))
    assert json.loads(payload) == {"online": False, "boot_id": 7}
    assert topic == "massage/v1/clinic-1/gun_1/state"


def test_what_is_not_a_number_is_null_on_the_wire() -> None:
    gun = LiveGun(1, True, math.nan, math.inf, 0.0, 40.0, None, "unknown")
    topic, payload = encode(Live("c", 1, {"g": gun}))
    said = json.loads(payload)["guns"]["g"]
    assert (said["contact_force_n"], said["stiffness"]) == (None, None)
    live = decode(topic, payload)
    assert isinstance(live, Live)
    assert math.isnan(live.guns["g"].contact_force_n)


def test_a_long_rejected_payload_is_cut() -> None:
    letter = Rejected(GUN, 1, "t", "bad_crc", b"x" * 10_000)
    back = decode(*encode(letter))
    assert isinstance(back, Rejected)
    assert back.payload_start == b"x" * REJECTED_PAYLOAD_BYTES
