"""What can be wrong with the store: each error is one sentence with the place and the remedy."""

from __future__ import annotations


class StoreError(Exception):
    """Any fault of the store."""


class StoreBusyError(StoreError):
    """Another process already writes to this store."""


class StoreUnusableError(StoreError):
    """The directory cannot be written, or the file in it is not a MyoGuard store."""


class StoreVersionError(StoreError):
    """The store was written by another version of MyoGuard."""


class StoreMissingError(StoreError):
    """There is no store to read yet."""


class StoreWriteError(StoreError):
    """A transaction failed and was rolled back: nothing of it was stored, and it may be retried."""


class StoreReadError(StoreError):
    """A query failed."""
