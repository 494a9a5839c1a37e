"""The stream that keeps what guns said until it is stored: how it is laid, proved and named.

`$MQTT_msgs`, where nats-server keeps what it has acknowledged over MQTT, feeds the stream `TEL`
through a durable consumer that learns when a message is stored (`ack_policy: flow_control`,
nats-server 2.14). Both keep a message only until whoever waits for it has it. Errors name what is
missing on the way.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from functools import lru_cache
from typing import Final

import numpy as np

from pipeline.jetstream import JetStream, JsonObject, RequestError
from pipeline.link import BrokerError
from pipeline.model import DeviceId, Received

STREAM: Final = "TEL"
MQTT_STREAM: Final = "$MQTT_msgs"
VERSION_MIN: Final = (2, 14)  # the first with flow control as a policy of acknowledgement
_FEEDER: Final = "myoguard-TEL"
_FEED_SUBJECT: Final = "myoguard.feed.TEL"
_CAPTURED: Final = "$MQTT.msgs.massage.v1.*.*.>"
# 64 partitions by gun, so that workers can share a fleet: tel.{partition}.{clinic}.{device}.…
_PARTITIONED: Final = "tel.{{partition(64,2)}}.{{wildcard(1)}}.{{wildcard(2)}}.>"
_PROBE: Final = "probe/path"  # no filter of the pipeline's matches it on a broker
ACK_WAIT_S: Final = 86_400.0  # a new connection asks again by itself: never by waiting
PROOF_S_MAX: Final = 10.0  # engineering choices: it takes milliseconds, or what a killed server
PROOF_POLL_S: Final = 0.02  # needs to feed what it held
READ_MESSAGES: Final = 512  # of one gun at once: half a minute of most; engineering choice

_STREAM_NOT_FOUND: Final = 10_059  # JetStream's error codes
_MESSAGE_NOT_FOUND: Final = 10_037


def reader_name(client_id: str) -> str:
    """The name of a pipeline's consumer: its client id, as far as JetStream allows it."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", client_id)[:64]
    if name == client_id:
        return name
    return f"{name}-{hashlib.sha256(client_id.encode()).hexdigest()[:8]}"


async def lay(log: JetStream, bytes_max: int) -> None:
    """Make what is missing of the way from MQTT into the stream. Raises BrokerError."""
    await _check_server(log)
    await log.ask(
        f"CONSUMER.CREATE.{MQTT_STREAM}.{_FEEDER}",
        {
            "stream_name": MQTT_STREAM,
            "config": {
                "name": _FEEDER,
                "durable_name": _FEEDER,
                "deliver_policy": "all",
                "ack_policy": "flow_control",
                "deliver_subject": _FEED_SUBJECT,
                "filter_subject": _CAPTURED,
                "flow_control": True,
                "idle_heartbeat": 1_000_000_000,
            },
        },
    )
    await _make_stream(log, bytes_max)


async def held(log: JetStream) -> tuple[int, int] | None:
    """How many messages the stream holds, and for how many readers; None where there is none yet.

    Makes nothing. Raises BrokerError where the server cannot have one.
    """
    await _check_server(log)
    try:
        state = (await log.ask(f"STREAM.INFO.{STREAM}"))["state"]
    except RequestError as error:
        if error.code != _STREAM_NOT_FOUND:
            raise
        return None
    return state["messages"], state["consumer_count"]


async def _check_server(log: JetStream) -> None:
    if log.server_version < VERSION_MIN:
        found, needed = (".".join(map(str, each)) for each in (log.server_version, VERSION_MIN))
        raise BrokerError(
            f"{log} is nats-server {found}; the durable log needs {needed} or later. "
            "Update it, or leave broker.nats_url out"
        )
    await _find_mqtt(log)


async def _find_mqtt(log: JetStream) -> None:
    try:
        await log.ask(f"STREAM.INFO.{MQTT_STREAM}")
    except RequestError as error:
        if error.code != _STREAM_NOT_FOUND:
            raise
        raise BrokerError(
            f"{log} has no stream {MQTT_STREAM}: broker.url must name the MQTT listener of the "
            "same nats-server and account, with JetStream on"
        ) from None


async def _make_stream(log: JetStream, bytes_max: int) -> None:
    config: JsonObject = {
        "name": STREAM,
        "retention": "interest",  # until every reader has committed it
        "storage": "file",
        "max_bytes": bytes_max,
        "discard": "old",  # of a fleet that nobody has watched for so long, the newest matters
        "allow_direct": True,  # so that `frames_within` needs no consumer
        "sources": [
            {
                "name": MQTT_STREAM,
                "consumer": {"name": _FEEDER, "deliver_subject": _FEED_SUBJECT},
                "subject_transforms": [{"src": _CAPTURED, "dest": _PARTITIONED}],
            }
        ],
    }
    try:
        found = (await log.ask(f"STREAM.INFO.{STREAM}"))["config"]
    except RequestError as error:
        if error.code != _STREAM_NOT_FOUND:
            raise
        await log.ask(f"STREAM.CREATE.{STREAM}", config)
    else:
        if any(found.get(key) != value for key, value in config.items()):
            await log.ask(f"STREAM.UPDATE.{STREAM}", config)


async def make_reader(log: JetStream, name: str) -> bool:
    """Make the consumer `name` where it is missing; whether it has ever acknowledged anything."""
    config = {
        "name": name,
        "durable_name": name,
        "deliver_policy": "all",
        "ack_policy": "all",
        "ack_wait": round(ACK_WAIT_S * 1e9),
        "max_ack_pending": -1,  # what it asks for is bounded
    }
    answer = await log.ask(
        f"CONSUMER.CREATE.{STREAM}.{name}", {"stream_name": STREAM, "config": config}
    )
    return bool(answer["ack_floor"]["consumer_seq"])


async def topics_held(log: JetStream) -> set[str | None]:
    """Of which topics the stream holds messages."""
    held: set[str] = set()
    while True:
        request = {"subjects_filter": "tel.>", "offset": len(held)}
        answer = await log.ask(f"STREAM.INFO.{STREAM}", request)
        page = (answer["state"].get("subjects") or {}).keys()
        held |= set(page)
        if not page or len(held) >= answer.get("total", 0):
            return {topic_of(subject) for subject in held}


async def gaps(log: JetStream) -> list[int]:
    """Sequences that are missing between others, in order.

    All had committed them before the server was killed: it notes what it lets go of later
    than it does so, one by one; `max_bytes` costs the oldest.
    """
    state = (await log.ask(f"STREAM.INFO.{STREAM}", {"deleted_details": True}))["state"]
    return sorted(state.get("deleted") or [])


async def frames_within(log: JetStream, id_: DeviceId, from_ns: int, to_ns: int) -> list[Received]:
    """A gun's frames that were stored from then to then and still are, as NatsSource gives them."""
    wanted = f"tel.*.{id_.clinic}.{id_.device}.telemetry"
    place: JsonObject = {"start_time": _rfc3339(max(from_ns, 0))}
    found: list[Received] = []
    while True:
        request = {"batch": READ_MESSAGES, "next_by_subj": wanted, **place}
        *messages, end = await log.ask_many(f"DIRECT.GET.{STREAM}", request)
        for each in messages:
            stored_at_ns = _nanoseconds((each.headers or {})["Nats-Time-Stamp"])
            if stored_at_ns > to_ns:
                return found
            topic = f"massage/v1/{id_.clinic}/{id_.device}/telemetry"
            found.append(Received(stored_at_ns, topic, each.data))
        if not messages or (end.headers or {}).get("Nats-Num-Pending") == "0":
            return found
        place = {"seq": int((messages[-1].headers or {})["Nats-Sequence"]) + 1}


async def release(log: JetStream, holder: str, before_ns: int) -> None:
    """Let the consumer `holder` no longer keep what was stored before then."""
    request = {"start_time": _rfc3339(before_ns), "next_by_subj": "tel.>"}
    try:
        first = (await log.ask(f"STREAM.MSG.GET.{STREAM}", request))["message"]["seq"]
    except RequestError as error:
        if error.code != _MESSAGE_NOT_FOUND:
            raise
        first = await _next_sequence(log)
    await log.ask(f"CONSUMER.RESET.{STREAM}.{holder}", {"seq": first})


async def forget_holder(log: JetStream, holder: str) -> None:
    """Delete it; by itself that does not let go what it alone still kept (nats-server 2.15)."""
    await log.ask(f"CONSUMER.RESET.{STREAM}.{holder}", {"seq": await _next_sequence(log)})
    await log.ask(f"CONSUMER.DELETE.{STREAM}.{holder}")


async def _next_sequence(log: JetStream) -> int:
    return int((await log.ask(f"STREAM.INFO.{STREAM}"))["state"]["last_seq"]) + 1


def _rfc3339(t_ns: int) -> str:
    return f"{np.datetime64(max(t_ns, 0), 'ns')}Z"


def _nanoseconds(rfc3339: str) -> int:
    return int(np.datetime64(rfc3339.removesuffix("Z"), "ns").astype(np.int64))


def probe_topic(name: str) -> str:
    return f"massage/v1/myoguard/{name}/{_PROBE}"


async def find_probe(log: JetStream, name: str, nonce: bytes) -> None:
    """Wait until the probe published over MQTT is in the stream, or say where it got lost."""
    deadline_s = time.monotonic() + PROOF_S_MAX
    request = {"last_by_subj": f"tel.*.myoguard.{name}.{_PROBE.replace('/', '.')}"}
    while time.monotonic() < deadline_s:
        try:
            answer = await log.ask(f"STREAM.MSG.GET.{STREAM}", request)
        except RequestError as error:
            if error.code != _MESSAGE_NOT_FOUND:
                raise
        else:
            if base64.b64decode(answer["message"]["data"]) == nonce:
                return
        await asyncio.sleep(PROOF_POLL_S)
    sources = (await log.ask(f"STREAM.INFO.{STREAM}")).get("sources") or [{}]
    raise BrokerError(
        f"A probe published over MQTT did not reach the stream {STREAM} of {log} within "
        f"{PROOF_S_MAX:.0f} s (it is {sources[0].get('lag', 'unknown')} messages behind "
        f"{MQTT_STREAM}); check that broker.url and broker.nats_url are one server and account"
    )


@lru_cache(maxsize=32_768)  # 2,000 guns with all their topics and some 10 alarms each
def topic_of(subject: str) -> str | None:
    """The MQTT topic of a message of the stream; None for what the pipeline does not subscribe to.

    nats-server writes a topic's `/` as `.`, its `.` as `//`, and an empty level as `/`.
    """
    levels = subject.split(".")[2:]
    leaf = levels[2:]
    if not (
        len(leaf) == 1
        or (len(leaf) == 3 and leaf[0] == "alarm" and leaf[2] == "action")
        or leaf == ["command", "result"]
    ):
        return None
    return "massage/v1/" + "/".join(_level(each) for each in levels)


def _level(part: str) -> str:
    return part.replace("//", ".").replace("/", "")
