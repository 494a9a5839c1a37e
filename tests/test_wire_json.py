"""JSON on the wire: frames by hand, the contract's examples, and all that JSON can get wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_wire import GUN, TELEMETRY, TOPICS, decode_frame, reason_of, same

from pipeline.model import (
    ActionKind,
    Alarm,
    AlarmAction,
    AlarmState,
    DeviceState,
    FrameFlag,
    Priority,
    Quality,
    SessionContext,
    SessionEvent,
    SessionEventKind,
)
from pipeline.wire import SAMPLE_COUNT_MAX, T_NS_MAX, DecodeError, DecodeReason, decode, encode

# -------------------------------------------------------------------------------------- JSON frames


def json_frame(**changes: object) -> bytes:
    said: dict[str, object] = {
        "boot_id": 7,
        "seq": 0,
        "t0_ns": 1790000000000000000,
        "rate_hz": 1600.0,
        "set_percussion_hz": 40.0,
        "accel_g": [[0, 0.5, -1], [1, 2, 3]],
        "current_a": [0.25, -1.5],
        "battery_mv": 7400,
        "temperature_c": 31.5,
        **changes,
    }
    return json.dumps({k: v for k, v in said.items() if v is not ...}).encode()


def test_a_json_frame_means_what_its_binary_form_means() -> None:
    frame = decode_frame(json_frame())
    assert frame.samples_lsb.tolist() == [[0, 512, -1024, 250], [1024, 2048, 3072, -1500]]
    assert frame.accel_g_per_lsb == 1 / 1024
    assert frame.current_a_per_lsb == pytest.approx(0.001)
    assert (frame.battery_mv, frame.temperature_c) == (7400, 31.5)
    assert frame.flags == FrameFlag.CLOCK_SYNCHRONISED
    assert same(frame, decode_frame(encode(frame)[1]))


def test_battery_and_temperature_of_a_json_frame_are_optional() -> None:
    for absent in (..., None):
        frame = decode_frame(json_frame(battery_mv=absent, temperature_c=absent))
        assert (frame.battery_mv, frame.temperature_c) == (None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"accel_g": [[0, 0, 0]]},
        {"accel_g": [], "current_a": []},
        {"accel_g": [[0, 0], [0, 0]]},
        {"accel_g": [[0, 0, 32.1], [0, 0, 0]]},
        {"accel_g": [[0, 0, 1e300], [0, 0, 0]]},
        {"current_a": [33.0, 0.0]},
        {"current_a": ["1", 0.0]},
        {"current_a": [0.0] * (SAMPLE_COUNT_MAX + 1), "accel_g": [[0, 0, 0]] * 4097},
        {"rate_hz": 99},
        {"rate_hz": "1600"},
        {"boot_id": 2**32},
        {"boot_id": True},
        {"boot_id": 7.0},
        {"seq": -1},
        {"seq": ...},
        {"t0_ns": T_NS_MAX + 1},
        {"t0_ns": 10**4000},
        {"set_percussion_hz": -1},
        {"set_percussion_hz": 700},
        {"battery_mv": 65536},
        {"temperature_c": 400},
    ],
    ids=str,
)
def test_a_bad_field_of_a_json_frame(changes: dict[str, object]) -> None:
    assert reason_of(TELEMETRY, json_frame(**changes)) is DecodeReason.BAD_FIELD


# --------------------------------------------------------------------------------------------- JSON

STATE = "massage/v1/clinic-1/gun_1/state"
SESSION = "massage/v1/clinic-1/gun_1/session"
ACTION = "massage/v1/clinic-1/gun_1/alarm/R/action"
_SITES_65 = b'{"session_id":"s","event":"end","t_ns":1,"avoid":[%s]}' % b",".join([b'"x"'] * 65)


def test_examples_of_the_contract_are_understood() -> None:
    birth = b"""{"online": true, "boot_id": 7, "model": "hx-16", "serial": "A12",
        "firmware": "1.4.2", "head": "ball", "rate_hz": 1600, "t_ns": 5, "from_the_future": [1]}"""
    assert decode(STATE, birth) == DeviceState(
        GUN, True, 7, "hx-16", "A12", "1.4.2", "ball", 1600.0, 5
    )
    start = b"""{"session_id": "s-01", "event": "start", "t_ns": 5, "operator": "op-7",
        "client": "c-1234", "site": "calf_left", "avoid": ["achilles_left"],
        "context": {"hours_since_hard_run": 3, "hours_to_race": 60, "modality": "deep_tissue"}}"""
    assert decode(SESSION, start) == SessionEvent(
        GUN,
        "s-01",
        SessionEventKind.START,
        5,
        operator="op-7",
        client="c-1234",
        site="calf_left",
        avoid=("achilles_left",),
        context=SessionContext(3, 60, "deep_tissue"),
    )
    ack = b'{"action": "ack", "by": "op-7", "note": "", "t_ns": 5}'
    assert decode(ACTION, ack) == AlarmAction(GUN, "R", ActionKind.ACK, "op-7", 5)


@pytest.mark.parametrize("topic", TOPICS)
def test_an_empty_payload_is_a_cleared_message_and_no_message(topic: str) -> None:
    assert reason_of(topic, b"") is DecodeReason.EMPTY


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"{}x",
        b"\xef\xbb\xbf{}",
        b'{"online": true, "boot_id": NaN}',
        b'{"online": true, "boot_id": 1, "rate_hz": Infinity}',
        b'{"online": true, "boot_id": 1, "x": -Infinity}',
        b'{"online": true, "boot_id": 1, "boot_id": 2}',
        b'{"online": true, "boot_id": 1, "x": {"y": 1, "y": 2}}',
        b'{"online": true, "boot_id": 1, "model": "\xff"}',
        b'{"online": true, "boot_id": 1, "model": "\\ud800"}',
        '{"online": true, "boot_id": 1}'.encode("utf-16"),
        b'{"online": true, "boot_id": ' + b"1" * 5000 + b"}",
        b'{"x": ' * 9000,
        b'{"x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"x": ' + b'{"y":' * 8_000 + b"1" + b"}" * 8_001,
    ],
    ids=lambda payload: repr(payload[:40]),
)
def test_what_is_no_json_is_bad_json_and_never_more(payload: bytes) -> None:
    assert reason_of(STATE, payload) is DecodeReason.BAD_JSON
    assert reason_of(TELEMETRY, payload) in {DecodeReason.BAD_JSON, DecodeReason.BAD_MAGIC}


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if "telemetry" not in topic])
def test_a_payload_over_the_limit_is_not_even_parsed(topic: str) -> None:
    assert reason_of(topic, b"[" * 1_100_000) is DecodeReason.TOO_LARGE


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (STATE, b"[]"),
        (STATE, b"null"),
        (STATE, b'"text"'),
        (STATE, b"{}"),
        (STATE, b'{"online": 1, "boot_id": 1}'),
        (STATE, b'{"online": "true", "boot_id": 1}'),
        (STATE, b'{"online": true, "boot_id": 1, "model": ""}'),
        (STATE, b'{"online": true, "boot_id": 1, "model": "a\\nb"}'),
        (STATE, b'{"online": true, "boot_id": 1, "model": "%s"}' % (b"x" * 257)),
        (STATE, b'{"online": true, "boot_id": 1, "rate_hz": 1e999}'),
        (SESSION, b'{"session_id": "s", "event": "pause", "t_ns": 1}'),
        (SESSION, b'{"session_id": "s", "event": "end"}'),
        (SESSION, b'{"session_id": 1, "event": "end", "t_ns": 1}'),
        (SESSION, b'{"session_id": "s", "event": "end", "t_ns": -1}'),
        (SESSION, b'{"session_id": "s", "event": "end", "t_ns": 9223372036854775808}'),
        (SESSION, b'{"session_id": "s", "event": "end", "t_ns": 1, "avoid": "x"}'),
        (SESSION, b'{"session_id": "s", "event": "end", "t_ns": 1, "avoid": [1]}'),
        (
            SESSION,
            b'{"session_id":"s","event":"end","t_ns":1,"avoid":[%s]}' % b",".join([b'"x"'] * 65),
        ),
        (SESSION, b'{"session_id": "s", "event": "end", "t_ns": 1, "context": []}'),
        (ACTION, b'{"action": "shelve", "by": "op", "t_ns": 1}'),
        (ACTION, b'{"action": "delete", "by": "op", "t_ns": 1}'),
        (ACTION, b'{"action": "ack", "t_ns": 1}'),
    ],
    ids=lambda value: repr(value[:60]),
)
def test_what_is_not_of_its_shape_is_a_bad_field(topic: str, payload: bytes) -> None:
    assert reason_of(topic, payload) is DecodeReason.BAD_FIELD


def test_an_alarm_on_the_topic_of_another_rule_is_a_bad_field() -> None:
    alarm = Alarm(
        GUN,
        *("a", "R", Priority.LOW, AlarmState.CLEARED, 1, 2, None, None, None, "N", None),
        *("unknown", None, 1, Quality.GOOD, "1"),
    )
    _, payload = encode(alarm)
    assert reason_of("massage/v1/clinic-1/gun_1/alarm/OTHER", payload) is DecodeReason.BAD_FIELD


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
known_keys = st.sampled_from(
    ["online", "boot_id", "session_id", "event", "t_ns", "avoid", "context", "action", "by", "guns"]
)


@given(st.sampled_from(TOPICS), st.dictionaries(known_keys | st.text(max_size=5), json_values))
def test_arbitrary_json_gives_a_message_or_a_decode_error(topic: str, value: object) -> None:
    payload = json.dumps(value).encode("utf-8", "surrogatepass")
    try:
        message = decode(topic, payload)
    except DecodeError:
        return
    assert encode(message)[0] == topic


@given(st.sampled_from(TOPICS), st.binary(max_size=200))
def test_arbitrary_bytes_on_every_topic_give_a_message_or_a_decode_error(
    topic: str, payload: bytes
) -> None:
    try:
        decode(topic, payload)
    except DecodeError as error:
        assert error.detail  # noqa: PT017
