"""pipeline.kernels.advance in C: compiled here with gcc, and checked against the kernels.

For `make bench` alone: the practical limit of the same arithmetic on this machine.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.table import UnavailableError
from pipeline import kernels

SOURCE = Path(__file__).parent / "c" / "advance.c"
FLAGS = ("-O3", "-march=native")
# gcc contracts a·b + c into one rounding, numba does not: they are the same to so much, the blocks,
# sums of four bytes of up to 1e5 least significant bits, to a hundredth of one.
RELATIVE, ABSOLUTE, BLOCKS_LSB = 1e-7, 1e-9, 1e-2


@cache
def library() -> ctypes.CDLL:
    """The compiled twin, its structs as long as the kernels' records."""
    gcc = shutil.which("gcc")
    if gcc is None:
        raise UnavailableError("there is no gcc")
    with tempfile.TemporaryDirectory() as directory:
        built = f"{directory}/advance.so"
        command = [gcc, *FLAGS, "-shared", "-fPIC", str(SOURCE), "-o", built, "-lm"]
        subprocess.run(command, check=True)  # noqa: S603
        loaded = ctypes.CDLL(built)
    dtypes = (kernels.SIGNAL, kernels.FRAME, kernels.HOP)
    assert [loaded.sizes(k) for k in range(3)] == [d.itemsize for d in dtypes]  # noqa: S101
    loaded.advance.restype = ctypes.c_int64
    return loaded


def advance(
    state: NDArray[np.void],
    frames: NDArray[np.void],
    samples: NDArray[np.int16],
    out: NDArray[np.void],
) -> int:
    """As kernels.advance, for frames without gaps at one rate and commanded speed."""
    pointers = (ctypes.c_void_p(array.ctypes.data) for array in (samples, out))
    written: int = library().advance(
        ctypes.c_void_p(state.ctypes.data),
        ctypes.c_void_p(frames.ctypes.data),
        ctypes.c_int64(frames.size),
        *pointers,
    )
    return written


def check(state: NDArray[np.void], frames: NDArray[np.void], samples: NDArray[np.int16]) -> None:
    """The twin's rows and state are the kernels', from the same state; or AssertionError."""
    rows, states = [], []
    for run in (kernels.advance, advance):
        after, out = state.copy(), np.zeros(kernels.hops_bound(frames), kernels.HOP)
        rows.append(out[: run(after, frames, samples, out)])
        states.append(after)
    for ours, theirs in (rows, states):
        for name in ours.dtype.names:
            off = BLOCKS_LSB if name == "blocks" else ABSOLUTE
            np.testing.assert_allclose(theirs[name], ours[name], RELATIVE, off, err_msg=name)
