"""Write the suite that `make evaluate` scores: other guns, hands and bodies than any fit saw.

    .venv/bin/python -m benchmarks.suite DIR

Sixteen sessions of sixteen models with their benches, about two minutes; seeded.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.progress import Progress

from devices.suite import write_suite

SEED, SESSIONS, MODELS = 21, 16, 16


def main(folder: Path) -> None:
    with Progress(transient=True) as bar:
        task = bar.add_task("Playing the sessions", total=SESSIONS)
        write_suite(
            folder,
            SEED,
            SESSIONS,
            MODELS,
            progress=lambda done, _total: bar.update(task, completed=done),
        )
    (folder / "complete").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
