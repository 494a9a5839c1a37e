"""The terminal: what is printed where, progress while something takes long, and how errors end.

Results go to stdout, everything else to stderr, so that a result can be piped. May import nothing
heavy, since every command starts here.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TextIO, cast

if TYPE_CHECKING:  # a tenth of a second that `--help` does not need
    from rich.console import Console

# Exceptions that are one sentence for the user, by name: importing them all would take seconds
# that a wrong option must not cost.
SENTENCES: Final = frozenset(
    {
        "pipeline.accounts.AccountError",
        "pipeline.calibration.CalibrationError",
        "pipeline.capture.recording.RecordingError",
        "pipeline.cli.terminal.CommandError",
        "pipeline.config.faults.ConfigError",
        "pipeline.evaluation.truth.EvaluationError",
        "pipeline.link.BrokerError",
        "pipeline.page.server.PageError",
        "pipeline.sources.source.SourceError",
        "pipeline.store.errors.StoreError",
        "devices.fleet.FleetError",
        "devices.profile.ProfileError",
    }
)


class CommandError(Exception):
    """What keeps a command from doing its work, in one sentence that says what to do."""


def is_sentence(error: BaseException) -> bool:
    """Whether an error is meant for the user, who then needs no traceback."""
    return any(
        f"{kind.__module__}.{kind.__qualname__}" in SENTENCES for kind in type(error).__mro__
    )


def complain(error: BaseException) -> None:
    """Say on stderr what went wrong, a line for each thing."""
    for line in str(error).splitlines():
        print(f"myoguard: {line}", file=sys.stderr)


def out() -> Console:
    """Where results go."""
    from rich.console import Console  # noqa: PLC0415

    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    """Where everything else goes."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=True, highlight=False, soft_wrap=True)


def quantity(value: float, unit: str = "1") -> str:
    """Three digits, none of them below a thousandth, and the unit if it has one."""
    shown = f"{value:.0f}" if abs(value) >= 100.0 else f"{round(value, 3):.3g}"
    return shown if unit == "1" else f"{shown} {unit}"


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr while the block runs; call what it gives with how much is done.

    Without a total it only shows that there is life, and for how long. Nothing remains of it.
    """
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = err()
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


def log_to_stderr(*, faults_only: bool = False) -> None:
    """Events for people on a terminal, one JSON object a line elsewhere."""
    import structlog  # noqa: PLC0415

    on_terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if on_terminal else "iso"),
            structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("warning" if faults_only else "info"),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Stderr())),
    )


class _Stderr(io.TextIOBase):
    """Standard error as it is when something is said. That nobody reads it stops nothing."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
