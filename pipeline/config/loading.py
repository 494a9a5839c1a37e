"""Read, merge, check: the one way to get a `Settings`. May import `settings`, `faults`, `sites`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from pipeline.config import faults
from pipeline.config.faults import ConfigError, Fault
from pipeline.config.settings import ENV_DELIMITER, ENV_PREFIX, Settings
from pipeline.sites import SITES, SiteOverrideError

Table = dict[str, Any]  # as tomllib gives it: any value TOML can hold
SECRET_BYTES_MAX = 4_096  # a file beyond this is neither a password nor a token
# Each comes from the environment, or from the file that `…_file` names.
SECRETS = (("broker", "password"), ("influx", "password"), ("influx", "token"))


def load(path: Path | None) -> Settings:
    """The settings of the file at `path`, if given, under those of the environment.

    Raises ConfigError with every fault that can be found at once.
    """
    table = _read(path) if path is not None else {}
    origin = _Origin(path)
    found = [*_unknown_variables(), *_secrets_in(table, origin)]
    try:
        settings = Settings(**table)
    except SettingsError as error:
        raise ConfigError([*found, _undecodable(error)]) from error
    except ValidationError as error:
        found += [faults.of_validation(e, origin.of(e["loc"])) for e in error.errors()]
        raise ConfigError(found) from error
    found += [*_broker_faults(settings, origin), *_influx_faults(settings, origin)]
    found += [*_secret_faults(settings, origin), *_site_faults(settings, origin)]
    found += _directory_faults(settings, origin)
    if found:
        raise ConfigError(found)
    settings = _with_secrets(settings)
    settings._origins = dict(_origins(settings, table, origin))
    return settings


def _origins(settings: Settings, table: Table, origin: _Origin) -> Iterator[tuple[str, str]]:
    """The file or the variable of each key that one of them sets."""
    for key in faults.known_keys():
        section, *between, name = key.split(".")
        for site in settings.sites if between else ("",):
            path = [section, *([site] if between else []), name]
            where = origin.of(path)
            inner: object = table
            for part in path:
                inner = inner.get(part) if isinstance(inner, dict) else None
            if inner is not None or where.startswith("environment"):
                yield ".".join(path), where


class _Origin:
    """Where a setting came from, for the message."""

    def __init__(self, path: Path | None) -> None:
        self._file = str(path) if path is not None else "default"

    def of(self, path: Sequence[str | int]) -> str:
        """The longest variable set for the key or a table around it, else the file."""
        for length in range(len(path), 0, -1):
            name = faults.env_name([str(part) for part in path[:length]])
            if any(variable.upper() == name for variable in os.environ):
                return f"environment variable {name}"
        return self._file

    def fault(self, key: str, value: object, problem: str, remedy: str = "") -> Fault:
        path = key.split(".")
        remedy = remedy or faults.remedy_of(faults.field_at(path))
        return Fault(key, faults.show(value), self.of(path), problem, remedy)


def _read(path: Path) -> Table:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        remedy = "check the name, or start from docs/myoguard.example.toml"
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 text (byte {error.start})"
        remedy = "save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        problem = f"is not TOML: {error}"
        remedy = "correct the line; text stands in quotes, a table begins with [name]"
    else:
        return _with_absolute_paths(table, path)
    raise ConfigError([Fault("", "", str(path), problem, remedy)])


def _with_absolute_paths(table: Table, path: Path) -> Table:
    """Relative paths lead from the file, wherever the command was given."""
    found = []
    for key, field in faults.known_keys().items():
        section, _, name = key.partition(".")
        inner = table.get(section)
        if not isinstance(inner, dict) or not isinstance(inner.get(name), str):
            continue
        if Path in faults.kinds(field):
            try:
                inner[name] = str(path.parent.absolute() / Path(inner[name]).expanduser())
            except RuntimeError:  # as `~name` has it
                problem = "is in the home directory of somebody who has none"
                remedy = "write the path from / on, or from ~/"
                found.append(Fault(key, faults.show(inner[name]), str(path), problem, remedy))
    if found:
        raise ConfigError(found)
    return table


def _unknown_variables() -> Iterator[Fault]:
    """Variables with our prefix that name no section: those within one, pydantic finds."""
    for variable, value in sorted(os.environ.items()):
        name = variable.upper()
        if name.startswith(ENV_PREFIX):
            path = name.removeprefix(ENV_PREFIX).lower().split(ENV_DELIMITER)
            if path[0] not in Settings.model_fields:
                yield faults.unknown(path, value, f"environment variable {variable}")


def _secrets_in(table: Table, origin: _Origin) -> Iterator[Fault]:
    for section, name in SECRETS:
        inner = table.get(section)
        if isinstance(inner, dict) and name in inner:
            yield Fault(
                f"{section}.{name}",
                faults.HIDDEN,
                origin.of([]),
                f"a {name} does not belong in this file, which is shown and copied",
                f"set {faults.env_name([section, name])}, or {section}.{name}_file",
            )


def _undecodable(error: SettingsError) -> Fault:
    """A section that a variable gives as JSON, and it is none."""
    name = str(error).rpartition('field "')[2].partition('"')[0]
    variable = faults.env_name([name])
    problem = "is not JSON"
    remedy = f"set its keys one by one, such as {variable}{ENV_DELIMITER}…"
    return Fault(name, faults.HIDDEN, f"environment variable {variable}", problem, remedy)


def _broker_faults(settings: Settings, origin: _Origin) -> Iterator[Fault]:
    broker = settings.broker
    for name in ("ca_file", "cert_file", "key_file"):
        yield from _tls_faults(origin, "broker", broker.url, name, getattr(broker, name))
    if (broker.cert_file is None) != (broker.key_file is None):
        given, other = ("cert_file", "key_file") if broker.cert_file else ("key_file", "cert_file")
        problem, remedy = f"is of no use without broker.{other}", f"set broker.{other} too"
        yield origin.fault(f"broker.{given}", getattr(broker, given), problem, remedy)
    if broker.password is not None and not (broker.username or urlsplit(broker.url).username):
        yield _no_user(origin, "broker")


def _influx_faults(settings: Settings, origin: _Origin) -> Iterator[Fault]:
    influx = settings.influx
    yield from _tls_faults(origin, "influx", influx.url or "", "ca_file", influx.ca_file)
    token, password = influx.token or influx.token_file, influx.password or influx.password_file
    if password and not influx.username:
        yield _no_user(origin, "influx")
    if token and influx.username:
        problem, remedy = "a token says who we are already", "keep the token, or user and password"
        yield origin.fault("influx.username", influx.username, problem, remedy)
    if influx.url and influx.spool_max_gb > settings.store.size_max_gb / 2:
        problem = "is more than half of store.size_max_gb, and nothing else would have room"
        remedy = "lower it, or raise store.size_max_gb"
        yield origin.fault("influx.spool_max_gb", influx.spool_max_gb, problem, remedy)


def _tls_faults(
    origin: _Origin, section: str, url: str, name: str, file: Path | None
) -> Iterator[Fault]:
    if file is None:
        return
    scheme = "mqtts" if section == "broker" else "https"
    if not url.startswith(f"{scheme}://"):
        remedy = f"write {scheme}:// in {section}.url, or leave this out"
        yield origin.fault(f"{section}.{name}", file, f"is for {scheme}:// only", remedy)
    elif problem := _unreadable(file):
        yield origin.fault(f"{section}.{name}", file, problem)


def _no_user(origin: _Origin, section: str) -> Fault:
    where, problem = origin.of([section, "password"]), "there is no user to go with it"
    remedy = f"set {section}.username, or leave the password out"
    return Fault(f"{section}.password", faults.HIDDEN, where, problem, remedy)


def _secret_faults(settings: Settings, origin: _Origin) -> Iterator[Fault]:
    for section, name in SECRETS:
        held = getattr(settings, section)
        key, file = f"{section}.{name}_file", getattr(held, f"{name}_file")
        if file is None:
            continue
        if getattr(held, name) is not None:
            remedy = f"keep one of the two: unset {faults.env_name([section, name])}"
            yield origin.fault(key, file, f"{section}.{name} is set too", remedy)
        elif problem := _unreadable(file) or _no_secret(file, name):
            yield origin.fault(key, file, problem)


def _site_faults(settings: Settings, origin: _Origin) -> Iterator[Fault]:
    try:
        _ = settings.site_table
    except SiteOverrideError as error:
        for fault in error.faults:
            key = ".".join(filter(None, ("sites", fault.site, fault.column)))
            if fault.column:
                problem, _, remedy = fault.remedy.partition("; ")
                yield origin.fault(key, fault.value, problem, remedy)
            else:
                remedy = faults.nearest(fault.site, SITES) or f"known are {', '.join(SITES)}"
                yield origin.fault(key, fault.value, "there is no such site", remedy)


def _directory_faults(settings: Settings, origin: _Origin) -> Iterator[Fault]:
    """Directories that are read must be there if somebody named them; ours to write are made."""
    named = {
        "calibration.directory": settings.calibration.directory,
        "profiles.directory": settings.profiles.directory,
    }
    for key, directory in named.items():
        section, name = key.split(".")
        is_named = name in getattr(settings, section).model_fields_set
        if directory is not None and is_named and not directory.is_dir():
            yield origin.fault(key, directory, "is not a directory", "make it, or correct the path")
    if settings.store.directory.exists() and not settings.store.directory.is_dir():
        problem, remedy = "is a file", "name a directory, or a path where one can be made"
        yield origin.fault("store.directory", settings.store.directory, problem, remedy)


def _unreadable(file: Path) -> str | None:
    try:
        with file.open("rb"):
            return None
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _no_secret(file: Path, name: str) -> str | None:
    """What is wrong with a file that should hold one line, the secret."""
    with file.open("rb") as opened:
        content = opened.read(SECRET_BYTES_MAX + 1)
    try:
        lines = content.decode("utf-8").strip().splitlines()
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    if len(content) > SECRET_BYTES_MAX or len(lines) != 1:
        return f"must hold the {name} on one line, and nothing else"
    return None


def _with_secrets(settings: Settings) -> Settings:
    """The secrets of the files in their places, so that nobody asks twice."""
    for section, name in SECRETS:
        held = getattr(settings, section)
        file = getattr(held, f"{name}_file")
        if file is not None:
            secret = SecretStr(file.read_text(encoding="utf-8").strip())
            read = held.model_copy(update={name: secret})
            settings = settings.model_copy(update={section: read})
    return settings
