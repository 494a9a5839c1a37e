"""The settings: what is given is what is in force, and every fault is named with its remedy."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.config import ConfigError, Settings, faults, load, reference
from pipeline.sites import SITES

DOCS = Path(__file__).parent.parent / "docs"
SECRET = "hunter2-correct-horse"  # noqa: S105 - to be looked for where it must not be
KEYS = {key.replace("<site>", "calf"): field for key, field in faults.known_keys().items()}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.upper().startswith("MYOGUARD_"):
            monkeypatch.delenv(variable)


def write(directory: Path, text: str) -> Path:
    path = directory / "myoguard.toml"
    path.write_text(text, encoding="utf-8")
    return path


def toml(key: str, value: object) -> str:
    """One key as a file; JSON is TOML for what is tried here."""
    table, _, name = key.rpartition(".")
    return f"[{table}]\n{name} = {json.dumps(value)}\n"


def refused(path: Path | None) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        load(path)
    return error.value


def test_without_a_file_everything_has_a_safe_default() -> None:
    found = load(None)
    assert found.page.host == "127.0.0.1"
    assert (found.publish.alarms, found.publish.live, found.publish.commands) == (True, True, False)
    assert found.broker.url == "mqtt://127.0.0.1:1883"
    assert found.store.directory.is_absolute()
    assert found.store.size_bytes_max == 10_000_000_000
    assert dict(found.site_table.rows) == dict(SITES)


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path,
        '[broker]\nurl = "mqtt://file:1883"\nclient_id = "from-file"\n'
        "[sites.calf]\nforce_limit_n = 40\ndwell_limit_s = 25\n",
    )
    monkeypatch.setenv("MYOGUARD_BROKER__URL", "mqtts://environment:8883")
    monkeypatch.setenv("MYOGUARD_SITES__CALF__FORCE_LIMIT_N", "35")
    monkeypatch.setenv("MYOGUARD_PUBLISH__COMMANDS", "true")
    found = load(path)
    assert found.broker.url == "mqtts://environment:8883"
    assert found.broker.client_id == "from-file"
    assert found.broker.protocol == "3.1.1"
    assert found.publish.commands
    calf = found.site_table.limits("calf_left")
    assert (calf.force_limit_n, calf.dwell_limit_s) == (35.0, 25.0)
    assert calf.tendon_limit_n == SITES["calf"].tendon_limit_n


def test_settings_cannot_be_changed() -> None:
    found = load(None)
    with pytest.raises(ValidationError, match="frozen"):
        found.page = found.page  # type: ignore[misc]  # that is what is tried
    with pytest.raises(ValidationError, match="frozen"):
        found.page.port = 1  # type: ignore[misc]


def test_paths_in_the_file_lead_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "units").mkdir()
    (tmp_path / "home" / "mine").mkdir(parents=True)
    path = write(
        tmp_path,
        '[store]\ndirectory = "data"\n[calibration]\ndirectory = "units"\n'
        '[profiles]\ndirectory = "~/mine"\n',
    )
    found = load(path)
    assert found.store.directory == tmp_path / "data"
    assert found.calibration.directory == tmp_path / "units"
    assert found.profiles.directory == tmp_path / "home" / "mine"


@pytest.mark.parametrize("key", KEYS)
def test_a_misspelt_key_is_answered_with_the_right_one(tmp_path: Path, key: str) -> None:
    table, _, name = key.rpartition(".")
    misspelt = f"{table}.{name[:-1]}{name[-1] * 2}"
    (fault,) = refused(write(tmp_path, toml(misspelt, 1))).faults
    assert fault.key == misspelt
    assert f"did you mean {key}?" in fault.remedy.replace("<site>", "calf")


@pytest.mark.parametrize("key", KEYS)
def test_a_misspelt_variable_is_answered_with_the_right_key(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    table, _, name = key.rpartition(".")
    variable = faults.env_name([*table.split("."), f"{name}{name[-1]}"])
    monkeypatch.setenv(variable, "1")
    (fault,) = refused(None).faults
    assert variable in fault.where
    assert f"did you mean {key}?" in fault.remedy


@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_the_wrong_kind_is_named_with_its_key(tmp_path: Path, key: str) -> None:
    wrong = [1, 2, 3]
    found = refused(write(tmp_path, toml(key, wrong))).faults
    named = [fault for fault in found if fault.key == key]
    assert named, found
    for fault in named:
        assert fault.value in (json.dumps(wrong), faults.HIDDEN)
        assert fault.where == str(tmp_path / "myoguard.toml")
        assert "must be" in fault.problem or faults.is_secret(KEYS[key])
        assert fault.remedy


@pytest.mark.parametrize(
    ("text", "key", "value", "words"),
    [
        ("page = 3", "page", "3", "write [page]"),
        ("sites = 3", "sites", "3", "write [sites.calf]"),
        ("[sites]\ncalf = 3", "sites.calf", "3", "write [sites.calf]"),
        ("[pages]\nport = 1", "pages", "{ … }", "did you mean page?"),
        ("[broker]\nport = 1", "broker.port", "1", "did you mean metrics.port?"),
        ("[broker]\nxyzzy = 1", "broker.xyzzy", "1", "known here are ca_file, cert_file"),
        ("[page]\nport = 70000", "page.port", "70000", "less than or equal to 65535"),
        ("[page]\nport = 8080.5", "page.port", "8080.5", "leave it out for 8080"),
        ('[page]\nhost = "a b"', "page.host", '"a b"', "an address"),
        ('[broker]\nurl = "localhost"', "broker.url", '"localhost"', "mqtt://host:port"),
        ('[broker]\nurl = "http://h"', "broker.url", '"http://h"', "mqtt://host:port"),
        ('[broker]\nurl = "mqtt://h:x"', "broker.url", '"mqtt://h:x"', "mqtt://host:port"),
        ('[broker]\nprotocol = "4"', "broker.protocol", '"4"', "'3.1.1' or '5'"),
        ('[broker]\nclient_id = ""', "broker.client_id", '""', "1 to 128"),
        ("[store]\nsize_max_gb = inf", "store.size_max_gb", "Infinity", "finite"),
        ("[store]\nfeatures_days = 0", "store.features_days", "0", "greater than 0"),
        ("[monitor]\ndevices_max = 0", "monitor.devices_max", "0", "leave it out for 5000"),
        ("[sites.calv]\nnever = true", "sites.calv", "{ … }", "did you mean calf?"),
        ("[sites.calf]\nforce_limit_n = 900", "sites.calf.force_limit_n", "900.0", "ceiling"),
        ("[sites.calf]\nforce_limit_n = 0", "sites.calf.force_limit_n", "0.0", "above 0"),
        ("[sites.spine]\nnever = false", "sites.spine.never", "false", "remove the line"),
    ],
)
def test_a_fault_names_key_value_and_remedy(
    tmp_path: Path, text: str, key: str, value: str, words: str
) -> None:
    (fault,) = refused(write(tmp_path, text)).faults
    assert (fault.key, fault.value) == (key, value)
    assert words in f"{fault.problem}; {fault.remedy}"
    line = str(fault)
    assert line.startswith(f"{key} = {value} ({tmp_path / 'myoguard.toml'}): ")
    assert "\n" not in line


def test_every_fault_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYOGUARD_PAGE__PORT", "many")
    monkeypatch.setenv("MYOGUARD_PAGES", "1")
    error = refused(write(tmp_path, "[store]\nsize = 1\n[monitor]\ndevices_max = -1\n"))
    assert {fault.key for fault in error.faults} == {
        "page.port",
        "pages",
        "store.size",
        "monitor.devices_max",
    }
    assert len(str(error).splitlines()) == 4
    assert "environment variable MYOGUARD_PAGE__PORT" in str(error)


def test_a_section_given_as_broken_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYOGUARD_BROKER", f'{{"password": "{SECRET}"')
    (fault,) = refused(None).faults
    assert fault.key == "broker"
    assert "MYOGUARD_BROKER__" in fault.remedy
    assert SECRET not in str(fault)


def _missing(path: Path) -> None:
    assert not path.exists()


def _directory(path: Path) -> None:
    path.mkdir()


def _latin1(path: Path) -> None:
    path.write_bytes("# Kälte".encode("latin-1"))


def _not_toml(path: Path) -> None:
    path.write_text("[page]\nhost = localhost\n")


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (_missing, "check the name"),
        (_directory, "cannot be read"),
        (_latin1, "not UTF-8"),
        (_not_toml, "line 2"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_in_one_line(
    tmp_path: Path, prepare: object, words: str
) -> None:
    path = tmp_path / "myoguard.toml"
    assert callable(prepare)
    prepare(path)
    text = str(refused(path))
    assert str(path) in text
    assert words in text
    assert "\n" not in text


def test_the_password_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    from_file = load(write(tmp_path, '[broker]\nusername = "u"\npassword_file = "secret"\n')).broker
    monkeypatch.setenv("MYOGUARD_BROKER__PASSWORD", SECRET)
    from_environment = load(write(tmp_path, '[broker]\nusername = "u"\n')).broker
    for broker in (from_file, from_environment):
        assert broker.password is not None
        assert broker.password.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        (f'[broker]\npassword = "{SECRET}"', {}),
        (f'[broker]\npasword = "{SECRET}"', {}),
        (f'[broker]\nbroker_secret = "{SECRET}"', {}),
        (f'[broker]\nurl = "mqtt://u:{SECRET}@host"', {}),
        (f'[broker]\nurl = "mqtt://u:{SECRET}@host:port"', {}),
        (f'[brokr]\npassword = "{SECRET}"', {}),
        (f'brokr.password = "{SECRET}"', {}),
        ("", {"MYOGUARD_BROKER__PASSWORD": SECRET}),  # without a user
        ("", {"MYOGUARD_BROKER__PASSWORDS": SECRET}),
        ("", {"MYOGUARD_BROKER_PASSWORD": SECRET}),
        ("", {"MYOGUARD_BROKR__PASSWORD": SECRET}),
        ("", {"MYOGUARD_BROKER__PASSWORD__X": SECRET}),
    ],
)
def test_a_secret_is_shown_by_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, environment: Mapping[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    error = refused(write(tmp_path, text))
    assert SECRET not in str(error)
    assert SECRET not in repr(error.faults)


def test_a_secret_is_shown_by_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYOGUARD_BROKER__USERNAME", "u")
    monkeypatch.setenv("MYOGUARD_BROKER__PASSWORD", SECRET)
    found = load(None)
    assert SECRET not in f"{found!r} {found} {found.model_dump()} {found.model_dump_json()}"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('ca_file = "there"', ["broker.ca_file"]),
        ('url = "mqtts://h"\nca_file = "nowhere"', ["broker.ca_file"]),
        ('url = "mqtts://h"\ncert_file = "there"', ["broker.cert_file"]),
        ('url = "mqtts://h"\nkey_file = "there"', ["broker.key_file"]),
        ('username = "u"\npassword_file = "nowhere"', ["broker.password_file"]),
        ('username = "u"\npassword_file = "two_lines"', ["broker.password_file"]),
        ('username = "u"\npassword_file = "empty"', ["broker.password_file"]),
        ('username = "u"\npassword_file = "huge"', ["broker.password_file"]),
        ('username = "u"\npassword_file = "binary"', ["broker.password_file"]),
    ],
)
def test_files_that_cannot_serve_are_found_before_anything_starts(
    tmp_path: Path, text: str, keys: list[str]
) -> None:
    (tmp_path / "there").write_text("PEM")
    (tmp_path / "two_lines").write_text("a\nb\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "huge").write_text("a" * 10_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    found = refused(write(tmp_path, f"[broker]\n{text}\n")).faults
    assert [fault.key for fault in found] == keys


def test_two_passwords_are_one_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text(SECRET)
    monkeypatch.setenv("MYOGUARD_BROKER__PASSWORD", SECRET)
    path = write(tmp_path, '[broker]\nusername = "u"\npassword_file = "secret"\n')
    (fault,) = refused(path).faults
    assert fault.key == "broker.password_file"
    assert "MYOGUARD_BROKER__PASSWORD" in fault.remedy


def test_directories_somebody_named_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = write(
        tmp_path,
        '[calibration]\ndirectory = "nowhere"\n[profiles]\ndirectory = "file"\n'
        '[store]\ndirectory = "file"\n',
    )
    found = {fault.key for fault in refused(path).faults}
    assert found == {"calibration.directory", "profiles.directory", "store.directory"}


OTHER_VALUES: Mapping[str, object] = {
    "broker.url": "mqtts://elsewhere:1",
    "broker.client_id": "another",
    "broker.protocol": "5",
    "broker.redelivery_s": 3.5,
    "broker.nats_url": "nats://elsewhere:4222",
    "metrics.enabled": False,
    "metrics.host": "::1",
    "metrics.port": 9,
    "broker.log_max_gb": 3.0,
    "broker.username": "u",
    "store.size_max_gb": 3.5,
    "store.features_days": 3.5,
    "store.rollups_days": 3.5,
    "store.records_days": 3.5,
    "monitor.reorder_window_s": 0.25,
    "monitor.devices_max": 7,
    "page.enabled": False,
    "page.host": "::1",
    "page.port": 9,
    "page.public_url": "https://guns.example",
    "publish.alarms": False,
    "publish.live": False,
    "publish.commands": True,
    "capture.enabled": False,
    "capture.size_max_gb": 3.5,
    "capture.memory_max_mb": 64.0,
    "capture.sessions": True,
    "capture.sessions_size_max_gb": 3.5,
    "influx.url": "https://elsewhere:1",
    "influx.org": "another",
    "influx.bucket": "another",
    "influx.bucket_long": "another",
    "influx.username": "u",
    "influx.gzip": True,
    "influx.timeout_s": 3.5,
    "influx.spool_max_gb": 3.5,
    "sites.calf.force_limit_n": 31.0,
    "sites.calf.tendon_limit_n": 11.0,
    "sites.calf.dwell_advisory_s": 3.0,
    "sites.calf.dwell_limit_s": 33.0,
    "sites.calf.never": True,
}


@pytest.mark.parametrize("key", KEYS)
def test_the_version_changes_with_what_alarms_hang_on_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    plain = load(None).config_version
    assert plain == load(None).config_version
    assert len(plain) == 12
    if faults.is_secret(KEYS[key]):
        section, _, name = key.partition(".")
        if name == "password":
            monkeypatch.setenv(faults.env_name([section, "username"]), "u")
        monkeypatch.setenv(faults.env_name([section, name]), SECRET)
        assert load(None).config_version == plain
    elif Path in faults.kinds(KEYS[key]):
        assert key not in OTHER_VALUES
        found = Settings(store={"directory": str(tmp_path)})
        assert found.config_version == plain
    else:
        changed = load(write(tmp_path, toml(key, OTHER_VALUES[key]))).config_version
        assert (changed != plain) is key.startswith(("monitor.", "sites."))


def test_saying_a_default_aloud_changes_no_version(tmp_path: Path) -> None:
    aloud = write(tmp_path, "[page]\nport = 8080\n[sites.calf]\nforce_limit_n = 50\n")
    assert load(aloud).config_version == load(None).config_version


VALUES = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.lists(st.integers(), max_size=2),
)


def test_the_home_of_nobody_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(write(tmp_path, '[broker]\nca_file = "~nobody-here/ca.pem"\n'))
    (fault,) = raised.value.faults
    assert (fault.key, fault.value) == ("broker.ca_file", '"~nobody-here/ca.pem"')
    assert "home directory" in fault.problem


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(KEYS)), VALUES, max_size=6))
@example({"broker.ca_file": "~0"})
def test_any_values_give_settings_or_faults_and_nothing_else(values: dict[str, object]) -> None:
    tables: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        table, _, name = key.rpartition(".")
        tables.setdefault(table, {})[name] = value
    text = "".join(
        "".join([f"[{table}]\n", *(f"{name} = {json.dumps(v)}\n" for name, v in keys.items())])
        for table, keys in tables.items()
    )
    found: tuple[faults.Fault, ...] | None = None
    with tempfile.TemporaryDirectory() as place:
        try:
            load(write(Path(place), text))
        except ConfigError as error:
            found = error.faults
    assert found is None or found
    assert all(fault.key and fault.problem and fault.remedy for fault in found or ())


@pytest.mark.parametrize("name", ["configuration.md", "myoguard.example.toml"])
def test_the_pages_say_what_the_settings_are(name: str) -> None:
    kind = {"configuration.md": "page", "myoguard.example.toml": "example"}[name]
    command = f"python -m pipeline.config.reference {kind} > docs/{name}"
    text = (DOCS / name).read_text(encoding="utf-8")
    assert text == getattr(reference, kind)(), f"run: {command}"


def test_the_example_is_a_configuration_and_shows_every_key() -> None:
    path = DOCS / "myoguard.example.toml"
    assert load(path).config_version == load(None).config_version
    shown = {line.split()[1] for line in path.read_text().splitlines() if line.startswith("# ")}
    secret = {key for key, field in KEYS.items() if faults.is_secret(field)}
    assert {key.rpartition(".")[2] for key in KEYS.keys() - secret} <= shown
