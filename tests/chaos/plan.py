"""What a seed decides: who publishes what, and what fails when. Pure.

The guns' physics is simulated once a process and shared; a seed chooses four guns with operators
of their own (an operator's exposure adds up over guns in order of arrival, which nobody promises),
spoils, doubles and swaps their frames, and draws the failures. A failure is due at a share of what
there is to publish, not at a second: a slow machine has the same run.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from devices.demo import OPERATORS, ROUTINES, demo_fleet
from devices.feed import Feed, Kind, Outgoing
from devices.network import FaultyPath, Packet
from devices.recording import START_NS
from devices.script import NO_FAULTS, NetworkFaults

FLEET_SEED = 1
SOUND_S = 2.0  # at the end nothing is held back any more for what will not come
FAULTS = NetworkFaults(duplicate=0.02, reorder=0.05, corrupt=0.02)


class Due(NamedTuple):
    """One message of a gun and the second of its own time at which it is published."""

    due_s: float
    packet: Packet
    retain: bool
    spoilt: bool
    overtakes: bool = False  # the frame that belongs before it comes next


class Event(StrEnum):
    KILL = "kill"  # the pipeline, with SIGKILL
    KILL_BROKER = "kill broker"  # and start it again
    DISK_FULL = "disk full"
    DISK_FREE = "disk free"
    CUT = "cut"  # every connection of the pipeline, and admit no new one
    MEND = "mend"
    DELAY = "delay"  # everything the pipeline sends and receives
    HURRY = "hurry"
    KILL_INFLUX = "kill influxd"
    START_INFLUX = "start influxd"


class Step(NamedTuple):
    """What happens once `share` of all messages are acknowledged, and `wait_s` have passed."""

    share: float
    event: Event
    wait_s: float


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is. `publish_s` is how long publishing takes if nothing holds it up."""

    guns: int = 4
    seconds: float = 95.0  # of the guns' time: the demo shows every main alarm in 90
    publish_s: float = 22.0
    kills: int = 6


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    size: Size
    guns: tuple[tuple[Due, ...], ...]
    steps: tuple[Step, ...]

    @property
    def messages(self) -> int:
        return sum(map(len, self.guns))

    @property
    def frames(self) -> int:
        """Different ones that can be read."""
        said = {due.packet for log in self.guns for due in log if not (due.spoilt or due.retain)}
        return len(said)

    @property
    def spoilt(self) -> int:
        """Different messages that cannot be read."""
        return len({due.packet for log in self.guns for due in log if due.spoilt})


def make_plan(seed: int, size: Size, *, kill_broker: bool) -> Plan:
    rng = random.Random(seed)
    turns = len(ROUTINES) // OPERATORS
    chosen = [rng.randrange(turns) * OPERATORS + index for index in range(size.guns)]
    guns = [
        _through_network(_said(gun, size.seconds), np.random.default_rng([seed, gun]))
        for gun in chosen
    ]
    return Plan(seed, size, tuple(map(tuple, guns)), tuple(_steps(rng, size, kill_broker)))


@cache
def _said(gun: int, seconds: float) -> Sequence[Outgoing]:
    """What a gun of the demo and its console say in `seconds`, on a network without faults."""
    feed = Feed(demo_fleet(gun + 1, FLEET_SEED)[gun], NO_FAULTS, FLEET_SEED + gun, START_NS)
    messages = (message for chunk in iter(feed.chunk, None) for message in chunk)
    first = Outgoing(0.0, Kind.SESSION, (feed.birth(),), FaultyPath(NO_FAULTS, _NO_RNG).counts)
    return [first, *takewhile(lambda each: each.due_s <= seconds, messages)]


_NO_RNG = np.random.default_rng(0)


def _through_network(said: Sequence[Outgoing], rng: np.random.Generator) -> list[Due]:
    """What arrives at the broker, and whether it was spoilt on the way."""
    path = FaultyPath(FAULTS, rng)
    sound_from_s = said[-1].due_s - SOUND_S
    out: list[Due] = []
    sound = {packet for message in said for packet in message.packets}
    for message in said:
        is_frame = message.kind is Kind.FRAME
        faulty = is_frame and message.due_s < sound_from_s
        for packet in message.packets:
            arriving = path.pass_on(packet) if faulty else [*path.flush(), packet]
            out += [
                Due(message.due_s, each, not is_frame, each not in sound, each != arriving[-1])
                for each in arriving
            ]
    return out


def _steps(rng: random.Random, size: Size, kill_broker: bool) -> list[Step]:
    kills = [
        # most at work, some while it is still beginning
        Step((k + rng.random()) / (size.kills + 1), Event.KILL, rng.uniform(0.0, 1.5))
        for k in range(size.kills)
    ]
    spans = [
        *_span(rng, Event.DISK_FULL, Event.DISK_FREE),
        *_span(rng, Event.CUT, Event.MEND),
        *_span(rng, Event.DELAY, Event.HURRY),
    ]
    brokers = [Step(rng.uniform(0.1, 0.9), Event.KILL_BROKER, 0.0)] if kill_broker else []
    engines = [
        *_span(rng, Event.KILL_INFLUX, Event.START_INFLUX, 0.05, 0.4),
        *_span(rng, Event.KILL_INFLUX, Event.START_INFLUX, 0.5, 0.85),
    ]
    return sorted([*kills, *spans, *brokers, *engines], key=lambda step: step.share)


def _span(
    rng: random.Random, begin: Event, end: Event, first: float = 0.05, last: float = 0.85
) -> tuple[Step, Step]:
    share = rng.uniform(first, last)
    return Step(share, begin, 0.0), Step(share + rng.uniform(0.01, 0.08), end, 0.0)
