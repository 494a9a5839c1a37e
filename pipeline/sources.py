"""Where messages come from: ordered batches, and a commit once they are safely stored.

A `Source` yields `Batch(messages, position)` and keeps everything after the last committed
position deliverable again. Two kinds: an MQTT broker, whose unacknowledged window is the only
thing that holds it back, and recordings, which need no commit. Decodes nothing; `mqtt` speaks the
protocol. What a broker had retained comes first after a new subscription and may be old: it is a
message like any other, and its own `t_ns` and `boot_id` say how old.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, NewType, Protocol, Self
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.model import Received
from pipeline.mqtt import (
    ANONYMOUS,
    PORTS,
    Arrival,
    Connection,
    Credentials,
    Link,
    LinkStatus,
    MqttProtocol,
    parse_endpoint,
)
from pipeline.wire import PIPELINE_FILTERS

# Engineering choices: a kernel call over some hundred frames is the cheapest a frame, and 20 ms is
# lost in the 250 ms of a hop.
BATCH_MESSAGES: Final = 512
BATCH_S: Final = 0.020
# QoS 0 has no window, so what nobody takes is dropped from here on: two checkpoints of 2,000 guns.
QOS0_PENDING_MAX: Final = 16_384
ACKS_AT_ONCE: Final = 512  # 5 ms of the event loop; between them other tasks get their turn

Position = NewType("Position", int)
"""How many messages the source had yielded: opaque, increasing, valid for one source object."""


class SourceError(Exception):
    """Why a source cannot be opened or read, in one sentence that says what to do."""


class Batch(NamedTuple):
    """Messages in order of arrival; committing `position` commits them and all before them."""

    messages: Sequence[Received]
    position: Position


class Source(Protocol):
    """One reader's view of the ordered log.

    After a crash the source of the same name yields again what was not committed, and perhaps
    some of what was: the monitor drops duplicates by (boot_id, seq).
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def batches(self) -> AsyncIterator[Batch]:
        """Batches, none of them empty, until the log or the source ends."""
        ...

    async def commit(self, position: Position) -> None:
        """Let go of everything up to `position`; again, or out of order, is harmless."""
        ...


# -------------------------------------------------------------------------------------------- MQTT


class MqttSource:
    """The pipeline's topics on a broker, at QoS 1, acknowledged at commit.

    The broker keeps the session of `client_id` while we are away, so the name must be this
    reader's alone and stay the same. In memory wait at most what the broker lets out without an
    acknowledgement (at most 65,535 messages, the range of packet identifiers): nothing that is
    acknowledged is ever here only, so nothing here can be lost. A new connection waits until what
    the last one brought is taken; until then its uncommitted messages would only come twice.

    The window is the broker's to choose: MQTT 5 brokers are asked for `mqtt.RECEIVE_MAXIMUM`, but
    Mosquitto gives a 3.1.1 client 20 unless `max_inflight_messages` says more, which with a commit
    a second can mean 20 messages a second; and while we are away it keeps 1,000 messages unless
    `max_queued_messages` says more. NATS delivers what was in flight again only after ack_wait:
    whoever comes back sooner gets new messages before those.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        credentials: Credentials = ANONYMOUS,
        protocol: MqttProtocol = MqttProtocol.V311,
        filters: Sequence[str] = PIPELINE_FILTERS,
        persistent: bool = True,
        redelivery_s: float = 0.0,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Not `persistent`: the broker keeps nothing for us while we are away.

        A broker that sends again only what it has waited for, as NATS does, is given `redelivery_s`
        before a new connection, so that what was on its way comes before what is new.
        """
        endpoint = parse_endpoint(
            url,
            client_id=client_id,
            credentials=credentials,
            protocol=protocol,
            persistent=persistent,
        )
        self.qos0_dropped = 0
        self._filters = filters
        self._redelivery_s = redelivery_s
        self._clock_ns = clock_ns
        self._pending: deque[Received] = deque()  # arrived, not yielded
        # Arrived, not committed, in the same order: who is owed an acknowledgement, of what.
        self._uncommitted: deque[tuple[Connection, int]] = deque()
        self._yielded_count = 0
        self._committed_count = 0
        self._something = asyncio.Event()  # set while there is something pending, or the end
        self._enough = asyncio.Event()  # set while a whole batch is pending
        self._taken = asyncio.Event()  # set while nothing is pending
        self._taken.set()
        self._closed = False
        self._failure: BaseException | None = None
        self._link = Link(
            lambda: Connection(endpoint, self._on_arrival),
            prepare=self._subscribe_if_new,
            before_retry=self._before_retry,
            on_end=self._end,
            clock_ns=clock_ns,
        )

    @property
    def status(self) -> LinkStatus:
        """Whether it is connected, since when, how often it was lost, and why last."""
        return self._link.status

    @property
    def uncommitted(self) -> int:
        """How many messages have arrived and are not committed: the part of the window in use."""
        return len(self._uncommitted)

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._link.__aexit__(*exc)

    async def batches(self) -> AsyncIterator[Batch]:
        """At most 20 ms or 512 messages each."""
        while True:
            await self._something.wait()
            if self._failure is not None:
                raise self._failure
            if self._closed:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(BATCH_S):
                    await self._enough.wait()
            yield self._take()

    async def commit(self, position: Position) -> None:
        """Acknowledge everything up to `position` that came on a connection that still lives."""
        while self._committed_count < position:
            connection, mid = self._uncommitted.popleft()
            self._committed_count += 1
            connection.ack(mid)
            if self._committed_count % ACKS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _take(self) -> Batch:
        count = min(len(self._pending), BATCH_MESSAGES)
        messages = [self._pending.popleft() for _ in range(count)]
        self._yielded_count += count
        if len(self._pending) < BATCH_MESSAGES:
            self._enough.clear()
        if not self._pending:
            self._something.clear()
            self._taken.set()
        return Batch(messages, Position(self._yielded_count))

    def _on_arrival(self, arrival: Arrival) -> None:
        if not arrival.mid and len(self._pending) >= QOS0_PENDING_MAX:
            self.qos0_dropped += 1
            return
        self._pending.append(Received(self._clock_ns(), arrival.topic, arrival.payload))
        self._uncommitted.append((arrival.connection, arrival.mid))
        self._taken.clear()
        self._something.set()
        if len(self._pending) >= BATCH_MESSAGES:
            self._enough.set()

    async def _subscribe_if_new(self, connection: Connection) -> None:
        """A session that the broker kept still has its subscriptions."""
        if not connection.session_present:
            await connection.subscribe(self._filters)

    async def _before_retry(self) -> None:
        await self._taken.wait()
        await asyncio.sleep(self._redelivery_s)

    def _end(self, failure: BaseException | None) -> None:
        self._closed = True
        self._failure = failure
        self._something.set()


# --------------------------------------------------------------------------------------- recordings

_COLUMNS: Final = {"received_at_ns": pa.int64(), "topic": pa.string(), "payload": pa.binary()}


class RecordingSource:
    """Recordings (one Parquet row a message) as one log, merged by `received_at_ns`.

    Reads a batch of rows of each file at a time. Committing does nothing: a recording stays.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._files: list[pq.ParquetFile] = []
        self._opened = ExitStack()

    async def __aenter__(self) -> Self:
        with ExitStack() as opened:
            for path in self._paths:
                self._files.append(opened.enter_context(_open_recording(path)))
            self._opened = opened.pop_all()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._opened.close()

    async def batches(self) -> AsyncIterator[Batch]:
        """At most 512 messages each, as fast as they are taken."""
        rows = heapq.merge(
            *(_rows(path, file) for path, file in zip(self._paths, self._files, strict=True)),
            key=lambda row: row.received_at_ns,
        )
        yielded_count = 0
        while messages := list(islice(rows, BATCH_MESSAGES)):
            yielded_count += len(messages)
            yield Batch(messages, Position(yielded_count))
            await asyncio.sleep(0)  # replaying is all work and no waiting: others get their turn

    async def commit(self, position: Position) -> None:
        """Nothing to let go of."""


def _open_recording(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"Cannot read the recording {path} ({error})") from None
    schema = file.schema_arrow
    for name, kind in _COLUMNS.items():
        if name not in schema.names or schema.field(name).type != kind:
            file.close()
            raise SourceError(
                f"{path} is no recording: it needs a column {name} of type {kind}; "
                "`myoguard record` writes such files"
            )
    return file


def _rows(path: Path, file: pq.ParquetFile) -> Iterator[Received]:
    try:
        for rows in file.iter_batches(BATCH_MESSAGES, columns=list(_COLUMNS)):
            columns = [rows.column(name) for name in _COLUMNS]
            if any(column.null_count for column in columns):
                raise SourceError(f"The recording {path} has an empty cell; no column may be null")
            yield from map(Received, *(column.to_pylist() for column in columns))
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"The recording {path} is damaged ({error})") from None


# ------------------------------------------------------------------------------------------ opening


def open_source(
    url: str,
    *,
    client_id: str = "myoguard",
    credentials: Credentials = ANONYMOUS,
    protocol: MqttProtocol = MqttProtocol.V311,
) -> MqttSource | RecordingSource:
    """The source that `url` names: a broker, or the path of a recording.

    Raises SourceError or BrokerError, each one sentence for the user.
    """
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme in PORTS:
        return MqttSource(url, client_id=client_id, credentials=credentials, protocol=protocol)
    if not scheme and url.endswith(".parquet"):
        return RecordingSource([Path(url)])
    raise SourceError(
        f"{url!r} is no source of messages; give mqtt://host:port, mqtts://host:port "
        "or the path of a recording (.parquet)"
    )
