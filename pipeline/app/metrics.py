"""`/metrics`, `/health` and `/ready` as an edge: their own small HTTP listener, on loopback.

It runs on threads, so that it answers when the event loop does not: every answer is made on the
loop, and a loop that does not make it in time is not healthy. Names no gun and no person.

`/health` says whether to restart the process, `/ready` whether guns are watched, `/metrics` how
much of what, for Prometheus.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.app.desk import Desk
from pipeline.app.standing import Standing, standing_of
from pipeline.capture import BlackBoxStatus
from pipeline.influx import DrainStatus

ANSWER_S_MAX: Final = 2.0  # engineering choices: a loop that takes longer is stuck
REQUEST_S_MAX: Final = 5.0  # a client that does not finish its request
CONNECTIONS_WAITING_MAX: Final = 16

_log = structlog.get_logger("myoguard")


@asynccontextmanager
async def metrics(desk: Desk) -> AsyncIterator[None]:
    """Serve for as long as the pipeline runs. A port that cannot be had is only logged."""
    section = desk.settings.metrics
    ProcessCollector(registry=desk.latency.registry)
    desk.latency.registry.register(_DeskCollector(desk))
    answers = _Answers(desk, asyncio.get_running_loop())
    try:
        server = _Server((section.host, section.port), _Handler)
    except OSError as error:
        _log.error(
            "no metrics: the port cannot be had; choose another as metrics.port",
            port=section.port,
            reason=str(error),
        )
        yield
        return
    server.set_app(answers)
    host, port = server.server_address[:2]
    desk.metrics_url = f"http://{host!s}:{port}"
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = CONNECTIONS_WAITING_MAX

    def server_bind(self) -> None:
        """As WSGIServer's, which asks the name service who we are: that may take seconds."""
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S_MAX

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        """Not on stderr."""


class _Answers:
    """The WSGI application; called on threads, answers from the loop."""

    def __init__(self, desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
        self._desk = desk
        self._loop = loop
        self._pages: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/metrics": self._metrics,
            "/health": self._health,
            "/ready": self._ready,
        }

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        page = self._pages.get(environ.get("PATH_INFO", ""))
        if page is None:
            status, kind, body = 404, "text/plain", b"/metrics, /health or /ready\n"
        elif environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            status, kind, body = 405, "text/plain", b"GET\n"
        else:
            status, kind, body = self._on_loop(page)
        words = {200: "200 OK", 404: "404 Not Found", 405: "405 Method Not Allowed"}
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        start(words.get(status, "503 Service Unavailable"), headers)
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]

    def _on_loop(self, page: Callable[[], tuple[int, str, bytes]]) -> tuple[int, str, bytes]:
        async def answer() -> tuple[int, str, bytes]:
            return page()

        asked = answer()
        try:
            return asyncio.run_coroutine_threadsafe(asked, self._loop).result(ANSWER_S_MAX)
        except TimeoutError:
            return _json(503, {"status": f"the event loop has not turned for {ANSWER_S_MAX:.0f} s"})
        except RuntimeError:  # the loop is closed
            asked.close()
            return _json(503, {"status": "stopped"})

    def _metrics(self) -> tuple[int, str, bytes]:
        return 200, CONTENT_TYPE_LATEST, generate_latest(self._desk.latency.registry)

    def _health(self) -> tuple[int, str, bytes]:
        return _json(200, {"status": "ok"})

    def _ready(self) -> tuple[int, str, bytes]:
        faults = standing_of(self._desk).faults
        if faults:
            return _json(503, {"status": "not ready", "because": list(faults)})
        return _json(200, {"status": "ready"})


def _json(status: int, body: dict[str, Any]) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(body).encode() + b"\n"


class _DeskCollector(Collector):
    """What stands at the desk, as Prometheus wants it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterator[Metric]:
        yield from self._of_messages()
        yield from self._of_links()
        yield from self._of_flow(standing_of(self._desk))
        if self._desk.black_box is not None:
            yield from self._of_black_box(self._desk.black_box.status)
        if self._desk.drain is not None:
            yield from self._of_influx(self._desk.drain.status)

    def _of_messages(self) -> Iterator[Metric]:
        counters = self._desk.monitor.counters
        yield _counter("messages", "Messages taken", counters.messages)
        fates = ("processed", "duplicate", "late", "rejected", "missing")
        frames = {fate: getattr(counters, f"frames_{fate}") for fate in fates}
        yield _counters("frames", "Frames by what became of them", "fate", frames)
        yield _counters("rejected", "Messages refused, by reason", "reason", counters.rejected)
        monitor = self._desk.monitor
        yield _gauge("guns", "Guns known", monitor.devices)
        yield _gauge("guns_away", "Guns not heard of for a day", monitor.devices_away)
        yield _counter("guns_forgotten", "Guns away, and one too many", monitor.devices_forgotten)

    def _of_links(self) -> Iterator[Metric]:
        connected = GaugeMetricFamily("myoguard_connected", "To the broker", labels=["way"])
        reconnects = CounterMetricFamily("myoguard_reconnects", "To the broker", labels=["way"])
        for way, status in (
            ("source", self._desk.source.status),
            ("publisher", self._desk.publisher.status),
        ):
            connected.add_metric([way], status.connected)
            reconnects.add_metric([way], status.reconnects)
        yield connected
        yield reconnects
        published = asdict(self._desk.publisher.counters)
        yield _counters("published", "Outgoing messages by what became of them", "fate", published)
        yield _gauge("outbox", "Outgoing messages that wait", self._desk.publisher.waiting)

    def _of_flow(self, standing: Standing) -> Iterator[Metric]:
        source = self._desk.source
        yield _gauge("uncommitted", "Messages read and not yet stored", source.uncommitted)
        yield _counter("lost", "Messages gone from the broker's log unread", source.lost_messages)
        yield _gauge("lag_seconds", "How old the oldest message not yet judged is", standing.lag_s)
        yield _gauge("not_storing_seconds", "Since when nothing is stored", standing.not_storing_s)
        yield _gauge("not_connected_seconds", "Since when no broker", standing.not_connected_s)
        yield _gauge("ready", "Whether guns are watched", not standing.faults)

    def _of_black_box(self, status: BlackBoxStatus) -> Iterator[Metric]:
        yield _counter("captures", "Alarms with a capture", status.captures)
        yield _gauge("captures_open", "Captures whose 10 s have not passed", status.open)
        lost = {"slow_disk": status.dropped, "refused": status.failed}
        yield _counters("capture_pieces_lost", "Pieces of captures not written", "why", lost)
        yield _counter("captures_deleted", "Files that gave way to newer ones", status.deleted)
        yield _counter("frames_shortened", "Frames that left memory early", status.shortened)
        yield _gauge("ring_bytes", "Frames in memory for captures", status.ring_bytes)
        yield _gauge("captures_bytes", "Captures and kept sessions on the disk", status.disk_bytes)

    def _of_influx(self, status: DrainStatus) -> Iterator[Metric]:
        lines = {"written": status.lines_written, "refused": status.lines_refused}
        yield _counters("influx_lines", "Lines sent, by what became of them", "fate", lines)
        yield _counter("influx_requests", "Writes tried", status.requests)
        yield _counter("influx_failures", "Writes that InfluxDB did not take", status.failures)
        failing_s = self._desk.health.store_failing_s
        yield _gauge("influx_failing_seconds", "Since when InfluxDB takes nothing", failing_s)
        share = self._desk.health.spool_share
        yield _gauge("spool_share", "Of what may wait for InfluxDB at most", share)


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"myoguard_{name}", what, value)


def _counter(name: str, what: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"myoguard_{name}", what, value)


def _counters(name: str, what: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    """A counter for each value of a label."""
    family = CounterMetricFamily(f"myoguard_{name}", what, labels=[label])
    for each, value in values.items():
        family.add_metric([each], value)
    return family
