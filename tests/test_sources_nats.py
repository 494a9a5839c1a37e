"""The durable log against a real nats-server: killed, cut, full, and misdirected."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from scenario import run, until

from pipeline.jetstream import JetStream, parse_nats_endpoint
from pipeline.link import BrokerError
from pipeline.model import Received
from pipeline.sources import MqttSource, Position
from pipeline.sources.nats import NatsSource
from pipeline.sources.nats import examine as examine_log
from pipeline.sources.telemetry_log import STREAM, reader_name, topic_of

STATE, SESSION = "massage/v1/c/g/state", "massage/v1/c/g/session"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[servers.Server]:
    with servers.nats_server(tmp_path / "broker", log=True) as server:
        yield server


def source_of(broker: servers.Server, **options: Any) -> NatsSource:
    assert broker.nats_url is not None
    url = options.pop("url", broker.nats_url)
    return NatsSource(url, mqtt_url=broker.url, client_id="p", **options)


def telemetry(first: int, end: int, size: int = 0) -> list[servers.Message]:
    return [
        (f"massage/v1/c/g{number % 7}/telemetry", b"%d " % number + b"x" * size)
        for number in range(first, end)
    ]


async def publish(
    broker: servers.Server, messages: list[servers.Message], *, retain: bool = False
) -> None:
    await asyncio.to_thread(servers.publish, broker.port, messages, retain=retain)


def numbers(messages: list[Received]) -> list[int]:
    return [int(message.payload.split()[0]) for message in messages]


async def take(source: NatsSource | MqttSource, count: int) -> tuple[list[Received], Position]:
    messages: list[Received] = []
    async for batch in source.batches():
        messages += batch.messages
        if len(messages) >= count:
            return messages, batch.position
    raise AssertionError("the source ended")


def test_messages_come_in_order_whole_and_with_the_time_they_arrived(
    broker: servers.Server,
) -> None:
    async def scenario() -> None:
        sent = [(topic, payload + b"\x00\xff") for topic, payload in telemetry(0, 1500)]
        async with source_of(broker) as source:
            await publish(broker, sent)
            messages, _ = await take(source, len(sent))
            assert [(each.topic, each.payload) for each in messages] == sent
            assert source.uncommitted == len(sent)
            await until(lambda: source.caught_up, "it knows that there is no more")
        async with source_of(broker) as source:
            assert (await take(source, len(sent)))[0] == messages  # the same times, too

    run(scenario())


def test_committed_messages_do_not_come_again_and_the_others_do_at_once(
    broker: servers.Server,
) -> None:
    async def scenario() -> None:
        async with source_of(broker) as source:
            await publish(broker, telemetry(0, 60))
            _, position = await take(source, 60)
            await publish(broker, telemetry(60, 100))
            await take(source, 40)
            await source.commit(position)
            assert source.uncommitted == 40
        await publish(broker, telemetry(100, 120))  # while nobody is there
        async with source_of(broker) as source:
            messages, position = await take(source, 60)
            assert numbers(messages) == [*range(60, 120)]
            await source.commit(position)
        async with source_of(broker) as source:
            await until(lambda: source.caught_up, "there is nothing")
            assert source.uncommitted == 0

    run(scenario())


def test_topics_are_those_that_mqtt_would_have_brought(broker: servers.Server) -> None:
    wanted = ["telemetry", "state", "session", "alarm/OVERDWELL/action", "command/result"]
    odd = ["massage/v1/c/g.1/telemetry", "massage/v1/c//telemetry", "massage/v1/c/g/"]
    others = ["alarm/OVERDWELL", "command/other", "telemetry/x"]
    topics = [*(f"massage/v1/c/g/{leaf}" for leaf in [*others, *wanted]), *odd]

    async def scenario() -> None:
        async with (
            source_of(broker) as source,
            MqttSource(broker.url, client_id="q") as by_mqtt,
        ):
            await publish(broker, [(topic, b"1") for topic in topics])
            count = len(wanted) + len(odd)
            of_log, _ = await take(source, count)
            of_mqtt, _ = await take(by_mqtt, count)
            assert [each.topic for each in of_log] == topics[len(others) :]
            assert sorted(each.topic for each in of_mqtt) == sorted(each.topic for each in of_log)

    run(scenario())


def test_what_was_retained_before_there_was_a_log_comes_first(broker: servers.Server) -> None:
    async def scenario() -> None:
        await publish(broker, [(SESSION, b"2"), (STATE, b"1")], retain=True)
        for _ in range(2):  # what nobody committed is still there
            async with source_of(broker) as source:
                await publish(broker, telemetry(7, 8))
                messages, position = await take(source, 3)
                assert [each.topic for each in messages[:2]] == [STATE, SESSION]
        async with source_of(broker) as source:
            messages, position = await take(source, 4)
            await source.commit(position)
        async with source_of(broker) as source:
            await publish(broker, [(STATE, b"3")], retain=True)
            messages, position = await take(source, 1)
            assert [each.payload for each in messages] == [b"3"]
            await source.commit(position)
        async with source_of(broker, retained_again=True) as source:
            messages, _ = await take(source, 2)
            assert [each.payload for each in messages] == [b"3", b"2"]

    run(scenario())


def test_what_was_retained_does_not_come_before_what_the_log_has_of_the_topic(
    broker: servers.Server,
) -> None:
    """Whoever is killed before a first commit must not begin with how it ended."""

    async def scenario() -> None:
        await publish(broker, [(STATE, b"1")], retain=True)
        async with source_of(broker) as source:
            await take(source, 1)
            await publish(broker, [(SESSION, b"2"), (SESSION, b"3")], retain=True)
        async with source_of(broker) as source:
            messages, _ = await take(source, 3)
            assert [(each.topic, each.payload) for each in messages] == [
                (STATE, b"1"),
                (SESSION, b"2"),
                (SESSION, b"3"),
            ]

    run(scenario())


def test_a_killed_server_loses_nothing_that_it_acknowledged(broker: servers.Server) -> None:
    """And a source that outlives it gets it in order, and once more at most for each kill.

    The publisher, as any at QoS 1, sends again what it has no answer for, and the killed server
    copies again into the log what it had not noted as copied.
    """
    count, kills = 6_000, [1_000, 3_000]

    async def scenario() -> None:
        async with source_of(broker) as source:
            publisher = threading.Thread(
                target=servers.publish, args=(broker.port, telemetry(0, count, 1_000))
            )
            publisher.start()
            came: list[int] = []
            committed = 0
            async for batch in source.batches():
                came += numbers(list(batch.messages))
                if kills and len(came) > kills[0]:
                    del kills[0]
                    await asyncio.to_thread(broker.kill)
                    await asyncio.to_thread(broker.start)
                if len(came) - committed > 700:
                    committed = len(came)
                    await source.commit(batch.position)
                if count - 1 in came[-len(batch.messages) :]:
                    break
            await asyncio.to_thread(publisher.join)
            await source.commit(batch.position)

            async def read_on() -> None:
                async for batch in source.batches():
                    came.extend(numbers(list(batch.messages)))
                    await source.commit(batch.position)

            reading = asyncio.create_task(read_on())
            await until(lambda: source.caught_up and not source.uncommitted, "nothing is left")
            reading.cancel()
            await asyncio.wait({reading})
            assert [*dict.fromkeys(came)] == [*range(count)]
            assert max(Counter(came).values()) <= 1 + 2
            assert source.status.reconnects == 2
            assert source.lost_messages == 0
        async with source_of(broker) as source:
            await until(lambda: source.caught_up, "there is nothing")
            assert source.uncommitted == 0

    run(scenario())


def test_a_cut_connection_brings_nothing_twice_and_can_still_commit(
    broker: servers.Server,
) -> None:
    async def scenario() -> None:
        assert broker.nats_port is not None
        with servers.Proxy(broker.nats_port) as proxy:
            async with source_of(broker, url=proxy.nats_url) as source:
                await publish(broker, telemetry(0, 100))
                _, position = await take(source, 100)
                proxy.cut()
                await until(lambda: source.status.reconnects == 1, "it is connected again")
                await publish(broker, telemetry(100, 130))
                messages, _ = await take(source, 30)
                assert numbers(messages) == [*range(100, 130)]
                await source.commit(position)  # of what had come before the cut
            async with source_of(broker) as source:
                messages, _ = await take(source, 30)
                assert numbers(messages) == [*range(100, 130)]

    run(scenario())


def test_what_the_log_had_no_room_for_is_counted(broker: servers.Server) -> None:
    async def scenario() -> None:
        async with source_of(broker, log_bytes_max=1_000_000) as source:
            await publish(broker, telemetry(0, 1))
            _, position = await take(source, 1)
            await source.commit(position)  # and the probe with it, which is no loss
        await publish(broker, telemetry(0, 400, 10_000))  # 4 MB
        async with source_of(broker, log_bytes_max=1_000_000) as source:
            messages: list[int] = []
            async for batch in source.batches():
                messages += numbers(list(batch.messages))
                if messages[-1] == 399:
                    break
            assert messages == [*range(messages[0], 400)]
            assert 0 < source.lost_messages == 400 - len(messages)

    run(scenario())


def test_what_a_killed_server_had_let_go_of_is_not_lost(broker: servers.Server) -> None:
    """It comes back with some of what was committed, and gaps between."""

    async def scenario() -> None:
        async with source_of(broker):
            pass
        await publish(broker, telemetry(0, 100))
        async with JetStream(parse_nats_endpoint(broker.nats_url or "", client_id="x")) as log:
            first = (await log.ask(f"STREAM.INFO.{STREAM}"))["state"]["last_seq"] - 99
            for number in (40, 41, 60):
                await log.ask(f"STREAM.MSG.DELETE.{STREAM}", {"seq": first + number})
        async with source_of(broker) as source:
            messages, _ = await take(source, 97)
            assert numbers(messages) == [each for each in range(100) if each not in (40, 41, 60)]
            assert source.lost_messages == 0

    run(scenario())


def test_large_messages_do_not_stop_it(broker: servers.Server) -> None:
    """A request ends at so many bytes; 60 MB are four of them."""

    async def scenario() -> None:
        async with source_of(broker) as source:
            await publish(broker, telemetry(0, 60, 1_000_000))
            messages, position = await take(source, 60)
            assert numbers(messages) == [*range(60)]
            await source.commit(position)
            assert source.status.reconnects == 0

    run(scenario())


def test_the_window_bounds_what_is_read_and_not_committed(broker: servers.Server) -> None:
    async def scenario() -> None:
        async with source_of(broker, window_messages=3_000) as source:
            await publish(broker, telemetry(0, 4_000))
            messages, position = await take(source, 2_000)
            await until(lambda: source.uncommitted > 2_000, "it reads on, not all")
            assert source.uncommitted <= 3_000
            assert not source.caught_up
            await source.commit(position)
            more, _ = await take(source, 4_000 - len(messages))
            assert numbers(messages + more) == [*range(4_000)]

    run(scenario())


# What is missing is named.


def test_another_broker_at_the_mqtt_address_is_named(
    broker: servers.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.telemetry_log.PROOF_S_MAX", 1.0)

    async def scenario() -> None:
        with servers.mosquitto(tmp_path / "other") as other:
            assert broker.nats_url is not None
            source = NatsSource(broker.nats_url, mqtt_url=other.url, client_id="p")
            with pytest.raises(BrokerError, match="no stream"):  # nobody has spoken MQTT to it yet
                await source.__aenter__()
            await publish(broker, telemetry(0, 1))
            source = NatsSource(broker.nats_url, mqtt_url=other.url, client_id="p")
            with pytest.raises(BrokerError, match="did not reach the stream TEL"):
                await source.__aenter__()

    run(scenario())


def test_the_doctor_sees_how_the_log_stands(
    broker: servers.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.telemetry_log.PROOF_S_MAX", 2.0)

    async def examined(mqtt_url: str) -> str:
        assert broker.nats_url is not None
        return await examine_log(broker.nats_url, mqtt_url=mqtt_url, client_id="p")

    async def scenario() -> None:
        assert "made at the first start" in await examined(broker.url)
        assert broker.nats_url is not None
        async with NatsSource(broker.nats_url, mqtt_url=broker.url, client_id="p"):
            assert "has what is published over MQTT" in await examined(broker.url)
        with (
            servers.mosquitto(tmp_path / "other") as other,
            pytest.raises(BrokerError, match="did not reach the stream"),
        ):
            await examined(other.url)

    run(scenario())


def test_a_server_without_jetstream_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        with servers.nats_server_without_jetstream(tmp_path) as server:
            async with JetStream(parse_nats_endpoint(server.nats_url or "", client_id="p")) as log:
                with pytest.raises(BrokerError, match="no JetStream for this user"):
                    await log.ask("INFO")

    run(scenario())


@pytest.mark.parametrize(
    "url", ["mqtt://h", "nats://", "nats://h/path", "nats://h:99999", "nats://[::1"]
)
def test_a_bad_address_is_one_sentence(url: str) -> None:
    with pytest.raises(BrokerError, match="NATS URL"):
        parse_nats_endpoint(url, client_id="p")


def test_names_that_jetstream_refuses_stay_distinct() -> None:
    assert reader_name("myoguard-2_a") == "myoguard-2_a"
    assert reader_name("a.b") != reader_name("a b") != reader_name("a_b")
    assert not set(reader_name("a.b *>")) & set(".*> ")


def test_alarms_of_our_own_are_passed_over() -> None:
    assert topic_of("tel.7.c.g.alarm.R") is None
    assert topic_of("tel.7.c.g.alarm.R.action") == "massage/v1/c/g/alarm/R/action"
