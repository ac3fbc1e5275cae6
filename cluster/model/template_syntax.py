"""The text of a template as a tree: text, actions, control structures and named templates. Pure; runs nothing.

Source: https://pkg.go.dev/text/template.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from cluster.model.template_functions import FUNCTIONS

_ACTION: Final = re.compile(r"\{\{(-(?=\s))?(.*?)((?<=\s)-)?\}\}", re.DOTALL)
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<field>(?:\.[A-Za-z_]\w*)+)"""
    r"""|(?P<variable>\$\w*)|(?P<word>[A-Za-z_]\w*)|(?P<sign>:=|=|[().|,]))"""
)
MAX_DEPTH: Final = 64
_FIRST_WORD: Final = re.compile(r"\{\{(?:-\s)?\s*([A-Za-z_]\w*)")
_CONTROLS: Final = frozenset({"if", "range", "with", "define", "block"})
_KEYWORDS: Final = _CONTROLS | {"else", "end", "json", "template", "break", "continue"}
"""With `json`, which whoever renders may bring."""
CONSTANTS: Final = {"true": True, "false": False, "nil": None}

Token = tuple[str, str]
"""(string | number | field | access | variable | word | sign, its text)"""


class TemplateError(ValueError):
    """The template doesn't parse, or doesn't fit its value."""


class TemplateSyntaxError(TemplateError):
    """It doesn't parse."""


@dataclass(slots=True)
class Block:
    """A list of nodes."""

    nodes: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Control:
    """`kind`: if, range, with; while it is read, define and block too, whose `body` goes to the named ones."""

    kind: str
    tokens: list[Token]
    body: Block = field(default_factory=Block)
    otherwise: Block = field(default_factory=Block)


@dataclass(slots=True)
class Leave:
    """`kind`: break or continue."""

    kind: str


@dataclass(slots=True)
class Call:
    """`{{template "name" pipeline}}`; no tokens: with nothing."""

    name: str
    tokens: list[Token]


Node = str | list[Token] | Control | Leave | Call


class Parsed:
    """`root`, and the templates that are defined in it by `name`. Raises TemplateSyntaxError."""

    def __init__(self, text: str, more: Collection[str]) -> None:
        """`more`: functions beside Go's and docker's."""
        self.root = Block()
        self.named: dict[str, Block] = {}
        self._functions = {*FUNCTIONS, *more}
        self._open: list[tuple[Block, Control | None]] = [(self.root, None)]
        self._parse(text)

    def _parse(self, text: str) -> None:
        position, trim = 0, False
        for match in _ACTION.finditer(text):
            piece = text[position : match.start()]
            piece = piece.lstrip() if trim else piece
            piece = piece.rstrip() if match[1] else piece
            if piece:
                self._open[-1][0].nodes.append(piece)
            position, trim = match.end(), bool(match[3])
            self._place(match[2].strip())
        rest = text[position:].lstrip() if trim else text[position:]
        if "{{" in rest:
            word = _FIRST_WORD.match(rest, rest.index("{{"))
            if word is not None and word[1] not in {*FUNCTIONS, *CONSTANTS, *_KEYWORDS}:
                raise _wrong(f'function "{word[1]}" not defined')
            raise _wrong("unclosed action")
        if len(self._open) > 1:
            raise _wrong("unexpected EOF")
        if rest:
            self.root.nodes.append(rest)

    def _place(self, action: str) -> None:
        word, _, rest = action.partition(" ")
        if action.startswith("/*"):
            return
        if not action:
            raise _wrong("missing value for command")
        nodes = self._open[-1][0].nodes
        if word in _CONTROLS:
            self._begin(word, rest)
        elif word == "else":
            self._otherwise(rest)
        elif word == "end":
            self._end()
        elif action in ("break", "continue"):
            if not any(control is not None and control.kind == "range" for _, control in self._open):
                raise _wrong(f"{{{{{action}}}}} outside {{{{range}}}}")
            nodes.append(Leave(action))
        elif word == "template":
            nodes.append(Call(*self._named(self._tokens(rest))))
        else:
            nodes.append(self._tokens(action))

    def _begin(self, word: str, rest: str) -> None:
        if len(self._open) > MAX_DEPTH:
            raise _wrong(f"more than {MAX_DEPTH} levels")
        if word == "define" and len(self._open) > 1:
            raise _wrong("unexpected {{define}}")
        control = Control(word, self._tokens(rest))
        if word in ("define", "block"):
            name, argument = self._named(control.tokens)
            self.named[name] = control.body
            if word == "block":
                self._open[-1][0].nodes.append(Call(name, argument))
        else:
            self._open[-1][0].nodes.append(control)
        self._open.append((control.body, control))

    def _otherwise(self, rest: str) -> None:
        control = self._open[-1][1]
        if control is None or control.kind in ("define", "block"):
            raise _wrong("unexpected {{else}}")
        self._open[-1] = (control.otherwise, control)
        if rest.startswith(("if ", "with ")):
            word, _, condition = rest.partition(" ")
            inner = Control(word, self._tokens(condition))
            control.otherwise.nodes.append(inner)
            self._open[-1] = (inner.body, inner)

    def _end(self) -> None:
        if len(self._open) == 1:
            raise _wrong("unexpected {{end}}")
        self._open.pop()

    def _named(self, tokens: list[Token]) -> tuple[str, list[Token]]:
        if not tokens or tokens[0][0] != "string":
            raise _wrong("unexpected name in template clause")
        return unquoted(tokens[0][1]), tokens[1:]

    def _tokens(self, text: str) -> list[Token]:
        found: list[Token] = []
        position = 0
        text = text.strip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise _wrong(f"unexpected {text[position:].strip()!r} in command")
            kind, said = str(match.lastgroup), match[str(match.lastgroup)]
            before = match.start(kind) > position  # a space separates operand and argument
            if kind == "field" and not before and found and (found[-1] == ("sign", ")") or found[-1][0] == "variable"):
                kind = "access"
            if kind == "word" and said not in self._functions and said not in CONSTANTS:
                raise _wrong(f'function "{said}" not defined')
            found.append((kind, said))
            position = match.end()
        return found


def _wrong(words: str) -> TemplateSyntaxError:
    return TemplateSyntaxError(f"template: :1: {words}")


def assigned(tokens: list[Token]) -> tuple[list[str], list[Token]]:
    """Variables that a pipeline is assigned to (`$x :=`, `$i, $v :=`), and the pipeline."""
    signs = {("sign", ":="), ("sign", "=")}
    if len(tokens) > 1 and tokens[0][0] == "variable" and tokens[1] in signs:
        return [tokens[0][1]], tokens[2:]
    if len(tokens) > 3 and tokens[1] == ("sign", ",") and tokens[3] in signs:
        return [tokens[0][1], tokens[2][1]], tokens[4:]
    return [], tokens


def spelled(tokens: list[Token]) -> str:
    """As Go writes a command in its messages."""
    text = ""
    for kind, said in tokens:
        text += said if not text or kind == "access" or said == ")" or text.endswith("(") else f" {said}"
    return text


def unquoted(text: str) -> str:
    """The value of a string of either form."""
    if text[0] == "`":
        return text[1:-1]
    plain = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
    return re.sub(r"\\(.)", lambda m: plain.get(m[1], m[1]), text[1:-1])
