"""Publishes simulated guns over MQTT in real time, as real guns would. The only network I/O here.

Each gun comes with a birth (retained), a Last Will, session events from its console, and frames at
QoS 1. Simulation runs one chunk ahead of publishing, in one thread (the kernel releases the GIL),
so a slow broker slows nothing but its own gun and at most two chunks a gun are held. A gun has its
own connection, as in life, up to OWN_CONNECTIONS; beyond that several share one, because thousands
of sockets, keep-alives and paho clients would measure the simulator and not the pipeline. A shared
connection carries no will: MQTT allows one a connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import aiomqtt

from devices.feed import Feed, FleetGun, Kind, Outgoing
from devices.network import Packet, PathCounts
from devices.performance import warm_up
from devices.script import NO_FAULTS, NetworkFaults

OWN_CONNECTIONS = 100
GUNS_PER_SHARED_CONNECTION = 25
PORTS = {"mqtt": 1883, "mqtts": 8883}  # IANA
RETRY_S_MIN, RETRY_S_MAX = 0.5, 30.0  # reconnecting, as the pipeline does
PUBLISH_TIMEOUT_S = 5.0
FIRST_CHUNK_S = 0.04  # to plan and simulate a gun's first second: the guns start when all are ready
GRACE_S = 10.0  # for the last acknowledgements, when a run has a length
_LOGGER = logging.getLogger("devices.fleet")
_LOGGER.setLevel(logging.ERROR)  # paho warns of every connection that we break on purpose
ATTEMPTS_AT_START = 5  # about 8 s: a broker that is being started gets its chance


class FleetError(Exception):
    """Why the fleet could not publish, in one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class FleetReport:
    """The books of a run.

    frames_published = frames_made − frames_dropped + frames_duplicated − frames_unsent. Published
    are acknowledged PUBLISHes of telemetry, spoilt ones included. `frames_repeated` were sent
    again because an acknowledgement did not come: the broker may have had them twice.
    `frames_unsent` were given up because no broker was there when the run ended.
    """

    guns: int
    frames_made: int
    frames_published: int
    frames_dropped: int
    frames_duplicated: int
    frames_reordered: int
    frames_corrupted: int
    frames_repeated: int
    frames_unsent: int
    sessions_started: int
    connects: int
    late_s_max: float  # how far publishing fell behind the guns' time


@dataclass(slots=True)
class _Tally:
    """One gun's part of the books; `path` is the network's, up to the last message sent."""

    path: PathCounts = field(default_factory=PathCounts)
    published: int = 0
    repeated: int = 0
    unsent: int = 0
    sessions: int = 0
    late_s_max: float = 0.0


@dataclass(frozen=True, slots=True)
class _Broker:
    """Where to publish, from a URL."""

    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None

    def client(self, will: Packet | None) -> aiomqtt.Client:
        return aiomqtt.Client(
            self.host,
            self.port,
            username=self.username,
            password=self.password,
            tls_context=self.tls,
            will=aiomqtt.Will(*will, qos=1, retain=True) if will else None,
            timeout=PUBLISH_TIMEOUT_S,
            logger=_LOGGER,
        )


def _parse_url(url: str) -> _Broker:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FleetError(f"{url!r} is no broker URL ({error}); write mqtt://host:port") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise FleetError(f"{url!r} is no broker URL; write mqtt://host:port or mqtts://host:port")
    return _Broker(
        parts.hostname,
        port or PORTS[parts.scheme],
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        ssl.create_default_context() if parts.scheme == "mqtts" else None,
    )


class _Link:
    """One connection kept alive for one gun or several: births on every connect, repeated sends."""

    def __init__(self, broker: _Broker, feeds: Sequence[Feed], stop: asyncio.Event) -> None:
        self._broker, self.feeds, self._stop = broker, feeds, stop
        self._client: aiomqtt.Client | None = None
        self._up = asyncio.Event()
        self._done = asyncio.Event()
        self.connects = 0

    def finish(self) -> None:
        """Nothing more will be sent: say goodbye and disconnect."""
        self._done.set()

    async def send(self, packet: Packet, *, retain: bool) -> int | None:
        """Publish until acknowledged; how often it was repeated, None if the run ended before."""
        repeats = 0
        while True:
            if not self._up.is_set():
                await _first(self._up, self._stop)
            client = self._client
            if client is None:
                return None
            try:
                await client.publish(*packet, qos=1, retain=retain)
            except aiomqtt.MqttError:
                repeats += 1
                if client is self._client:
                    self.break_off()
            else:
                return repeats

    def break_off(self) -> None:
        """Cut the connection as a lost radio link does: no DISCONNECT, so the will goes out."""
        client, self._client = self._client, None
        self._up.clear()
        sock = client._client.socket() if client else None  # aiomqtt has no word for this
        if isinstance(sock, socket.socket):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    async def keep(self) -> None:
        """Stay connected until finished; FleetError if the broker never answers."""
        failures = 0  # in a row
        while not self._done.is_set():
            connects = self.connects
            try:
                await self._connection()
            except aiomqtt.MqttError as error:
                self.break_off()
                failures = 1 if self.connects > connects else failures + 1
                if not self.connects and failures >= ATTEMPTS_AT_START:
                    where = f"{self._broker.host}:{self._broker.port}"
                    raise FleetError(
                        f"No MQTT broker answers at {where} ({error}); start one or correct the URL"
                    ) from error
            wait_s = min(RETRY_S_MAX, RETRY_S_MIN * 2.0 ** max(0, failures - 1))
            await _wait(self._done, wait_s * random.uniform(0.8, 1.2))  # noqa: S311 -- jitter

    async def _connection(self) -> None:
        """One connection, from birth to its end."""
        will = self.feeds[0].farewell() if len(self.feeds) == 1 else None
        async with self._broker.client(will) as client:
            for feed in self.feeds:
                await client.publish(*feed.birth(), qos=1, retain=True)
            self.connects += 1
            self._client = client
            self._up.set()
            await self._until_done(client)
            for feed in self.feeds:
                await client.publish(*feed.farewell(), qos=1, retain=True)

    async def _until_done(self, client: aiomqtt.Client) -> None:
        """Wait for the end; MqttError if the connection is lost before."""
        lost = asyncio.ensure_future(_listen(client))
        done = asyncio.ensure_future(self._done.wait())
        try:
            await asyncio.wait((lost, done), return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                lost.result()
        finally:
            lost.cancel()
            done.cancel()


async def _listen(client: aiomqtt.Client) -> None:
    """Ends with the MqttError of a lost connection: no gun subscribes to anything."""
    async for _ in client.messages:
        pass


async def _first(*events: asyncio.Event) -> None:
    """Wait for any of the events."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, at most so long; whether it came."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


@dataclass(slots=True)
class _Run:
    """What every gun of a run shares."""

    pool: ThreadPoolExecutor
    stop: asyncio.Event
    seconds: float | None
    pace: float
    began_s: float  # event-loop time

    async def due(self, due_s: float, tally: _Tally) -> bool:
        """Sleep until a message is due; False when the run is over before."""
        if self.seconds is not None and due_s > self.seconds:
            return False
        wait_s = self.began_s + due_s / self.pace - asyncio.get_running_loop().time()
        if wait_s > 0.0:
            return not await _wait(self.stop, wait_s)
        tally.late_s_max = max(tally.late_s_max, -wait_s)
        return not self.stop.is_set()


async def _play(feed: Feed, link: _Link, run: _Run) -> _Tally:
    """Send one gun's messages as they fall due, simulating the next chunk meanwhile."""
    loop, tally = asyncio.get_running_loop(), _Tally()
    ahead = loop.run_in_executor(run.pool, feed.chunk)
    while True:
        chunk = await ahead
        ahead = loop.run_in_executor(run.pool, feed.chunk)
        for message in chunk:
            if not await run.due(message.due_s, tally):
                await ahead
                return tally
            await _send(message, link, tally)


async def _send(message: Outgoing, link: _Link, tally: _Tally) -> None:
    """Send what one message has become, and enter it in the books."""
    tally.path = message.counts
    if message.kind is Kind.BREAK:
        link.break_off()
    for packet in message.packets:
        repeats = await link.send(packet, retain=message.kind is not Kind.FRAME)
        if message.kind is not Kind.FRAME:
            tally.sessions += message.kind is Kind.START
        elif repeats is None:
            tally.unsent += 1
        else:
            tally.published += 1
            tally.repeated += repeats


async def _play_all(link: _Link, run: _Run) -> list[_Tally]:
    """Every gun of one connection, then its goodbye."""
    try:
        return await asyncio.gather(*(_play(feed, link, run) for feed in link.feeds))
    finally:
        link.finish()


async def run_fleet(
    url: str,
    guns: Sequence[FleetGun],
    *,
    seed: int,
    seconds: float | None = None,
    faults: NetworkFaults = NO_FAULTS,
    stop: asyncio.Event | None = None,
    pace: float = 1.0,
) -> FleetReport:
    """Publish the guns to the broker at `url` until `stop`, or for `seconds` of the guns' time.

    `pace` 2 plays twice as fast: frames keep the guns' own times, which then run ahead of the
    clock. The same guns and seed send the same frames but for the wall-clock start.
    """
    broker, loop = _parse_url(url), asyncio.get_running_loop()
    over = asyncio.Event()
    with ThreadPoolExecutor(1, "guns") as pool:
        await loop.run_in_executor(pool, warm_up)
        lead_s = FIRST_CHUNK_S * len(guns)
        start_ns = time.time_ns() + round(lead_s * 1e9)
        feeds = [Feed(gun, faults, seed + index, start_ns) for index, gun in enumerate(guns)]
        run = _Run(pool, over, seconds, pace, loop.time() + lead_s)
        links = [_Link(broker, group, over) for group in _share(feeds)]
        limit_s = None if seconds is None else lead_s + seconds / pace + GRACE_S
        ender = asyncio.create_task(_end(over, stop, limit_s))
        try:
            tallies = await _run_links(links, run)
        finally:
            ender.cancel()
    return _report(tallies, links)


async def _end(over: asyncio.Event, stop: asyncio.Event | None, limit_s: float | None) -> None:
    """Declare the run over when asked to, or when a lost broker keeps it from ending by itself."""
    with suppress(TimeoutError):
        await asyncio.wait_for((stop or asyncio.Event()).wait(), limit_s)
    over.set()


async def _run_links(links: Sequence[_Link], run: _Run) -> list[_Tally]:
    """Keep every connection and play its guns; the first FleetError ends all."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for link in links:
                tasks.create_task(link.keep())
            playing = [tasks.create_task(_play_all(link, run)) for link in links]
    except ExceptionGroup as group:
        fault = group.subgroup(FleetError)
        if fault is None:
            raise
        raise fault.exceptions[0] from None
    return [tally for task in playing for tally in task.result()]


def _share(feeds: Sequence[Feed]) -> list[Sequence[Feed]]:
    """Who shares a connection with whom."""
    own = [[feed] for feed in feeds[:OWN_CONNECTIONS]]
    rest = feeds[OWN_CONNECTIONS:]
    size = GUNS_PER_SHARED_CONNECTION
    return [*own, *(rest[at : at + size] for at in range(0, len(rest), size))]


def _report(tallies: Sequence[_Tally], links: Sequence[_Link]) -> FleetReport:
    """The sum of every gun's books; what the network still held at the end never came out."""
    paths = [tally.path for tally in tallies]
    return FleetReport(
        guns=len(tallies),
        frames_made=sum(path.packets for path in paths),
        frames_published=sum(tally.published for tally in tallies),
        frames_dropped=sum(path.dropped + path.held for path in paths),
        frames_duplicated=sum(path.duplicated for path in paths),
        frames_reordered=sum(path.reordered for path in paths),
        frames_corrupted=sum(path.corrupted for path in paths),
        frames_repeated=sum(tally.repeated for tally in tallies),
        frames_unsent=sum(tally.unsent for tally in tallies),
        sessions_started=sum(tally.sessions for tally in tallies),
        connects=sum(link.connects for link in links),
        late_s_max=max((tally.late_s_max for tally in tallies), default=0.0),
    )
