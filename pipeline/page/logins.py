"""Who is signed in: logins by token, how long they last, and how often one may try.

May import `accounts`; knows nothing of HTTP. A token is a secret of the browser; here, and in the
file that lets a screen on the wall survive a restart, only its hash is kept. A login ends when its
time is over, when somebody signs out, and at once when its account is removed or changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from pipeline.accounts import Account, AccountError, Accounts, Role

# Engineering choices. Whoever can act signs in once a shift; a screen on the wall can only look,
# and nobody may be there to sign it in again.
LASTS_S: Final = {Role.VIEWER: 30 * 86_400, Role.THERAPIST: 12 * 3_600, Role.TECHNICIAN: 12 * 3_600}
LOGINS_MAX: Final = 1_000  # the one that ends first gives way
# Failures within WINDOW_S that are let pass: of a name from one address, from one address, of a
# name from anywhere. The first stops guessing, the last a guess spread over many machines; none
# lets a stranger lock somebody out who sits elsewhere, until it is many. Engineering choices.
WINDOW_S: Final = 300.0
FAILURES_OF_BOTH_MAX: Final = 5
FAILURES_OF_ADDRESS_MAX: Final = 20
FAILURES_OF_NAME_MAX: Final = 100
TRACKED_MAX: Final = 10_000
WAITING_MAX: Final = 8  # verifying costs 50 ms and one at a time is done: the rest is turned away

_log = structlog.get_logger("myoguard")


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody at a browser. `open` is whoever sits at a machine that has no accounts yet."""

    name: str
    role: Role
    csrf: str  # shown to our own scripts only, and asked of every request that does something
    key: str = ""
    open: bool = False

    def may(self, role: Role) -> bool:
        return self.role.includes(role)


class TooManyAttemptsError(Exception):
    """Wait for `seconds` before the next attempt."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many attempts: wait {seconds:.0f} s")
        self.seconds = seconds


class _Kept(NamedTuple):
    name: str
    of_account: str  # changes with its role and password
    ends_at_s: float
    csrf: str


class Logins:
    """The logins of one page. `open_to_all` says whether it may do without any accounts."""

    def __init__(
        self, accounts: Accounts, *, open_to_all: bool, clock_s: Callable[[], float] = time.time
    ) -> None:
        self._accounts = accounts
        self._open_to_all = open_to_all
        self._clock_s = clock_s
        self._path = accounts.path.with_name("logins.json")
        self._kept = _read(self._path)
        self._open = Login("page", Role.TECHNICIAN, secrets.token_urlsafe(32), open=True)
        self._failures = _Failures()
        self._verifying = asyncio.Lock()
        self._waiting = 0

    def who(self, token: str | None) -> Login | None:
        """Who holds `token`; None is nobody. Raises AccountError, of a file that cannot be used."""
        accounts = self._accounts.all()
        if not accounts:
            return self._open if self._open_to_all else None
        return self._stands(_hash(token)) if token else None

    def is_over(self, login: Login) -> bool:
        """Whether a login that was good once is so no more."""
        try:
            if login.open:
                return bool(self._accounts.all())
            return self._stands(login.key) is None
        except AccountError:
            return True

    async def sign_in(self, name: str, password: str, address: str) -> str | None:
        """A new token, or None where name or password are wrong. Raises TooManyAttemptsError."""
        now_s = self._clock_s()
        tries = (
            ((name, address), FAILURES_OF_BOTH_MAX),
            (("", address), FAILURES_OF_ADDRESS_MAX),
            ((name, ""), FAILURES_OF_NAME_MAX),
        )
        wait_s = max(self._failures.wait_s(key, most, now_s) for key, most in tries)
        if wait_s > 0:
            raise TooManyAttemptsError(wait_s)
        account = await self._verify(name, password)
        if account is None:
            for key, _ in tries:
                self._failures.note(key, now_s)
            _log.warning("a sign-in failed", name=name[:64], address=address)
            return None
        self._failures.forget((name, address))
        _log.info("signed in", name=name, role=account.role, address=address)
        return self._begin(account, now_s)

    def sign_out(self, token: str) -> None:
        if self._kept.pop(_hash(token), None) is not None:
            self._save()

    async def _verify(self, name: str, password: str) -> Account | None:
        if self._waiting >= WAITING_MAX:
            raise TooManyAttemptsError(1.0)
        self._waiting += 1
        try:
            async with self._verifying:
                return await asyncio.to_thread(self._accounts.verify, name, password)
        finally:
            self._waiting -= 1

    def _begin(self, account: Account, now_s: float) -> str:
        token = secrets.token_urlsafe(32)
        self._kept = {key: kept for key, kept in self._kept.items() if kept.ends_at_s > now_s}
        if len(self._kept) >= LOGINS_MAX:
            del self._kept[min(self._kept, key=lambda key: self._kept[key].ends_at_s)]
        ends_at_s = now_s + LASTS_S[account.role]
        csrf = secrets.token_urlsafe(32)
        self._kept[_hash(token)] = _Kept(account.name, _print_of(account), ends_at_s, csrf)
        self._save()
        return token

    def _stands(self, key: str) -> Login | None:
        kept = self._kept.get(key)
        if kept is None or kept.ends_at_s <= self._clock_s():
            return None
        account = self._accounts.all().get(kept.name)
        if account is None or _print_of(account) != kept.of_account:
            return None
        return Login(account.name, account.role, kept.csrf, key)

    def _save(self) -> None:
        """Without the file people sign in again after a restart: no reason to refuse them now."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self._path.with_name(f".{self._path.name}-{os.getpid()}")
            with os.fdopen(
                os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w"
            ) as f:
                json.dump(self._kept, f)
            temporary.replace(self._path)
        except OSError as error:
            _log.warning(
                "logins are not kept over a restart", path=str(self._path), reason=str(error)
            )


class _Failures:
    """When attempts failed lately, by whose they were."""

    def __init__(self) -> None:
        self._at_s: dict[tuple[str, str], deque[float]] = {}

    def wait_s(self, key: tuple[str, str], most: int, now_s: float) -> float:
        at_s = self._at_s.get(key)
        while at_s and at_s[0] <= now_s - WINDOW_S:
            at_s.popleft()
        if not at_s or len(at_s) < most:
            return 0.0
        return at_s[-most] + WINDOW_S - now_s

    def note(self, key: tuple[str, str], now_s: float) -> None:
        at_s = self._at_s.pop(key, None) or deque(maxlen=FAILURES_OF_NAME_MAX)
        at_s.append(now_s)
        self._at_s[key] = at_s
        if len(self._at_s) > TRACKED_MAX:
            del self._at_s[next(iter(self._at_s))]

    def forget(self, key: tuple[str, str]) -> None:
        self._at_s.pop(key, None)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _print_of(account: Account) -> str:
    return hashlib.sha256(f"{account.role}:{account.password_hash}".encode()).hexdigest()


def _read(path: Path) -> dict[str, _Kept]:
    """What cannot be read is forgotten: people sign in again."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(key): _Kept(str(r[0]), str(r[1]), float(r[2]), str(r[3])) for key, r in rows.items()
        }
    except (OSError, ValueError, TypeError, IndexError, AttributeError):
        return {}
