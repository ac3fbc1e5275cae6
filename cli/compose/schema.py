"""Which keys a Compose file may have and of what type their values are: a table, and what is said of a file that doesn't fit. Pure.

Owns the words, which are those that docker's client makes of JSON schema's. Source: docker/cli's config_schema_v3.13.json, and the Compose Specification
where it goes further and swarm mode can follow (`extends`, `depends_on` with conditions, `profiles`, `env_file` with `required`, `content` and `environment`
of secrets and configs, numbers for processors and memory, texts for published ports).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cli import units
from cli.compose.ports import parse_port
from cli.compose.source import ComposeError, Document, Path, dotted

Shape = Any
"""One of Of, Items, Keys, and tuples of them: any one of these."""

_NAMES: Final = re.compile(r"[a-zA-Z0-9._-]+")
_TYPES: Final = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
_TYPE_NAMES: Final = {"object": "mapping", "array": "list"}


@dataclass(frozen=True, slots=True)
class Of:
    """A scalar of one of these types. `format`: raises ValueError for a text that is none. `natural`: none below zero."""

    types: tuple[str, ...]
    format: Callable[[str], Any] | None = None
    format_name: str = ""
    choices: tuple[str, ...] = ()
    natural: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    item: Shape
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Keys:
    """A mapping. `rest`: of keys that are not named (None: there are none but those that begin with x-). `open`: any others are let pass."""

    named: Mapping[str, Shape] = field(default_factory=dict)
    rest: Shape = None
    required: tuple[str, ...] = ()
    open: bool = False
    nullable: bool = False
    names: re.Pattern[str] = _NAMES


@dataclass(frozen=True, slots=True)
class _Problem:
    path: Path
    text: str
    of_type: bool = False


TEXT: Final = Of(("string",))
NUMBER: Final = Of(("number",))
WHOLE: Final = Of(("integer",))
NATURAL: Final = Of(("number",), natural=True)
COUNT: Final = Of(("integer",), natural=True)
TRUTH: Final = Of(("boolean",))
TEXT_OR_NUMBER: Final = Of(("string", "number"))
DURATION: Final = Of(("string",), units.parse_duration, "duration")
TEXTS: Final = Items(TEXT, unique=True)
TEXT_OR_TEXTS: Final = (TEXT, Items(TEXT))
_VALUE: Final = Of(("string", "number", "boolean", "null"))
PAIRS: Final = (Keys(rest=_VALUE, names=re.compile(r".+")), Items(TEXT))
OPTIONS: Final = Keys(rest=Of(("string", "number", "null")), names=re.compile(r".+"))
COMMAND: Final = (TEXT, Items(TEXT))
FILE: Final = Items((TEXT, Keys({"source": TEXT, "target": TEXT, "uid": TEXT, "gid": TEXT, "mode": NUMBER}, open=True)))
UPDATE: Final = Keys(
    {
        "parallelism": COUNT, "delay": DURATION, "failure_action": TEXT, "monitor": DURATION, "max_failure_ratio": NUMBER,
        "order": Of(("string",), choices=("start-first", "stop-first")),
    }
)  # fmt: skip
DEPLOY: Final = Keys(
    {
        "mode": TEXT,
        "endpoint_mode": TEXT,
        "replicas": COUNT,
        "labels": PAIRS,
        "rollback_config": UPDATE,
        "update_config": UPDATE,
        "resources": Keys(
            {
                "limits": Keys({"cpus": TEXT_OR_NUMBER, "memory": TEXT_OR_NUMBER, "pids": WHOLE}),
                "reservations": Keys(
                    {
                        "cpus": TEXT_OR_NUMBER,
                        "memory": TEXT_OR_NUMBER,
                        "generic_resources": Items(Keys({"discrete_resource_spec": Keys({"kind": TEXT, "value": NUMBER})})),
                    }
                ),
            }
        ),
        "restart_policy": Keys({"condition": TEXT, "delay": DURATION, "max_attempts": COUNT, "window": DURATION}),
        "placement": Keys({"constraints": Items(TEXT), "preferences": Items(Keys({"spread": TEXT})), "max_replicas_per_node": COUNT}),
    },
    nullable=True,
)
HEALTH: Final = Keys(
    {
        "disable": TRUTH, "interval": DURATION, "retries": NATURAL, "test": COMMAND, "timeout": DURATION, "start_period": DURATION, "start_interval": DURATION,
    }
)  # fmt: skip
PORTS: Final = Items(
    (
        NUMBER,
        Of(("string",), parse_port, "ports"),
        Keys({"mode": TEXT, "target": WHOLE, "published": Of(("integer", "string")), "protocol": TEXT, "name": TEXT, "app_protocol": TEXT}),
    ),
    unique=True,
)
VOLUMES: Final = Items(
    (
        TEXT,
        Keys(
            {
                "type": TEXT, "source": TEXT, "target": TEXT, "read_only": TRUTH, "consistency": TEXT, "bind": Keys({"propagation": TEXT}, open=True),
                "volume": Keys({"nocopy": TRUTH}, open=True), "tmpfs": Keys({"size": Of(("integer", "string"))}, open=True), "cluster": Keys(open=True),
            },
            required=("type",),
        ),
    ),
)  # fmt: skip
DEPENDS_ON: Final = (
    TEXTS,
    Keys(
        rest=Keys(
            {
                "condition": Of(("string",), choices=("service_started", "service_healthy", "service_completed_successfully")),
                "restart": TRUTH,
                "required": TRUTH,
            }
        )
    ),
)
SERVICE: Final = Keys(
    {
        "build": (TEXT, Keys(open=True)),
        "cap_add": TEXTS,
        "cap_drop": TEXTS,
        "command": COMMAND,
        "configs": FILE,
        "credential_spec": Keys({"config": TEXT, "file": TEXT, "registry": TEXT}),
        "depends_on": DEPENDS_ON,
        "deploy": DEPLOY,
        "devices": TEXTS,
        "dns": TEXT_OR_TEXTS,
        "dns_search": TEXT_OR_TEXTS,
        "entrypoint": COMMAND,
        "env_file": (TEXT, Items((TEXT, Keys({"path": TEXT, "required": TRUTH}, required=("path",))))),
        "environment": PAIRS,
        "expose": Items(TEXT_OR_NUMBER, unique=True),
        "extends": (TEXT, Keys({"service": TEXT, "file": TEXT}, required=("service",))),
        "external_links": TEXTS,
        "extra_hosts": PAIRS,
        "group_add": Items(TEXT_OR_NUMBER, unique=True),
        "healthcheck": HEALTH,
        "init": TRUTH,
        "labels": PAIRS,
        "links": TEXTS,
        "logging": Keys({"driver": TEXT, "options": OPTIONS}),
        "networks": (
            TEXTS,
            Keys(rest=Keys({"aliases": TEXTS, "driver_opts": OPTIONS, "ipv4_address": TEXT, "ipv6_address": TEXT}, nullable=True)),
        ),
        "oom_score_adj": WHOLE,
        "pid": Of(("string", "null")),
        "ports": PORTS,
        "privileged": TRUTH,
        "profiles": TEXTS,
        "read_only": TRUTH,
        "secrets": FILE,
        "security_opt": TEXTS,
        "shm_size": TEXT_OR_NUMBER,
        "stdin_open": TRUTH,
        "stop_grace_period": DURATION,
        "sysctls": PAIRS,
        "tmpfs": TEXT_OR_TEXTS,
        "tty": TRUTH,
        "ulimits": Keys(
            rest=(WHOLE, Keys({"hard": WHOLE, "soft": WHOLE}, required=("soft", "hard"))), names=re.compile(r"[a-z]+"), open=True
        ),
        "volumes": VOLUMES,
        **dict.fromkeys(
            (
                "cgroup_parent", "cgroupns_mode", "container_name", "domainname", "hostname", "image", "ipc", "isolation", "mac_address", "network_mode",
                "restart", "stop_signal", "user", "userns_mode", "working_dir",
            ),
            TEXT,
        ),
    }
)  # fmt: skip
_EXTERNAL: Final = (TRUTH, Keys({"name": TEXT}))
NETWORK: Final = Keys(
    {
        "name": TEXT, "driver": TEXT, "driver_opts": OPTIONS,
        "ipam": Keys({"driver": TEXT, "config": Items(Keys({"subnet": TEXT}))}),
        "external": _EXTERNAL, "internal": TRUTH, "attachable": TRUTH, "labels": PAIRS,
    },
    nullable=True,
)  # fmt: skip
VOLUME: Final = Keys({"name": TEXT, "driver": TEXT, "driver_opts": OPTIONS, "external": _EXTERNAL, "labels": PAIRS}, nullable=True)
_FILE_OBJECT: Final[Mapping[str, Shape]] = {
    "name": TEXT, "file": TEXT, "content": TEXT, "environment": TEXT, "external": _EXTERNAL, "labels": PAIRS, "driver": TEXT, "driver_opts": OPTIONS,
    "template_driver": TEXT,
}  # fmt: skip
TOP: Final = Keys(
    {
        "version": TEXT,
        "name": TEXT,
        "services": Keys(rest=SERVICE),
        "networks": Keys(rest=NETWORK, open=True),
        "volumes": Keys(rest=VOLUME),
        "secrets": Keys(rest=Keys(_FILE_OBJECT)),
        "configs": Keys(rest=Keys(_FILE_OBJECT)),
    }
)


def check(document: Document, value: Mapping[str, Any]) -> None:
    """`value`: the document's, substituted. Raises ComposeError for the most specific problem, as docker does."""
    worst: _Problem | None = None
    for problem in _problems(TOP, value, ()):
        depth, known = len(problem.path), -1 if worst is None else len(worst.path)
        if depth > known or (depth == known and problem.of_type and worst is not None and not worst.of_type):
            worst = problem
    if worst is not None:
        raise ComposeError(f"{dotted(worst.path)} {worst.text}", document.place(_pointed(worst)))


def _pointed(problem: _Problem) -> Path:
    """The key itself, where it is one that must not be there."""
    match = re.fullmatch(r"Additional property (.+) is not allowed", problem.text)
    return (*problem.path, match[1]) if match else problem.path


def _problems(shape: Shape, value: Any, path: Path) -> Iterator[_Problem]:
    if isinstance(shape, tuple):
        chosen = next((one for one in shape if _is(value, _types(one))), None)
        if chosen is None:
            yield _of_type(shape[0], path)
        else:
            yield from _problems(chosen, value, path)
    elif not _is(value, _types(shape)):
        yield _of_type(shape, path)
    elif isinstance(shape, Of):
        yield from _scalar_problems(shape, value, path)
    elif isinstance(shape, Items):
        yield from _list_problems(shape, value, path)
    elif value is not None:
        yield from _mapping_problems(shape, value, path)


def _scalar_problems(shape: Of, value: Any, path: Path) -> Iterator[_Problem]:
    if shape.choices and value not in shape.choices:
        listed = ", ".join(f'"{choice}"' for choice in shape.choices)
        yield _Problem(path, f"{dotted(path)} must be one of the following: {listed}")
    if shape.natural and value < 0:
        yield _Problem(path, f"{value} overflows uint")
    if shape.format is not None:
        try:
            shape.format(value)
        except ValueError:
            yield _Problem(path, f"Does not match format '{shape.format_name}'")


def _list_problems(shape: Items, value: list[Any], path: Path) -> Iterator[_Problem]:
    for number, item in enumerate(value):
        if shape.unique and item in value[:number]:
            yield _Problem(path, f"array items[{value.index(item)},{number}] must be unique")
        yield from _problems(shape.item, item, (*path, number))


def _mapping_problems(shape: Keys, value: Mapping[str, Any], path: Path) -> Iterator[_Problem]:
    for key in shape.required:
        if key not in value:
            yield _Problem(path, f"{key} is required")
    for key, item in value.items():
        if key in shape.named:
            yield from _problems(shape.named[key], item, (*path, key))
        elif shape.rest is not None and shape.names.fullmatch(key):
            yield from _problems(shape.rest, item, (*path, key))
        elif not shape.open and not key.startswith("x-"):
            yield _Problem(path, f"Additional property {key} is not allowed")


def _types(shape: Shape) -> tuple[str, ...]:
    if isinstance(shape, Of):
        return shape.types
    if isinstance(shape, Items):
        return ("array",)
    return ("object", "null") if shape.nullable else ("object",)


def _is(value: Any, types: tuple[str, ...]) -> bool:
    found = "null" if value is None else "boolean" if isinstance(value, bool) else _TYPES.get(type(value), "object")
    return found in types or (found == "integer" and "number" in types)



def _of_type(shape: Shape, path: Path) -> _Problem:
    names = [_TYPE_NAMES.get(name, name) for name in _types(shape)]
    text = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]
    return _Problem(path, f"must be a {text}", of_type=True)
