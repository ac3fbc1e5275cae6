"""The templates that a service may use in its environment, hostname and mounts, and what they mean for one task. Pure.

Source: swarm-mode templates (`{{.Service.Name}}`, `{{.Node.Hostname}}`, `{{.Task.Slot}}`, ...); SwarmKit's `template` package for the words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cluster.model.errors import InvalidArgument
from cluster.model.go_values import Map, Struct, type_of
from cluster.model.objects import NodeDescription, Task, container_name, shown_slot
from cluster.model.specs import ContainerSpec, Mount
from cluster.model.templates import Template, TemplateError

Context = Struct
_PLATFORM: Final = "template.Platform"
_TYPES: Final = {
    "Service": "struct { ID string; Name string; Labels map[string]string }",
    "Node": "struct { ID string; Hostname string; Platform template.Platform }",
    "Task": "struct { ID string; Name string; Slot string }",
}


def context(task: Task, node: NodeDescription, node_id: str) -> Context:
    """What templates see of a task on a node."""
    platform = _struct(_PLATFORM, {"Architecture": node.platform.architecture, "OS": node.platform.os})
    values: dict[str, dict[str, Any]] = {
        "Service": {"ID": task.service_id, "Name": task.service_name, "Labels": Map(dict(task.service_labels), "map[string]string", empty="")},
        "Node": {"ID": node_id, "Hostname": node.hostname, "Platform": platform},
        "Task": {"ID": task.id, "Name": container_name(task), "Slot": str(shown_slot(task) or node_id)},
    }
    return _struct("*template.Context", {name: _struct(_TYPES[name], inner) for name, inner in values.items()})


def _struct(type: str, values: Mapping[str, Any]) -> Struct:
    return Struct(values, type, tuple((name, name, False, type_of(value), False) for name, value in values.items()))


def expand(text: str, of: Context) -> str:
    """The text with its templates filled in. Raises InvalidArgument in SwarmKit's words for one that doesn't fit."""
    if "{{" not in text:
        return text
    try:
        return Template(text, name="expansion").render(of, strict=True)
    except TemplateError as error:
        raise InvalidArgument(str(error)) from error


def expanded(spec: ContainerSpec, of: Context) -> ContainerSpec:
    """The container as this task has it. Raises InvalidArgument that says which part doesn't fit."""
    mounts = tuple(_mount(mount, of) for mount in spec.mounts)
    hostname = _said("expanding hostname failed", spec.hostname, of)
    env = tuple(_variable(entry, of) for entry in spec.env)
    return msgspec.structs.replace(spec, mounts=mounts, hostname=hostname, env=env)


def _mount(mount: Mount, of: Context) -> Mount:
    source = _said(f'expanding mounts failed: expanding mount source "{mount.source}"', mount.source, of)
    target = _said(f'expanding mounts failed: expanding mount target "{mount.target}"', mount.target, of)
    return msgspec.structs.replace(mount, source=source, target=target)


def _variable(entry: str, of: Context) -> str:
    """Its value is a template, its name is none."""
    name, equals, value = entry.partition("=")
    return name + equals + _said(f'expanding env failed: expanding env "{entry}"', value, of)


def _said(preface: str, text: str, of: Context) -> str:
    try:
        return expand(text, of)
    except InvalidArgument as error:
        raise InvalidArgument(f"{preface}: {error.message}") from error
