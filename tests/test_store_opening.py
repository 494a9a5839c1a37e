"""Opening the store: who may, and what is said to those who may not."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sqlite3
import stat
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from store_records import (
    T0_NS,
    hop,
)

from pipeline.store import (
    Store,
    StoreBusyError,
    StoreError,
    StoreMissingError,
    StoreReader,
    StoreUnusableError,
    StoreVersionError,
    schema,
)


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with Store.open(tmp_path), pytest.raises(StoreBusyError, match="already writing") as error:
        Store.open(tmp_path)
    assert str(tmp_path) in str(error.value)
    Store.open(tmp_path).close()


def test_a_writer_in_another_process_is_refused_too(tmp_path: Path) -> None:
    with Store.open(tmp_path):
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe(duplex=False)
        other = spawn.Process(target=_try_to_open, args=(tmp_path, theirs))
        other.start()
        assert ours.poll(60)
        assert ours.recv() == "StoreBusyError"
        other.join()


def _try_to_open(directory: Path, answer: Connection) -> None:
    try:
        Store.open(directory).close()
        answer.send("opened")
    except StoreError as error:
        answer.send(type(error).__name__)


def test_the_store_is_private_to_its_owner(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        with Store.open(tmp_path / "new" / "store") as store:
            store.checkpoint([hop(T0_NS)], b"snapshot")
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in store.directory.iterdir()}
            assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    finally:
        os.umask(previous)
    assert set(modes.values()) == {0o600}, modes
    assert schema.LOG_NAME in modes


def _a_file_in_the_way(place: Path) -> None:
    place.write_text("not a directory")


def _not_a_database(place: Path) -> None:
    place.mkdir()
    (place / schema.DATABASE_NAME).write_bytes(b"these are not the tables you look for" * 100)


def _someone_elses_database(place: Path) -> None:
    place.mkdir()
    with contextlib.closing(sqlite3.connect(place / schema.DATABASE_NAME)) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")


def _a_newer_layout(place: Path) -> None:
    Store.open(place).close()
    with contextlib.closing(sqlite3.connect(place / schema.DATABASE_NAME)) as database:
        database.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")


def _other_columns(place: Path) -> None:
    Store.open(place).close()
    with contextlib.closing(sqlite3.connect(place / schema.DATABASE_NAME)) as database:
        database.execute("UPDATE layout SET digest = 'of a build that never was'")
        database.commit()


@pytest.mark.parametrize(
    ("prepare", "expected", "words"),
    [
        (_a_file_in_the_way, StoreUnusableError, "make the directory writable"),
        (_not_a_database, StoreUnusableError, "move it away"),
        (_someone_elses_database, StoreUnusableError, "not a MyoGuard store"),
        (_a_newer_layout, StoreVersionError, "upgrade myoguard"),
        (_other_columns, StoreVersionError, "other columns"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_sentence_and_left_alone(
    tmp_path: Path, prepare: object, expected: type[StoreError], words: str
) -> None:
    place = tmp_path / "place"
    assert callable(prepare)
    prepare(place)
    database = place / schema.DATABASE_NAME
    before = database.read_bytes() if place.is_dir() else b""
    for opener in (Store.open, StoreReader.open):
        if opener == StoreReader.open and not place.is_dir():
            continue
        with pytest.raises(expected, match=words) as error:
            opener(place)
        assert str(place) in str(error.value)
        assert "\n" not in str(error.value)
    assert (database.read_bytes() if place.is_dir() else b"") == before


def test_nothing_to_read_yet_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError, match="myoguard run"):
        StoreReader.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
