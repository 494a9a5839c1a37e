"""Every setting there is: its default, its bounds, what it means.

May import `sites`. The page docs/configuration.md is made of the fields below; a description
therefore speaks to whoever runs the pipeline. What several values must be together is in `loading`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pipeline.sites import SiteTable, with_overrides

ENV_PREFIX = "MYOGUARD_"
ENV_DELIMITER = "__"
DATA_DIRECTORY = platformdirs.user_data_path("myoguard")
GB = 10**9


def _broker_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("mqtt", "mqtts") and parts.hostname and (parts.port or 1)
    except ValueError:
        valid = False
    if not valid or parts.path.strip("/") or parts.query:
        raise ValueError("must be mqtt://host:port or mqtts://host:port")
    if parts.password is not None:
        raise ValueError(
            "must not hold the password, which is seen wherever the URL is (broker.username and"
            f" {ENV_PREFIX}BROKER{ENV_DELIMITER}PASSWORD are for that)"
        )
    return url


def _nats_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("nats", "tls") and parts.hostname and (parts.port or 1)
    except ValueError:
        valid = False
    if not valid or parts.path.strip("/") or parts.query:
        raise ValueError("must be nats://host:port or tls://host:port")
    if parts.password is not None:
        raise ValueError("must not hold the password, which is seen wherever the URL is")
    return url


def _server_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment:
        raise ValueError("must be http://host:port or https://host:port")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold user and password, which are seen wherever the URL is")
    return url


def _database(name: str) -> str:
    if not name or not name.isprintable() or set(name) & set('/"\\') or len(name) > 64:
        raise ValueError("must be 1 to 64 printable characters without / and quotes")
    return name


def _client_id(text: str) -> str:
    if not text or not text.isprintable() or len(text.encode()) > 128:
        raise ValueError("must be 1 to 128 printable characters")
    return text


def _host(host: str) -> str:
    if not host or host != host.strip() or "/" in host or " " in host:
        raise ValueError("must be an address or the name of this machine, without port")
    return host


def _public_url(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        valid = False
    if not valid or parts.path.strip("/") or parts.query or parts.username is not None:
        raise ValueError("must be https://name or https://name:port")
    return url.rstrip("/")


FilePath = Annotated[Path, AfterValidator(Path.expanduser)]


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BrokerSection(Section):
    """The MQTT broker that guns and consoles speak to."""

    url: Annotated[str, AfterValidator(_broker_url)] = Field(
        "mqtt://127.0.0.1:1883",
        description="Where the broker is: `mqtt://host:port`, or `mqtts://host:port` for TLS.",
    )
    nats_url: Annotated[str, AfterValidator(_nats_url)] | None = Field(
        None,
        examples=["nats://127.0.0.1:4222"],
        description="Where the same broker speaks NATS, if it is a nats-server 2.14 or later with"
        " JetStream: `nats://host:port`, or `tls://host:port`. Messages are then read from its"
        " durable log, which loses nothing that was acknowledged, not even when the server is"
        " killed. User, password and certificates are those below.",
    )
    log_max_gb: float = Field(
        1.5,
        ge=0.01,
        allow_inf_nan=False,
        description="How much of that log waits at the broker while nothing reads it [GB]; beyond"
        " it the oldest is lost, and counted. 1.5 GB are an hour and a half of 20 guns.",
    )
    client_id: Annotated[str, AfterValidator(_client_id)] = Field(
        "myoguard",
        description="The name the broker knows this pipeline by. Keep it: the broker holds what was"
        " not yet processed for whoever returns under it. Two pipelines need two.",
    )
    protocol: Literal["3.1.1", "5"] = Field("3.1.1", description="MQTT version: `3.1.1` or `5`.")
    redelivery_s: float = Field(
        0.0,
        ge=0,
        le=120,
        allow_inf_nan=False,
        description="How long the broker waits before it sends again what was not acknowledged [s]."
        " After a crash or a lost connection the pipeline waits as long before it connects, so that"
        " what was on its way comes before what is new. `0` is right for brokers that send it again"
        " at once, such as Mosquitto; for nats-server it is its `ack_wait`, 30 s unless it was told"
        " otherwise, and half a second more.",
    )
    username: str | None = Field(None, examples=["pipeline"], description="User at the broker.")
    password: SecretStr | None = Field(
        None,
        examples=["the password"],
        description="Password at the broker; in the environment only. See `password_file`.",
    )
    password_file: FilePath | None = Field(
        None,
        examples=["/run/secrets/broker"],
        description="A file with the password and nothing else, such as a container's secret.",
    )
    ca_file: FilePath | None = Field(
        None,
        examples=["ca.pem"],
        description="Certificates (PEM) to trust for `mqtts://`; without it, the system's.",
    )
    cert_file: FilePath | None = Field(
        None, examples=["client.pem"], description="Our certificate (PEM), with `key_file`."
    )
    key_file: FilePath | None = Field(
        None, examples=["client.key"], description="The key (PEM) of `cert_file`."
    )

    @property
    def log_bytes_max(self) -> int:
        return int(self.log_max_gb * GB)


class StoreSection(Section):
    """The embedded store. What is older or more than this is deleted, a little at a time."""

    # The days are engineering choices; ten years is how long German law (BGB § 630f) has whoever
    # treats people keep the records of it.

    directory: FilePath = Field(
        DATA_DIRECTORY / "store",
        description="Where the store lies: a directory on a local disk, one for each pipeline.",
    )
    size_max_gb: float = Field(
        10.0,
        ge=0.1,
        allow_inf_nan=False,
        description="Above this, the oldest features are deleted first, alarms last [GB]."
        " A gun that runs takes 1.2 MB an hour: 10 GB are 17 days of 20 guns, or 4 hours of 2,000.",
    )
    features_days: float = Field(
        30.0, gt=0, allow_inf_nan=False, description="How long features are kept, one a second."
    )
    rollups_days: float = Field(
        730.0, gt=0, allow_inf_nan=False, description="How long 1-minute rollups are kept."
    )
    records_days: float = Field(
        3650.0,
        gt=0,
        allow_inf_nan=False,
        description="How long sessions, exposures, cleared alarms and dead letters are kept.",
    )

    @property
    def size_bytes_max(self) -> int:
        return int(self.size_max_gb * GB)


class MonitorSection(Section):
    """How the fleet is watched."""

    reorder_window_s: float = Field(
        0.5,
        gt=0,
        le=0.9,  # the monitor lets go of what it holds 1 s after the last frame
        allow_inf_nan=False,
        description="How long a missing frame is waited for before it counts as lost [s].",
    )
    devices_max: int = Field(
        5_000,
        ge=1,
        le=100_000,
        description="Guns that are watched at most; what more of them send is refused and counted.",
    )


class CalibrationSection(Section):
    """The units' own force calibrations."""

    directory: FilePath = Field(
        DATA_DIRECTORY / "calibration",
        description="Where `myoguard calibrate` put them, `{clinic}/{device}.toml`. It need not"
        " exist: units without a calibration use their model's.",
    )


class ProfileSection(Section):
    """What makers publish of their gun models."""

    directory: FilePath | None = Field(
        None,
        examples=["profiles"],
        description="Further profiles, one TOML a model; one of a known name replaces ours.",
    )


class PageSection(Section):
    """The web page."""

    enabled: bool = Field(True, description="Whether the page is served.")
    host: Annotated[str, AfterValidator(_host)] = Field(
        "127.0.0.1",
        description="The address it is served at. Beyond this machine (`0.0.0.0`, or an address of"
        " its network) it is served only once there are accounts.",
    )
    port: int = Field(8080, ge=0, le=65_535, description="Its TCP port; 0 takes a free one.")
    accounts_file: FilePath = Field(
        DATA_DIRECTORY / "accounts.json",
        description="Where `myoguard account` keeps names, roles and hashed passwords. While it"
        " holds none, whoever sits at this machine may use all of the page.",
    )
    public_url: Annotated[str | None, AfterValidator(_public_url)] = Field(
        None,
        examples=["https://guns.example"],
        description="What people type, where a proxy stands before the page, such as one that"
        " speaks TLS. Needs accounts.",
    )


class MetricsSection(Section):
    """Figures for Prometheus (`/metrics`) and for who restarts things (`/health`, `/ready`).

    They name no gun and no person. If the port cannot be had, the guns are watched all the same.
    """

    enabled: bool = Field(True, description="Whether they are served.")
    host: Annotated[str, AfterValidator(_host)] = Field(
        "127.0.0.1", description="The address they are served at, to whoever asks."
    )
    port: int = Field(9464, ge=0, le=65_535, description="Their TCP port; 0 takes a free one.")


class PublishSection(Section):
    """What is sent back to the broker."""

    alarms: bool = Field(True, description="Every alarm as it stands, retained.")
    live: bool = Field(True, description="The newest values, at most 4 messages a second.")
    commands: bool = Field(
        False,
        description="Advisories to the guns (haptic, slower, stop). Off until a clinic decides.",
    )


class CaptureSection(Section):
    """The black box: raw samples around an alarm, and whole sessions if wanted.

    They say who was treated when, and are readable by their owner alone, as the store is.
    """

    # 30 s of a gun at 1600 Hz are 390 kB, 320 kB on the disk: 5 GB hold 15,000 alarms. 600 MB are
    # 21 s of 2,000 such guns (298 kB each, with what Python adds), the fleet that one process is
    # built for. Engineering choices.

    enabled: bool = Field(
        True,
        description="Whether 20 s before to 10 s after each medium or high alarm are kept.",
    )
    directory: FilePath | None = Field(
        None,
        examples=["/var/lib/myoguard/captures"],
        description="Where they are kept; without it, `captures` in the store's directory.",
    )
    size_max_gb: float = Field(
        5.0,
        ge=0.01,
        allow_inf_nan=False,
        description="Above this, the oldest captures are deleted first [GB]. One takes a third"
        " of a megabyte.",
    )
    memory_max_mb: float = Field(
        600.0,
        ge=1.0,
        allow_inf_nan=False,
        description="Memory for the last 21 s of all guns [MB]. A gun at 1600 Hz takes 0.3 MB;"
        " where that is not enough for all, captures begin later, and it is said. With"
        " `broker.nats_url` it holds 4 s: what came before is read from the broker's log.",
    )
    sessions: bool = Field(
        False,
        description="Whether whole sessions are kept too, raw: 45 MB for an hour of a gun at"
        " 1600 Hz.",
    )
    sessions_size_max_gb: float = Field(
        50.0,
        ge=0.01,
        allow_inf_nan=False,
        description="Above this, the oldest minutes of kept sessions are deleted first [GB].",
    )


class InfluxSection(Section):
    """InfluxDB, where results go if `url` is set: any version from 1.6 on; docs/data-model.md.

    What it has not taken yet waits in the store, through any outage.
    """

    url: Annotated[str, AfterValidator(_server_url)] | None = Field(
        None,
        examples=["http://127.0.0.1:8086"],
        description="Where InfluxDB is: `http://host:port`, or `https://host:port` for TLS.",
    )
    org: str = Field("", max_length=256, description="The organisation, which InfluxDB 2 wants.")
    bucket: Annotated[str, AfterValidator(_database)] = Field(
        "myoguard",
        description="The bucket, which is the database in InfluxDB 1 and 3. It has to be there;"
        " how long it keeps things is decided in InfluxDB.",
    )
    bucket_long: Annotated[str, AfterValidator(_database)] | None = Field(
        None,
        examples=["myoguard_long"],
        description="Another one for what is little and kept for years: 1-minute rollups, alarms,"
        " sessions, operators, devices. Without it, they go to `bucket`.",
    )
    token: SecretStr | None = Field(
        None, examples=["the token"], description="Token; in the environment only. See below."
    )
    token_file: FilePath | None = Field(
        None,
        examples=["/run/secrets/influx"],
        description="A file with the token and nothing else.",
    )
    username: str | None = Field(
        None, examples=["pipeline"], description="User, for an InfluxDB without tokens."
    )
    password: SecretStr | None = Field(
        None, examples=["the password"], description="Password; in the environment only."
    )
    password_file: FilePath | None = Field(
        None,
        examples=["/run/secrets/influx-password"],
        description="A file with the password and nothing else.",
    )
    ca_file: FilePath | None = Field(
        None,
        examples=["ca.pem"],
        description="Certificates (PEM) to trust for `https://`; without it, the system's.",
    )
    gzip: bool = Field(
        False, description="Compress what is sent: a tenth of the bytes, for a fifth more work."
    )
    timeout_s: float = Field(
        10.0,
        ge=0.5,
        le=120,
        allow_inf_nan=False,
        description="How long an answer is waited for before the same is sent again [s].",
    )
    spool_max_gb: float = Field(
        5.0,
        gt=0,
        allow_inf_nan=False,
        description="What may wait at most [GB]; an alarm says so at half of it. A gun that runs"
        " takes 1.7 MB an hour: 5 GB are 6 days of 20 guns. Beyond it the oldest seconds go first;"
        " alarms, sessions and devices last. Keep it well under `store.size_max_gb`, of which it is"
        " a part.",
    )

    @property
    def spool_bytes_max(self) -> int:
        return int(self.spool_max_gb * GB)


class SiteLimits(Section):
    """A clinic's own limits for one body site; what is left out stays as in docs/alarms.md."""

    force_limit_n: float | None = Field(
        None, examples=[40.0], description="Contact force, 1 s mean [N]; up to the site's ceiling."
    )
    tendon_limit_n: float | None = Field(
        None, examples=[20.0], description="Contact force on tendon [N]; up to the force limit."
    )
    dwell_advisory_s: float | None = Field(
        None, examples=[15.0], description="Contact on one spot before the advisory [s]."
    )
    dwell_limit_s: float | None = Field(
        None, examples=[25.0], description="Contact on one spot before the alarm [s]."
    )
    never: bool | None = Field(
        None, examples=[True], description="Never to be treated; can be set, not taken back."
    )


class Settings(BaseSettings):
    """All of it. Made by `load`; anything else has not been checked."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        env_ignore_empty=True,
    )

    broker: BrokerSection = BrokerSection()
    store: StoreSection = StoreSection()
    monitor: MonitorSection = MonitorSection()
    sites: Mapping[str, SiteLimits] = {}
    calibration: CalibrationSection = CalibrationSection()
    profiles: ProfileSection = ProfileSection()
    page: PageSection = PageSection()
    metrics: MetricsSection = MetricsSection()
    publish: PublishSection = PublishSection()
    influx: InfluxSection = InfluxSection()
    capture: CaptureSection = CaptureSection()

    @property
    def capture_directory(self) -> Path:
        """Where captures and kept sessions lie."""
        return self.capture.directory or self.store.directory / "captures"

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each setting came from that is not a default: a file, or a variable."""
        return self._origins

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before what `load` read from the file; no other source."""
        del settings_cls, dotenv_settings, file_secret_settings  # the signature is pydantic's
        return env_settings, init_settings

    @property
    def site_table(self) -> SiteTable:
        """The limits in force."""
        given = {site: limits.model_dump(exclude_none=True) for site, limits in self.sites.items()}
        return with_overrides({site: limits for site, limits in given.items() if limits})

    @property
    def config_version(self) -> str:
        """12 hex digits that change with what an alarm may hang on, the built-in limits included.

        Where messages come from, and where records go, is left out: a replay, or the same messages
        from another broker, are judged by the same configuration.
        """
        table = self.site_table
        limits = [asdict(row) for row in (table.general, *table.rows.values())]
        for row in limits:
            del row["source"]
        text = json.dumps([self.monitor.model_dump(mode="json"), limits], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
