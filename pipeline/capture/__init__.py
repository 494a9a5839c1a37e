"""What guns said, kept as files: recordings, and the black box of raw samples around an alarm.

`recording` is the file (one Parquet row a message), `ring` the newest raw messages of the fleet in
memory, `folder` the files on the disk and their limit, `blackbox` what cuts a capture out of the
ring, `session_log` the recording of whole sessions, `writing` the thread that writes both. May
import `model` and `wire`; no asyncio, no clock: time comes with the messages.
"""

from pipeline.capture.blackbox import AFTER_NS, BlackBox, BlackBoxStatus
from pipeline.capture.folder import CaptureFolder, capture_name, name_captures
from pipeline.capture.recording import (
    PART_SUFFIX,
    ROW_GROUP_BYTES_MAX,
    ROW_GROUP_MESSAGES_MAX,
    RecordingError,
    RecordingExistsError,
    RecordingFormatError,
    RecordingMissingError,
    RecordingWriteError,
    RecordingWriter,
    count_messages,
    read_recording,
)
from pipeline.capture.ring import BEFORE_NS
from pipeline.capture.session_log import SessionLog, pieces_within, session_files
from pipeline.capture.writing import CaptureWriter

__all__ = [
    "AFTER_NS",
    "BEFORE_NS",
    "PART_SUFFIX",
    "ROW_GROUP_BYTES_MAX",
    "ROW_GROUP_MESSAGES_MAX",
    "BlackBox",
    "BlackBoxStatus",
    "CaptureFolder",
    "CaptureWriter",
    "RecordingError",
    "RecordingExistsError",
    "RecordingFormatError",
    "RecordingMissingError",
    "RecordingWriteError",
    "RecordingWriter",
    "SessionLog",
    "capture_name",
    "count_messages",
    "name_captures",
    "pieces_within",
    "read_recording",
    "session_files",
]
