"""Talking to a real InfluxDB in tests, and an HTTP proxy before it that misbehaves as told.

Nothing here knows the modules under test.
"""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from servers import DEADLINE_S, HOST

Row = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]  # status, headers, body


def influxql(
    port: int, query: str, database: str = "", login: tuple[str, str] | None = None
) -> list[Row]:
    """The rows of an InfluxQL query, tags and columns together; times in microseconds."""
    asked = {"q": query, "db": database, "epoch": "u"}
    who = "" if login is None else "?" + urllib.parse.urlencode({"u": login[0], "p": login[1]})
    body = urllib.parse.urlencode(asked).encode()
    with urllib.request.urlopen(f"http://{HOST}:{port}/query{who}", body, DEADLINE_S) as answer:
        (result,) = json.load(answer)["results"]
    assert "error" not in result, result["error"]
    return [
        {"name": series["name"]} | series.get("tags", {}) | dict(zip(series["columns"], row))  # noqa: B905
        for series in result.get("series", [])
        for row in series["values"]
    ]


def make_database(port: int, name: str) -> None:
    influxql(port, f'CREATE DATABASE "{name}"')


def points(port: int, measurement: str, field: str, database: str) -> int:
    """How many points have `field`, which each point of the measurement has."""
    query = f'SELECT count("{field}") FROM "{measurement}"'  # noqa: S608 - names of the tests' own
    rows = influxql(port, query, database)
    return int(rows[0]["count"]) if rows else 0


class Fault(Enum):
    """What the proxy does with one write."""

    NONE = "pass it on"
    BUSY = "429, come back in 1 s"
    UNAVAILABLE = "503"
    HANG = "no answer"
    LOSE_ANSWER = "pass it on, and cut the line before the answer"
    CUT = "cut the line at once"
    DENY = "401"
    MISS = "404, no such database"
    GARBLE = "502 with bytes that are no text"


_STATUS: Mapping[Fault, Answer] = {
    Fault.BUSY: (429, {"Retry-After": "1"}, b'{"message": "too many requests"}'),
    Fault.UNAVAILABLE: (503, {}, b'{"message": "not ready"}'),
    Fault.DENY: (401, {}, b'{"code": "unauthorized", "message": "unauthorized access"}'),
    Fault.MISS: (404, {}, b'{"error": "database not found: \\"myoguard\\""}'),
    Fault.GARBLE: (502, {}, b"<h1>\xff\xfe</h1>"),
}


class FaultyProxy:
    """An HTTP proxy before the engine at `port`.

    Each write meets the next of `faults`; with none left, it is passed on. Before that, one with a
    line that holds `poison` is answered with `poison_status` and stored by nobody, as a whole.
    """

    def __init__(self, port: int) -> None:
        self.engine_port = port
        self.pong: Answer | None = None  # None: the engine's own
        self.faults: deque[Fault] = deque()
        self.poison: bytes | None = None
        self.poison_status = 400
        self.bytes_max: int | None = None  # 413 above
        self.paths: list[str] = []
        self.met: list[Fault] = []
        self._released = threading.Event()
        self._server = ThreadingHTTPServer((HOST, 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def hang(self) -> None:
        self._released.wait(DEADLINE_S)


@contextmanager
def faulty_proxy(port: int) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer, sent in two parts, waits 40 ms for an ACK

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        self._answer(*(self.proxy.pong or self._ask_engine(b"")))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.proxy.paths.append(self.path)
        refusal = self._refusal(body)
        if refusal is not None:
            self._answer(*refusal)
            return
        fault = self.proxy.faults.popleft() if self.proxy.faults else Fault.NONE
        self.proxy.met.append(fault)
        if fault in _STATUS:
            self._answer(*_STATUS[fault])
        elif fault is Fault.HANG:
            self.proxy.hang()
            self._hang_up()
        elif fault is Fault.CUT:
            self._hang_up()
        else:
            answer = self._ask_engine(body)
            if fault is Fault.LOSE_ANSWER:
                self._hang_up()
            else:
                self._answer(*answer)

    def _refusal(self, body: bytes) -> Answer | None:
        if self.proxy.bytes_max is not None and len(body) > self.proxy.bytes_max:
            return 413, {}, b'{"code": "request too large"}'
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.proxy.poison is not None and self.proxy.poison in body:
            return self.proxy.poison_status, {}, b'{"message": "a line cannot be taken"}'
        return None

    def _ask_engine(self, body: bytes) -> Answer:
        asking = http.client.HTTPConnection(HOST, self.proxy.engine_port, timeout=DEADLINE_S)
        kept = ("Content-Type", "Content-Encoding", "Authorization")
        headers = {name: self.headers[name] for name in kept if name in self.headers}
        try:
            asking.request(self.command, self.path, body, headers)
            answer = asking.getresponse()
            version = answer.headers["X-Influxdb-Version"] or ""
            return answer.status, {"X-Influxdb-Version": version}, answer.read()
        except OSError:
            return 502, {}, b""
        finally:
            asking.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        with suppress(OSError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if status == 204 else body)

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
