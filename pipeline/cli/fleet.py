"""`simulate`: guns that do not exist, on a broker that does; and the same as a process of its own.

The simulator is heavy, and a slow simulator would look like a slow network: the demo therefore runs
it in a process of its own, by the same command.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Self

import typer

from pipeline.cli import terminal
from pipeline.cli.terminal import CommandError

if TYPE_CHECKING:
    from devices.fleet import FleetReport

STOP_S_MAX = 20.0  # engineering choice: a run ends within its 10 s of grace for a lost broker
Share = Annotated[float, typer.Option(min=0.0, max=0.5, help="Share of the frames.")]


def simulate(
    broker: Annotated[str, typer.Option(metavar="URL", help="mqtt://[user:password@]host[:port].")],
    guns: Annotated[int, typer.Option(min=1, max=5_000, help="How many.")] = 8,
    seconds: Annotated[
        float | None, typer.Option(min=1.0, help="How long; without it, until Ctrl-C.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed plays the same sessions.")] = 1,
    drop: Share = 0.0,
    duplicate: Share = 0.0,
    reorder: Share = 0.0,
    corrupt: Share = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
    until_eof: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Publish simulated guns and their therapists to a broker, in real time.

    Units, hands and bodies are drawn from the seed; the physics knows nothing of how detection
    works. The four shares make the network between gun and broker as bad as asked.

    Example: [b]myoguard simulate --broker mqtt://127.0.0.1 --guns 20 --drop 0.01[/b]
    """
    with terminal.progress("Compiling the guns' physics, some seconds the first time"):
        from devices.demo import demo_fleet  # noqa: PLC0415
        from devices.fleet import run_fleet  # noqa: PLC0415
        from devices.performance import warm_up  # noqa: PLC0415
        from devices.script import NetworkFaults  # noqa: PLC0415

        warm_up()
    faults = NetworkFaults(drop=drop, duplicate=duplicate, reorder=reorder, corrupt=corrupt)
    fleet = demo_fleet(guns, seed)

    async def play() -> FleetReport:
        stop = terminal.stop_on_signals()
        if until_eof:
            loop = asyncio.get_running_loop()
            await loop.connect_read_pipe(lambda: _UntilEof(stop), sys.stdin)
        return await run_fleet(broker, fleet, seed=seed, seconds=seconds, faults=faults, stop=stop)

    report = asyncio.run(play())
    if as_json:
        print(json.dumps(asdict(report), sort_keys=True))
    else:
        terminal.out().print("\n".join(f"{k:20} {v:g}" for k, v in asdict(report).items()))


class _UntilEof(asyncio.Protocol):
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
