"""The placeholders that a service may use in its environment, hostname and mounts, and what they stand for in one task. Pure.

Source: swarm-mode templates (`{{.Service.Name}}`, `{{.Node.Hostname}}`, `{{.Task.Slot}}`, ...).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from cluster.model.errors import InvalidArgument
from cluster.model.objects import NodeDescription, Task, container_name, shown_slot

_PLACEHOLDER: Final = re.compile(r"\{\{\s*(.*?)\s*\}\}")
_LABEL: Final = re.compile(r'^index \.(Service|Node)\.Labels "([^"]+)"$')


def of_task(task: Task, node: NodeDescription, node_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """What the placeholders of a task on a node stand for: (values, labels)."""
    values = {
        ".Service.ID": task.service_id, ".Service.Name": task.service_name, ".Node.ID": node_id, ".Node.Hostname": node.hostname,
        ".Node.Platform.Architecture": node.platform.architecture, ".Node.Platform.OS": node.platform.os, ".Task.ID": task.id,
        ".Task.Name": container_name(task), ".Task.Slot": str(shown_slot(task) or node_id),
    }  # fmt: skip
    labels = {f"Service.{k}": v for k, v in task.service_labels}
    return values, labels


def expand(text: str, values: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """The text with its placeholders filled in. Raises InvalidArgument for one that does not exist."""

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name in values:
            return values[name]
        if labelled := _LABEL.match(name):
            return labels.get(f"{labelled[1]}.{labelled[2]}", "")
        if name.startswith((".Service.Labels.", ".Node.Labels.")):
            kind, _, label = name[1:].partition(".Labels.")
            return labels.get(f"{kind}.{label}", "")
        raise InvalidArgument(f"expanding template failed: unknown placeholder {{{{{name}}}}}")

    return _PLACEHOLDER.sub(fill, text) if "{{" in text else text
