"""The flags of `service create` and `service update` whose values have a grammar of their own, as parts of the API's
ServiceSpec.

Owns the grammars and their error texts; pure. Source: docker/cli's opts package.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from cli.failures import CliFailure
from cli.units import parse_size
from cluster.model import port_labels
from cluster.model.decimals import is_natural

SETTINGS: Final = "festoon settings"
MAX_PORTS_IN_RANGE: Final = 65535
PortPlace = tuple[int, str, str]
"""(target, protocol, mode): what tells a service's ports apart when one is removed."""

_RANGE: Final = re.compile(r"(\d+)(?:-(\d+))?")
_PROTOCOLS: Final = frozenset({"tcp", "udp", "sctp"})
_PUBLISH_MODES: Final = frozenset({"ingress", "host"})
_ULIMITS: Final = frozenset(
    {"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}
)
_BELOW: Final = {"enabled": (), "disabled": ("NonRecursive",), "writable": ("ReadOnlyNonRecursive",), "readonly": ("ReadOnlyForceRecursive",)}
"""Of bind-recursive=: the fields of BindOptions that are set."""
_MOUNT_TYPES: Final = frozenset({"bind", "volume", "tmpfs", "npipe", "cluster", "image"})


def parse_port(text: str) -> list[dict[str, Any]]:
    """`8080:80`, `53:53/udp`, `90-91:90-91`, `90-91:80`, `80`, `0:80` (any), or `mode=host,published=8080,target=80,protocol=udp`:
    PortConfigs. The long form also takes `affinity=client-ip` and `source-ip=preserve|masquerade` of a port in mode
    ingress: they are kept beside it (SETTINGS) for `split_settings`. Raises ValueError."""
    if "=" in text:
        return [_long_port(text)]
    ports, _, protocol = text.partition("/")
    protocol = (protocol or "tcp").lower()
    published, _, target = ports.rpartition(":")
    if ":" in published:
        host = published.rpartition(":")[0]
        raise ValueError("hostip is not supported" if _is_address(host) else f"invalid IP address: {host}")
    if protocol not in _PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    targets = _ports(target, "containerPort")
    hosts = _ports(published, "hostPort") if published else []
    if len(targets) == 1:
        return [_port(protocol, targets[0], host, "ingress") for host in hosts or [0]]
    if hosts and len(hosts) != len(targets):
        raise ValueError(f"invalid ranges specified for container and host Ports: {target} and {published}")
    return [_port(protocol, port, hosts[i] if hosts else 0, "ingress") for i, port in enumerate(targets)]


def _long_port(text: str) -> dict[str, Any]:
    protocol, mode, target, published = "tcp", "ingress", 0, 0
    settings: dict[str, str] = {}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if not equals or not value:
            raise ValueError(f"invalid field: {field}")
        key, value = key.lower(), value.lower()
        if key == "protocol":
            if value not in _PROTOCOLS:
                raise ValueError(f"invalid protocol value '{value}'")
            protocol = value
        elif key == "mode":
            if value not in _PUBLISH_MODES:
                raise ValueError(f"invalid publish mode value ({value}): must be either 'ingress' or 'host'")
            mode = value
        elif key in {"target", "published"}:
            number = _port_number(value, f"invalid {key} port ({value}): value must be an integer: ")
            target, published = (number, published) if key == "target" else (target, number)
        elif key in port_labels.VALUES:
            port_labels.refuse(key, value)
            settings[key] = value
        else:
            raise ValueError(f"invalid field key: {key}")
    if not target:
        raise ValueError("missing mandatory field 'target'")
    made = _port(protocol, target, published, mode)
    if settings and mode == "host":
        raise ValueError(f"invalid field: {next(iter(settings))}: only ports in ingress mode are balanced")
    if settings and not published:
        raise ValueError(f"invalid field: {next(iter(settings))}: needs a published port")
    return made | ({SETTINGS: settings} if settings else {})


def split_settings(ports: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The ports as the API has them, and the labels that say the rest."""
    plain, labels = [], {}
    for port in ports:
        for name, value in port.get(SETTINGS, {}).items():
            labels[port_labels.key(port["PublishedPort"], port["Protocol"], name)] = value
        plain.append({key: value for key, value in port.items() if key != SETTINGS})
    return plain, labels


def _port(protocol: str, target: int, published: int, mode: str) -> dict[str, Any]:
    made: dict[str, Any] = {"Protocol": protocol, "TargetPort": target, "PublishedPort": published, "PublishMode": mode}
    if not published:
        del made["PublishedPort"]
    return made


def _ports(text: str, what: str) -> list[int]:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"invalid {what}: {text}")
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last <= MAX_PORTS_IN_RANGE:
        raise ValueError(f"invalid {what}: {text}")
    return list(range(first, last + 1))


def _is_address(text: str) -> bool:
    from ipaddress import ip_address  # for what is refused anyway

    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _port_number(text: str, complaint: str) -> int:
    if not is_natural(text):
        raise ValueError(f"{complaint}invalid syntax")
    if int(text) > MAX_PORTS_IN_RANGE:
        raise ValueError(f"{complaint}value out of range")
    return int(text)


def parse_removed_port(text: str) -> list[PortPlace]:
    """Of `80`, `80/udp`, `8080:80`, `90-91:90-91`, `mode=host,target=80`: where it is published does not matter. Raises ValueError."""
    return [port_place(port) for port in parse_port(text)]


def port_place(port: Mapping[str, Any]) -> PortPlace:
    return port.get("TargetPort", 0), port.get("Protocol", "tcp"), port.get("PublishMode", "ingress")


def parse_mount(text: str) -> dict[str, Any]:
    """`type=volume,source=v,target=/a,readonly`: a Mount. Raises ValueError."""
    mount: dict[str, Any] = {"Type": "volume"}
    extra: dict[str, dict[str, Any]] = {"BindOptions": {}, "VolumeOptions": {}, "TmpfsOptions": {}}
    for field in _comma_separated(text):
        key, equals, value = field.partition("=")
        _mount_field(mount, extra, key.strip().lower(), value, field, given=bool(equals))
    kind = mount["Type"]
    if not mount.get("Target"):
        raise ValueError("target is required")
    if kind not in _MOUNT_TYPES:
        return {k: mount[k] for k in ("Type", "Source", "Target", "ReadOnly") if k in mount}
    for name, owner in (("VolumeOptions", "volume"), ("BindOptions", "bind"), ("TmpfsOptions", "tmpfs")):
        if extra[name] and kind != owner:
            wrong = {"VolumeOptions": "volume-*", "BindOptions": "bind-*", "TmpfsOptions": "tmpfs-*"}[name]
            raise ValueError(f"cannot mix '{wrong}' options with mount type '{kind}'")
        if extra[name]:
            mount[name] = extra[name]
    _check_below(mount)
    order = ("Type", "Source", "Target", "ReadOnly", "Consistency", "BindOptions", "VolumeOptions", "TmpfsOptions")
    return {name: mount[name] for name in order if name in mount}


def _mount_field(
    mount: dict[str, Any], extra: dict[str, dict[str, Any]], key: str, value: str, field: str, *, given: bool
) -> None:
    if not given and key not in {"readonly", "ro", "volume-nocopy", "bind-nonrecursive"}:
        raise ValueError(f"invalid field '{field}' must be a key=value pair")
    bind, volume, tmpfs = extra["BindOptions"], extra["VolumeOptions"], extra["TmpfsOptions"]
    if key == "type":
        mount["Type"] = value.lower()
    elif key in {"source", "src"}:
        mount["Source"] = value
    elif key in {"target", "dst", "destination"}:
        mount["Target"] = value
    elif key in {"readonly", "ro"}:
        mount["ReadOnly"] = _boolean(key, value, given=given)
    elif key == "consistency":
        mount["Consistency"] = value.lower()
    elif key == "bind-propagation":
        bind["Propagation"] = value.lower()
    elif key == "bind-nonrecursive":
        bind["NonRecursive"] = _boolean(key, value, given=given)
    elif key == "bind-recursive":
        if value not in _BELOW:
            raise ValueError(f'invalid value for {key}: {value} (must be "enabled", "disabled", "writable", or "readonly")')
        bind.update(dict.fromkeys(_BELOW[value], True))
    elif key == "volume-subpath":
        volume["Subpath"] = value
    elif key == "volume-nocopy":
        volume["NoCopy"] = _boolean(key, value, given=given)
    elif key == "volume-label":
        name, _, text = value.partition("=")
        volume.setdefault("Labels", {})[name] = text
    elif key == "volume-driver":
        volume.setdefault("DriverConfig", {})["Name"] = value
    elif key == "volume-opt":
        name, _, text = value.partition("=")
        volume.setdefault("DriverConfig", {}).setdefault("Options", {})[name] = text
    elif key == "tmpfs-size":
        try:
            tmpfs["SizeBytes"] = parse_size(value)
        except ValueError as e:
            raise ValueError(f"invalid value for {key}: {value}") from e
    elif key == "tmpfs-mode":
        try:
            tmpfs["Mode"] = int(value, 8)
        except ValueError as e:
            raise ValueError(f"invalid value for {key}: {value}") from e
    else:
        raise ValueError(f"unexpected key '{key}' in '{field}'")


def _comma_separated(text: str) -> list[str]:
    """Fields, which may stand in quotation marks. Source: RFC 4180. Raises ValueError."""
    if not text:
        raise ValueError("EOF")
    if '"' not in text:
        return text.split(",")
    import csv

    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as e:
        raise ValueError(f'parse error on line 1, column {len(text) + 1}: extraneous or missing " in quoted-field') from e


def _check_below(mount: dict[str, Any]) -> None:
    """What a bind says of the mounts below it has to fit the rest. Raises ValueError."""
    bind, read_only = mount.get("BindOptions") or {}, mount.get("ReadOnly")
    for value in ("writable", "readonly"):
        if bind.get(_BELOW[value][0]) and not read_only:
            raise ValueError(f"option 'bind-recursive={value}' requires 'readonly' to be specified in conjunction")
    if bind.get("ReadOnlyForceRecursive") and bind.get("Propagation") != "rprivate":
        raise ValueError("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")


def _boolean(key: str, value: str, *, given: bool) -> bool:
    if not given:
        return True
    known = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}.get(value.lower())
    if known is None:
        raise ValueError(f"invalid value for {key}: {value}")
    return known


def parse_network(text: str) -> dict[str, Any]:
    """`mynet` or `name=mynet,alias=a,driver-opt=k=v`: a NetworkAttachmentConfig whose Target is the name. Raises
    ValueError."""
    if "=" not in text:
        return {"Target": text}
    made: dict[str, Any] = {"Target": ""}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if not equals:
            raise ValueError(f"invalid field {field}")
        if key == "name":
            made["Target"] = value
        elif key == "alias":
            made.setdefault("Aliases", []).append(value)
        elif key == "driver-opt":
            name, _, option = value.partition("=")
            made.setdefault("DriverOpts", {})[name] = option
        else:
            raise ValueError(f"invalid field key {key}")
    if not made["Target"]:
        raise ValueError("network name/id is not specified")
    return made


def parse_environment(text: str) -> str:
    """`NAME=value`, or `NAME` of the client's own. Raises ValueError."""
    if not text.partition("=")[0]:
        raise ValueError(f"invalid environment variable: {text}")
    return text


def parse_label(text: str) -> str:
    """`key=value` or `key`. Raises ValueError."""
    key = text.partition("=")[0]
    if not key.strip():
        raise ValueError(f"invalid label '{text}': empty name")
    return text


def parse_host(text: str) -> str:
    """`name:address` (or `name=address`) as the API's `address name`. Raises ValueError."""
    separator = "=" if "=" in text else ":"
    name, found, address = text.partition(separator)
    if not found or not name:
        raise ValueError(f'bad format for add-host: "{text}"')
    address = address.removeprefix("[").removesuffix("]")
    if address != "host-gateway":
        try:
            canonical_address(address)
        except ValueError as e:
            raise ValueError(f'invalid IP address in add-host: "{address}"') from e
    return f"{address} {name}"


def canonical_address(text: str) -> str:
    """An IP address as it is usually written. Raises ValueError."""
    import ipaddress  # late: few commands name one

    return str(ipaddress.ip_address(text))


def parse_address(text: str) -> str:
    """An IP address. Raises ValueError."""
    try:
        return canonical_address(text.strip())
    except ValueError as e:
        raise ValueError(f"IP address is not correctly formatted: {text}") from e


def parse_ulimit(text: str) -> dict[str, Any]:
    """`nofile=99:100`: a Ulimit. Raises ValueError."""
    name, equals, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    if ":" in hard:
        raise ValueError(f"too many limit value arguments - {values}, can only have up to two, `soft[:hard]`")
    try:
        low = int(soft)
        high = int(hard) if colon else low
    except ValueError as e:
        raise ValueError(f'strconv.ParseInt: parsing "{hard if colon else soft}": invalid syntax') from e
    if low > high >= 0:
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {low} > {high}")
    return {"Name": name, "Hard": high, "Soft": low}


def parse_preference(text: str) -> dict[str, Any]:
    """`spread=node.labels.zone`: a placement preference. Raises ValueError."""
    strategy, equals, descriptor = text.partition("=")
    if not equals:
        raise ValueError('placement preference must be of the format "<strategy>=<arg>"')
    if strategy != "spread":
        raise ValueError(f"unsupported placement preference {strategy} (only spread is supported)")
    return {"Spread": {"SpreadDescriptor": descriptor}}


def parse_words(text: str) -> list[str]:
    """A command line cut as a shell cuts it. Raises ValueError."""
    import shlex

    try:
        return shlex.split(text)
    except ValueError as e:
        raise ValueError(f"invalid command line string: {e}") from e


def pairs(texts: tuple[str, ...]) -> dict[str, str]:
    """`key=value` texts as a map; a key alone has an empty value."""
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def environment(texts: tuple[str, ...], own: Mapping[str, str]) -> list[str]:
    """`NAME=value` texts, the last one of each name; a NAME alone takes the value of our own environment where it
    has one."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, _ = text.partition("=")
        found[name] = text if equals or name not in own else f"{name}={own[name]}"
    return list(found.values())


def capability(text: str) -> str:
    """`net_admin` as `CAP_NET_ADMIN`."""
    name = text.strip().upper()
    return name if name in ("ALL", "RESET") or name.startswith("CAP_") else f"CAP_{name}"


def parse_generic_resource(text: str) -> dict[str, Any]:
    """`gpu=2`: a GenericResource. Raises ValueError."""
    kind, equals, value = text.partition("=")
    if not equals or not kind:
        raise ValueError(f"invalid generic-resource format `{text}` expected `name=value`")
    if not (value.isascii() and value.isdigit()):
        return {"NamedResourceSpec": {"Kind": kind, "Value": value}}
    return {"DiscreteResourceSpec": {"Kind": kind, "Value": int(value)}}


def generic_resources(present: Iterable[dict[str, Any]], added: Collection[dict[str, Any]], removed: Iterable[str]) -> list[dict[str, Any]]:
    """By kind: without the removed ones; an added one replaces what there was. Raises CliFailure for one with a name, and where there is none
    to remove."""
    if named := next((one["NamedResourceSpec"] for one in added if "NamedResourceSpec" in one), None):
        text = f"{named['Kind']}={named['Value']}"
        raise CliFailure(f"invalid generic-resource request `{text}`, Named Generic Resources is not supported for service create or update")
    by_kind = {(one.get("DiscreteResourceSpec") or one.get("NamedResourceSpec") or {}).get("Kind", ""): one for one in present}
    for kind in removed:
        if by_kind.pop(kind, None) is None:
            raise CliFailure(f"could not find generic-resource `{kind}` to remove it")
    return list((by_kind | {one["DiscreteResourceSpec"]["Kind"]: one for one in added}).values())


def tagged(image: str) -> str:
    """An image reference with its tag: `busybox` is `busybox:latest`; digests and what isn't a reference stay as
    they are."""
    familiar = image.removeprefix("docker.io/").removeprefix("library/")
    path = familiar.rpartition("/")[2]
    if not image or "@" in image or not re.fullmatch(r"[a-z0-9][a-z0-9._/:-]*", familiar):
        return image
    return familiar if ":" in path else f"{familiar}:latest"
