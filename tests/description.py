"""The Engine API's description (version 1.51, the form of Swagger 2) for those tests that hold answers against it. It lies beside the checkout and is
not Festoon's to give away: without it these tests skip."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[1].parent / "shared" / "data" / "engine-api-1.51.json"
NEEDED = pytest.mark.skipif(not PATH.exists(), reason="the Engine API's description is not beside this checkout")
METHODS = ("get", "head", "post", "put", "delete")
Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Operation:
    """One method of one path. `answers`: the schema by status, None where the description has none."""

    method: str
    path: str
    parameters: tuple[Mapping[str, Any], ...]
    answers: Mapping[int, Schema | None]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def pattern(self) -> re.Pattern[str]:
        """Names of images have slashes."""
        several = self.path.startswith(("/images/", "/distribution/"))
        return re.compile(r"(?:/v[\d.]+)?" + re.sub(r"\{\w+\}", ".+" if several else "[^/]+", re.escape(self.path).replace(r"\{", "{").replace(r"\}", "}")))


@cache
def _whole() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PATH.read_text())
    return found


@cache
def operations() -> tuple[Operation, ...]:
    """Those without a name in their path first, so that the first one that fits is the right one."""
    found = [
        Operation(method.upper(), path, tuple(body.get("parameters", ())), {int(status): answer.get("schema") for status, answer in body["responses"].items()})
        for path, methods in _whole()["paths"].items()
        for method, body in methods.items()
        if method in METHODS
    ]
    return tuple(sorted(found, key=lambda operation: operation.path.count("{")))


def find(method: str, path: str) -> Operation | None:
    """The operation of a request's path (with its version or without)."""
    return next((operation for operation in operations() if operation.method == method and operation.pattern.fullmatch(path)), None)


@cache
def definitions() -> dict[str, Any]:
    """As the description has them."""
    found: dict[str, Any] = _whole()["definitions"]
    return found


@cache
def strict() -> dict[str, Any]:
    """The definitions as JSON schemas."""
    return {name: json_schema(schema) for name, schema in definitions().items()}


def json_schema(schema: Any) -> Any:
    """Swagger 2 to JSON schema: `x-nullable` becomes a choice with null; so do lists and maps, which Docker's daemon sends as null when they are
    empty, whatever the description says."""
    if isinstance(schema, list):
        return [json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: json_schema(value) for key, value in schema.items() if key not in ("x-nullable", "format")}
    nullable = schema.get("x-nullable") is True or schema.get("type") == "array" or "additionalProperties" in schema
    return {"anyOf": [out, {"type": "null"}]} if nullable else out


def target(schema: Schema) -> tuple[Schema, str]:
    """What a reference means, and its name; any other schema itself, without one."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return (definitions()[name], name) if name else (schema, "")


def documented(schema: Schema, where: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """Every field that a value of the schema may have: `Definition.Field`, `Definition.Field.Inner`, `Definition.Field[].Inner`."""
    schema, name = target(schema)
    if name in seen:
        return
    where, seen = name or where, seen | {name} - {""}
    for part in schema.get("allOf", ()):
        yield from documented(part, where, seen)
    for field, inner in schema.get("properties", {}).items():
        yield f"{where}.{field}"
        yield from documented(inner, f"{where}.{field}", seen)
    for inner, mark in ((schema.get("items"), "[]"), (schema.get("additionalProperties"), ".*")):
        if isinstance(inner, dict):
            yield from documented(inner, where + mark, seen)


def present(schema: Schema, value: object, where: str) -> Iterator[str]:
    """Which of those a value has."""
    schema, name = target(schema)
    where = name or where
    for part in schema.get("allOf", ()):
        yield from present(part, value, where)
    if isinstance(value, dict):
        for field, inner in schema.get("properties", {}).items():
            if field in value:
                yield f"{where}.{field}"
                yield from present(inner, value[field], f"{where}.{field}")
        if isinstance(every := schema.get("additionalProperties"), dict):
            for each in value.values():
                yield from present(every, each, f"{where}.*")
    if isinstance(value, list) and "items" in schema:
        for each in value:
            yield from present(schema["items"], each, f"{where}[]")
