"""What the page has the pipeline do: said over MQTT like anybody's word, never done directly."""

from __future__ import annotations

from pipeline.app.desk import Desk
from pipeline.model import AlarmAction
from pipeline.page import ErrandError


class PageErrands:
    """`pipeline.page.Errands`, at one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def act(self, action: AlarmAction) -> None:
        """Raises ErrandError where the broker would not hear it now."""
        publisher = self._desk.publisher
        if not publisher.status.connected:
            raise ErrandError("The broker cannot be reached; nothing was sent. Try again later.")
        dropped = publisher.counters.actions_dropped
        publisher.offer([action])
        if publisher.counters.actions_dropped != dropped:
            raise ErrandError("Too much waits to be sent; nothing was sent. Try again.")
