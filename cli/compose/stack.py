"""A stack as its Compose files mean it: read, substituted, checked, written out in long forms, extended and merged. Pure but for the files that it reads.

Owns the order of these steps, and the errors' places; never talks to a daemon. Source: docker/cli's cli/compose/loader and cli/command/stack/loader.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cli.compose import longforms, merging, schema
from cli.compose.interpolation import interpolated
from cli.compose.longforms import Value, Wrong
from cli.compose.ports import parse_port
from cli.compose.source import ComposeError, Document, Path, dotted, parse, place_in
from cli.env_files import lines_of
from cli.failures import CliFailure
from cluster.model.errors import InvalidArgument
from cluster.model.reference import parse as parse_reference

Read = Callable[[str], bytes]
VERSION: Final = "3.13"
_VERSIONS: Final = frozenset({"", "3", *(f"3.{minor}" for minor in range(14))})
MAX_EXTENDED: Final = 20
"""Services that extend one another."""

UNSUPPORTED: Final = (
    "build", "cgroupns_mode", "cgroup_parent", "devices", "domainname", "external_links", "ipc", "links", "mac_address", "network_mode", "pid", "privileged",
    "restart", "security_opt", "shm_size", "userns_mode",
)  # fmt: skip
DEPRECATED: Final[Mapping[str, str]] = {
    "container_name": "Setting the container name is not supported.",
    "expose": "Exposing ports is unnecessary - services on the same network can access each other's containers on any port.",
}
_RESOURCES: Final = "Set resource limits using deploy.resources"
_OWN_VOLUME: Final = "define a volume using the top-level `volumes` option and"
FORBIDDEN: Final[Mapping[str, str]] = {
    "volume_driver": f"Instead of setting the volume driver on the service, {_OWN_VOLUME} specify the driver there.",
    "volumes_from": "To share a volume between services, define it using the top-level `volumes` option and reference it from each service that shares it "
    "using the service-level `volumes` option.",
    **dict.fromkeys(("cpu_quota", "cpu_shares", "cpuset", "mem_limit", "memswap_limit"), _RESOURCES),
}


@dataclass(frozen=True, slots=True)
class Stack:
    """Each section by name, in long forms. `warnings`: whole sentences; `unsupported`, `deprecated`: keys that were given for nothing."""

    version: str
    services: Mapping[str, Value]
    networks: Mapping[str, Value] = field(default_factory=dict)
    volumes: Mapping[str, Value] = field(default_factory=dict)
    secrets: Mapping[str, Value] = field(default_factory=dict)
    configs: Mapping[str, Value] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)
    documents: tuple[Document, ...] = ()
    warnings: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    deprecated: tuple[str, ...] = ()

    def wrong(self, text: str, *path: str | int) -> ComposeError:
        """An error at a place of the files."""
        return ComposeError(text, place_in(self.documents, path))


@dataclass(frozen=True, slots=True)
class Settings:
    """`folder`: that of the first file. `environment`: what is substituted, if `interpolate`. `read`: the bytes of a file, raises OSError."""

    folder: str
    environment: Mapping[str, str]
    read: Read
    interpolate: bool = True


def load(files: Sequence[tuple[str, bytes]], settings: Settings) -> Stack:
    """The stack that the files, each laid over those before it, describe. Raises ComposeError."""
    loaded = [_load_one(parse(name, data), settings) for name, data in files]
    stack = loaded[0]
    for other in loaded[1:]:
        if other.version != stack.version:
            raise ComposeError(f"version mismatched between two composefiles : {stack.version} and {other.version}", other.documents[0].place(("version",)))
        stack = _over(stack, other)
    active = set(settings.environment.get("COMPOSE_PROFILES", "").split(","))
    services = {name: one for name, one in stack.services.items() if not one.get("profiles") or active & {"*", *one["profiles"]}}
    return replace(stack, services=services)


def check_images(stack: Stack) -> None:
    """Raises ComposeError for a service without an image that can be one."""
    for name, service in stack.services.items():
        image = service.get("image", "")
        try:
            if not image:
                raise InvalidArgument("no image specified")
            parse_reference(image)
        except InvalidArgument as e:
            raise stack.wrong(f"invalid image reference for service {name}: {e.message}", "services", name, "image") from e


def _over(stack: Stack, other: Stack) -> Stack:
    return Stack(
        stack.version,
        merging.services(stack.services, other.services),
        {**stack.networks, **other.networks},
        {**stack.volumes, **other.volumes},
        {**stack.secrets, **other.secrets},
        {**stack.configs, **other.configs},
        stack.extras,
        (*stack.documents, *other.documents),
        (*stack.warnings, *other.warnings),
        tuple(sorted({*stack.unsupported, *other.unsupported})),
        tuple(sorted({*stack.deprecated, *other.deprecated})),
    )


def _load_one(document: Document, settings: Settings) -> Stack:
    version = document.value.get("version", "")
    _refuse_forbidden(document)
    value = interpolated(document, settings.environment) if settings.interpolate else dict(document.value)
    if isinstance(version, str) and version not in _VERSIONS:
        raise ComposeError(f"unsupported Compose file version: {version}", document.place(("version",)))
    schema.check(document, value)
    sections = {name: value.get(name) or {} for name in ("services", "networks", "volumes", "secrets", "configs")}
    extending = _Extending(settings)
    services = {name: extending.service(document, value, name) for name in sections["services"]}
    given = {key for one in sections["services"].values() for key in one}
    warnings = _ignored_addresses(sections["services"])
    objects: dict[str, dict[str, Value]] = {}
    for word, section, keys in (
        ("network", "networks", longforms.NETWORK_KEYS), ("volume", "volumes", longforms.VOLUME_KEYS), ("secret", "secrets", longforms.FILE_KEYS),
        ("config", "configs", longforms.FILE_KEYS),
    ):  # fmt: skip
        objects[section] = {}
        for name, raw in sorted(sections[section].items()):
            made, warning = _object(document, word, name, raw or {}, keys, settings)
            objects[section][name] = made
            warnings += warning
    return Stack(
        VERSION if version in ("", "3") else version,
        dict(sorted(services.items())),
        **objects,
        extras={key: item for key, item in sorted(value.items()) if key.startswith("x-")},
        documents=(document, *extending.documents),
        warnings=tuple(warnings),
        unsupported=tuple(key for key in UNSUPPORTED if key in given),
        deprecated=tuple(key for key in DEPRECATED if key in given),
    )


def _refuse_forbidden(document: Document) -> None:
    services = document.value.get("services")
    for name, one in services.items() if isinstance(services, dict) else ():
        found = {key: FORBIDDEN[key] for key in sorted(one) if key in FORBIDDEN} if isinstance(one, dict) else {}
        if found:
            listed = "\n\n".join(f"{key}: {text}" for key, text in found.items())
            place = document.place(("services", name, next(iter(found))))
            raise ComposeError(f"compose file contains unsupported options:\n\n{listed}\n", place)


def _ignored_addresses(services: Mapping[str, Any]) -> list[str]:
    texts = [port for one in services.values() for port in one.get("ports") or () if isinstance(port, str)]
    return [
        f"ignoring IP-address ({text if '/' in text else text + '/tcp'}) service will listen on '0.0.0.0'" for text in texts if parse_port(text).address
    ]


class _Extending:
    """The services of one file in long forms, each after what it extends. `documents`: other files that were read for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._chain: list[tuple[str, str]] = []
        self.documents: list[Document] = []

    def service(self, document: Document, value: Mapping[str, Any], name: str, folder: str = "") -> Value:
        raw = dict((value.get("services") or {})[name] or {})
        extends = raw.pop("extends", None)
        folder = folder or self._settings.folder
        path: Path = ("services", name)
        try:
            own = _with_files(longforms.service(raw, folder, self._settings.environment), folder, self._settings)
        except Wrong as e:
            at = (*path, *e.key)
            raise ComposeError(str(e) if e.whole else f"{dotted(at)} {e}", document.place(at)) from e
        if extends is None:
            return own
        if (document.name, name) in self._chain or len(self._chain) >= MAX_EXTENDED:
            raise ComposeError(f"service {name} extends itself", document.place((*path, "extends")))
        self._chain.append((document.name, name))
        base = self._base({"service": extends} if isinstance(extends, str) else extends, document, value, (*path, "extends"), folder)
        self._chain.pop()
        return merging.service(base, own)

    def _base(self, extends: Mapping[str, str], document: Document, value: Mapping[str, Any], path: Path, folder: str) -> Value:
        wanted = extends["service"]
        if "file" in extends:
            name = longforms.resolved(extends["file"], folder)
            try:
                document = parse(name, self._settings.read(name))
            except OSError as e:
                raise ComposeError(f"open {name}: {(e.strerror or str(e)).lower()}", document.place(path)) from e
            _refuse_forbidden(document)
            value = interpolated(document, self._settings.environment) if self._settings.interpolate else document.value
            schema.check(document, value)
            self.documents.append(document)
            folder = posixpath.dirname(name)
        if wanted not in (value.get("services") or {}):
            raise ComposeError(f'cannot extend service "{wanted}" in {document.name}: service not found', document.place(path))
        return self.service(document, value, wanted, folder)


def _with_files(service: Value, folder: str, settings: Settings) -> Value:
    """Its environment, with that of its files, and of ours where a name has no value. Raises Wrong."""
    environment: dict[str, str | None] = {}
    for number, one in enumerate(service.get("env_file", ())):
        path = longforms.resolved(one if isinstance(one, str) else one["path"], folder)
        try:
            lines = lines_of(path, settings.read(path))
        except OSError as e:
            if isinstance(e, FileNotFoundError) and isinstance(one, dict):
                continue  # it was said that it need not be there
            raise Wrong(f"open {path}: {(e.strerror or str(e)).lower()}", "env_file", number, whole=True) from e
        except CliFailure as e:
            raise Wrong(e.message, "env_file", number, whole=True) from e
        found = longforms.optional_pairs(lines)
        environment.update({key: value for key, value in found.items() if value is not None or key in settings.environment})
    environment.update(service.get("environment") or {})
    known = settings.environment
    values = {key: known[key] if not value and key in known else value for key, value in sorted(environment.items())}
    return longforms.struct({**service, "environment": values}, longforms.SERVICE_KEYS)


def _object(document: Document, word: str, name: str, raw: Mapping[str, Any], keys: Sequence[str], settings: Settings) -> tuple[Value, list[str]]:
    """A network, volume, secret or config in its long form, and what there is to warn of. Raises ComposeError."""
    made = dict(raw)
    path: Path = (f"{word}s", name)
    for key in ("labels", "driver_opts"):
        if made.get(key):
            made[key] = longforms.pairs(made[key])
    warnings = []
    external = made.get("external")
    if isinstance(external, dict):
        made["external"] = True
        if external.get("name"):
            if made.get("name"):
                raise ComposeError(f"{word} {name}: {word}.external.name and {word}.name conflict; only use {word}.name", document.place((*path, "name")))
            warnings.append(f"{word} {name}: {word}.external.name is deprecated in favor of {word}.name")
            made["name"] = external["name"]
    if made.get("external"):
        refused = next((key for key in ("driver", "driver_opts", "labels") if word == "volume" and made.get(key)), "")
        if refused:
            raise ComposeError(f'conflicting parameters "external" and "{refused}" specified for volume "{name}"', document.place((*path, refused)))
        made["name"] = made.get("name") or name
    elif word in ("secret", "config"):
        _place_content(document, word, name, made, settings)
    return longforms.struct(made, keys), warnings


def _place_content(document: Document, word: str, name: str, made: Value, settings: Settings) -> None:
    given = [key for key in ("driver", "file", "content", "environment") if made.get(key) is not None]
    if len(given) > 1:
        text = f"{word} {name}: {word}.{given[0]} and {word}.{given[1]} conflict; only use {word}.{given[0]}"
        raise ComposeError(text, document.place((f"{word}s", name, given[1])))
    if not given or given == ["file"]:
        made["file"] = longforms.resolved(made.get("file", ""), settings.folder)
