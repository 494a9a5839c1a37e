"""The durable log behind nats-server's MQTT listener as a source.

What guns publish over MQTT lies in the server's own stream `$MQTT_msgs` when their PUBACK leaves. A
stream that merely captures the same subjects is not covered by it: killed at the wrong moment, the
server has lost messages it had acknowledged. So the stream `TEL` is *sourced* from `$MQTT_msgs`
through a durable consumer that is told only when a message is stored; nothing is lost then (needs
nats-server 2.14). A durable pull consumer reads it, in one order for all topics of a gun; one
acknowledgement a checkpoint covers everything before it. A new connection asks the consumer to
begin again behind the last acknowledgement, so nothing waits for a redelivery.

Whether all this stands is proved on every connection: a probe published over MQTT must come out.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Self

from pipeline.jetstream import Delivered, JetStream, Status, parse_nats_endpoint
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
from pipeline.sources import telemetry_log
from pipeline.sources.intake import Intake
from pipeline.sources.source import Batch, Position
from pipeline.sources.telemetry_log import STREAM, topic_of

_RETAINED: Final = ("massage/v1/+/+/state", "massage/v1/+/+/session")

# Engineering choices. Window: what is read and not committed, two checkpoints of 2,000 guns at 4
# frames a second, and five times their bytes. Asked for at once: a batch twice over, so that one is
# on its way while the other is taken; and most of a second of 2,000 guns in bytes. A request that
# nothing answers is repeated, and the server says ten times meanwhile that it is still there.
LOG_BYTES_MAX: Final = 1_500_000_000
WINDOW_MESSAGES: Final = 16_384
WINDOW_BYTES: Final = 128 * 1024**2
ASKED_MESSAGES: Final = 1_024
ASKED_BYTES: Final = 16 * 1024**2
ASK_AGAIN_S: Final = 30.0
HEARTBEAT_S: Final = 3.0
SILENT_HEARTBEATS_MAX: Final = 3

_IDLE, _NO_MESSAGES, _EXPIRED = "100", "404", "408"
# A request that has brought as many messages, or bytes, as were asked for.
_ANSWERED: Final = ("Batch Completed", "Message Size Exceeds MaxBytes")


class _Uncommitted(NamedTuple):
    """A message that has been read: on which connection, and how to acknowledge it there."""

    life: int
    sequence: int
    reply: str
    size: int


async def examine(
    url: str,
    *,
    mqtt_url: str,
    client_id: str,
    credentials: Credentials = ANONYMOUS,
    protocol: MqttProtocol = MqttProtocol.V311,
) -> str:
    """How the log stands, in words; what guns publish must find its way into it. BrokerError.

    Makes nothing: where no pipeline has been yet, there is nothing to prove.
    """
    name = f"{telemetry_log.reader_name(client_id)}-doctor"
    mqtt_endpoint = parse_endpoint(
        mqtt_url, client_id=name, credentials=credentials, protocol=protocol, persistent=False
    )
    log_endpoint = parse_nats_endpoint(url, client_id=name, credentials=credentials)
    async with Connection(mqtt_endpoint) as mqtt, JetStream(log_endpoint) as log:
        held = await telemetry_log.held(log)
        if held is None or not held[1]:
            return "is there; its stream is made at the first start"
        nonce = secrets.token_hex(8).encode()
        await mqtt.publish(telemetry_log.probe_topic(name), nonce, qos=1, retain=False)
        await telemetry_log.find_probe(log, name, nonce)
        return f"has what is published over MQTT, and holds {held[0]:,} messages for {held[1]}"


class NatsSource:
    """The pipeline's topics as the broker's log has them, acknowledged at commit.

    `received_at_ns` is when the broker stored a message, and the same however often it is read: a
    pipeline that comes back sees the time in which it was away as it was. Only QoS 1 is in the log.
    What had been retained before there was one is read over MQTT, before everything else, until a
    first commit; where the log holds a newer message of the topic, that one counts.
    """

    keeps_arrival_times = True

    def __init__(
        self,
        url: str,
        *,
        mqtt_url: str,
        client_id: str,
        credentials: Credentials = ANONYMOUS,
        protocol: MqttProtocol = MqttProtocol.V311,
        log_bytes_max: int = LOG_BYTES_MAX,
        window_messages: int = WINDOW_MESSAGES,
        retained_again: bool = False,
        patient: bool = False,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`mqtt_url` is the same server's MQTT listener; `patient`: see Link. `retained_again`:
        read what is retained, as a first reader does.

        Raises BrokerError for an address that is none.
        """
        self.lost_messages = 0  # gone from the log before they were read
        self._name = telemetry_log.reader_name(client_id)
        endpoint = parse_nats_endpoint(url, client_id=client_id, credentials=credentials)
        self._mqtt = parse_endpoint(
            mqtt_url,
            client_id=f"{client_id}-probe",
            credentials=credentials,
            protocol=protocol,
            persistent=False,
        )
        self._log_bytes_max = log_bytes_max
        self._retained_again = retained_again
        self._window_messages = window_messages
        self._clock_ns = clock_ns
        self._intake = Intake()
        self._uncommitted: deque[_Uncommitted] = deque()
        self._uncommitted_bytes = 0
        self._committed_count = 0
        self._committed_sequence = 0
        self._newest = (0, 0)  # sequence and time of the newest message read
        self._expected = 0  # the sequence that must come next on this connection
        self._gaps: Sequence[int] = ()  # but for these
        self._again: dict[int, str] = {}  # what came again while we hold it: how to acknowledge it
        self._life = 0
        self._asked = 0  # messages the server may still send
        self._behind = True
        self._heard = False
        self._inbox = ""
        self._room = asyncio.Event()  # set when there may be room to ask for more
        self._connection: JetStream | None = None
        self._link = Link(
            lambda: JetStream(endpoint),
            prepare=self._prepare,
            serve=self._serve,
            on_end=self._intake.end,
            patient=patient,
            clock_ns=clock_ns,
        )

    @property
    def status(self) -> LinkStatus:
        """Whether it is connected, since when, how often it was lost, and why last."""
        return self._link.status

    @property
    def uncommitted(self) -> int:
        """How many messages have been read and are not committed."""
        return len(self._uncommitted)

    @property
    def caught_up(self) -> bool:
        """Whether everything the broker had has been taken; what nobody asks for is not known."""
        return self._asked > 0 and not self._behind and len(self._intake) == 0

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._link.__aexit__(*exc)

    def batches(self) -> AsyncIterator[Batch]:
        """At most 10 ms or 512 messages each."""
        return self._intake.batches()

    async def commit(self, position: Position) -> None:
        """One acknowledgement for everything up to `position`."""
        last = None
        while self._committed_count < position:
            last = self._uncommitted.popleft()
            self._committed_count += 1
            self._uncommitted_bytes -= last.size
        if last is None or not last.sequence:
            return
        self._committed_sequence = last.sequence
        self._room.set()
        reply = last.reply if last.life == self._life else self._again.get(last.sequence)
        if self._again:
            self._again = {seq: at for seq, at in self._again.items() if seq > last.sequence}
        if reply is not None:
            await self._acknowledge(reply)

    async def _acknowledge(self, reply: str) -> None:
        if self._connection is not None:
            await self._connection.tell(reply, b"+ACK")

    # A new connection.

    async def _prepare(self, connection: JetStream) -> None:
        """Lay the path where it is missing, prove it, and begin behind the last commit.

        The MQTT connection comes first: with the very first one the server makes its streams. It
        answers a client's packets in order, so when the probe is acknowledged, everything that had
        been retained has come.
        """
        arrivals: list[Arrival] = []
        nonce = secrets.token_hex(8).encode()
        async with Connection(self._mqtt, arrivals.extend) as mqtt:
            await telemetry_log.lay(connection, self._log_bytes_max)
            has_committed = await telemetry_log.make_reader(connection, self._name)
            await mqtt.subscribe(_RETAINED, qos=0)
            await mqtt.publish(telemetry_log.probe_topic(self._name), nonce, qos=1, retain=False)
        await telemetry_log.find_probe(connection, self._name, nonce)
        await self._begin(connection)
        if self._life == 1 and (self._retained_again or not has_committed):
            held = await telemetry_log.topics_held(connection)
            self._take_retained(
                [each for each in arrivals if each.retain and each.topic not in held]
            )

    async def _begin(self, connection: JetStream) -> None:
        self._inbox = await connection.subscribe(self._take, self._on_status)
        answer = await connection.ask(f"CONSUMER.RESET.{STREAM}.{self._name}", {})
        self._gaps = await telemetry_log.gaps(connection)
        self._connection = connection
        self._life += 1
        self._again = {}
        self._expected = answer["ack_floor"]["stream_seq"] + 1
        self._asked = 0
        self._behind = answer["num_pending"] > 0

    # Reading.

    async def _serve(self, connection: JetStream) -> None:
        """Ask for more while there is room, before what was asked for has all come."""
        api = f"CONSUMER.MSG.NEXT.{STREAM}.{self._name}"
        request = {
            "batch": ASKED_MESSAGES,
            "max_bytes": max(ASKED_BYTES, 2 * connection.payload_bytes_max),
            "expires": round(ASK_AGAIN_S * 1e9),
            "idle_heartbeat": round(HEARTBEAT_S * 1e9),
        }
        body = json.dumps(request).encode()
        silent_heartbeats = 0
        while True:
            self._room.clear()
            while self._has_room():
                self._asked += ASKED_MESSAGES
                await connection.tell(f"$JS.API.{api}", body, self._inbox)
            self._heard = False
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._room.wait()
            silent_heartbeats = 0 if self._heard or not self._asked else silent_heartbeats + 1
            if silent_heartbeats > SILENT_HEARTBEATS_MAX:
                connection.fail("connected, but silent")

    def _has_room(self) -> bool:
        return (
            self._asked <= ASKED_MESSAGES // 2
            and len(self._uncommitted) + self._asked + ASKED_MESSAGES <= self._window_messages
            and self._uncommitted_bytes < WINDOW_BYTES
        )

    async def _take(self, delivered: Sequence[Delivered]) -> None:
        """Keep what came together; what is not new has only to be acknowledged."""
        self._heard = True
        was_asked = self._asked
        self._asked -= len(delivered)
        if self._asked <= ASKED_MESSAGES // 2 < was_asked:
            self._room.set()
        received = []
        for subject, reply, data in delivered:
            sequence, stored_at_ns = self._read_reply(reply)
            newest_sequence, newest_at_ns = self._newest
            if sequence <= newest_sequence and stored_at_ns <= newest_at_ns:
                await self._take_again(sequence, reply)
                continue
            self._newest = (sequence, stored_at_ns)
            topic = topic_of(subject)
            if topic is None:
                continue
            self._uncommitted.append(_Uncommitted(self._life, sequence, reply, len(data)))
            self._uncommitted_bytes += len(data)
            received.append(Received(stored_at_ns, topic, data))
        self._intake.put(received)

    def _read_reply(self, reply: str) -> tuple[int, int]:
        """Sequence and time of a message, and on the way, what is lost and what is behind it.

        $JS.ACK.stream.consumer.deliveries.sequence.delivery.time.pending, or with a domain and an
        account before the stream.
        """
        tokens = reply.split(".")
        at = 5 if len(tokens) == 9 else 7
        sequence, stored_at_ns = int(tokens[at]), int(tokens[at + 2])
        self._behind = tokens[at + 3] != "0"
        # A killed server lets go of what was committed, and may know its reader by an older commit
        # (2.15; in 2 of 117 runs of two kills each): what has been read is not lost.
        unread = max(self._expected, self._newest[0] + 1)
        if sequence > unread:
            known = bisect_left(self._gaps, sequence) - bisect_left(self._gaps, unread)
            self.lost_messages += sequence - unread - known
        self._expected = sequence + 1
        return sequence, stored_at_ns

    async def _take_again(self, sequence: int, reply: str) -> None:
        """It was read on an earlier connection, and will be or was committed."""
        if sequence > self._committed_sequence:
            self._again[sequence] = reply
        elif sequence == self._committed_sequence:
            await self._acknowledge(reply)

    def _on_status(self, headers: Status) -> None:
        """What became of a request: nothing came, not all of it came, or it is still waited for."""
        self._heard = True
        status, why = headers.get("Status"), headers.get("Description")
        if status == _IDLE:
            return
        self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", 0)))
        self._room.set()
        if status in (_NO_MESSAGES, _EXPIRED) or why in _ANSWERED:
            return
        if self._connection is not None:
            self._connection.fail(f"{STREAM} is not read any more: {why}")

    def _take_retained(self, retained: Sequence[Arrival]) -> None:
        """Births before sessions, as if they came now: nobody says when they were published."""
        now_ns = self._clock_ns()
        ordered = sorted(retained, key=lambda each: not each.topic.endswith("/state"))
        for arrival in ordered:
            self._uncommitted.append(_Uncommitted(self._life, 0, "", len(arrival.payload)))
            self._uncommitted_bytes += len(arrival.payload)
        self._intake.put(Received(now_ns, each.topic, each.payload) for each in ordered)
