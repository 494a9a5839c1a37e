"""The black box on a broker with a log: the past of an alarm is read again, not remembered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import servers
from scenario import run, until
from test_blackbox import GUN, OTHER, PLENTY, capture_of, frame_at, raised_at, spoken

from pipeline.capture import BlackBox, CaptureFolder, CaptureWriter, read_recording
from pipeline.jetstream import JetStream, parse_nats_endpoint
from pipeline.model import Alarm, Received
from pipeline.sources import log_past
from pipeline.sources.log_past import HELD_NS, LogPast
from pipeline.sources.nats import NatsSource
from pipeline.sources.telemetry_log import STREAM


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[servers.Server]:
    with servers.nats_server(tmp_path / "broker", log=True) as server:
        yield server


def source_of(broker: servers.Server) -> NatsSource:
    return NatsSource(str(broker.nats_url), mqtt_url=broker.url, client_id="p")


@asynccontextmanager
async def kept(broker: servers.Server) -> AsyncIterator[LogPast]:
    """The log's past, from when it is kept."""
    async with LogPast(str(broker.nats_url), client_id="p") as past:
        await until(lambda: past.ready, "the log is kept")
        yield past


async def publish(broker: servers.Server, log: Sequence[Received]) -> None:
    said = [(each.topic, each.payload) for each in log]
    await asyncio.to_thread(servers.publish, broker.port, said)


async def feed(
    source: NatsSource, count: int, boxes: Sequence[BlackBox], alarm: Alarm, past: LogPast
) -> None:
    """Batch by batch, committed at once; the alarm comes with the frame that ends at its time."""
    taken = 0
    async for batch in source.batches():
        before, taken = taken, taken + len(batch.messages)
        records = [alarm] if before <= ALARM_AT < taken else []
        now_ns = batch.messages[-1].received_at_ns
        past.passed(now_ns)
        for box in boxes:
            box.took(batch.messages, records, now_ns)
        await source.commit(batch.position)
        if taken >= count:
            return


LOG = [*spoken(), *(frame_at(seq, gun) for seq in range(240) for gun in (GUN, OTHER))]
ALARM = raised_at(30)
ALARM_AT = 2 + 2 * 122  # of LOG: the frame in which the alarm's time has passed


def test_a_capture_from_the_log_equals_one_from_memory(
    broker: servers.Server, tmp_path: Path
) -> None:
    async def scenario() -> None:
        writer = CaptureWriter()
        async with source_of(broker) as source, kept(broker) as past:
            from_log, from_memory = (
                BlackBox(CaptureFolder(tmp_path / name, PLENTY), PLENTY, writer, past=each)
                for name, each in (("log", past), ("memory", None))
            )
            await publish(broker, LOG)
            await feed(source, len(LOG), (from_log, from_memory), ALARM, past)
            from_log.close()
            from_memory.close()
        writer.close()
        paths = [capture_of(tmp_path / name, ALARM) for name in ("log", "memory")]
        of_log, of_memory = ([*read_recording(path)] for path in paths if path is not None)
        assert of_log == of_memory
        assert len(of_log) == 2 + 120

    run(scenario())


def test_a_broker_that_dies_meanwhile_costs_a_capture_nothing(
    broker: servers.Server, tmp_path: Path
) -> None:
    async def scenario() -> None:
        writer = CaptureWriter()
        async with source_of(broker) as source, kept(broker) as past:
            box = BlackBox(CaptureFolder(tmp_path / "log", PLENTY), PLENTY, writer, past=past)
            await publish(broker, LOG)
            await feed(source, len(LOG), (), ALARM, past)
            broker.kill()
            box.took(LOG, [ALARM], past.now_ns)
            box.close()
            await asyncio.to_thread(broker.start)
            await until(lambda: not past.asked, "it is asked again")
        writer.close()
        path = capture_of(tmp_path / "log", ALARM)
        assert path is not None
        assert len([*read_recording(path)]) == 2 + 120

    run(scenario())


def test_a_kill_before_anything_is_written_costs_a_capture_nothing(
    broker: servers.Server, tmp_path: Path
) -> None:
    """The alarm is stored and its frames are committed: nothing of it comes again."""
    killed_at = ALARM_AT + 40

    async def scenario() -> None:
        async with source_of(broker) as source, kept(broker) as past:
            await publish(broker, LOG[:killed_at])
            await feed(source, killed_at, (), ALARM, past)
            writer = CaptureWriter()
            box = BlackBox(CaptureFolder(tmp_path / "log", PLENTY), PLENTY, writer, past=past)
            box.resume([ALARM], {GUN: ALARM.changed_at_ns}, past.now_ns)
            await publish(broker, LOG[killed_at:])
            await feed(source, len(LOG) - killed_at, (box,), ALARM, past)
            box.close()
            await until(lambda: not past.asked, "the log is read")
        writer.close()
        path = capture_of(tmp_path / "log", ALARM)
        assert path is not None
        frames = [row for row in read_recording(path) if row.topic.endswith("/telemetry")]
        assert len(frames) == 120

    run(scenario())


def test_what_arrived_later_is_not_read(broker: servers.Server) -> None:
    """Hours may wait in the log after an outage; a capture needs what has been handled."""
    got: list[list[Received]] = []

    async def scenario() -> None:
        async with source_of(broker) as source, kept(broker) as past:
            await publish(broker, LOG)
            messages: list[Received] = []
            async for batch in source.batches():
                messages += batch.messages
                if len(messages) == len(LOG):
                    break
            frames = [each for each in messages if each.topic == frame_at(0).topic]
            first, last = frames[40], frames[159]
            past.fetch(GUN, first.received_at_ns, last.received_at_ns, got.append)
            await until(lambda: got, "the log is read")
            assert got == [frames[40:160]]

    run(scenario())


def test_the_log_keeps_what_was_committed_for_a_while_and_then_no_longer(
    broker: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_past, "RELEASE_S", 0.05)

    async def scenario() -> None:
        endpoint = parse_nats_endpoint(str(broker.nats_url), client_id="test")
        async with JetStream(endpoint) as js:

            async def held() -> int:
                wanted = {"subjects_filter": "tel.*.north.>"}  # not the probes
                state = (await js.ask(f"STREAM.INFO.{STREAM}", wanted))["state"]
                return sum((state.get("subjects") or {}).values())

            async with source_of(broker) as source:
                async with kept(broker) as past:
                    await publish(broker, LOG)
                    await feed(source, len(LOG), (), ALARM, past)
                    assert await held() == len(LOG)
                    past.passed(past.now_ns + HELD_NS + 1)
                    await until_held(held, 0)
                    await publish(broker, [frame_at(999)])
                    await feed(source, 1, (), ALARM, past)
                    assert await held() == 1
                await until_held(held, 0)  # nobody keeps it any more
                names = await js.ask(f"CONSUMER.NAMES.{STREAM}", {})
                assert names["consumers"] == ["p"]

    run(scenario())


async def until_held(held: Callable[[], Coroutine[Any, Any, int]], count: int) -> None:
    while await held() != count:  # noqa: ASYNC110 -- as servers.until; `run` has the deadline
        await asyncio.sleep(0.02)
