"""Who may use the page: names, roles and hashed passwords, in one file that only its owner can
read.

Argon2id by argon2-cffi with its own defaults (RFC 9106, low memory). The file is read again
whenever it changed, so that `myoguard account` need not restart anything. May import argon2 and the
standard library; knows nothing of the page.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# NIST SP 800-63B, 3.1.1: at least 8 characters where a password is not the only factor, 15 where it
# is; 12 with a limited rate of attempts is an engineering choice between them. No rule on its
# letters.
PASSWORD_LENGTH_MIN = 12
PASSWORD_BYTES_MAX = 1_024  # hashing must not be made to cost more than it has to
_FILE_BYTES_MAX = 1_000_000  # some thousand accounts


class Role(StrEnum):
    """What somebody may do; each may do all that the one before may."""

    VIEWER = "viewer"
    THERAPIST = "therapist"
    TECHNICIAN = "technician"

    def includes(self, other: Role) -> bool:
        return _RANK[self] >= _RANK[other]


_RANK = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in. `password_hash` carries its salt and parameters with it."""

    name: str
    role: Role
    password_hash: str


class AccountError(Exception):
    """What is wrong with an account or with the file, in one sentence that says what to do."""


class Accounts:
    """The accounts of one file, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hasher = PasswordHasher()
        self._known: Mapping[str, Account] = {}
        self._stamp: tuple[int, int, int] | None = None

    def all(self) -> Mapping[str, Account]:
        """By name. Raises AccountError where the file cannot be used."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._known = _parse(self.path) if stamp is not None else {}
            self._stamp = stamp
        return MappingProxyType(dict(self._known))

    def add(self, name: str, role: Role, password: str) -> None:
        """A new account; of a known name, the new role and password. Raises AccountError."""
        if not NAME.fullmatch(name):
            raise AccountError(
                f"{name[:80]!r} cannot be a name: use 1 to 64 letters, digits, '.', '_' and '-'"
            )
        if len(password) < PASSWORD_LENGTH_MIN:
            raise AccountError(
                f"the password is too short: use {PASSWORD_LENGTH_MIN} characters or more, such as "
                "four words"
            )
        if len(_bytes(password)) > PASSWORD_BYTES_MAX:
            raise AccountError(
                f"the password is over {PASSWORD_BYTES_MAX} bytes: use a shorter one"
            )
        account = Account(name, role, self._hasher.hash(_bytes(password)))
        with self._locked():
            self._write({**self.all(), name: account})

    def remove(self, name: str) -> None:
        """Raises AccountError where there is none of this name."""
        with self._locked():
            known = dict(self.all())
            if known.pop(name, None) is None:
                raise AccountError(
                    f"there is no account {name!r}: `myoguard account list` shows all"
                )
            self._write(known)

    def verify(self, name: str, password: str) -> Account | None:
        """The account, if that is its password. Takes some 50 ms of a core, whatever the answer."""
        account = self.all().get(name)
        secret = _bytes(password)
        if len(secret) > PASSWORD_BYTES_MAX:
            return None
        try:
            self._hasher.verify(account.password_hash if account else self._decoy, secret)
        except (VerificationError, InvalidHashError):
            return None
        return account

    @cached_property
    def _decoy(self) -> str:
        """Verified where there is no such name: time must not tell which names there are."""
        return self._hasher.hash(os.urandom(16))

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _write(self, accounts: Mapping[str, Account]) -> None:
        """All of it or none of it, and at no time readable by others."""
        rows = [
            {"name": each.name, "role": each.role, "password_hash": each.password_hash}
            for each in sorted(accounts.values(), key=lambda each: each.name)
        ]
        text = json.dumps({"accounts": rows}, indent=1)
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:  # made with mode 0600
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self.path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two commands at once must not lose each other's account."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.path.with_name(self.path.name + ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from None

    def _unusable(self, why: str) -> AccountError:
        return AccountError(
            f"the accounts in {self.path} cannot be used ({why}): put its rights right, or set "
            "page.accounts_file to another file"
        )


def _bytes(password: str) -> bytes:
    """Of any text at all: a terminal or a form may hold half a character."""
    return password.encode("utf-8", "surrogatepass")


def _parse(path: Path) -> Mapping[str, Account]:
    try:
        if path.stat().st_mode & 0o077:
            raise AccountError(
                f"{path} can be read by others: keep it to its owner with `chmod 600 {path}`"
            )
        text = path.read_text(encoding="utf-8")[:_FILE_BYTES_MAX]
        rows = json.loads(text)["accounts"]
        accounts = [Account(r["name"], Role(r["role"]), str(r["password_hash"])) for r in rows]
        if not all(NAME.fullmatch(account.name) for account in accounts):
            raise ValueError("a name that is none")
    except OSError as error:
        reason = error.strerror
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it is not what `myoguard account` writes, {error}"
    else:
        return {account.name: account for account in accounts}
    raise AccountError(f"the accounts in {path} cannot be read ({reason}): put the file right")
