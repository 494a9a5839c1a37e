"""State as bytes: a head that JSON can say, and what follows it as it is. Pure.

orjson, since a snapshot stops the loop: a tenth of the time of the standard library's. It takes
whole numbers below 2**63, and would write what is not a number as null: heads have none.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

HEAD_BYTES: Final = 8  # the length of the head, before it


def pack(head: object, *parts: bytes | memoryview, mark: bytes = b"") -> bytes:
    """`mark`, the head's length, the head and the parts, copied once: they are 5 kB a gun."""
    text = orjson.dumps(head, default=list)  # a named tuple is a list
    return b"".join((mark, len(text).to_bytes(HEAD_BYTES, "little"), text, *parts))


def unpack(data: bytes) -> tuple[Any, bytes]:
    """The head, and what follows it; without the mark. ValueError where there is no head."""
    start = HEAD_BYTES + int.from_bytes(data[:HEAD_BYTES], "little")
    return orjson.loads(data[HEAD_BYTES:start]), data[start:]
