"""The ways to the broker as the settings describe them: one to read, one to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.config import Settings
from pipeline.mqtt import Credentials, MqttProtocol
from pipeline.publish import Publisher
from pipeline.sources import MqttSource

if TYPE_CHECKING:
    from pipeline.sources.nats import NatsSource


def credentials(settings: Settings) -> Credentials:
    """How the settings say to identify to the broker."""
    broker = settings.broker
    password = broker.password.get_secret_value() if broker.password is not None else None
    return Credentials(broker.username, password, broker.ca_file, broker.cert_file, broker.key_file)


def address_of(url: str) -> str:
    """The broker without the user whom its URL may name."""
    return urlsplit(url).netloc.rpartition("@")[2]


def make_source(settings: Settings, *, retained_again: bool) -> MqttSource | NatsSource:
    """Where messages come from: the broker's durable log where it has one."""
    broker = settings.broker
    if broker.nats_url is not None:
        from pipeline.sources.nats import NatsSource  # noqa: PLC0415  0.6 s, only for a log

        return NatsSource(
            broker.nats_url,
            mqtt_url=broker.url,
            client_id=broker.client_id,
            credentials=credentials(settings),
            protocol=MqttProtocol(broker.protocol),
            log_bytes_max=broker.log_bytes_max,
            retained_again=retained_again,
            patient=True,
        )
    return MqttSource(
        broker.url,
        client_id=broker.client_id,
        credentials=credentials(settings),
        protocol=MqttProtocol(broker.protocol),
        redelivery_s=broker.redelivery_s,
        retained_again=retained_again,
        patient=True,
    )


def make_publisher(settings: Settings, observe: Callable[[float], None]) -> Publisher:
    """Where alarms and live values go; `observe` hears how long each alarm took."""
    broker = settings.broker
    return Publisher(
        broker.url,
        client_id=f"{broker.client_id}-publisher",
        credentials=credentials(settings),
        protocol=MqttProtocol(broker.protocol),
        commands=settings.publish.commands,
        patient=True,
        observe=observe,
    )
