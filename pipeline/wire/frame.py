"""Telemetry frames: bytes to `Frame` and back, in the binary form and the JSON form for hand tests.

The samples of a binary frame stay a read-only view of its payload.
"""

from __future__ import annotations

import math
import struct
import zlib
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from pydantic import TypeAdapter

from pipeline.model import DeviceId, Frame, FrameFlag
from pipeline.wire.errors import DecodeError, DecodeReason
from pipeline.wire.shapes import (
    JSON_FRAME_BYTES_MAX,
    RATE_HZ_MAX,
    RATE_HZ_MIN,
    SAMPLE_COUNT_MAX,
    T_NS_MAX,
    FrameJson,
    parse,
)

JSON_ACCEL_G_PER_LSB: Final = 1 / 1024  # ±32 g, the widest accelerometer range in use
JSON_CURRENT_A_PER_LSB: Final = float(np.float32(0.001))  # ±32 A; as the f32 of the header holds it

_HEADER = struct.Struct("<4sHHIIQfHHffHhI")
_Header: TypeAlias = tuple[
    bytes, int, int, int, int, int, float, int, int, float, float, int, int, int
]
_CRC = struct.Struct("<I")
_CRC_RESIDUE: Final = 0x2144DF1C  # of any bytes with their own CRC-32 behind them
_MAGIC = b"MGF1"
_HEADER_BYTES: Final = 1  # its place in an unpacked header
_T0_NS: Final = 5
_T0_BYTES: Final = slice(16, 24)
_COUNT: Final = 7
_SAMPLE = np.dtype("<i2")
_BYTES_PER_SAMPLE = 8  # ax, ay, az, current
_BATTERY_UNKNOWN_MV = 0
_TEMPERATURE_UNKNOWN_CC = -32768

_FRAME = TypeAdapter(FrameJson)

_frame_flag = lru_cache(maxsize=64)(FrameFlag)  # making a Flag costs as much as reading the header


def decode_frame(id_: DeviceId, payload: bytes) -> Frame:
    """The frame in `payload`, which is JSON if it begins with a brace."""
    if payload[:1] == b"{":
        return _decode_json(id_, payload)
    return _decode_binary(id_, payload)


def _decode_binary(id_: DeviceId, payload: bytes) -> Frame:
    """A frame whose `samples_lsb` is a read-only view of `payload`."""
    (
        _magic,
        header_bytes,
        flags,
        boot_id,
        seq,
        t0_ns,
        rate_hz,
        count,
        set_percussion_chz,
        accel_g_per_lsb,
        current_a_per_lsb,
        battery_mv,
        temperature_cc,
        _reserved,
    ) = _read_header(payload)
    if not (
        1 <= count <= SAMPLE_COUNT_MAX
        and t0_ns <= T_NS_MAX
        and RATE_HZ_MIN <= rate_hz <= RATE_HZ_MAX  # false for NaN, as are the next two
        and 0.0 < accel_g_per_lsb < math.inf
        and 0.0 < current_a_per_lsb < math.inf
    ):
        raise DecodeError(
            DecodeReason.BAD_FIELD,
            f"header out of range: {t0_ns=}, {rate_hz=}, sample_count={count}, "
            f"{accel_g_per_lsb=}, {current_a_per_lsb=}",
        )
    return Frame(
        id_,
        boot_id,
        seq,
        t0_ns,
        rate_hz,
        set_percussion_chz / 100,
        accel_g_per_lsb,
        current_a_per_lsb,
        np.ndarray((count, 4), _SAMPLE, payload, header_bytes),
        _frame_flag(flags),
        None if battery_mv == _BATTERY_UNKNOWN_MV else battery_mv,
        None if temperature_cc == _TEMPERATURE_UNKNOWN_CC else temperature_cc / 100,
    )


def _read_header(payload: bytes) -> _Header:
    """The header of a payload whose magic, length and CRC are right."""
    if payload[:4] != _MAGIC:
        raise DecodeError(DecodeReason.BAD_MAGIC, f"starts with {payload[:4]!r}, not {_MAGIC!r}")
    if len(payload) < _HEADER.size + _CRC.size:
        raise DecodeError(DecodeReason.TOO_SHORT, f"{len(payload)} bytes hold no header")
    header: _Header = _HEADER.unpack_from(payload)
    header_bytes = header[_HEADER_BYTES]
    if header_bytes < _HEADER.size:
        raise DecodeError(DecodeReason.BAD_FIELD, f"{header_bytes=} is less than {_HEADER.size}")
    due = header_bytes + _BYTES_PER_SAMPLE * header[_COUNT] + _CRC.size
    if len(payload) != due:
        reason = DecodeReason.TOO_SHORT if len(payload) < due else DecodeReason.TOO_LONG
        raise DecodeError(reason, f"{len(payload)} bytes; the header announces {due}")
    if zlib.crc32(payload) != _CRC_RESIDUE:
        (sent,) = _CRC.unpack_from(payload, due - _CRC.size)
        computed = zlib.crc32(payload[: -_CRC.size])
        raise DecodeError(DecodeReason.BAD_CRC, f"CRC is {computed:08x}, the frame says {sent:08x}")
    return header


def sample_time_ns(payload: bytes) -> int | None:
    """When a frame begins, for whoever only files it; None for bytes that are no frame.

    Of a binary frame nothing else is looked at, its CRC neither.
    """
    if payload[:4] == _MAGIC and len(payload) >= _HEADER.size:
        return int.from_bytes(payload[_T0_BYTES], "little")
    if payload[:1] != b"{":
        return None
    try:
        return parse(_FRAME, payload, JSON_FRAME_BYTES_MAX)["t0_ns"]
    except DecodeError:
        return None


def encode_frame(frame: Frame) -> bytes:
    samples = np.ascontiguousarray(frame.samples_lsb, dtype=_SAMPLE)
    battery_mv, temperature_c = frame.battery_mv, frame.temperature_c
    header = _HEADER.pack(
        _MAGIC,
        _HEADER.size,
        frame.flags,
        frame.boot_id,
        frame.seq,
        frame.t0_ns,
        frame.rate_hz,
        len(samples),
        round(frame.set_percussion_hz * 100),
        frame.accel_g_per_lsb,
        frame.current_a_per_lsb,
        _BATTERY_UNKNOWN_MV if battery_mv is None else battery_mv,
        _TEMPERATURE_UNKNOWN_CC if temperature_c is None else round(temperature_c * 100),
        0,
    )
    body = header + samples.tobytes()
    return body + _CRC.pack(zlib.crc32(body))


def _decode_json(id_: DeviceId, payload: bytes) -> Frame:
    """A hand-written frame, quantised and passed through the binary form: one meaning for both."""
    body = parse(_FRAME, payload, JSON_FRAME_BYTES_MAX)
    if len(body["accel_g"]) != len(body["current_a"]):
        raise DecodeError(DecodeReason.BAD_FIELD, "accel_g and current_a differ in length")
    lsb = np.column_stack(
        (
            np.array(body["accel_g"]) / JSON_ACCEL_G_PER_LSB,
            np.array(body["current_a"]) / JSON_CURRENT_A_PER_LSB,
        )
    ).round()
    if lsb.min() < -32_768 or lsb.max() > 32_767:
        raise DecodeError(DecodeReason.BAD_FIELD, "accel_g over ±32 g or current_a over ±32 A")
    frame = Frame(
        id_,
        body["boot_id"],
        body["seq"],
        body["t0_ns"],
        body["rate_hz"],
        body["set_percussion_hz"],
        JSON_ACCEL_G_PER_LSB,
        JSON_CURRENT_A_PER_LSB,
        lsb.astype(np.int16),
        battery_mv=body.get("battery_mv"),
        temperature_c=body.get("temperature_c"),
    )
    return _decode_binary(id_, encode_frame(frame))
