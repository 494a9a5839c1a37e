"""Sources against real brokers: what is committed is gone, what is not comes again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import servers
from conftest import ServerStarter
from scenario import run, until

from pipeline.link import RETRY_S_MIN, BrokerError
from pipeline.model import Received
from pipeline.mqtt import Credentials, MqttProtocol
from pipeline.sources import (
    BATCH_MESSAGES,
    QOS0_PENDING_MAX,
    Batch,
    MqttSource,
    Position,
    RecordingSource,
    SourceError,
    open_source,
)

ROOT = Path(__file__).parent.parent


def telemetry(first: int, end: int) -> list[servers.Message]:
    return [("massage/v1/c/g/telemetry", b"%d" % number) for number in range(first, end)]


async def publish(
    port: int, messages: list[servers.Message], *, qos: int = 1, retain: bool = False
) -> None:
    await asyncio.to_thread(servers.publish, port, messages, qos=qos, retain=retain)


def numbers(messages: list[Received]) -> list[int]:
    return [int(message.payload) for message in messages]


async def take(source: MqttSource, count: int) -> tuple[list[Received], Position]:
    """At least `count` messages, not committed."""
    messages: list[Received] = []
    async for batch in source.batches():
        assert 1 <= len(batch.messages) <= BATCH_MESSAGES
        messages += batch.messages
        if len(messages) >= count:
            return messages, batch.position
    raise AssertionError("the source ended")


async def take_all(source: MqttSource, wanted: set[int]) -> list[int]:
    """Numbers in the order they came, committed batch by batch, until all of `wanted` have come."""
    came: list[int] = []
    async for batch in source.batches():
        came += numbers(list(batch.messages))
        await source.commit(batch.position)
        if wanted <= set(came):
            return came
    raise AssertionError("the source ended")


def test_messages_come_in_order_and_whole(broker: servers.Server) -> None:
    async def scenario() -> None:
        sent = [(topic, payload + b" \x00\xff") for topic, payload in telemetry(0, 700)]
        async with MqttSource(broker.url, client_id="p", clock_ns=lambda: 42) as source:
            assert source.status.connected
            await publish(broker.port, sent)
            messages, _ = await take(source, 700)
            assert [(each.topic, each.payload) for each in messages] == sent
            assert {each.received_at_ns for each in messages} == {42}
            assert source.uncommitted == 700

    run(scenario())


def test_only_topics_of_the_pipeline_arrive(broker: servers.Server) -> None:
    wanted = ["telemetry", "state", "session", "alarm/OVERDWELL/action", "command/result"]
    others = ["alarm/OVERDWELL", "command/other", "telemetry/x"]

    async def scenario() -> None:
        async with MqttSource(broker.url, client_id="p") as source:
            for leaf in others + wanted:
                await publish(broker.port, [(f"massage/v1/c/g/{leaf}", b"1")])
            messages, _ = await take(source, len(wanted))
            assert {each.topic for each in messages} == {f"massage/v1/c/g/{w}" for w in wanted}

    run(scenario())


def test_retained_birth_and_session_arrive_at_a_first_subscription(broker: servers.Server) -> None:
    retained = [("massage/v1/c/g/state", b"1"), ("massage/v1/c/g/session", b"2")]

    async def scenario() -> None:
        await publish(broker.port, retained, retain=True)
        async with MqttSource(broker.url, client_id="p") as source:
            messages, position = await take(source, 2)
            assert sorted((each.topic, each.payload) for each in messages) == sorted(retained)
            await source.commit(position)
        async with MqttSource(broker.url, client_id="p") as source:
            await publish(broker.port, telemetry(7, 8))
            messages, _ = await take(source, 1)
            assert numbers(messages) == [7]  # the session was kept: no second subscription
        async with MqttSource(broker.url, client_id="p", retained_again=True) as source:
            messages, _ = await take(source, 3)
            assert {each.payload for each in messages} == {b"1", b"2", b"7"}

    run(scenario())


def test_committed_messages_do_not_come_again_and_the_others_do(broker: servers.Server) -> None:
    async def scenario() -> None:
        async with MqttSource(broker.url, client_id="p") as source:
            await publish(broker.port, telemetry(0, 60))
            _, position = await take(source, 60)
            await publish(broker.port, telemetry(60, 100))
            await take(source, 40)
            await source.commit(position)
            assert source.uncommitted == 40
        await publish(broker.port, telemetry(100, 120))  # while nobody is there
        async with MqttSource(broker.url, client_id="p") as source:
            assert sorted(set(await take_all(source, set(range(60, 120))))) == [*range(60, 120)]

    run(scenario())


_VICTIM = """
import asyncio, sys
from pipeline.sources import MqttSource

async def main():
    async with MqttSource(sys.argv[1], client_id="p") as source:
        print("ready", flush=True)
        taken = 0
        async for batch in source.batches():
            taken += len(batch.messages)
            if taken >= 50:
                print("taken", flush=True)
                await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_killed_reader_loses_nothing(broker: servers.Server) -> None:
    command = [sys.executable, "-c", _VICTIM, broker.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as victim:
        try:
            assert victim.stdout is not None
            assert victim.stdout.readline() == "ready\n"
            servers.publish(broker.port, telemetry(0, 50))
            assert victim.stdout.readline() == "taken\n"
        finally:
            os.kill(victim.pid, signal.SIGKILL)

    async def scenario() -> None:
        async with MqttSource(broker.url, client_id="p") as source:
            came = await take_all(source, set(range(50)))
            assert list(dict.fromkeys(came)) == [*range(50)]  # and still in order

    run(scenario())


def test_a_slow_consumer_is_held_back_by_the_window_and_loses_nothing(
    start_broker: ServerStarter, tmp_path: Path
) -> None:
    window, count = 20, 500

    async def scenario(port: int, url: str) -> None:
        async with MqttSource(url, client_id="p") as source:
            await publish(port, telemetry(0, count))
            messages, position = await take(source, window)
            await asyncio.sleep(0.2)  # everything that may come without a commit has come
            assert source.uncommitted == window
            await source.commit(position)
            rest = await take_all(source, set(range(window, count)))
            assert numbers(messages) + rest == [*range(count)]

    with start_broker(tmp_path, window=window) as server:
        run(scenario(server.port, server.url))


def test_a_cut_connection_is_made_again_and_loses_nothing(broker: servers.Server) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"{seed=}")
    chance = random.Random(seed)

    async def scenario() -> None:
        with servers.Proxy(broker.port) as proxy:
            async with MqttSource(proxy.url, client_id="p") as source:
                reading = asyncio.create_task(take_all(source, set(range(400))))
                for first in range(0, 400, 100):
                    await publish(broker.port, telemetry(first, first + 100))
                    if first in {100, 200}:
                        await asyncio.sleep(chance.uniform(0, 0.05))
                        proxy.cut()
                came = await reading
                assert sorted(set(came)) == [*range(400)]
                assert source.status.reconnects >= 1
                assert source.status.connected
                assert "was lost" in str(source.status.last_error)

    run(scenario())


def test_a_commit_after_a_reconnect_acknowledges_nothing_of_the_new_connection(
    broker: servers.Server,
) -> None:
    """Packet identifiers start anew with a connection: an old one may name a new message."""

    async def scenario() -> None:
        with servers.Proxy(broker.port) as proxy:
            async with MqttSource(proxy.url, client_id="p") as source:
                await publish(broker.port, telemetry(0, 10))
                _, position = await take(source, 10)
                proxy.cut()
                again, _ = await take(source, 10)  # on the new connection, with identifiers of old
                assert sorted(numbers(again)) == [*range(10)]
                await source.commit(position)
                assert source.uncommitted == 10
            async with MqttSource(broker.url, client_id="p") as source:
                assert set(await take_all(source, set(range(10)))) == set(range(10))

    run(scenario())


def test_a_reconnect_waits_until_what_came_is_taken(broker: servers.Server) -> None:
    async def scenario() -> None:
        with servers.Proxy(broker.port) as proxy:
            async with MqttSource(proxy.url, client_id="p") as source:
                await publish(broker.port, telemetry(0, 10))
                await until(lambda: source.uncommitted == 10, "all have come")
                proxy.cut()
                await until(lambda: not source.status.connected, "it is cut off")
                await asyncio.sleep(2 * RETRY_S_MIN)  # an unguarded retry would have come
                assert proxy.accepted == 1
                messages, position = await take(source, 10)
                assert numbers(messages) == [*range(10)]
                await source.commit(position)
                await until(lambda: source.status.connected, "it is there again")
                assert proxy.accepted == 2

    run(scenario())


def test_a_broker_restart_is_survived(broker: servers.Server) -> None:
    async def scenario() -> None:
        async with MqttSource(broker.url, client_id="p") as source:
            await publish(broker.port, telemetry(0, 10))
            assert await take_all(source, set(range(10)))
            since_ns = source.status.since_ns
            await asyncio.to_thread(broker.restart)
            await until(lambda: source.status.reconnects == 1, "it is there again")
            assert source.status.since_ns > since_ns
            await publish(broker.port, telemetry(10, 20))
            assert set(range(10, 20)) <= set(await take_all(source, set(range(10, 20))))

    run(scenario())


def test_redelivery_to_a_consumer_that_still_holds_the_messages_is_not_yielded_twice(
    tmp_path: Path,
) -> None:
    """NATS sends again what is unacknowledged for ack_wait, on the connection that has it."""

    async def scenario(port: int, url: str) -> None:
        async with MqttSource(url, client_id="p") as source:
            await publish(port, telemetry(0, 10))
            messages, position = await take(source, 10)
            await asyncio.sleep(0.6)  # three times ack_wait: what would come again has come
            assert numbers(messages) == [*range(10)]
            assert source.uncommitted == 10
            # before the commit: what is on its way again when it comes may be yielded again
            await publish(port, telemetry(10, 11))
            assert numbers((await take(source, 1))[0]) == [10]
            await source.commit(position)

    with servers.nats_server(tmp_path, ack_wait_s=0.2) as server:
        run(scenario(server.port, server.url))


def test_qos_0_beyond_the_bound_is_dropped_and_counted(tmp_path: Path) -> None:
    async def scenario(port: int, url: str) -> None:
        async with MqttSource(url, client_id="p") as source:
            while not source.qos0_dropped:
                await publish(port, telemetry(0, QOS0_PENDING_MAX // 4), qos=0)
            assert source.uncommitted == QOS0_PENDING_MAX
            _, position = await take(source, QOS0_PENDING_MAX)
            await source.commit(position)
            assert source.uncommitted < QOS0_PENDING_MAX  # only what came while it was taken

    with servers.mosquitto(tmp_path) as server:
        run(scenario(server.port, server.url))


def test_mqtt_5_keeps_the_session_and_asks_for_its_own_window(tmp_path: Path) -> None:
    async def scenario(port: int, url: str) -> None:
        async with MqttSource(url, client_id="p", protocol=MqttProtocol.V5) as source:
            await publish(port, telemetry(0, 300))
            messages, position = await take(source, 300)  # the broker's own window is 20
            assert numbers(messages) == [*range(300)]
            await source.commit(position)
        await publish(port, telemetry(300, 310))
        async with MqttSource(url, client_id="p", protocol=MqttProtocol.V5) as source:
            again: list[int] = []  # what was not yet acknowledged when it went comes once more
            while not again or again[-1] < 309:
                again += numbers((await take(source, 1))[0])
            assert again == [*range(min(again[0], 300), 310)]

    with servers.mosquitto(tmp_path, window=20) as server:
        run(scenario(server.port, server.url))


def test_tls_and_password(tmp_path: Path) -> None:
    key, cert, passwords = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "passwords"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert),
        ],
        check=True,
        capture_output=True,
    )
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "p", "s:cret"], check=True)
    extra = [f"certfile {cert}", f"keyfile {key}", f"password_file {passwords}"]
    right = Credentials(username="p", password="s:cret", ca_file=cert)  # noqa: S106

    async def connect(url: str, credentials: Credentials) -> bool:
        async with MqttSource(url, client_id="p", credentials=credentials) as source:
            return source.status.connected

    with servers.mosquitto(tmp_path / "broker", extra=extra) as server:
        url = f"mqtts://127.0.0.1:{server.port}"
        assert asyncio.run(connect(url, right))
        assert asyncio.run(connect(url.replace("//", "//p:s%3Acret@"), Credentials(ca_file=cert)))
        for wrong in (Credentials(ca_file=cert), Credentials("p", "s:cret")):
            with pytest.raises(BrokerError, match="Cannot connect to the MQTT broker"):
                asyncio.run(connect(url, wrong))


def test_a_source_that_cannot_connect_says_so_in_a_sentence() -> None:
    url = f"mqtt://user:secret@127.0.0.1:{servers.free_port()}"

    async def scenario() -> None:
        async with MqttSource(url, client_id="p"):
            raise AssertionError("there is no broker")

    with pytest.raises(
        BrokerError, match=r"Cannot connect .* at 127\.0\.0\.1:\d+ .*check"
    ) as caught:
        run(scenario())
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fault_of_ours_ends_the_source_and_does_not_hang_it(tmp_path: Path) -> None:
    async def scenario(url: str) -> None:
        async with MqttSource(url, client_id=""):  # no session can be kept for nobody
            raise AssertionError("it must not start")

    with (
        servers.mosquitto(tmp_path) as server,
        pytest.raises(ValueError, match="client id must be provided"),
    ):
        run(scenario(server.url))


# --------------------------------------------------------------------------------------- recordings


def write_recording(path: Path, rows: list[Received], row_group_size: int = 100) -> Path:
    columns = {
        "received_at_ns": pa.array([row.received_at_ns for row in rows], pa.int64()),
        "topic": pa.array([row.topic for row in rows], pa.string()),
        "payload": pa.array([row.payload for row in rows], pa.binary()),
    }
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


async def read(source: RecordingSource) -> list[Batch]:
    async with source:
        batches = []
        async for batch in source.batches():
            batches.append(batch)
            await source.commit(batch.position)
        return batches


def test_a_recording_gives_what_was_written(tmp_path: Path) -> None:
    rows = [Received(n // 2, f"massage/v1/c/g{n}/state", b"\x00\xff" * n) for n in range(1300)]
    batches = asyncio.run(read(RecordingSource([write_recording(tmp_path / "a.parquet", rows)])))
    assert [row for batch in batches for row in batch.messages] == rows
    assert [len(batch.messages) for batch in batches] == [512, 512, 276]
    assert [batch.position for batch in batches] == [512, 1024, 1300]


def test_several_recordings_are_one_log_in_order_of_arrival(tmp_path: Path) -> None:
    rows = [Received(n, "t", b"%d" % n) for n in range(1000)]
    paths = [write_recording(tmp_path / f"{k}.parquet", rows[k::3]) for k in range(3)]
    batches = asyncio.run(read(RecordingSource(paths)))
    assert [row for batch in batches for row in batch.messages] == rows


def test_a_recording_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    good = write_recording(tmp_path / "good.parquet", [Received(1, "t", b"p" * 500)])
    text = tmp_path / "text.parquet"
    text.write_text("not Parquet")
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"received_at_ns": [1], "topic": ["t"]}), other)
    null = tmp_path / "null.parquet"
    pq.write_table(pq.read_table(good).set_column(1, "topic", pa.array([None], pa.string())), null)
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1" + bytes(60) + good.read_bytes()[64:])
    for path in (tmp_path / "absent.parquet", text, other, null, damaged):
        with pytest.raises(SourceError, match=path.name):
            asyncio.run(read(RecordingSource([good, path])))


@pytest.mark.parametrize(
    ("url", "kind"),
    [("mqtt://h", MqttSource), ("mqtts://u:p@h:1", MqttSource), ("a/b.parquet", RecordingSource)],
)
def test_open_source_goes_by_the_scheme(url: str, kind: type) -> None:
    assert isinstance(open_source(url), kind)


@pytest.mark.parametrize("url", ["", "nats://h", "http://h", "a/b.csv", "mqtt://", "mqtt://h:x"])
def test_open_source_refuses_what_it_does_not_know(url: str) -> None:
    with pytest.raises((SourceError, BrokerError), match=r"mqtt://host:port"):
        open_source(url)
