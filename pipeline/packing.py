"""State as bytes: a head that JSON can say, and what follows it as it is. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

HEAD_BYTES: Final = 8  # the length of the head, before it


def pack(head: object, *parts: bytes) -> bytes:
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((len(text).to_bytes(HEAD_BYTES, "little"), text, *parts))


def unpack(data: bytes) -> tuple[Any, bytes]:
    """The head, and what follows it. ValueError where there is no head."""
    start = HEAD_BYTES + int.from_bytes(data[:HEAD_BYTES], "little")
    return json.loads(data[HEAD_BYTES:start]), data[start:]
