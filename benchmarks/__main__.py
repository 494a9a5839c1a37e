"""`make bench`: measure everything in one run, print the tables, write docs/performance.md.

    python -m benchmarks            all parts, and the page
    python -m benchmarks kernels    these parts, printed only

A part is named here and is a module with `def table() -> Table` (benchmarks.table). All together
take under ten minutes on two cores; say beside a part what it takes. What the first run of all
has to compile and install, a minute of it, comes before that.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from importlib import import_module

from rich.console import Console
from rich.table import Table as Printed

from benchmarks import rig
from benchmarks.page import PAGE, busy, written
from benchmarks.peers import node_red
from benchmarks.table import Table, UnavailableError
from pipeline.cli.compiling import compile_kernels

PARTS = {
    "kernels": 25,  # seconds, roughly
    "rates": 160,
    "flow": 190,
    "profile": 70,
    "start": 100,
    "size": 1,
}
_console = Console(width=140)


def main(names: list[str]) -> int:
    if unknown := set(names) - set(PARTS):
        print(f"there is no {', '.join(unknown)}: choose of {', '.join(PARTS)}", file=sys.stderr)
        return 2
    compile_kernels()
    if not names:
        prepare()
    began, before = time.perf_counter(), busy()
    tables = {name: measured(name) for name in names or PARTS}
    took_s = time.perf_counter() - began
    _console.print(f"{took_s:.0f} s in all")
    if not names:
        PAGE.write_text(written(tables, took_s, before))
        _console.print(f"written: {PAGE}")
    return 0


def prepare() -> None:
    """What a first run needs once: frames to play, whose physics compile, and peers."""
    _console.print("[bold]frames, peers[/bold]: half a minute the first time", highlight=False)
    rig.frames_file()
    with suppress(UnavailableError):  # its row says so
        node_red.installed()


def measured(name: str) -> Table:
    """The part's table, printed; without rows where the part cannot run here."""
    _console.print(f"[bold]{name}[/bold]: about {PARTS[name]} s", highlight=False)
    module = import_module(f"benchmarks.{name}")
    began = time.perf_counter()
    try:
        table: Table = module.table()
    except UnavailableError as reason:
        table = Table(name, (), (), (f"Not measured: {reason}",))
    show(table)
    _console.print(f"{time.perf_counter() - began:.0f} s\n", style="dim")
    return table


def show(table: Table) -> None:
    printed = Printed(title=table.title, title_justify="left")
    for column, cells in zip(table.columns, zip(*table.rows, strict=True), strict=False):
        printed.add_column(column, justify="right" if cells[0][:1].isdigit() else "left")
    for row in table.rows:
        printed.add_row(*row)
    _console.print(printed)
    for aim in table.aims:
        said = "[green]met[/green]" if aim.met else f"[red]not met[/red]: {aim.why_not}"
        _console.print(f"{aim.what}: {aim.measured}, {said}", highlight=False)
    for note in table.notes:
        _console.print(f"· {note}", highlight=False, markup=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
