"""`account`: who may use the page. Passwords come from a prompt or stdin, never from the command
line, where every process of the machine could read them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import terminal
from pipeline.cli.watch import ConfigFile

if TYPE_CHECKING:
    from pipeline.accounts import Accounts

ROLES = "viewer (looks), therapist (acknowledges too), technician (resets, shelves, configures too)"
PASSWORD_READ_MAX = 4_096

account = typer.Typer(help="Who may use the page: add, list, remove.", no_args_is_help=True)


@account.command()
def add(
    name: Annotated[str, typer.Argument(help="The name to sign in with; alarms carry it.")],
    role: Annotated[str, typer.Option(help=ROLES)] = "therapist",
    config: ConfigFile = None,
) -> None:
    """Add an account, or give a known one a new role and password.

    The password is asked for; where stdin is not a terminal, it is its first line.

    Example: myoguard account add kim --role technician
    """
    from pipeline.accounts import Role  # noqa: PLC0415

    if role not in tuple(Role):
        raise terminal.CommandError(f"There is no role {role!r}: use {', '.join(Role)}")
    accounts = _accounts(config)
    accounts.add(name, Role(role), _password())
    terminal.out().print(f"{name} may sign in as {role}; kept in {accounts.path}")


@account.command("list")
def list_accounts(config: ConfigFile = None) -> None:
    """Every account with its role.

    Example: myoguard account list
    """
    accounts = _accounts(config)
    for each in accounts.all().values():
        print(f"{each.name}\t{each.role}")
    if not accounts.all():
        terminal.err().print(f"There are no accounts in {accounts.path}.")


@account.command()
def remove(
    name: Annotated[str, typer.Argument(help="Whose account.")], config: ConfigFile = None
) -> None:
    """Remove an account, and sign out whoever uses it.

    Example: myoguard account remove kim
    """
    accounts = _accounts(config)
    accounts.remove(name)
    terminal.out().print(f"{name} is removed from {accounts.path}")
    if not accounts.all():
        terminal.err().print("No account is left: the page at this machine now asks nobody.")


def _accounts(config: ConfigFile) -> Accounts:
    from pipeline.accounts import Accounts  # noqa: PLC0415
    from pipeline.config import load  # noqa: PLC0415

    return Accounts(load(config).page.accounts_file)


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline(PASSWORD_READ_MAX).rstrip("\r\n")
