"""The kernels beside their peers, as pytest-benchmark measures them (bench_kernels.py)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.table import Aim, Table, digits, figure

BENCH = Path(__file__).parent / "bench_kernels.py"
WHAT = {
    "test_advance[kernels]": "`kernels.advance`: samples to a hop",
    "test_advance[c]": "the same in C, gcc -O3 -march=native",
    "test_numpy_and_scipy_peer": "the same in vectorised numpy and scipy (`sosfilt`, `welch`)",
    "test_memory": "its bytes read from memory and written: the physical limit",
    "test_contact_interpret": "`contact.interpret`: a hop to its meaning, in contact",
    "test_extractor[1]": "frame to features, with Python around: 1 gun a call",
    "test_extractor[10]": "10 guns a call",
    "test_extractor[200]": "200 guns a call",
    "test_extractor[4000]": "4,000 guns a call",
    "test_wire_decode": "`wire.decode`, with CRC",
}
BUDGET_US = 20.0
PEER_RATIO = 30.0
EQUAL = 1.05  # two measurements of the same thing differ by as much
NOTES = (
    "One thread. `contact.interpret` is one call for one hop, with what Python takes to call it.",
    "The C twin (benchmarks/c/advance.c) gives the same rows, which is checked in the run.",
    "What was tried to make them faster: decisions 45 and 55.",
)


def table() -> Table:
    us = measured()
    ours = float(np.median(us["test_advance[kernels]"]))

    def ratio(name: str) -> str:
        return f"{digits(float(np.median(us[name])) / ours)} ×"

    rows = [(what, figure(us[name], "µs"), ratio(name)) for name, what in WHAT.items()]
    in_c = ours / float(np.median(us["test_advance[c]"]))
    peer = float(np.median(us["test_numpy_and_scipy_peer"])) / ours
    kernels_us = ours + float(np.median(us["test_contact_interpret"]))
    return Table(
        "Kernels: a frame of 400 samples of four channels, a gun in contact",
        ("what", "a frame", "of `kernels.advance`"),
        rows,
        NOTES,
        (
            Aim(
                "a frame in the kernels under 20 µs",
                f"{digits(kernels_us)} µs",
                kernels_us < BUDGET_US,
                f"samples {digits(ours)} µs, their meaning {digits(kernels_us - ours)} µs",
            ),
            Aim(
                "30 times as fast as numpy and scipy",
                f"{digits(peer)} times",
                peer >= PEER_RATIO,
                f"C would be {digits(peer * in_c)} times as fast",
            ),
            Aim(
                "no slower than C",
                f"{digits(in_c)} of its time",
                in_c <= EQUAL,
                "what was tried: decisions 45 and 55",
            ),
        ),
    )


def measured() -> dict[str, list[float]]:
    """Microseconds a frame of every round, by the test's name."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "kernels.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(BENCH)]
        options = ["--benchmark-only", f"--benchmark-json={out}", "--benchmark-save-data"]
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        tests = json.loads(out.read_text())["benchmarks"]
    return {
        test["name"]: [s * 1e6 / test["extra_info"].get("frames", 1) for s in test["stats"]["data"]]
        for test in tests
    }
