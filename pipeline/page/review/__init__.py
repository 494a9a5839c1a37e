"""Looking back: sessions, what they were against guidance, and the raw samples around an alarm.

From pure to NiceGUI: `session`, `guidance`, `charts`, `waveform`, `picture`, `report`; `library`
(what is on the disk, read off the event loop), `downloads`, `pages`. May import `history`,
`alarm_lines`, `words`, the store's types, `capture`, `export` and inward.
"""
