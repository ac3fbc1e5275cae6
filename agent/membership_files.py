"""What a node keeps of its swarm on disk: `node/` with its key, certificate, the cluster's root, and identity.json. Owns the layout and the atomic writes.

The private key is 0600 and written first; identity.json last: without it the node is in no swarm, whatever else a crash left behind.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import msgspec

from cluster.durable import write_atomically

IDENTITY: Final = "identity.json"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """`managers` are host:port, the last known; addresses are plain."""

    node_id: str
    cluster_id: str
    role: str  # worker, manager
    managers: tuple[str, ...] = ()
    advertise_address: str = ""
    listen_address: str = "0.0.0.0:2377"  # noqa: S104  the swarm's port is served on every address, as Docker's
    data_path_address: str = ""
    data_path_port: int = 4789
    left: bool = False


class Credentials(msgspec.Struct, frozen=True):
    certificate_pem: str
    key_pem: str
    root_pem: str


def load(folder: Path) -> tuple[Identity, Credentials] | None:
    """The node's identity, or None when it is in no swarm."""
    try:
        identity = msgspec.json.decode((folder / IDENTITY).read_bytes(), type=Identity)
        credentials = Credentials((folder / "node.crt").read_text(), (folder / "node.key").read_text(), (folder / "root.crt").read_text())
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return None if identity.left else (identity, credentials)


def save(folder: Path, identity: Identity, credentials: Credentials | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if credentials is not None:
        write_atomically(folder / "node.key", credentials.key_pem.encode(), 0o600)
        write_atomically(folder / "node.crt", credentials.certificate_pem.encode())
        write_atomically(folder / "root.crt", credentials.root_pem.encode())
    write_atomically(folder / IDENTITY, msgspec.json.encode(identity))


def forget(root: Path) -> None:
    """Leave: the identity goes first, so that an interrupted removal leaves no half member."""
    (root / "node" / IDENTITY).unlink(missing_ok=True)
    for folder in ("node", "raft"):
        shutil.rmtree(root / folder, ignore_errors=True)
