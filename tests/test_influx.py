"""The sink against a real engine, Debian's InfluxDB 1.6.7: its own path and, by nginx, v2's."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from influx_engine import Answer, faulty_proxy, influxql, make_database
from influx_spool import (
    ALL_TO,
    EVERY,
    check_balance,
    drained,
    one_of_each,
    own_status,
    seconds,
    spool,
    stored,
)
from servers import HOST, until
from store_records import GUN, T0_NS

from pipeline.influx import (
    Address,
    DeniedError,
    Drain,
    DrainState,
    RefusedError,
    Server,
    UnreachableError,
)
from pipeline.store import SpoolKind


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.influxd(tmp_path_factory.mktemp("influxd")) as server:
        yield server


@pytest.fixture
def engine(running: servers.Server) -> servers.Server:
    """The engine with an empty database for the test."""
    influxql(running.port, 'DROP DATABASE "myoguard"')
    make_database(running.port, "myoguard")
    return running


def url_of(server: servers.Server) -> str:
    return f"http://{HOST}:{server.port}"


# ------------------------------------------------------------------------------------ both paths


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_every_kind_of_record_arrives_on_the_engines_own_path(
    engine: servers.Server, tmp_path: Path, compressed: bool
) -> None:
    with spool(tmp_path) as ours:
        ours.store.checkpoint(one_of_each(), b"")
        ours.store.spool_status(own_status())
        drain = ours.drain(url_of(engine), gzip=compressed)
        drained(ours, drain)
        assert drain.status.server_version == "1.6.7"
        check_balance(ours, engine.port)
    assert set(stored(engine.port).values()) == {1}
    (point,) = influxql(engine.port, 'SELECT * FROM "features"', "myoguard")
    assert (point["device"], point["model"], point["session"]) == (GUN.device, "fx-16", "s-01")
    assert (point["contact"], point["contact_force_n"]) == (1, 1.0)
    assert point["time"] == T0_NS // 1000


V2 = """
location = /ping {{
  proxy_hide_header X-Influxdb-Version;
  add_header X-Influxdb-Version v2.7.1 always;
  proxy_pass {engine};
}}
location = /api/v2/write {{
  if ($http_authorization != "{authorization}") {{ return 401; }}
  if ($arg_precision != us) {{ return 400; }}
  proxy_pass {engine}/write?db=$arg_bucket&precision=u;
}}
"""


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_every_kind_of_record_arrives_by_the_api_of_version_2(
    engine: servers.Server, tmp_path: Path, compressed: bool
) -> None:
    locations = V2.format(engine=url_of(engine), authorization="Token secret")
    with (
        servers.nginx(tmp_path / "nginx", locations) as proxy,
        spool(tmp_path / "store") as ours,
    ):
        ours.store.checkpoint(one_of_each(), b"")
        ours.store.spool_status(own_status())
        drain = ours.drain(url_of(proxy), token="secret", org="clinic", gzip=compressed)  # noqa: S106
        drained(ours, drain)
        assert drain.status.server_version == "2.7.1"
        check_balance(ours, engine.port)
    assert set(stored(engine.port).values()) == {1}
    (point,) = influxql(engine.port, 'SELECT * FROM "features"', "myoguard")
    assert point["time"] == T0_NS // 1000
    asked = (tmp_path / "nginx" / "access.log").read_text()
    assert "/api/v2/write?org=clinic&bucket=myoguard&precision=us" in asked


@pytest.mark.parametrize(
    ("pong", "path"),
    [
        ((204, {"X-Influxdb-Version": "1.6.7~rc0"}, b""), "/write"),
        ((204, {"X-Influxdb-Version": "1.7.11"}, b""), "/write"),
        ((204, {"X-Influxdb-Version": "1.8.10"}, b""), "/api/v2/write"),
        ((204, {"X-Influxdb-Version": "v2.9.0"}, b""), "/api/v2/write"),
        ((200, {}, b'{"version": "3.2.1", "process_id": "1"}'), "/api/v2/write"),
        ((401, {"X-Influxdb-Version": "1.7.0"}, b'{"error": "no"}'), "/write"),
        ((401, {}, b""), "/api/v2/write"),
        ((204, {}, b""), "/api/v2/write"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value[1:]),
)
def test_a_ping_says_which_path_to_write_to(
    engine: servers.Server, pong: Answer, path: str
) -> None:
    with faulty_proxy(engine.port) as proxy:
        proxy.pong = pong
        try:
            Server(Address(proxy.url)).write("myoguard", ["features x=1 1"])
        except (DeniedError, RefusedError):  # this engine has no second path
            assert path == "/api/v2/write"
        assert [each.partition("?")[0] for each in proxy.paths] == [path]


def test_few_and_many_records_can_lie_in_two_databases(
    engine: servers.Server, tmp_path: Path
) -> None:
    make_database(engine.port, "long")
    with spool(tmp_path) as ours:
        ours.store.checkpoint(one_of_each(), b"")
        server = Server(Address(url_of(engine)))
        databases = {**dict.fromkeys(SpoolKind, "long"), SpoolKind.SECOND: "myoguard"}
        drained(ours, Drain(ours.store, server, databases))
    short, long = stored(engine.port), stored(engine.port, "long")
    assert short == dict.fromkeys(SpoolKind, 0) | {SpoolKind.SECOND: 1}
    assert long == dict.fromkeys(SpoolKind, 1) | {SpoolKind.SECOND: 0, SpoolKind.PIPELINE: 0}
    influxql(engine.port, 'DROP DATABASE "long"')


# --------------------------------------------------------------------------------- who may, and TLS


def test_user_and_password_open_an_engine_that_wants_them(tmp_path: Path) -> None:
    with servers.influxd(tmp_path / "influxd", login=True) as closed, spool(tmp_path) as ours:
        admin = ("admin", "correct horse")
        influxql(closed.port, "CREATE USER admin WITH PASSWORD 'correct horse' WITH ALL PRIVILEGES")
        influxql(closed.port, 'CREATE DATABASE "myoguard"', login=admin)
        ours.store.checkpoint(seconds(10), b"")
        url, waiting = url_of(closed), ours.waiting
        for wrong in ({}, {"username": "admin", "password": "guess"}):
            drain = ours.drain(url, **wrong)
            drain.turn()
            assert drain.status.state is DrainState.DENIED
            assert "401" in drain.status.reason
        assert ours.waiting == waiting
        drained(ours, ours.drain(url, username="admin", password="correct horse"))  # noqa: S106
        (row,) = influxql(closed.port, 'SELECT count(hops) FROM "features"', "myoguard", admin)
        assert row["count"] == 10


def test_a_missing_database_is_said_and_waited_for(engine: servers.Server, tmp_path: Path) -> None:
    influxql(engine.port, 'DROP DATABASE "myoguard"')
    with spool(tmp_path) as ours:
        ours.store.checkpoint(seconds(10), b"")
        drain = ours.drain(url_of(engine))
        drain.turn()
        assert drain.status.state is DrainState.DENIED
        assert "database not found" in drain.status.reason
        make_database(engine.port, "myoguard")
        drained(ours, drain)
        assert drain.status.state is DrainState.FLOWING
        assert drain.status.reason == ""
        check_balance(ours, engine.port)


def test_a_certificate_is_checked_against_the_one_we_were_given(
    engine: servers.Server, tmp_path: Path
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName=IP:{HOST}"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    tls = f"ssl_certificate {cert}; ssl_certificate_key {key};"
    locations = f"location / {{ proxy_pass {url_of(engine)}; }}"
    with servers.nginx(tmp_path / "nginx", locations, tls=tls) as proxy:
        url = f"https://{HOST}:{proxy.port}"
        Server(Address(url, ca_file=cert)).write("myoguard", ["features x=1 1"])
        with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            Server(Address(url)).write("myoguard", ["features x=2 2"])
    (row,) = influxql(engine.port, 'SELECT count(x) FROM "features"', "myoguard")
    assert row["count"] == 1


# ------------------------------------------------------------------------- lines that are refused


def test_a_line_of_another_type_is_kept_with_the_engines_words_and_stops_no_other(
    engine: servers.Server, tmp_path: Path
) -> None:
    Server(Address(url_of(engine))).write("myoguard", [f"devices,device=x head=7i {T0_NS // 1000}"])
    with spool(tmp_path) as ours:
        ours.store.checkpoint(one_of_each() + seconds(300), b"")
        drain = ours.drain(url_of(engine))
        drained(ours, drain)
        counts = ours.counts()
        assert counts[SpoolKind.STATUS].refused == drain.status.lines_refused == 1
        (letter,) = ours.reader.dead_letters()
        assert letter.topic == "influx/status"
        assert "field type conflict" in letter.reason
        assert letter.payload.startswith(b"devices,clinic=clinic-a,device=gun-1,model=fx-16 ")
        found = stored(engine.port)
        for kind in set(EVERY) - {SpoolKind.STATUS}:
            assert found[kind] == counts[kind].spooled


def test_what_lies_beyond_the_engines_retention_is_refused_at_once(
    engine: servers.Server, tmp_path: Path
) -> None:
    """A long outage, and a short retention: halving down to each line would take hours."""
    influxql(engine.port, 'DROP DATABASE "myoguard"')
    influxql(engine.port, 'CREATE DATABASE "myoguard" WITH DURATION 1h')
    with spool(tmp_path) as ours:
        ours.store.checkpoint(seconds(4000), b"")
        drain = ours.drain(url_of(engine))
        drained(ours, drain)
        assert drain.status.requests == 1
        count = ours.counts()[SpoolKind.SECOND]
        assert count.refused == count.spooled == 4000
        assert "retention policy" in ours.reader.dead_letters()[0].reason


# ------------------------------------------------------------------------------------ kill -9


def test_kill_dash_nine_of_the_engine_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with servers.influxd(tmp_path / "influxd") as engine, spool(tmp_path / "store") as ours:
        make_database(engine.port, "myoguard")
        drain = Drain(
            ours.store, Server(Address(url_of(engine), timeout_s=2.0)), ALL_TO, lines_a_request=200
        )
        over = threading.Event()

        def keep_draining() -> None:
            while not over.is_set():
                over.wait(min(drain.turn(), 0.1))

        draining = threading.Thread(target=keep_draining)
        draining.start()
        try:
            for step in range(6):
                start_ns = T0_NS + step * 1_000_000_000_000
                ours.store.checkpoint(seconds(1000, start_ns=start_ns), b"")
                written = drain.status.lines_written
                until(lambda w=written: drain.status.lines_written > w, "points flow")
                if step % 2:
                    engine.kill()
                    until(lambda: drain.status.state is DrainState.UNREACHABLE, "it is missed")
                    engine.start()
            until(lambda: ours.waiting == 0, "the spool is empty", 60.0)
        finally:
            over.set()
            draining.join()
        check_balance(ours, engine.port)
        assert ours.counts()[SpoolKind.SECOND].stored == 6000 + 5 * 10  # each step ends the last
        assert drain.status.lines_refused == 0


def test_a_drain_that_begins_anew_writes_again_what_is_in_doubt_and_doubles_nothing(
    engine: servers.Server, tmp_path: Path
) -> None:
    """As after a `kill -9` of ours between the engine's answer and the acknowledgement."""
    with spool(tmp_path) as ours:
        ours.store.checkpoint(one_of_each() + seconds(100), b"")
        lines = [each.line for each in ours.store.spool_read(5000)]
        Server(Address(url_of(engine))).write("myoguard", lines)
        drained(ours, ours.drain(url_of(engine)))
        check_balance(ours, engine.port)


def test_a_long_queue_goes_in_full_requests_while_more_is_stored(
    engine: servers.Server, tmp_path: Path
) -> None:
    """How fast that is, `python -m benchmarks.influx` says."""
    with spool(tmp_path) as ours:
        ours.store.checkpoint(seconds(3_000, guns=300), b"")
        server = Server(Address(url_of(engine)))
        drain = Drain(ours.store, server, ALL_TO, lines_a_request=1_000)
        for second in range(20, 23):
            assert drain.turn() == 0.0
            ours.store.checkpoint(seconds(300, 300, T0_NS + second * 1_000_000_000), b"")
        assert drain.status.requests == 3
        assert drain.status.lines_written == 3_000
        drained(ours, drain)
        check_balance(ours, engine.port)


def test_nothing_listens_there(tmp_path: Path) -> None:
    with spool(tmp_path) as ours:
        ours.store.checkpoint(seconds(10), b"")
        drain = ours.drain(f"http://{HOST}:{servers.free_port()}")
        pauses = [drain.turn() for _ in range(8)]
        assert drain.status.state is DrainState.UNREACHABLE
        assert "refused" in drain.status.reason
        assert 0.25 <= pauses[0] <= 0.5
        assert max(pauses) <= 30.0 < sum(pauses)
        assert ours.waiting == ours.counts()[SpoolKind.SECOND].waiting == 10
