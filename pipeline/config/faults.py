"""What is wrong with a configuration, key by key; may import `settings`.

A fault names the key, the value unless it may be a secret, where it was set, and what to do. A key
nobody knows is answered with the nearest one that exists.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pipeline.config.settings import ENV_DELIMITER, ENV_PREFIX, Section, Settings

SHOWN_CHARACTERS_MAX = 80
HIDDEN = "(not shown)"
# A key that is not ours may be a misspelt secret of ours: its value is not shown either.
_SECRET_WORDS = ("pass", "pwd", "secret", "token", "credential")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: `key` is dotted and empty for the file as a whole, `value` is printable."""

    key: str
    value: str
    where: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        if not self.key:
            return f"{self.where}: {self.problem}; {self.remedy}"
        return f"{self.key} = {self.value} ({self.where}): {self.problem}; {self.remedy}"


class ConfigError(Exception):
    """The configuration cannot be used; `faults` holds every reason, one a line as text."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def field_at(path: Sequence[str]) -> FieldInfo | None:
    """The field that `path` names, if there is one. Any name stands for a site."""
    model: type[BaseModel] | None = Settings
    field: FieldInfo | None = None
    for name in path:
        if model is None:
            return None
        if model is Settings and name == "sites":
            return _site_field(path)
        field = model.model_fields.get(name)
        model = _section_of(field)
    return field


def _site_field(path: Sequence[str]) -> FieldInfo | None:
    sites = Settings.model_fields["sites"]
    if len(path) <= 2:
        return sites
    limits = get_args(sites.annotation)[1]
    field: FieldInfo | None = limits.model_fields.get(path[2])
    return field if len(path) == 3 else None


def _section_of(field: FieldInfo | None) -> type[Section] | None:
    kind = field.annotation if field is not None else None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def known_keys() -> dict[str, FieldInfo]:
    """Every setting by its dotted key; a site's are `sites.<site>.…`."""
    keys: dict[str, FieldInfo] = {}
    for name, field in Settings.model_fields.items():
        section = _section_of(field)
        if section is not None:
            keys |= {f"{name}.{key}": inner for key, inner in section.model_fields.items()}
    limits = get_args(Settings.model_fields["sites"].annotation)[1]
    return keys | {f"sites.<site>.{key}": inner for key, inner in limits.model_fields.items()}


def unknown(path: Sequence[str], value: object, where: str) -> Fault:
    """The fault of a key that does not exist."""
    *above, name = path
    siblings = [key.split(".") for key in known_keys()]
    here = {key[len(above)] for key in siblings if _matches(key, above)}
    elsewhere = {".".join(key) for key in siblings if key[-1] == name}
    near = get_close_matches(name, sorted(here), n=1) or sorted(elsewhere)[:1]
    if near:
        full = near[0] if "." in near[0] else ".".join([*above, near[0]])
        remedy = f"did you mean {full}?"
    else:
        remedy = f"known here are {', '.join(sorted(here))}"
    hidden = any(word in name.lower() for word in _SECRET_WORDS) or near == ["password"]
    shown = HIDDEN if hidden else show(value)
    return Fault(".".join(path), shown, where, "there is no such key", remedy)


def nearest(name: str, known: Iterable[str]) -> str:
    """A question that names the nearest of `known`; empty where none is near."""
    near = get_close_matches(name, sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else ""


def _matches(key: Sequence[str], above: Sequence[str]) -> bool:
    if len(key) <= len(above):
        return False
    return all(a == b or a.startswith("<") for a, b in zip(key, above, strict=False))


def of_validation(error: ErrorDetails, where: str) -> Fault:
    """The fault behind one error of pydantic's."""
    path = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        return unknown(path, error["input"], where)
    field = field_at(path)
    if _section_of(field) is not None or (path[0] == "sites" and len(path) < 3):
        name = "sites.calf" if path == ["sites"] else ".".join(path)
        remedy = f"write [{name}] and its keys below it"
        return Fault(".".join(path), show(error["input"]), where, "must be a table", remedy)
    value = HIDDEN if is_secret(field) else show(error["input"])
    return Fault(".".join(path), value, where, _problem(error), remedy_of(field))


def is_secret(field: FieldInfo | None) -> bool:
    return field is not None and SecretStr in kinds(field)


def kinds(field: FieldInfo) -> tuple[object, ...]:
    """The types a field's value may have, without what is annotated to them."""
    kind = field.annotation
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(get_args(p)[0] if get_origin(p) is Annotated else p for p in parts)


def remedy_of(field: FieldInfo | None) -> str:
    """What to set instead, as far as the field itself knows."""
    if field is None:
        return "correct it"
    if field.examples:
        return f"set for example {show(field.examples[0])}, or leave it out"
    return f"correct it, or leave it out for {show(field.get_default(call_default_factory=True))}"


def _problem(error: ErrorDetails) -> str:
    if error["type"] == "path_type":
        return "must be a path"
    words = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return words[:1].lower() + words[1:]


def show(value: object) -> str:
    """A value nearly as TOML has it, on one line; what a URL says of its user is not shown."""
    if isinstance(value, Mapping):
        return "{ … }"
    text = json.dumps(value, ensure_ascii=False, default=str)
    if "://" in text and "@" in text:
        scheme, _, rest = text.partition("://")
        text = f"{scheme}://…@{rest.rpartition('@')[2]}"
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…"


def env_name(path: Sequence[str]) -> str:
    """The environment variable that sets the key at `path`."""
    return ENV_PREFIX + ENV_DELIMITER.join(path).upper()
