"""The pipeline that is killed: `myoguard run`, started again as often as it takes."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import servers

from chaos.nursery import Nursery
from pipeline.store import schema

READY_S_MAX = 90.0  # everything is compiled, but the machine may have much else to do
STOP_S_MAX = 60.0
RESTART_S = 0.2  # as quick as a service manager is by default
SENTENCE = "myoguard: "  # how it says why it cannot begin: a disk is full, a broker away
WORDS_BYTES = 65_536  # its own log lies on another disk
UNLIMITED = resource.RLIM_INFINITY


class VictimError(AssertionError):
    """The pipeline did what it never may: end by itself, not become ready, not stop."""


class Victim:
    """One pipeline at a time, on one configuration. Words go to `pipeline-N.log` in `directory`."""

    def __init__(self, nursery: Nursery, config: Path, store: Path, directory: Path) -> None:
        self.kills = 0
        self.starts = 0
        self._nursery = nursery
        self._config = config
        self._store = store
        self._directory = directory
        self._pid: int | None = None
        self._code: int | None = None
        self._disk_full = False

    @property
    def _log(self) -> Path:
        return self._directory / f"pipeline-{self.starts}.log"

    def start(self) -> None:
        self.starts += 1
        self._pid, self._code = self._nursery.start(self._config, self._log), None
        self._limit_files()

    def is_ready(self) -> bool:
        """Whether it watches. One that could not begin is started again, as a service would be."""
        words = self._log.read_text(errors="replace") if self._log.exists() else ""
        watches = '"watching"' in words
        if self._exit_code() is not None:
            if watches or self._code != 1 or SENTENCE not in words:
                raise VictimError(f"the pipeline ended by itself; its words are in {self._log}")
            time.sleep(RESTART_S)
            self.start()
        return watches

    def wait_until_ready(self) -> None:
        servers.until(self.is_ready, f"the pipeline watches, see {self._log}", READY_S_MAX)

    def kill(self) -> None:
        """SIGKILL, and start the next one."""
        if self._exit_code() is None:
            assert self._pid is not None
            os.kill(self._pid, signal.SIGKILL)
            servers.until(lambda: self._exit_code() is not None, "a killed process ends")
            self.kills += 1
        self.start()

    def stop(self) -> None:
        """SIGTERM, after which it must end well."""
        if self._pid is None or self._exit_code() is not None:
            return
        os.kill(self._pid, signal.SIGTERM)
        servers.until(lambda: self._exit_code() is not None, "the pipeline stops", STOP_S_MAX)
        if self._code != 0:
            raise VictimError(f"the pipeline ended with {self._code}; its words are in {self._log}")

    def end(self) -> None:
        """Whatever state it is in."""
        if self._pid is not None and self._exit_code() is None:
            os.kill(self._pid, signal.SIGKILL)

    def fill_disk(self, full: bool) -> None:
        """What the store writes from now on cannot be written: no file may grow further."""
        self._disk_full = full
        self._limit_files()

    def _limit_files(self) -> None:
        if self._pid is None or self._exit_code() is not None:
            return
        log = self._store / schema.LOG_NAME
        full = self._disk_full and log.exists()
        size = max(log.stat().st_size, WORDS_BYTES) if full else UNLIMITED
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (size, UNLIMITED))

    def _exit_code(self) -> int | None:
        if self._pid is not None and self._code is None:
            self._code = self._nursery.exit_code(self._pid)
        return self._code
