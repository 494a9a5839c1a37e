"""What a message costs to read: the same frames from one nats-server, over MQTT and from its log.

    python -m benchmarks.measure_sources [MESSAGES]

CPU time of the reading process a message, with a commit every 2,000; the frames wait at the broker
before the clock starts. Rounds alternate, so that a busy machine is fair to both.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import aiomqtt

from pipeline.broker import EmbeddedBroker
from pipeline.sources import MqttSource
from pipeline.sources.nats import NatsSource

ROUNDS = 5
MESSAGES = 10_000
FRAME = b"MGF1" + bytes(3_248)  # 400 samples of four channels, with header and CRC
COMMIT_EVERY = 2_000

Source = MqttSource | NatsSource


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with EmbeddedBroker(Path(directory), ack_wait_s=60.0) as broker:
            makers: dict[str, Callable[[], Source]] = {
                "mqtt": lambda: MqttSource(broker.mqtt_url, client_id="by-mqtt"),
                "nats": lambda: NatsSource(
                    broker.nats_url, mqtt_url=broker.mqtt_url, client_id="by-log"
                ),
            }
            for make in makers.values():
                async with make():
                    pass  # from here on the broker keeps messages for it
            costs_us: dict[str, list[float]] = {name: [] for name in makers}
            for _ in range(ROUNDS):
                await _publish(broker, count)
                for name, make in makers.items():
                    costs_us[name].append(await _drain(make, count))
    for name, costs in costs_us.items():
        low, high = min(costs), max(costs)
        print(f"{name}: {statistics.median(costs):.1f} µs a message ({low:.1f} to {high:.1f})")


async def _publish(broker: EmbeddedBroker, count: int) -> None:
    host, _, port = broker.mqtt_url.removeprefix("mqtt://").rpartition(":")
    async with aiomqtt.Client(host, int(port)) as client:
        client.pending_calls_threshold = 1_000  # they are meant to be under way
        for first in range(0, count, 100):
            await asyncio.gather(
                *(
                    client.publish(f"massage/v1/c/g{n % 200}/telemetry", FRAME, qos=1)
                    for n in range(first, min(first + 100, count))
                )
            )


async def _drain(make: Callable[[], Source], count: int) -> float:
    """CPU microseconds a message, connecting and the last commit included."""
    began_s, taken, committed = time.process_time(), 0, 0
    async with make() as source:
        async for batch in source.batches():
            taken += len(batch.messages)
            if taken - committed >= COMMIT_EVERY or taken >= count:
                await source.commit(batch.position)
                committed = taken
            if taken >= count:
                break
    return (time.process_time() - began_s) / count * 1e6


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else MESSAGES))
