"""Go's text/template, as much of it as `--format` uses: fields, pipelines, functions, variables, if, range, with, named templates.

Owns running; parsing is in cluster/model/template_syntax.py, the functions in template_functions.py. Pure. Values are what JSON has: dict, list,
str, int, float, bool, None. Source: https://pkg.go.dev/text/template and docker/cli's templates package.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from cluster.model.template_functions import FREE, FUNCTIONS, Nil, Struct, go_text, null, truth, unset
from cluster.model.template_syntax import CONSTANTS, Block, Call, Control, Leave, Parsed, TemplateError, TemplateSyntaxError, Token, assigned, spelled, unquoted

__all__ = ["Template", "TemplateError", "TemplateSyntaxError"]

MAX_OUTPUT: Final = 16 * 1024 * 1024
"""Characters that one template may make."""
MAX_CALLS: Final = 64
"""Templates that call each other; Go's limit is 100,000, which is more than a Python thread has room for."""
_ENDS: Final = frozenset({("sign", "|"), ("sign", ")")})
"""Of a command."""

Missing = Callable[[str, str], str]
"""(name of the parent, name of what it has not) -> the words."""


class Template:
    """A parsed template. Raises TemplateSyntaxError when the text isn't one."""

    def __init__(self, text: str, more: Collection[str] = (), name: str = "") -> None:
        """`more`: names of functions that `render` will be given beside Go's and docker's. `name`: what failures of a rendering call it."""
        self._text = text
        self._name = name
        self._parsed = Parsed(text, more)

    def render(self, value: object, *, strict: str | Missing = "", functions: Mapping[str, Callable[..., Any]] | None = None,
               absent: Mapping[str, Any] | None = None, free: Collection[str] = FREE) -> str:  # fmt: skip
        """The text for a value. A field that isn't there reads as `absent` says, else it is an error in the words of `strict` ("can't evaluate field {}", or
        what it makes of the parent's name and the field's), else it reads `<no value>`, as any key of a map that is `free`. Raises TemplateError."""
        words = (lambda _parent, name: strict.format(name)) if isinstance(strict, str) and strict else strict or None
        run = _Run(self._text, self._name, self._parsed.named, words, {**FUNCTIONS, **(functions or {})}, absent or {}, free)
        run.block(self._parsed.root, value, {"$": value}, 0)
        return "".join(run.out)


class _Run:
    """One rendering."""

    def __init__(
        self, text: str, name: str, named: Mapping[str, Block], strict: Missing | None, functions: dict[str, Callable[..., Any]], absent: Mapping[str, Any],
        free: Collection[str],
    ) -> None:  # fmt: skip
        self.out: list[str] = []
        self._length = 0
        self._text = text
        self._name = name
        self._named = named
        self._strict = strict
        self._functions = functions
        self._absent = absent
        self._free = free

    def write(self, text: str) -> None:
        self._length += len(text)
        if self._length > MAX_OUTPUT:
            raise TemplateError(f"template: more than {MAX_OUTPUT} characters of output")
        self.out.append(text)

    def block(self, block: Block, dot: object, variables: dict[str, Any], calls: int) -> str:
        """Writes it. `break` or `continue` when it ended with that."""
        for node in block.nodes:
            if isinstance(node, str):
                self.write(node)
            elif isinstance(node, Control):
                left = self._control(node, dot, dict(variables), calls)
                if left:
                    return left
            elif isinstance(node, Leave):
                return node.kind
            elif isinstance(node, Call):
                self._call(node, dot, variables, calls)
            else:
                names, tokens = assigned(node)
                value = self.pipeline(list(tokens), dot, variables)
                if names:
                    variables[names[0]] = value
                else:
                    self.write(go_text(value))
        return ""

    def _call(self, node: Call, dot: object, variables: dict[str, Any], calls: int) -> None:
        body = self._named.get(node.name)
        if body is None:
            raise TemplateError(f'template: :1: executing "" at <{{{{template "{node.name}"}}}}>: template "{node.name}" not defined')
        if calls >= MAX_CALLS:
            raise TemplateError("template: :1: exceeded maximum template depth")
        value = self.pipeline(list(node.tokens), dot, variables) if node.tokens else None
        self.block(body, value, {"$": value}, calls + 1)

    def _control(self, node: Control, dot: object, variables: dict[str, Any], calls: int) -> str:
        names, tokens = assigned(node.tokens)
        value = self.pipeline(list(tokens), dot, variables)
        if node.kind == "range":
            return self._range(node, dot, variables, value, names, calls)
        if names:
            variables[names[0]] = value
        if truth(value):
            return self.block(node.body, value if node.kind == "with" else dot, variables, calls)
        return self.block(node.otherwise, dot, variables, calls)

    def _range(self, node: Control, dot: object, variables: dict[str, Any], value: Any, names: list[str], calls: int) -> str:
        items: list[tuple[Any, Any]]
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
            if self.block(node.body, item, inner, calls) == "break":
                break
        return "" if items else self.block(node.otherwise, dot, variables, calls)

    def pipeline(self, tokens: list[Token], dot: object, variables: dict[str, Any]) -> Any:
        """The value of a whole pipeline; consumes its tokens up to the closing parenthesis or the end."""
        value: Any = None
        first = True
        while True:
            value = self._command(tokens, dot, variables, [] if first else [value])
            first = False
            if not tokens or tokens[0] != ("sign", "|"):
                return value
            tokens.pop(0)

    def _command(self, tokens: list[Token], dot: object, variables: dict[str, Any], piped: list[Any]) -> Any:
        if not tokens:
            raise TemplateError("template: :1: missing value for command")
        kind, text = tokens[0]
        if kind == "word" and text not in CONSTANTS:
            whole = list(tokens)
            tokens.pop(0)
            function = self._functions[text]
            arguments = []
            while tokens and tokens[0] not in _ENDS:
                arguments.append(self._operand(tokens, dot, variables))
            try:
                return function(*(None if given is _NO_VALUE else given for given in (*arguments, *piped)))
            except (TypeError, ValueError, LookupError, AttributeError) as e:
                said = spelled(whole[: len(whole) - len(tokens)])
                raise TemplateError(f"{self._at(said, self._text.find(said))}error calling {text}: {e}") from e
        value = self._operand(tokens, dot, variables)
        if callable(value):  # a method: {{.Label "key"}}
            arguments = []
            while tokens and tokens[0] not in _ENDS:
                arguments.append(self._operand(tokens, dot, variables))
            try:
                return value(*arguments, *piped)
            except TypeError as e:
                raise TemplateError(f"template: :1: wrong number of args for {text[1:]}") from e
        if tokens and tokens[0] not in _ENDS:
            raise TemplateError(f'template: :1: can\'t give argument to non-function {text}')
        return value

    def _operand(self, tokens: list[Token], dot: object, variables: dict[str, Any]) -> Any:
        kind, text = tokens.pop(0)
        value: Any
        if kind == "field":
            return self._access(dot, text)
        if kind == "string":
            return unquoted(text)
        if kind == "number":
            return float(text) if "." in text else int(text)
        if kind == "word":
            if text in CONSTANTS:
                return CONSTANTS[text]
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
            elif isinstance(value, Struct) and name in value.absent:
                value = unset(name, value.absent[name])
            elif isinstance(value, Mapping) and parent in self._free:
                value = _NO_VALUE
            elif isinstance(value, Mapping) and name in self._absent:
                value = unset(name, self._absent[name])
                if isinstance(value, Nil) and name != path.rpartition(".")[2]:
                    after = path.removeprefix(".").split(".")
                    raise TemplateError(self._at_field(path) + f"nil pointer evaluating {value.type}.{after[after.index(name) + 1]}")
                if value is None and self._strict and name != path.rpartition(".")[2]:
                    raise TemplateError(self._at_field(path) + self._strict(parent, name))
            elif self._strict and isinstance(value, Mapping):
                raise TemplateError(self._at_field(path) + self._strict(parent, name))
            elif value is None or isinstance(value, Mapping):
                return _NO_VALUE if value is not None else None
            elif value is not _NO_VALUE:
                kind = " in type string" if isinstance(value, str) else ""
                raise TemplateError(self._at_field(path) + f"can't evaluate field {name}{kind}")
            parent = name
        return value

    def _at_field(self, path: str) -> str:
        """Where the template says it, as Go tells: the first place that reads so, at its second name."""
        return self._at(path, self._text.find(path) + max(0, path.find(".", 1)))

    def _at(self, said: str, column: int) -> str:
        return f'template: {self._name}:1:{max(0, column)}: executing "{self._name}" at <{said}>: '


class _Missing(str):
    """What a field that isn't there reads as: empty as a condition."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


_NO_VALUE: Final = _Missing("<no value>")
