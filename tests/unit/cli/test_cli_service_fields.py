"""The grammars of service flags. Every text here was given to the docker client 28 and answered with these words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from cli import service_fields as fields
from cli.mount_fields import parse_mount
from cli.tasks import ranges_text


def port(target: int, published: int = 0, protocol: str = "tcp", mode: str = "ingress") -> dict[str, Any]:
    made: dict[str, Any] = {"Protocol": protocol, "TargetPort": target, "PublishedPort": published, "PublishMode": mode}
    return made if published else {k: v for k, v in made.items() if k != "PublishedPort"}


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("8080:80", [port(80, 8080)]),
        ("53:53/udp", [port(53, 53, "udp")]),
        ("77", [port(77)]),
        ("90-91:90-91", [port(90, 90), port(91, 91)]),
        ("mode=host,target=80", [port(80, mode="host")]),
        ("published=8080,target=80,protocol=udp", [port(80, 8080, "udp")]),
    ],
)
def test_ports(text: str, ports: list[dict[str, Any]]) -> None:
    assert fields.parse_port(text) == ports


def test_what_the_api_has_no_field_for_becomes_labels_of_the_port() -> None:
    ports = fields.parse_port("published=8080,target=80,affinity=client-ip,source-ip=masquerade") + fields.parse_port("53:53/udp")
    ports += fields.parse_port("published=54,target=53,protocol=udp,source-ip=preserve")
    plain, labels = fields.split_settings(ports)
    assert plain == [port(80, 8080), port(53, 53, "udp"), port(53, 54, "udp")]
    assert labels == {
        "festoon.port.8080.affinity": "client-ip",
        "festoon.port.8080.source-ip": "masquerade",
        "festoon.port.54/udp.source-ip": "preserve",
    }


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ([port(53, 53, "udp"), port(81, 8001), port(80, 8000), port(82, 8002)], "*:8000-8002->80-82/tcp, *:53->53/udp"),
        ([port(80, 8080), port(80, 8082)], "*:8080->80/tcp, *:8082->80/tcp"),
        ([port(80, 8080), port(80, 8081)], "*:8080-8081->80/tcp"),
        ([], ""),
    ],
)
def test_published_ports_are_shown_in_runs(ports: list[dict[str, Any]], text: str) -> None:
    assert ranges_text(ports) == text


def test_mounts() -> None:
    assert parse_mount("type=volume,target=/a,source=v,readonly") == {"Type": "volume", "Source": "v", "Target": "/a", "ReadOnly": True}
    assert parse_mount("type=bind,src=/x,dst=/y,bind-propagation=rshared") == {
        "Type": "bind",
        "Source": "/x",
        "Target": "/y",
        "BindOptions": {"Propagation": "rshared"},
    }
    assert parse_mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=0700") == {
        "Type": "tmpfs",
        "Target": "/t",
        "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o700},
    }


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("bind-recursive=enabled", {}),
        ("bind-recursive=disabled", {"NonRecursive": True}),
        ("readonly,bind-recursive=writable", {"ReadOnlyNonRecursive": True}),
        ("ro,bind-propagation=rprivate,bind-recursive=readonly", {"Propagation": "rprivate", "ReadOnlyForceRecursive": True}),
    ],
)
def test_what_is_mounted_below_a_bind(text: str, options: dict[str, Any]) -> None:
    assert parse_mount(f'type=bind,"src=/x,y",dst=/y,{text}').get("BindOptions", {}) == options


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bind-recursive", "invalid field 'bind-recursive' must be a key=value pair"),
        ("bind-recursive=x", 'invalid value for bind-recursive: x (must be "enabled", "disabled", "writable", or "readonly")'),
        ("bind-recursive=writable", "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction"),
        ("ro,bind-recursive=readonly", "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"),
    ],
)
def test_what_can_not_be_asked_of_a_bind(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_mount(f"type=bind,src=/x,dst=/y,{text}")


def test_a_port_may_be_any_and_several_may_lead_to_one() -> None:
    any_port = {"Protocol": "tcp", "TargetPort": 80, "PublishMode": "ingress"}
    assert fields.parse_port("0:80") == fields.parse_port("80") == [any_port]
    assert fields.parse_port("90-91:80") == [any_port | {"PublishedPort": 90}, any_port | {"PublishedPort": 91}]


def test_networks_hosts_and_ulimits() -> None:
    assert fields.parse_network("net") == {"Target": "net"}
    assert fields.parse_network("name=net,alias=a,alias=b") == {"Target": "net", "Aliases": ["a", "b"]}
    assert fields.parse_host("h:1.2.3.4") == "1.2.3.4 h"
    assert fields.parse_ulimit("nofile=99:100") == {"Name": "nofile", "Hard": 100, "Soft": 99}


@pytest.mark.parametrize(
    ("parse", "text", "complaint"),
    [
        (fields.parse_port, "x", "invalid containerPort: x"),
        (fields.parse_removed_port, "x", "invalid containerPort: x"),
        (fields.parse_port, "target=80,published=x", "invalid published port (x): value must be an integer: invalid syntax"),
        (fields.parse_port, "target=99999", "invalid target port (99999): value must be an integer: value out of range"),
        (fields.parse_port, "published=80", "missing mandatory field 'target'"),
        (fields.parse_port, "99999:80", "invalid hostPort: 99999"),
        (fields.parse_port, "mode=nosuch,target=80", "invalid publish mode value (nosuch): must be either 'ingress' or 'host'"),
        (fields.parse_port, "target=80,published=80,affinity=x", "invalid affinity value 'x': it is one of client-ip, none"),
        (fields.parse_port, "target=80,affinity=client-ip", "invalid field: affinity: needs a published port"),
        (fields.parse_port, "mode=host,target=1,published=1,source-ip=preserve", "invalid field: source-ip: only ports in ingress mode are balanced"),
        (parse_mount, "type=foo", "target is required"),
        (parse_mount, "type=bind,volume-nocopy,target=/x", "cannot mix 'volume-*' options with mount type 'bind'"),
        (parse_mount, "type=volume,foo=bar,target=/x", "unexpected key 'foo' in 'foo=bar'"),
        (fields.parse_network, "name=a,foo=b", "invalid field key foo"),
        (fields.parse_host, "x", 'bad format for add-host: "x"'),
        (fields.parse_ulimit, "x", "invalid ulimit argument: x"),
        (fields.parse_label, "=x", "invalid label '=x': empty name"),
        (fields.parse_preference, "x", 'placement preference must be of the format "<strategy>=<arg>"'),
        (fields.parse_address, "x", "IP address is not correctly formatted: x"),
    ],
)
def test_bad_values_are_refused_in_dockers_words(parse: Callable[[str], Any], text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as failure:  # noqa: PT011  the whole sentence is compared
        parse(text)
    assert str(failure.value) == complaint


def test_the_last_value_of_an_environment_variable_counts_and_a_bare_name_is_ours() -> None:
    assert fields.environment(("A=1", "B", "A=2", "C"), {"B": "own"}) == ["A=1", "B=own", "A=2", "C"]
    assert fields.last_of_each(["A=1", "B=own", "A=2", "C"]) == ["B=own", "A=2", "C"]


@pytest.mark.parametrize(
    ("given", "posted"),
    [
        ("busybox", "busybox:latest"),
        ("containous/whoami", "containous/whoami:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("busybox:1", "busybox:1"),
        ("docker.io/library/busybox", "busybox:latest"),
        ("busybox@sha256:" + "a" * 64, "busybox@sha256:" + "a" * 64),
        ("BAD NAME", "BAD NAME"),
    ],
)
def test_images_get_their_tag(given: str, posted: str) -> None:
    assert fields.tagged(given) == posted
