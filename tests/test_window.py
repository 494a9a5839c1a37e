"""A broker's window that is too small is told of, and a small fleet is not taken for one."""

from __future__ import annotations

import random

import pytest

from pipeline.app.window import Window

TURN_S = 0.1  # as the flow looks at it
STALLED_MESSAGES, STALLED_S, CHECKPOINT_S = 16, 0.1, 1.0  # as the keeper has them


def told(arrivals_s: list[float], window: int, seconds: float = 120.0) -> int:
    """What a keeper hears of a broker that lets out `window` at a time of what arrives there."""
    watch = Window()
    at_broker, out, quiet_from_s, due_s, now_s = sorted(arrivals_s), 0, 0.0, 0.0, 0.0
    while now_s < seconds:
        now_s += TURN_S / 4
        came = 0
        while at_broker and at_broker[0] <= now_s and out < window:
            at_broker.pop(0)
            out += 1
            came += 1
        if came:
            quiet_from_s = now_s
            full_at = watch.took(now_s)
            if full_at:
                return full_at
            continue
        quiet_s = now_s - quiet_from_s
        stalled = out >= STALLED_MESSAGES and quiet_s >= STALLED_S
        if stalled and watch.is_tried(out, quiet_s):
            continue
        if stalled or now_s >= due_s:
            if stalled:
                watch.stalled(out)
            out, due_s = 0, now_s + CHECKPOINT_S
            watch.let_go(now_s)
    return 0


def fleet(guns: int, frames_a_second: float, seed: int, *, until_s: float = 120.0) -> list[float]:
    """When frames arrive: each gun at its own phase, or for seed 0 all at once."""
    rng = random.Random(seed)
    phases = [rng.random() if seed else 0.0 for _ in range(guns)]
    count = int(until_s * frames_a_second)
    return [(k + phase) / frames_a_second for phase in phases for k in range(count)]


@pytest.mark.parametrize("window", [20, 100])
@pytest.mark.parametrize("seed", range(3))
def test_a_window_that_holds_messages_back_is_told(window: int, seed: int) -> None:
    assert told(fleet(200, 4.0, seed), window) == window


@pytest.mark.parametrize("rate", [1.0, 4.0, 20.0])
@pytest.mark.parametrize("guns", [1, 4, 5, 16, 17, 40])
@pytest.mark.parametrize("seed", range(4))
def test_a_fleet_within_the_window_is_not(guns: int, rate: float, seed: int) -> None:
    assert told(fleet(guns, rate, seed), 13_000) == 0


@pytest.mark.parametrize("guns", [4, 16, 17])
def test_a_fleet_that_is_switched_off_is_not_either(guns: int) -> None:
    for k in range(40):  # whenever that is
        assert told(fleet(guns, 4.0, 0, until_s=10.0 + k / 7), 13_000) == 0
