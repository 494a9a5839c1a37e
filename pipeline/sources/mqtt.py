"""Any MQTT broker as a source: acknowledged at commit, held back by its window alone."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Self

from pipeline.link import Link, LinkStatus
from pipeline.model import Received
from pipeline.mqtt import (
    ANONYMOUS,
    Arrival,
    Connection,
    Credentials,
    MqttProtocol,
    parse_endpoint,
)
from pipeline.sources.again import Again
from pipeline.sources.intake import Intake
from pipeline.sources.source import Batch, Position
from pipeline.wire import PIPELINE_FILTERS

# QoS 0 has no window, so what nobody takes is dropped from here on: two checkpoints of 2,000 guns.
QOS0_PENDING_MAX: Final = 16_384


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
    whoever comes back sooner gets new messages before those; and it does so in parts (`Again`).
    """

    keeps_arrival_times = False
    caught_up = True  # as far as a broker says

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
        retained_again: bool = False,
        patient: bool = False,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Not `persistent`: the broker keeps nothing for us while we are away. `patient`: see Link.
        `retained_again`: hear all retained messages, as in a new session, even in an old one.

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
        self._endpoint = endpoint
        self._filters = filters
        self._redelivery_s = redelivery_s
        self._must_subscribe = retained_again
        self._clock_ns = clock_ns
        self._intake = Intake()
        self._again: Again | None = None  # at the beginning of a connection
        # Arrived, not committed, in the same order: who is owed an acknowledgement, of what.
        self._uncommitted: deque[tuple[Connection, int]] = deque()
        self._committed_count = 0
        self._link = Link(
            self._connect,
            prepare=self._prepare,
            before_retry=self._before_retry,
            on_end=self._intake.end,
            patient=patient,
            clock_ns=clock_ns,
        )

    @property
    def status(self) -> LinkStatus:
        """Whether it is connected, since when, how often it was lost, and why last."""
        return self._link.status

    @property
    def lost_messages(self) -> int:
        """What came at QoS 0 and found no room."""
        return self.qos0_dropped

    @property
    def uncommitted(self) -> int:
        """How many messages have arrived and are not committed: the part of the window in use."""
        return len(self._uncommitted)

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._link.__aexit__(*exc)

    def batches(self) -> AsyncIterator[Batch]:
        """At most 10 ms or 512 messages each."""
        return self._intake.batches()

    async def commit(self, position: Position) -> None:
        """Acknowledge everything up to `position` that came on a connection that still lives."""
        owed: dict[Connection, list[int]] = {}
        while self._committed_count < position:
            connection, mid = self._uncommitted.popleft()
            self._committed_count += 1
            owed.setdefault(connection, []).append(mid)
        for connection, mids in owed.items():
            connection.ack(mids)

    def _on_arrivals(self, arrivals: Sequence[Arrival]) -> None:
        room = QOS0_PENDING_MAX - len(self._intake if self._again is None else self._again)
        if room < len(arrivals):
            kept = [each for n, each in enumerate(arrivals) if each.mid or n < room]
            self.qos0_dropped += len(arrivals) - len(kept)
            arrivals = kept
        if self._again is None:
            self._take(arrivals)
        else:
            self._again.hold(arrivals)

    def _take(self, arrivals: Sequence[Arrival]) -> None:
        now_ns = self._clock_ns()
        self._uncommitted.extend((each.connection, each.mid) for each in arrivals)
        self._intake.put(Received(now_ns, each.topic, each.payload) for each in arrivals)

    def _connect(self) -> Connection:
        """What an earlier connection brought and was still held is gone with it: it comes again."""
        self._again = Again() if self._redelivery_s else None
        return Connection(self._endpoint, self._on_arrivals)

    async def _prepare(self, connection: Connection) -> None:
        """A session that the broker kept still has its subscriptions, and what was in flight."""
        if self._must_subscribe or not connection.session_present:
            await connection.subscribe(self._filters)
            self._must_subscribe = False
        if self._again is not None:
            arrivals = await self._again.complete(connection)
            self._again = None
            self._take(arrivals)

    async def _before_retry(self) -> None:
        await self._intake.emptied()
        await asyncio.sleep(self._redelivery_s)
