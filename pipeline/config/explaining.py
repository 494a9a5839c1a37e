"""What a configuration says and where each of its values came from, for people. No secret is shown.

May import `settings`, `faults`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from pipeline.config import faults
from pipeline.config.settings import Settings

DEFAULT = "default"
COMMAND = "this command"  # such as the demo, which has a store of its own


@dataclass(frozen=True, slots=True)
class Explained:
    """One setting: its dotted key, its value as TOML has it, where it came from, what it means."""

    key: str
    value: str
    source: str
    meaning: str


def explain(settings: Settings) -> tuple[Explained, ...]:
    """Every setting there is, and of the sites those that are set."""
    return tuple(_rows(settings))


def _rows(settings: Settings) -> Iterator[Explained]:
    for key, field in faults.known_keys().items():
        section, *between, name = key.split(".")
        if not between:
            yield _row(settings, key, field, getattr(getattr(settings, section), name))
            continue
        for site, limits in settings.sites.items():
            value = getattr(limits, name)
            if value is not None:
                yield _row(settings, f"{section}.{site}.{name}", field, value)


def _row(settings: Settings, key: str, field: FieldInfo, value: object) -> Explained:
    source = settings.origins.get(key)
    if source is None:
        is_default = value == field.get_default(call_default_factory=True)
        source = DEFAULT if is_default else COMMAND
    if value is None:
        shown = ""
    elif faults.is_secret(field):
        shown = faults.HIDDEN
    else:
        shown = faults.show(value)
    return Explained(key, shown, source, field.description or "")
