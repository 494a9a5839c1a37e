"""How the demo goes: prepare, start everything, let the guns play, balance the books.

The fleet is a process of its own; broker, pipeline, page and therapist share this one's loop. All
it keeps is in one directory, which one demo at a time has: books and broker begin empty, only the
calibrations stay.
"""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import socket
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from rich.console import Console

from pipeline.app import Pipeline
from pipeline.broker import EmbeddedBroker
from pipeline.cli import compiling, terminal
from pipeline.cli.demo_census import Census
from pipeline.cli.demo_screen import Books, Screen
from pipeline.cli.demo_units import Units
from pipeline.cli.fleet_process import FleetBooks, FleetProcess
from pipeline.cli.gun_models import known_guns
from pipeline.cli.stopping import stop_on_signals
from pipeline.cli.terminal import CommandError
from pipeline.cli.therapist import Therapist
from pipeline.config import (
    BrokerSection,
    CalibrationSection,
    Settings,
    StoreSection,
    load,
)
from pipeline.config.settings import DATA_DIRECTORY, Section
from pipeline.features import Calibration
from pipeline.model import DeviceId

ResultT = TypeVar("ResultT")

HOST: Final = "127.0.0.1"
PAGE_PORT: Final = 8080
POLL_S: Final = 0.05
ARRIVE_S_MAX: Final = 10.0  # engineering choice: for what the broker holds when the guns are done
# A little of what a clinic's wireless network does, so that the books have something to balance.
# Engineering choice: a duplicate every 6 s and a damaged frame every minute of 8 guns.
NETWORK: Final = ("--duplicate", "0.005", "--reorder", "0.005", "--corrupt", "0.0005")


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for on the command line."""

    guns: int
    seconds: float | None
    port: int | None
    page: bool
    seed: int
    data: Path | None
    therapist: bool = True
    bench: bool = True
    influx: str | None = None


def show(plan: Plan, console: Console) -> bool:
    """The whole demo; whether its books balance."""
    terminal.log_to_stderr(faults_only=True)
    screen = Screen(console)
    with _own_directory(plan.data or DATA_DIRECTORY / "demo") as directory:
        units = _prepare(plan, directory)
        settings = _settings(plan, directory)
        census = Census(settings) if settings.influx.url is not None else None
        books = asyncio.run(_Course(plan, settings, units, screen).run(directory))
        screen.end(books)
        return (census is None or census.end(console)) and books.balance


@contextmanager
def _own_directory(directory: Path) -> Iterator[Path]:
    """The demo's directory, for this demo alone, without the last one's store."""
    with _locked(directory):
        shutil.rmtree(directory / "store", ignore_errors=True)
        yield directory


def _locked(directory: Path) -> IO[str]:
    """A file that is locked for as long as it is open, which the system sees to."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CommandError(
            f"A demo is running in {directory} already: stop it, or give this one another --data"
        ) from None
    except OSError as error:
        raise CommandError(
            f"The demo cannot use {directory} ({error.strerror}): give another one with --data"
        ) from None
    return lock


def _prepare(plan: Plan, directory: Path) -> Mapping[DeviceId, Calibration]:
    """Compile the kernels, on another core put the units on their bench, then calibrate them."""
    if not plan.bench:
        compiling.compile_kernels()
        return {}
    units = Units(plan.guns, plan.seed, directory / "calibration")
    with units.at_the_bench():
        compiling.compile_kernels()
    return units.calibrations()


def _settings(plan: Plan, directory: Path) -> Settings:
    """What the environment says, but for what makes it a demo."""
    settings = load(None)
    place = {"enabled": plan.page, "host": HOST, "port": _page_port(plan.port)}
    section: dict[str, Section] = {
        "store": StoreSection(directory=directory / "store"),
        "calibration": CalibrationSection(directory=directory / "calibration"),
        "page": settings.page.model_copy(update=place),
    }
    if plan.influx is not None:
        section["influx"] = settings.influx.model_copy(update={"url": plan.influx})
    return settings.model_copy(update=section)


def _page_port(asked: int | None) -> int:
    """The one asked for; else the usual one, or any where that is taken."""
    if asked is not None:
        return asked
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PAGE_PORT))
        except OSError:
            return 0
        return PAGE_PORT


class _Course:
    """The demo from the broker's start to its end, on one event loop."""

    def __init__(
        self, plan: Plan, settings: Settings, units: Mapping[DeviceId, Calibration], screen: Screen
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._guns = replace(known_guns(settings), calibrations=dict(units))
        self._screen = screen
        self._ready = asyncio.Event()

    async def run(self, directory: Path) -> Books:
        """Raises BrokerError, StoreError, PageError or CommandError."""
        asked_to_stop = stop_on_signals()
        async with (
            EmbeddedBroker(directory / "broker", fresh=True) as broker,
            Therapist(broker.mqtt_url) as therapist,
        ):
            pipeline = self._make_pipeline(broker, therapist)
            over = asyncio.Event()
            watching = asyncio.create_task(pipeline.run(over))
            try:
                await _unless_ended(watching, self._ready.wait())
                fleet = await _unless_ended(watching, self._play(broker.mqtt_url, asked_to_stop))
                await _all_counted(pipeline, fleet)
            finally:
                over.set()
                await watching
        return Books(fleet, pipeline.counters)

    def _make_pipeline(self, broker: EmbeddedBroker, therapist: Therapist) -> Pipeline:
        section = BrokerSection(
            url=broker.mqtt_url, nats_url=broker.nats_url, client_id="myoguard-demo"
        )
        return Pipeline(
            self._settings.model_copy(update={"broker": section}),
            self._guns,
            listeners=(self._screen, therapist) if self._plan.therapist else (self._screen,),
            ready=partial(self._say_ready, broker.mqtt_url),
        )

    def _say_ready(self, broker_url: str, page_url: str | None) -> None:
        self._screen.begin(self._plan.guns, broker_url, page_url)
        self._ready.set()

    async def _play(self, url: str, asked_to_stop: asyncio.Event) -> FleetBooks:
        """Let the guns play for as long as planned, or until asked to stop."""
        plan = self._plan
        options = [*("--guns", str(plan.guns)), *("--seed", str(plan.seed)), *NETWORK]
        if plan.seconds is not None:
            options += ["--seconds", str(plan.seconds)]
        async with FleetProcess(url, *options) as fleet:
            stopping = asyncio.create_task(_stop_when(asked_to_stop, fleet))
            try:
                return await fleet.books()
            finally:
                stopping.cancel()


async def _stop_when(asked_to_stop: asyncio.Event, fleet: FleetProcess) -> None:
    await asked_to_stop.wait()
    fleet.stop()


async def _unless_ended(
    watching: asyncio.Task[None], work: Coroutine[Any, Any, ResultT]
) -> ResultT:
    """The result of `work`; or the error with which the pipeline ended before."""
    working = asyncio.create_task(work)
    try:
        await asyncio.wait({watching, working}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            watching.result()
            raise CommandError("The pipeline ended before the guns did")
        return working.result()
    finally:
        working.cancel()
        await asyncio.wait({working})


async def _all_counted(pipeline: Pipeline, fleet: FleetBooks) -> None:
    """Wait until what the broker took has come out of it; not for ever, if it lost some."""
    deadline_s = time.monotonic() + ARRIVE_S_MAX
    expected = fleet.frames_published
    while pipeline.counters.frames < expected and time.monotonic() < deadline_s:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
