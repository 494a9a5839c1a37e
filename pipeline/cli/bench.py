"""`calibrate` and `evaluate`: a unit against its load cell, and the alarms against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import compiling, terminal
from pipeline.cli.watch import ConfigFile

SESSIONS_A_PROCESS = 16  # engineering choice: another process takes as long to start as 16 sessions


def calibrate(
    bench: Annotated[Path, typer.Argument(metavar="BENCH.parquet", help="The gun's recording.")],
    loadcell: Annotated[
        Path, typer.Argument(metavar="LOADCELL.csv", help="The load cell's log, `t_ns,force_n`.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Gets CLINIC/DEVICE.toml and .png.")],
    stroke_mm: Annotated[
        float | None,
        typer.Option(min=4.0, max=30.0, help="Instead of that of the gun's model."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Calibrate a unit's force from a session at the bench.

    Push the gun on two pads against a load cell: every speed, 0 to 100 N, 3 s each, beginning in
    the air. Nothing is written where the fit is not good enough; it says why.

    Example: myoguard calibrate a12.parquet a12.csv --out calibration
    """
    with terminal.progress("Calibrating, half a minute the first time"):
        from pipeline.cli import benching  # noqa: PLC0415
        from pipeline.config import load  # noqa: PLC0415

        done = benching.calibrate(load(config), bench, loadcell, out, stroke_mm)
    terminal.out().print(done)


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Labelled recordings.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="The figures as one JSON object.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Without it one for every 16 sessions, at most two.")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Score the alarms of labelled recordings.

    Recall, precision, delay and force error. Each gun is calibrated from its bench files where
    there are any.

    Example: myoguard evaluate recordings --json > scores.json
    """
    compiling.compile_kernels()
    from pipeline.cli import benching  # noqa: PLC0415
    from pipeline.config import load  # noqa: PLC0415

    sessions = benching.count_sessions(folder)
    processes = processes or min(2, 1 + sessions // SESSIONS_A_PROCESS)
    with terminal.progress("Evaluating", sessions) as shown:
        report = benching.evaluate(load(config), folder, shown, processes)
    if as_json:
        print(benching.as_json(report))
    else:
        for part in benching.tables(report):
            terminal.out().print(part)
