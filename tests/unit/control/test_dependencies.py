"""Secrets and configs: SwarmKit's rules and sentences, and that a secret's data is for nobody who asks."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from cluster.model.changes import Kind
from cluster.model.errors import ClusterError, Conflict, InvalidArgument, NotFound, OutOfSequence
from cluster.model.objects import Config, Secret
from cluster.model.specs import ContainerSpec, DependencyFile, DependencySpec, ServiceSpec, TaskSpec
from cluster.wire.calls import DependencyWrite, Ids, Query, Remove, ServiceWrite
from manager.control import dependencies, services
from manager.control.query import query
from manager.raft_view import blanked
from manager.store import Store

NOW = 1_700_000_000_000_000_000
BAD_NAME = "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"
WORDS = {Kind.SECRET: "secret", Kind.CONFIG: "config"}
both = pytest.mark.parametrize("kind", list(WORDS))


class World:
    def __init__(self) -> None:
        self.store, self.rng = Store(), Random(1)

    def do(self, decision: Any, request: object) -> str:
        changes, answer = decision(self.store, request, NOW, self.rng)
        assert isinstance(answer, Ids)
        self.store.apply(self.store.index + 1, changes)
        return answer.id

    def create(self, kind: Kind, name: str, data: bytes = b"x", **more: Any) -> str:
        decide = dependencies.create_secret if kind is Kind.SECRET else dependencies.create_config
        return self.do(decide, DependencyWrite(DependencySpec(name, data=data, **more)))

    def refused(self, decision: Any, request: object) -> ClusterError:
        with pytest.raises(ClusterError) as caught:
            decision(self.store, request, NOW, self.rng)
        return caught.value


def using(kind: Kind, *files: DependencyFile, name: str = "web") -> ServiceSpec:
    container = ContainerSpec("busybox", secrets=files) if kind is Kind.SECRET else ContainerSpec("busybox", configs=files)
    return ServiceSpec(name, TaskSpec(container))


@both
@pytest.mark.parametrize("name", ["a@b", "-a", "a-", "x" * 65, "a b", ".a"])
def test_bad_names(kind: Kind, name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        World().create(kind, name)
    assert caught.value.message == BAD_NAME


@both
def test_good_names_and_the_bounds_of_the_data(kind: Kind) -> None:
    world, limit = World(), dependencies.DATA_LIMIT_BYTES[kind]
    for name in ("a", "a_b.c-d", "9" * 64):
        world.create(kind, name, b"x" * (limit - 1))
    for data in (b"", b"x" * limit):
        with pytest.raises(InvalidArgument) as caught:
            world.create(kind, "other", data)
        assert caught.value.message == f"{WORDS[kind]} data must be larger than 0 and less than {limit} bytes"


@both
def test_a_name_is_taken_once(kind: Kind) -> None:
    world = World()
    world.create(kind, "one")
    with pytest.raises(Conflict) as caught:
        world.create(kind, "one")
    assert caught.value.message == f"{WORDS[kind]} one already exists"


def test_a_secret_and_a_config_may_share_a_name() -> None:
    world = World()
    assert world.create(Kind.SECRET, "one") != world.create(Kind.CONFIG, "one")


@both
def test_only_labels_change(kind: Kind) -> None:
    world = World()
    update = dependencies.update_secret if kind is Kind.SECRET else dependencies.update_config
    made = world.create(kind, "one", b"data")
    version = world.store.index
    world.do(update, DependencyWrite(DependencySpec("one", labels=(("a", "b"),)), made, version))
    after = world.store.get(kind, made)
    assert isinstance(after, (Secret, Config))
    assert (after.spec.labels, after.spec.data) == ((("a", "b"),), b"data")
    assert isinstance(world.refused(update, DependencyWrite(DependencySpec("one"), made, version)), OutOfSequence)
    for spec in (DependencySpec("two"), DependencySpec("one", data=b"other")):
        assert world.refused(update, DependencyWrite(spec, made, world.store.index)).message == "only updates to Labels are allowed"
    assert isinstance(world.refused(update, DependencyWrite(DependencySpec("one"), "nosuch", 1)), NotFound)


@both
def test_what_a_service_uses_stays(kind: Kind) -> None:
    world = World()
    made = world.create(kind, "one")
    remove = dependencies.remove_secret if kind is Kind.SECRET else dependencies.remove_config
    file = DependencyFile(made, "one", "one")
    first = world.do(services.create, ServiceWrite(using(kind, file)))
    assert world.refused(remove, Remove(made)).message == f"{WORDS[kind]} 'one' is in use by the following service: web"
    second = world.do(services.create, ServiceWrite(using(kind, file, name="api")))
    assert world.refused(remove, Remove(made)).message == f"{WORDS[kind]} 'one' is in use by the following services: api, web"
    for service_id in (first, second):
        world.do(services.remove, Remove(service_id))
    world.do(remove, Remove(made))
    assert world.refused(remove, Remove(made)).message == f"{WORDS[kind]} {made} not found"


@both
def test_a_service_refers_to_what_is_there_each_in_its_own_place(kind: Kind) -> None:
    world = World()
    one, two = (DependencyFile(world.create(kind, name), name, "same") for name in ("one", "two"))
    word = WORDS[kind]
    wrong = {
        f"{word} not found: gone": (DependencyFile("nosuch", "gone", "t"),),
        f"{word}s not found: gone, lost": (DependencyFile("x", "gone", "t"), DependencyFile("y", "lost", "u")),
        f"malformed {word} reference": (DependencyFile("", "one", "t"),),
        f"malformed {word} reference, no target provided": (DependencyFile(one.id, "one", ""),),
        f"{word} references 'one' and 'two' have a conflicting target: 'same'": (one, two),
        f"{word} references 'one' and 'one' have a conflicting target: 'same'": (one, one),
    }
    for sentence, files in wrong.items():
        assert world.refused(services.create, ServiceWrite(using(kind, *files))).message == sentence


def test_a_secrets_data_is_shown_to_nobody_and_a_configs_to_all() -> None:
    world = World()
    world.create(Kind.SECRET, "one", b"hunter2")
    world.create(Kind.CONFIG, "one", b"plain")
    assert [s.spec.data for s in query(world.store, Query(Kind.SECRET), {}).secrets] == [b""]
    assert [c.spec.data for c in query(world.store, Query(Kind.CONFIG), {}).configs] == [b"plain"]
    assert all("hunter2" not in repr(blanked(item)) for item in world.store.all(Kind.SECRET))


def test_a_snapshot_of_the_store_keeps_them() -> None:
    world = World()
    world.create(Kind.SECRET, "one", b"hunter2", templating="golang")
    world.create(Kind.CONFIG, "two", b"plain")
    other = Store()
    other.restore(world.store.save())
    assert other.digest() == world.store.digest()
    assert other.by_name(Kind.SECRET, "one") == world.store.all(Kind.SECRET)[0]
