"""The running pipeline on real brokers: nothing lost, nothing twice, whatever is killed.

A recording is published as guns would, and what the store holds in the end is compared with a
replay of the same messages in one piece, which knows no broker, no store and no clock.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import httpx
import pytest
import servers
from clinic_log import SEED, clinic_log
from conftest import ServerStarter

from devices.demo import demo_fleet
from devices.fleet import FleetReport, run_fleet
from devices.script import NetworkFaults
from pipeline.app import Pipeline, make_monitor
from pipeline.capture import CaptureFolder, name_captures, read_recording
from pipeline.cli.gun_models import known_guns
from pipeline.cli.replaying import alarm_line
from pipeline.config import BrokerSection, MetricsSection, PageSection, Settings, StoreSection, load
from pipeline.jetstream import JetStream, parse_nats_endpoint
from pipeline.model import Alarm, AlarmState, Counters, Received
from pipeline.monitor.fleet import LOG_STEP_NS
from pipeline.rules import ALARMS, Signal
from pipeline.sources.telemetry_log import STREAM, make_reader
from pipeline.store import AlarmFilter, Store, StoreReader
from pipeline.wire import sample_time_ns

READY_S_MAX = 120.0  # the first one compiles, half a minute and more on a busy machine
SECOND_NS = 1_000_000_000
STOP_S_MAX = 30.0  # a stuck pipeline fails the test; how fast a good one is, is measured elsewhere
# What the samples say. The others (offline, silent, rejecting) are about when messages arrived, or
# about the pipeline itself.
BY_SAMPLES = {
    rule for rule, row in ALARMS.items() if row.signal not in (Signal.LINK, Signal.PIPELINE)
}


# nats-server sends again what it has waited for so long; a checkpoint must come sooner than that.
ACK_WAIT_S = 2.0
REDELIVERY_S = 2.5


@pytest.fixture(params=["mosquitto", "nats-server", "nats-server's log"])
def start_broker(request: pytest.FixtureRequest) -> ServerStarter:
    """`start_broker(directory)`: windows as docs and the embedded broker have them."""
    return {
        "mosquitto": partial(servers.mosquitto, window=13_000),
        "nats-server": partial(servers.nats_server, window=13_000, ack_wait_s=ACK_WAIT_S),
        "nats-server's log": partial(servers.nats_server, log=True),
    }[request.param]


def settings_for(
    directory: Path,
    broker: servers.Server,
    *,
    through: servers.Proxy | None = None,
    page: bool = False,
) -> Settings:
    """`through` stands between the pipeline and what it reads from."""
    url, nats_url = broker.url, broker.nats_url
    if through is not None:
        url, nats_url = (url, through.nats_url) if nats_url else (through.url, None)
    section = BrokerSection(
        url=url,
        nats_url=nats_url,
        client_id="pipeline",
        redelivery_s=0.0 if broker.nats_url else REDELIVERY_S,
    )
    sections = {
        "broker": section,
        "store": StoreSection(directory=directory / "store"),
        "page": PageSection(enabled=page, port=0, accounts_file=directory / "accounts.json"),
        "metrics": MetricsSection(port=0),
    }
    return load(None).model_copy(update=sections)


class Running:
    """A pipeline on a thread of its own, as the command runs it on the main one."""

    def __init__(self, settings: Settings) -> None:
        self._ready = threading.Event()
        self.page_url: str | None = None
        self.failure: BaseException | None = None
        self._pipeline = Pipeline(settings, known_guns(settings), ready=self._on_ready)
        self._thread = threading.Thread(target=self._run)

    def _on_ready(self, page_url: str | None) -> None:
        self.page_url = page_url
        self._ready.set()

    def _run(self) -> None:
        async def watch() -> None:
            self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
            await self._pipeline.run(self._stop)

        try:
            asyncio.run(watch())
        except Exception as error:  # noqa: BLE001 -- raised where the test can see it
            self.failure = error
        finally:
            self._ready.set()

    @property
    def counters(self) -> Counters:
        return self._pipeline.counters

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_S_MAX)
        assert not self._thread.is_alive(), "the pipeline does not stop"

    def stand_still_after(self, frames: int, go_on: threading.Event) -> None:
        """Like a process that gets no turn, at once when so many frames have been fed."""

        def look() -> None:
            if self.counters.frames < frames:
                self._loop.call_later(0.001, look)
            else:
                go_on.wait(STOP_S_MAX)

        self._loop.call_soon_threadsafe(look)

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    def start(self, await_ready: bool) -> None:
        self._thread.start()
        if not await_ready:
            return
        assert self._ready.wait(READY_S_MAX), "the pipeline does not become ready"
        if self.failure is not None:
            raise self.failure


@contextmanager
def running(settings: Settings, *, await_ready: bool = True) -> Iterator[Running]:
    """A pipeline from ready to stopped, in order."""
    pipeline = Running(settings)
    pipeline.start(await_ready)
    try:
        yield pipeline
    finally:
        pipeline.stop()
    if pipeline.failure is not None:
        raise pipeline.failure


def stored_alarms(settings: Settings) -> list[str]:
    """Every transition by samples that the store holds, in order."""
    with StoreReader.open(settings.store.directory) as reader:
        history = reader.alarm_history(AlarmFilter(), limit=100_000)
    return lines_of(said.alarm for said in reversed(history))


def replayed_alarms(settings: Settings, log: Sequence[Received]) -> list[str]:
    """The same of one undisturbed replay."""
    monitor = make_monitor(settings, known_guns(settings))
    return lines_of(each for each in name_captures(monitor.feed(log)) if isinstance(each, Alarm))


def captures_missing(settings: Settings, log: Sequence[Received], since_ns: int = 0) -> list[str]:
    """What is wrong with the captures of the stored alarms: every frame of 5 s around is there.

    Of those that arrived since then, by the log.
    """
    folder = CaptureFolder(settings.capture_directory / "alarms", 10**9)
    with StoreReader.open(settings.store.directory) as reader:
        raised = {each.alarm.capture: each.alarm for each in reader.alarm_history(AlarmFilter())}
    found = []
    for name, alarm in raised.items():
        if name is None or alarm.rule not in BY_SAMPLES:
            continue
        path = folder.find(name)
        kept = {row.payload for row in read_recording(path)} if path is not None else set()
        at_ns = alarm.raised_at_ns
        around_ns = range(at_ns - 5 * SECOND_NS, at_ns + 5 * SECOND_NS)
        around = [
            row
            for row in log
            if row.topic.startswith(f"massage/v1/{alarm.id.clinic}/{alarm.id.device}/telemetry")
            and sample_time_ns(row.payload) in around_ns
        ]
        due = {row.payload for row in around if row.received_at_ns > since_ns}
        if not around or due - kept:
            found.append(f"{alarm.rule}: {len(due - kept)} of {len(due)} frames are missing")
    return found


def lines_of(alarms: Iterable[Alarm]) -> list[str]:
    """By gun, each in its own order: two guns may overtake each other on the way."""
    lines = [alarm_line(alarm) for alarm in alarms if alarm.rule in BY_SAMPLES]
    return sorted(lines, key=lambda line: json.loads(line)["device"])


def stored_counters(settings: Settings) -> Counters:
    with StoreReader.open(settings.store.directory) as reader:
        counters = reader.counters()
    assert counters is not None
    return counters


def frames_in(log: Iterable[Received]) -> int:
    """How many different ones."""
    return len({row.payload for row in log if row.topic.endswith("/telemetry")})


@pytest.fixture(scope="module")
def log() -> list[Received]:
    """Every main alarm of the demo's first gun, and a neighbour."""
    print(f"seed {SEED}")
    return clinic_log(2, 95.0)


# What comes out.


def test_a_broker_changes_nothing_of_the_alarms(
    log: list[Received], broker: servers.Server, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, broker)
    with running(settings) as pipeline:
        servers.publish(broker.port, [(row.topic, row.payload) for row in log])
        servers.until(lambda: pipeline.counters.messages >= len(log), "all messages are fed")
    counters = stored_counters(settings)
    assert counters.messages >= len(log)  # at least once
    assert counters.frames_processed == frames_in(log)
    assert counters.frames == counters.frames_processed + counters.frames_duplicate
    alarms = stored_alarms(settings)
    assert alarms == replayed_alarms(settings, log)
    assert captures_missing(settings, log) == []
    assert {json.loads(line)["rule"] for line in alarms} >= {
        "OVERDWELL",
        "EXCESS_PRESSURE",
        "TENDON_PROXIMITY",
    }


def test_what_comes_while_the_process_stands_still_is_not_late(
    log: list[Received], broker: servers.Server, tmp_path: Path
) -> None:
    messages = [(row.topic, row.payload) for row in log[:200] if "gun-01" in row.topic]
    *_, early, late, last = (at for at, each in enumerate(messages) if "/telemetry" in each[0])
    go_on = threading.Event()
    with running(settings_for(tmp_path, broker)) as pipeline:
        before = [*messages[:early], *messages[early + 1 : late + 1]]
        frames_sent = sum("/telemetry" in topic for topic, _ in before)
        pipeline.stand_still_after(frames_sent, go_on)
        servers.publish(broker.port, before)
        servers.until(lambda: pipeline.counters.frames >= frames_sent, "all but one is fed")
        servers.publish(broker.port, [messages[early]])
        time.sleep(1.5)  # how long it stands still: longer than it leaves for what is on its way
        go_on.set()
        servers.publish(broker.port, messages[last:])
        servers.until(lambda: pipeline.counters.frames >= frames_sent + 2, "it goes on")
        assert (pipeline.counters.frames_late, pipeline.counters.frames_missing) == (0, 0)


def test_every_frame_of_a_bad_network_is_in_the_books(
    broker: servers.Server, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, broker)
    faults = NetworkFaults(drop=0.03, duplicate=0.05, reorder=0.05, corrupt=0.03)

    async def play() -> FleetReport:
        return await run_fleet(broker.url, demo_fleet(6, SEED), seed=SEED, seconds=8, faults=faults)

    with (
        servers.listening(broker.port, "massage/v1/+/+/rejected") as refused,
        servers.listening(broker.port, "massage/v1/+/live") as live,
        running(settings) as pipeline,
    ):
        report = asyncio.run(play())
        servers.until(
            lambda: pipeline.counters.frames >= report.frames_published, "all frames are fed"
        )
        servers.until(lambda: live, "live values are published")
        servers.until(
            lambda: len(refused) >= pipeline.counters.frames_rejected, "guns hear of bad frames"
        )
    counters = stored_counters(settings)
    print(f"seed {SEED}", report, counters)
    assert report.frames_repeated == report.frames_unsent == 0
    assert counters.frames == report.frames_published
    assert counters.frames == (
        counters.frames_processed
        + counters.frames_rejected
        + counters.frames_duplicate
        + counters.frames_late
    )
    assert counters.frames_rejected == report.frames_corrupted > 0
    assert counters.frames_duplicate > 0
    assert counters.frames_late == 0
    with StoreReader.open(settings.store.directory) as reader:
        assert len(reader.dead_letters()) == counters.frames_rejected
        assert len(reader.guns()) == report.guns


def test_a_small_window_does_not_slow_it_down_and_is_told(
    tmp_path: Path, log: list[Received], capfd: pytest.CaptureFixture[str]
) -> None:
    """One commit a second would be 20 messages a second.

    nats-server, as Mosquitto 2.0.11 hands out hundreds once 20 are acknowledged together.
    """
    frames = [row for row in log if row.topic.endswith("/telemetry")][:800]
    with servers.nats_server(tmp_path / "broker", window=20) as broker:
        settings = settings_for(tmp_path, broker)
        with running(settings) as pipeline:
            servers.publish(broker.port, [(row.topic, row.payload) for row in frames])
            servers.until(
                lambda: pipeline.counters.frames >= len(frames), "all frames", deadline_s=20.0
            )
    said = "".join(capfd.readouterr())
    assert "hands out too few messages" in said
    assert "window=20" in said


# Killed.


@pytest.fixture(scope="module")
def rough_log() -> list[Received]:
    """As `log`, with frames doubled and overtaken, so that some are held back when it is killed."""
    print(f"seed {SEED}")
    return clinic_log(2, 95.0, NetworkFaults(duplicate=0.02, reorder=0.1))


class Paced:
    """Publishes a log on a thread of its own, over some seconds; goes on whoever listens."""

    def __init__(self, port: int, log: Sequence[Received], seconds: float) -> None:
        self.sent = 0
        self._port = port
        self._log = log
        self._pause_s = seconds / len(log)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._thread.join()

    def _run(self) -> None:
        with servers.client(self._port) as talker:
            for row in self._log:
                last = talker.publish(row.topic, row.payload, 1)
                self.sent += 1
                time.sleep(self._pause_s)  # a pace, not a wait for anything
            last.wait_for_publish(servers.DEADLINE_S)


@contextmanager
def command(config: Path) -> Iterator[subprocess.Popen[str]]:
    """`myoguard run` in a process of its own, once it watches."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "run", "--config", str(config)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        words = []
        for line in process.stderr:
            words.append(line)
            if '"watching"' in line:
                break
        assert process.poll() is None, words
        yield process
    finally:
        process.kill()
        process.communicate()


def write_config(path: Path, settings: Settings) -> Path:
    nats_url = f'nats_url = "{settings.broker.nats_url}"\n' if settings.broker.nats_url else ""
    path.write_text(
        f'[broker]\nurl = "{settings.broker.url}"\nclient_id = "{settings.broker.client_id}"\n'
        f"redelivery_s = {settings.broker.redelivery_s}\n{nats_url}"
        f'[store]\ndirectory = "{settings.store.directory}"\n[page]\nenabled = false\n'
        "[metrics]\nport = 0\n"
    )
    return path


def test_kill_dash_nine_changes_nothing(
    rough_log: list[Received], start_broker: ServerStarter, tmp_path: Path
) -> None:
    with start_broker(tmp_path / "broker") as broker:
        settings = settings_for(tmp_path, broker)
        config = write_config(tmp_path / "myoguard.toml", settings)
        with command(config) as first, Paced(broker.port, rough_log, seconds=6.0) as paced:
            servers.until(lambda: paced.sent > len(rough_log) // 3, "a third is published")
            first.send_signal(signal.SIGKILL)
            first.wait()
            with command(config) as second:
                servers.until(
                    lambda: paced.sent > 2 * len(rough_log) // 3, "two thirds are published"
                )
                second.send_signal(signal.SIGKILL)
                second.wait()
                killed_ns = rough_log[paced.sent - 1].received_at_ns
        with command(config) as third:
            servers.until(
                lambda: _seen(settings) >= frames_in(rough_log),
                "all frames are stored",
                deadline_s=30.0,
            )
            third.send_signal(signal.SIGTERM)
            assert third.wait(STOP_S_MAX) == 0
    counters = stored_counters(settings)
    print(counters)
    assert counters.frames_missing == counters.frames_late == 0
    assert stored_alarms(settings) == replayed_alarms(settings, rough_log)
    # What a ring in memory held is gone with it; a log is read again (docs/reliability.md).
    since_ns = 0 if settings.broker.nats_url else killed_ns
    assert captures_missing(settings, rough_log, since_ns) == []


def test_a_log_that_has_forgotten_what_was_committed_makes_no_gun_silent(tmp_path: Path) -> None:
    """Killed under load, nats-server has come back with a log of half a minute ago."""
    log = clinic_log(1, 60.0)

    async def keep_all(url: str) -> None:
        async with JetStream(parse_nats_endpoint(url, client_id="all")) as connection:
            await make_reader(connection, "all")

    async def forget_commits(url: str) -> None:
        async with JetStream(parse_nats_endpoint(url, client_id="all")) as connection:
            await connection.ask(f"CONSUMER.RESET.{STREAM}.pipeline", {"seq": 1})

    with servers.nats_server(tmp_path / "broker", log=True) as broker:
        settings = settings_for(tmp_path, broker)
        with running(settings):
            asyncio.run(keep_all(broker.nats_url or ""))
            with Paced(broker.port, log, seconds=LOG_STEP_NS / 1e9 + 3.0):
                servers.until(lambda: _seen(settings) >= frames_in(log), "all is stored")
        asyncio.run(forget_commits(broker.nats_url or ""))
        with running(settings):
            servers.until(
                lambda: stored_counters(settings).messages >= 2 * len(log), "all came again"
            )
        with StoreReader.open(settings.store.directory) as reader:
            rules = [each.alarm.rule for each in reader.alarm_history(AlarmFilter(), limit=1_000)]
    assert "NO_FRAMES" not in rules


def _seen(settings: Settings) -> int:
    """Frames that are in the store's counters as used."""
    try:
        return stored_counters(settings).frames_processed
    except AssertionError:
        return 0


# Outages.


def test_while_the_store_takes_nothing_the_broker_keeps_it(
    log: list[Received], tmp_path: Path
) -> None:
    with servers.mosquitto(tmp_path / "broker", window=5_000) as broker:
        settings = settings_for(tmp_path, broker)
        database = settings.store.directory / "myoguard.sqlite3"
        away = database.with_suffix(".away")
        with running(settings) as pipeline:
            servers.until(database.exists, "there is a store")
            database.rename(away)
            servers.publish(broker.port, [(row.topic, row.payload) for row in log])
            servers.until(lambda: pipeline.counters.messages >= len(log), "all messages are fed")
            away.rename(database)
            servers.until(lambda: _seen(settings) >= frames_in(log), "and stored in the end")
    assert stored_alarms(settings) == replayed_alarms(settings, log)


def test_a_lost_connection_is_only_a_pause(
    log: list[Received], broker: servers.Server, tmp_path: Path
) -> None:
    with servers.Proxy(broker.nats_port or broker.port) as proxy:
        settings = settings_for(tmp_path, broker, through=proxy)
        with running(settings) as pipeline, Paced(broker.port, log, seconds=3.0) as paced:
            servers.until(lambda: paced.sent > len(log) // 2, "half is published")
            proxy.cut()
            servers.until(
                lambda: pipeline.counters.frames_processed >= frames_in(log),
                "all frames are used",
                deadline_s=30.0,
            )
    assert stored_alarms(settings) == replayed_alarms(settings, log)


def test_a_snapshot_that_cannot_be_read_costs_no_records(
    log: list[Received], broker: servers.Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = settings_for(tmp_path, broker)
    with running(settings) as pipeline:
        servers.publish(broker.port, [(row.topic, row.payload) for row in log])
        servers.until(lambda: pipeline.counters.messages >= len(log), "all messages are fed")
    before, counters = stored_alarms(settings), stored_counters(settings)
    with Store.open(settings.store.directory) as store:
        store.checkpoint([], b"of another version")
    with running(settings):
        pass
    said_after = Counter(stored_alarms(settings))
    assert before
    assert not Counter(before) - said_after
    assert stored_counters(settings) == counters
    with StoreReader.open(settings.store.directory) as reader:
        standing = {alarm.state for alarm in reader.current_alarms()}
    assert standing  # nothing is known any more of what they rest on
    assert not standing & {AlarmState.ACTIVE_UNACK, AlarmState.ACTIVE_ACK}
    assert "began anew; what is stored is kept" in "".join(capfd.readouterr())


def test_what_stands_is_said_again_to_a_broker_that_forgot(
    log: list[Received], start_broker: ServerStarter, tmp_path: Path
) -> None:
    with start_broker(tmp_path / "first") as broker:
        settings = settings_for(tmp_path, broker)
        with running(settings) as pipeline:
            servers.publish(broker.port, [(row.topic, row.payload) for row in log])
            servers.until(lambda: pipeline.counters.messages >= len(log), "all messages are fed")
    with StoreReader.open(settings.store.directory) as reader:
        standing = {(alarm.id, alarm.rule) for alarm in reader.current_alarms()}
    assert standing
    expected = {f"massage/v1/{id_.clinic}/{id_.device}/alarm/{rule}" for id_, rule in standing}
    with start_broker(tmp_path / "second") as broker:
        with running(settings_for(tmp_path, broker)):
            pass
        with servers.listening(broker.port, "massage/v1/+/+/alarm/+") as heard:
            servers.until(lambda: _standing(heard) >= expected, "they are retained")
    assert all(each.retain for each in heard)
    assert _standing(heard) == expected


def _standing(heard: Iterable[servers.Heard]) -> set[str]:
    """Topics of alarms whose last word is not that they are over."""
    states = {each.topic: json.loads(each.payload)["state"] for each in heard}
    return {topic for topic, state in states.items() if state != AlarmState.CLEARED}


def test_the_page_is_served_while_it_runs(broker: servers.Server, tmp_path: Path) -> None:
    with running(settings_for(tmp_path, broker, page=True)) as pipeline:
        assert pipeline.page_url is not None
        answer = httpx.get(pipeline.page_url, timeout=servers.DEADLINE_S)
        assert answer.status_code == 200
        assert "MyoGuard" in answer.text
