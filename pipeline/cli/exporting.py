"""`export`: one session out of the store, for whoever reads it with something else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.cli import terminal
from pipeline.cli.terminal import CommandError
from pipeline.cli.watch import ConfigFile

if TYPE_CHECKING:
    from pipeline.model import SessionSummary
    from pipeline.store import StoreReader

SECONDS_MAX: Final = 100_000  # over a day of one gun: a session nobody ended; bounds memory
ALARMS_MAX: Final = 10_000
SECOND_NS: Final = 1_000_000_000
NEVER_NS: Final = 2**63 - 1


def export(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Its name.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="A new .parquet or .csv file.")],
    device: Annotated[
        str | None, typer.Option(help="The gun, where several had a session of that name.")
    ] = None,
    alarms: Annotated[bool, typer.Option("--alarms", help="Its alarms, not its seconds.")] = False,
    config: ConfigFile = None,
) -> None:
    """Write a session from the store as Parquet or CSV.

    A row a second, or its alarms. Columns carry their units: docs/vocabulary.md. Works
    beside a running pipeline.

    Example: myoguard export s-01 --out monday.parquet
    """
    from pipeline.config import load  # noqa: PLC0415
    from pipeline.export import (  # noqa: PLC0415
        TableFormat,
        alarms_table,
        encode_table,
        seconds_table,
    )
    from pipeline.store import AlarmFilter, StoreReader  # noqa: PLC0415

    suffix = out.suffix.removeprefix(".")
    if suffix not in set(TableFormat):
        raise CommandError(f"{out} says no format: let it end in .parquet or .csv")
    with StoreReader.open(load(config).store.directory) as reader:
        found = _find(reader, session, device)
        if alarms:
            wanted = AlarmFilter(*found.id, session_id=found.session_id)
            history = reader.alarm_history(wanted, ALARMS_MAX)
            table = alarms_table([each.alarm for each in reversed(history)])
        else:
            # A second is dated by its last hop, which may end just after the session.
            end_ns = NEVER_NS if found.ended_at_ns is None else found.ended_at_ns + SECOND_NS
            seconds = reader.feature_seconds(found.id, found.started_at_ns, end_ns, SECONDS_MAX)
            table = seconds_table([s for s in seconds if s.last.session_id == found.session_id])
    try:
        with out.open("xb") as file:
            file.write(encode_table(table, TableFormat(suffix)))
    except OSError as error:
        raise CommandError(f"{out} cannot be written ({error.strerror}): name another") from None
    terminal.out().print(f"{table.num_rows} rows of {found.session_id} with {found.id} in {out}")


def _find(reader: StoreReader, session: str, device: str | None) -> SessionSummary:
    from pipeline.store import SessionFilter  # noqa: PLC0415

    found = reader.sessions(SessionFilter(session_id=session, device=device))
    if not found:
        newest = ", ".join(each.session_id for each in reader.sessions(SessionFilter(), limit=5))
        others = f"the newest are {newest}" if newest else "it holds none yet"
        raise CommandError(f"There is no session {session!r} in {reader.directory}: {others}")
    if len(found) > 1:
        guns = ", ".join(str(each.id) for each in found)
        raise CommandError(f"Several guns had a session {session!r} ({guns}): say --device")
    return found[0]
