"""How long what takes, hop by hop, from the newest sample to what the broker was told of it.

One frame a batch stands for its batch: a histogram of all of them would cost as much as decoding.
Guns' clocks may be wrong, and then so is the first hop of theirs; nothing is decided by these.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Histogram

from pipeline.model import Frame, Received
from pipeline.ordering import duration_ns
from pipeline.wire import DecodeError, decode

# Engineering choice: from a decoded frame to an outage, three steps a decade.
BUCKETS_S: Final = (
    *(5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0),
)
FRESH_S: Final = 1.0  # engineering choice: a batch this old says nothing about now
_HOPS: Final = {
    "sample": "from a frame's last sample to its arrival at the broker, or here",
    "broker": "from there until it was taken out of the source",
    "decode": "decoding it",
    "decision": "judging its batch, a message",
    "publish": "from an alarm's change until the broker had it",
    "checkpoint": "storing what a second brought",
}


class Latency:
    """A histogram a hop, in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._behind_s = 0.0  # of the oldest message of the newest batch
        self._took_s = time.monotonic()
        self._histograms = Histogram(
            "myoguard_latency_seconds",
            "Time by hop: " + "; ".join(f"{hop}: {what}" for hop, what in _HOPS.items()),
            ["hop"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._observe = {hop: self._histograms.labels(hop).observe for hop in _HOPS}

    def observe(self, hop: str, seconds: float) -> None:
        self._observe[hop](max(0.0, seconds))

    def took(self, messages: Sequence[Received], judged_s: float) -> None:
        """A batch that took `judged_s` to judge has just been."""
        now_ns = time.time_ns()
        self._took_s = time.monotonic()
        self._behind_s = max(0.0, (now_ns - messages[0].received_at_ns) / 1e9 - judged_s)
        self.observe("broker", self._behind_s)
        self.observe("decision", judged_s / len(messages))
        frame = next((each for each in messages if each.topic.endswith("/telemetry")), None)
        if frame is not None:
            self._take_one(frame)

    def lag_s(self, caught_up: bool) -> float:
        """How old the oldest message not yet judged is, as far as the newest batch tells."""
        since_s = time.monotonic() - self._took_s
        if caught_up:
            return self._behind_s if since_s < FRESH_S else 0.0
        return self._behind_s + since_s

    def _take_one(self, received: Received) -> None:
        began_s = time.perf_counter()
        try:
            frame = decode(received.topic, received.payload)
        except DecodeError:
            return
        if isinstance(frame, Frame):
            self.observe("decode", time.perf_counter() - began_s)
            end_ns = frame.t0_ns + duration_ns(frame)
            self.observe("sample", (received.received_at_ns - end_ns) / 1e9)
