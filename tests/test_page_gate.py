"""Who may come in and do what, as the server decides it: over HTTP, without a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_server import Served, raise_pressure, serving, write_eight
from servers import until
from visitor import PASSWORD, visitor

from pipeline.accounts import Accounts, Role
from pipeline.model import Alarm
from pipeline.page import LiveBoard, PageError, Place, Sources, listen, serve
from pipeline.store import Store

ROLES = {"vic": Role.VIEWER, "lee": Role.THERAPIST, "kim": Role.TECHNICIAN}
VIEWS = ("/", "/alarms", "/sessions", "/what-if", "/technician", "/gun/north/gun-1", "/nowhere")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("gate") / "store") as opened:
        yield opened


@pytest.fixture(scope="module")
def served(store: Store) -> Iterator[Served]:
    accounts = Accounts(store.directory.parent / "accounts.json")
    for name, role in ROLES.items():
        accounts.add(name, role, PASSWORD)
    with serving(store.directory) as page:
        write_eight(store, page)
        yield page


@pytest.fixture(scope="module")
def alarm(store: Store, served: Served) -> Alarm:
    """One that stands on the page that is served."""
    raised = raise_pressure(next(iter(served.talking)), time.time_ns(), alarm_id="standing")
    store.checkpoint([raised], b"")
    served.tell(raised)
    return raised


def test_nobody_sees_anything_before_signing_in(served: Served) -> None:
    stranger = visitor(served)
    for path in VIEWS:
        answer = stranger.ask("GET", path)
        assert answer.status == 303, path
        assert answer.headers["location"].startswith("/sign-in?to=")
        assert "gun-" not in answer.text
    for path in ("/api/alarms/past", "/api/technician/state", "/_nicegui/3.0.0/static/nicegui.js"):
        assert stranger.ask("GET", path).status == 401, path
    assert stranger.ask("GET", "/sign-in").status == 200


def test_a_websocket_takes_a_login_and_our_origin(served: Served) -> None:
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    kim, stranger = visitor(served, "kim"), visitor(served)
    ours = {**headers, "Origin": f"http://{kim.own}"}
    assert stranger.ask("GET", path, **ours).status in (401, 403)
    assert kim.ask("GET", path, **headers).status == 403
    assert kim.ask("GET", path, **{**ours, "Origin": "http://evil.example"}).status == 403
    assert visitor(served, "vic").ask("GET", "/alarms").status == 200


def test_signing_in_leads_where_one_wanted_to_and_nowhere_else(served: Served) -> None:
    kim = visitor(served)
    for to, leads in (
        ("/alarms?clinic=north", "/alarms?clinic=north"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("http://evil.example", "/"),
        ("/\r\nSet-Cookie: a=b", "/"),
    ):
        answer = kim.sign_in("kim", to=to)
        assert (answer.status, answer.headers["location"]) == (303, leads)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_a_wrong_password_says_no_more_than_that(served: Served) -> None:
    wrong, unknown = (visitor(served).sign_in(name, "wrong") for name in ("kim", "nobody"))
    assert (wrong.status, unknown.status) == (401, 401)
    assert wrong.text.replace("kim", "") == unknown.text.replace("nobody", "")
    assert "set-cookie" not in wrong.headers


def test_guessing_is_answered_with_wait(served: Served) -> None:
    guesser = visitor(served)
    for _ in range(5):
        assert guesser.sign_in("vic2", "wrong").status == 401
    answer = guesser.sign_in("vic2", "wrong")
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= 300


@pytest.mark.parametrize(
    ("name", "action", "allowed"),
    [
        ("vic", "ack", False),
        ("vic", "reset", False),
        ("lee", "ack", True),
        ("lee", "shelve", False),
        ("lee", "reset", False),
        ("kim", "ack", True),
        ("kim", "shelve", True),
    ],
)
def test_a_role_is_refused_by_the_server(
    served: Served, alarm: Alarm, name: str, action: str, allowed: bool
) -> None:
    answer = visitor(served, name).act(alarm, action, note="a reason", minutes=15)
    # Where the role may, this page answers that no pipeline stands behind it.
    assert answer.status == (503 if allowed else 403), answer.text
    assert ("takes a" in answer.text) is not allowed


def test_the_technicians_requests_are_for_technicians(served: Served) -> None:
    for name in ("vic", "lee"):
        other = visitor(served, name)
        assert other.ask("GET", "/technician").status == 403
        for path in ("state", "configuration"):
            assert other.ask("GET", f"/api/technician/{path}").status == 403
        ours = {"Origin": f"http://{other.own}", "X-MyoGuard-CSRF": other.csrf}
        for path in ("bench", "bench/accept", "test-alarm"):
            sent = {**ours, "Content-Type": "application/json"}
            body = '{"clinic": "north", "key": "k"}'
            assert other.ask("POST", f"/api/technician/{path}", body, **sent).status == 403
    assert visitor(served, "kim").ask("GET", "/technician").status == 200


def test_limits_are_tried_by_therapists_and_not_by_viewers(served: Served) -> None:
    assert visitor(served, "vic").ask("GET", "/what-if").status == 403
    assert visitor(served, "lee").ask("GET", "/what-if").status == 200


def test_what_does_something_comes_from_a_page_of_ours(served: Served, alarm: Alarm) -> None:
    kim = visitor(served, "kim")
    for headers in (
        {"X-MyoGuard-CSRF": ""},
        {"X-MyoGuard-CSRF": "x" * 43},
        {"X-MyoGuard-CSRF": visitor(served, "kim").csrf},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ):
        assert kim.act(alarm, "ack", headers=headers).status == 403, headers
    assert kim.act(alarm, "ack").status == 503


def test_an_action_must_fit_the_alarm_that_was_looked_at(served: Served, alarm: Alarm) -> None:
    kim = visitor(served, "kim")
    assert kim.act(alarm, "ack", alarm_id="another").status == 409
    assert kim.act(alarm, "reset").status == 409  # it is not latched
    assert kim.act(alarm, "unshelve").status == 409
    assert kim.act(alarm, "shelve").status == 422  # for how long, and why
    assert kim.act(alarm, "shelve", note="because", minutes=481).status == 422
    assert kim.act(alarm, "silence").status == 422


def test_a_removed_account_is_out_at_once(served: Served) -> None:
    served.accounts.add("tmp", Role.VIEWER, PASSWORD)
    tmp = visitor(served, "tmp")
    assert tmp.ask("GET", "/").status == 200
    Accounts(served.accounts.path).remove("tmp")
    until(lambda: tmp.ask("GET", "/").status == 303, "the removed account is out")


def test_signing_out_ends_the_login_and_not_only_the_cookie(served: Served) -> None:
    lee = visitor(served, "lee")
    ours = {"Origin": f"http://{lee.own}", "X-MyoGuard-CSRF": lee.csrf}
    assert lee.ask("POST", "/api/sign-out", **ours).status == 200
    assert lee.ask("GET", "/").status == 303


def test_an_account_may_not_see_through_a_broken_file(served: Served) -> None:
    kim, path = visitor(served, "kim"), served.accounts.path
    kept = path.read_text()
    try:
        path.write_text("{")
        assert kim.ask("GET", "/").status == 500
        assert visitor(served).ask("GET", "/").status == 500
    finally:
        path.write_text(kept)
    assert kim.ask("GET", "/").status == 200


@pytest.mark.parametrize(
    "place",
    [{"host": "0.0.0.0"}, {"host": "127.0.0.1", "public_url": "https://guns.example"}],  # noqa: S104
)
def test_others_reach_the_page_only_once_there_is_an_account(
    tmp_path: Path, place: dict[str, str]
) -> None:
    accounts = Accounts(tmp_path / "accounts.json")
    where = Place(place["host"], 0, accounts, place.get("public_url"))
    with pytest.raises(PageError, match="myoguard account add NAME --role technician"):
        listen(where)
    accounts.add("kim", Role.TECHNICIAN, PASSWORD)
    listen(where).close()


def test_a_page_that_nobody_may_reach_is_not_served(served: Served, tmp_path: Path) -> None:
    place = Place("0.0.0.0", 0, Accounts(tmp_path / "accounts.json"))  # noqa: S104
    with pytest.raises(PageError, match=r"page\.host is 0\.0\.0\.0"):
        served.run(serve(Sources(LiveBoard(), tmp_path), place))
