"""What of the log's objects never leaves the managers."""

from __future__ import annotations

from cluster.model.ids import ClusterId, NodeId, ServiceId, TaskId
from cluster.model.objects import Cluster, JoinTokens, NetworkKey, Node, Service, Task
from cluster.model.specs import ContainerSpec, NodeSpec, ServiceSpec, TaskSpec
from cluster.wire.codec import encode
from manager.raft_view import blanked

SECRET = "hunter2"
WITH_CREDENTIALS = TaskSpec(ContainerSpec("busybox", registry_auth=SECRET))


def test_no_secret_is_in_what_is_shown() -> None:
    spec = ServiceSpec("web", WITH_CREDENTIALS)
    for value in (
        Cluster(ClusterId("c"), root_key_pem=SECRET, join_tokens=JoinTokens(SECRET, SECRET), unlock_key=SECRET, network_keys=(NetworkKey(1, SECRET.encode()),)),
        Node(NodeId("n"), NodeSpec(), certificate_pem=SECRET),
        Service(ServiceId("s"), spec, previous_spec=spec),
        Task(TaskId("t"), ServiceId("s"), WITH_CREDENTIALS),
    ):
        assert SECRET.encode() in encode(value)
        assert SECRET.encode() not in encode(blanked(value))
