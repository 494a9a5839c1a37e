"""Somebody at the page without a browser: signs in, keeps the cookie, asks."""

from __future__ import annotations

import http.client
import json
import re
from http.cookies import SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import urlencode

from page_server import Served
from servers import DEADLINE_S, HOST

from pipeline.model import Alarm

PASSWORD = "four words are enough"  # noqa: S105 - of accounts that live for a test


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    text: str


class Visitor:
    """Somebody with a cookie, as a browser would send it."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.own = f"{HOST}:{served.port}"
        self.cookie = ""
        self.csrf = ""

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> Answer:
        sent = {"Host": self.own, "Cookie": self.cookie, **headers}
        connection = http.client.HTTPConnection(HOST, self._served.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body or None, {k: v for k, v in sent.items() if v})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode())
        finally:
            connection.close()

    def sign_in(self, name: str, password: str = PASSWORD, to: str = "/") -> Answer:
        form = urlencode({"name": name, "password": password, "to": to})
        kind = "application/x-www-form-urlencoded"
        answer = self.ask(
            "POST", "/sign-in", form, Origin=f"http://{self.own}", **{"Content-Type": kind}
        )
        jar = SimpleCookie(answer.headers.get("set-cookie", ""))
        self.cookie = "; ".join(f"{key}={each.value}" for key, each in jar.items())
        if self.cookie:
            page = self.ask("GET", "/").text
            self.csrf = re.findall(r'csrf[\\"]*:[\\"]*([\w-]{20,})', page)[0]
        return answer

    def act(self, alarm: Alarm, action: str, **changes: Any) -> Answer:
        body = {"action": action, "alarm_id": alarm.alarm_id}
        headers = {
            "Origin": f"http://{self.own}",
            "X-MyoGuard-CSRF": self.csrf,
            "Content-Type": "application/json",
        }
        headers |= changes.pop("headers", {})
        path = f"/api/alarms/{alarm.id.clinic}/{alarm.id.device}/{alarm.rule}"
        return self.ask("POST", path, json.dumps(body | changes), **headers)


def visitor(served: Served, name: str = "") -> Visitor:
    found = Visitor(served)
    if name:
        assert found.sign_in(name).status == 303
    return found
