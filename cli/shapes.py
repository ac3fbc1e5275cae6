"""What the answers of `inspect` look like to a template: which fields are left out when they are empty, and what Docker says of one that there is not.

Docker's client runs a template first on the answer's Go type, where every field has a value, then on the JSON, where what is missing is an error.
Source: docker/cli's `cli/command/inspect`; the Engine API's schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from cluster.model.template_functions import Nil, NilList, Struct

NO_ENTRY: Final = 'map has no entry for key "{}"'


class Shape(NamedTuple):
    """`absent`: name of a field -> its value where the answer does not have it. `words`: of any other."""

    absent: Mapping[str, Any] = {}
    words: str = NO_ENTRY


_IMAGE_CONFIG: Final[dict[str, Any]] = {
    "User": "", "ExposedPorts": {}, "Env": [], "Entrypoint": [], "Cmd": [], "Volumes": {}, "WorkingDir": "", "Labels": {}, "StopSignal": "",
    "ArgsEscaped": False, "Healthcheck": None, "OnBuild": [], "Shell": [],
}  # fmt: skip


def typed_image(found: Mapping[str, Any]) -> dict[str, Any]:
    """An image as a template sees it: what is empty is left out of its configuration, whose fields have their own order."""
    config = found.get("Config") or {}
    return {**found, "Config": Struct({name: config[name] for name in _IMAGE_CONFIG if config.get(name)}, _IMAGE_CONFIG)}


_OF_IMAGES: Final[dict[str, Any]] = {
    "ArgsEscaped": False, "ExposedPorts": {}, "Healthcheck": None, "MacAddress": "", "NetworkDisabled": False, "OnBuild": [], "Shell": [],
    "StopSignal": "", "StopTimeout": None, "Volumes": {}, "Author": "", "Comment": "", "Container": "", "ContainerConfig": None, "Created": "",
    "DockerVersion": "", "OsVersion": "", "Parent": "", "Variant": "", "VirtualSize": 0,
}  # fmt: skip
ANY: Final = Shape(_OF_IMAGES | {
    "Annotations": {}, "AuxiliaryAddresses": {}, "BlkioWeightDevice": [], "Driver": "", "DNSNames": [], "Gateway": "", "Health": None, "IPRange": "",
    "ImageManifestDescriptor": None,
    "Init": None, "Mounts": [], "Name": "", "Node": None, "Peers": None, "Services": None, "SizeRootFs": None, "SizeRw": None, "Status": {}, "StorageOpt": {},
    "Sysctls": {}, "Tmpfs": {}, "UsageData": None,
})  # fmt: skip
"""Whatever `inspect` finds: containers, images, networks, secrets, configs."""

NODE: Final = Shape({"ManagerStatus": Nil("*swarm.ManagerStatus"), "EngineVersion": "", "Labels": {}, "Message": "", "Leader": False, "Name": "", "Plugins": [],
              "TLSInfo": {}},
                    "can't evaluate field {} in type swarm.Node")  # fmt: skip
SERVICE: Final = Shape({
    "PreviousSpec": Nil("*swarm.ServiceSpec"), "UpdateStatus": Nil("*swarm.UpdateStatus"), "ServiceStatus": Nil("*swarm.ServiceStatus"),
    "JobStatus": Nil("*swarm.JobStatus"), "MemoryBytes": 0, "NanoCPUs": 0, "Pids": 0, "EndpointSpec": None, "UpdateConfig": None, "RollbackConfig": None,
    "Labels": {}, "Mode": "", "Global": None, "Replicated": None, "ReplicatedJob": None, "GlobalJob": None, "Placement": None, "Resources": None,
    "RestartPolicy": None, "Limits": None, "Reservations": None, "Networks": [], "LogDriver": None, "Args": [], "Command": [], "Env": [], "Hostname": "",
    "Mounts": [], "Secrets": [], "Configs": [], "Healthcheck": None, "Hosts": [], "DNSConfig": None, "User": "", "Dir": "", "Groups": [], "Init": None,
    "StopSignal": "", "StopGracePeriod": None, "Privileges": None, "TTY": False, "OpenStdin": False, "ReadOnly": False, "Sysctls": {}, "Ulimits": [],
    "CapabilityAdd": [], "CapabilityDrop": [], "Ports": [], "VirtualIPs": [], "Constraints": [], "Preferences": [], "MaxReplicas": 0, "Platforms": [],
    "ForceUpdate": 0, "Runtime": "", "Addr": "", "Aliases": [], "DriverOpts": {}, "Name": "", "PublishedPort": 0, "TargetPort": 0,
    "Index": 0, "MaxConcurrent": None, "Replicas": None, "TotalCompletions": None,
}, "can't evaluate field {} in type swarm.Service")  # fmt: skip
DEPENDENCY: Final = Shape({"Data": NilList(), "Templating": None, "Driver": None, "Labels": {}}, "can't evaluate field {} in type swarm.Secret")
VOLUME: Final = Shape({"ClusterVolume": None, "CreatedAt": "", "Status": {}, "UsageData": None}, "can't evaluate field {} in type volume.Volume")
INFO: Final = Shape({
    "DefaultAddressPools": [], "FirewallBackend": None, "CDISpecDirs": [], "DiscoveredDevices": [], "Containerd": None, "NodeAddr": "", "Cluster": None,
    "Managers": 0, "Nodes": 0, "RemoteManagers": [], "Error": "", "ServerErrors": [], "ClientErrors": [], "ProductLicense": "", "CgroupVersion": "",
}, "can't evaluate field {} in type system.dockerInfo")  # fmt: skip
EVENT: Final = Shape({"Status": "", "ID": "", "From": "", "Scope": ""}, "can't evaluate field {} in type *events.Message")
VERSIONS: Final = Shape({"Components": [], "BuildTime": "", "GitCommit": "", "GoVersion": "", "Experimental": False, "Platform": None},
                        "can't evaluate field {} in type system.versionInfo")  # fmt: skip
