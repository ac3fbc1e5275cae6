"""The flags of `run` and `create` whose values have a grammar of their own, as parts of what is posted. Owns the grammars and their error texts; pure.

Source: docker/cli's opts package and docker/go-connections' nat.
"""

from __future__ import annotations

import re
from typing import Any, Final

from cli.records import fields_of
from cli.service_fields import canonical_address
from cli.units import parse_size

MAX_PORT: Final = 65535
_DOMAIN: Final = re.compile(r"(?=.{1,255}$)[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*\.?", re.ASCII)
_DEVICE_RULE: Final = re.compile(r"[acb] (?:\d+|\*):(?:\d+|\*) [rwm]{1,3}", re.ASCII)
PROTOCOLS: Final = ("tcp", "udp", "sctp")


def parse_publish(text: str) -> list[tuple[str, dict[str, str]]]:
    """`[[address:][host]:]container[/protocol]`, ports or ranges, or `target=80,published=8080,protocol=udp`: ("80/tcp", {"HostIp", "HostPort"}) pairs.
    Raises ValueError."""
    if "=" in text:
        text = _short_form(text)
    ports, protocol, *_ = *text.split("/"), ""
    protocol = (protocol or "tcp").lower()
    if protocol not in PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    address, host, container = _split(ports)
    if address:
        try:
            if "%" in address:
                raise ValueError
            canonical_address(address)
        except ValueError:
            raise ValueError(f"invalid IP address: {address}") from None
    if not container:
        raise ValueError(f"no port specified: {text}<empty>")
    targets = _range(container, "containerPort")
    hosts = _range(host, "hostPort") if host else []
    if hosts and len(hosts) != len(targets):
        if len(targets) != 1:
            raise ValueError(f"invalid ranges specified for container and host Ports: {container} and {host}")
        return [(f"{targets[0]}/{protocol}", {"HostIp": address, "HostPort": host})]
    return [(f"{t}/{protocol}", {"HostIp": address, "HostPort": str(hosts[i]) if hosts else ""}) for i, t in enumerate(targets)]


def _short_form(text: str) -> str:
    """As docker's convertToStandardNotation; fields that it does not know mean nothing."""
    found = {"protocol": "tcp", "published": "", "target": ""}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if not equals or not key:
            raise ValueError(f"invalid publish opts format (should be name=value but got '{field}')")
        found[key] = value
    return f"{found['published']}:{found['target']}/{found['protocol']}"


def _split(text: str) -> tuple[str, str, str]:
    if text.startswith("["):
        address, end, rest = text[1:].partition("]:")
        if not end:
            given = text.rpartition(":")[0].rpartition(":")[0]
            raise ValueError(f"invalid IP address {given}: address {given}:: missing ']' in address")
        host, _, container = rest.rpartition(":")
        return address, host, container
    left, _, container = text.rpartition(":")
    address, _, host = left.rpartition(":")
    return address, host, container


def _range(text: str, what: str) -> list[int]:
    first, dash, last = text.partition("-")
    words = (first, last) if dash else (first,)
    if not all(w.isdigit() and int(w) <= MAX_PORT for w in words) or int(words[-1]) < int(first):
        raise ValueError(f"invalid {what}: {text}")
    return list(range(int(first), int(words[-1]) + 1))


def port_number(text: str) -> int:
    """Raises ValueError as Go's strconv says it."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) > MAX_PORT:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def parse_device(text: str) -> dict[str, str]:
    """`/dev/x[:/dev/y][:rwm]`. Raises ValueError."""
    parts = text.split(":")
    if len(parts) > 3 or not text:
        raise ValueError(f"bad format for path: {text}")
    if not parts[0]:
        raise ValueError(f"invalid device specification: {text}")
    target, permissions = parts[0], "rwm"
    if len(parts) == 3:
        target, permissions = parts[1], parts[2]
        if not _mode(permissions):
            raise ValueError(f"bad mode specified: {permissions}")
    elif len(parts) == 2:
        target, permissions = (parts[0], parts[1]) if _mode(parts[1]) else (parts[1], "rwm")
    return {"PathOnHost": parts[0], "PathInContainer": target, "CgroupPermissions": permissions}


def parse_device_rule(text: str) -> str:
    """`c 10:229 rwm`. Raises ValueError."""
    if not _DEVICE_RULE.fullmatch(text):
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


def _mode(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def _of_device(text: str) -> tuple[str, str]:
    """(path, what is said of it). Raises ValueError."""
    path, colon, said = text.partition(":")
    if not colon or not path:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, said


def parse_weight(text: str) -> dict[str, Any]:
    """`/dev/sda:200`. Raises ValueError."""
    path, weight = _of_device(text)
    if not weight.isdigit() or (int(weight) and not 10 <= int(weight) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(weight)}


def parse_gpus(text: str) -> dict[str, Any]:
    """`all`, `2`, `"device=0,1",driver=nvidia,capabilities=compute`: a DeviceRequest. Raises ValueError."""
    made: dict[str, Any] = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
    seen: set[str] = set()
    for field in fields_of(text):
        key, equals, value = field.partition("=")
        if key in seen:
            raise ValueError(f"gpu request key '{key}' can be specified only once")
        seen |= {key} if equals else {key, "count"}
        if not equals or key == "count":
            made["Count"] = _gpu_count(value if equals else field)
        elif key == "driver":
            made["Driver"] = value
        elif key == "device":
            made["DeviceIDs"] = value.split(",")
        elif key == "capabilities":
            made["Capabilities"] = [[*value.split(","), "gpu"]]
        elif key == "options":
            made["Options"] = dict(option.partition("=")[::2] for option in fields_of(value))
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    if "count" not in seen and made["DeviceIDs"] is None:
        made["Count"] = 1
    return made


def _gpu_count(text: str) -> int:
    if text == "all":
        return -1
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError(f'invalid count ({text}): value must be either "all" or an integer: invalid syntax')
    return int(text)


def parse_throttle(text: str) -> dict[str, Any]:
    """`/dev/x:1mb`, `/dev/x:100`. Raises ValueError."""
    path, rate = _of_device(text)
    try:
        return {"Path": path, "Rate": parse_size(rate)}
    except ValueError:
        form = "<device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        raise ValueError(f"invalid rate for device: {text}. The correct format is {form}") from None


def parse_operations(text: str) -> dict[str, Any]:
    """`/dev/x:100`: operations a second. Raises ValueError."""
    path, rate = _of_device(text)
    if not (rate.isascii() and rate.isdigit()):
        raise ValueError(f"invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer")
    return {"Path": path, "Rate": int(rate)}


def parse_swap(text: str) -> int:
    """Bytes; -1: no limit. Raises ValueError."""
    return -1 if text == "-1" else parse_size(text)


def parse_extra_host(text: str) -> str:
    """`name:address` (or host-gateway). Raises ValueError."""
    name, between, address = text.partition("=" if "=" in text else ":")
    if not name or not between:
        raise ValueError(f'bad format for add-host: "{text}"')
    bare = address.strip("[]")
    if bare != "host-gateway":
        try:
            canonical_address(bare)
        except ValueError:
            raise ValueError(f'invalid IP address in add-host: "{address}"') from None
    return f"{name}:{bare}"


def parse_domain(text: str) -> str:
    """A search domain, or "." for none. Raises ValueError."""
    text = text.strip(" ")
    found = text.removesuffix(".") or text
    if text != "." and not (any(c.isascii() and c.isalpha() for c in text) and _DOMAIN.fullmatch(text)):
        raise ValueError(f"{text} is not a valid domain")
    return found


def parse_link(text: str) -> str:
    """`container[:alias]`. Raises ValueError."""
    if not text:
        raise ValueError("empty string specified for links")
    if text.count(":") > 1:
        raise ValueError(f"bad format for links: {text}")
    return text


def parse_restart(text: str) -> dict[str, Any]:
    """`on-failure:3`. Raises ValueError."""
    name, colon, count = text.partition(":")
    if colon and not name:
        raise ValueError("invalid restart policy format: no policy provided before colon")
    if count and not count.lstrip("-").isdigit():
        raise ValueError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def parse_sysctl(text: str) -> str:
    """`name=value` of a namespaced one. Raises ValueError."""
    name, _, _ = text.partition("=")
    allowed = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced")
    if "=" not in text or not (name in allowed or name.startswith(("net.", "fs.mqueue."))):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return text


def parse_attach(text: str) -> str:
    """Raises ValueError."""
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()
