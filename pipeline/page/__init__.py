"""The web page: the fleet as tiles, a gun's last minutes as charts. NiceGUI, nothing from outside.

May import `store`, `rules`, `sites`, `model`; never the monitor, whose state is not for reading.
What it shows comes from the embedded store and from the LiveBoard that the composition root fills.
Inside, from pure to NiceGUI: `board`, `words`, `alarm_lines`, `sightings`, `fleet`, `history`,
`charts`; `archive` (the store, read in a thread), `watch` (the beat), `views`, `server`, and
`assets` (what runs in the browser).
"""

from pipeline.page.board import LiveBoard
from pipeline.page.server import PageError, listen, serve

__all__ = ["LiveBoard", "PageError", "listen", "serve"]
