"""The text of a template as a tree of nodes. Pure; runs nothing. Source: https://pkg.go.dev/text/template and its parse package."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from cluster.model.template_literals import number_of, unquoted
from cluster.model.template_nodes import Call, Chain, Command, Constant, Control, Function, Leave, Literal, Node, Operand, Pipe
from cluster.model.template_tokens import Token, tokens_of

MAX_DEPTH: Final = 64
"""Of control structures and of parentheses."""
_OPERANDS: Final = frozenset({"bool", "character", "dot", "field", "word", "number", "string", "variable", "open"})


class TemplateError(ValueError):
    """The template doesn't parse, or doesn't fit its value. `written`: what it had said before."""

    written = ""


class TemplateSyntaxError(TemplateError):
    """It doesn't parse."""


@dataclass(slots=True)
class _Scope:
    """What a template that is being read knows: one that is defined in another has a scope of its own."""

    variables: list[str] = field(default_factory=lambda: ["$"])
    ranges: int = 0


class Parsed:
    """`root`, and the templates that are defined in it by `name`. Raises TemplateSyntaxError."""

    def __init__(self, text: str, functions: Collection[str], name: str = "") -> None:
        """`name`: what its mistakes call it."""
        self._called = name
        self.named: dict[str, list[Node]] = {}
        self._text = text
        self._functions = functions
        self._tokens = list(tokens_of(text))
        self._next = 0
        self._action_line = 0
        self._depth = 0
        self._scope = _Scope()
        self.root = self._top()

    def _line(self, at: int) -> int:
        return self._text.count("\n", 0, at) + 1

    def _wrong(self, words: str) -> TemplateSyntaxError:
        at = self._tokens[max(0, min(self._next, len(self._tokens)) - 1)].at
        return TemplateSyntaxError(f"template: {self._called}:{self._line(at)}: {words}")

    def _unexpected(self, token: Token, context: str) -> TemplateSyntaxError:
        if token.kind != "error":
            return self._wrong(f"unexpected {token} in {context}")
        extra = ""
        if self._action_line and self._action_line != self._line(token.at):
            extra = f"{'' if token.text.endswith(' action') else ' in action'} started at {self._called}:{self._action_line}"
        return self._wrong(token.text + extra)

    def _take(self, *, spaces: bool = False) -> Token:
        """The next token. `spaces`: also one that only separates."""
        while True:
            token = self._tokens[min(self._next, len(self._tokens) - 1)]
            self._next += 1
            if spaces or token.kind != "space":
                return token

    def _peek(self, *, spaces: bool = False) -> Token:
        before = self._next
        token = self._take(spaces=spaces)
        self._next = before if spaces else self._next - 1
        return token

    def _expect(self, kind: str, context: str) -> Token:
        token = self._take()
        if token.kind != kind:
            raise self._unexpected(token, context)
        return token

    def _top(self) -> list[Node]:
        found: list[Node] = []
        while self._peek().kind != "end":
            before = self._next
            if self._take().kind == "left" and self._take()[:2] == ("keyword", "define"):
                self._define()
                continue
            self._next = before
            node = self._node()
            if isinstance(node, Leave) and node.kind in ("end", "else"):
                raise self._wrong(f"unexpected {node}")
            found.append(node)
        return found

    def _list(self) -> tuple[list[Node], Leave]:
        """Nodes up to an end or else."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"more than {MAX_DEPTH} levels")
        found: list[Node] = []
        while self._peek().kind != "end":
            node = self._node()
            if isinstance(node, Leave) and node.kind in ("end", "else"):
                self._depth -= 1
                return found, node
            found.append(node)
        raise self._wrong("unexpected EOF")

    def _node(self) -> Node:
        token = self._take()
        if token.kind == "text":
            return Literal(token.text)
        if token.kind != "left":
            raise self._unexpected(token, "input")
        self._action_line = self._line(token.at)
        word = self._peek()
        if word.kind != "keyword" or word.text in {"nil", "define"}:
            return self._pipeline("command", "right")
        self._take()
        if word.text in {"break", "continue"}:
            self._expect("right", f"{{{{{word.text}}}}}")
            if not self._scope.ranges:
                raise self._wrong(f"{{{{{word.text}}}}} outside {{{{range}}}}")
        elif word.text == "else":
            if self._peek()[:2] not in (("keyword", "if"), ("keyword", "with")):
                self._expect("right", "else")
        elif word.text == "end":
            self._expect("right", "end")
        elif word.text == "template":
            return self._template()
        elif word.text == "block":
            return self._block()
        else:
            return self._control(word.text)
        return Leave(word.text)

    def _control(self, kind: str) -> Control:
        known = len(self._scope.variables)
        pipe = self._pipeline(kind, "right")
        self._scope.ranges += kind == "range"
        body, end = self._list()
        self._scope.ranges -= kind == "range"
        otherwise: list[Node] = []
        if end.kind == "else":
            word = self._peek()
            if word.kind == "keyword" and word.text == kind and kind != "range":
                self._take()
                otherwise.append(self._control(kind))
            else:
                otherwise, end = self._list()
                if end.kind != "end":
                    raise self._wrong(f"expected end; found {end}")
        del self._scope.variables[known:]
        return Control(kind, pipe, body, otherwise)

    def _define(self) -> None:
        name = unquoted(self._expect("string", "define clause").text)
        self._expect("right", "define clause")
        self._inner(name or "", "define clause")

    def _block(self) -> Call:
        token, name = self._name("block clause")
        pipe = self._pipeline("block clause", "right")
        self._inner(name, "block clause")
        return Call(name, token.text, pipe, token.at)

    def _inner(self, name: str, context: str) -> None:
        outer, self._scope = self._scope, _Scope()
        self.named[name], end = self._list()
        if end.kind != "end":
            raise self._wrong(f"unexpected {end} in {context}")
        self._scope = outer

    def _template(self) -> Call:
        token, name = self._name("template clause")
        if self._peek().kind == "right":
            self._take()
            return Call(name, token.text, None, token.at)
        return Call(name, token.text, self._pipeline("template clause", "right"), token.at)

    def _name(self, context: str) -> tuple[Token, str]:
        token = self._expect("string", context)
        return token, self._string(token)

    def _string(self, token: Token) -> str:
        value = unquoted(token.text)
        if value is None:
            raise self._wrong("invalid syntax")
        return value

    def _pipeline(self, context: str, end: str) -> Pipe:
        at = self._peek().at
        variables, declares = self._declared(context)
        commands: list[Command] = []
        while True:
            token = self._take()
            if token.kind == end:
                break
            if token.kind not in _OPERANDS and token[:2] != ("keyword", "nil"):
                raise self._unexpected(token, context)
            self._next -= 1
            commands.append(self._command())
        if not commands:
            raise self._wrong(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.parts[0], Constant):
                raise self._wrong(f"non executable command in pipeline stage {stage}")
        return Pipe(tuple(commands), variables, declares, at)

    def _declared(self, context: str) -> tuple[tuple[str, ...], bool]:
        """`$x :=`, `$x =`, and in a range `$i, $x :=`."""
        names: list[str] = []
        before = self._next
        while self._peek().kind == "variable":
            name = self._take().text
            sign = self._take()
            if sign.kind not in {"declare", "assign"} and sign.text != ",":
                break
            names.append(name)
            self._scope.variables.append(name)
            if sign.text != ",":
                return tuple(names), sign.kind == "declare"
            if context != "range" or len(names) > 1:
                raise self._wrong(f"too many declarations in {context}")
            if self._peek().kind not in {"variable", "right", "close"}:
                raise self._wrong("range can only initialize variables")
        if not names:
            self._next = before
        return tuple(names), True

    def _command(self) -> Command:
        at = self._peek().at
        parts: list[Operand] = []
        while True:
            self._peek()
            operand = self._operand()
            if operand is not None:
                parts.append(operand)
            token = self._take(spaces=True)
            if token.kind == "space":
                continue
            if token.kind in {"right", "close"}:
                self._next -= 1
            elif token.kind != "pipe":
                raise self._unexpected(token, "operand")
            break
        if not parts:
            raise self._wrong("empty command")
        return Command(tuple(parts), at)

    def _operand(self) -> Operand | None:
        term = self._term()
        if term is None or self._peek(spaces=True).kind != "field":
            return term
        at = self._peek(spaces=True).at
        names = []
        while self._peek(spaces=True).kind == "field":
            names.append(self._take().text[1:])
        if isinstance(term, Constant):
            from cluster.model.go_format import quoted

            raise self._wrong(f"unexpected . after term {quoted(term.said)}")
        if isinstance(term, Chain):
            return Chain(term.of, (*term.names, *names), at)
        return Chain(term, tuple(names), at)

    def _term(self) -> Operand | None:
        token = self._take()
        kind, text, at = token
        if kind == "word":
            if text not in self._functions:
                raise self._wrong(f'function "{text}" not defined')
            return Function(text, at)
        if kind == "dot":
            return Constant("dot", None, text, at)
        if kind == "keyword" and text == "nil":
            return Constant("nil", None, text, at)
        if kind == "bool":
            return Constant("bool", text == "true", text, at)
        if kind == "variable":
            if text not in self._scope.variables:
                raise self._wrong(f'undefined variable "{text}"')
            return Chain(text, (), at)
        if kind == "field":
            return Chain(None, (text[1:],), at)
        if kind == "string":
            return Constant("string", self._string(token), text, at)
        if kind in {"number", "character"}:
            try:
                return Constant(*number_of(text), text, at)
            except ValueError as e:
                raise self._wrong(str(e)) from e
        if kind == "open":
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise self._wrong(f"more than {MAX_DEPTH} levels")
            pipe = self._pipeline("parenthesized pipeline", "close")
            self._depth -= 1
            return pipe
        self._next -= 1
        return None
