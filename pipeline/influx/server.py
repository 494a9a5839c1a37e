"""One InfluxDB server of any version: which one it is, and writing lines to it.

The only module that knows influxdb-client, which the first `Server` imports: that takes 0.7 s. Of
the client it uses connections, identification and the synchronous `WriteApi`; never the batching
one, whose `flush` does nothing and which drops what it could not send in time. 1.6 and 1.7 have no
`/api/v2/write`, so they get the same lines on `/write`. Whatever goes wrong ends as one of three
errors, by what can be done about it: try again, ask a person, or take the lines apart.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from influxdb_client.client.influxdb_client import InfluxDBClient
    from influxdb_client.rest import ApiException

PRECISION: Final = "us"  # of the times in `lines`
OWN_PRECISION: Final = "u"  # what `/write` of 1.x calls it
FIRST_WITH_V2: Final = (1, 8)
WORDS_MAX: Final = 300  # of what a server says; some quote the whole line, which is kept beside it
RETRY_AFTER_S_MAX: Final = 3600.0  # engineering choice: a server that asks for more is mistaken
# Who has to act: a person. 401 to 404 and what else no line and no time will change.
_TAKE_APART: Final = frozenset({400, 413, 422})
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_DROPPED = re.compile(r"dropped=(\d+)\s*$")


class UnreachableError(Exception):
    """Nothing is wrong with lines or settings: the same again later will do."""

    def __init__(self, words: str, retry_after_s: float | None = None) -> None:
        super().__init__(words)
        self.retry_after_s = retry_after_s


class DeniedError(Exception):
    """The server does not want us or has no such database: somebody must set that right."""


class RefusedError(Exception):
    """At least one of the lines cannot be taken, now or later.

    `dropped` is how many of them, where the server says so and has taken all the others.
    """

    def __init__(self, words: str, dropped: int | None = None) -> None:
        super().__init__(words)
        self.dropped = dropped


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is, and how we identify ourselves."""

    url: str
    org: str = ""
    token: str | None = None
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None
    gzip: bool = False
    timeout_s: float = 10.0


class Server:
    """A server that is found out about when it is first written to, and again after `forget`."""

    def __init__(self, address: Address) -> None:
        import influxdb_client  # noqa: F401, PLC0415  now, and not beside the first alarms

        self._address = address
        self._client: InfluxDBClient | None = None
        self._own_path = False
        self.version: str | None = None  # as the server says it; None: it has not been asked

    def write(self, database: str, lines: Sequence[str]) -> None:
        """Write lines; when it returns, the server has them.

        Raises UnreachableError, DeniedError or RefusedError.
        """
        from influxdb_client.client.write_api import SYNCHRONOUS  # noqa: PLC0415

        body = "\n".join(lines).encode()
        with _told_apart():
            client = self._client or self._find_out()
            if self._own_path:
                self._write_own(client, database, body)
            else:
                client.write_api(write_options=SYNCHRONOUS).write(
                    database,
                    self._address.org or "-",
                    body,
                    write_precision=PRECISION,  # type: ignore[arg-type]  # a class of plain strings
                )

    def query(self, database: str, influxql: str) -> list[list[Any]]:
        """The rows of one statement: time first, then the columns. Errors as `write`."""
        with _told_apart():
            client = self._client or self._find_out()
            client.api_client.call_api(
                "/query", "POST", query_params=[("db", database), ("q", influxql), ("epoch", "ms")]
            )
            (result,) = json.loads(client.api_client.last_response.data)["results"]
        if "error" in result:
            raise RefusedError(_short(result["error"]))
        return [row for series in result.get("series", ()) for row in series.get("values", ())]

    def make_database(self, name: str) -> None:
        """Make it where that is a matter of one statement: in InfluxDB 1. Errors as `write`."""
        with _told_apart():
            _ = self._client or self._find_out()
        if self.version is not None and self.version.startswith("1."):
            self.query("", f'CREATE DATABASE "{name}"')

    def forget(self) -> None:
        """Ask again which server it is: after an outage it may be another."""
        if self._client is not None:
            self._client.close()
        self._client, self.version = None, None

    def _find_out(self) -> InfluxDBClient:
        asking = self._connect(version=None)
        try:
            version = _version(asking)
        finally:
            asking.close()
        self._own_path = version[:2] < FIRST_WITH_V2 if version else False
        self.version = ".".join(map(str, version)) or "unknown"
        self._client = self._connect(version)
        return self._client

    def _connect(self, version: tuple[int, ...] | None) -> InfluxDBClient:
        address = self._address
        options: dict[str, Any] = {"token": address.token}
        if address.username is not None:
            options = _identified(address.username, address.password or "", version)
        if address.ca_file is not None:
            options["ssl_ca_cert"] = str(address.ca_file)
        from influxdb_client.client.influxdb_client import InfluxDBClient  # noqa: PLC0415

        return InfluxDBClient(
            address.url,
            org=address.org,
            timeout=round(address.timeout_s * 1000),
            enable_gzip=address.gzip,
            **options,
        )

    def _write_own(self, client: InfluxDBClient, database: str, body: bytes) -> None:
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if self._address.gzip:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=6)
        client.api_client.call_api(
            "/write",
            "POST",
            query_params=[("db", database), ("precision", OWN_PRECISION)],
            header_params=headers,
            body=body,
        )


def _identified(username: str, password: str, version: tuple[int, ...] | None) -> dict[str, object]:
    """User and password as each version wants them; nothing for the question which it is."""
    if version is None:
        return {"token": None}
    if version[:2] < FIRST_WITH_V2:
        return {"token": f"{username}:{password}", "auth_basic": True}
    if version[0] == 1:
        return {"token": f"{username}:{password}"}
    return {"token": None, "username": username, "password": password}


def _version(client: InfluxDBClient) -> tuple[int, ...]:
    """What the server says to a ping, in its headers (1, 2) or in JSON (3); () where it is silent.

    `health()` of the client is no use: it calls version 3 healthy without having asked it.
    """
    from influxdb_client.rest import ApiException  # noqa: PLC0415

    try:
        _, _, headers = client.api_client.call_api("/ping", "GET")
        body = client.api_client.last_response.data
    except ApiException as error:  # a ping that wants a password still says its version
        headers, body = error.headers or {}, error.body
        if error.status is None or error.status == 0 or error.status >= 500:
            raise
    said = headers.get("X-Influxdb-Version") or _said_in(body)
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", said)
    return tuple(int(part) for part in found.groups("0")) if found else ()


def _said_in(body: str | None) -> str:
    try:
        said = json.loads(body or "")
    except ValueError:
        return ""
    return str(said.get("version", "")) if isinstance(said, dict) else ""


@contextmanager
def _told_apart() -> Iterator[None]:
    """Every fault of a request becomes one of the three errors."""
    import urllib3  # noqa: PLC0415
    from influxdb_client.rest import ApiException  # noqa: PLC0415

    try:
        yield
    except ApiException as error:
        raise _judged(error) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnreachableError(_plain(error)) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UnreachableError("it answered with bytes that make no sense") from error


def _judged(error: ApiException) -> UnreachableError | DeniedError | RefusedError:
    """By whom the fault can be mended."""
    status = error.status or 0
    if status == 0:
        return UnreachableError(_short(error.reason or "no answer"))
    words = f"{status}: {_words(error)}"
    if status in _TRY_AGAIN or status >= 500:
        return UnreachableError(words, _retry_after_s(error.headers or {}))
    if status in _TAKE_APART:
        dropped = _DROPPED.search(words)
        return RefusedError(_short(words), int(dropped.group(1)) if dropped else None)
    return DeniedError(_short(words))


def _words(error: ApiException) -> str:
    """What the server said, of either version's JSON, or its header, or else the status."""
    try:
        said = json.loads(error.body or "")
        words = said.get("message") or said.get("error")
    except (ValueError, AttributeError):
        headers: Mapping[str, str] = error.headers or {}
        words = headers.get("X-Influxdb-Error") or error.body
    return str(words or error.reason or "no reason given").strip()


def _short(words: str) -> str:
    one_line = " ".join(words.split())
    return one_line if len(one_line) <= WORDS_MAX else f"{one_line[:WORDS_MAX]} …"


def _plain(error: BaseException) -> str:
    """What went wrong on the way, without addresses of Python objects."""
    words = re.sub(r"<[^>]*>:? ?", "", str(error))
    return _short(words or type(error).__name__)


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds, or a date, as RFC 9110 has it."""
    said = headers.get("Retry-After")
    if said is None:
        return None
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX)
