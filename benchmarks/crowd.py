"""Clinics with many guns, at a broker: each plays what one of the demo's eight was recorded to do.

    python -m benchmarks.crowd PORT GUNS RECORDING

To simulate two hundred guns takes five cores; to play them again under other names takes a tenth of
one. Two in three rest, and a few of these were switched off without a word. Most of the others are
used by the book; whoever holds one acknowledges and resets what is over, but for one alarm in six.
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
from pipeline.ordering import duration_ns
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
    return number if number < DEMO else (number // 3 % DEMO if number % 4 == 0 else BY_THE_BOOK)


def is_played(number: int) -> bool:
    return number < DEMO or number % 3 == 0


@dataclass
class Part:
    """What one of the eight said: when it was due, on the clock of its frames."""

    said: list[tuple[int, Noun]]
    start_ns: int  # of the first sample
    took_ns: int  # to the end of the last


def parts_of(path: Path) -> dict[int, Part]:
    said: dict[int, list[tuple[int, Noun]]] = {}
    for each in read_recording(path):
        noun: Any = decode(each.topic, each.payload)
        number = int(noun.id.device.removeprefix("gun-")) - 1
        said.setdefault(number, []).append((each.received_at_ns, noun))
    return {number: _part(lines) for number, lines in said.items()}


def _part(said: list[tuple[int, Noun]]) -> Part:
    frames = [noun for _, noun in said if isinstance(noun, Frame)]
    last = frames[-1]
    end_ns = last.t0_ns + duration_ns(last)
    return Part(said, frames[0].t0_ns, end_ns - frames[0].t0_ns)


def play(number: int, part: Part, start_ns: int) -> Iterator[tuple[int, Noun]]:
    """For ever: what is due when, under the gun's own name and in order."""
    id_, seq = gun_id(number), itertools.count()
    for turn in itertools.count():
        later_ns = start_ns + turn * part.took_ns - part.start_ns
        for due_ns, noun in part.said:
            now_ns = due_ns + later_ns
            if isinstance(noun, Frame):
                frame = replace(noun, id=id_, seq=next(seq), t0_ns=noun.t0_ns + later_ns)
                yield now_ns, frame
            elif isinstance(noun, SessionEvent):
                own = {"id": id_, "t_ns": now_ns, **_people(noun, number)}
                own["session_id"] = f"{noun.session_id.split('-')[-1]}-{turn}-{start_ns // 10**9}"
                yield now_ns, replace(noun, **own)
            elif turn == 0:
                yield now_ns, replace(noun, id=id_, t_ns=now_ns, serial=f"{noun.serial}{number}")


def _people(event: SessionEvent, number: int) -> dict[str, str]:
    """Others than the demo's: a day is too short for one operator to treat with twenty guns."""
    if number < DEMO or event.client is None:
        return {}
    client = 1000 + (int(event.client.removeprefix("c-")) + 37 * number) % 9000
    return {"operator": f"op-{number}", "client": f"c-{client}"}


def resting(number: int, part: Part, now_ns: int) -> Iterator[Noun]:
    """Born, and in nobody's hands; one in thirteen has said its last word."""
    birth = next(noun for _, noun in part.said if isinstance(noun, DeviceState))
    yield replace(birth, id=gun_id(number), t_ns=now_ns, serial=f"{birth.serial}{number}")
    if number % 13 == 0:
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
                start_ns = now_ns + round(STAGGER_S * 1e9 * (number // DEMO * 5 % 13))
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
