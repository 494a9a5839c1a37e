"""Write the suite that `make evaluate` scores, unless it is there already.

    .venv/bin/python -m benchmarks.suite var/suite [SEED]

Into `fit` and `test` go sessions of guns of different models: whatever is fitted or chosen is
fitted and chosen on `fit`, and `test` says how well it holds on guns, hands and bodies never seen.
Seeded; kept until something in `devices` changes. About ten minutes of two cores.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from rich.progress import Progress

import devices
from devices.suite import choose_models, write_suite

SEED = 191
MODELS = 16  # the packaged ones and as many variations of them
FIT_SESSIONS, TEST_SESSIONS = 80, 128
SESSIONS_PER_GUN = 4
SECONDS = 150.0
PROCESSES = 2
WRITTEN = {"fit", "test", "complete"}


def split(seed: int = SEED) -> dict[str, tuple[int, int, list[devices.profile.Profile]]]:
    """Seed, sessions and models of each part; every third model is for fitting."""
    models = choose_models(MODELS, seed)
    fit = models[1::3]
    test = [model for model in models if model not in fit]
    return {"fit": (seed, FIT_SESSIONS, fit), "test": (seed + 1, TEST_SESSIONS, test)}


def fingerprint(seed: int) -> str:
    """Of all that a recording depends on."""
    digest = hashlib.sha256(Path(__file__).read_bytes() + str(seed).encode())
    root = Path(devices.__file__).parent
    for path in sorted((*root.glob("*.py"), *root.glob("profiles/*.toml"))):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def main(folder: Path, seed: int = SEED) -> None:
    mark = folder / "complete"
    if mark.exists() and mark.read_text() == fingerprint(seed):
        return
    if folder.exists() and not {each.name for each in folder.iterdir()} <= WRITTEN:
        raise SystemExit(f"{folder} holds more than a suite: name a folder that may be replaced")
    shutil.rmtree(folder, ignore_errors=True)
    with Progress() as bar:
        for part, (part_seed, sessions, models) in split(seed).items():
            task = bar.add_task(f"Playing sessions, {part}", total=sessions)
            write_suite(
                folder / part,
                part_seed,
                sessions,
                models,
                seconds=SECONDS,
                sessions_per_gun=SESSIONS_PER_GUN,
                processes=PROCESSES,
                progress=lambda done, _total, task=task: bar.update(task, completed=done),
            )
    mark.write_text(fingerprint(seed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
