"""`simulate` as a process of its own.

The simulator is heavy, and a slow simulator would look like a slow network: the demo therefore runs
it beside itself, by the same command.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Final, Self

from pipeline.cli.terminal import CommandError

STOP_S_MAX: Final = 20.0  # engineering choice: a run ends within 10 s of grace for a lost broker


class UntilEof(asyncio.Protocol):
    """Sets `stop` when whoever started this process closes its stdin, or is gone."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # whatever it was, nobody is there any more
        self._stop.set()


@dataclass(frozen=True, slots=True)
class FleetBooks:
    """What a fleet says at its end that others have to agree with."""

    frames_published: int
    frames_repeated: int
    late_s_max: float


class FleetProcess:
    """The simulator in a process of its own; it ends with this one, however that ends.

    `async with FleetProcess(url, "--guns", "8") as fleet: books = await fleet.books()`.
    """

    def __init__(self, url: str, *options: str) -> None:
        self._command = (
            *(sys.executable, "-m", "pipeline.cli", "simulate", "--broker", url),
            *("--json", "--until-eof", *options),
        )

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for whoever started it, who then asks it to stop
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.stop()
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def stop(self) -> None:
        """Ask it to end: it hears that its stdin is closed."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def books(self) -> FleetBooks:
        """Wait for its end; what it published. Raises CommandError with its words if it failed."""
        output, errors = self._process.stdout, self._process.stderr
        if output is None or errors is None:
            raise RuntimeError("the fleet has been started without pipes")
        said, complained = await asyncio.gather(output.read(), errors.read())
        if await self._process.wait() != 0:
            last = complained.decode(errors="replace").strip().splitlines()[-1:]
            raise CommandError(f"The simulated guns failed: {' '.join(last) or 'without a word'}")
        report = json.loads(said)
        return FleetBooks(
            report["frames_published"], report["frames_repeated"], report["late_s_max"]
        )
