"""Line protocol: what the reader of a line gets is what the record said, whatever it held."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from store_records import GUN, SECOND_NS, T0_NS, alarm, exposure, hop, session, status

from pipeline.influx import encode
from pipeline.influx.lines import flag, quoted, real, tag, whole
from pipeline.model import AlarmState, Counters, FeatureSecond, MinuteRollup, PipelineStatus
from pipeline.store.folding import extend_minute, extend_second, start_minute, start_second

Fields = dict[str, str | int | float]
Parsed = tuple[str, dict[str, str], Fields, int]
ANY_TEXT = st.text(max_size=40)


def parsed(line: str) -> Parsed:
    """A line read the slow way, character by character, as the protocol is specified."""
    head, rest = _until(line, " ", quotes=False)
    fields, time_us = _until(rest, " ", quotes=True)
    name, *tags = _split(head, quotes=False)
    return (
        name,
        {key: _unescaped(said) for key, said in map(_pair, tags)},
        {key: _value(said) for key, said in map(_pair, _split(fields, quotes=True))},
        int(time_us),
    )


def _until(text: str, stop: str, *, quotes: bool) -> tuple[str, str]:
    quoted_now = skip = False
    for i, c in enumerate(text):
        if skip:
            skip = False
        elif c == "\\":
            skip = True
        elif quotes and c == '"':
            quoted_now = not quoted_now
        elif c == stop and not quoted_now:
            return text[:i], text[i + 1 :]
    return text, ""


def _split(text: str, *, quotes: bool) -> list[str]:
    parts = []
    while text:
        part, text = _until(text, ",", quotes=quotes)
        parts.append(part)
    return parts


def _pair(text: str) -> tuple[str, str]:
    return _until(text, "=", quotes=False)


def _unescaped(tag: str) -> str:
    """A tag's value, in which a quote is a character like another."""
    return re.sub(r"\\([,= ])", r"\1", tag)


def _value(text: str) -> str | int | float:
    if text.startswith('"'):
        assert text.endswith('"')
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return int(text[:-1]) if text.endswith("i") else float(text)


def second(**changes: object) -> FeatureSecond:
    last = hop(T0_NS, **changes)
    return extend_second(start_second(last), last)


def minute(*hops: object) -> MinuteRollup:
    rollup = start_minute(hops[0])  # type: ignore[arg-type]
    for each in hops:
        rollup = extend_minute(rollup, each)  # type: ignore[arg-type]
    return rollup


def test_a_second_says_its_numbers_flags_and_names() -> None:
    said = second(
        contact_force_n=31.23456789,
        session_id="s-01",
        operator="op-7",
        site="calf_left",
        battery_mv=7400,
        temperature_c=31.5,
    )
    name, tags, fields, time_us = parsed(encode(said, "hx-16", 0))
    assert name == "features"
    assert tags == {
        "clinic": GUN.clinic,
        "device": GUN.device,
        "model": "hx-16",
        "site": "calf_left",
    }
    assert time_us == T0_NS // 1000
    assert fields["contact_force_n"] == 31.2346
    assert (fields["contact"], fields["calibrated"], fields["hops"]) == (1, 0, 1)
    assert (fields["session"], fields["operator"], fields["motor"]) == ("s-01", "op-7", "running")
    assert (fields["battery_mv"], fields["temperature_c"]) == (7400, 31.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_left_out_and_nothing_else(value: float) -> None:
    whole_second = parsed(encode(second(), None, 0))[2]
    fields = parsed(encode(second(contact_force_n_sd=value, crest=value), None, 0))[2]
    assert set(whole_second) - set(fields) == {"contact_force_n_sd", "crest"}
    assert all(fields[name] == whole_second[name] for name in fields)


def test_a_tag_that_is_not_known_says_so() -> None:
    assert parsed(encode(second(), None, 0))[1]["model"] == "unknown"
    ended = replace(session("s-1", T0_NS), operator=None, ended_at_ns=T0_NS)
    assert parsed(encode(ended, "", 0))[1] == {
        "clinic": GUN.clinic,
        "device": GUN.device,
        "model": "unknown",
        "operator": "unknown",
    }


@given(text=ANY_TEXT, model=ANY_TEXT)
@example(text="", model='" ')
def test_any_text_goes_through_a_field_and_cannot_break_out_of_a_tag(text: str, model: str) -> None:
    line = encode(second(session_id=text, operator="x"), model, 0)
    assert "\n" not in line
    _, tags, fields, time_us = parsed(line)
    assert time_us == T0_NS // 1000
    assert set(tags) == {"clinic", "device", "model", "site"}
    plain = "".join(c if c.isprintable() else " " for c in text)
    assert fields.get("session", "") == plain
    shown = "".join(c if c.isprintable() else " " for c in model).replace("\\", "/")
    assert tags["model"] == (shown or "unknown")


@given(st.floats())
def test_a_number_keeps_six_digits_or_is_left_out(value: float) -> None:
    said = real("x", value)
    if not math.isfinite(value):
        assert said == ""
    else:
        assert float(said.removeprefix("x=")) == pytest.approx(value, rel=1e-5, abs=0)


def test_numpys_own_numbers_are_written_as_what_they_are() -> None:
    assert flag("f", np.bool_(True)) == "f=1i"
    assert whole("n", np.int64(7)) == "n=7i"
    assert real("x", np.float32(0.5)) == "x=0.5"
    assert encode(second(contact=np.bool_(True)), None, 0) == encode(second(contact=True), None, 0)


def test_a_backslash_cannot_swallow_what_follows_a_tag() -> None:
    assert tag("a\\") == "a/"
    assert quoted('a\\"b') == '"a\\\\\\"b"'


def test_two_parts_of_a_minute_are_two_points() -> None:
    start = T0_NS // (60 * SECOND_NS) * 60 * SECOND_NS
    first, later = (minute(hop(start + s * SECOND_NS)) for s in (10, 50))
    times = [parsed(encode(each, None, 0))[3] for each in (first, later)]
    assert times == [start // 1000 + 10_000, start // 1000 + 50_000]


def test_transitions_of_one_moment_are_as_many_points() -> None:
    states = [AlarmState.ACTIVE_UNACK, AlarmState.ACTIVE_ACK, AlarmState.ACTIVE_UNACK]
    lines = [
        encode(alarm("OVERDWELL", state), None, position)
        for position, state in enumerate(states, 998)
    ]
    keys = {(line.partition(" ")[0], parsed(line)[3]) for line in lines}
    assert len(keys) == 3
    assert {time_us // 1000 for _, time_us in keys} == {T0_NS // 1_000_000}


@pytest.mark.parametrize(
    ("state", "active", "is_open"),
    [
        (AlarmState.ACTIVE_UNACK, 1, 1),
        (AlarmState.ACTIVE_ACK, 1, 1),
        (AlarmState.RTN_UNACK, 0, 1),
        (AlarmState.LATCHED, 0, 1),
        (AlarmState.UNKNOWN, 0, 1),
        (AlarmState.CLEARED, 0, 0),
    ],
)
def test_an_alarm_says_whether_it_stands(state: AlarmState, active: int, is_open: int) -> None:
    said = alarm("OVERDWELL", state, T0_NS + 4 * SECOND_NS, note='said "stop"')
    _, tags, fields, _ = parsed(encode(said, "hx-16", 1))
    assert (tags["rule"], tags["priority"], tags["state"]) == ("OVERDWELL", "medium", state)
    assert (fields["active"], fields["open"]) == (active, is_open)
    assert (fields["since_raised_s"], fields["note"]) == (4.0, 'said "stop"')
    assert fields["raised_at_ms"] == T0_NS // 1_000_000


def test_a_session_says_where_how_hard_and_what_alarmed() -> None:
    ended = replace(session("s-1", T0_NS), ended_at_ns=T0_NS + 60 * SECOND_NS)
    _, tags, fields, time_us = parsed(encode(ended, "hx-16", 0))
    assert (tags["operator"], time_us) == ("op-7", T0_NS // 1000)
    assert (fields["duration_s"], fields["ended_at_ms"]) == (60.0, T0_NS // 1_000_000 + 60_000)
    assert (fields["contact_s_on_calf_left"], fields["contact_s_at_10_n"]) == (12.5, 11.5)
    assert (fields["alarms"], fields["alarms_overdwell"]) == (1, 1)
    assert (fields["sites"], fields["guidance"]) == ("calf_left", "keep moving")


def test_guns_operators_and_the_pipeline_have_their_lines() -> None:
    _, tags, fields, _ = parsed(encode(status(online=True), None, 0))
    assert (tags["model"], fields["online"], fields["serial"]) == ("fx-16", 1, "A12")
    _, tags, fields, _ = parsed(encode(exposure("op 7", "2026-09-21"), None, 0))
    assert (tags["operator"], fields["a8_m_s2"], fields["day"]) == ("op 7", 1.77, "2026-09-21")
    counters = Counters(messages=9, frames=7, frames_processed=7, rejected={"crc": 2})
    own = PipelineStatus("myoguard", T0_NS, 3, counters, math.nan, 4096, 5, 600, 0, 1)
    name, tags, fields, _ = parsed(encode(own, None, 0))
    assert (name, tags) == ("pipeline", {"pipeline": "myoguard"})
    assert (fields["rejected"], fields["frames_processed"], fields["influx_refused"]) == (2, 7, 1)
    assert "lag_s" not in fields
