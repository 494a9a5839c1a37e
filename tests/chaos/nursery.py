"""A process that has imported and compiled everything, and forks `myoguard run` from itself.

A pipeline begun this way does what one begun from a shell does, but for five seconds of imports;
with six kills a run and hundreds of runs that is what makes the proof affordable. Run as a module
it is that process: a line in, a line out.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Self

STILL_RUNNING = "-"


class Nursery:
    """Starts pipelines, and knows how they ended. Any thread may call."""

    def __init__(self) -> None:
        root = Path(__file__).parent.parent
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root.parent}"},
        )
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.communicate()  # closes its input, which ends it

    def start(self, config: Path, log: Path) -> int:
        """Fork `myoguard run --config config` with its words going to `log`; its process id."""
        return int(self._ask(f"start\t{config}\t{log}"))

    def exit_code(self, pid: int) -> int | None:
        """As subprocess has it; None while it runs. Once it is known, it is not to be asked for."""
        answer = self._ask(f"poll\t{pid}")
        return None if answer == STILL_RUNNING else int(answer)

    def _ask(self, line: str) -> str:
        with self._one_at_a_time:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline().strip()
        assert answer, "the nursery is gone"
        return answer


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its input, after everybody else
    import pipeline.app  # noqa: PLC0415
    import pipeline.cli.gun_models  # noqa: F401, PLC0415
    from pipeline.features import warm_up  # noqa: PLC0415

    warm_up()
    for line in sys.stdin:
        word, *arguments = line.rstrip("\n").split("\t")
        if word == "start":
            answer = str(_fork(*arguments))
        else:
            pid, status = os.waitpid(int(arguments[0]), os.WNOHANG)
            answer = str(os.waitstatus_to_exitcode(status)) if pid else STILL_RUNNING
        print(answer, flush=True)


def _fork(config: str, log: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = _run(config, log)
    except BaseException:  # noqa: BLE001 -- whatever it is, it must not run on as a second nursery
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _run(config: str, log: str) -> int:
    """What a shell would do: its own log, no input, the usual answer to Ctrl-C, the command."""
    words = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (words, 1), (words, 2)):
        os.dup2(source, target)
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from pipeline.cli import main  # noqa: PLC0415

    sys.argv = ["myoguard", "run", "--config", config]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    _serve()
