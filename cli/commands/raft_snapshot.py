"""`festoon raft snapshot save|inspect|restore`: the managers' state in a file, for the day on which all managers are lost.

The file is sealed under a key that is the user's alone: made and shown once, or kept in a file of the user's. `inspect` needs no daemon, for
it is of use when there is none: it is the one command that reads the managers' format by itself.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from cli.api import Api
from cli.failures import CliFailure
from cli.flags import option
from cli.output import aligned
from cli.units import binary_size
from cli.usage import Group, command
from cli.whole_file import whole_file
from cluster.identity import seal, unlock_key
from cluster.model.errors import ClusterError
from cluster.model.template_functions import as_json

PIECE_BYTES = 1024 * 1024

snapshot = Group(
    "snapshot",
    summary="Save the managers' state, and make a cluster of it again",
    examples=(
        ("save cluster.snapshot", "shows the key that opens it: keep it elsewhere"),
        ("restore cluster.snapshot", "on a new node, when all managers are lost"),
    ),
    lazy={
        "save": ("cli.commands.raft_snapshot:save", "Save the managers' state to a file, sealed"),
        "inspect": ("cli.commands.raft_snapshot:inspect", "Show what is in such a file, without secrets"),
        "restore": ("cli.commands.raft_snapshot:restore", "Make a new cluster of this node from such a file"),
    },
)


@command(
    "save",
    "FILE",
    summary="Save the managers' state to a file, sealed",
    least=1,
    most=1,
    examples=(
        ("cluster.snapshot", "shows the key that opens it: keep it elsewhere"),
        ("--key-file snapshot.key cluster.snapshot", "with a key in a file, for a nightly job"),
    ),
)
@option("--key-file", help="Seal it with the key in this file (made when it is not there), instead of one that is shown", default="")
def save(api: Api, arguments: tuple[str, ...], key_file: str) -> int:
    (path,) = arguments
    key = _kept_key(key_file) if key_file else unlock_key.text_of(os.urandom(seal.KEY_BYTES))
    with whole_file(path) as partial:
        with api.stream("POST", "/festoon/raft/snapshot/save", headers=(("X-Festoon-Key", key),)) as answer:
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.writelines(answer.pieces())
                file.flush()
                os.fsync(file.fileno())
        found = _opened(partial, key)  # what cannot be read back is no snapshot
    print(f"Saved the managers' state up to entry {found.facts.index} to {path}.")
    if key_file:
        print(f"The key that opens it is in {key_file}.")
    else:
        print(f"\nTo inspect or restore it, provide the following key:\n\n    {key}\n\nRemember to store this key away from the file: no manager knows it.")
    return 0


@command(
    "inspect",
    "FILE",
    summary="Show what is in a saved snapshot, without secrets",
    least=1,
    most=1,
    examples=(
        ("--key-file snapshot.key cluster.snapshot", "when it was saved, and what is in it"),
        ("--format json cluster.snapshot", "all objects without what is secret"),
    ),
)
@option("--key-file", help="The key is in this file, instead of being asked for", default="")
@option("--format", help="'json' prints all objects, as JSON", default="")
def inspect(api: Api, arguments: tuple[str, ...], key_file: str, format: str) -> int:
    if format not in {"", "json"}:
        raise CliFailure("--format takes only 'json' here")
    found = _facts(_opened(arguments[0], _key_for(arguments[0], key_file)))
    print(as_json(found) + "\n" if format else "".join(_lines(found)), end="")
    return 0


@command(
    "restore",
    "FILE",
    summary="Make a new cluster of this node from a saved snapshot",
    least=1,
    most=1,
    examples=(("--key-file snapshot.key --advertise-addr 192.0.2.1 cluster.snapshot", "on a node outside of any swarm, when all managers are lost"),),
)
@option("--advertise-addr", help='Advertised address (format: "<ip|interface>[:port]")', default="")
@option("--data-path-addr", help='Address or interface to use for data path traffic (format: "<ip|interface>")', default="")
@option("--key-file", help="The key is in this file, instead of being asked for", default="")
@option("--listen-addr", help='Listen address (format: "<ip|interface>[:port]")', default="")
def restore(api: Api, arguments: tuple[str, ...], key_file: str, advertise_addr: str, data_path_addr: str, listen_addr: str) -> int:
    key = _key_for(arguments[0], key_file)
    facts = _opened(arguments[0], key).facts
    addresses = {"advertise-addr": advertise_addr, "data-path-addr": data_path_addr, "listen-addr": listen_addr}
    with api.stream("POST", "/festoon/raft/snapshot/restore", body=_pieces(arguments[0]), headers=(("X-Festoon-Key", key),), **addresses) as answer:
        node_id = b"".join(answer.pieces()).decode().strip().strip('"')
    print(f"Swarm {facts.cluster_id} restored as it was at entry {facts.index}: current node ({node_id}) is now its only manager.")
    return 0


def _pieces(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _opened(path: str, key: str) -> Any:
    from manager.raft_storage import saved

    with _named(path), open(path, "rb") as file:
        return saved.read(file.read(saved.MAX_FILE_BYTES * 2), unlock_key.parse(key))


def _key_for(path: str, key_file: str) -> str:
    """Nobody is asked for the key of a file that is no snapshot."""
    from manager.raft_storage import saved

    with _named(path), open(path, "rb") as file:
        saved.look(file.read(saved.BEGINNING_BYTES))
    return _asked_key(key_file)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """What goes wrong with the file is said with its name."""
    try:
        yield
    except OSError as error:
        raise CliFailure(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except ClusterError as error:
        raise CliFailure(f"{path}: {error.message}") from error


def _kept_key(path: str) -> str:
    """The key in the file; a new one, readable by its owner only, where there is none."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read_key(path)
    except OSError as error:
        raise CliFailure(f"{path}: {(error.strerror or str(error)).lower()}") from error
    key = unlock_key.text_of(os.urandom(seal.KEY_BYTES))
    with open(descriptor, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    return key


def _read_key(path: str) -> str:
    try:
        with open(path) as file:
            return file.readline(256).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CliFailure(f"the key in {path} cannot be read: {error}") from error


def _asked_key(key_file: str) -> str:
    if key_file:
        return _read_key(key_file)
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass("Enter the snapshot's key: ")
    return sys.stdin.readline().strip()


def _facts(found: Any) -> dict[str, Any]:
    """What `inspect` shows of a saved.Saved. Secrets stay out."""
    from agent.engine.extras import object_json
    from cluster.model.changes import Kind
    from manager.raft_view import blanked
    from manager.store import Store

    store, facts, snapshot = Store(), found.facts, found.snapshot
    store.restore(snapshot.data)
    return {
        "saved": datetime.fromtimestamp(facts.saved_at_ns // 10**9, UTC).isoformat().replace("+00:00", "Z"),
        "cluster": facts.cluster_id, "index": facts.index, "term": facts.term, "bytes": facts.size_bytes, "store_bytes": len(snapshot.data),
        "managers": [{"raft_id": member.raft_id, "node_id": member.node_id, "address": member.address} for member in snapshot.membership.members],
        "objects": [{"kind": kind.name.lower(), "id": one.id, "object": object_json(blanked(one))} for kind in Kind for one in store.all(kind)],
    }  # fmt: skip


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    count = Counter(one["kind"] for one in found["objects"])
    yield aligned([
        f"Saved:\t{found['saved']}",
        f"Cluster:\t{found['cluster']}",
        f"Log:\tup to entry {found['index']}, term {found['term']}",
        f"Size:\t{binary_size(found['bytes'])}, unpacked {binary_size(found['store_bytes'])}",
        f"Managers:\t{', '.join(member['address'] for member in found['managers'])}",
        f"Objects:\t{', '.join(f'{number} {kind}' for kind, number in count.items())}",
    ])  # fmt: skip
    yield "\n"
    services = {one["id"]: _name(one["object"], {}) for one in found["objects"] if one["kind"] == "service"}
    yield aligned(["KIND\tID\tNAME", *(f"{one['kind']}\t{one['id']}\t{_name(one['object'], services)}" for one in found["objects"])])


def _name(shown: Mapping[str, Any], services: Mapping[str, str]) -> str:
    """A task's is its service's and its slot, or the node that it is for."""
    if (service := services.get(shown.get("ServiceID", ""))) is not None:
        return f"{service}.{shown.get('Slot') or shown.get('NodeID', '')}"
    spec, described = shown.get("Spec") or {}, shown.get("Description") or {}
    return str(described.get("Hostname") or spec.get("Name") or shown.get("Name") or "")
