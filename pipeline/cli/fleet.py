"""`simulate`: guns that do not exist, on a broker that does."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import terminal

if TYPE_CHECKING:
    from devices.fleet import FleetReport

Share = Annotated[float, typer.Option(min=0.0, max=0.5, help="Share of the frames.")]


def simulate(
    broker: Annotated[str, typer.Option(metavar="URL", help="mqtt://[user:password@]host[:port].")],
    guns: Annotated[int, typer.Option(min=1, max=5_000, help="How many.")] = 8,
    seconds: Annotated[
        float | None, typer.Option(min=1.0, help="How long; without it, until Ctrl-C.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed plays the same sessions.")] = 1,
    drop: Share = 0.0,
    duplicate: Share = 0.0,
    reorder: Share = 0.0,
    corrupt: Share = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
    until_eof: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Publish simulated guns and therapists to a broker.

    In real time. Units, hands and bodies are drawn from the seed; the physics knows nothing of how
    detection works. The four shares make the network between gun and broker as bad as asked.

    Example: myoguard simulate --broker mqtt://127.0.0.1 --guns 20 --drop 0.01
    """
    import asyncio  # noqa: PLC0415

    from pipeline.cli.fleet_process import UntilEof  # noqa: PLC0415
    from pipeline.cli.stopping import stop_on_signals  # noqa: PLC0415

    with terminal.progress("Compiling the guns' physics, some seconds the first time"):
        from devices.demo import demo_fleet  # noqa: PLC0415
        from devices.fleet import run_fleet  # noqa: PLC0415
        from devices.performance import warm_up  # noqa: PLC0415
        from devices.script import NetworkFaults  # noqa: PLC0415

        warm_up()
    faults = NetworkFaults(drop=drop, duplicate=duplicate, reorder=reorder, corrupt=corrupt)
    fleet = demo_fleet(guns, seed)

    async def play() -> FleetReport:
        stop = stop_on_signals()
        if until_eof:
            loop = asyncio.get_running_loop()
            await loop.connect_read_pipe(lambda: UntilEof(stop), sys.stdin)
        return await run_fleet(broker, fleet, seed=seed, seconds=seconds, faults=faults, stop=stop)

    report = asyncio.run(play())
    if as_json:
        print(json.dumps(asdict(report), sort_keys=True))
    else:
        terminal.out().print("\n".join(f"{k:20} {v:g}" for k, v in asdict(report).items()))
