"""What a template consists of: text, actions, control structures and calls of named templates. Values only.

template_syntax.py makes them, templates.py runs them. A node says where it stands (`at`), and reads as Go writes it in messages (`str`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Literal:
    text: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, string or boolean, nil or the dot. `kind`: int, float, complex, uint (too large for an int), string, bool, nil or dot."""

    kind: str
    value: Any
    said: str
    at: int

    def __str__(self) -> str:
        return self.said


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    at: int

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Chain:
    """Fields of the dot (`of` is None), of a variable (`of` is its name), or of what parentheses make. No `names`: just the variable."""

    of: Pipe | str | Function | None
    names: tuple[str, ...]
    at: int

    def __str__(self) -> str:
        first = "" if self.of is None else f"({self.of})" if isinstance(self.of, Pipe) else str(self.of)
        return first + "".join(f".{name}" for name in self.names)


@dataclass(frozen=True, slots=True)
class Command:
    parts: tuple[Operand, ...]
    at: int

    def __str__(self) -> str:
        return " ".join(f"({part})" if isinstance(part, Pipe) else str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Pipe:
    """`variables`: what it is assigned to; `declares`: by `:=`."""

    commands: tuple[Command, ...]
    variables: tuple[str, ...]
    declares: bool
    at: int

    def __str__(self) -> str:
        names = ", ".join(self.variables) + (" := " if self.declares else " = ") if self.variables else ""
        return names + " | ".join(map(str, self.commands))


Operand = Constant | Function | Chain | Pipe


@dataclass(frozen=True, slots=True)
class Control:
    """`kind`: if, range or with."""

    kind: str
    pipe: Pipe
    body: list[Node]
    otherwise: list[Node]


@dataclass(frozen=True, slots=True)
class Leave:
    """`kind`: break, continue; while it is read end and else, too."""

    kind: str

    def __str__(self) -> str:
        return f"{{{{{self.kind}}}}}"


@dataclass(frozen=True, slots=True)
class Call:
    """`{{template "name" pipe}}`."""

    name: str
    said: str
    pipe: Pipe | None
    at: int

    def __str__(self) -> str:
        return f"{{{{template {self.said}{f' {self.pipe}' if self.pipe else ''}}}}}"


Node = Literal | Pipe | Control | Leave | Call
