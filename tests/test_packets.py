"""PUBLISH packets off the bytes of a connection, whole or in pieces: nothing lost, nothing new."""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pipeline.packets import READ_BYTES, Published, PublishTap


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, broker = socket.socketpair()
    with ours, broker:
        ours.setblocking(False)
        yield ours, broker


def _varint(value: int) -> bytes:
    out = b""
    while True:
        value, low = value >> 7, value & 127
        out += bytes((low | (128 if value else 0),))
        if not value:
            return out


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + _varint(len(body)) + body


def _publish(message: Published, *, properties: bytes | None = None) -> bytes:
    qos = 1 if message.mid else 0
    body = len(message.topic).to_bytes(2, "big") + message.topic
    body += message.mid.to_bytes(2, "big") if qos else b""
    body += b"" if properties is None else _varint(len(properties)) + properties
    return _packet(0x30 | message.dup << 3 | qos << 1 | message.retain, body + message.payload)


def _read(tap: PublishTap) -> bytes:
    """As an event loop, aiomqtt and paho do: while there is something, a few bytes at a time."""
    out = b""
    while tap.pending() or select.select([tap], [], [], 0)[0]:
        with suppress(BlockingIOError):
            out += tap.recv(3)
    return out


@pytest.mark.parametrize("has_properties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_any_pieces_give_the_same(
    wire: tuple[socket.socket, socket.socket], seed: int, has_properties: bool
) -> None:
    ours, broker = wire
    print(f"{seed=}")
    rng = random.Random(seed)
    sent: list[Published] = []
    own, stream = b"", b""
    for _ in range(200):
        if rng.random() < 0.3:  # a SUBACK or a PINGRESP
            packet = _packet(0x90, rng.randbytes(3)) if rng.random() < 0.5 else b"\xd0\x00"
            own += packet
        else:
            payload = rng.randbytes(rng.choice((0, 1, 100, 3_000, 20_000)))
            mid, retain = rng.choice((0, 1, 65_535)), rng.random() < 0.5
            message = Published(mid, b"a/b", payload, retain, mid > 0 and rng.random() < 0.5)
            sent.append(message)
            properties = rng.randbytes(rng.choice((0, 5, 200))) if has_properties else None
            packet = _publish(message, properties=properties)
        stream += packet
    heard: list[Published] = []
    tap = PublishTap(ours, heard.extend, has_properties=has_properties)
    got = b""
    while stream:
        size = rng.choice((1, 2, 7, 5_000, 60_000))
        broker.sendall(stream[:size])
        stream = stream[size:]
        got += _read(tap)
    assert heard == sent
    assert got == own


def test_a_packet_larger_than_the_buffer(wire: tuple[socket.socket, socket.socket]) -> None:
    ours, broker = wire
    broker.setblocking(False)
    message = Published(7, b"a", bytes(range(256)) * (READ_BYTES // 128), False, False)
    stream = memoryview(_publish(message) + b"\xd0\x00")
    heard: list[Published] = []
    tap = PublishTap(ours, heard.extend, has_properties=False)
    got = b""
    while stream:
        stream = stream[broker.send(stream[:50_000]) :]
        got += _read(tap)
    assert heard == [message]
    assert got == b"\xd0\x00"


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"\x32\x05\x00\x09abc", id="a topic longer than the packet"),
        pytest.param(b"\x32\x04\x00\x01a\x00", id="half a packet identifier"),
        pytest.param(b"\x32\x05\x00\x01a\x00\x00", id="packet identifier 0"),
        pytest.param(b"\x34\x05\x00\x01a\x00\x01", id="QoS 2"),
        pytest.param(b"\x32\x01\x00", id="half a length"),
        pytest.param(b"\x32\xff\xff\xff\xff\xff", id="a length of five bytes"),
    ],
)
def test_what_does_not_add_up_is_the_clients(
    wire: tuple[socket.socket, socket.socket], packet: bytes
) -> None:
    ours, broker = wire
    heard: list[Published] = []
    tap = PublishTap(ours, heard.extend, has_properties=False)
    broker.sendall(packet)
    assert _read(tap) == packet
    assert heard == []


def test_what_came_before_the_end_is_handed_over(wire: tuple[socket.socket, socket.socket]) -> None:
    ours, broker = wire
    message = Published(1, b"a", b"x", False, False)
    heard: list[Published] = []
    tap = PublishTap(ours, heard.extend, has_properties=False)
    broker.sendall(_publish(message))
    broker.close()
    with pytest.raises(BlockingIOError):
        tap.recv(1)
    assert heard == [message]
    assert tap.recv(1) == b""


def test_a_flood_lets_others_have_their_turn(wire: tuple[socket.socket, socket.socket]) -> None:
    """Each call reads once, however much there is."""
    ours, broker = wire
    message = Published(1, b"a", bytes(10_000), False, False)
    heard: list[Published] = []
    tap = PublishTap(ours, heard.extend, has_properties=False)
    broker.sendall(_publish(message))
    broker.setblocking(False)
    for _ in range(20):
        before = len(heard)
        with pytest.raises(BlockingIOError):
            tap.recv(1)
        assert len(heard) - before <= READ_BYTES // 10_000
        assert not tap.pending()
        broker.send(_publish(message))
