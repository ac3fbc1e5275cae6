"""`$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?message}`, `${NAME:+value}` and `$$` in a Compose file. Pure: the environment comes in.

Owns the substitution, and the types that a substituted text is read as where the format wants no text. Source: docker/cli's cli/compose/template and
interpolate.go; `:+`, `+` and defaults with variables in them are the Compose Specification's (12-interpolation.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from cli.compose.source import ComposeError, Document, Path, dotted

MAX_NESTED: Final = 10
"""Defaults within defaults."""

_NAME: Final = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_OPERATORS: Final = (":-", "-", ":?", "?", ":+", "+")
_INTERPOLATED: Final = ("services", "volumes", "networks", "secrets", "configs")
_ANY: Final = None
_INTEGERS: Final = (
    ("configs", _ANY, "mode"), ("secrets", _ANY, "mode"), ("healthcheck", "retries"), ("deploy", "replicas"), ("deploy", "update_config", "parallelism"),
    ("deploy", "rollback_config", "parallelism"), ("deploy", "restart_policy", "max_attempts"), ("deploy", "placement", "max_replicas_per_node"),
    ("ports", _ANY, "target"), ("ports", _ANY, "published"), ("ulimits", _ANY), ("ulimits", _ANY, "hard"), ("ulimits", _ANY, "soft"),
    ("deploy", "resources", "limits", "pids"), ("oom_score_adj",),
)  # fmt: skip
_FLOATS: Final = (("deploy", "update_config", "max_failure_ratio"), ("deploy", "rollback_config", "max_failure_ratio"))
_BOOLEANS: Final = (
    ("healthcheck", "disable"), ("privileged",), ("read_only",), ("stdin_open",), ("tty",), ("init",), ("volumes", _ANY, "read_only"),
    ("volumes", _ANY, "volume", "nocopy"),
)  # fmt: skip
_TOP_BOOLEANS: Final = tuple((section, _ANY, key) for section in _INTERPOLATED[1:] for key in ("external", "internal", "attachable"))
_TRUTHS: Final = {"y": True, "yes": True, "true": True, "on": True, "n": False, "no": False, "false": False, "off": False}


class _Invalid(Exception):
    """A text that can't be substituted; the message is what docker quotes."""


def interpolated(document: Document, environment: Mapping[str, str]) -> dict[str, Any]:
    """The file's value, substituted. Raises ComposeError."""
    return {
        key: _walk(document, value, (key,), environment) if key in _INTERPOLATED else value for key, value in document.value.items()
    }


def _walk(document: Document, value: Any, path: Path, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _walk(document, item, (*path, key), environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_walk(document, item, (*path, number), environment) for number, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        text = substituted(value, environment)
    except _Invalid as e:
        raise ComposeError(f'invalid interpolation format for {dotted(path)}: "{e}"; you may need to escape any $ with another $', document.place(path)) from e
    if text == value:
        return value
    try:
        return _cast(text, path)
    except ValueError as e:
        raise ComposeError(f"error while interpolating {dotted(path)}: failed to cast to expected type: {e}", document.place(path)) from e


def substituted(text: str, environment: Mapping[str, str], nested: int = 0) -> str:
    """Raises _Invalid."""
    made, at = [], 0
    while (dollar := text.find("$", at)) >= 0:
        made.append(text[at:dollar])
        rest = text[dollar + 1 :]
        if rest.startswith("$"):
            made.append("$")
            at = dollar + 2
        elif rest.startswith("{"):
            end = _closing(rest)
            if end < 0 or nested > MAX_NESTED:
                raise _Invalid(text)
            made.append(_braced(rest[1:end], text, environment, nested))
            at = dollar + 1 + end + 1
        elif match := _NAME.match(rest):
            made.append(environment.get(match[0], ""))
            at = dollar + 1 + match.end()
        else:
            raise _Invalid(text)
    return "".join((*made, text[at:]))


def _closing(text: str) -> int:
    """Where the brace that `text` begins with is closed."""
    depth = 0
    for at, character in enumerate(text):
        if character == "{" and (at == 0 or text[at - 1] == "$"):
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return at
    return -1


def _braced(inner: str, text: str, environment: Mapping[str, str], nested: int) -> str:
    match = _NAME.match(inner)
    if match is None:
        raise _Invalid(text)
    name, rest = match[0], inner[match.end() :]
    value = environment.get(name)
    if not rest:
        return value or ""
    operator = next((o for o in _OPERATORS if rest.startswith(o)), "")
    if not operator:
        raise _Invalid(text)
    word = rest[len(operator) :]
    there = bool(value) if operator.startswith(":") else value is not None
    if operator.endswith("+"):
        return substituted(word, environment, nested + 1) if there else ""
    if there:
        return value or ""
    if operator.endswith("?"):
        raise _Invalid(f"required variable {name} is missing a value: {word}")
    return substituted(word, environment, nested + 1)


def _cast(text: str, path: Path) -> Any:
    """A substituted text where the format wants a number or a boolean. Raises ValueError in Go's words."""
    within = path[2:] if path[0] == "services" else ()
    if _among(within, _INTEGERS):
        try:
            return int(text)
        except ValueError:
            raise ValueError(f'strconv.Atoi: parsing "{text}": invalid syntax') from None
    if _among(within, _FLOATS):
        try:
            return float(text)
        except ValueError:
            raise ValueError(f'strconv.ParseFloat: parsing "{text}": invalid syntax') from None
    if _among(within, _BOOLEANS) or _among(path, _TOP_BOOLEANS):
        if text.lower() not in _TRUTHS:
            raise ValueError(f"invalid boolean: {text}")
        return _TRUTHS[text.lower()]
    return text


def _among(path: Path, patterns: tuple[tuple[str | None, ...], ...]) -> bool:
    return any(len(path) == len(p) and all(want is _ANY or want == got for want, got in zip(p, path, strict=True)) for p in patterns)
