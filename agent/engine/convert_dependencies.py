"""Secrets and configs, and how a service refers to them, between the API's JSON and our values. Pure.

Source: the Engine API's SecretSpec, ConfigSpec and ContainerSpec, version 1.51.
"""

from __future__ import annotations

import base64

from agent.engine.convert import Json, filled, mapping, meta_json
from agent.engine.fields import Fields
from cluster.model.errors import InvalidArgument, NotFound
from cluster.model.objects import Config, Secret
from cluster.model.specs import DependencyFile, DependencySpec

ALL_MODES = 0o7777


def spec_of(fields: Fields) -> DependencySpec:
    """Raises InvalidArgument, NotFound for a driver: they are plugins."""
    fields.section("Driver").pairs("Options")
    if driver := fields.section("Driver").text("Name"):
        raise NotFound(f'plugin "{driver}" not found')
    templating = fields.section("Templating")
    try:
        data = base64.b64decode(fields.text("Data"), validate=True)
    except ValueError as error:
        raise InvalidArgument(f"invalid JSON: Data must be base64: {error}") from error
    return DependencySpec(fields.text("Name"), fields.pairs("Labels"), data, templating.text("Name"), templating.pairs("Options"))


def dependency_json(value: Secret | Config) -> Json:
    """A secret comes without its data."""
    spec = value.spec
    shown: Json = {"Name": spec.name, "Labels": mapping(spec.labels)}
    if spec.data:
        shown["Data"] = base64.b64encode(spec.data).decode()
    if spec.templating:
        shown["Templating"] = filled({"Name": spec.templating, "Options": mapping(spec.templating_options)})
    return {"ID": value.id, **meta_json(value.meta), "Spec": shown}


def files_of(fields: Fields, kind: str) -> tuple[DependencyFile, ...]:
    """`kind`: Secret or Config. Raises InvalidArgument."""
    return tuple(_file_of(item, kind) for item in fields.objects(f"{kind}s"))


def _file_of(item: Fields, kind: str) -> DependencyFile:
    if item.has("Runtime"):
        raise InvalidArgument("credential specs are for Windows containers: a config can only be a file here")
    file = item.section("File")
    mode = file.natural("Mode")
    if mode > ALL_MODES:
        raise InvalidArgument(f"invalid mode of {kind.lower()} {item.text(f'{kind}Name')}: {mode:o}")
    owner = (file.text("UID") or "0", file.text("GID") or "0")
    return DependencyFile(item.text(f"{kind}ID"), item.text(f"{kind}Name"), file.text("Name"), *owner, mode)


def files_json(files: tuple[DependencyFile, ...], kind: str) -> list[Json]:
    return [
        {"File": {"Name": file.target, "UID": file.uid, "GID": file.gid, "Mode": file.mode}, f"{kind}ID": file.id, f"{kind}Name": file.name}
        for file in files
    ]
