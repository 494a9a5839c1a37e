"""Clinics with many guns, at a broker: each plays what one of the demo's eight was recorded to do.

    python -m benchmarks.crowd PORT GUNS RECORDING

To simulate two hundred guns takes five cores; to play them again under other names takes a tenth of
one. Most of them are used by the book; of the others somebody acknowledges and resets what is over,
but for one in six. Some rest, and a few were switched off without a word.
"""

from __future__ import annotations

import heapq
import itertools
import json
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import paho.mqtt.client as paho

from pipeline.capture import read_recording
from pipeline.model import (
    ActionKind,
    AlarmAction,
    AlarmState,
    DeviceId,
    DeviceState,
    Frame,
    SessionEvent,
)
from pipeline.wire import decode, encode
from tests import servers

DEMO: Final = 8  # guns; the first so many of a crowd play what they do
BY_THE_BOOK: Final = 4  # of them
OF_A_CLINIC: Final = 40
CLINICS: Final = ("north", "river", "south", "stadium", "west")
STAGGER_S: Final = 7.0
_ANSWERS: Final = {
    AlarmState.RTN_UNACK: ActionKind.ACK,
    AlarmState.LATCHED: ActionKind.RESET,
}

Noun: TypeAlias = "Frame | SessionEvent | DeviceState"


def gun_id(number: int) -> DeviceId:
    return DeviceId(CLINICS[number // OF_A_CLINIC % len(CLINICS)], f"gun-{number + 1:02}")


def part_of(number: int) -> int:
    """Which of the eight a gun plays."""
    return number if number < DEMO else (number % DEMO if number % 4 == 0 else BY_THE_BOOK)


def is_played(number: int) -> bool:
    return number < DEMO or number % 3 > 0


@dataclass
class Part:
    """What one of the eight said, with the seconds from the start at which it did."""

    said: list[tuple[float, Noun]]
    took_s: float


def parts_of(path: Path) -> dict[int, Part]:
    parts: dict[int, list[tuple[float, Noun]]] = {}
    began_ns = 0
    for each in read_recording(path):
        began_ns = began_ns or each.received_at_ns
        noun: Any = decode(each.topic, each.payload)
        number = int(noun.id.device.removeprefix("gun-")) - 1
        parts.setdefault(number, []).append(((each.received_at_ns - began_ns) / 1e9, noun))
    return {number: Part(said, said[-1][0] + 1.0) for number, said in parts.items()}


def play(number: int, part: Part, start_ns: int) -> Iterator[tuple[int, Noun]]:
    """For ever: what is due when, under the gun's own name and in order."""
    id_, seq = gun_id(number), itertools.count()
    for turn in itertools.count():
        turn_ns = start_ns + round(turn * part.took_s * 1e9)
        for at_s, noun in part.said:
            due_ns = turn_ns + round(at_s * 1e9)
            if isinstance(noun, Frame):
                yield due_ns, replace(noun, id=id_, seq=next(seq), t0_ns=due_ns - _length_ns(noun))
            elif isinstance(noun, SessionEvent):
                client = noun.client and f"c-{1000 + (int(noun.client[2:]) + 37 * number) % 9000}"
                session = f"{id_.device}-{turn}-{noun.session_id}"
                yield due_ns, replace(noun, id=id_, t_ns=due_ns, session_id=session, client=client)
            elif turn == 0:
                yield due_ns, replace(noun, id=id_, t_ns=due_ns, serial=f"{noun.serial}{number}")


def _length_ns(frame: Frame) -> int:
    return round(len(frame.samples_lsb) / frame.rate_hz * 1e9)


def resting(number: int, part: Part, now_ns: int) -> Iterator[Noun]:
    """Born, and in nobody's hands; one in seven has said its last word."""
    birth = next(noun for _, noun in part.said if isinstance(noun, DeviceState))
    yield replace(birth, id=gun_id(number), t_ns=now_ns, serial=f"{birth.serial}{number}")
    if number % 7 == 0:
        yield DeviceState(gun_id(number), online=False, boot_id=birth.boot_id)


def main(port: int, guns: int, recording: Path) -> None:
    parts = parts_of(recording)
    with servers.client(port, "crowd") as client:
        client.on_message = _answer
        client.subscribe("massage/v1/+/+/alarm/+", qos=1)
        now_ns = time.time_ns()
        plays = []
        for number in range(guns):
            part = parts[part_of(number)]
            if is_played(number):
                start_ns = now_ns + round(STAGGER_S * 1e9 * (number // DEMO % DEMO))
                plays.append(play(number, part, start_ns))
            else:
                for noun in resting(number, part, now_ns):
                    _publish(client, noun)
        for due_ns, noun in heapq.merge(*plays, key=lambda each: each[0]):
            time.sleep(max(0.0, (due_ns - time.time_ns()) / 1e9))
            _publish(client, noun)


def _publish(client: paho.Client, noun: Noun | AlarmAction) -> None:
    client.publish(*encode(noun), qos=1, retain=isinstance(noun, DeviceState | SessionEvent))


def _answer(client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
    """Whoever holds the gun has seen to it; with one alarm in six nobody has."""
    said = json.loads(message.payload or "{}")
    action = _ANSWERS.get(said.get("state"))
    if action is None or zlib.crc32(said["alarm_id"].encode()) % 6 == 0:
        return
    _, _, clinic, device, _, rule = message.topic.split("/")
    by, now_ns = said.get("operator") or "op-1", time.time_ns()
    _publish(client, AlarmAction(DeviceId(clinic, device), rule, action, by, now_ns))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
