"""10,000 bad frames of every kind of the contract's vectors, and the good one after them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.features import FeatureExtractor
from pipeline.model import DeadLetter, Received
from pipeline.monitor import Monitor, MonitorSettings
from pipeline.wire import DecodeError, decode

VECTORS = json.loads((Path(__file__).parent / "data" / "frames.json").read_text())
TOPIC = "massage/v1/clinic-1/gun_1/telemetry"
PLAIN = bytes.fromhex(next(v["hex"] for v in VECTORS if v["name"] == "plain"))
N = 10_000


def _reason(payload: bytes) -> str | None:
    try:
        decode(TOPIC, payload)
    except DecodeError as error:
        return str(error.reason)
    return None


BAD = {v["name"]: bytes.fromhex(v["hex"]) for v in VECTORS if _reason(bytes.fromhex(v["hex"]))}


def test_the_vectors_hold_bad_frames_of_many_kinds() -> None:
    assert len(BAD) > 5
    assert _reason(PLAIN) is None


@pytest.mark.parametrize("name", BAD)
def test_ten_thousand_bad_frames_and_the_good_one_is_processed(name: str) -> None:
    """All alike, as from a gun that cannot do better; and half of them on other guns' topics."""
    monitor = Monitor(MonitorSettings(), FeatureExtractor())
    topics = [TOPIC, TOPIC.replace("gun_1", "gun_2")]
    log = [Received(10**18 + k, topics[k % 2], BAD[name]) for k in range(N)]
    records = monitor.feed(log)
    assert monitor.counters.frames_processed == 0
    monitor.feed([Received(10**18 + N, TOPIC, PLAIN)])
    counters = monitor.counters
    assert (counters.messages, counters.frames, counters.frames_processed) == (N + 1, N + 1, 1)
    assert counters.frames_rejected == counters.rejected[str(_reason(BAD[name]))] == len(topics)
    assert counters.frames_duplicate == N - len(topics)
    letters = [each for each in records if isinstance(each, DeadLetter)]
    assert {(each.topic, each.payload) for each in letters} == {(t, BAD[name]) for t in topics}
