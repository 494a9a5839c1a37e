"""Everything dies at random, and nothing may be lost: `make chaos`.

A seed decides a run: which guns publish what through which faulty network, and when the pipeline,
the broker, the disk and the wire fail. Guns keep on until the broker has acknowledged all of it. At
the end every message must be in the store exactly once, and the records must be those of a replay
of the same messages through a monitor that nobody disturbed.
"""
