"""One run: a real broker, guns that keep on, and a pipeline to which everything happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import servers

from chaos.books import Balance, balance, counters_in
from chaos.guns import Guns
from chaos.nursery import Nursery
from chaos.plan import Event, Plan, Step
from chaos.victim import Victim
from pipeline.config import Settings, load
from pipeline.store import StoreError

# nats-server sends again what it has waited for so long; a checkpoint must come sooner than that.
ACK_WAIT_S = 2.0
REDELIVERY_S = 2.5
WINDOW = 13_000  # as docs and the embedded broker have it
STALL_S_MAX = 120.0  # nothing acknowledged, or nothing stored, for so long is a failed run
QUIET_S = 15.0  # longer than any redelivery: what has not come by then is lost
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
    with (
        BROKERS[broker](directory / "broker") as server,
        servers.Proxy(server.port) as mqtt,
        servers.Proxy(server.nats_port or 0) as nats,
    ):
        config = directory / "myoguard.toml"
        config.write_text(_config(directory / "store", source, broker, mqtt.url, nats.port))
        settings = load(config)
        victim = Victim(nursery, config, settings.store.directory, directory)
        try:
            play = _Play(plan, server, (mqtt, nats), victim, tell)
            play.perform()
            _drain(plan, settings, victim, tell)
            victim.stop()
        finally:
            victim.end()
    tell("comparing")
    books = balance(plan, settings, directory / "undisturbed")
    return Outcome(
        victim.kills, play.broker_kills, plan.messages, time.monotonic() - began_s, books
    )


def _config(store: Path, source: str, broker: str, url: str, nats_port: int) -> str:
    redelivery_s = REDELIVERY_S if broker == "nats" else 0.0
    nats_url = f'nats_url = "nats://{servers.HOST}:{nats_port}"\n' if source == "nats" else ""
    return (
        f'[broker]\nurl = "{url}"\nclient_id = "pipeline"\nredelivery_s = {redelivery_s}\n'
        f"{nats_url}"
        f'[store]\ndirectory = "{store}"\nfeatures_days = 36500.0\nrollups_days = 36500.0\n'
        "[page]\nenabled = false\n[metrics]\nenabled = false\n"
    )


class _Play:
    """Goes through the steps of a plan while its guns publish."""

    def __init__(
        self,
        plan: Plan,
        server: servers.Server,
        wires: tuple[servers.Proxy, ...],
        victim: Victim,
        tell: Callable[[str], None],
    ) -> None:
        self.broker_kills = 0
        self._plan, self._server, self._wires, self._victim = plan, server, wires, victim
        self._is_cut = False
        self._tell = tell

    def perform(self) -> None:
        """Until every message of every gun is acknowledged, and nothing is in the way any more."""
        self._victim.start()
        self._victim.wait_until_ready()
        pace = self._plan.size.seconds / self._plan.size.publish_s
        with Guns(self._server.port, self._plan.guns, pace) as guns:
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

    def _cut(self) -> None:
        self._is_cut = True
        for wire in self._wires:
            wire.refuse = True
            wire.cut()

    def _mend(self) -> None:
        self._is_cut = False
        for wire in self._wires:
            wire.refuse = False

    def _delay(self, seconds: float) -> None:
        for wire in self._wires:
            wire.delay_s = seconds

    def _kill_broker(self, guns: Guns) -> None:
        process = self._server.process
        assert process is not None
        servers.until(lambda: guns.between_frames(process.kill), "no gun has overtaken itself")
        process.wait()
        self._server.start()
        self.broker_kills += 1


def _drain(plan: Plan, settings: Settings, victim: Victim, tell: Callable[[str], None]) -> None:
    """Wait until everything is stored, or nothing has come for a while: the books will say."""
    victim.wait_until_ready()
    frames, letters = plan.frames, plan.spoilt
    seen, seen_s = (-1, -1), time.monotonic()
    while time.monotonic() - seen_s < QUIET_S:
        now = _stored(settings)
        if now[0] >= frames and now[1] >= letters:
            return
        if now != seen:
            seen, seen_s = now, time.monotonic()
        tell(f"draining, {now[0]} of {frames} frames are stored")
        assert victim.is_ready()
        time.sleep(0.1)


def _stored(settings: Settings) -> tuple[int, int]:
    try:
        counters = counters_in(settings.store.directory)
    except StoreError:
        return 0, 0
    return counters.frames_processed + counters.frames_late, counters.frames_rejected
