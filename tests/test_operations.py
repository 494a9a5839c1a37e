"""What a frame costs in operations, which are the same on every machine: a guard, not a benchmark.

`make bench` measures seconds. Here Python's calls and numba's allocations are counted, so that a
change that makes every frame dearer is noticed at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType

import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from pipeline import kernels
from pipeline.features import FeatureExtractor
from pipeline.model import DeviceId, Frame
from tests import signals

SECONDS = 3
# Measured 19 and 41, of a frame that ends a hop in contact: ordering, its header, its Features.
CALLS_A_FRAME = 20
CALLS_A_BATCH = 44


def frames_of(guns: int) -> Iterator[list[tuple[int, Frame]]]:
    """A frame of each gun, over and over, as features takes them."""
    f_hz = signals.steady(40.0, 1600.0, SECONDS)
    lsb = signals.percussion(f_hz, 1600.0, signals.CONTACT, current_a=1.9)
    ids = [DeviceId("clinic", f"gun-{k}") for k in range(guns)]
    for frame in signals.cut(lsb, [400], 1600.0, 40.0):
        yield [(0, replace(frame, id=id_)) for id_ in ids]


def calls(function: Callable[[], object]) -> int:
    """How many Python functions and built-ins a call of `function` calls."""
    seen = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return seen


@pytest.mark.parametrize("guns", [1, 20, 60])
def test_calls_of_python_a_frame(guns: int) -> None:
    """A frame of many guns' costs no more calls than one of few."""
    extractor = FeatureExtractor()
    batches = list(frames_of(guns))
    for batch in batches[:-1]:
        extractor.advance(batch)
    last = batches[-1]
    counted = calls(lambda: extractor.advance(last))
    print(f"{guns} guns: {counted} calls, {counted / guns:.1f} a frame")
    assert counted <= CALLS_A_BATCH + CALLS_A_FRAME * guns


def test_kernels_allocate_nothing_by_the_sample() -> None:
    """Scratch once a call, and once a hop; never more for more samples."""
    _nrt_python.memsys_enable_stats()
    counted = []
    for samples in (8, 392):
        state = signals.fresh()
        lsb = signals.percussion(signals.steady(40.0, 1600.0, 0.25), 1600.0)
        (frame,) = signals.cut(lsb[:samples], [samples], 1600.0, 40.0)
        header = np.array([signals.header(frame, -1)], kernels.FRAME)
        out = np.zeros(2, kernels.HOP)
        before = rtsys.get_allocation_stats().alloc
        assert kernels.advance(state, header, frame.samples_lsb, out) == 0
        counted.append(rtsys.get_allocation_stats().alloc - before)
    _nrt_python.memsys_disable_stats()
    print(f"allocations: {counted}")
    assert counted[0] == counted[1] > 0
