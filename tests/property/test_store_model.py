"""The store against a plain model: any sequence of entries, refused ones too."""

from __future__ import annotations

from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.model.changes import Change, Kind, Object, created, deleted, status_of, updated
from cluster.model.errors import ClusterError
from cluster.model.ids import NodeId, ServiceId, TaskId
from cluster.model.objects import TASK_HISTORY_STATUSES, Meta, Service, Task, TaskStatus
from cluster.model.specs import ContainerSpec, ServiceSpec, TaskSpec
from cluster.model.task_state import TaskState, is_final
from cluster.wire.codec import decode_changes, encode_changes
from manager.store import Batch, Store

IDS = st.sampled_from(["a", "b", "c", "d"])
NAMES = st.sampled_from(["web", "Web", "db"])
SPECS = st.sampled_from([TaskSpec(ContainerSpec(image)) for image in ("x", "y")])
VERSIONS = st.integers(0, 12)
STATUSES = st.builds(TaskStatus, st.sampled_from(list(TaskState)), st.integers(0, 3), st.sampled_from(["", "m"]))


def _services() -> st.SearchStrategy[Service]:
    metas = st.builds(Meta, VERSIONS)
    return st.builds(Service, IDS.map(ServiceId), st.builds(ServiceSpec, NAMES, SPECS), metas)


def _tasks() -> st.SearchStrategy[Task]:
    return st.builds(
        Task, IDS.map(TaskId), IDS.map(ServiceId), SPECS, st.builds(Meta, VERSIONS), status=STATUSES,
        node_id=st.sampled_from(["", "n1", "n2"]).map(NodeId),
    )  # fmt: skip


OBJECTS = _services() | _tasks()
CHANGES = OBJECTS.map(created) | OBJECTS.map(updated) | OBJECTS.map(deleted) | st.builds(status_of, IDS, STATUSES)
ENTRIES = st.lists(st.lists(CHANGES, min_size=1, max_size=3).map(tuple), max_size=12)


def rows(store: Store) -> dict[tuple[Kind, str], Object]:
    return {(kind, obj.id): obj for kind in Kind for obj in store.all(kind)}


def run(store: Store, entries: list[tuple[Change, ...]]) -> list[Batch]:
    batches = []
    for index, changes in enumerate(entries, 1):
        before = store.digest()
        try:
            batches.append(store.apply(index, changes))
        except ClusterError:
            assert store.digest() == before
    return batches


@settings(max_examples=300, deadline=None)
@given(ENTRIES)
def test_the_events_are_the_difference_and_the_indexes_agree_with_the_rows(entries: list[tuple[Change, ...]]) -> None:
    store = Store()
    model: dict[tuple[Kind, str], Object] = {}
    for batch in run(store, entries):
        for event in batch.events:
            assert model.get((event.kind, event.id)) == event.before
            if event.after is None:
                del model[event.kind, event.id]
            else:
                model[event.kind, event.id] = event.after
    assert model == rows(store)
    tasks = store.all(Kind.TASK)
    for key in ("a", "b", "c", "d"):
        assert {t.id for t in store.tasks_of_service(key)} == {t.id for t in tasks if t.service_id == key}
    for key in ("n1", "n2"):
        assert {t.id for t in store.tasks_of_node(key)} == {t.id for t in tasks if t.node_id == key}
    names = [service.spec.name.lower() for service in store.all(Kind.SERVICE)]
    assert len(names) == len(set(names))
    for service in store.all(Kind.SERVICE):
        assert store.by_name(Kind.SERVICE, service.spec.name) is service


@settings(max_examples=200, deadline=None)
@given(ENTRIES, st.integers(0, 12))
def test_replicas_agree_whether_they_saw_the_entries_their_bytes_or_a_snapshot(
    entries: list[tuple[Change, ...]], cut: int
) -> None:
    one, other, late = Store(), Store(), Store()
    run(one, entries)
    run(other, [decode_changes(encode_changes(changes)) for changes in entries])
    assert one.digest() == other.digest()
    half = Store()
    run(half, entries[:cut])
    late.restore(half.save())
    for index, changes in enumerate(entries[cut:], cut + 1):
        try:
            late.apply(index, changes)
        except ClusterError:
            continue
    assert late.digest() == one.digest()


@settings(max_examples=300, deadline=None)
@given(st.lists(STATUSES, max_size=40), st.integers())
def test_a_tasks_life_only_goes_forward(statuses: list[TaskStatus], seed: int) -> None:
    """By reports and by plans that saw any earlier state of the task."""
    store, rng = Store(), Random(seed)
    store.apply(1, (created(Task(TaskId("t"), ServiceId("s"), TaskSpec(ContainerSpec("x")))),))
    seen = [store.all(Kind.TASK)[0]]
    for index, status in enumerate(statuses, 2):
        if rng.random() < 0.5:
            store.apply(index, (status_of("t", status),))
        else:
            plan = msgspec.structs.replace(rng.choice(seen), status=status, meta=seen[-1].meta)
            store.apply(index, (updated(plan),))
        before, after = seen[-1], store.all(Kind.TASK)[0]
        assert after.status.state >= before.status.state
        assert not is_final(before.status.state) or after.status.state == before.status.state
        assert len(after.history) <= TASK_HISTORY_STATUSES
        states = [past.state for past in after.history] + [after.status.state]
        assert states == sorted(set(states))
        seen.append(after)
