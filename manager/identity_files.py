"""The identity of this manager's node on disk: its key and certificates (cluster/identity/folder.py) and identity.json, the last of which
makes it valid. Owns reading and the first writing; afterwards the node (agent/) keeps identity.json.

Without identity.json the node is in no swarm, whatever a crash left beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from cluster.durable import write_atomically
from cluster.identity import folder as identity_folder
from cluster.identity.folder import Credentials
from cluster.model.errors import FailedPrecondition

IDENTITY: Final = "identity.json"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """`managers` are host:port. `left`: the node was leaving when it was interrupted."""

    node_id: str
    cluster_id: str
    role: str = "manager"
    managers: tuple[str, ...] = ()
    advertise_address: str = ""
    listen_address: str = ""
    left: bool = False


def is_member(folder: Path) -> bool:
    """Whether the folder holds a valid identity of a swarm that has not been left."""
    try:
        return not msgspec.json.decode((folder / IDENTITY).read_bytes(), type=Identity).left
    except (FileNotFoundError, msgspec.DecodeError):
        return False


def load(folder: Path) -> Identity:
    """Who the node is. Raises FailedPrecondition when the node is in no swarm or the file is damaged."""
    try:
        return msgspec.json.decode((folder / IDENTITY).read_bytes(), type=Identity)
    except FileNotFoundError as error:
        raise _in_no_swarm(error) from error
    except msgspec.DecodeError as error:
        raise _damaged(folder, error) from error


def credentials(folder: Path, sealing: bytes | None = None) -> Credentials:
    """By what it proves that. Raises FailedPrecondition likewise, KeySealed where the key does not open by `sealing`."""
    try:
        return identity_folder.load(folder, sealing)
    except FileNotFoundError as error:
        raise _in_no_swarm(error) from error
    except UnicodeDecodeError as error:
        raise _damaged(folder, error) from error


def _in_no_swarm(error: FileNotFoundError) -> FailedPrecondition:
    return FailedPrecondition(f"this node is in no swarm: {error.filename} is missing")


def _damaged(folder: Path, error: Exception) -> FailedPrecondition:
    return FailedPrecondition(f"the identity in {folder} is damaged: {error}")


def save(folder: Path, identity: Identity, credentials: Credentials, sealing: bytes | None = None) -> None:
    """Write everything durably, identity.json last; the key sealed where `sealing` is given."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    identity_folder.save(folder, credentials, sealing)
    write_atomically(folder / IDENTITY, msgspec.json.encode(identity))


def forget(folder: Path) -> None:
    """Take away what an interrupted or failed bootstrap wrote."""
    for name in (IDENTITY, identity_folder.KEY, identity_folder.NEXT_KEY, identity_folder.CERTIFICATE, identity_folder.ROOT, identity_folder.LOCK):
        (folder / name).unlink(missing_ok=True)
