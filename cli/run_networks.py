"""`run --network`, by itself or in its long form, and the flags that belong to the first network, as the endpoints of POST /containers/create. Pure.

Source: docker/cli's opts/network.go and cli/command/container/opts.go (parseNetworkOpts) for the grammar, the contradictions and their sentences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from cli.failures import MISUSED, CliFailure
from cli.records import fields_of

Flags = Mapping[str, Any]
Network = dict[str, Any]
_LONG_FORM: Final = re.compile(r"\w+=\w+(,\w+=\w+)*")
_ONE: Final = {"ip": "ip", "ip6": "ip6", "mac-address": "mac_address"}
_MANY: Final = {"alias": "network_alias", "link-local-ip": "link_local_ip", "driver-opt": "driver_opt"}
MAC_OF_NETWORK: Final = (1, 44)
_MODES: Final = ("default", "bridge", "host", "none")
_PAIR: Final = "[0-9a-fA-F]{2}"
_MAC: Final = re.compile("|".join(
    (rf"{_PAIR}(?:{sign}{_PAIR}){{{more}}}" if sign != "[.]" else rf"(?:{_PAIR}){{2}}(?:[.](?:{_PAIR}){{2}}){{{(more - 1) // 2}}}")
    for sign in (":", "-", "[.]") for more in (5, 7, 19)
))
_TWICE: Final = (
    ("network_alias", "--network-alias", "alias"), ("ip", "--ip", "IPv4 address"), ("ip6", "--ip6", "IPv6 address"),
    ("link_local_ip", "--link-local-ip", "link-local IP addresses"), ("mac_address", "--mac-address", "MAC address"),
)  # fmt: skip


def parse_network(text: str) -> Network:
    """`NAME` or `name=NAME,alias=A,ip=I,…`. Raises ValueError."""
    if not _LONG_FORM.search(text):
        return {"name": text}
    found: Network = {"name": ""}
    for field in fields_of(text):
        key, equals, value = (part.strip() for part in field.lower().partition("="))
        if not equals or not key:
            raise ValueError(f"invalid field {field}")
        if key == "name":
            found["name"] = value
        elif key in _ONE:
            found[_ONE[key]] = value
        elif key == "gw-priority":
            found["gw_priority"] = _priority(value)
        elif key in _MANY:
            if key == "driver-opt" and value.find("=") < 1:
                raise ValueError("invalid key value pair format in driver options")
            found.setdefault(_MANY[key], []).append(value)
        else:
            raise ValueError(f"invalid field key {key}")
    if not found["name"]:
        raise ValueError("network name/id is not specified")
    return found


def _priority(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,9}", text, re.ASCII):
        raise ValueError(f"invalid gw-priority ({text}): {'value out of range' if re.fullmatch(r'[+-]?[0-9]+', text) else 'invalid syntax'}")
    return int(text)


def mode(flags: Flags) -> str:
    """The container's NetworkMode: the first network."""
    return flags["network"][0]["name"] if flags["network"] else "default"


def endpoints(flags: Flags, api_version: str) -> Network:
    """Raises CliFailure for contradictions, and for what this version of the API can't say."""
    networks = [dict(network) for network in flags["network"] or ({"name": "default"},)]
    _take_flags(networks[0], flags)
    if len({_is_users(network["name"]) for network in networks}) > 1:
        raise CliFailure("conflicting options: cannot attach both user-defined and non-user-defined network-modes", MISUSED)
    found: Network = {}
    for network in networks:
        name = network["name"]
        if not name:
            raise CliFailure("no name set for network", MISUSED)
        if network.get("network_alias") and not _is_users(name):
            raise CliFailure("network-scoped aliases are only supported for user-defined networks", MISUSED)
        if name in found:
            raise CliFailure(f'network "{name}" is specified multiple times', MISUSED)
        found[name] = _endpoint(network)
    if tuple(map(int, re.findall(r"\d+", api_version))) < MAC_OF_NETWORK and any("MacAddress" in endpoint for endpoint in found.values()):
        needed = ".".join(map(str, MAC_OF_NETWORK))
        raise CliFailure(f'"specify mac-address per network" requires API version {needed}, but the Docker daemon API version is {api_version}', MISUSED)
    return found if len(found) > 1 else {name: endpoint for name, endpoint in found.items() if endpoint}


def _is_users(name: str) -> bool:
    return name not in _MODES and not name.startswith("container:")


def _take_flags(first: Network, flags: Flags) -> None:
    """The flags of their own say the same of the first network as its long form does; not both."""
    for key, flag, what in _TWICE:
        if first.get(key) and flags[key]:
            raise CliFailure(f"conflicting options: cannot specify both {flag} and per-network {what}", MISUSED)
        first[key] = first.get(key) or flags[key]
    if _is_users(first["name"]):  # elsewhere a link is the container's as a whole
        first["links"] = flags["link"]


def _endpoint(network: Network) -> Network:
    endpoint: Network = {}
    if network.get("network_alias"):
        endpoint["Aliases"] = list(network["network_alias"])
    asked = {"IPv4Address": network.get("ip"), "IPv6Address": network.get("ip6"), "LinkLocalIPs": list(network.get("link_local_ip") or ())}
    if ipam := {key: value for key, value in asked.items() if value}:
        endpoint["IPAMConfig"] = ipam
    if network.get("links"):
        endpoint["Links"] = list(network["links"])
    if network.get("gw_priority"):
        endpoint["GwPriority"] = network["gw_priority"]
    if network.get("driver_opt"):
        endpoint["DriverOpts"] = dict(text.partition("=")[::2] for text in network["driver_opt"])
    if mac := network.get("mac_address"):
        if not _MAC.fullmatch(mac):
            raise CliFailure(f"{mac} is not a valid mac address", MISUSED)
        endpoint["MacAddress"] = mac
    return endpoint
