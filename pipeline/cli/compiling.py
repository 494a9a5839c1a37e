"""numba's part of starting: a place for what it compiles, and progress while it does."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pipeline
from pipeline.cli import terminal

CACHE_VARIABLE: Final = "NUMBA_CACHE_DIR"
TEMPORARY_PREFIX: Final = "myoguard-numba-"


def have_cache(places: Iterable[Path] | None = None) -> None:
    """Give numba a temporary directory where it would find none to write to, and fail.

    `places` is where it looks, if not the usual. The directory is a new one each time: what is
    compiled is code, and a name that others can guess would let them have theirs run.
    """
    if not os.environ.get(CACHE_VARIABLE) and not any(map(_can_write, places or _usual_places())):
        directory = tempfile.mkdtemp(prefix=TEMPORARY_PREFIX)
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        os.environ[CACHE_VARIABLE] = directory


def _usual_places() -> Iterator[Path]:
    """Where numba looks: beside the source, then in the user's cache directory."""
    yield Path(pipeline.__file__).parent
    from platformdirs import user_cache_path  # noqa: PLC0415

    yield user_cache_path("numba", appauthor=False)


def _can_write(directory: Path) -> bool:
    there = next((each for each in (directory, *directory.parents) if each.exists()), directory)
    return os.access(there, os.W_OK | os.X_OK)


def compile_kernels() -> None:
    """Have numba compile, or load, everything the monitor runs: before anything waits for it.

    The first time it is done by two processes, a half each, and numba's cache brings them together.
    Should the other one fail, what is missing is compiled here.
    """
    with terminal.progress("Compiling the kernels, half a minute the first time"):
        from pipeline import contact, features  # noqa: PLC0415

        cache = contact.interpret.stats.cache_path
        if not cache or not any(Path(cache).glob("contact.interpret-*.nbi")):
            program = "from pipeline.features import warm_up_meaning; warm_up_meaning()"
            command = [sys.executable, "-c", program]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL):  # noqa: S603
                features.warm_up_samples()
        features.warm_up()
