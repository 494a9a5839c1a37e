"""Why a message is refused: the closed list of reasons and the one exception. Imports nothing."""

from __future__ import annotations

from enum import StrEnum


class DecodeReason(StrEnum):
    """Why a message was refused: a closed list, because rejections are counted by it."""

    BAD_TOPIC = "bad_topic"
    EMPTY = "empty"  # on a retained topic this is how MQTT says "cleared"; there is nothing to use
    TOO_LARGE = "too_large"  # larger than any message of its kind can be
    BAD_MAGIC = "bad_magic"  # neither a binary frame nor JSON
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    BAD_CRC = "bad_crc"
    BAD_JSON = "bad_json"  # not JSON: syntax, encoding, NaN, a key twice, nested too deep
    BAD_FIELD = (
        "bad_field"  # well formed, but a field is missing, of the wrong type or out of range
    )


class DecodeError(ValueError):
    """A message that is not of the contract. `reason` is for counting, `detail` for a person."""

    def __init__(self, reason: DecodeReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
