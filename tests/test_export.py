"""`myoguard export`: a session of the store as a file that others read."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest
from store_records import GUN, OTHER, SECOND_NS, T0_NS, alarm, hop, session

from pipeline.cli import exporting
from pipeline.cli.terminal import CommandError
from pipeline.model import AlarmState
from pipeline.store import Store


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of 20 s with one alarm, and a gun's time before and after it."""
    directory = tmp_path / "store"
    monkeypatch.setenv("MYOGUARD_STORE__DIRECTORY", str(directory))
    hops = [
        hop(T0_NS + i * SECOND_NS, session_id="s-01" if 10 <= i < 30 else None) for i in range(40)
    ]
    ended = replace(session("s-01", T0_NS + 10 * SECOND_NS), ended_at_ns=T0_NS + 29 * SECOND_NS)
    states = (AlarmState.ACTIVE_UNACK, AlarmState.CLEARED)
    with Store.open(directory) as opened:
        opened.checkpoint([*hops, ended, *(alarm("OVERDWELL", state) for state in states)], b"")


def test_a_session_is_written_as_parquet_and_nothing_around_it(tmp_path: Path) -> None:
    out = tmp_path / "session.parquet"
    exporting.export("s-01", out)
    table = pyarrow.parquet.read_table(out)
    times = table["t_ns"].to_pylist()
    assert times == [T0_NS + i * SECOND_NS for i in range(10, 30)]
    assert set(table["device"].to_pylist()) == {GUN.device}
    assert table["contact_force_n"].to_pylist() == [1.0] * 20


def test_the_same_as_csv_and_its_alarms_in_order(tmp_path: Path) -> None:
    out, alarms = tmp_path / "session.csv", tmp_path / "alarms.csv"
    exporting.export("s-01", out)
    exporting.export("s-01", alarms, alarms=True)
    with out.open(newline="") as file:
        assert [row["session_id"] for row in csv.DictReader(file)] == ["s-01"] * 20
    with alarms.open(newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["active_unack", "cleared"]


def test_what_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"no session 's-7' .* the newest are s-01"):
        exporting.export("s-7", tmp_path / "x.csv")
    with pytest.raises(CommandError, match="let it end in"):
        exporting.export("s-01", tmp_path / "x.xlsx")
    exporting.export("s-01", tmp_path / "x.csv")
    with pytest.raises(CommandError, match="File exists"):
        exporting.export("s-01", tmp_path / "x.csv")


def test_a_name_that_two_guns_used_wants_the_gun(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as opened:
        opened.checkpoint([session("s-01", T0_NS, OTHER._replace(device="gun-2"))], b"")
    with pytest.raises(CommandError, match="say --device"):
        exporting.export("s-01", tmp_path / "x.csv")
    exporting.export("s-01", tmp_path / "x.csv", device=GUN.device)
