"""`doctor`: whether this machine and its broker can do it, and what to do if not."""

from __future__ import annotations

import ctypes
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from pipeline.cli import compiling, terminal
from pipeline.cli.watch import ConfigFile

if TYPE_CHECKING:
    from pipeline.config import Settings

# Engineering choices.
FREE_BYTES_LEAST = 2 * 2**30  # an hour of a large fleet
CONNECT_S_MAX = 10.0  # a broker that takes longer loses guns, too
CLOCK_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
TIMEX_BYTES = 512  # more than struct timex takes anywhere


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one subject; `remedy` is empty where all is well."""

    subject: str
    found: str
    remedy: str = ""
    fatal: bool = False  # `run` would not start

    def __str__(self) -> str:
        mark = "✗" if self.fatal else "!" if self.remedy else "✓"
        return f"{mark} {self.subject}: {self.found}" + (f"\n    {self.remedy}" * bool(self.remedy))


def doctor(config: ConfigFile = None) -> None:
    """Test whether all is well here, and say what to do.

    Looks at configuration, broker and its log, store, page, clock and compiler cache. Changes
    nothing but the compiler's cache. Exit code 1 if `run` would not start.

    Example: myoguard doctor --config /etc/myoguard.toml
    """
    from pipeline.config import load  # noqa: PLC0415

    settings = load(config)
    fatal = False
    for examine in (_configuration, _broker, _log, _store, _influx, _page, _clock, _compiler):
        for finding in _surely(examine, settings):
            print(finding)
            fatal = fatal or finding.fatal
    raise typer.Exit(int(fatal))


def _surely(
    examine: Callable[[Settings], Iterator[Finding]], settings: Settings
) -> Iterator[Finding]:
    """The findings; an error that has a sentence is one."""
    try:
        yield from examine(settings)
    except Exception as error:
        if not terminal.is_sentence(error):
            raise
        subject = examine.__name__.strip("_")
        problem, _, remedy = str(error).partition(": ")
        yield Finding(subject, problem, remedy or "put that right", fatal=True)


def _configuration(settings: Settings) -> Iterator[Finding]:
    from pipeline.cli.gun_models import known_guns  # noqa: PLC0415

    guns = known_guns(settings)
    yield Finding(
        "configuration",
        f"version {settings.config_version}, {len(guns.models)} gun models, "
        f"{len(guns.calibrations)} calibrated units in {settings.calibration.directory}",
    )


def _broker(settings: Settings) -> Iterator[Finding]:
    import asyncio  # noqa: PLC0415

    from pipeline.app import address_of, credentials  # noqa: PLC0415
    from pipeline.link import BrokerError  # noqa: PLC0415
    from pipeline.mqtt import Connection, MqttProtocol, parse_endpoint  # noqa: PLC0415
    from pipeline.wire import PIPELINE_FILTERS  # noqa: PLC0415

    endpoint = parse_endpoint(
        settings.broker.url,
        client_id=f"{settings.broker.client_id}-doctor",
        credentials=credentials(settings),
        protocol=MqttProtocol(settings.broker.protocol),
        persistent=False,
    )

    async def subscribe() -> None:
        async with Connection(endpoint) as connection:
            await connection.subscribe(PIPELINE_FILTERS)

    began_s = time.monotonic()
    try:
        asyncio.run(asyncio.wait_for(subscribe(), CONNECT_S_MAX))
    except TimeoutError:
        raise BrokerError(f"No answer from {endpoint} in {CONNECT_S_MAX:.0f} s") from None
    took_ms = 1e3 * (time.monotonic() - began_s)
    yield Finding(
        "broker", f"{address_of(settings.broker.url)} lets us subscribe, {took_ms:.0f} ms"
    )


def _log(settings: Settings) -> Iterator[Finding]:
    import asyncio  # noqa: PLC0415

    from pipeline.app import address_of, credentials  # noqa: PLC0415
    from pipeline.mqtt import MqttProtocol  # noqa: PLC0415
    from pipeline.sources.nats import examine as examine_log  # noqa: PLC0415

    broker = settings.broker
    if broker.nats_url is None:
        return
    said = asyncio.run(
        examine_log(
            broker.nats_url,
            mqtt_url=broker.url,
            client_id=broker.client_id,
            credentials=credentials(settings),
            protocol=MqttProtocol(broker.protocol),
        )
    )
    yield Finding("log", f"{address_of(broker.nats_url)} {said}")


def _store(settings: Settings) -> Iterator[Finding]:
    from pipeline.store import StoreMissingError, StoreReader  # noqa: PLC0415

    directory = settings.store.directory
    there = next(each for each in (directory, *directory.parents) if each.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        remedy = "set store.directory to one that can be written, or give this user the right"
        yield Finding("store", f"{there} cannot be written", remedy, fatal=True)
        return
    try:
        with StoreReader.open(directory) as reader:
            size = reader.size()
            yield Finding(
                "store", f"{directory}, {size.used_bytes / 1e6:.1f} MB of {size.guns} guns"
            )
    except StoreMissingError:
        yield Finding("store", f"{directory}, made at the first start")
    free = shutil.disk_usage(there).free
    if free < FREE_BYTES_LEAST:
        remedy = "free some space, or set store.directory to a larger disk"
        yield Finding("disk", f"{free / 1e9:.1f} GB are free", remedy)


def _influx(settings: Settings) -> Iterator[Finding]:
    """`run` starts without it: what it does not take waits in the store."""
    from pipeline.app.draining import address, databases  # noqa: PLC0415
    from pipeline.influx import DeniedError, RefusedError, Server, UnreachableError  # noqa: PLC0415

    if settings.influx.url is None:
        return
    server = Server(address(settings))
    try:
        for name in sorted(set(databases(settings).values())):
            server.query(name, "SHOW MEASUREMENTS LIMIT 1")
            yield Finding("influx", f"{settings.influx.url} ({server.version}) lets us read {name}")
    except (UnreachableError, DeniedError, RefusedError) as error:
        remedy = "start it, make the bucket, or correct [influx]; until then the store keeps it all"
        yield Finding("influx", f"{settings.influx.url} does not answer: {error}", remedy)


def _page(settings: Settings) -> Iterator[Finding]:
    from pipeline.app.serving import place  # noqa: PLC0415
    from pipeline.page import listen  # noqa: PLC0415

    page = settings.page
    if page.enabled:
        where = place(settings)
        listen(where).close()
        people = len(where.accounts.all())
        who = f"{people} accounts" if people else "no accounts: whoever sits here may use all of it"
        yield Finding("page", f"{page.host}:{page.port} is free; {who}")


def _clock(_settings: Settings) -> Iterator[Finding]:
    """Guns are judged by their own clocks; ours dates arrivals, and what is shown."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (AttributeError, OSError):
        yield Finding("clock", "this system does not say whether it is synchronised")
        return
    if state == CLOCK_UNSYNCHRONISED:
        remedy = "switch time synchronisation on (timedatectl set-ntp true)"
        yield Finding("clock", "is not synchronised", remedy)
    else:
        yield Finding("clock", "is synchronised")


def _compiler(_settings: Settings) -> Iterator[Finding]:
    began_s = time.monotonic()
    compiling.compile_kernels()
    took_s = time.monotonic() - began_s
    from pipeline import kernels  # noqa: PLC0415

    where = str(kernels.advance.stats.cache_path)
    remedy = ""
    if compiling.TEMPORARY_PREFIX in where:
        remedy = (
            f"every start compiles anew: set {compiling.CACHE_VARIABLE} to a directory of yours"
        )
    yield Finding("compiler", f"kernels ready in {took_s:.1f} s, kept in {where}", remedy)
