"""An MQTT connection: address, TLS, acknowledging.

Sources and publisher share it; nothing else knows aiomqtt, or the paho client inside it. What
aiomqtt 2.5 does not do is done here once. It acknowledges on arrival and discards when its queue
is full, message by message: `Connection` acknowledges by hand, many at once, and `packets` takes
messages off the socket before paho sees them. It does not reconnect: `link` does, with backoff. It
does not say whether the broker kept the session: `Connection` remembers. Knows nothing of topics
or payloads.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import unquote, urlsplit

import aiomqtt
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import ConnectFlags
from paho.mqtt.enums import MessageType
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from pipeline.link import BrokerError, together
from pipeline.packets import Published, PublishTap

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}  # IANA
# Engineering choice: who answers nothing is noticed after two of them at most, with a second of
# paho's, so that a connection that is up and brings nothing is made anew within 30 s.
KEEPALIVE_S: Final = 10
SESSION_EXPIRY_S: Final = 86_400  # MQTT 5; engineering choice: a day of outage loses nothing
# Unacknowledged messages an MQTT 5 broker may have on the way to us. Engineering choice: two
# checkpoints of 2,000 guns at 4 frames a second; 3.1.1 has no such word, its broker decides.
RECEIVE_MAXIMUM: Final = 16_384
_PUBACK = struct.Struct(">BBH")  # MQTT 3.1.1, 3.4; in MQTT 5 it may end so where all is well


class MqttProtocol(StrEnum):
    V311 = "3.1.1"
    V5 = "5"


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to identify to a broker; files are PEM. What the URL says of user and password wins."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


ANONYMOUS: Final = Credentials()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a broker is and as whom to speak to it."""

    host: str
    port: int
    client_id: str
    protocol: MqttProtocol = MqttProtocol.V311
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Credentials | None = None  # read anew for each connection: certificates expire
    persistent: bool = True  # the broker keeps the session, and queues for it, while we are away

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_endpoint(
    url: str,
    *,
    client_id: str,
    credentials: Credentials = ANONYMOUS,
    protocol: MqttProtocol = MqttProtocol.V311,
    persistent: bool = True,
) -> Endpoint:
    """The endpoint of `mqtt[s]://[user[:password]@]host[:port]`; BrokerError for anything else."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BrokerError(
            f"The broker URL is not valid ({error}); write mqtt://host:port"
        ) from None
    if parts.scheme not in PORTS or not host or parts.path.strip("/") or parts.query:
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise BrokerError(
            f"{shown!r} is no broker URL; write mqtt://host:port or mqtts://host:port"
        )
    return Endpoint(
        host=host,
        port=port or PORTS[parts.scheme],
        client_id=client_id,
        protocol=protocol,
        username=unquote(parts.username) if parts.username else credentials.username,
        password=unquote(parts.password) if parts.password else credentials.password,
        tls=_readable(credentials) if parts.scheme == "mqtts" else None,
        persistent=persistent,
    )


def _readable(credentials: Credentials) -> Credentials:
    """What a wrong path is told of at once."""
    tls_context(credentials)
    return credentials


def tls_context(credentials: Credentials) -> ssl.SSLContext:
    """What to trust and how to identify. Raises BrokerError where a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=credentials.ca_file)
        if credentials.cert_file is not None:
            context.load_cert_chain(credentials.cert_file, credentials.key_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise BrokerError(
            f"The TLS files cannot be used ({error}); check ca_file, cert_file and key_file"
        ) from None
    return context


# ----------------------------------------------------------------------------------- one connection


class Arrival(NamedTuple):
    """A message as it came in. `mid` is 0 for QoS 0, which nobody acknowledges.

    `retain`: it had been waiting for a subscriber. `dup`: it was sent before, and not acknowledged.
    """

    connection: Connection
    mid: int
    topic: str
    payload: bytes
    retain: bool
    dup: bool


class Connection:
    """One life of an MQTT connection, from CONNACK to the loss of it; it is not used again.

    A message acknowledged here after the connection is gone is a message acknowledged to nobody:
    packet identifiers belong to a connection, and so do `ack` and the set of what it still owes.
    """

    def __init__(
        self, endpoint: Endpoint, on_arrivals: Callable[[Sequence[Arrival]], None] | None = None
    ) -> None:
        """`on_arrivals` gets what came together; it must not raise: aiomqtt would hang up."""
        self.session_present = False
        self._endpoint = endpoint
        self._on_arrivals = on_arrivals
        self._unacknowledged: set[int] = set()  # 65,535 at most: the range of packet identifiers
        self._is_connecting = self._is_left = False
        self._client = aiomqtt.Client(
            endpoint.host,
            endpoint.port,
            username=endpoint.username,
            password=endpoint.password,
            identifier=endpoint.client_id,
            tls_context=tls_context(endpoint.tls) if endpoint.tls is not None else None,
            keepalive=KEEPALIVE_S,
            **_session_options(endpoint),
        )
        self._client.pending_calls_threshold = RECEIVE_MAXIMUM  # waves of alarms are no news
        self._paho: PahoClient = self._client._client
        self._paho.manual_ack_set(True)
        self._paho.on_socket_open = self._tap
        self._paho.on_connect = self._remember_session
        self._connect_socket = self._client._client_connect
        # aiomqtt has no hook there, and what its thread does must be known to have ended
        self._client._client_connect = self._connect  # type: ignore[method-assign]

    async def __aenter__(self) -> Self:
        self._loop, self._is_connecting = asyncio.get_running_loop(), True
        try:
            await self._client.__aenter__()
        except aiomqtt.MqttError as error:
            self._drop_socket()
            raise BrokerError(
                f"Cannot connect to the MQTT broker at {self._endpoint} ({error}); "
                "check that it runs, the address and the credentials"
            ) from None
        except BaseException:  # cancelled while connecting
            self._is_left = True
            if not self._is_connecting:
                self._drop_socket()
            raise
        return self

    def _connect(self) -> None:
        """On aiomqtt's thread, which goes on when who waits for it is cancelled."""
        try:
            self._connect_socket()
        finally:
            self._loop.call_soon_threadsafe(self._connect_ended)

    def _connect_ended(self) -> None:
        self._is_connecting = False
        if self._is_left:
            self._drop_socket()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(aiomqtt.MqttError):  # it is being left; that it is lost is no news
            await self._client.__aexit__(exc_type, exc, traceback)
        self._drop_socket()

    def _drop_socket(self) -> None:
        """Close what aiomqtt leaves open after a connect that failed or was cancelled."""
        self._unacknowledged.clear()  # from now on acknowledging is nobody's business
        self._paho._sock_close()

    async def lost(self) -> None:
        """Wait until the connection is lost, and say so with a BrokerError."""
        try:
            async for _ in self._client.messages:  # stays empty: messages go to _deliver
                pass
        except aiomqtt.MqttError as error:
            cause = error.__cause__ or error
            raise BrokerError(
                f"The connection to the MQTT broker at {self._endpoint} was lost ({cause})"
            ) from None

    async def subscribe(self, filters: Sequence[str], *, qos: int = 1) -> None:
        """Subscribe to all `filters`, or raise BrokerError naming those refused."""
        try:
            codes = await self._client.subscribe([(name, qos) for name in filters])
        except aiomqtt.MqttError as error:
            raise BrokerError(
                f"The MQTT broker at {self._endpoint} did not answer a subscription ({error})"
            ) from None
        refused = [
            name for name, code in zip(filters, codes, strict=True) if _granted_qos(code) != qos
        ]
        if refused:
            raise BrokerError(
                f"The MQTT broker at {self._endpoint} refused to let {self._endpoint.client_id!r} "
                f"read {', '.join(refused)} at QoS {qos}; grant it"
            )

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Publish and wait until the broker has it (QoS 1) or it is on its way (QoS 0)."""
        try:
            await self._client.publish(topic, payload, qos=qos, retain=retain)
        except aiomqtt.MqttError as error:
            raise BrokerError(
                f"Publishing to the MQTT broker at {self._endpoint} failed ({error})"
            ) from None

    async def publish_all(self, messages: Sequence[tuple[str, bytes]], *, retain: bool) -> None:
        """Publish all at QoS 1, none waiting for another: they may arrive in any order."""
        await together(*(self.publish(*each, qos=1, retain=retain) for each in messages))

    def ack(self, mids: Iterable[int]) -> None:
        """Tell the broker that these messages need not be delivered again, in one write."""
        owed = [mid for mid in mids if mid in self._unacknowledged]
        if not owed:
            return
        self._unacknowledged.difference_update(owed)
        packets = b"".join(_PUBACK.pack(MessageType.PUBACK, 2, mid) for mid in owed)
        self._paho._packet_queue(MessageType.PUBACK, packets, 0, 0)

    def _tap(self, client: PahoClient, userdata: Any, sock: Any) -> None:
        """Stand between paho and its socket; aiomqtt reads as long as something is `pending`.

        Alarms are small writes one after the other. Without TCP_NODELAY each waits until the
        broker's system has acknowledged the one before, which it puts off for up to 40 ms (RFC 896;
        RFC 1122, 4.2.3.2).
        """
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        is_v5 = self._endpoint.protocol is MqttProtocol.V5
        self._paho._sock = PublishTap(sock, self._deliver, has_properties=is_v5)
        self._client._on_socket_open(client, userdata, sock)

    def _deliver(self, published: Sequence[Published]) -> None:
        """Messages that came together, but for those that we hold: NATS repeats after ack_wait."""
        if self._on_arrivals is None:
            return
        arrivals = []
        for mid, topic, payload, retain, dup in published:
            if mid in self._unacknowledged:
                continue
            if mid:
                self._unacknowledged.add(mid)
            arrivals.append(Arrival(self, mid, _text(topic), payload, retain, dup))
        self._on_arrivals(arrivals)

    def _remember_session(
        self,
        client: PahoClient,
        userdata: Any,
        flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self.session_present = flags.session_present
        self._client._on_connect(client, userdata, flags, reason, properties)


def _text(topic: bytes) -> str:
    try:
        return topic.decode()
    except UnicodeDecodeError:
        return ""  # no such topic in any grammar: it will be counted as bad, and acknowledged


def _session_options(endpoint: Endpoint) -> dict[str, Any]:
    """The arguments of aiomqtt.Client that say the same thing to a 3.1.1 and to a 5 broker."""
    if endpoint.protocol is MqttProtocol.V311:
        return {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": not endpoint.persistent}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    properties.SessionExpiryInterval = SESSION_EXPIRY_S if endpoint.persistent else 0
    return {
        "protocol": aiomqtt.ProtocolVersion.V5,
        "clean_start": not endpoint.persistent,
        "properties": properties,
    }


def _granted_qos(code: object) -> object:
    """Of a SUBACK: paho gives a number or a ReasonCode; 0x80 and more are refusals."""
    return code.value if isinstance(code, ReasonCode) else code
