"""Secrets and configs, as users write them: create, change labels, remove, and what services may refer to. Pure.

SwarmKit calls both dependencies of a task. Source: SwarmKit controlapi/secret.go and config.go for rules and sentences.
"""

from __future__ import annotations

import re
from functools import partial
from random import Random
from typing import Final

import msgspec

from cluster.model.changes import Change, Kind, created, deleted, updated
from cluster.model.errors import Conflict, InvalidArgument, NotFound, OutOfSequence
from cluster.model.ids import ID_RANDOM_BYTES, ConfigId, SecretId, make_id
from cluster.model.objects import Config, Meta, Secret
from cluster.model.specs import DependencyFile, DependencySpec, ServiceSpec
from cluster.wire.calls import DependencyWrite, Ids, Remove
from manager.store import Store

DATA_LIMIT_BYTES: Final = {Kind.SECRET: 512_000, Kind.CONFIG: 1_024_000}
"""Data has to be smaller; both fit into one entry of the log."""

NAME_LIMIT: Final = 64
_NAME: Final = re.compile(r"[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?", re.ASCII)


def check(kind: Kind, spec: DependencySpec) -> None:
    """What the spec alone decides. Raises InvalidArgument."""
    if not spec.name:
        raise InvalidArgument("name must be provided")
    if len(spec.name) > NAME_LIMIT or not _NAME.fullmatch(spec.name):
        raise InvalidArgument(f"invalid name, only {NAME_LIMIT} [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]")
    if not 0 < len(spec.data) < DATA_LIMIT_BYTES[kind]:
        raise InvalidArgument(f"{_word(kind)} data must be larger than 0 and less than {DATA_LIMIT_BYTES[kind]} bytes")


def _create(kind: Kind, store: Store, request: DependencyWrite, now_ns: int, rng: Random) -> tuple[tuple[Change, ...], Ids]:
    """Raises InvalidArgument, Conflict (name taken)."""
    check(kind, request.spec)
    if store.by_name(kind, request.spec.name) is not None:
        raise Conflict(f"{_word(kind)} {request.spec.name} already exists")
    new_id, meta = make_id(rng.randbytes(ID_RANDOM_BYTES)), Meta(created_at_ns=now_ns, updated_at_ns=now_ns)
    made = Secret(SecretId(new_id), request.spec, meta) if kind is Kind.SECRET else Config(ConfigId(new_id), request.spec, meta)
    return (created(made),), Ids(new_id)


def _update(kind: Kind, store: Store, request: DependencyWrite, now_ns: int, rng: Random) -> tuple[tuple[Change, ...], Ids]:
    """Other labels: nothing else of it ever changes. `data` may be left out. Raises NotFound, OutOfSequence, InvalidArgument."""
    known = _known(kind, store, request.id)
    spec = request.spec
    if spec.name != known.spec.name or (spec.data and spec.data != known.spec.data):
        raise InvalidArgument("only updates to Labels are allowed")
    if request.version != known.meta.version:
        raise OutOfSequence
    meta = msgspec.structs.replace(known.meta, updated_at_ns=now_ns)
    after = msgspec.structs.replace(known, spec=msgspec.structs.replace(known.spec, labels=spec.labels), meta=meta)
    return (updated(after),), Ids(known.id)


def _remove(kind: Kind, store: Store, request: Remove, now_ns: int, rng: Random) -> tuple[tuple[Change, ...], Ids]:
    """Raises NotFound, InvalidArgument while a service refers to it."""
    known = _known(kind, store, request.id)
    users = sorted(service.spec.name for service in store.all(Kind.SERVICE) if any(f.id == known.id for f in files_of(kind, service.spec)))
    if users:
        plural = "s" if len(users) > 1 else ""
        raise InvalidArgument(f"{_word(kind)} '{known.spec.name}' is in use by the following service{plural}: {', '.join(users)}")
    return (deleted(known),), Ids(known.id)


create_secret, create_config = partial(_create, Kind.SECRET), partial(_create, Kind.CONFIG)
update_secret, update_config = partial(_update, Kind.SECRET), partial(_update, Kind.CONFIG)
remove_secret, remove_config = partial(_remove, Kind.SECRET), partial(_remove, Kind.CONFIG)


def files_of(kind: Kind, spec: ServiceSpec) -> tuple[DependencyFile, ...]:
    container = spec.task.container
    return container.secrets if kind is Kind.SECRET else container.configs


def check_present(store: Store, spec: ServiceSpec) -> None:
    """Whether all that the service refers to is there. Raises InvalidArgument."""
    for kind in (Kind.SECRET, Kind.CONFIG):
        missing = [f.name or f.id for f in files_of(kind, spec) if store.get(kind, f.id) is None]
        if missing:
            raise InvalidArgument(f"{_word(kind)}{'s' if len(missing) > 1 else ''} not found: {', '.join(missing)}")


def check_targets(spec: ServiceSpec) -> None:
    """Whether each file has a place of its own. Raises InvalidArgument."""
    for kind in (Kind.SECRET, Kind.CONFIG):
        taken: dict[str, str] = {}
        for file in files_of(kind, spec):
            if not file.id or not file.name:
                raise InvalidArgument(f"malformed {_word(kind)} reference")
            if not file.target:
                raise InvalidArgument(f"malformed {_word(kind)} reference, no target provided")
            if file.target in taken:
                raise InvalidArgument(f"{_word(kind)} references '{taken[file.target]}' and '{file.name}' have a conflicting target: '{file.target}'")
            taken[file.target] = file.name


def _known(kind: Kind, store: Store, wanted: str) -> Secret | Config:
    known = store.get(kind, wanted)
    if known is None:
        raise NotFound(f"{_word(kind)} {wanted} not found")
    assert isinstance(known, (Secret, Config))
    return known


def _word(kind: Kind) -> str:
    return kind.name.lower()
