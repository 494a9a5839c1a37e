"""What was refused lately, so that what a broker sends again is refused once.

Pure. A frame that can be read falls out by (boot_id, seq) when it comes a second time; one that
cannot be read has no number, and is known by its topic and bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from pipeline.model import Received

# Engineering choice: a broker may send again all it was owed an acknowledgement for; this is the
# window that the pipeline asks for, and could hold nothing but bad messages.
REMEMBERED_MAX = 16_384
DIGEST_BYTES = 8  # a chance of 1e-15 that a bad message is taken for another one


class Refusals:
    """The newest refused messages."""

    def __init__(self) -> None:
        self._digests: dict[int, None] = {}  # oldest first

    def is_new(self, received: Received) -> bool:
        """Whether these bytes have not been refused on this topic lately; from now on they have."""
        digest = blake2b(received.payload, digest_size=DIGEST_BYTES)
        digest.update(received.topic.encode(errors="surrogatepass"))
        key = int.from_bytes(digest.digest(), "little")
        if key in self._digests:
            return False
        self._digests[key] = None
        if len(self._digests) > REMEMBERED_MAX:
            del self._digests[next(iter(self._digests))]
        return True

    def dump(self) -> list[int]:
        return list(self._digests)

    def load(self, digests: Iterable[int]) -> None:
        self._digests = dict.fromkeys(digests)
