"""Go's text/template: fields, pipelines, functions, variables, if, range, with, named templates, and its words for what doesn't fit.

Owns running; parsing is in cluster/model/template_syntax.py, the functions in template_functions.py. Pure. Values are what JSON has (dict, list,
str, int, float, bool, None), or of Go's types (go_values.py). Source: https://pkg.go.dev/text/template and docker/cli's templates package.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from cluster.model.go_values import MISSING, Int, Pointer, Slice, Struct, Text, element_type, go_text, key_type, pointee, printed, type_of
from cluster.model.template_functions import FUNCTIONS, NO_VALUE, Function, truth
from cluster.model.template_syntax import (
    Call,
    Chain,
    Command,
    Constant,
    Control,
    Leave,
    Literal,
    Node,
    Operand,
    Parsed,
    Pipe,
    TemplateError,
    TemplateSyntaxError,
)  # fmt: skip
from cluster.model.template_syntax import Function as Name

__all__ = ["Template", "TemplateError", "TemplateSyntaxError"]

MAX_OUTPUT: Final = 16 * 1024 * 1024
"""Characters that one template may make."""
MAX_CALLS: Final = 64
"""Templates that call each other; Go's limit is 100,000, which is more than a Python thread has room for."""
_NOTHING: Final = object()
"""No value from an earlier stage of the pipeline."""
_ANY: Final = Function(lambda value: value, ("any",))
_METHOD: Final = ("string",)
_EXPECTED: Final = {"string": "string", "int": "integer"}


class Template:
    """A parsed template. Raises TemplateSyntaxError when the text isn't one."""

    def __init__(self, text: str, more: Collection[str] = (), name: str = "") -> None:
        """`more`: names of functions that `render` will be given beside Go's and docker's. `name`: what mistakes in it and failures of a rendering call it."""
        self._text = text
        self._name = name
        self._parsed = Parsed(text, {*FUNCTIONS, *more}, name)

    def render(self, value: object, *, functions: Mapping[str, Callable[[Any], Any]] | None = None, strict: bool = False) -> str:
        """The text for a value. `functions`: of one argument each. A key that a map has not reads `<no value>`; `strict`: it is an error.
        Raises TemplateError."""
        more = {name: _ANY._replace(call=call) for name, call in (functions or {}).items()}
        run = _Run(self._text, self._name, self._parsed.named, {**FUNCTIONS, **more}, strict)
        try:
            run.template(self._name, self._parsed.root, value)
        except TemplateError as e:
            e.written = "".join(run.out)
            raise
        return "".join(run.out)


class _Run:
    """One rendering. `_now`: what is being evaluated, which a failure tells."""

    def __init__(self, text: str, name: str, named: Mapping[str, list[Node]], functions: Mapping[str, Function], strict: bool) -> None:
        self.out: list[str] = []
        self._length = 0
        self._text = text
        self._file = name
        self._name = name
        self._named = named
        self._functions = functions
        self._strict = strict
        self._now: Operand | Command | Call | None = None
        self._calls = 0
        self._variables: list[tuple[str, Any]] = []

    def _wrong(self, words: str) -> TemplateError:
        at = self._now.at if self._now is not None else 0
        line, column = self._text.count("\n", 0, at) + 1, at - (self._text.rfind("\n", 0, at) + 1)
        return TemplateError(f'template: {self._file}:{line}:{column}: executing "{self._name}" at <{self._now}>: {words}')

    def _write(self, text: str) -> None:
        self._length += len(text)
        if self._length > MAX_OUTPUT:
            raise TemplateError(f"template: more than {MAX_OUTPUT} characters of output")
        self.out.append(text)

    def template(self, name: str, body: list[Node], dot: Any) -> None:
        """A whole template, with variables of its own."""
        outer, self._variables, before, self._name = self._variables, [("$", dot)], self._name, name
        self._nodes(body, dot)
        self._variables, self._name = outer, before

    def _nodes(self, nodes: Sequence[Node], dot: Any) -> str:
        """`break` or `continue` when they ended with that."""
        for node in nodes:
            if isinstance(node, Literal):
                self._write(node.text)
            elif isinstance(node, Pipe):
                value = self._pipe(node, dot)
                if not node.variables:
                    self._write(go_text(printed(value)))
            elif isinstance(node, Call):
                self._call(node, dot)
            elif isinstance(node, Leave):
                return node.kind
            else:
                before = len(self._variables)
                left = self._range(node, dot) if node.kind == "range" else self._choice(node, dot)
                del self._variables[before:]
                if left:
                    return left
        return ""

    def _call(self, node: Call, dot: Any) -> None:
        self._now = node
        body = self._named.get(node.name)
        if body is None:
            raise self._wrong(f'template "{node.name}" not defined')
        if self._calls >= MAX_CALLS:
            raise self._wrong(f"exceeded maximum template depth ({MAX_CALLS})")
        self._calls += 1
        self.template(node.name, body, NO_VALUE if node.pipe is None else self._pipe(node.pipe, dot))
        self._calls -= 1

    def _choice(self, node: Control, dot: Any) -> str:
        value = self._pipe(node.pipe, dot)
        if truth(value):
            return self._nodes(node.body, value if node.kind == "with" else dot)
        return self._nodes(node.otherwise, dot)

    def _range(self, node: Control, dot: Any) -> str:
        value = pointee(self._pipe(node.pipe, dot))
        names = node.pipe.variables
        items: list[tuple[Any, Any]] = []
        if isinstance(value, Mapping) and not isinstance(value, Struct):
            items = sorted(value.items())
        elif isinstance(value, list | tuple):
            items = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            if len(names) > 1:
                raise self._wrong(f"can't use {value} to iterate over more than one variable")
            items = [(i, i) for i in range(value)]
        elif value is not NO_VALUE:
            raise self._wrong(f"range can't iterate over {go_text(value)}")
        if not items:
            return self._nodes(node.otherwise, dot)
        for item in items:
            before = len(self._variables)
            for name, part in zip(names, item if len(names) > 1 else item[1:], strict=False):
                self._set(name, part, declare=node.pipe.declares)
            left = self._nodes(node.body, item[1])
            del self._variables[before:]
            if left == "break":
                break
        return ""

    def _set(self, name: str, value: Any, *, declare: bool) -> None:
        if declare:
            self._variables.append((name, value))
            return
        place = next((i for i in reversed(range(len(self._variables))) if self._variables[i][0] == name), None)
        if place is None:  # the loop or the condition that would declare it is only being evaluated
            raise self._wrong(f"undefined variable: {name}")
        self._variables[place] = (name, value)

    def _pipe(self, pipe: Pipe, dot: Any) -> Any:
        value: Any = _NOTHING
        self._now = pipe
        for command in pipe.commands:
            value = self._command(command, dot, value)
            value = NO_VALUE if value is None else value
        for name in pipe.variables:  # of a range's its elements come later, too
            self._set(name, value, declare=pipe.declares)
        return value

    def _command(self, command: Command, dot: Any, final: Any) -> Any:
        first = command.parts[0]
        if isinstance(first, Name):
            return self._function(first, command, command.parts[1:], dot, final)
        if isinstance(first, Chain):
            return self._chain(first, dot, command.parts[1:], final)
        self._now = first if isinstance(first, Constant) else self._now
        if len(command.parts) > 1 or final is not _NOTHING:
            raise self._wrong(f"can't give argument to non-function {first}")
        if isinstance(first, Constant) and first.kind == "nil":
            raise self._wrong("nil is not a command")
        return self._operand(first, dot)

    def _operand(self, operand: Operand, dot: Any) -> Any:
        """The value of an argument, whatever it is wanted for."""
        self._now = operand
        if isinstance(operand, Name):
            return self._function(operand, operand, (), dot, _NOTHING)
        if isinstance(operand, Chain):
            return self._chain(operand, dot, (), _NOTHING)
        if isinstance(operand, Pipe):
            return self._pipe(operand, dot)
        if operand.kind == "uint" or (operand.kind == "int" and not -(1 << 63) <= operand.value < 1 << 63):
            raise self._wrong(f"{operand} overflows int")
        return dot if operand.kind == "dot" else operand.value

    def _chain(self, chain: Chain, dot: Any, arguments: Sequence[Operand], final: Any) -> Any:
        self._now = chain
        if isinstance(chain.of, str):
            value = next((value for name, value in reversed(self._variables) if name == chain.of), MISSING)
            if value is MISSING:
                raise self._wrong(f"undefined variable: {chain.of}")
        else:
            value = dot if chain.of is None else self._operand(chain.of, dot)
        if not chain.names and (arguments or final is not _NOTHING):
            raise self._wrong(f"can't give argument to non-function {chain}")
        kind = type_of(value)
        given = bool(arguments) or final is not _NOTHING
        for number, name in enumerate(chain.names, 1):
            if value is NO_VALUE:
                if self._strict:
                    raise self._wrong(f'nil data; no entry for key "{name}"')
                return value
            inner = pointee(value)
            is_map = isinstance(inner, Mapping) and not isinstance(inner, Struct)
            if is_map and given and number == len(chain.names) and not callable(inner.get(name)):
                raise self._wrong(f"{name} is not a method but has arguments")
            found = self._field(inner, name)
            if found is MISSING:
                raise self._wrong(self._without(value, kind, name))
            kind = element_type(kind) if is_map else type_of(found)
            value = found
        if callable(value):
            return self._apply(Function(value, _METHOD), chain.names[-1], chain, arguments, dot, final)
        if chain.names and given:
            if isinstance(inner, Struct) and not inner.fields:  # a row, whose fields are methods in Go
                raise self._wrong(f"wrong number of args for {name}: want 0 got {len(arguments) + (final is not _NOTHING)}")
            raise self._wrong(f"{name} has arguments but cannot be invoked as function")
        return value

    def _field(self, value: Any, name: str) -> Any:
        """MISSING where it is an error to ask for it."""
        if isinstance(value, Struct):
            return value.field(name)
        if isinstance(value, Text | Int):
            from cluster.model.go_methods import called

            return called(value, value.type, name, MISSING)
        if not isinstance(value, Mapping) or key_type(type_of(value)) != "string":
            return MISSING
        return value.get(name, MISSING if self._strict else NO_VALUE)

    def _without(self, value: Any, kind: str, name: str) -> str:
        if value is None or (isinstance(value, Pointer) and value.to is None and (value.names is None or name in value.names)):
            return f"nil pointer evaluating {'interface {}' if value is None else kind}.{name}"
        if isinstance(value, Mapping) and not isinstance(value, Struct) and self._strict:
            return f'map has no entry for key "{name}"'
        return f"can't evaluate field {name}" + (f" in type {kind}" if kind else "")

    def _function(self, name: Name, whole: Name | Command, arguments: Sequence[Operand], dot: Any, final: Any) -> Any:
        self._now = name
        function = self._functions[name.name]
        if name.name in ("and", "or") and arguments:  # which look no further than they have to
            for argument in arguments:
                value = self._operand(argument, dot)
                if truth(value) == (name.name == "or"):
                    return value
            return value if final is _NOTHING else final
        return self._apply(function, name.name, whole, arguments, dot, final)

    def _apply(self, function: Function, name: str, whole: Name | Command | Chain, arguments: Sequence[Operand], dot: Any, final: Any) -> Any:
        given = len(arguments) + (final is not _NOTHING)
        if function.more and given < len(function.takes):
            raise self._wrong(f"wrong number of args for {name}: want at least {len(function.takes)} got {len(arguments)}")
        if not function.more and given != len(function.takes):
            raise self._wrong(f"wrong number of args for {name}: want {len(function.takes)} got {given}")
        wanted = [*function.takes, *[function.more] * (given - len(function.takes))]
        values = [self._argument(argument, kind, dot) for argument, kind in zip(arguments, wanted, strict=False)]
        if final is not _NOTHING:
            values.append(self._fitting(final, wanted[-1]))
        try:
            if name == "call":
                raise TypeError(f"non-function {arguments[0] if arguments else go_text(final)} of type {type_of(values[0])}")
            return function.call(*(None if value is NO_VALUE else value for value in values))
        except (TypeError, ValueError, LookupError, AttributeError) as e:
            self._now = whole
            raise self._wrong(f"error calling {name}: {e}") from e

    def _argument(self, argument: Operand, kind: str, dot: Any) -> Any:
        value = self._operand(argument, dot)
        if not isinstance(argument, Constant) or argument.kind == "dot":
            return self._fitting(value, kind)
        if argument.kind == "nil":
            if kind in _EXPECTED:
                raise self._wrong(f"cannot assign nil to {kind}")
        elif kind == "[]string":
            raise self._wrong(f"can't handle {argument} for arg of type []string")
        elif kind in _EXPECTED and argument.kind != kind and not (kind == "int" and argument.kind == "float" and argument.value.is_integer()):
            raise self._wrong(f"expected {_EXPECTED[kind]}; found {argument}")
        return int(argument.value) if kind == "int" else value

    def _fitting(self, value: Any, kind: str) -> Any:
        """What Go gives to a function that takes values of that type."""
        if kind in {"any", ""}:
            return value
        found = type_of(value)
        if value is NO_VALUE or value is None:
            if kind == "[]string":
                return []
            raise self._wrong(f"invalid value; expected {kind}")
        if isinstance(value, Pointer) and found == f"*{kind}":
            if value.to is None:
                raise self._wrong(f"dereference of nil pointer of type {kind}")
            return value.to
        if found != kind and not (kind == "[]string" and isinstance(value, Slice) and not found.startswith("[]")):  # a named type of them
            raise self._wrong(f"wrong type for value; expected {kind}; got {found}")
        return value
