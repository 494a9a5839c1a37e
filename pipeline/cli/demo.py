"""`demo`: a clinic on this machine, with a broker, guns, therapists, the pipeline and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import terminal


def demo(
    guns: Annotated[int, typer.Option(min=1, max=200, help="How many simulated guns.")] = 8,
    seconds: Annotated[
        float | None, typer.Option(min=1.0, help="How long; without it, until Ctrl-C.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Of the page; else 8080, or a free one.")
    ] = None,
    page: Annotated[bool, typer.Option(help="Serve the page, or only the terminal.")] = True,
    therapist: Annotated[
        bool, typer.Option(help="Have a simulated therapist answer alarms, or leave them to you.")
    ] = True,
    bench: Annotated[
        bool, typer.Option(help="Calibrate all units but one, or none, which starts sooner.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="The same seed plays the same sessions.")] = 1,
    influx: Annotated[
        str | None, typer.Option(metavar="URL", help="An InfluxDB that gets it all, too.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Its broker, store and calibrations.")
    ] = None,
) -> None:
    """See it work: simulated guns, watched, with their alarms.

    They publish to a real broker, alarms are raised and cleared. Nothing leaves this machine. It
    starts with empty books every time; all units but one are calibrated on a simulated bench, once.
    With --influx, what arrived there is counted at the end. Exit code 1 if a frame or a point was
    lost.

    Example: myoguard demo --seconds 90
    """
    from pipeline.cli import demonstration  # noqa: PLC0415

    plan = demonstration.Plan(guns, seconds, port, page, seed, data, therapist, bench, influx)
    if not demonstration.show(plan, terminal.out()):
        raise typer.Exit(1)
