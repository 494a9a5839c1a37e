"""The web page: the fleet, its alarms, a gun's last minutes. NiceGUI, nothing from outside.

May import `store`, `rules`, `sites`, `accounts`, `model`; never the monitor, whose state is not for
reading. What it shows comes from the embedded store and from the LiveBoard that the composition
root fills; what it is asked to do goes to the Errands of the composition root, and from there over
MQTT. Inside, from pure to NiceGUI: `board`, `words`, `actions`, `alarm_lines`, `sightings`,
`fleet`, `pulse`, `history`, `charts`; `archive` (the store, read in a thread), `watch` (the beat);
`logins`, `gate` (what every request passes), `sign_in`; `frame` (what is around every view),
`views`, `alarm_requests`, `workshop`, `technician`; what looks back: `review` (pure, and its
`library`), `review_views`, `review_downloads`, `what_if_view`; `server`, and `assets` (what runs in
the browser).
"""

from pipeline.page.actions import ErrandError, Errands
from pipeline.page.board import LiveBoard
from pipeline.page.server import PageError, Place, Sources, listen, serve
from pipeline.page.workshop import TEST_GUN, Fact, Proposal, Step, Workshop, WorkshopError

__all__ = [
    "TEST_GUN",
    "ErrandError",
    "Errands",
    "Fact",
    "LiveBoard",
    "PageError",
    "Place",
    "Proposal",
    "Sources",
    "Step",
    "Workshop",
    "WorkshopError",
    "listen",
    "serve",
]
