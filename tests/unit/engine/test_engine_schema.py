"""Every answer's JSON has the names and types of the Engine API's description (version 1.51), where that lies beside the checkout."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent.engine import (
    convert_containers,
    convert_events,
    convert_images,
    convert_networks,
    convert_nodes,
    convert_services,
    convert_swarm,
    convert_tasks,
    extras,
)
from agent.events import Event
from agent.records import Attachment, Config, ExecConfig, ExecRecord, HostConfig, LocalNetwork, PortBinding, Record, State
from cluster.model.changes import Kind, Op
from cluster.model.ids import ClusterId, NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import (
    Cluster,
    Endpoint,
    JoinTokens,
    ManagerStatus,
    Meta,
    Network,
    Node,
    NodeDescription,
    NodeState,
    NodeStatus,
    Service,
    Task,
    TaskNetwork,
    TaskStatus,
    UpdateState,
    UpdateStatus,
    VirtualIp,
)
from cluster.model.specs import (
    ClusterSpec,
    ContainerSpec,
    EndpointSpec,
    HealthCheck,
    IpamConfig,
    Mount,
    NetworkSpec,
    NodeSpec,
    Placement,
    Platform,
    PortConfig,
    Resources,
    RestartCondition,
    RestartPolicy,
    ServiceMode,
    ServiceModeKind,
    ServiceSpec,
    TaskSpec,
    Ulimit,
    UpdateConfig,
)
from cluster.model.task_state import TaskState
from cluster.wire.calls import Watched
from cluster.wire.codec import encode
from runtime.images.config import HistoryEntry, Image, ImageConfig
from tests import description

NOW = 1_700_000_000_123_456_789
META = Meta(12, NOW, NOW)
NETWORK = NetworkId("n" * 25)
ADDRESS = "10.0.1.8/24"


def validate(value: object, name: str) -> None:
    plain = json.loads(json.dumps(value))
    jsonschema.validate(plain, {"$ref": f"#/definitions/{name}", "definitions": description.strict()})
    _no_unknown_names(plain, name)


def _no_unknown_names(value: dict[str, Any], name: str) -> None:
    """The names of the top level are the description's, but for those that daemons really send."""
    schema = description.strict()[name]
    parts = schema.get("allOf", [schema])
    known: set[str] = set()
    for part in parts:
        target = description.strict()[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        for choice in target.get("anyOf", [target]):
            known |= set(choice.get("properties", {}))
    extra = {"VirtualSize", "PreviousSpec", "status", "id", "from", "message"}
    assert set(value) <= known | extra


CONTAINER = ContainerSpec(
    image="busybox:latest",
    args=("ping", "8.8.8.8"),
    env=("A=b",),
    labels=(("cl", "2"),),
    init=False,
    stop_grace_ns=0,
    health=HealthCheck(("CMD", "true"), 1, 2, 3, 4),
    mounts=(
        Mount("bind", "/a", "/b", True, (("propagation", "rslave"), ("writable-below", "true"))),
        Mount("tmpfs", "", "/t", False, (("tmpfs-size", "64"), ("tmpfs-mode", "700"))),
        Mount("volume", "v", "/v", False, (("volume-driver", "local"), ("volume-opt:o", "p"), ("volume-label:l", "1"))),
    ),
    ulimits=(Ulimit("nofile", 1, 2),),
    sysctls=(("a", "b"),),
    dns_nameservers=("9.9.9.9",),
)
TASK_SPEC = TaskSpec(
    CONTAINER,
    limits=Resources(1, 2, 3),
    reservations=Resources(),
    restart=RestartPolicy(RestartCondition.ANY, 1, 2, 3),
    placement=Placement(("node.role==worker",), ("node.labels.zone",), 1, (Platform("amd64", "linux"),)),
    log_driver="local",
)
PORT = PortConfig("tcp", 80, 8080, name="http")
SERVICE_SPEC = ServiceSpec(
    "web", TASK_SPEC, (("l", "1"),), ServiceMode(replicas=2), UpdateConfig(), UpdateConfig(max_failure_ratio=0.5), EndpointSpec(ports=(PORT,))
)
SERVICE = Service(
    ServiceId("s" * 25),
    SERVICE_SPEC,
    META,
    12,
    SERVICE_SPEC,
    Endpoint((PORT,), (VirtualIp(NETWORK, "10.0.1.2/24", 256),)),
    UpdateStatus(UpdateState.COMPLETED, NOW, NOW, "update completed"),
)
NET = Network(
    NETWORK,
    NetworkSpec("mynet", (("l", "1"),), attachable=True, ipam=(IpamConfig("10.0.1.0/24", "10.0.1.128/25", "", (("r", "10.0.1.9"),)),)),
    META,
    4097,
    "10.0.1.0/24",
    "10.0.1.1",
)
TASK = Task(
    TaskId("t" * 25),
    SERVICE.id,
    TASK_SPEC,
    META,
    "web",
    slot=1,
    node_id=NodeId("d" * 25),
    status=TaskStatus(TaskState.RUNNING, NOW, "started", "", "c" * 64, 42, 0, (PORT,)),
    desired_state=TaskState.RUNNING,
    networks=(TaskNetwork(NETWORK, ADDRESS),),
)
NODE = Node(
    NodeId("d" * 25),
    NodeSpec("n", (("disk", "ssd"),)),
    META,
    NodeDescription("swarm-manager", Platform("x86_64", "linux"), Resources(2_000_000_000, 1 << 30), "0.1.0", (("e", "1"),), (("Network", "overlay"),)),
    NodeStatus(NodeState.READY, "", "192.168.200.10"),
    ManagerStatus(1, "192.168.200.10:2377", True),
)
RECORD = Record(
    id="c" * 64,
    name="web.1.x",
    created_at_ns=NOW,
    image_id="sha256:" + "a" * 64,
    path="ping",
    args=("8.8.8.8", "with space"),
    config=Config(
        image="busybox:latest", env=("A=b",), cmd=("ping",), exposed_ports=("80/tcp",), volumes=("/v",), health=CONTAINER.health, stop_timeout_s=1
    ),
    host=HostConfig(port_bindings=(PortBinding(container_port=80, host_port=8080),), mounts=CONTAINER.mounts, ulimits=CONTAINER.ulimits, pids_limit=5),
    state=State(status="running", pid=7, started_at_ns=NOW),
    attachments=(
        Attachment(network_id=NETWORK, network_name="mynet", interface="eth0", address=ADDRESS, mac="02:42:0a:00:01:08", aliases=("w",)),
        Attachment(network_id="g" * 64, network_name="docker_gwbridge", interface="eth1", address="172.18.0.3/16", hidden=True),
    ),
)
IMAGE = Image(
    id="sha256:" + "a" * 64,
    references=("busybox:latest",),
    repo_digests=(),
    created="2023-11-14T22:13:20Z",
    created_unix_s=1_700_000_000,
    size_bytes=5,
    layer_sizes_bytes=(5,),
    architecture="amd64",
    os="linux",
    variant="",
    author="",
    comment="",
    config=ImageConfig(cmd=("sh",), exposed_ports=("80/tcp",)),
    diff_ids=("sha256:" + "b" * 64,),
    history=(HistoryEntry(created="2023-11-14T22:13:20Z", created_by="/bin/sh"),),
    raw=b"{}",
)
LOCAL = LocalNetwork(id="b" * 64, name="bridge", driver="bridge", created_at_ns=NOW, subnet="172.17.0.0/16", gateway="172.17.0.1")
CLUSTER = Cluster(ClusterId("k" * 25), ClusterSpec(log_driver="local"), META, join_tokens=JoinTokens("SWMTKN-1-w", "SWMTKN-1-m"), root_key_pem="SECRET")


def _inspected(record: Record) -> Any:
    return convert_containers.inspect_json(
        record, folder="/x", layers=("/x/upper", "/l"), sandbox="/run/netns/1", exec_ids=("e",), volumes_root="/v"
    )


ANSWERS: dict[str, tuple[str, Callable[[], Any]]] = {
    "service": ("Service", lambda: convert_services.service_json(SERVICE, counts=convert_services.Counts(1, 2, 0))),
    "service with defaults": ("Service", lambda: convert_services.service_json(SERVICE, insert_defaults=True)),
    "bare service": ("Service", lambda: convert_services.service_json(Service(ServiceId("s"), ServiceSpec("x", TaskSpec(ContainerSpec("i")))))),
    "bare service with defaults": (
        "Service",
        lambda: convert_services.service_json(Service(ServiceId("s"), ServiceSpec("x", TaskSpec(ContainerSpec("i")))), insert_defaults=True),
    ),
    "job": (
        "Service",
        lambda: convert_services.service_json(
            Service(ServiceId("s"), ServiceSpec("x", TASK_SPEC, mode=ServiceMode(ServiceModeKind.REPLICATED_JOB, 3, 2)), META, job_iteration=4)
        ),
    ),
    "task": ("Task", lambda: convert_tasks.task_json(TASK, {NETWORK: NET})),
    "new task": ("Task", lambda: convert_tasks.task_json(Task(TaskId("t"), ServiceId("s"), TASK_SPEC), {})),
    "node": ("Node", lambda: convert_nodes.node_json(NODE, {})),
    "worker": ("Node", lambda: convert_nodes.node_json(Node(NodeId("d"), NodeSpec()), {})),
    "swarm": ("Swarm", lambda: convert_swarm.swarm_json(CLUSTER)),
    "network": ("Network", lambda: convert_networks.network_json(NET, [(RECORD, RECORD.attachments[0]), (None, RECORD.attachments[0])], {"a": "1.2.3.4"})),
    "local network": ("Network", lambda: convert_networks.local_network_json(LOCAL)),
    "container": ("ContainerInspectResponse", lambda: _inspected(RECORD)),
    "container in a list": ("ContainerSummary", lambda: convert_containers.summary_json(RECORD, NOW, "/v")),
    "image": ("ImageInspect", lambda: convert_images.image_json(IMAGE)),
    "image in a list": ("ImageSummary", lambda: convert_images.image_summary_json(IMAGE, 1)),
    "image history": ("ImageHistoryResponseItem", lambda: convert_images.history_json(IMAGE)[0]),
    "event": ("EventMessage", lambda: convert_events.event_json(Event("container", "start", "c", (("image", "busybox"),), time_ns=NOW))),
}


@description.NEEDED
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_has_the_descriptions_names_and_types(answer: str) -> None:
    name, make = ANSWERS[answer]
    validate(make(), name)


def test_an_exec_has_its_names() -> None:
    record = ExecRecord(id="e", config=ExecConfig(container_id="c", cmd=("sh", "-c")), exit_code=7)
    shown = convert_containers.exec_json(record)
    assert (shown["ExitCode"], shown["Running"], shown["ProcessConfig"]["entrypoint"]) == (7, False, "sh")
    assert convert_containers.exec_json(ExecRecord(id="e", config=record.config))["ExitCode"] is None


def test_no_key_of_the_cluster_goes_out() -> None:
    assert "SECRET" not in json.dumps(convert_swarm.swarm_json(CLUSTER))


def test_docker_gwbridge_is_not_shown_among_a_tasks_networks() -> None:
    assert list(_inspected(RECORD)["NetworkSettings"]["Networks"]) == ["mynet"]


def test_the_ingress_sandbox_is_a_member_of_the_gateway_bridge_and_of_ingress() -> None:
    attachment = RECORD.attachments[1]
    assert convert_networks.members_json([(None, attachment)], "docker_gwbridge")["ingress-sbox"]["Name"] == "gateway_ingress-sbox"
    assert convert_networks.members_json([(None, attachment)], "ingress", ingress=True)["ingress-sbox"]["Name"] == "ingress-endpoint"
    assert convert_networks.members_json([(None, attachment)], "mynet")["lb-mynet"]["Name"] == "mynet-endpoint"


def test_the_endpoints_of_load_balancers_have_ids_that_every_node_shows() -> None:
    first, second = (convert_networks.sandbox_endpoint_id("n", address) for address in ("10.0.0.2", "10.0.0.3/24"))
    assert len(first) == len(second) == 64
    assert first == convert_networks.sandbox_endpoint_id("n", "10.0.0.2/24") != second


def test_a_commit_is_shown_as_the_api_shows_its_objects() -> None:
    commit = Watched(9, ((Op.UPDATE, Kind.TASK, TASK.id, encode(TASK)), (Op.DELETE, Kind.SERVICE, SERVICE.id, b"")))
    shown = extras.watched_json(commit)
    assert [(c["op"], c["kind"], c["id"]) for c in shown["changes"]] == [("update", "task", TASK.id), ("delete", "service", SERVICE.id)]
    assert shown["changes"][0]["object"]["Status"]["State"] == "running"
    assert shown["changes"][1]["object"] is None


def test_tls_info_reads_subject_and_key_of_a_certificate(tmp_path: Path) -> None:
    pem = tmp_path / "root.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=swarm-ca"]
    try:
        subprocess.run([*made, "-keyout", str(tmp_path / "key"), "-out", str(pem)], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    shown = convert_swarm.tls_info_json(pem.read_text())
    import base64

    assert base64.b64decode(shown["CertIssuerSubject"]).endswith(b"swarm-ca")
    assert len(base64.b64decode(shown["CertIssuerPublicKey"])) == 91  # P-256 SubjectPublicKeyInfo
