"""An answer in JSON of our own dataclasses and enums; imports orjson and starlette."""

from __future__ import annotations

import orjson
from starlette.responses import Response


class JsonOf(Response):
    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return orjson.dumps(content)
