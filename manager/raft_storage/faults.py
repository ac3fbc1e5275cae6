"""What can be wrong with a manager's raft directory. Each sentence names the directory or file and what to do."""

from __future__ import annotations


class StorageFault(Exception):
    """Base. Fatal for the manager process, except LogFull."""


class LogFull(StorageFault):
    """There is no room for another segment. Nothing was written; the manager may go on reading, and try again."""

    def __init__(self, directory: str) -> None:
        super().__init__(
            "the manager's log cannot be written: no space left on device; "
            f"free some on the file system of {directory} and try again"
        )


class Damaged(StorageFault):
    """What is on disk is not what was written, and more than an unfinished last write."""

    def __init__(self, directory: str, what: str) -> None:
        super().__init__(
            f"the raft directory {directory} of this manager is damaged: {what}. Nothing was changed. "
            "Restore the directory from a backup; or, if other managers hold the cluster's state, remove it and let this node join again"
        )


class InUse(StorageFault):
    """Another process holds the directory's lock."""

    def __init__(self, directory: str) -> None:
        super().__init__(f"the raft directory {directory} is in use by another manager process")
