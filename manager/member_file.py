"""`raft/member`: which member of the group this manager is, and whom it was told of when it joined.

Owns the file; a folder without it is that of the member that founded the cluster, or of none yet. What the log says of
the membership later is the log's own.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import msgspec

from cluster.durable import write_atomically
from manager.raft.driver import FOUNDER
from manager.raft.membership import Member
from manager.raft_storage.directory import DIRECTORY_MODE
from manager.raft_storage.faults import Damaged

NAME: Final = "member"


class Seat(msgspec.Struct, frozen=True):
    """`known`: the members that were there when this one came, whom it listens to while its own log says nothing."""

    raft_id: int = FOUNDER
    known: tuple[Member, ...] = ()


def load(state: Path) -> Seat | None:
    """The seat that this folder holds; None when this manager has to join first. Raises Damaged."""
    try:
        return msgspec.json.decode((state / NAME).read_bytes(), type=Seat)
    except FileNotFoundError:
        return Seat() if any(state.glob("log-*")) or any(state.glob("snapshot-*")) else None
    except msgspec.MsgspecError as error:
        raise Damaged(str(state), f"its file {NAME} cannot be read ({error})") from error


def save(state: Path, seat: Seat) -> None:
    """Durable when this returns. Raises OSError."""
    state.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    write_atomically(state / NAME, msgspec.json.encode(seat), 0o600)


def forget(state: Path) -> None:
    """The member was removed for ever: what it had under its id is worth nothing. The file goes last, so that what is interrupted is done again."""
    for path in state.glob("*"):
        if path.name != NAME:
            path.unlink()
    shutil.rmtree(state, ignore_errors=True)
