"""How the pipeline itself stands, told over HTTP: while there is no broker, no store, no turn."""

from __future__ import annotations

import asyncio
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
import servers
from clinic_log import SEED, clinic_log
from test_app import command, running, settings_for, stored_counters, write_config

from pipeline.app.desk import Desk
from pipeline.app.latency import Latency
from pipeline.app.metrics import metrics
from pipeline.config import MetricsSection, Settings, load
from pipeline.model import PIPELINE_CLINIC, AlarmState, Counters, Received
from pipeline.store import AlarmFilter, StoreReader, schema

LOST = "BROKER_UNREACHABLE"
SIGTERM_S_MAX = 5.0  # issue 5, "Supervision"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[servers.Server]:
    with servers.mosquitto(tmp_path / "broker", window=13_000) as server:
        yield server


@pytest.fixture(scope="module")
def log() -> list[Received]:
    print(f"seed {SEED}")
    return clinic_log(2, 5.0)


def with_port(settings: Settings) -> tuple[Settings, str]:
    port = servers.free_port()
    told = settings.model_copy(update={"metrics": MetricsSection(port=port)})
    return told, f"http://127.0.0.1:{port}"


def ready(url: str) -> tuple[int, list[str]]:
    try:
        answer = httpx.get(f"{url}/ready", timeout=servers.DEADLINE_S)
    except httpx.TransportError:
        return 0, []
    return answer.status_code, answer.json().get("because", [])


def figures(url: str) -> dict[str, float]:
    text = httpx.get(f"{url}/metrics", timeout=servers.DEADLINE_S).text
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def own_alarm(settings: Settings, rule: str) -> list[AlarmState]:
    """What is stored of an alarm of the pipeline's own, in order."""
    with StoreReader.open(settings.store.directory) as reader:
        history = reader.alarm_history(AlarmFilter(), limit=100)
    said = [each.alarm for each in reversed(history)]
    return [each.state for each in said if (each.id.clinic, each.rule) == (PIPELINE_CLINIC, rule)]


def stored(settings: Settings) -> int:
    """How many messages; 0 before the first checkpoint."""
    with StoreReader.open(settings.store.directory) as reader:
        return (reader.counters() or Counters()).messages


def publish(broker: servers.Server, log: list[Received]) -> None:
    servers.publish(broker.port, [(row.topic, row.payload) for row in log])


def test_figures_add_up_and_name_nobody(
    broker: servers.Server, log: list[Received], tmp_path: Path
) -> None:
    settings, url = with_port(settings_for(tmp_path, broker))
    with running(settings) as pipeline:
        publish(broker, [*log, replace_payload(log[-1])])
        servers.until(lambda: pipeline.counters.messages > len(log), "all messages are fed")
        servers.until(lambda: figures(url)["myoguard_uncommitted"] == 0, "all is stored")
        told = figures(url)
        text = httpx.get(f"{url}/metrics").text
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        assert ready(url) == (200, [])
        assert httpx.get(f"{url}/nothing").status_code == 404
        assert httpx.post(f"{url}/ready").status_code == 405
    counters = pipeline.counters
    assert told["myoguard_messages_total"] > len(log)  # and our own on "rejected"
    assert told['myoguard_frames_total{fate="processed"}'] == counters.frames_processed > 0
    assert told['myoguard_frames_total{fate="rejected"}'] == counters.frames_rejected == 1
    assert told['myoguard_connected{way="source"}'] == told['myoguard_connected{way="publisher"}']
    for hop in ("sample", "broker", "decode", "decision", "publish", "checkpoint"):
        assert told[f'myoguard_latency_seconds_count{{hop="{hop}"}}'] > 0, hop
    assert told["process_resident_memory_bytes"] > 0
    for row in log:
        assert row.topic.split("/")[3] not in text


def replace_payload(row: Received) -> Received:
    return row._replace(topic=row.topic.rpartition("/")[0] + "/telemetry", payload=b"rubbish")


def test_a_broker_that_comes_late_is_waited_for(
    broker: servers.Server, log: list[Received], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with servers.Proxy(broker.port) as proxy:
        proxy.refuse = True
        settings, url = with_port(settings_for(tmp_path, broker, through=proxy))
        with running(settings, await_ready=False) as pipeline:
            servers.until(lambda: ready(url) == (503, ["no broker"]), "it says so", 60.0)
            servers.until(lambda: own_alarm(settings, LOST), "there is an alarm of it", 60.0)
            assert httpx.get(f"{url}/health").status_code == 200
            assert not pipeline.is_ready
            proxy.refuse = False
            servers.until(lambda: pipeline.is_ready, "it watches", 30.0)
            publish(broker, log)
            servers.until(lambda: pipeline.counters.messages >= len(log), "and misses nothing")
            assert ready(url) == (200, [])
            servers.until(lambda: len(own_alarm(settings, LOST)) > 1, "it is over", 60.0)
    assert own_alarm(settings, LOST) == [AlarmState.ACTIVE_UNACK, AlarmState.RTN_UNACK]
    assert "no broker; it is tried again" in "".join(capfd.readouterr())


def test_a_broker_that_hangs_is_told_of(
    broker: servers.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First guns that were at work are silent; then the connection is given up."""
    monkeypatch.setattr("pipeline.mqtt.KEEPALIVE_S", 4)
    assert broker.process is not None
    log = clinic_log(1, 15.0)
    settings = settings_for(tmp_path, broker)
    with running(settings) as pipeline:
        publish(broker, log)
        servers.until(lambda: pipeline.counters.messages >= len(log), "all is judged")
        broker.process.send_signal(signal.SIGSTOP)
        try:
            servers.until(lambda: own_alarm(settings, LOST), "there is an alarm of it", 60.0)
        finally:
            broker.process.send_signal(signal.SIGCONT)
        servers.until(lambda: len(own_alarm(settings, LOST)) > 1, "it is over", 60.0)
    assert own_alarm(settings, LOST) == [AlarmState.ACTIVE_UNACK, AlarmState.RTN_UNACK]
    with StoreReader.open(settings.store.directory) as reader:
        raised = {each.alarm.rule for each in reader.alarm_history(AlarmFilter(), limit=100)}
    assert "NO_FRAMES" in raised


RETIRING = "DELETE FROM dead_letter WHERE position IN"  # retention alone says so


class Disk:
    """What the store writes to, as a fault would have it; `fails` names the fault."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._connections: list[sqlite3.Connection] = []
        self._hangs_at = ""
        self._turns = threading.Event()
        self._turns.set()
        self._open = schema.open_writer
        monkeypatch.setattr(schema, "open_writer", self._open_writer)

    def _open_writer(self, directory: Path) -> sqlite3.Connection:
        self._database = directory / schema.DATABASE_NAME
        connection = self._open(directory)
        connection.set_trace_callback(self._before)
        self._connections.append(connection)
        return connection

    def _before(self, statement: str) -> None:
        if statement.strip().startswith(self._hangs_at):
            assert self._turns.wait(60.0), "the test has forgotten its disk"

    @contextmanager
    def failing(self, fault: str) -> Iterator[None]:
        away = self._database.with_suffix(".away")
        begin, end = {
            "gone": (lambda: self._database.rename(away), lambda: away.rename(self._database)),
            "read-only": (lambda: self._set_read_only("ON"), lambda: self._set_read_only("OFF")),
            "hangs": (lambda: self._hang_at("COMMIT"), self._turns.set),
            "hangs in retention": (lambda: self._hang_at(RETIRING), self._turns.set),
        }[fault]
        begin()
        try:
            yield
        finally:
            end()

    def _hang_at(self, statement: str) -> None:
        self._hangs_at = statement
        self._turns.clear()

    def _set_read_only(self, value: str) -> None:
        for connection in self._connections:
            connection.execute(f"PRAGMA query_only = {value}")


@pytest.mark.parametrize("fault", ["gone", "read-only", "hangs", "hangs in retention"])
def test_a_store_that_takes_nothing_is_told(
    broker: servers.Server,
    log: list[Received],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    monkeypatch.setattr("pipeline.app.standing.NOT_STORING_S_MAX", 0.5)
    monkeypatch.setattr("pipeline.app.keeper.RETIRE_S", 0.1)
    disk = Disk(monkeypatch)
    settings, url = with_port(settings_for(tmp_path, broker))
    with running(settings) as pipeline:
        with disk.failing(fault):
            publish(broker, log)
            servers.until(lambda: "nothing is stored" in ready(url)[1], "it says so", 60.0)
            servers.until(lambda: pipeline.counters.messages >= len(log), "all is judged", 60.0)
            assert httpx.get(f"{url}/health").status_code == 200
            assert figures(url)["myoguard_not_storing_seconds"] > 0
        servers.until(lambda: ready(url) == (200, []), "and that it is over", 60.0)
        servers.until(
            lambda: stored_counters(settings).messages >= len(log), "nothing is missing", 60.0
        )
        assert figures(url)["myoguard_not_storing_seconds"] == 0


def test_a_store_at_its_size_is_an_alarm(
    broker: servers.Server, log: list[Received], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.app.keeper.RETIRE_S", 0.1)
    settings = settings_for(tmp_path, broker)
    store = settings.store.model_copy(update={"size_max_gb": 1e-6})
    settings = settings.model_copy(update={"store": store})
    with running(settings):
        publish(broker, log)
        servers.until(lambda: own_alarm(settings, "STORE_FULL"), "there is an alarm of it", 60.0)
    assert own_alarm(settings, "STORE_FULL")[0] is AlarmState.ACTIVE_UNACK


def test_a_loop_that_does_not_turn_is_not_healthy() -> None:
    async def scenario() -> None:
        settings = load(None).model_copy(update={"metrics": MetricsSection(port=0)})
        desk = cast("Desk", SimpleNamespace(settings=settings, latency=Latency(), metrics_url=None))
        async with metrics(desk):
            url = f"{desk.metrics_url}/health"
            asked = asyncio.create_task(asyncio.to_thread(httpx.get, url, timeout=10.0))
            await asyncio.sleep(0)
            end_s = time.monotonic() + 3.5
            while time.monotonic() < end_s:  # whoever blocks the loop does not sleep
                pass
            assert (await asked).status_code == 503
            assert (await asyncio.to_thread(httpx.get, url)).status_code == 200

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_taken_port_keeps_no_gun_unwatched(
    broker: servers.Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        section = MetricsSection(port=taken.getsockname()[1])
        with running(settings_for(tmp_path, broker).model_copy(update={"metrics": section})):
            pass
    assert "choose another as metrics.port" in "".join(capfd.readouterr())


def test_sigterm_under_load_stores_what_is_in_hand_within_5_s(
    broker: servers.Server, log: list[Received], tmp_path: Path
) -> None:
    """Guns say all of it over and over, as fast as the broker takes it, until nobody listens."""
    said: list[Received] = []
    gone = threading.Event()

    def say_on() -> None:
        while not gone.is_set():
            publish(broker, 20 * log)
            said.extend(20 * log)

    settings = settings_for(tmp_path, broker)
    config = write_config(tmp_path / "myoguard.toml", settings)
    publishing = threading.Thread(target=say_on)
    with command(config) as process:
        publishing.start()
        try:
            servers.until(lambda: stored(settings) > 0, "it is at work")
            process.send_signal(signal.SIGTERM)
            assert process.wait(SIGTERM_S_MAX) == 0
        finally:
            gone.set()
            publishing.join()
    assert stored(settings) < len(said)
    with command(config) as process:
        servers.until(lambda: stored(settings) >= len(said), "nothing is missing")
        process.send_signal(signal.SIGTERM)
        assert process.wait(SIGTERM_S_MAX) == 0
    assert stored_counters(settings).frames_missing == 0
