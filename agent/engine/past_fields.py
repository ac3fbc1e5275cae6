"""Fields that come and go with the API's version: each answer is made in the newest form and brought to the one that was asked for here. Pure.

Source: the Engine API's version history; the fields without a value that older clients may rely on are those that Docker's daemon 28 still sends them.
"""

from __future__ import annotations

from typing import Final

from agent.engine.call import ApiVersion
from agent.engine.convert import Json

NAMED_OPTIONS: Final = (1, 25)
NO_VIRTUAL_SIZE: Final = (1, 44)
NO_BUILD_CONTAINER: Final = (1, 45)
"""Of the container that an image was committed from. docker-compose 1.29 looks for the image's volumes there."""
NO_NONDISTRIBUTABLE: Final = (1, 47)
FIREWALL: Final = (1, 49)
NO_BRIDGE_FILTER: Final = (1, 50)
ONLY_OCI_CONFIG: Final = (1, 50)
DNS_NAMES: Final = (1, 44)
OWN_ALIASES_ONLY: Final = (1, 45)
COMPOSE_1: Final = (1, 41)
COUNTED: Final = (1, 51)
NOT_COUNTED: Final = -1
KERNEL_MEMORY_UNTIL: Final = (1, 42)

_OF_CONTAINERS: Final = {
    "Hostname": "", "Domainname": "", "AttachStdin": False, "AttachStdout": False, "AttachStderr": False, "Tty": False, "OpenStdin": False,
    "StdinOnce": False, "Image": "",
}  # fmt: skip
"""Of a container's configuration; an image's had them too."""


def known_to(version: ApiVersion, user_agent: str) -> ApiVersion:
    """The version whose fields a client knows: docker-compose 1 asks for the newest that there is, and reads those of its time."""
    return min(version, COMPOSE_1) if user_agent.startswith("docker-compose/1.") else version


def image_of(shown: Json, version: ApiVersion) -> Json:
    """An image's inspection."""
    sized = shown | {"VirtualSize": shown["Size"]} if version < NO_VIRTUAL_SIZE else shown
    if version >= ONLY_OCI_CONFIG:
        return sized
    config = _OF_CONTAINERS | shown["Config"]
    return sized | {"Config": config} | ({"Container": "", "ContainerConfig": config} if version < NO_BUILD_CONTAINER else {})


def summary_of(shown: Json, version: ApiVersion) -> Json:
    """A line of the list of images."""
    counted = shown if version >= COUNTED else shown | {"Containers": NOT_COUNTED}
    return sized_of(counted, version)


def sized_of(shown: Json, version: ApiVersion) -> Json:
    """An image in a list; in `system df` its containers have always been counted."""
    return shown | {"VirtualSize": shown["Size"]} if version < NO_VIRTUAL_SIZE else shown


def endpoint_of(shown: Json, version: ApiVersion) -> Json:
    """One network of a container's inspection. Its short id and host name were among its aliases."""
    names = shown["DNSNames"]
    out = shown | {"Aliases": names[1:]} if names and version < OWN_ALIASES_ONLY else dict(shown)
    if version < DNS_NAMES:
        del out["DNSNames"]
    return out


def info_of(shown: Json, version: ApiVersion) -> Json:
    """What there is to know of the node."""
    out = dict(shown)
    if version < NO_BRIDGE_FILTER:
        out |= {"BridgeNfIptables": False, "BridgeNfIp6tables": False}
    if version < FIREWALL:
        del out["FirewallBackend"]
        out |= {name: shown[name] | {"Expected": shown[name]["ID"]} for name in ("ContainerdCommit", "RuncCommit", "InitCommit")}
    if version < NO_NONDISTRIBUTABLE:
        out["RegistryConfig"] = {"AllowNondistributableArtifactsCIDRs": None, "AllowNondistributableArtifactsHostnames": None} | shown["RegistryConfig"]
    if version < KERNEL_MEMORY_UNTIL:
        out["KernelMemory"] = False
    if version < NAMED_OPTIONS:  # these options had no names yet
        out["SecurityOptions"] = [option.removeprefix("name=").partition(",")[0] for option in shown["SecurityOptions"]]
        out["ExecutionDriver"] = "<not supported>"
    return out
