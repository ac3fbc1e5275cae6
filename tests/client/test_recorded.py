"""Every answer to the real docker client and to docker-py is as the Engine API's description says; every route is asked, and every field answered
that can be."""

from __future__ import annotations

import fnmatch
import gc
import shutil
from collections.abc import Iterator

import jsonschema
import pytest

from lab import machines
from tests import description
from tests.client import recorded
from tests.client.recording import Exchange, Recorder
from tests.driver import OCTET, OWN_SUBNET
from tests.labs import standing

docker = pytest.importorskip("docker", reason="needs the PyPI package docker: ./check installs it")
pytestmark = [
    description.NEEDED,
    pytest.mark.skipif(not recorded.DOCKER, reason="needs the docker client on the PATH"),
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="Debian's docker-registry is not installed: ./check installs it"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # docker-py leaves hijacked sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ONLY_REFUSED = {
    "PUT /volumes/{name}": "only volumes of CSI drivers can be changed, and there are none",
    "POST /swarm/unlock": "this swarm is not locked: tests/cluster/test_autolock.py opens one that is",
}
"""Routes that were asked but not with success, and why."""

AS_DOCKER = (
    ("POST /exec/{id}/start: 101 *", "the description names no upgrade here, every daemon makes one"),
    ("POST /swarm/unlock: 409 *", "Docker's status for a swarm that is not locked"),
    ("GET /exec/{id}/json: ExitCode: None *", "null while it runs"),
    ("* *Privileges/CredentialSpec: None *", "null where there is none"),
    ("* *Privileges/SELinuxContext: None *", "null where there is none"),
    ("* UpdateStatus/State: 'rollback_*' *", "the description leaves out what a rollback is called"),
    ("* *UpdateStatus/State: 'rollback_*' *", "the same"),
    ("POST /configs/create: : 'Id' *", "daemons and clients say ID"),
    ("POST /secrets/create: : 'Id' *", "daemons and clients say ID"),
)
"""Answers (patterns of ROUTE: FIELD: what is wrong) that are as Docker's daemon gives them and not as its description says."""

_WINDOWS, _CSI, _CONTAINERD = "of Windows", "of volumes by CSI drivers, which there are not", "of Docker's containerd image store"
_PLUGINS, _SECRET, _OLD = "of plugins, which there are not", "a key of the cluster or a secret: never said", "old: Docker leaves it out as well"
NEVER = {
    "Address.*": _OLD,
    "BuildCache.*": "nothing is built",
    "ClusterVolume*": _CSI,
    "Volume.ClusterVolume": _CSI,
    "Topology.*": _CSI,
    "Volume.Status": _PLUGINS,
    "*.ArgsEscaped": _WINDOWS,
    "ContainerConfig.Shell": "of builds: an image's is shown by the image",
    "*.ImageManifestDescriptor": _CONTAINERD,
    "ImageManifestSummary.*": _CONTAINERD,
    "Image*.Descriptor": _CONTAINERD,
    "Image*.Manifests": _CONTAINERD,
    "ImageInspect.OsVersion": _WINDOWS,
    "ContainerMemoryStats.commit*": _WINDOWS,
    "ContainerMemoryStats.privateworkingset": _WINDOWS,
    "ContainerNetworkStats.*_id": _WINDOWS,
    "ContainerStorageStats.*": _WINDOWS,
    "ContainerWait*Error*": "of a container that can't be waited for",
    "ContainerWaitResponse.Error": "the same",
    "ContainerdInfo.*": "there is no containerd",
    "SystemInfo.Containerd": "the same",
    "DeviceInfo.*": "of CDI",
    "SystemInfo.DiscoveredDevices": "of CDI",
    "DeviceRequest.*": "of drivers for GPUs: refused",
    "EngineDescription.Labels": "the lab's nodes have none",
    "FirewallInfo.Info": "nothing is to be said",
    "Task.AssignedGenericResources": "Docker calls it GenericResources; the lab's nodes have none",
    "GenericResources[[][]].NamedResourceSpec*": "of nodes: the lab's have none",
    "HostConfig.StorageOpt": "needs XFS with project quotas: refused",
    "Mount.ImageOptions*": "images are not mounted",
    "OCIDescriptor.*": "Docker's daemon says no more than type, digest and size",
    "OCIPlatform.os.*": _WINDOWS,
    "OCIPlatform.variant": "this registry's image has none",
    "PluginPrivilege.*": _PLUGINS,
    "TaskSpec.PluginSpec*": _PLUGINS,
    "SecretSpec.Driver": _PLUGINS,
    "Resources.KernelMemoryTCP": "refused",
    "SystemInfo.KernelMemoryTCP": _OLD,
    "Runtime.runtimeArgs": "there is one runtime",
    "Runtime.status": "the same",
    "SecretSpec.Data": _SECRET,
    "SwarmSpec.CAConfig.Signing*": _SECRET,
    "SwarmSpec.CAConfig.ExternalCAs*": "external certificate authorities are refused",
    "ServiceSpec.Networks": _OLD,
    "SystemInfo.DefaultAddressPools*": "the lab's nodes are told none",
    "SystemInfo.ProductLicense": "there is none",
    "SystemVersion.Experimental": "left out where it is false",
    "Task.Name": "tasks have none: clients make one",
    "TaskSpec.ContainerSpec.HealthCheck": "daemons and clients say Healthcheck",
    "TaskSpec.ContainerSpec.Privileges.CredentialSpec.*": _WINDOWS,
    "TaskSpec.ContainerSpec.Configs[[][]].Runtime": _WINDOWS,
    "TaskSpec.ContainerSpec.Privileges.SELinuxContext.*": "SELinux labels are refused",
    "TaskSpec.NetworkAttachmentSpec*": "a container on an overlay is no task here",
}
"""Fields (patterns of them) that no answer has, and why."""

PERHAPS = {
    "ContainerBlkioStatEntry.*": "only where the kernel has counted something",
    "Resources.BlkioWeightDevice[[][]].*": "only where the kernel has weights of devices",
    "OCIDescriptor.mediaType": "answered by distribution",
    "OCIDescriptor.digest": "answered by distribution",
    "OCIDescriptor.size": "answered by distribution",
}
"""Fields that are there or not as the kernel wants."""


@pytest.fixture(scope="module")
def exchanges(tmp_path_factory: pytest.TempPathFactory) -> list[Exchange]:
    folder = tmp_path_factory.mktemp("recorded")
    recorder = Recorder()
    with standing(f"recorded{OCTET}", "--nodes", "2", "--registry", "--subnet", f"{OWN_SUBNET}.0/24") as lab:
        first, second = (folder / f"{number}.sock" for number in (1, 2))
        targets = [machines.socket_of(lab.name, node) for node in recorded.NODES]
        with recorder.before(targets[0], first), recorder.before(targets[1], second):
            sockets = dict(zip(recorded.NODES, (first, second), strict=True))
            python = {node: docker.DockerClient(base_url=f"unix://{path}", timeout=60) for node, path in sockets.items()}
            try:
                recorded.everything(recorded.World(lab, sockets, folder, python))
            finally:
                for client in python.values():
                    client.close()
                gc.collect()  # what docker-py left is found here, and not in the middle of another module's test
    return list(recorder.exchanges())


def _described(exchanges: list[Exchange]) -> Iterator[tuple[Exchange, description.Operation]]:
    for exchange in exchanges:
        operation = description.find(exchange.method, exchange.path)
        if operation is not None:
            yield exchange, operation


def _reasons(error: jsonschema.ValidationError) -> Iterator[str]:
    """Why a value does not fit, and where; of what may also be null, why it does not fit the other choice."""
    inner = [below for below in error.context or () if below.validator != "type" or below.validator_value != "null"]
    if not inner:
        yield f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
    for below in inner:
        yield from _reasons(below)


def test_every_answer_is_as_described(exchanges: list[Exchange]) -> None:
    wrong: set[str] = set()
    for exchange, operation in _described(exchanges):
        schema = operation.answers.get(exchange.status)
        if exchange.status not in operation.answers:
            wrong.add(f"{operation}: {exchange.status} {exchange.body[:200]!r}")
        elif schema is not None and exchange.headers.get_content_type() == "application/json":
            whole = jsonschema.Draft4Validator(description.json_schema(schema) | {"definitions": description.strict()})
            wrong |= {f"{operation}: {why}" for value in exchange.values() for error in whole.iter_errors(value) for why in _reasons(error)}
    wrong = {line for line in wrong if not any(fnmatch.fnmatchcase(line, pattern.replace("[", "[[]")) for pattern, _ in AS_DOCKER)}
    assert not wrong, "\n".join(sorted(wrong))


def test_every_route_is_asked(exchanges: list[Exchange]) -> None:
    done = {str(operation) for exchange, operation in _described(exchanges) if exchange.status < 400}
    refused = {str(operation) for exchange, operation in _described(exchanges)} - done
    assert {str(operation) for operation in description.operations()} - done - refused == set()
    assert refused == set(ONLY_REFUSED)


def test_every_field_is_answered(exchanges: list[Exchange]) -> None:
    expected: set[str] = set()
    seen: set[str] = set()
    for operation in description.operations():
        for status, schema in operation.answers.items():
            if schema is not None and status < 400:
                expected |= set(description.documented(schema, str(operation)))
    for exchange, operation in _described(exchanges):
        schema = operation.answers.get(exchange.status)
        if schema is not None and exchange.status < 400 and exchange.headers.get_content_type() == "application/json":
            for value in exchange.values():
                seen |= set(description.present(schema, value, str(operation)))
    missing = {field for field in expected - seen if not any(fnmatch.fnmatchcase(field, pattern) for pattern in (*NEVER, *PERHAPS))}
    assert not missing, "\n".join(sorted(missing))
    sometimes = {field for field in seen if not any(fnmatch.fnmatchcase(field, pattern) for pattern in PERHAPS)}
    assert {field for field in sometimes for pattern in NEVER if fnmatch.fnmatchcase(field, pattern)} == set(), "answered by now: not never"
