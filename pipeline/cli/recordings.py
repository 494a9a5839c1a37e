"""`record` and `replay`: the log of messages kept in a file, and the same alarms made of it."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import compiling, terminal
from pipeline.cli.watch import ConfigFile


def record(
    broker: Annotated[str, typer.Option(metavar="URL", help="mqtt://[user:password@]host[:port].")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The recording, a new .parquet file.")],
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="How long; without it, until Ctrl-C.")
    ] = None,
) -> None:
    """Keep what guns and consoles say on a broker.

    As a Parquet file for `replay`. It listens beside a running pipeline and takes nothing away
    from it.

    Example: myoguard record --broker mqtt://127.0.0.1 --out monday.parquet --seconds 600
    """
    import asyncio  # noqa: PLC0415

    count = asyncio.run(_record(broker, out, seconds))
    terminal.out().print(f"{count} messages in {out}")


async def _record(broker: str, out: Path, seconds: float | None) -> int:
    import asyncio  # noqa: PLC0415

    from pipeline.capture import RecordingWriter  # noqa: PLC0415
    from pipeline.cli.stopping import stop_on_signals, until  # noqa: PLC0415
    from pipeline.sources import MqttSource  # noqa: PLC0415

    stop = stop_on_signals()
    if seconds is not None:
        asyncio.get_running_loop().call_later(seconds, stop.set)
    name = f"myoguard-recorder-{secrets.token_hex(4)}"
    count = 0
    async with MqttSource(broker, client_id=name, persistent=False) as source:
        with RecordingWriter(out) as writer, terminal.progress("Recording") as shown:
            async for batch in until(stop, source.batches()):
                for message in batch.messages:
                    writer.append(message)
                await source.commit(batch.position)
                count += len(batch.messages)
                shown(count)
    return count


def replay(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Recordings; several are one log.")
    ],
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Units' calibrations, as `calibrate` wrote them."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="CLINIC/DEVICE", help="Only this gun.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One alarm transition a line, and nothing else.")
    ] = False,
    features: Annotated[
        Path | None,
        typer.Option(metavar="OUT.parquet", help="Write every hop's features: a row each 0.25 s."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Make the alarms of recordings again, exactly.

    As fast as it goes. The rules see the guns' own times, never the clock: the same
    recording gives the same lines.

    Example: myoguard replay monday.parquet --json | jq .rule
    """
    from pipeline.cli import replaying  # noqa: PLC0415
    from pipeline.config import load  # noqa: PLC0415

    settings = replaying.with_calibrations(load(config), calibration)
    compiling.compile_kernels()
    summary = replaying.Summary()
    with ExitStack() as opened:
        sinks: list[replaying.Sink] = [replaying.AlarmLines() if as_json else summary]
        if features is not None:
            sinks.append(opened.enter_context(replaying.FeatureTable(features)))
        log = replaying.Log(files, device)
        shown = opened.enter_context(terminal.progress("Replaying", log.count))
        counters = replaying.replay(settings, log.batches(shown), sinks)
    if not as_json:
        summary.show(terminal.out(), counters)
