"""PUBLISH packets taken off a connection's bytes before the client library sees them.

paho reads a message by four calls to the system and some fifty of Python, and is woken for each
anew. A `PublishTap` stands where paho has its socket: it reads 256 KB at once, hands over all whole
PUBLISH packets of QoS 0 and 1 in one call, and gives paho every other packet byte for byte, so
that connecting, TLS, subscribing, keep-alive and publishing stay the library's. A packet that does
not add up is the library's, too: it knows how to hang up. Knows MQTT 3.1.1 and 5, no topic, no
client.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, NamedTuple

READ_BYTES: Final = 256 * 1024  # engineering choice: some 80 frames, and what a socket holds
_PUBLISH: Final = 3
_LENGTH_BYTES_MAX: Final = 4  # MQTT 5, 1.5.5


class Published(NamedTuple):
    """A PUBLISH as it came; `mid` is 0 at QoS 0. `dup`: it is sent again."""

    mid: int
    topic: bytes
    payload: bytes
    retain: bool
    dup: bool


class PublishTap:
    """What a client takes for its socket: `recv` and `pending` as an SSLSocket has them."""

    def __init__(
        self,
        sock: socket.socket | ssl.SSLSocket,
        deliver: Callable[[list[Published]], None],
        *,
        has_properties: bool,
    ) -> None:
        """`has_properties`: it is MQTT 5."""
        self._socket = sock
        self._deliver = deliver
        self._has_properties = has_properties
        self._buffer = bytearray(READ_BYTES)
        self._view = memoryview(self._buffer)
        self._at, self._end = 0, 0  # of what has been read and not been taken
        self._client_bytes = 0  # of the packet that is the client's, what it has not taken
        self._starved = False  # the last `recv` found nothing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)  # send, fileno, close and whatever else

    def pending(self) -> int:
        """Bytes for which no event will come any more; after a `recv` in vain, TLS's alone."""
        if self._starved or self._at == self._end:
            self._starved = False
            return self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0
        return self._end - self._at

    def recv(self, count: int) -> bytes:
        """Bytes of the client's own packets. BlockingIOError where there are none, b"" at the end.

        Reads from the socket once at most, so that others on the event loop get their turn.
        """
        if not self._client_bytes:
            self._take()
        if not self._client_bytes or self._at == self._end:
            if not self._read():
                return b""
            if not self._client_bytes:
                self._take()
            if not self._client_bytes:
                self._starved = True
                raise BlockingIOError
        end = self._at + min(count, self._client_bytes, self._end - self._at)
        data = bytes(self._view[self._at : end])
        self._client_bytes -= len(data)
        self._at = end
        return data

    def _read(self) -> int:
        """Fill the buffer behind what has not been taken; how much came."""
        waiting = self._end - self._at
        needed = self._length_at(self._at)[0] if not self._client_bytes else 0
        if needed > len(self._buffer):
            grown = bytearray(needed)
            grown[:waiting] = self._view[self._at : self._end]
            self._buffer, self._view = grown, memoryview(grown)
        elif self._at:
            self._buffer[:waiting] = self._buffer[self._at : self._end]
        self._at, self._end = 0, waiting
        try:
            count = self._socket.recv_into(self._view[waiting:])
        except (BlockingIOError, ssl.SSLWantReadError):
            self._starved = True
            raise
        self._end += count
        return count

    def _take(self) -> None:
        """Hand over PUBLISH packets up to one that is the client's, or to one that is not whole."""
        published: list[Published] = []
        while self._at < self._end:
            length, body = self._length_at(self._at)
            if not length:
                break
            if self._buffer[self._at] >> 4 == _PUBLISH:
                if self._at + length > self._end:
                    break
                packet = self._parse(body, self._at + length)
                if packet is not None:
                    published.append(packet)
                    self._at += length
                    continue
            self._client_bytes = length
            break
        if published:
            self._deliver(published)

    def _parse(self, at: int, end: int) -> Published | None:
        """The PUBLISH whose variable header begins at `at`; None if it is for the client to see."""
        buffer = self._buffer
        flags = buffer[self._at]
        topic_at = at + 2
        at = topic_at + (buffer[at] << 8 | buffer[at + 1]) if topic_at <= end else end + 1
        topic_end, mid, qos = at, 0, flags >> 1 & 3
        if qos == 1:
            at += 2
            mid = buffer[at - 2] << 8 | buffer[at - 1] if at <= end else 0
        if self._has_properties:
            length, body = self._varint(at, end)
            at = body + length if body else end + 1
        if qos > 1 or at > end or (qos and not mid):
            return None
        topic, payload = bytes(self._view[topic_at:topic_end]), bytes(self._view[at:end])
        return Published(mid, topic, payload, bool(flags & 1), bool(flags & 8))

    def _length_at(self, at: int) -> tuple[int, int]:
        """Bytes of the packet that begins at `at`, and where its body does; 0 if not yet known."""
        length, body = self._varint(at + 1, self._end)
        return (body - at + length, body) if body else (0, 0)

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """A variable byte integer and where it ends; 0 while it is not whole.

        One that is too long ends where that shows: what follows is nonsense, for the client to see.
        """
        value = 0
        for n in range(_LENGTH_BYTES_MAX):
            if at + n >= end:
                return 0, 0
            byte = self._buffer[at + n]
            value |= (byte & 127) << (7 * n)
            if byte < 128:
                return value, at + n + 1
        return 0, at + _LENGTH_BYTES_MAX + 1
