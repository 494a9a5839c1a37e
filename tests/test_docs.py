"""The documents are true: commands, files, links, numbers and examples are those of the code."""

from __future__ import annotations

import re
import shlex
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import typer

from pipeline import (
    alarm_docs,
    baseline,
    calibration,
    contact,
    dwell,
    force,
    kernels,
    model,
    rules,
    stiffness,
    tracking,
    waveform,
    weighting,
    wire,
)
from pipeline.cli import app
from pipeline.config import load

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group of them
LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
# Of what `code` stands for: a file of this repository, in whole or by its folder.
OUR_PATH = re.compile(r"(?:pipeline|devices|dashboards|deploy|tests|benchmarks|docs)/[\w./-]*\w/?")
MATHS = (
    *(contact, dwell, force, baseline, waveform, kernels, tracking, weighting, stiffness),
    rules.conditions,
)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_indent(block: str) -> str:
    return "\n".join(line.strip() for line in block.splitlines())


@lru_cache
def shown_commands() -> list[tuple[str, str]]:
    """(page, line) of every command of ours that a document shows, in a block or in a line."""
    return [
        (page.name, line)
        for page in PAGES
        for line in map(str.strip, code_of(text_of(page)))
        if re.match(r"(?:myoguard|make|python -m) [a-z]", line)
    ]


def code_of(text: str) -> list[str]:
    blocks = [line for _, block in FENCE.findall(text) for line in block.splitlines()]
    return blocks + CODE.findall(FENCE.sub("", text))


def pages() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


# ---------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("shown", shown_commands(), ids=" ".join)
def test_every_command_shown_exists_with_its_options(shown: tuple[str, str]) -> None:
    page, line = shown
    program, *words = shlex.split(line.partition(">")[0])
    if program == "make":
        assert words[0] in makefile_targets(), f"{page}: the Makefile has no target {words[0]}"
    elif program == "python":
        module = ROOT / Path(*words[1].split("."))
        assert module.is_dir() or module.with_suffix(".py").is_file(), f"{page}: no {words[1]}"
    else:
        check_our_command(page, words)


def check_our_command(page: str, words: list[str]) -> None:
    command = COMMANDS.get(words[0])
    assert command is not None, f"{page}: there is no `myoguard {words[0]}`"
    inner = getattr(command, "commands", None)
    if inner is not None and len(words) > 1:  # a command of commands, such as `account add`
        command = inner.get(words[1])
        assert command is not None, f"{page}: there is no `myoguard {' '.join(words[:2])}`"
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    given = {word for word in words[1:] if word.startswith("--")}
    assert given <= known, f"{page}: `myoguard {words[0]}` has no {', '.join(given - known)}"


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))


def test_every_command_is_shown_somewhere() -> None:
    shown = {line.split()[1] for _, line in shown_commands() if line.startswith("myoguard")}
    inline = {
        word for page in PAGES for code in CODE.findall(text_of(page)) for word in code.split()
    }
    missing = set(COMMANDS) - shown - inline
    assert not missing, f"no document speaks of {', '.join(sorted(missing))}"


# --------------------------------------------------------------------------------- files and links


@pages()
def test_every_link_leads_somewhere(page: Path) -> None:
    for name, target in LINK.findall(text_of(page)):
        if OUR_PATH.fullmatch(name):
            assert (ROOT / name).exists(), f"{page.name}: {name} does not exist"
        if target.startswith(("http://", "https://")):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target} does not exist"
        if heading:
            assert heading in anchors(file), f"{page.name}: {file.name} has no heading #{heading}"


def anchors(page: Path) -> set[str]:
    """Headings as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).strip().replace(" ", "-") for each in headings}


@pages()
def test_every_file_spoken_of_exists(page: Path) -> None:
    for code in CODE.findall(FENCE.sub("", text_of(page))):
        path, _, test = code.partition("::")
        if not OUR_PATH.fullmatch(path) or "__pycache__" in path:
            continue
        assert (ROOT / path).exists(), f"{page.name}: {path} does not exist"
        if test:
            source = text_of(ROOT / path)
            assert re.search(rf"^def {test}\(", source, re.MULTILINE), f"{page.name}: no {code}"


def test_every_picture_is_shown() -> None:
    shown = "".join(map(text_of, PAGES))
    pictures = (ROOT / "docs" / "img").rglob("*.*")
    hidden = [each.name for each in pictures if str(each.relative_to(ROOT / "docs")) not in shown]
    assert not hidden


# ------------------------------------------------------------------------------------ vocabulary


def table(page: str, heading: str) -> Iterator[list[str]]:
    """The cells of the rows of the table whose first column is called `heading`."""
    inside = False
    for line in text_of(ROOT / "docs" / page).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] == heading:
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not cells[0].startswith("---"):
            yield cells


def test_the_vocabulary_is_alphabetical_and_says_each_word_once() -> None:
    words = [cells[0] for cells in table("vocabulary.md", "word")]
    keys = [re.sub(r"[^a-z0-9 ]", "", re.sub("[_-]", " ", word.lower())) for word in words]
    assert len(words) > 100
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "kind",
    [
        model.AlarmState,
        model.MotorState,
        model.Quality,
        model.Priority,
        model.ActionKind,
        model.StreamEventKind,
        rules.AlarmKind,
    ],
)
def test_the_vocabulary_knows_what_the_code_says(kind: type[model.AlarmState]) -> None:
    text = re.sub("[_-]", " ", text_of(ROOT / "docs" / "vocabulary.md").lower())
    unsaid = {model.StreamEventKind.FIRST_FRAME}  # the first is no trouble, and nobody is told
    for value in set(kind) - unsaid:
        word = value.value.replace("_", " ").removeprefix("sequence ")
        assert re.search(rf"\b{word}\b", text), f"the vocabulary does not know {value.value!r}"


# --------------------------------------------------------------------------------------- numbers


def constant(name: str) -> float:
    """The value of the one constant of that name in the modules that detect."""
    homes: list[ModuleType] = [each for each in MATHS if hasattr(each, name)]
    assert homes, f"no module that detects has {name}"
    (value,) = {getattr(home, name) for home in homes}
    return float(value)


def test_the_numbers_of_detection_are_those_of_the_code() -> None:
    rows = list(table("detection.md", "name"))
    assert len(rows) > 20
    for name, value, *_ in rows:
        assert constant(name.strip("`")) == float(value), f"detection.md: {name} is another number"


def test_what_a_bench_is_refused_for_is_as_calibration_says() -> None:
    text = text_of(ROOT / "docs" / "calibration.md")
    said = {
        "LEAST_HOPS": "fewer than {:g} quarter seconds",
        "LEAST_LIKENESS": "(correlation under {:g})",
        "LEAST_SPEEDS": "at fewer than {:g} speeds",
        "LOADED_N": "steady load over {:g} N",
        "LEAST_LEVELS": "fewer than {:g} different loads",
        "LEAST_ORDER": "(rank correlation under {:g})",
        "FREE_N": "seconds under {:g} N",
        "ALIGN_MOST_S": "within {:g} s of each other",
    }
    for name, words in said.items():
        expected = words.format(getattr(calibration, name))
        assert expected in text, f"calibration.md does not say {expected!r}"
    assert f"over {100 * calibration.MOST_CLIPPED:g} % of the loaded data" in text
    assert f"never under {100 * calibration.LEAST_SD:g} %" in text
    assert f"by over a factor of {np.exp(calibration.LARGEST_SHIFT):.0f} in the median" in text


def test_calibration_explains_every_key_of_its_file() -> None:
    explained = {key for cells in table("calibration.md", "key") for key in CODE.findall(cells[0])}
    written = {*calibration._TUPLES, *calibration._COMPLEX, *calibration._SCALARS, calibration._AT}
    assert explained == written


def test_the_state_of_a_gun_is_as_large_as_the_architecture_says() -> None:
    size = kernels.SIGNAL.itemsize + contact.CONTACT.itemsize
    (row,) = [cells for cells in table("architecture.md", "") if cells[0] == "state of a gun"]
    assert row[1:] == ["4,096 bytes", f"{size:,} bytes"]


def test_the_architecture_names_every_module() -> None:
    text = text_of(ROOT / "docs" / "architecture.md")
    found = [each.name.removesuffix(".py") for each in (ROOT / "pipeline").iterdir()]
    modules = {name for name in found if not name.startswith((".", "_"))}
    missing = {name for name in modules if f"`{name}`" not in text}
    assert not missing, f"architecture.md gives no layer to {', '.join(sorted(missing))}"


# ------------------------------------------------------------------------------- the wire, settings


def wire_examples() -> list[tuple[str, str]]:
    text = text_of(ROOT / "docs" / "wire.md")
    return re.findall(r"^`(massage/v1/[^`]+)`[^\n]*\n\n```json\n(.*?)```", text, re.M | re.S)


@pytest.mark.parametrize("example", wire_examples(), ids=lambda example: example[0])
def test_every_message_of_the_wire_page_is_read(example: tuple[str, str]) -> None:
    topic, payload = example
    message = wire.decode(topic, payload.encode())
    if not isinstance(message, model.Frame):
        assert wire.decode(*wire.encode(message)) == message


def test_the_wire_page_shows_every_kind_that_is_sent() -> None:
    shown = {wire.parse_topic(topic).kind for topic, _ in wire_examples()}
    unshown = {wire.TopicKind.COMMAND, wire.TopicKind.COMMAND_RESULT, wire.TopicKind.REJECTED}
    assert shown == set(wire.TopicKind) - unshown
    topics = {cells[0].strip("`") for cells in table("wire.md", "topic, after `massage/v1/`")}
    assert len(topics) == len(wire.TopicKind)
    for topic in topics:
        filled = re.sub(r"\{(\w+)\}", r"\1", topic)
        wire.parse_topic(f"massage/v1/{filled}")


def test_the_header_of_the_wire_page_is_what_frames_have() -> None:
    samples = np.arange(8, dtype=np.int16).reshape(2, 4)
    id_ = model.DeviceId("north", "gun-1")
    frame = model.Frame(
        *(id_, 2**31 + 7, 2**31 + 3, 2**63, 1600.5, 400.0, 0.5, 0.25, samples),
        battery_mv=40_000,
        temperature_c=-31.5,
    )
    _, payload = wire.encode(frame)
    letters = {"4s": "4s", "u16": "H", "u32": "I", "u64": "Q", "f32": "f", "i16": "h"}
    found, end = {}, 0
    for offset, kind, name, _ in table("wire.md", "offset"):
        assert int(offset) == end, f"{name} does not follow what is before it"
        (found[name],) = struct.unpack_from(f"<{letters[kind]}", payload, end)
        end += struct.calcsize(f"<{letters[kind]}")
    assert found == {
        "magic": b"MGF1", "header_bytes": 48, "flags": 1, "boot_id": 2**31 + 7, "seq": 2**31 + 3,
        "t0_ns": 2**63, "rate_hz": 1600.5, "sample_count": 2, "set_percussion_chz": 40_000,
        "accel_g_per_lsb": 0.5, "current_a_per_lsb": 0.25, "battery_mv": 40_000,
        "temperature_cc": -3150, "reserved": 0,
    }  # fmt: skip
    assert payload[end : end + 16] == samples.tobytes()


def test_the_configuration_of_the_readme_is_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MYOGUARD_BROKER__URL", raising=False)
    (block,) = [body for kind, body in FENCE.findall(text_of(ROOT / "README.md")) if kind == "toml"]
    secret = tmp_path / "broker"
    secret.write_text("correct horse")
    config = tmp_path / "myoguard.toml"
    config.write_text(without_indent(block).replace("/run/secrets/broker", str(secret)))
    found = load(config)
    assert found.broker.url.startswith("mqtts://")
    assert found.site_table.limits("calf_left").force_limit_n == 40.0


def test_the_page_of_alarms_is_fresh() -> None:
    assert text_of(ROOT / "docs" / "alarms.md") == alarm_docs.alarms_page()


def test_the_readme_says_what_has_to_be_said() -> None:
    text = " ".join(text_of(ROOT / "README.md").split())
    for words in (
        "**not a medical device**",
        "No public recording of an instrumented massage gun exists",
        "Rocking the wrist on the spot looks like moving",
        "asyncio-mqtt",
        "max_inflight_messages",
        "max_queued_messages",
    ):
        assert words in text, f"the README does not say {words!r}"
    assert text.count("evidence") == 1, "that the evidence for massage is modest is said once"
