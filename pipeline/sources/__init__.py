"""Where messages come from: ordered batches, and a commit once they are safely stored.

A `Source` yields `Batch(messages, position)` and keeps everything after the last committed
position deliverable again. Three kinds: `mqtt`, any broker, whose unacknowledged window is the only
thing that holds it back; `nats`, the durable log behind nats-server's MQTT listener; `recording`,
which needs no commit. `log_past` reads the newest of the durable log again, for the black box.
`nats` and `log_past` are imported only where a log is configured: nats-py takes 0.6 s to load.
Decodes nothing, but in `again` what tells the parts of what is sent again; `pipeline.mqtt` and
`pipeline.jetstream` speak the protocols. What a broker had retained comes first after a new
subscription and may be old: it is a message like any other, and its own `t_ns` and `boot_id` say
how old.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pipeline.mqtt import ANONYMOUS, PORTS, Credentials, MqttProtocol
from pipeline.sources.mqtt import QOS0_PENDING_MAX, MqttSource
from pipeline.sources.recording import RecordingSource
from pipeline.sources.source import BATCH_MESSAGES, Batch, Position, Source, SourceError

__all__ = [
    "BATCH_MESSAGES",
    "QOS0_PENDING_MAX",
    "Batch",
    "MqttSource",
    "Position",
    "RecordingSource",
    "Source",
    "SourceError",
    "open_source",
]


def open_source(
    url: str,
    *,
    client_id: str = "myoguard",
    credentials: Credentials = ANONYMOUS,
    protocol: MqttProtocol = MqttProtocol.V311,
) -> MqttSource | RecordingSource:
    """The source that `url` names: a broker, or the path of a recording.

    Raises SourceError or BrokerError, each one sentence for the user.
    """
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme in PORTS:
        return MqttSource(url, client_id=client_id, credentials=credentials, protocol=protocol)
    if not scheme and url.endswith(".parquet"):
        return RecordingSource([Path(url)])
    raise SourceError(
        f"{url!r} is no source of messages; give mqtt://host:port, mqtts://host:port "
        "or the path of a recording (.parquet)"
    )
