"""The demo clinic: who treats whom with which gun, so that there is something to see at once.

Pure and seeded. The first gun alone raises and ends each of OVERDWELL, EXCESS_PRESSURE and
TENDON_PROXIMITY within 90 s; the others spread them, add good practice, sites never to be treated,
a gun left on a table, and repeat for as long as the demo runs. Sites are named as the console names
them; a segment without a site is between sessions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from devices.feed import Booking, FleetGun
from devices.profile import load_profiles
from devices.recording import Player
from devices.script import Motion, Script, Segment
from devices.tissue import TissueKind, draw_client
from devices.unit import draw_operator, draw_unit
from pipeline.model import DeviceId, SessionContext

CLINIC = "demo"
OPERATORS = 4
DEMO_HEAD = "ball"  # every model has one; foam would hide what the demo is to show
_MODALITIES = ("warm_up", "deep_tissue", "recovery")


def _move(seconds: float, speed: int = 1) -> Segment:
    return Segment(seconds, Motion.MOVE, speed=speed)


def _glide(seconds: float, force_n: float = 28.0, speed: int = 1) -> Segment:
    return Segment(seconds, Motion.GLIDE, force_n, speed=speed)


def _hold(seconds: float, force_n: float = 28.0, speed: int = 1) -> Segment:
    return Segment(seconds, Motion.HOLD, force_n, speed=speed)


def _on(tissue: TissueKind, seconds: float, force_n: float = 24.0) -> Segment:
    return Segment(seconds, Motion.GLIDE, force_n, tissue)


def _at(site: str, *segments: Segment) -> tuple[Segment, ...]:
    return tuple(replace(segment, site=site) for segment in segments)


_REST = Segment(6.0, Motion.MOVE, speed=None)  # between sessions, motor off

_EVERYTHING = (
    *_at("calf_left", _move(3.0), _glide(5.0), _hold(34.0), _move(5.0)),
    *_at("quadriceps_left", _glide(4.0), _hold(6.0, 80.0), _glide(4.0), _move(4.0)),
    *_at("hamstrings_left", _glide(4.0), _on(TissueKind.TENDON, 6.0), _glide(5.0), _move(5.0)),
    *_at("gluteals_left", _glide(16.0), _move(3.0)),
    _REST,
)
_PRESSING = (
    *_at("quadriceps_right", _move(3.0), _glide(9.0), _hold(7.0, 75.0), _glide(8.0), _move(3.0)),
    *_at("gluteals_right", _glide(12.0, 35.0), Segment(5.0, Motion.GLIDE, 110.0), _glide(10.0)),
    *_at("hamstrings_right", _move(4.0), _glide(15.0), _move(3.0)),
    _REST,
)
_ON_TENDONS = (
    *_at("calf_right", _move(3.0), _glide(10.0), _on(TissueKind.TENDON, 5.0), _glide(8.0)),
    *_at("shin_right", _move(4.0), _glide(6.0, 18.0), _on(TissueKind.BONE, 5.0, 20.0), _move(4.0)),
    *_at("forearm_right", _glide(10.0, 18.0), _on(TissueKind.TENDON, 0.6, 18.0), _glide(8.0, 18.0)),
    *_at("forearm_right", _move(5.0)),
    _REST,
)
_BY_THE_BOOK = (
    *_at("upper_back_left", _move(3.0, 0), _glide(16.0, speed=0), _move(3.0)),
    *_at("lats_left", _glide(16.0), _move(3.0)),
    *_at("deltoid_left", _glide(14.0, 24.0), _move(3.0)),
    *_at("pectoral_left", _glide(14.0, 24.0), _move(4.0)),
    _REST,
)
_STAYING = (
    *_at("quadriceps_left", _move(4.0), _glide(14.0), _hold(36.0, 32.0), _move(5.0)),
    *_at("calf_left", Segment(34.0, Motion.CIRCLE, 26.0, radius_cm=1.6), _move(5.0)),
    *_at("hamstrings_left", _glide(16.0), _move(3.0)),
    _REST,
)
_TOO_MUCH_FOR_THE_ARM = (
    *_at("forearm_left", _move(3.0, 0), _glide(8.0, 16.0), _hold(6.0, 42.0), _glide(8.0, 16.0)),
    *_at("upper_trapezius_left", _move(4.0), _glide(12.0, 18.0), _hold(23.0, 18.0), _move(4.0)),
    *_at("neck_extensors", _glide(9.0, 14.0, 0), _move(4.0)),
    _REST,
)
_NO_GO = (
    *_at("calf_left", _move(3.0), _glide(16.0), _move(3.0)),
    *_at("popliteal_fossa_left", _glide(4.0, 16.0), _move(4.0)),
    *_at("achilles_left", _on(TissueKind.TENDON, 5.0, 20.0), _move(4.0)),
    *_at("hamstrings_left", _glide(18.0), _move(4.0)),
    _REST,
)
_LEFT_RUNNING = (
    *_at("gluteals_right", _move(3.0), _glide(15.0, 34.0), _move(2.0)),
    Segment(20.0, Motion.LIE),
    Segment(12.0, Motion.WALK),
    *_at("calf_right", _move(3.0), _glide(10.0), _hold(34.0), _move(5.0)),
    _REST,
)

ROUTINES: tuple[tuple[str, tuple[Segment, ...]], ...] = (
    ("everything", _EVERYTHING),
    ("pressing", _PRESSING),
    ("on_tendons", _ON_TENDONS),
    ("staying", _STAYING),
    ("by_the_book", _BY_THE_BOOK),
    ("too_much_for_the_arm", _TOO_MUCH_FOR_THE_ARM),
    ("no_go", _NO_GO),
    ("left_running", _LEFT_RUNNING),
)


def demo_fleet(n: int, seed: int) -> list[FleetGun]:
    """`n` guns of the demo clinic; routines and models go round, later rounds begin staggered."""
    if n < 1:
        raise ValueError(f"a demo fleet of {n} guns shows nothing; ask for 1 or more")
    profiles = list(load_profiles().values())
    guns = []
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        name, segments = ROUTINES[index % len(ROUTINES)]
        turn = index // len(ROUTINES)
        waiting = (Segment(5.0 * turn, Motion.MOVE, speed=None),) if turn else ()
        profile = profiles[(index + 3 * turn) % len(profiles)]
        player = Player(
            DeviceId(CLINIC, f"gun-{index + 1:02d}"),
            draw_unit(profile, rng, DEMO_HEAD),
            draw_operator(rng),
            draw_client(rng),
            boot_id=int(rng.integers(1, 2**31)),
        )
        script = Script(name, f"demo routine {name}", waiting + segments)
        guns.append(FleetGun(player, script, _bookings(index, rng)))
    return guns


def _bookings(index: int, rng: np.random.Generator) -> tuple[Booking, ...]:
    """Three clients in turn, treated by the operator of this gun."""
    return tuple(
        Booking(
            operator=f"op-{index % OPERATORS + 1}",
            client=f"c-{int(rng.integers(1000, 10000))}",
            avoid=("achilles_left", "achilles_right"),
            context=SessionContext(
                hours_since_hard_run=float(rng.integers(1, 72)),
                hours_to_race=float(rng.integers(12, 240)),
                modality=_MODALITIES[int(rng.integers(len(_MODALITIES)))],
            ),
        )
        for _ in range(3)
    )
