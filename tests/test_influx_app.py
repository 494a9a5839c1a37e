"""The whole pipeline with InfluxDB beside it: what is stored arrives, an outage holds up nobody."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import servers
from clinic_log import SEED
from influx_engine import influxql, make_database
from influx_spool import stored
from servers import HOST, until
from test_app import running, settings_for

from devices.demo import demo_fleet
from devices.fleet import FleetReport, run_fleet
from devices.script import NetworkFaults
from pipeline.app.desk import Desk
from pipeline.app.draining import notice
from pipeline.app.metrics import _DeskCollector
from pipeline.config import (
    BrokerSection,
    InfluxSection,
    PageSection,
    Settings,
    StoreSection,
    load,
)
from pipeline.influx import DrainState, DrainStatus
from pipeline.rules import Health
from pipeline.store import SpoolKind, StoreReader, StoreSize


def spooled(settings: Settings) -> int:
    with StoreReader.open(settings.store.directory) as reader:
        return reader.size().spooled


def test_what_is_stored_arrives_through_an_outage_and_the_counts_agree(tmp_path: Path) -> None:
    with (
        servers.mosquitto(tmp_path / "broker", window=5_000) as broker,
        servers.influxd(tmp_path / "influxd") as engine,
    ):
        make_database(engine.port, "myoguard")
        url = f"http://{HOST}:{engine.port}"
        settings = load(None).model_copy(
            update={
                "broker": BrokerSection(url=broker.url, client_id="pipeline"),
                "store": StoreSection(directory=tmp_path / "store"),
                "page": PageSection(enabled=False),
                "influx": InfluxSection(url=url, timeout_s=2.0),
            }
        )

        async def play() -> FleetReport:
            fleet = demo_fleet(3, SEED)
            return await run_fleet(broker.url, fleet, seed=SEED, seconds=4, faults=NetworkFaults())

        with running(settings) as pipeline:
            until(lambda: stored(engine.port)[SpoolKind.PIPELINE], "the pipeline tells of itself")
            engine.kill()
            report = asyncio.run(play())
            until(lambda: pipeline.counters.frames >= report.frames_published, "all is fed")
            until(lambda: spooled(settings) > 10, "it waits in the store")
            engine.start()
            until(lambda: spooled(settings) == 0, "and goes on", 60.0)
        with StoreReader.open(settings.store.directory) as reader:
            counts, rows, size = reader.spool_counts(), reader.row_counts(), reader.size()
        found = stored(engine.port)
        assert {kind: count.spooled for kind, count in counts.items()} == found
        assert rows == {kind: found[kind] for kind in rows}
        assert min(found[kind] for kind in (SpoolKind.SECOND, SpoolKind.STATUS)) >= 3
        assert (size.spooled, size.spool_bytes, size.influx_refused) == (0, 0, 0)
        (point,) = influxql(
            engine.port, 'SELECT last("frames"), "lag_s", "pipeline" FROM "pipeline"', "myoguard"
        )
        assert point["pipeline"] == "pipeline"


def test_people_are_told_while_nothing_is_taken_and_only_then() -> None:
    size = StoreSize(0, 0, 1, 0, 0, 12_345, 6_000_000, 0, 0, 0)
    assert notice(DrainStatus(), size) is None
    failing = DrainStatus(DrainState.DENIED, "401: unauthorized", 1_790_000_000_000_000_000)
    said = notice(failing, size)
    assert said is not None
    assert "401: unauthorized" in said
    assert "12,345 points wait" in said


def test_the_figures_say_what_was_written_and_since_when_nothing_is() -> None:
    desk = cast("Desk", SimpleNamespace(health=Health(store_failing_s=7.0, spool_share=0.25)))
    status = DrainStatus(lines_written=5, lines_refused=2, requests=4, failures=1)
    samples = [s for metric in _DeskCollector(desk)._of_influx(status) for s in metric.samples]
    told = {(s.name, *s.labels.values()): s.value for s in samples}
    assert told == {
        ("myoguard_influx_lines_total", "written"): 5,
        ("myoguard_influx_lines_total", "refused"): 2,
        ("myoguard_influx_requests_total",): 4,
        ("myoguard_influx_failures_total",): 1,
        ("myoguard_influx_failing_seconds",): 7.0,
        ("myoguard_spool_share",): 0.25,
    }


def test_the_store_is_not_closed_under_whoever_asks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would end the process."""
    asked: list[StoreReader] = []
    closed = threading.Event()
    under_way: list[bool] = []
    size, close = StoreReader.size, StoreReader.close

    def slow_size(self: StoreReader) -> StoreSize:
        asked.append(self)
        under_way.append(closed.wait(0.5))
        return size(self)

    def told_close(self: StoreReader) -> None:
        if self in asked:
            closed.set()
        close(self)

    monkeypatch.setattr(StoreReader, "size", slow_size)
    monkeypatch.setattr(StoreReader, "close", told_close)
    with servers.mosquitto(tmp_path / "broker") as broker:
        settings = settings_for(tmp_path, broker)
        section = InfluxSection(url=f"http://{servers.HOST}:{servers.free_port()}", bucket="b")
        with running(settings.model_copy(update={"influx": section})):
            servers.until(lambda: asked, "the store is asked")
    assert closed.is_set()
    assert not any(under_way)
