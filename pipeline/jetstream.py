"""A NATS connection and the JetStream requests of it that nats-py has no words for.

Nothing else knows nats-py. Requests to `$JS.API` are JSON as the server documents it, because the
fields that make a stream source lose nothing (nats-server 2.14) are not in the client's classes.
What a consumer delivers is taken off the bytes before the client makes a message, a header table
and a queue's entry of each.
`JetStream` is one life of a connection: it does not reconnect, `link` does. Knows no topic.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias
from urllib.parse import unquote, urlsplit

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from pipeline.link import BrokerError
from pipeline.mqtt import ANONYMOUS, Credentials, tls_context

NATS_PORTS: Final = {"nats": 4222, "tls": 4222}  # IANA; tls: the same port, encrypted
# Engineering choices: a server that does not answer is noticed in 10 s; requests are answered in
# milliseconds, or in seconds by one that recovers a large store.
PING_S: Final = 5
PINGS_UNANSWERED_MAX: Final = 2
CONNECT_S_MAX: Final = 10
ANSWER_S_MAX: Final = 5.0
CLOSE_S_MAX: Final = 1.0

JsonObject: TypeAlias = dict[str, Any]


class RequestError(BrokerError):
    """What JetStream answered to a request that it refused; `code` is its own, 0 without one."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class NatsEndpoint:
    """Where a nats-server is, and as whom to speak to it."""

    scheme: str
    address: str
    client_id: str
    credentials: Credentials

    def __str__(self) -> str:
        return self.address


def parse_nats_endpoint(
    url: str, *, client_id: str, credentials: Credentials = ANONYMOUS
) -> NatsEndpoint:
    """The endpoint of `nats://[user[:password]@]host[:port]`; `tls://` encrypts. BrokerError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BrokerError(f"The NATS URL is not valid ({error}); write nats://host:port") from None
    if parts.scheme not in NATS_PORTS or not host or parts.path.strip("/") or parts.query:
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise BrokerError(f"{shown!r} is no NATS URL; write nats://host:port or tls://host:port")
    if parts.username:
        password = unquote(parts.password) if parts.password else credentials.password
        credentials = Credentials(
            unquote(parts.username),
            password,
            credentials.ca_file,
            credentials.cert_file,
            credentials.key_file,
        )
    shown_host = f"[{host}]" if ":" in host else host
    address = f"{shown_host}:{port or NATS_PORTS[parts.scheme]}"
    return NatsEndpoint(parts.scheme, address, client_id, credentials)


class Delivered(NamedTuple):
    """A message of a stream; `reply` is where to acknowledge it, and says which it is."""

    subject: str
    reply: str
    data: bytes


Status: TypeAlias = dict[str, str]
"""The headers of what a server says of a request: `Status`, `Description` and others."""


class _Parser(Parser):
    """nats-py's, which sees all but the messages that are delivered to one subscription."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._sid = b""
        self._take: Callable[[Sequence[Delivered]], Awaitable[None]] | None = None

    def divert(self, sid: int, take: Callable[[Sequence[Delivered]], Awaitable[None]]) -> None:
        """What comes with a reply address to the subscription `sid` goes to `take`."""
        self._sid, self._take = str(sid).encode(), take

    async def parse(self, data: bytes = b"") -> None:
        if self._take is None or self.state != AWAITING_CONTROL_LINE:
            await super().parse(data)
            return
        self.buf.extend(data)
        while self.buf:
            await self._take(self._delivered())
            length = self._operation_bytes()
            if length is None:
                return  # not whole yet
            rest = self.buf[length:]
            del self.buf[length:]
            await super().parse()
            if self.buf:
                self.buf.extend(rest)
                return  # nothing that we know: the client waits for more of it, too
            self.buf = rest

    def _delivered(self) -> list[Delivered]:
        """Take whole messages from the buffer up to anything else."""
        buf, at, out = self.buf, 0, []
        while (head_end := buf.find(b"\r\n", at)) > 0:
            head = bytes(buf[at:head_end]).split(b" ")
            # MSG subject sid reply bytes, or HMSG with the headers' bytes before all bytes
            if not (len(head) == 5 + (head[0] == b"HMSG") and head[2] == self._sid):
                break
            begin = head_end + 2
            end = begin + int(head[-1])
            if len(buf) < end + 2:
                break
            if len(head) > 5:
                begin += int(head[4])
            out.append(Delivered(head[1].decode(), head[3].decode(), bytes(buf[begin:end])))
            at = end + 2
        del buf[:at]
        return out

    def _operation_bytes(self) -> int | None:
        """How long the first operation of the buffer is; None while it is not all there."""
        head_end = self.buf.find(b"\r\n")
        if head_end < 0:
            return None
        length = head_end + 2
        if self.buf.startswith((b"MSG ", b"HMSG ")):
            length += int(self.buf[:head_end].rsplit(b" ", 1)[1]) + 2
        return length if length <= len(self.buf) else None


class JetStream:
    """One life of a NATS connection, from CONNECT to the loss of it; it is not used again."""

    def __init__(self, endpoint: NatsEndpoint) -> None:
        self._endpoint = endpoint
        self._client = Client()
        self._parser = _Parser(self._client)
        self._client._ps = self._parser
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        endpoint = self._endpoint
        tls = tls_context(endpoint.credentials) if endpoint.scheme == "tls" else None
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await self._client.connect(
                    f"{endpoint.scheme}://{endpoint.address}",
                    name=endpoint.client_id,
                    user=endpoint.credentials.username,
                    password=endpoint.credentials.password,
                    tls=tls,
                    allow_reconnect=False,
                    connect_timeout=CONNECT_S_MAX,
                    ping_interval=PING_S,
                    max_outstanding_pings=PINGS_UNANSWERED_MAX,
                    error_cb=self._on_error,
                    closed_cb=self._on_closed,
                )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            await self._close()
            raise BrokerError(
                f"Cannot connect to nats-server at {endpoint} ({str(error) or 'no answer'}); "
                "check that it runs, the address and the credentials"
            ) from None
        except BaseException:  # cancelled while connecting
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        """What was published, the last acknowledgement above all, is sent before."""
        with suppress(nats.errors.Error, OSError, TimeoutError, asyncio.InvalidStateError):
            async with asyncio.timeout(CLOSE_S_MAX):
                if self._client.is_connected:
                    await self._client.flush()
                await self._client.close()

    async def lost(self) -> None:
        """Wait until the connection is lost, and say so with a BrokerError."""
        why = await asyncio.shield(self._lost)
        raise BrokerError(f"The connection to nats-server at {self._endpoint} was lost ({why})")

    def fail(self, why: str) -> None:
        """Give the connection up: it is of no use any more."""
        if not self._lost.done():
            self._lost.set_result(why)

    async def _on_error(self, error: Exception) -> None:
        self.fail(str(error) or type(error).__name__)

    async def _on_closed(self) -> None:
        self.fail("it was closed")

    # Requests.

    async def ask(self, api: str, request: JsonObject | None = None) -> JsonObject:
        """The answer of `$JS.API.{api}`. Raises RequestError when it is a refusal."""
        body = b"" if request is None else json.dumps(request).encode()
        try:
            message = await self._client.request(f"$JS.API.{api}", body, timeout=ANSWER_S_MAX)
        except nats.errors.NoRespondersError:
            raise RequestError(
                f"nats-server at {self._endpoint} has no JetStream for this user; "
                "enable it in its configuration",
                0,
            ) from None
        except (nats.errors.Error, OSError) as error:
            raise self._unanswered(api, error) from None
        answer: JsonObject = json.loads(message.data)
        if "error" in answer:
            refusal = answer["error"]
            raise RequestError(
                f"nats-server at {self._endpoint} refused {api} "
                f"({refusal.get('description', 'without a reason')})",
                refusal.get("err_code", 0),
            )
        return answer

    async def ask_many(self, api: str, request: JsonObject) -> list[Msg]:
        """All messages that answer `$JS.API.{api}`; the last has a status instead of content."""
        answers: list[Msg] = []
        try:
            inbox = self._client.new_inbox()
            subscription = await self._client.subscribe(inbox)
            try:
                body = json.dumps(request).encode()
                await self._client.publish(f"$JS.API.{api}", body, reply=inbox)
                while not answers or "Status" not in (answers[-1].headers or {}):
                    answers.append(await subscription.next_msg(timeout=ANSWER_S_MAX))
            finally:
                await subscription.unsubscribe()
        except (nats.errors.Error, OSError) as error:
            raise self._unanswered(api, error) from None
        return answers

    def _unanswered(self, api: str, error: Exception) -> BrokerError:
        why = str(error) or type(error).__name__
        return BrokerError(f"nats-server at {self._endpoint} did not answer {api} ({why})")

    async def subscribe(
        self,
        take: Callable[[Sequence[Delivered]], Awaitable[None]],
        hear: Callable[[Status], None],
    ) -> str:
        """An address for what a consumer delivers: messages to `take`, all else to `hear`.

        Neither may fail.
        """
        inbox = self._client.new_inbox()

        async def status(message: Msg) -> None:
            hear(message.headers or {})

        subscription = await self._client.subscribe(inbox, cb=status)
        self._parser.divert(subscription._id, take)
        return inbox

    async def tell(self, subject: str, body: bytes = b"", reply: str = "") -> None:
        """Publish; it is on its way. Nothing happens on a connection that is lost."""
        with suppress(nats.errors.Error, OSError):
            await self._client.publish(subject, body, reply=reply)

    def __str__(self) -> str:
        return f"nats-server at {self._endpoint}"

    @property
    def server_version(self) -> tuple[int, int]:
        """Major and minor."""
        version = self._client.connected_server_version
        return version.major, version.minor

    @property
    def payload_bytes_max(self) -> int:
        """The largest payload that this server lets through."""
        return self._client.max_payload
