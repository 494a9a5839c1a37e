"""One run: a real broker, guns that keep on, and a pipeline to which everything happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import servers
from influx_engine import make_database
from influx_spool import stored

from chaos.books import Balance, balance
from chaos.guns import Guns
from chaos.nursery import Nursery
from chaos.plan import Event, Plan, Step
from chaos.victim import Victim
from pipeline.config import Settings, load
from pipeline.model import Counters
from pipeline.store import StoreError, StoreReader

# nats-server sends again what it has waited for so long; a checkpoint must come sooner than that.
ACK_WAIT_S = 2.0
REDELIVERY_S = 4.0  # and a busy machine's share
WINDOW = 13_000  # as docs and the embedded broker have it
STALL_S_MAX = 120.0  # nothing acknowledged, or nothing stored, for so long is a failed run
QUIET_S = 30.0  # longer than any redelivery: what has not come by then is lost
DATABASE = "myoguard"
INFLUX_S_MAX = 2.0  # an engine that died with a request is given up on after so long
DELAY_S = 0.15  # under the reorder window: what was swapped on the way is put in order

BEGINNING_S = 0.3  # a kill that is due sooner than this comes while the last start is under way

# How messages are read, and from which broker: the pairs there are.
SOURCES = {"mqtt": ("mosquitto", "nats"), "nats": ("nats",)}

StartBroker = Callable[[Path], AbstractContextManager[servers.Server]]
BROKERS: dict[str, StartBroker] = {
    "mosquitto": partial(servers.mosquitto, window=WINDOW),
    "nats": partial(servers.nats_server, window=WINDOW, ack_wait_s=ACK_WAIT_S, log=True),
}
# Mosquitto writes its queues down at a proper end only: killed, it loses what it acknowledged.
MAY_BE_KILLED = {"nats"}


@dataclass(frozen=True, slots=True)
class Outcome:
    kills: int
    broker_kills: int
    influx_kills: int
    messages: int
    seconds: float
    balance: Balance


def run(
    plan: Plan,
    source: str,
    broker: str,
    nursery: Nursery,
    directory: Path,
    tell: Callable[[str], None],
) -> Outcome:
    """Everything `plan` says, then the books. AssertionError where it does not come to an end."""
    began_s = time.monotonic()
    with _stage(broker, directory) as stage:
        config = directory / "myoguard.toml"
        config.write_text(_config(directory / "store", source, broker, stage.wires))
        settings = load(config)
        victim = Victim(nursery, config, settings.store.directory, directory)
        try:
            play = _Play(plan, stage, victim, tell)
            play.perform()
            _drain(plan, settings, victim, tell)
            victim.stop()
        finally:
            victim.end()
        points = stored(stage.engine.port, DATABASE)
    tell("comparing")
    books = balance(plan, settings, directory / "undisturbed", points)
    seconds = time.monotonic() - began_s
    kills = victim.kills, play.broker_kills, play.influx_kills
    return Outcome(*kills, plan.messages, seconds, books)


class _Wires(NamedTuple):
    """Between the pipeline and everything that it speaks to."""

    mqtt: servers.Proxy
    nats: servers.Proxy
    influx: servers.Proxy


class _Stage(NamedTuple):
    broker: servers.Server
    engine: servers.Server
    wires: _Wires


@contextmanager
def _stage(broker: str, directory: Path) -> Iterator[_Stage]:
    with (
        BROKERS[broker](directory / "broker") as server,
        servers.influxd(directory / "influxd") as engine,
        servers.Proxy(server.port) as mqtt,
        servers.Proxy(server.nats_port or 0) as nats,
        servers.Proxy(engine.port) as influx,
    ):
        make_database(engine.port, DATABASE)
        yield _Stage(server, engine, _Wires(mqtt, nats, influx))


def _config(store: Path, source: str, broker: str, wires: _Wires) -> str:
    redelivery_s = REDELIVERY_S if broker == "nats" else 0.0
    nats_url = f'nats_url = "{wires.nats.nats_url}"\n' if source == "nats" else ""
    return (
        f'[broker]\nurl = "{wires.mqtt.url}"\nclient_id = "pipeline"\n'
        f"redelivery_s = {redelivery_s}\n{nats_url}"
        f'[store]\ndirectory = "{store}"\nfeatures_days = 36500.0\nrollups_days = 36500.0\n'
        f'[influx]\nurl = "http://{servers.HOST}:{wires.influx.port}"\nbucket = "{DATABASE}"\n'
        f"timeout_s = {INFLUX_S_MAX}\n"
        "[page]\nenabled = false\n[metrics]\nenabled = false\n"
    )


class _Play:
    """Goes through the steps of a plan while its guns publish."""

    def __init__(
        self,
        plan: Plan,
        stage: _Stage,
        victim: Victim,
        tell: Callable[[str], None],
    ) -> None:
        self.broker_kills = self.influx_kills = 0
        self._plan, self._stage, self._victim = plan, stage, victim
        self._is_cut = False
        self._tell = tell

    def perform(self) -> None:
        """Until every message of every gun is acknowledged, and nothing is in the way any more."""
        self._victim.start()
        self._victim.wait_until_ready()
        pace = self._plan.size.seconds / self._plan.size.publish_s
        with Guns(self._stage.broker.port, self._plan.guns, pace) as guns:
            for step in self._plan.steps:
                self._tell(f"{guns.share:4.0%} published, next: {step.event}")
                self._wait_for(guns, step)
                self._do(step.event, guns)
            self._tell("publishing the rest")
            self._wait_for(guns, Step(1.0, Event.HURRY, 0.0))
        self._victim.fill_disk(False)
        self._mend()
        self._delay(0.0)

    def _wait_for(self, guns: Guns, step: Step) -> None:
        def reached() -> bool:
            if guns.failure is not None:
                raise guns.failure
            return guns.share >= step.share

        servers.until(reached, f"{step.share:.0%} is acknowledged", STALL_S_MAX)
        dies_at_work = step.event is Event.KILL and step.wait_s > BEGINNING_S
        if dies_at_work and not self._is_cut:
            self._victim.wait_until_ready()
        time.sleep(step.wait_s)  # the instant is the seed's, not ours

    def _do(self, event: Event, guns: Guns) -> None:
        match event:
            case Event.KILL:
                self._victim.kill()
            case Event.KILL_BROKER:
                self._kill_broker(guns)
            case Event.DISK_FULL | Event.DISK_FREE:
                self._victim.fill_disk(event is Event.DISK_FULL)
            case Event.CUT:
                self._cut()
            case Event.MEND:
                self._mend()
            case Event.DELAY | Event.HURRY:
                self._delay(DELAY_S if event is Event.DELAY else 0.0)
            case Event.KILL_INFLUX:
                self._stage.engine.kill()
                self.influx_kills += 1
            case Event.START_INFLUX:
                servers.until(self._starts_influx, "influxd starts", STALL_S_MAX)

    def _starts_influx(self) -> bool:
        """Not while somebody else's connection has its port, which was free for a while."""
        try:
            self._stage.engine.start()
        except AssertionError:
            return False
        return True

    def _cut(self) -> None:
        self._is_cut = True
        for wire in self._stage.wires:
            wire.refuse = True
            wire.cut()

    def _mend(self) -> None:
        self._is_cut = False
        for wire in self._stage.wires:
            wire.refuse = False

    def _delay(self, seconds: float) -> None:
        for wire in self._stage.wires:
            wire.delay_s = seconds

    def _kill_broker(self, guns: Guns) -> None:
        process = self._stage.broker.process
        assert process is not None
        servers.until(lambda: guns.kill_broker(process.kill), "no swapped frames are on their way")
        process.wait()
        self._stage.broker.start()
        servers.publish(self._stage.broker.port, [("chaos", b"it serves")])
        guns.go_on()
        self.broker_kills += 1


def _drain(plan: Plan, settings: Settings, victim: Victim, tell: Callable[[str], None]) -> None:
    """Wait until everything is stored, and what was spooled is in InfluxDB, or nothing has come
    for a while: the books will say."""
    victim.wait_until_ready()
    frames, letters = plan.frames, plan.spoilt
    seen, seen_s = (-1, -1, -1), time.monotonic()
    while time.monotonic() - seen_s < QUIET_S:
        now = _stored(settings)
        if now[0] >= frames and now[1] >= letters and now[2] == 0:
            return
        if now != seen:
            seen, seen_s = now, time.monotonic()
        tell(f"draining, {now[0]} of {frames} frames are stored")
        assert victim.is_ready()
        time.sleep(0.1)


def _stored(settings: Settings) -> tuple[int, int, int]:
    """Frames, dead letters, and how many points wait for InfluxDB."""
    try:
        with StoreReader.open(settings.store.directory) as reader:
            counters, spooled = reader.counters() or Counters(), reader.size().spooled
    except StoreError:
        return 0, 0, 0
    return counters.frames_processed + counters.frames_late, counters.frames_rejected, spooled
