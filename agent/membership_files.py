"""What a node keeps of its swarm on disk: `node/` with its key and certificates (cluster/identity/folder.py), and identity.json. Owns the latter.

identity.json is written last: without it the node is in no swarm, whatever else a crash left behind.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import msgspec

from cluster.durable import write_atomically
from cluster.identity import folder as identity_folder
from cluster.identity.folder import Credentials

IDENTITY: Final = "identity.json"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """`managers` are host:port, the last known; addresses are plain."""

    node_id: str
    cluster_id: str
    role: str  # worker, manager
    managers: tuple[str, ...] = ()
    advertise_address: str = ""
    manager_address: str = ""  # host:port that its own manager advertises, when it is or becomes one
    listen_address: str = "0.0.0.0:2377"  # noqa: S104  the swarm's port is served on every address, as Docker's
    data_path_address: str = ""
    data_path_port: int = 4789
    left: bool = False


def load(folder: Path) -> Identity | None:
    """Who the node is, or None when it is in no swarm."""
    identity = _read(folder)
    whole = all((folder / name).exists() for name in (identity_folder.KEY, identity_folder.CERTIFICATE, identity_folder.ROOT))
    return identity if identity is not None and whole and not identity.left else None


def was_leaving(folder: Path) -> bool:
    """Whether the node was killed while it left its swarm."""
    identity = _read(folder)
    return identity is not None and identity.left


def _read(folder: Path) -> Identity | None:
    try:
        return msgspec.json.decode((folder / IDENTITY).read_bytes(), type=Identity)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def save(folder: Path, identity: Identity, credentials: Credentials | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if credentials is not None:
        identity_folder.save(folder, credentials)
    write_atomically(folder / IDENTITY, msgspec.json.encode(identity))


def forget(root: Path) -> None:
    """Leave: the identity goes first, so that an interrupted removal leaves no half member."""
    (root / "node" / IDENTITY).unlink(missing_ok=True)
    for folder in ("node", "raft"):
        shutil.rmtree(root / folder, ignore_errors=True)
