"""Accounts in their file, and the logins made from them; the command that keeps the file."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.accounts import AccountError, Accounts, Role
from pipeline.page.logins import (
    FAILURES_OF_BOTH_MAX,
    LASTS_S,
    LOGINS_MAX,
    WINDOW_S,
    Login,
    Logins,
    TooManyAttemptsError,
)

PASSWORD = "four words are enough"  # noqa: S105 - of accounts that live for a test


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    found = Accounts(tmp_path / "accounts.json")
    found.add("kim", Role.TECHNICIAN, PASSWORD)
    return found


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now_s


def signed_in(logins: Logins, name: str = "kim", password: str = PASSWORD) -> str:
    token = asyncio.run(logins.sign_in(name, password, "10.0.0.7"))
    assert token is not None
    return token


def test_each_role_may_do_all_that_the_one_before_may() -> None:
    roles = list(Role)
    for place, role in enumerate(roles):
        assert [role.includes(other) for other in roles] == [i <= place for i in range(len(roles))]


def test_a_password_opens_its_own_account_only(accounts: Accounts) -> None:
    accounts.add("lee", Role.VIEWER, "another four words")
    kim = accounts.verify("kim", PASSWORD)
    assert kim is not None
    assert (kim.name, kim.role) == ("kim", Role.TECHNICIAN)
    assert accounts.verify("lee", PASSWORD) is None
    assert accounts.verify("nobody", PASSWORD) is None
    assert accounts.verify("kim", "") is None
    assert accounts.verify("kim", "x" * 1_000_000) is None
    assert accounts.verify("kim", "\ud800") is None


def test_only_the_owner_can_read_the_file_and_it_holds_no_password(accounts: Accounts) -> None:
    assert stat.S_IMODE(accounts.path.stat().st_mode) == 0o600
    text = accounts.path.read_text()
    assert PASSWORD not in text
    assert "$argon2id$" in text


@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("../kim", PASSWORD, "cannot be a name"),
        ("", PASSWORD, "cannot be a name"),
        ("k" * 65, PASSWORD, "cannot be a name"),
        ("lee", "short", "too short"),
        ("lee", "x" * 2_000, "over 1024 bytes"),
    ],
)
def test_what_cannot_be_an_account_is_refused(
    accounts: Accounts, name: str, password: str, said: str
) -> None:
    with pytest.raises(AccountError, match=said):
        accounts.add(name, Role.VIEWER, password)
    assert list(accounts.all()) == ["kim"]


def test_a_change_by_another_process_counts_at_once(accounts: Accounts) -> None:
    other = Accounts(accounts.path)
    assert list(other.all()) == ["kim"]
    accounts.add("lee", Role.VIEWER, PASSWORD)
    assert list(other.all()) == ["kim", "lee"]
    other.remove("kim")
    assert list(accounts.all()) == ["lee"]
    with pytest.raises(AccountError, match="there is no account 'kim'"):
        accounts.remove("kim")


@pytest.mark.parametrize("text", ["", "[]", '{"accounts": [{"name": "x"}]}', "\x00"])
def test_a_file_that_is_none_is_an_error_and_not_an_open_door(
    accounts: Accounts, text: str
) -> None:
    accounts.path.write_text(text)
    with pytest.raises(AccountError, match="put the file right"):
        Logins(accounts, open_to_all=True).who(None)


def test_a_file_that_others_can_read_is_refused(accounts: Accounts) -> None:
    accounts.path.chmod(0o644)
    with pytest.raises(AccountError, match="chmod 600"):
        Accounts(accounts.path).all()


def test_without_accounts_a_page_of_this_machine_is_open_and_any_other_is_not(
    tmp_path: Path,
) -> None:
    accounts = Accounts(tmp_path / "accounts.json")
    anybody = Logins(accounts, open_to_all=True).who(None)
    assert anybody is not None
    assert anybody.open
    assert anybody.may(Role.TECHNICIAN)
    assert Logins(accounts, open_to_all=False).who(None) is None


def test_the_first_account_closes_the_page_that_was_open(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "accounts.json")
    logins = Logins(accounts, open_to_all=True)
    anybody = logins.who(None)
    assert anybody is not None
    accounts.add("kim", Role.TECHNICIAN, PASSWORD)
    assert logins.is_over(anybody)
    assert logins.who(None) is None


@pytest.mark.parametrize("role", list(Role))
def test_a_login_lasts_as_long_as_its_role_says(tmp_path: Path, role: Role) -> None:
    accounts, clock = Accounts(tmp_path / "accounts.json"), Clock()
    accounts.add("kim", role, PASSWORD)
    logins = Logins(accounts, open_to_all=False, clock_s=clock)
    token = signed_in(logins)
    clock.now_s += LASTS_S[role] - 1
    login = logins.who(token)
    assert login is not None
    clock.now_s += 1
    assert logins.who(token) is None
    assert logins.is_over(login)


def test_a_login_survives_a_restart_and_is_kept_as_a_hash(accounts: Accounts) -> None:
    token = signed_in(Logins(accounts, open_to_all=False))
    kept = accounts.path.with_name("logins.json")
    assert token not in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    again = Logins(accounts, open_to_all=False)
    assert isinstance(again.who(token), Login)
    again.sign_out(token)
    assert again.who(token) is None
    assert Logins(accounts, open_to_all=False).who(token) is None


def test_a_removed_or_changed_account_is_signed_out_at_once(accounts: Accounts) -> None:
    logins = Logins(accounts, open_to_all=False)
    token = signed_in(logins)
    accounts.add("kim", Role.TECHNICIAN, "another four words")
    assert logins.who(token) is None
    token = signed_in(logins, "kim", "another four words")
    accounts.add("lee", Role.VIEWER, PASSWORD)
    assert logins.who(token) is not None
    accounts.remove("kim")
    assert logins.who(token) is None


def test_guessing_is_slowed_down_for_whoever_guesses_and_nobody_else(accounts: Accounts) -> None:
    clock = Clock()
    logins = Logins(accounts, open_to_all=False, clock_s=clock)

    async def attempt(password: str, address: str) -> str | None:
        return await logins.sign_in("kim", password, address)

    for _ in range(FAILURES_OF_BOTH_MAX):
        assert asyncio.run(attempt("wrong", "10.0.0.66")) is None
    with pytest.raises(TooManyAttemptsError) as refused:
        asyncio.run(attempt(PASSWORD, "10.0.0.66"))
    assert 0 < refused.value.seconds <= WINDOW_S
    assert asyncio.run(attempt(PASSWORD, "10.0.0.7")) is not None
    clock.now_s += WINDOW_S
    assert asyncio.run(attempt(PASSWORD, "10.0.0.66")) is not None


def test_a_crowd_at_the_door_is_turned_away_before_it_costs_anything(accounts: Accounts) -> None:
    logins = Logins(accounts, open_to_all=False)

    async def crowd() -> list[str | BaseException | None]:
        attempts = (logins.sign_in(f"n{i}", "wrong", f"10.0.0.{i}") for i in range(40))
        return await asyncio.gather(*attempts, return_exceptions=True)

    answers = asyncio.run(crowd())
    assert sum(isinstance(each, TooManyAttemptsError) for each in answers) == 32
    assert sum(each is None for each in answers) == 8


def test_the_logins_are_bounded(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.page.logins.LOGINS_MAX", 3)
    clock = Clock()
    logins = Logins(accounts, open_to_all=False, clock_s=clock)
    tokens = []
    for _ in range(4):
        tokens.append(signed_in(logins))
        clock.now_s += 1
    assert [logins.who(token) is not None for token in tokens] == [False, True, True, True]
    assert LOGINS_MAX > 3


def account(home: Path, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, MYOGUARD_PAGE__ACCOUNTS_FILE=str(home / "a.json"))
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "account", *words],
        input=said,
        env=environment,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_the_command_adds_lists_and_removes(tmp_path: Path) -> None:
    assert account(tmp_path, "list").stdout == ""
    added = account(tmp_path, "add", "kim", "--role", "technician", said=f"{PASSWORD}\n")
    assert added.returncode == 0, added.stderr
    assert account(tmp_path, "list").stdout == "kim\ttechnician\n"
    assert Accounts(tmp_path / "a.json").verify("kim", PASSWORD) is not None
    refused = account(tmp_path, "add", "lee", "--role", "boss", said=f"{PASSWORD}\n")
    assert (refused.returncode, refused.stderr) == (
        1,
        "myoguard: There is no role 'boss': use viewer, therapist, technician\n",
    )
    short = account(tmp_path, "add", "lee", said="short\n")
    assert short.returncode == 1
    assert "too short" in short.stderr
    assert account(tmp_path, "remove", "kim").returncode == 0
    assert account(tmp_path, "list").stdout == ""
