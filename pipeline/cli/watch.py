"""`run` and `check-config`: the pipeline as a clinic has it."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.cli import compiling, terminal

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML; MYOGUARD_… variables win over it."),
]
# While a thread stores, the loop waits so long for its turn after each call of the system: an alarm
# takes half a dozen of them on its way. Python's default is 5 ms (docs/decisions.md, 46).
SWITCH_S: Final = 0.000_5


def run(config: ConfigFile = None) -> None:
    """Watch the guns on a broker until Ctrl-C or SIGTERM.

    What has been received is stored before it is acknowledged, so it can be killed and started
    again at any time. Events go to stderr. Docs: docs/configuration.md.

    Example: myoguard run --config /etc/myoguard.toml
    """
    from pipeline.config import load  # noqa: PLC0415

    settings = load(config)
    terminal.log_to_stderr()
    compiling.compile_kernels()

    import asyncio  # noqa: PLC0415

    from pipeline.app import Pipeline  # noqa: PLC0415
    from pipeline.cli.gun_models import known_guns  # noqa: PLC0415
    from pipeline.cli.stopping import stop_on_signals  # noqa: PLC0415

    async def watch() -> None:
        await Pipeline(settings, known_guns(settings)).run(stop_on_signals())

    # What the libraries brought stays, and need not be looked through for garbage again and again
    # (docs/decisions.md, 42).
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
    sys.setswitchinterval(SWITCH_S)

    asyncio.run(watch())


def check_config(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="The TOML file to check.")],
) -> None:
    """Say everything that is wrong with a configuration.

    Each fault with its key, value and remedy. The environment counts as it would for `run`. Exit
    code 1 if there is a fault.

    Example: myoguard check-config myoguard.toml
    """
    from pipeline.config import load  # noqa: PLC0415

    settings = load(config)
    from pipeline.cli.gun_models import known_guns  # noqa: PLC0415

    guns = known_guns(settings)
    units = len(guns.calibrations)
    terminal.out().print(
        f"{config} is good: broker {settings.broker.url}, {len(guns.models)} gun models, "
        f"{units} calibrated unit{'s' * (units != 1)}, version {settings.config_version}"
    )
