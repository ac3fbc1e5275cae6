"""Go's text/template: fields, pipelines, functions, variables, if, range, with, named templates, and its words for what doesn't fit.

Owns running; parsing is in cluster/model/template_syntax.py, the functions in template_functions.py. Pure. Values are what JSON has (dict, list,
str, int, float, bool, None), or of Go's types (go_values.py). Source: https://pkg.go.dev/text/template and docker/cli's templates package.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from cluster.model.go_values import MISSING, Int, Map, Pointer, Slice, Struct, element_type, go_text, key_type, pointee, printed, type_of
from cluster.model.template_functions import FUNCTIONS, NO_VALUE, Function, truth
from cluster.model.template_nodes import Call, Chain, Command, Constant, Control, Leave, Literal, Node, Operand, Pipe
from cluster.model.template_nodes import Function as Name
from cluster.model.template_syntax import Parsed, TemplateError, TemplateSyntaxError

__all__ = ["Template", "TemplateError", "TemplateSyntaxError"]

MAX_OUTPUT: Final = 16 * 1024 * 1024
"""Characters that one template may make."""
MAX_CALLS: Final = 64
"""Templates that call each other; Go's limit is 100,000, which is more than a Python thread has room for."""
_NOTHING: Final = object()
"""No value from an earlier stage of the pipeline."""
_ANY: Final = Function(lambda value: value, ("any",))
_ROW_METHOD: Final = Function(lambda value: value, ("string",))
_EXPECTED: Final = {"string": "string", "int": "integer", "time.Duration": "integer"}
_NILS: Final = frozenset({"any", "[]string", "*time.Location"})
"""Types of arguments that nil fits."""


class _Loose(NamedTuple):
    """An element of what has elements of any type, which Go's messages call by that (`interface {}`) where a range has just come to it."""

    value: Any


def _inside(value: Any) -> Any:
    return value.value if isinstance(value, _Loose) else value


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
        items: Iterable[tuple[Any, Any]] = ()
        if isinstance(value, Mapping) and not isinstance(value, Struct):
            items = sorted(value.items())
        elif isinstance(value, list | tuple):
            items = enumerate(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            if len(names) > 1:
                raise self._wrong(f"can't use {value} to iterate over more than one variable")
            items = ((i, type(value)(i, value.type) if isinstance(value, Int) else i) for i in range(value))
        elif value is not NO_VALUE:
            raise self._wrong(f"range can't iterate over {go_text(value)}")
        loose = isinstance(value, Slice | Map) and element_type(type_of(value)) == "interface {}"
        none = True
        for key, item in items:
            none = False
            before = len(self._variables)
            element = _Loose(item) if loose else item
            for name, part in zip(names, (key, element) if len(names) > 1 else (element,), strict=False):
                self._set(name, part, declare=node.pipe.declares)
            left = self._nodes(node.body, element)
            del self._variables[before:]
            if left == "break":
                break
        return self._nodes(node.otherwise, dot) if none else ""

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
        return _inside(dot) if operand.kind == "dot" else operand.value

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
        kind = "interface {}" if isinstance(value, _Loose) else type_of(value)
        value = _inside(value)
        for number, name in enumerate(chain.names, 1):
            if value is NO_VALUE:
                if self._strict:
                    raise self._wrong(f'nil data; no entry for key "{name}"')
                return value
            inner = pointee(value)
            given, last = (arguments, final) if number == len(chain.names) else ((), _NOTHING)
            found = self._field(inner, name)
            if isinstance(found, Function):
                found = self._apply(found, name, chain, given, dot, last)
            elif given or last is not _NOTHING:
                raise self._wrong(self._no_function(inner, kind, name, found, len(given) + (last is not _NOTHING)))
            elif found is MISSING:
                raise self._wrong(self._without(inner, kind, name))
            kind = element_type(kind) if isinstance(inner, Mapping) and not isinstance(inner, Struct) else type_of(found)
            value = found
        return value

    def _field(self, value: Any, name: str) -> Any:
        """A Function where it is a method, MISSING where it is an error to ask for it."""
        if isinstance(value, Struct):
            found = value.field(name)
        elif isinstance(value, Mapping) and key_type(type_of(value)) == "string":
            found = value.get(name, MISSING if self._strict else NO_VALUE)
        else:
            found = MISSING
        if callable(found):
            return _ROW_METHOD._replace(call=found)
        if found is MISSING:
            from cluster.model.go_methods import method

            return method(value, name) or MISSING
        return found

    def _no_function(self, value: Any, kind: str, name: str, found: Any, given: int) -> str:
        """Why what a field is takes no arguments."""
        if isinstance(value, Mapping) and not isinstance(value, Struct):
            return f"{name} is not a method but has arguments"
        if found is MISSING:
            return self._without(value, kind, name)
        if isinstance(value, Struct) and not value.fields:  # a row, whose fields are methods in Go
            return f"wrong number of args for {name}: want 0 got {given}"
        return f"{name} has arguments but cannot be invoked as function"

    def _without(self, value: Any, kind: str, name: str) -> str:
        if value is None or (isinstance(value, Pointer) and value.to is None and (value.names is None or name in value.names)):
            return f"nil pointer evaluating {'interface {}' if value is None else kind}.{name}"
        if isinstance(value, Mapping) and not isinstance(value, Struct) and self._strict:
            return f'map has no entry for key "{name}"'
        from cluster.model.go_methods import refusal

        return refusal(type_of(value), name) or f"can't evaluate field {name}" + (f" in type {kind}" if kind else "")

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
        expected = _EXPECTED.get(kind)
        if argument.kind == "nil":
            if kind not in _NILS:
                raise self._wrong(f"cannot assign nil to {kind}")
        elif expected is None:
            if kind != "any":
                raise self._wrong(f"can't handle {argument} for arg of type {kind}")
        elif expected == "integer":
            if argument.kind != "int" and not (argument.kind == "float" and argument.value.is_integer()):
                raise self._wrong(f"expected integer; found {argument}")
            return int(argument.value)
        elif argument.kind != expected:
            raise self._wrong(f"expected {expected}; found {argument}")
        return value

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
