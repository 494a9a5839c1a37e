"""What of the demo's records arrived in InfluxDB: counted there, before and after."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pipeline.app.draining import address, databases
from pipeline.cli.terminal import CommandError
from pipeline.config import Settings
from pipeline.influx import (
    COUNTED_BY,
    DeniedError,
    RefusedError,
    Server,
    UnreachableError,
    count_points,
)
from pipeline.store import SpoolKind, StoreReader


class Census:
    """The points that were there before, so that those that came can be told from them."""

    def __init__(self, settings: Settings) -> None:
        """Make the database, if it is not there. Raises CommandError where nobody answers."""
        self._settings = settings
        self._server = Server(address(settings))
        self._databases = databases(settings)
        try:
            for name in sorted(set(self._databases.values())):
                self._server.make_database(name)
        except (UnreachableError, DeniedError, RefusedError) as error:
            raise CommandError(
                f"InfluxDB at {settings.influx.url} cannot be used ({error}): start it, or correct "
                "--influx and MYOGUARD_INFLUX__… (docs/configuration.md)"
            ) from None
        self._before = self._count()

    def _count(self) -> dict[SpoolKind, int]:
        try:
            return count_points(self._server, self._databases)
        except (UnreachableError, DeniedError, RefusedError) as error:
            raise CommandError(
                f"InfluxDB at {self._settings.influx.url} does not answer what it holds ({error})"
            ) from None

    def end(self, console: Console) -> bool:
        """Show what came of every record; whether all of them arrived or have a reason."""
        after = self._count()
        with StoreReader.open(self._settings.store.directory) as reader:
            counts, rows = reader.spool_counts(), reader.row_counts()
        table = Table("measurement", "in SQLite", "spooled", "in InfluxDB", "refused", box=None)
        agree = True
        for kind, (measurement, _) in COUNTED_BY.items():
            count, arrived = counts[kind], after[kind] - self._before[kind]
            kept = rows.get(kind)
            agree = agree and arrived == count.spooled - count.refused
            agree = agree and kept in (None, count.spooled)
            shown = "" if kept is None else str(kept)
            table.add_row(
                measurement, shown, str(count.spooled), str(arrived), str(count.refused or "")
            )
        console.print(table)
        verdict = "agree" if agree else "do NOT agree"
        console.print(
            f"SQLite and InfluxDB {self._server.version} {verdict}",
            style="bold green" if agree else "bold red",
        )
        return agree
