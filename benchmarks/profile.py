"""Where our processor time goes, at as many frames as it takes: py-spy on `myoguard run`. 50 s.

A sample is on the account of the innermost function whose module is in ACCOUNTS; what the standard
library or a package does is on its caller's. What a kernel takes is on the caller of the kernel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from benchmarks import consumers, rig
from benchmarks.rates import GUNS, SETTLED
from benchmarks.table import Table, UnavailableError, digits

SAMPLED_S, RATE_HZ = 8, 199  # no multiple of what happens on a beat

# By the file's path and, where one file has several, by the function. The first that fits.
ACCOUNTS: Final = {
    "receive: socket, packets, batches, acknowledgements": (
        r"pipeline/(packets|mqtt|jetstream|link|sources/.*)\.py|/(aiomqtt|paho|nats)/"
    ),
    "decode": r"pipeline/wire/",
    "order of frames": r"pipeline/ordering\.py",
    "kernels, samples to a hop": r"_advance_signals",
    "kernels, a hop to its meaning": r"_run_part",
    "features, Python around the kernels": r"pipeline/features\.py",
    "rules": r"pipeline/rules/",
    "alarms": r"pipeline/(alarms|monitor/board)\.py",
    "sessions and exposure": r"pipeline/(sessions|exposure|sites)\.py",
    "monitor": r"pipeline/monitor/",
    "black box": r"pipeline/(capture/|app/capturing)",
    "publish: alarms, live values": r"pipeline/publish\.py",
    "store: records, snapshot": r"pipeline/(store/|packing)",
    "page": r"pipeline/page/",
    "loop, checkpoints, metrics": r"pipeline/app/",
}
# A thread that waits for work, and is taken for one that runs.
_WAITS: Final = re.compile(
    r"^(_worker|.*\.select|.*\.wait) \(.*/(thread|selectors|threading)\.py(:\d+)?\)$"
)
_REST: Final = "Python and its libraries, on nobody's behalf"


def table() -> Table:
    spy = shutil.which("py-spy", path=f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}")
    if spy is None:
        raise UnavailableError("there is no py-spy for this system")
    us, shares = {}, {}
    for kind in ("mqtt", "nats"):
        us[kind], shares[kind] = _measured(spy, kind)
    names = sorted([*ACCOUNTS, _REST], key=lambda name: -shares["mqtt"][name])
    rows = [
        (name, *(f"{digits(us[kind] * shares[kind][name])} µs" for kind in us))
        for name in names
        if any(shares[kind][name] >= 0.005 for kind in shares)
    ]
    rows.append(("all", *(f"{digits(us[kind])} µs" for kind in us)))
    return Table(
        "Where our processor time goes",
        ("account", "a frame over mqtt", "over nats"),
        rows,
        (
            (
                f"py-spy, {RATE_HZ} samples a second for {SAMPLED_S} s, all threads that run, while"
                f" {GUNS:,} guns publish as fast as it takes; it stops what it looks at."
            ),
            (
                "A share of samples times processor time a frame; accounts under 0.5 % are left"
                " out, and so are threads that wait for work."
            ),
        ),
    )


def _measured(spy: str, kind: str) -> tuple[float, Counter[str]]:
    """Microseconds a frame, and each account's share."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        rig.broker(kind, Path(name) / "broker") as server,
        consumers.pipeline(server, kind, Path(name)) as ours,
    ):
        out = Path(name) / "stacks"
        command = [spy, "record", "--pid", str(ours.pid), "--rate", str(RATE_HZ)]
        command += ["--duration", str(SAMPLED_S), "--format", "raw", "--full-filenames"]
        command += ["--output", str(out), "--nolineno"]

        spies: list[subprocess.Popen[str]] = []
        flood = rig.flood(
            ours, server, GUNS, SAMPLED_S + 1.0, SETTLED, lambda: spies.append(_start(command))
        )
        said = spies[0].communicate()[0]
        stacks = out.read_text().splitlines() if out.exists() else [said]
    return flood.us_per_frame, shares_of(stacks)


def _start(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def shares_of(stacks: Iterable[str]) -> Counter[str]:
    """Accounts of `outer;inner;… COUNT` lines, as shares that add up to 1."""
    counts: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        if not count.isdigit():
            raise UnavailableError(f"py-spy: {line.strip()[-200:]}")
        frames = stack.split(";")
        if not _WAITS.match(frames[-1]):
            counts[_account(frames)] += int(count)
    total = sum(counts.values())
    return Counter({name: count / total for name, count in counts.items()})  # type: ignore[misc]


def _account(stack: list[str]) -> str:
    for frame in reversed(stack):
        for name, pattern in ACCOUNTS.items():
            if re.search(pattern, frame):
                return name
    return _REST
