"""The histogram, the text that Prometheus reads, and what is counted from a store: read back by a strict reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.metrics import engine_text, swarm_text
from cluster.metrics import BOUNDS_S, NO_LABELS, Histogram, gauge, histogram
from cluster.model.changes import created
from cluster.model.errors import ClusterError
from cluster.model.ids import ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId
from cluster.model.objects import Config, Network, Node, NodeState, NodeStatus, Secret, Service, Task, TaskStatus
from cluster.model.specs import ContainerSpec, DependencySpec, NetworkSpec, NodeSpec, ServiceSpec, TaskSpec
from cluster.model.task_state import TaskState, title
from manager.metrics import MeasuredStore, counted
from tests.exposition import parse, value

SPEC = TaskSpec(ContainerSpec("busybox"))
FACTS = {
    "Architecture": "x86_64", "KernelVersion": "6.1", "OperatingSystem": 'A "system"', "OSType": "linux", "OSVersion": "12", "NCPU": 2, "MemTotal": 1 << 33,
}  # fmt: skip


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (0.005, 0), (0.0050001, 1), (1.0, 7), (1.1, 8), (10.0, 10), (10.1, 11), (1e9, 11)])
def test_a_bucket_holds_what_is_at_most_its_bound(seconds: float, bucket: int) -> None:
    measured = Histogram()
    measured.observe(seconds)
    assert [place for place, count in enumerate(measured.counts) if count] == [bucket]


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_is_read_back_as_what_was_observed(observed: list[float]) -> None:
    measured = Histogram()
    for seconds in observed:
        measured.observe(seconds)
    families = parse(histogram("h_seconds", "Some time.", measured))
    for bound in BOUNDS_S:
        assert value(families, "h_seconds_bucket", le=f"{bound:g}") == sum(seconds <= bound for seconds in observed)
    assert value(families, "h_seconds_count") == len(observed)
    assert value(families, "h_seconds_sum") == pytest.approx(sum(observed))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_a_label(text: str) -> None:
    assert value(parse(gauge("g", "Something", [({"text": text}, 3)])), "g", text=text) == 3


def test_a_line_end_in_a_meaning_ends_no_line() -> None:
    assert parse(gauge("g", "one\ntwo \\ three", [(NO_LABELS, 1)]))["g"].meaning == "one\\ntwo \\\\ three"


def test_an_empty_store_counts_nothing_of_every_state() -> None:
    families = parse(counted(MeasuredStore(), leads=False))
    assert {number for family in families.values() for number in family.samples.values()} == {0}
    assert {dict(labels)["state"] for _, labels in families["swarm_manager_nodes"].samples} == {"disconnected", "down", "ready", "unknown"}
    assert {dict(labels)["state"] for _, labels in families["swarm_manager_tasks_total"].samples} == {title(state) for state in TaskState}
    assert set(families) == {
        "swarm_manager_configs_total", "swarm_manager_leader", "swarm_manager_networks_total", "swarm_manager_nodes", "swarm_manager_secrets_total",
        "swarm_manager_services_total", "swarm_manager_tasks_total",
    }  # fmt: skip


def test_objects_are_counted_by_kind_and_state() -> None:
    store = MeasuredStore()
    states = (TaskState.RUNNING, TaskState.RUNNING, TaskState.FAILED)
    store.apply(1, (
        created(Node(NodeId("n1"), NodeSpec(), status=NodeStatus(NodeState.READY))),
        created(Node(NodeId("n2"), NodeSpec(), status=NodeStatus(NodeState.DOWN))),
        created(Network(NetworkId("net"), NetworkSpec("net"))),
        created(Secret(SecretId("key"), DependencySpec("key"))),
        *(created(Config(ConfigId(name), DependencySpec(name))) for name in ("one", "two")),
        created(Service(ServiceId("s"), ServiceSpec("s", task=SPEC))),
        *(created(Task(TaskId(f"t{i}"), ServiceId("s"), SPEC, status=TaskStatus(state))) for i, state in enumerate(states)),
    ))  # fmt: skip
    families = parse(counted(store, leads=True))
    assert value(families, "swarm_manager_leader") == 1
    assert [value(families, "swarm_manager_nodes", state=state) for state in ("ready", "down", "unknown", "disconnected")] == [1, 1, 0, 0]
    assert [value(families, "swarm_manager_tasks_total", state=state) for state in ("running", "failed", "new")] == [2, 1, 0]
    assert [value(families, f"swarm_manager_{kind}_total") for kind in ("services", "networks", "secrets", "configs")] == [1, 1, 1, 2]


def test_every_write_to_the_store_is_timed_a_refused_one_too() -> None:
    store = MeasuredStore()
    node = created(Node(NodeId("n1"), NodeSpec()))
    store.apply(1, (node,))
    with pytest.raises(ClusterError):
        store.apply(2, (node,))
    assert sum(store.write_times.counts) == 2
    assert store.write_times.sum_s > 0


def test_a_node_counts_its_containers_as_dockerd_does() -> None:
    families = parse(engine_text(FACTS, ["running", "running", "paused", "exited", "created", "dead", "restarting"], "the-id", "0.1.0"))
    assert [value(families, "engine_daemon_container_states_containers", state=state) for state in ("running", "paused", "stopped")] == [2, 1, 4]
    assert value(families, "engine_daemon_engine_cpus_cpus") == 2
    assert value(families, "engine_daemon_engine_memory_bytes") == 1 << 33
    ((_, about),) = families["engine_daemon_engine_info"].samples
    assert dict(about) == {
        "architecture": "x86_64", "commit": "", "daemon_id": "the-id", "graphdriver": "overlay2", "kernel": "6.1", "os": 'A "system"', "os_type": "linux",
        "os_version": "12", "version": "0.1.0",
    }  # fmt: skip


def test_a_node_of_no_swarm_says_nothing_of_one() -> None:
    assert set(parse(swarm_text("", "", manager=False))) == {"swarm_node_manager"}
    families = parse(swarm_text("n1", "c1", manager=True))
    assert value(families, "swarm_node_info", node_id="n1", swarm_id="c1") == 1
    assert value(families, "swarm_node_manager") == 1
