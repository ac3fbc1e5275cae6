"""The flags of `service create` and `service update` whose values have a grammar of their own, as parts of the API's
ServiceSpec.

Owns the grammars and their error texts; pure. Source: docker/cli's opts package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cli import run_networks
from cli.failures import CliFailure
from cli.records import fields_of
from cluster.model import port_labels
from cluster.model.decimals import is_natural

SETTINGS: Final = "festoon settings"
MAX_PORTS_IN_RANGE: Final = 65535
PortPlace = tuple[int, str, str]
"""(target, protocol, mode): what tells a service's ports apart when one is removed."""

_LONG_FORM: Final = re.compile(r"\w+=\w+", re.ASCII)
_RANGE: Final = re.compile(r"(\d+)(?:-(\d+))?")
_PROTOCOLS: Final = frozenset({"tcp", "udp", "sctp"})
_PUBLISH_MODES: Final = frozenset({"ingress", "host"})
_ULIMITS: Final = frozenset(
    {"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}
)


def parse_port(text: str) -> list[dict[str, Any]]:
    """`8080:80`, `53:53/udp`, `90-91:90-91`, `90-91:80`, `80`, `0:80` (any), or `mode=host,published=8080,target=80,protocol=udp`:
    PortConfigs. The long form also takes `affinity=client-ip` and `source-ip=preserve|masquerade` of a port in mode
    ingress: they are kept beside it (SETTINGS) for `split_settings`. Raises ValueError."""
    if _LONG_FORM.search(text):
        return [_long_port(text)]
    ports, _, protocol = text.partition("/")
    protocol = (protocol or "tcp").lower()
    published, _, target = ports.rpartition(":")
    if ":" in published:
        host = published.rpartition(":")[0]
        raise ValueError("hostip is not supported" if _is_address(host.strip("[]")) else f"invalid IP address: {host}")
    if protocol not in _PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    if not target:
        raise ValueError(f"no port specified: {text}<empty>")
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
    for field in fields_of(text):
        key, equals, value = field.lower().partition("=")
        if not equals:
            raise ValueError(f"invalid field: {field}")
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


def parse_network(text: str) -> dict[str, Any]:
    """`mynet` or `name=mynet,alias=a,driver-opt=k=v`: a NetworkAttachmentConfig whose Target is the name. What only a container's network has
    (`ip=`, …) means nothing. Raises ValueError."""
    found = run_networks.parse_network(text)
    made: dict[str, Any] = {"Target": found["name"]}
    if aliases := found.get("network_alias"):
        made["Aliases"] = aliases
    if options := found.get("driver_opt"):
        made["DriverOpts"] = pairs(options)
    return made


def parse_environment(text: str) -> str:
    """`NAME=value`, or `NAME` of the client's own. Raises ValueError."""
    if not text.partition("=")[0]:
        raise ValueError(f"invalid environment variable: {text}")
    return text


def parse_label(text: str) -> str:
    """`key=value` or `key`. Raises ValueError."""
    key = text.partition("=")[0].lstrip(" \t")
    if not key:
        raise ValueError(f"invalid label '{text}': empty name")
    if set(key) & set(" \t"):
        raise ValueError(f"label '{key}' contains whitespaces")
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


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """`key=value` texts as a map; a key alone has an empty value."""
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def environment(texts: Iterable[str], own: Mapping[str, str]) -> list[str]:
    """`NAME=value` texts; a NAME alone takes the value of our own environment where it has one."""
    return [f"{text}={own[text]}" if "=" not in text and text in own else text for text in texts]


def last_of_each(texts: Iterable[str]) -> list[str]:
    """Of several that give one name a value only the last, at its place."""
    found: dict[str, str] = {}
    for text in texts:
        name = text.partition("=")[0]
        found.pop(name, None)
        found[name] = text
    return list(found.values())


def capability(text: str) -> str:
    """`net_admin` as `CAP_NET_ADMIN`."""
    name = text.strip().upper()
    return name if name in ("ALL", "RESET") or name.startswith("CAP_") else f"CAP_{name}"


def effective_capabilities(add: Iterable[str], drop: Iterable[str]) -> tuple[list[str], list[str]]:
    """What is added and what is dropped of a service: ALL stands for every other, and what is added is not dropped as well."""
    added, dropped = ({capability(text) for text in texts} for texts in (add, drop))
    added, dropped = ({"ALL"} if "ALL" in names else names for names in (added, dropped))
    return sorted(added), sorted(dropped - added)


def parse_generic_resource(text: str) -> str:
    """Raises ValueError."""
    if "=" not in text:
        raise ValueError(f"invalid generic-resource format `{text}` expected `name=value`")
    return text


def _generic_resource(kind: str, values: Sequence[str]) -> dict[str, Any]:
    """Raises CliFailure."""
    numbers = [value for value in values if re.fullmatch(r"[+-]?\d+", value, re.ASCII)]
    if not numbers:
        text = f"{kind}={values[0]}"
        raise CliFailure(f"invalid generic-resource request `{text}`, Named Generic Resources is not supported for service create or update")
    if len(values) > 1:
        raise _unreadable(f"mixed discrete and named resources in expression '{kind}=[{' '.join(values)}]'")
    if int(values[0]) < 0:
        raise _unreadable(f"cannot ask for negative resource {kind}")
    return {"DiscreteResourceSpec": {"Kind": kind, "Value": int(values[0])}}


def _unreadable(reason: str) -> CliFailure:
    return CliFailure(f"invalid generic resource specification: could not parse GenericResource: {reason}")


def generic_resources(present: Iterable[dict[str, Any]], added: Iterable[str], removed: Iterable[str]) -> list[dict[str, Any]]:
    """By kind: an added one (`gpu=2`) replaces what there was, a removed one goes. Raises CliFailure."""
    texts: dict[str, list[str]] = {}
    for text in added:
        if text.count("=") != 1:
            raise _unreadable(f"incorrect term {text}, missing '=' or malformed expression")
        kind, _, value = text.partition("=")
        texts.setdefault(kind.strip(), []).append(value.strip())
    by_kind = {(one.get("DiscreteResourceSpec") or one.get("NamedResourceSpec") or {}).get("Kind", ""): one for one in present}
    by_kind |= {kind: _generic_resource(kind, values) for kind, values in texts.items()}
    for kind in removed:
        if by_kind.pop(kind, None) is None:
            raise CliFailure(f"could not find generic-resource `{kind}` to remove it")
    return list(by_kind.values())


def tagged(image: str) -> str:
    """An image reference with its tag: `busybox` is `busybox:latest`; digests and what isn't a reference stay as
    they are."""
    familiar = image.removeprefix("docker.io/").removeprefix("library/")
    path = familiar.rpartition("/")[2]
    if not image or "@" in image or not re.fullmatch(r"[a-z0-9][a-z0-9._/:-]*", familiar):
        return image
    return familiar if ":" in path else f"{familiar}:latest"
