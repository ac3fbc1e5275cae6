"""Reading members of a JSON object with their types checked. Pure. Every mistake is one sentence that names the member."""

from __future__ import annotations

from runtime.child.faults import Refused
from runtime.oci.values import Json


def text(source: Json, name: str, where: str, default: str = "") -> str:
    value = source.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or "\0" in value:
        raise Refused(f"config.json: {where}{name} must be a string")
    return value


def flag(source: Json, name: str, where: str) -> bool:
    value = source.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Refused(f"config.json: {where}{name} must be true or false")
    return value


def number(source: Json, name: str, where: str, default: int = 0) -> int:
    value = optional_number(source, name, where)
    return default if value is None else value


def optional_number(source: Json, name: str, where: str) -> int | None:
    value = source.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(f"config.json: {where}{name} must be an integer")
    return value


def texts(source: Json, name: str, where: str) -> tuple[str, ...]:
    value = source.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
        raise Refused(f"config.json: {where}{name} must be a list of strings")
    return tuple(value)


def numbers(source: Json, name: str, where: str) -> tuple[int, ...]:
    value = source.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        raise Refused(f"config.json: {where}{name} must be a list of integers")
    return tuple(value)


def part(source: Json, name: str, where: str) -> Json:
    """An object; an empty one where the member is missing."""
    value = source.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"config.json: {where}{name} must be an object")
    return value


def parts(source: Json, name: str, where: str) -> list[Json]:
    value = source.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Refused(f"config.json: {where}{name} must be a list of objects")
    return value


def pairs(source: Json, name: str, where: str) -> dict[str, str]:
    found = part(source, name, where)
    result: dict[str, str] = {}
    for key, value in found.items():
        if not isinstance(value, str):
            raise Refused(f"config.json: {where}{name}.{key} must be a string")
        result[key] = value
    return result
