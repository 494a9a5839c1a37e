"""`myoguard`: the composition root, one module a noun. The only part that may import `devices`.

Commands import what they need when they run, so that `--help` and a wrong option cost a quarter of
a second. What a user can put right ends as a sentence on stderr and exit code 1; a traceback is a
fault of ours.
"""

from __future__ import annotations

import sys

import typer

from pipeline.cli import (
    accounts,
    bench,
    compiling,
    demo,
    doctor,
    exporting,
    fleet,
    recordings,
    terminal,
    watch,
)

app = typer.Typer(
    name="myoguard",
    help="Real-time safety monitoring for fleets of instrumented massage guns."
    "\n\nNot a medical device. Begin with `myoguard demo`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich takes as long to load as all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    demo.demo,
    watch.run,
    watch.check_config,
    doctor.doctor,
    fleet.simulate,
    recordings.record,
    recordings.replay,
    exporting.export,
    bench.calibrate,
    bench.evaluate,
):
    app.command()(command)
app.add_typer(accounts.account, name="account")


def main() -> None:
    """The entry point."""
    compiling.have_cache()
    try:
        app()
    except Exception as error:
        if not terminal.is_sentence(error):
            raise
        terminal.complain(error)
        sys.exit(1)
