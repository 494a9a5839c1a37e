"""`make chaos`: runs by seed, several at a time, with progress; a failure keeps all it left."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from chaos.nursery import Nursery
from chaos.plan import Size, make_plan
from chaos.run import BROKERS, MAY_BE_KILLED, SOURCES, Outcome, run

TROUBLE_CHARACTERS_MAX = 1_000  # what is left in the directory says the rest


@dataclass(frozen=True, slots=True)
class Result:
    seed: int
    directory: Path
    outcome: Outcome | None
    trouble: str  # empty for a good run


def main() -> int:
    options = _options()
    console = Console(highlight=False, soft_wrap=True)
    results: list[Result] = []
    with Nursery() as nursery, console.status("") as status:
        lines: dict[int, str] = {}
        lock = threading.Lock()

        def one(seed: int) -> Result:
            def tell(words: str) -> None:
                with lock:
                    lines[seed] = words
                    status.update(" | ".join(f"seed {s}: {w}" for s, w in lines.items()))

            result = _run(seed, options, nursery, tell)
            with lock:
                lines.pop(seed, None)
                results.append(result)
            console.print(_line(options, result))
            return result

        seeds = range(options.seed, options.seed + options.runs)
        with ThreadPoolExecutor(options.parallel) as pool:
            list(pool.map(one, seeds))
    console.print(_summary(options, results))
    return int(any(result.trouble for result in results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=…", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--source", choices=sorted(SOURCES), default="nats")
    parser.add_argument("--broker", choices=sorted(BROKERS), default="nats")
    parser.add_argument("--kills", type=int, default=Size().kills, help="of the pipeline, a run")
    parser.add_argument("--parallel", type=int, default=1, help="runs at a time: most of one waits")
    options = parser.parse_args()
    if options.broker not in SOURCES[options.source]:
        parser.error(f"{options.broker} has no {options.source}:// to read from")
    return options


def _run(
    seed: int, options: argparse.Namespace, nursery: Nursery, tell: Callable[[str], None]
) -> Result:
    tell("simulating the guns")
    directory = Path(tempfile.mkdtemp(prefix=f"myoguard-chaos-{seed}-"))
    outcome, trouble = None, ""
    try:
        size = Size(kills=options.kills)
        plan = make_plan(seed, size, kill_broker=options.broker in MAY_BE_KILLED)
        outcome = run(plan, options.source, options.broker, nursery, directory, tell)
        trouble = "; ".join(outcome.balance.faults)
    except Exception as error:  # noqa: BLE001 -- one bad run must not end the others
        trouble = f"{type(error).__name__}: {error}"
    if not trouble:
        shutil.rmtree(directory)
    return Result(seed, directory, outcome, trouble)


def _line(options: argparse.Namespace, result: Result) -> str:
    if result.trouble or result.outcome is None:
        again = f'make chaos ARGS="--seed {result.seed} {_way(options)}"'
        kept = f"kept: {result.directory}\n  again: {again}"
        trouble = textwrap.shorten(result.trouble, TROUBLE_CHARACTERS_MAX)
        return f"seed {result.seed} FAILED: {trouble}\n  {kept}"
    outcome = result.outcome
    return (
        f"seed {result.seed}: {outcome.seconds:.0f} s, {outcome.kills} kills, "
        f"{outcome.balance.frames} frames, {outcome.balance.records} records equal"
    )


def _way(options: argparse.Namespace) -> str:
    return f"--source {options.source} --broker {options.broker}"


def _summary(options: argparse.Namespace, results: list[Result]) -> str:
    """One row of the table in docs/reliability.md."""
    done = [result.outcome for result in results if result.outcome is not None]
    row = {
        "source": options.source,
        "broker": options.broker,
        "runs": len(results),
        "failed": sum(bool(result.trouble) for result in results),
        "kills": sum(each.kills for each in done),
        "broker_kills": sum(each.broker_kills for each in done),
        "influx_kills": sum(each.influx_kills for each in done),
        "frames": sum(each.balance.frames for each in done),
        "spoilt": sum(each.balance.spoilt for each in done),
        "lost": sum(each.balance.lost for each in done),
        "double": sum(each.balance.doubled for each in done),
        "late": sum(each.balance.late for each in done),
        "points": sum(each.balance.points for each in done),
        "equal": sum(each.balance.equal for each in done),
    }
    return json.dumps(row)


if __name__ == "__main__":
    sys.exit(main())
