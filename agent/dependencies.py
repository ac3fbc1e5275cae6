"""The secrets and configs that the managers gave this node, and what a task gets of them: which files, where, with which bytes.

They are in memory only: a node that starts anew is given them again. Owns templates in their data; the files are agent/dependency_files.py's.
Source: SwarmKit template/context.go; moby's daemon/container_operations_unix.go for the places.
"""

from __future__ import annotations

from collections.abc import Iterable
from posixpath import join
from typing import Final

import trio

from agent.dependency_files import File
from cluster.model import placeholders
from cluster.model.assignments import ConfigItem, Item, SecretItem
from cluster.model.errors import InvalidArgument
from cluster.model.objects import NodeDescription, Task
from cluster.model.specs import ContainerSpec, DependencyFile, DependencySpec, Pairs
from cluster.model.templates import Template, TemplateError
from runtime.spec import IdRange

SECRETS_FOLDER: Final = "/run/secrets"
GOLANG: Final = "golang"
EXPANDED_LIMIT_BYTES: Final = 1_024_000


class Dependencies:
    """State: what this node was given. `assign` follows the managers' stream."""

    def __init__(self) -> None:
        self._specs: dict[str, DependencySpec] = {}
        self._more = trio.Event()

    def assign(self, items: Iterable[Item], removals: Iterable[str], *, complete: bool) -> None:
        """Take over one message's."""
        if complete:
            self._specs.clear()
        for key in removals:
            self._specs.pop(key, None)
        for item in items:
            if isinstance(item, SecretItem):
                self._specs[item.key] = item.secret.spec
            elif isinstance(item, ConfigItem):
                self._specs[item.key] = item.config.spec
        self._more.set()
        self._more = trio.Event()

    def has(self, spec: ContainerSpec) -> bool:
        """Whether all that such a container uses is here."""
        return all(key in self._specs for key, _ in _keyed(spec))

    async def wait_for(self, spec: ContainerSpec) -> None:
        """Until it is: a session's first message may hold tasks without what they use."""
        while not self.has(spec):
            await self._more.wait()

    def files(self, task: Task, node: NodeDescription, node_id: str, ids: IdRange | None) -> tuple[File, ...]:
        """What is to be written for the task's container, in the order of `places`. `ids`: of its user namespace.

        Raises InvalidArgument for a template that does not fit, or an owner that is no number.
        """
        return tuple(
            File(name, self._data(key, task, node, node_id), _owner(file.uid, ids), _owner(file.gid, ids), file.mode & 0o7777)
            for name, (key, file) in zip(_names(task.spec.container), _keyed(task.spec.container), strict=True)
        )

    def _data(self, key: str, task: Task, node: NodeDescription, node_id: str) -> bytes:
        spec = self._specs[key]
        if not spec.templating:
            return spec.data
        try:
            return self._expanded(spec, task, node, node_id)
        except (TemplateError, InvalidArgument) as error:
            word, _, id_ = key.partition("/")
            raise InvalidArgument(f"unable to get {word} from {word} store: failed to expand templated {word} {id_}: {error}") from error

    def _expanded(self, spec: DependencySpec, task: Task, node: NodeDescription, node_id: str) -> bytes:
        """Raises InvalidArgument, TemplateError."""
        if spec.templating != GOLANG:
            raise InvalidArgument("unrecognized template type")
        container = task.spec.container
        context = placeholders.context(task, node, node_id)
        env = dict(entry.partition("=")[::2] for entry in placeholders.expanded(container, context).env)

        def of(files: tuple[DependencyFile, ...], prefix: str, word: str, target: str) -> str:
            found = next((self._specs.get(f"{prefix}/{file.id}") for file in files if file.target == target), None)
            if found is None:
                raise InvalidArgument(f"{word} target {target} not found")
            return found.data.decode(errors="surrogateescape")

        functions = {
            "env": lambda name: env.get(name, ""),
            "secret": lambda target: of(container.secrets, "secret", "secret", target),
            "config": lambda target: of(container.configs, "config", "config", target),
        }
        template = Template(spec.data.decode(errors="surrogateescape"), tuple(functions))
        expanded = template.render(context, functions=functions).encode(errors="surrogateescape")
        if len(expanded) > EXPANDED_LIMIT_BYTES:
            raise InvalidArgument(f"it is larger than {EXPANDED_LIMIT_BYTES} bytes then")
        return expanded


def places(spec: ContainerSpec) -> Pairs:
    """(path in the container, name of the file that is bound there)."""
    where = (*(join(SECRETS_FOLDER, file.target) for file in spec.secrets), *(join("/", file.target) for file in spec.configs))
    return tuple(zip(where, _names(spec), strict=True))


def _names(spec: ContainerSpec) -> tuple[str, ...]:
    return (*(f"secret-{n}" for n in range(len(spec.secrets))), *(f"config-{n}" for n in range(len(spec.configs))))


def _keyed(spec: ContainerSpec) -> tuple[tuple[str, DependencyFile], ...]:
    return (*((f"secret/{file.id}", file) for file in spec.secrets), *((f"config/{file.id}", file) for file in spec.configs))


def _owner(text: str, ids: IdRange | None) -> int:
    """As the host has it."""
    if not (text.isascii() and text.isdigit()) or int(text) >= (ids.count if ids is not None else 1 << 32):
        raise InvalidArgument(f"invalid owner of a secret or config: {text}")
    return int(text) + (ids.base if ids is not None else 0)
