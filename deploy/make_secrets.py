"""`make secrets`: the passwords and tokens of docker-compose.yml, drawn once, into `.env`.

The standard library alone, so that it runs before anything is installed. What is there already is
kept, so that a later version can ask for one more without changing the others.
"""

from __future__ import annotations

import os
import secrets
import string
import sys
from pathlib import Path

NAMES = (
    "PIPELINE_PASSWORD",
    "CONSOLE_PASSWORD",
    "SIMULATOR_PASSWORD",
    "INFLUXDB_PASSWORD",
    "INFLUXDB_TOKEN",
    "GRAFANA_PASSWORD",
    "PAGE_PASSWORD",
)
# Letters alone: nats-server reads a value that begins with a digit as a number, compose a dollar
# as a variable, and a URL some signs as its own. 32 of them are 182 bits.
LETTERS, LENGTH = string.ascii_letters, 32


def names_in(text: str) -> set[str]:
    """The variables that an env file sets."""
    lines = (line.strip() for line in text.splitlines())
    return {line.partition("=")[0] for line in lines if "=" in line and not line.startswith("#")}


def complete(text: str) -> str:
    """The env file with a secret for each name that it has none for."""
    missing = [name for name in NAMES if name not in names_in(text)]
    drawn = [
        f"{name}={''.join(secrets.choice(LETTERS) for _ in range(LENGTH))}" for name in missing
    ]
    return "".join(f"{line}\n" for line in (*text.splitlines(), *drawn))


def main(file: Path) -> None:
    """Write the file so that its owner alone can read it; replaced whole, or not at all."""
    text = file.read_text() if file.exists() else ""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as target:
        target.write(complete(text))
    new.replace(file)
    print(f"{file} holds the secrets; keep it to yourself and back it up")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
