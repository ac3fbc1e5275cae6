"""Go's text/template, as much of it as `--format` uses: fields, pipelines, functions, variables, if, range, with.

Owns parsing and running; the functions are in cluster/model/template_functions.py. Pure. Values are what JSON has: dict, list,
str, int, float, bool, None. Source: https://pkg.go.dev/text/template and docker/cli's templates package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cluster.model.template_functions import FREE, FUNCTIONS, Nil, go_text, null, truth, unset

_ACTION: Final = re.compile(r"\{\{(-(?=\s))?(.*?)((?<=\s)-)?\}\}", re.DOTALL)
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<field>(?:\.[A-Za-z_]\w*)+)"""
    r"""|(?P<variable>\$\w*)|(?P<word>[A-Za-z_]\w*)|(?P<sign>:=|=|[().|,]))"""
)
MAX_OUTPUT: Final = 16 * 1024 * 1024
"""Characters that one template may make."""

MAX_DEPTH: Final = 64
_FIRST_WORD: Final = re.compile(r"\{\{(?:-\s)?\s*([A-Za-z_]\w*)")
_KEYWORDS: Final = frozenset({"if", "range", "with", "else", "end", "json", "define", "template", "block", "break", "continue"})
"""With `json`, which whoever renders may bring."""
_CONSTANTS: Final = {"true": True, "false": False, "nil": None}


Missing = Callable[[str, str], str]
"""(name of the parent, name of what it has not) -> the words."""


class TemplateError(ValueError):
    """The template doesn't parse, or doesn't fit its value."""


@dataclass(slots=True)
class _Block:
    """A list of nodes: text, an action's tokens, or a control structure."""

    nodes: list[_Node] = field(default_factory=list)


@dataclass(slots=True)
class _Control:
    kind: str  # if, range, with
    tokens: list[tuple[str, str]]
    body: _Block = field(default_factory=_Block)
    otherwise: _Block = field(default_factory=_Block)


_Node = str | list[tuple[str, str]] | _Control


class Template:
    """A parsed template. Raises TemplateError when the text isn't one."""

    def __init__(self, text: str, more: Collection[str] = ()) -> None:
        """`more`: names of functions that `render` will be given beside Go's and docker's."""
        self._text = text
        self._root = _parse(text)
        _check_functions(self._root, more)

    def render(self, value: object, *, strict: str | Missing = "", functions: Mapping[str, Callable[..., Any]] | None = None,
               absent: Mapping[str, Any] | None = None, free: Collection[str] = FREE) -> str:  # fmt: skip
        """The text for a value. A field that isn't there reads as `absent` says, else it is an error in the words of `strict` ("can't evaluate field {}", or
        what it makes of the parent's name and the field's), else it reads `<no value>`, as any key of a map that is `free`. Raises TemplateError."""
        words = (lambda _parent, name: strict.format(name)) if isinstance(strict, str) and strict else strict or None
        run = _Run(self._text, words, {**FUNCTIONS, **(functions or {})}, absent or {}, free)
        run.block(self._root, value, {"$": value}, 0)
        return "".join(run.out)


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise TemplateError(f"template: :1: unexpected {text[position:].strip()!r} in command")
        kind = str(match.lastgroup)
        before = match.start(kind) > position  # a space separates operand and argument
        if kind == "field" and not before and found and (found[-1] == ("sign", ")") or found[-1][0] == "variable"):
            kind = "access"
        found.append((kind, match[str(match.lastgroup)]))
        position = match.end()
    return found


def _parse(text: str) -> _Block:
    root = _Block()
    stack: list[tuple[_Block, _Control | None]] = [(root, None)]
    position, trim = 0, False
    for match in _ACTION.finditer(text):
        piece = text[position : match.start()]
        piece = piece.lstrip() if trim else piece
        piece = piece.rstrip() if match[1] else piece
        if piece:
            stack[-1][0].nodes.append(piece)
        position, trim = match.end(), bool(match[3])
        _place(match[2].strip(), stack)
    rest = text[position:].lstrip() if trim else text[position:]
    if "{{" in rest:
        word = _FIRST_WORD.match(rest, rest.index("{{"))
        if word is not None and word[1] not in {*FUNCTIONS, *_CONSTANTS, *_KEYWORDS}:
            raise TemplateError(f'template: :1: function "{word[1]}" not defined')
        raise TemplateError("template: :1: unclosed action")
    if len(stack) > 1:
        raise TemplateError("template: :1: unexpected EOF")
    if rest:
        root.nodes.append(rest)
    return root


def _check_functions(block: _Block, more: Collection[str]) -> None:
    for node in block.nodes:
        if isinstance(node, str):
            continue
        for kind, text in node.tokens if isinstance(node, _Control) else node:
            if kind == "word" and text not in FUNCTIONS and text not in _CONSTANTS and text not in more:
                raise TemplateError(f'template: :1: function "{text}" not defined')
        if isinstance(node, _Control):
            _check_functions(node.body, more)
            _check_functions(node.otherwise, more)


def _place(action: str, stack: list[tuple[_Block, _Control | None]]) -> None:
    word, _, rest = action.partition(" ")
    if action.startswith("/*"):
        return
    if not action:
        raise TemplateError("template: :1: missing value for command")
    if word in {"if", "range", "with"}:
        if len(stack) > MAX_DEPTH:
            raise TemplateError(f"template: :1: more than {MAX_DEPTH} levels")
        control = _Control(word, _tokens(rest))
        stack[-1][0].nodes.append(control)
        stack.append((control.body, control))
    elif word == "else":
        control_now = stack[-1][1]
        if control_now is None:
            raise TemplateError("template: :1: unexpected {{else}}")
        stack[-1] = (control_now.otherwise, control_now)
        if rest.startswith(("if ", "with ")):
            inner = _Control(rest.split()[0], _tokens(rest.partition(" ")[2]))
            control_now.otherwise.nodes.append(inner)
            stack[-1] = (inner.body, inner)
    elif word == "end":
        if len(stack) == 1:
            raise TemplateError("template: :1: unexpected {{end}}")
        stack.pop()
    else:
        stack[-1][0].nodes.append(_tokens(action))


class _Run:
    """One rendering."""

    def __init__(self, text: str, strict: Missing | None, functions: dict[str, Callable[..., Any]], absent: Mapping[str, Any], free: Collection[str]) -> None:
        self.out: list[str] = []
        self._length = 0
        self._text = text
        self._strict = strict
        self._functions = functions
        self._absent = absent
        self._free = free

    def write(self, text: str) -> None:
        self._length += len(text)
        if self._length > MAX_OUTPUT:
            raise TemplateError(f"template: more than {MAX_OUTPUT} characters of output")
        self.out.append(text)

    def block(self, block: _Block, dot: object, variables: dict[str, Any], depth: int) -> None:
        for node in block.nodes:
            if isinstance(node, str):
                self.write(node)
            elif isinstance(node, _Control):
                self._control(node, dot, dict(variables), depth)
            else:
                names, tokens = _assigned(node)
                value = self.pipeline(list(tokens), dot, variables)
                if names:
                    variables[names[0]] = value
                else:
                    self.write(go_text(value))

    def _control(self, node: _Control, dot: object, variables: dict[str, Any], depth: int) -> None:
        names, tokens = _assigned(node.tokens)
        value = self.pipeline(list(tokens), dot, variables)
        if node.kind == "range":
            self._range(node, dot, variables, value, names, depth)
            return
        if names:
            variables[names[0]] = value
        if truth(value):
            self.block(node.body, value if node.kind == "with" else dot, variables, depth + 1)
        else:
            self.block(node.otherwise, dot, variables, depth + 1)

    def _range(
        self, node: _Control, dot: object, variables: dict[str, Any], value: Any, names: list[str], depth: int
    ) -> None:
        if isinstance(value, Mapping):
            items = sorted(value.items())
        elif isinstance(value, (list, tuple)):
            items = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            items = [(i, i) for i in range(value)]
        elif value is None:
            items = []
        else:
            raise TemplateError(f"template: :1: range can't iterate over {go_text(value)}")
        for key, item in items:
            inner = dict(variables)
            inner.update(zip(names, (key, item) if len(names) > 1 else (item,), strict=False))
            self.block(node.body, item, inner, depth + 1)
        if not items:
            self.block(node.otherwise, dot, variables, depth + 1)

    def pipeline(self, tokens: list[tuple[str, str]], dot: object, variables: dict[str, Any]) -> Any:
        """The value of a whole pipeline; consumes its tokens up to the closing parenthesis or the end."""
        value: Any = None
        first = True
        while True:
            value = self._command(tokens, dot, variables, [] if first else [value])
            first = False
            if not tokens or tokens[0] != ("sign", "|"):
                return value
            tokens.pop(0)

    def _command(self, tokens: list[tuple[str, str]], dot: object, variables: dict[str, Any], piped: list[Any]) -> Any:
        if not tokens:
            raise TemplateError("template: :1: missing value for command")
        kind, text = tokens[0]
        if kind == "word" and text not in _CONSTANTS:
            tokens.pop(0)
            function = self._functions[text]
            arguments = []
            while tokens and tokens[0] not in {("sign", "|"), ("sign", ")")}:
                arguments.append(self._operand(tokens, dot, variables))
            try:
                return function(*(None if given is _NO_VALUE else given for given in (*arguments, *piped)))
            except (TypeError, ValueError, LookupError, AttributeError) as e:
                raise TemplateError(f'template: :1: executing "" at <{text}>: error calling {text}: {e}') from e
        value = self._operand(tokens, dot, variables)
        if callable(value):  # a method: {{.Label "key"}}
            arguments = []
            while tokens and tokens[0] not in {("sign", "|"), ("sign", ")")}:
                arguments.append(self._operand(tokens, dot, variables))
            try:
                return value(*arguments, *piped)
            except TypeError as e:
                raise TemplateError(f"template: :1: wrong number of args for {text[1:]}") from e
        if tokens and tokens[0] not in {("sign", "|"), ("sign", ")")}:
            raise TemplateError(f'template: :1: can\'t give argument to non-function {text}')
        return value

    def _operand(self, tokens: list[tuple[str, str]], dot: object, variables: dict[str, Any]) -> Any:
        kind, text = tokens.pop(0)
        value: Any
        if kind == "field":
            return self._access(dot, text)
        if kind == "string":
            return text[1:-1] if text[0] == "`" else _unquoted(text)
        if kind == "number":
            return float(text) if "." in text else int(text)
        if kind == "word":
            if text in _CONSTANTS:
                return _CONSTANTS[text]
            return self._command([(kind, text)], dot, variables, [])
        if kind == "variable":
            if text not in variables:
                raise TemplateError(f'template: :1: undefined variable "{text}"')
            value = variables[text]
        elif (kind, text) == ("sign", "."):
            return dot
        elif (kind, text) == ("sign", "("):
            value = self.pipeline(tokens, dot, variables)
            if not tokens or tokens.pop(0) != ("sign", ")"):
                raise TemplateError("template: :1: unclosed left paren")
        else:
            raise TemplateError(f"template: :1: unexpected {text!r} in command")
        if tokens and tokens[0][0] == "access":
            value = self._access(value, tokens.pop(0)[1])
        return value

    def _access(self, value: Any, path: str) -> Any:
        parent = ""
        for name in path.split(".")[1:]:
            if isinstance(value, Mapping) and name in value:
                value = null(name) if value[name] is None else value[name]
            elif isinstance(value, Mapping) and parent in self._free:
                value = _NO_VALUE
            elif isinstance(value, Mapping) and name in self._absent:
                value = unset(name, self._absent[name])
                if isinstance(value, Nil) and name != path.rpartition(".")[2]:
                    after = path.removeprefix(".").split(".")
                    raise TemplateError(self._at(path) + f"nil pointer evaluating {value.type}.{after[after.index(name) + 1]}")
                if value is None and self._strict and name != path.rpartition(".")[2]:
                    raise TemplateError(self._at(path) + self._strict(parent, name))
            elif self._strict and isinstance(value, Mapping):
                raise TemplateError(self._at(path) + self._strict(parent, name))
            elif value is None or isinstance(value, Mapping):
                return _NO_VALUE if value is not None else None
            elif value is not _NO_VALUE:
                kind = " in type string" if isinstance(value, str) else ""
                raise TemplateError(self._at(path) + f"can't evaluate field {name}{kind}")
            parent = name
        return value

    def _at(self, path: str) -> str:
        """Where the template says it, as Go tells: the first place that reads so, at its second name."""
        column = self._text.find(path) + max(0, path.find(".", 1))
        return f'template: :1:{column}: executing "" at <{path}>: '


class _Missing(str):
    """What a field that isn't there reads as: empty as a condition."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


_NO_VALUE: Final = _Missing("<no value>")


def _assigned(tokens: list[tuple[str, str]]) -> tuple[list[str], list[tuple[str, str]]]:
    """Variables that a pipeline is assigned to (`$x :=`, `$i, $v :=`), and the pipeline."""
    signs = {(("sign", ":=")), (("sign", "="))}
    if len(tokens) > 1 and tokens[0][0] == "variable" and tokens[1] in signs:
        return [tokens[0][1]], tokens[2:]
    if len(tokens) > 3 and tokens[1] == ("sign", ",") and tokens[3] in signs:
        return [tokens[0][1], tokens[2][1]], tokens[4:]
    return [], tokens


def _unquoted(text: str) -> str:
    plain = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
    return re.sub(r"\\(.)", lambda m: plain.get(m[1], m[1]), text[1:-1])
