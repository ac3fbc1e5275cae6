"""Compose files as they are written: YAML bytes to plain values, and the line on which each of them stands.

The one door to PyYAML, of which only the reading of nodes is used: what a plain scalar means is decided here, as Go's yaml.v3 decides it for docker (PyYAML
would make 22:22 a number of base 60 and `on` a boolean). Bounded: the size of a file, and of what its aliases stand for. Never opens a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from cli.failures import CliFailure

Path = tuple[str | int, ...]
MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_VALUES: Final = 200_000
"""Of one file with its aliases written out: a file of nested aliases (`a billion laughs`) is refused."""

MAX_DEPTH: Final = 100
_NULL: Final = re.compile(r"~|null|Null|NULL|")
_TRUE: Final = re.compile(r"true|True|TRUE")
_FALSE: Final = re.compile(r"false|False|FALSE")
_DECIMAL: Final = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_PREFIXED: Final = re.compile(r"([-+]?)0([xob])([0-9a-fA-F_]+)")
_OCTAL: Final = re.compile(r"([-+]?)0([0-7_]+)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_EXPONENT: Final = re.compile(rf"{_FLOAT.pattern}$")
_BASES: Final = {"x": 16, "o": 8, "b": 2}
_MERGE: Final = "<<"


class Place(NamedTuple):
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class ComposeError(CliFailure):
    """What is wrong with a Compose file, in docker's words where docker has them, after where it stands."""

    def __init__(self, text: str, place: Place | None = None) -> None:
        super().__init__(f"{place}: {text}" if place is not None else text)
        self.text = text


@dataclass(frozen=True, slots=True)
class Document:
    """One file. `lines`: of every key and item, by its path from the top."""

    name: str
    value: dict[str, Any]
    lines: Mapping[Path, int]

    def place(self, path: Path) -> Place:
        """Where a value stands, or the nearest thing around it that does."""
        while path not in self.lines and path:
            path = path[:-1]
        return Place(self.name, self.lines.get(path, 1))


def place_in(documents: Sequence[Document], path: Path) -> Place | None:
    """The last file that says something there, or nearest to it."""
    for length in range(len(path), 0, -1):
        for document in reversed(documents):
            if path[:length] in document.lines:
                return document.place(path[:length])
    return documents[-1].place(()) if documents else None


def parse(name: str, data: bytes) -> Document:
    """`name`: what errors call the file. Raises ComposeError."""
    import yaml  # late: only stacks pay for it

    if len(data) > MAX_FILE_BYTES:
        raise ComposeError(f"{name}: a Compose file may have at most {MAX_FILE_BYTES} bytes")
    try:
        root = _composed(data.decode(), [_knowing(base) for base in (getattr(yaml, "CSafeLoader", yaml.SafeLoader), yaml.SafeLoader)])
    except UnicodeDecodeError as e:
        raise ComposeError(f"{name}: yaml: invalid UTF-8") from e
    except RecursionError as e:
        raise ComposeError(f"{name}: yaml: exceeded max depth of {MAX_DEPTH}") from e
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = mark.line + 1 if mark is not None else 1
        said = ", ".join(part for part in (e.problem, e.context) if part)
        raise ComposeError(f"yaml: line {line}: {said}", Place(name, line)) from e
    except yaml.YAMLError as e:
        raise ComposeError(f"{name}: yaml: {e}") from e
    reading = _Reading(name)
    value = None if root is None else reading.value(root, ())
    if not isinstance(value, dict):
        raise ComposeError("top-level object must be a mapping", Place(name, 1))
    return Document(name, value, reading.lines)


def _knowing(base: Any) -> Any:
    """The loader, which else takes `1e3` for text."""
    made: Any = type("Loader", (base,), {})
    made.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("+-.0123456789"))
    return made


def _composed(text: str, loaders: Sequence[Any]) -> Any:
    """By the first of them that can: the quick one takes no `{a: b, c:}`."""
    import yaml

    try:
        return yaml.compose(text, Loader=loaders[0])
    except yaml.MarkedYAMLError:
        if len(loaders) == 1:
            raise
        try:
            return _composed(text, loaders[1:])
        except yaml.MarkedYAMLError:
            pass
        raise


class _Reading:
    """One file's nodes on their way to values."""

    def __init__(self, name: str) -> None:
        self.lines: dict[Path, int] = {}
        self._name = name
        self._count = 0
        self._around: list[int] = []  # ids of the nodes that are being read: one that contains itself never ends

    def value(self, node: Any, path: Path) -> Any:
        self._count += 1
        if self._count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise self._wrong("yaml: document contains excessive aliasing", node)
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node.id == "scalar":
            return node.value if node.style or not _plain(node.tag) else scalar(node.value)
        if id(node) in self._around:
            raise self._wrong("yaml: an anchor contains itself", node)
        self._around.append(id(node))
        made = self._list(node, path) if node.id == "sequence" else self._mapping(node, path)
        self._around.pop()
        return made

    def _list(self, node: Any, path: Path) -> list[Any]:
        return [self.value(item, (*path, number)) for number, item in enumerate(node.value)]

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        made: dict[str, Any] = {}
        seen: dict[str, int] = {}
        merged = []
        for key, item in node.value:
            if key.id == "scalar" and key.value == _MERGE and not key.style:
                merged.append(item)
                continue
            text = self._key(key, path)
            line = key.start_mark.line + 1
            if text in seen:
                raise self._wrong(f'yaml: unmarshal errors:\n  line {line}: mapping key "{text}" already defined at line {seen[text]}', key)
            seen[text] = line
            self.lines.setdefault((*path, text), line)
            made[text] = self.value(item, (*path, text))
        for item in merged:
            for source in self._sources(item):
                for text, value in self._mapping(source, path).items():
                    made.setdefault(text, value)
        return made

    def _key(self, key: Any, path: Path) -> str:
        found = key.value if key.id == "scalar" and key.style else scalar(key.value) if key.id == "scalar" else None
        if isinstance(found, str):
            return found
        where = "in " + dotted(path) if path else "at top level"
        shown = key.value if key.id == "scalar" else key.id
        raise self._wrong(f"non-string key {where}: {shown}", key)

    def _sources(self, node: Any) -> Iterator[Any]:
        """The mappings that `<<` names; earlier ones come first."""
        items = node.value if node.id == "sequence" else [node]
        for item in items:
            if item.id != "mapping" or id(item) in self._around:
                raise self._wrong("yaml: map merge requires map or sequence of maps as the value", item)
            self._around.append(id(item))
            yield item
            self._around.pop()

    def _wrong(self, text: str, node: Any) -> ComposeError:
        return ComposeError(text, Place(self._name, node.start_mark.line + 1))


def _plain(tag: str) -> bool:
    return tag != "tag:yaml.org,2002:str"  # `!!str 5`; a plain word that is one reads as itself in any case


def scalar(text: str) -> Any:
    """What a word without quotes is: null, a boolean, a number or text."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _DECIMAL.fullmatch(text):
        return int(text.replace("_", "") or 0) if len(text) < 20 else text
    if match := _PREFIXED.fullmatch(text):
        return _of_base(match[1], match[3], _BASES[match[2]], text)
    if match := _OCTAL.fullmatch(text):
        return _of_base(match[1], match[2], 8, text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _of_base(sign: str, digits: str, base: int, text: str) -> int | str:
    try:
        return int(sign + digits.replace("_", ""), base)
    except ValueError:
        return text


def dotted(path: Path) -> str:
    """A path as docker's errors have it: `services.web.ports.0`; `(root)`."""
    return ".".join(map(str, path)) or "(root)"
