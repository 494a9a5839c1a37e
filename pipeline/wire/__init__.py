"""The wire contract, version 1: MQTT topics and payload bytes to the nouns of `model` and back.

`decode(topic, payload)` gives a message or raises DecodeError, whatever the bytes are;
`encode(message)` is its inverse. Sans I/O: no client, no clock, no state but bounded caches of
topics. Knows `model`, numpy and pydantic, and nothing of who sends or reads a message.
"""

from pipeline.wire.errors import DecodeError, DecodeReason
from pipeline.wire.frame import sample_time_ns
from pipeline.wire.messages import REJECTED_PAYLOAD_BYTES, decode, encode
from pipeline.wire.shapes import RATE_HZ_MAX, RATE_HZ_MIN, SAMPLE_COUNT_MAX, T_NS_MAX
from pipeline.wire.topics import (
    PIPELINE_FILTERS,
    Address,
    TopicKind,
    format_topic,
    parse_topic,
)

__all__ = [
    "PIPELINE_FILTERS",
    "RATE_HZ_MAX",
    "RATE_HZ_MIN",
    "REJECTED_PAYLOAD_BYTES",
    "SAMPLE_COUNT_MAX",
    "T_NS_MAX",
    "Address",
    "DecodeError",
    "DecodeReason",
    "TopicKind",
    "decode",
    "encode",
    "format_topic",
    "parse_topic",
    "sample_time_ns",
]
