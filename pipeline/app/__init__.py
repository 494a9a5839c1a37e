"""The running pipeline: broker → monitor → store and broker, on one event loop with the only clock.

`Pipeline.run` is all of it. Batches go through the monitor as they come; alarms and live values go
out at once; about once a second one transaction stores the records with the monitor's snapshot, and
only then may the broker forget the messages. So a `kill -9` at any instant costs nothing: what was
not stored comes again. While the store accepts nothing, what waits here is bounded by the broker's
window of unacknowledged messages. Decides nothing about guns.

Inside: `pipeline` puts it together; `flow` is the loop, `keeper` what must survive; `desk` is where
the page and whatever else runs beside the loop is plugged in; `guns`, `links`, `timer`.
"""

from pipeline.app.desk import Desk, Edge, Listener, Tap
from pipeline.app.guns import KnownGuns, make_monitor
from pipeline.app.links import address_of, credentials
from pipeline.app.pipeline import Pipeline

__all__ = [
    "Desk",
    "Edge",
    "KnownGuns",
    "Listener",
    "Pipeline",
    "Tap",
    "address_of",
    "credentials",
    "make_monitor",
]
