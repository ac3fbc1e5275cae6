"""The text of a template as tokens. Pure. Source: https://pkg.go.dev/text/template, its lexical rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

LEFT: Final = "{{"
RIGHT: Final = "}}"
SPACES: Final = " \t\r\n"
KEYWORDS: Final = frozenset({"block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"})
_FOLLOWERS: Final = frozenset(SPACES + ".,|:)(")
_NUMBER: Final = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?|0[oO][0-7_]*|0[bB][01_]*|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?"
)
_QUOTED: Final = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')
_CHARACTER: Final = re.compile(r"'(?:[^'\\\n]|\\[^\n])*'")
_WORD: Final = re.compile(r"\w*")


class Token(NamedTuple):
    """`kind`: text, left, right, space, string, number, character, field, dot, variable, word, bool, keyword, declare, assign, pipe, open, close, other, error
    or end. `at`: where it begins in the template."""

    kind: str
    text: str
    at: int

    def __str__(self) -> str:
        """As Go's messages have it."""
        if self.kind == "end":
            return "EOF"
        if self.kind == "error":
            return self.text
        if self.kind in {"keyword", "dot"}:
            return f"<{self.text}>"
        from cluster.model.go_format import quoted

        return quoted(self.text[:10]) + "..." if len(self.text) > 10 else quoted(self.text)


def tokens_of(text: str) -> Iterator[Token]:
    """Ends with `end` or with the first error."""
    position, trim = 0, False
    while True:
        start = text.find(LEFT, position)
        piece = text[position:] if start < 0 else text[position:start]
        shown = piece.lstrip(SPACES) if trim else piece
        trimmed = start >= 0 and text.startswith("-", start + 2) and text[start + 3 : start + 4] in tuple(SPACES)
        shown = shown.rstrip(SPACES) if trimmed else shown
        if shown:
            yield Token("text", shown, position + piece.find(shown))
        if start < 0:
            yield Token("end", "", len(text))
            return
        inside = start + 2 + trimmed * 2
        if text.startswith("/*", inside):
            end = text.find("*/", inside)
            if end < 0:
                yield Token("error", "unclosed comment", start)
                return
            closing = _closing(text, end + 2)
            if closing is None:
                yield Token("error", "comment ends before closing delimiter", start)
                return
            position, trim = end + 2 + closing, closing > 2
            continue
        yield Token("left", LEFT, start)
        last = Token("left", LEFT, inside)
        for last in _action(text, inside):
            yield last
        if last.kind == "error":
            return
        position, trim = last.at + len(last.text), len(last.text) > 2


def _closing(text: str, at: int) -> int | None:
    """How long the end of an action is that begins there, if one does: four characters with its mark to trim."""
    if text[at : at + 1] in tuple(SPACES) and text.startswith("-" + RIGHT, at + 1):
        return 4
    return 2 if text.startswith(RIGHT, at) else None


def _action(text: str, position: int) -> Iterator[Token]:
    depth = 0
    while True:
        closing = _closing(text, position)
        if closing is not None:
            yield Token("error", "unclosed left paren", position) if depth else Token("right", text[position : position + closing], position)
            return
        token = _next(text, position)
        depth += (token.kind == "open") - (token.kind == "close")
        if depth < 0:
            token = Token("error", "unexpected right paren", position)
        yield token
        if token.kind == "error":
            return
        position += len(token.text)


def _next(text: str, at: int) -> Token:
    character = text[at : at + 1]
    if not character:
        return Token("error", "unclosed action", at)
    if character in SPACES:
        end = at + 1
        while text[end : end + 1] in tuple(SPACES) and _closing(text, end) is None:
            end += 1
        return Token("space", text[at:end], at)
    if character in '"`\'':
        return _literal(text, at, character)
    if character == "." and at + 1 < len(text) and not text[at + 1].isdigit():
        return _named(text, at, "field", "dot")
    if character in "+-." or ("0" <= character <= "9"):
        return _number(text, at)
    if character == "$":
        return _named(text, at, "variable", "variable")
    if character == "_" or character.isalnum():
        return _word(text, at)
    return _sign(text, at, character)


def _sign(text: str, at: int, character: str) -> Token:
    if character == ":":
        return Token("declare", ":=", at) if text.startswith(":=", at) else Token("error", "expected :=", at)
    kind = {"=": "assign", "|": "pipe", "(": "open", ")": "close"}.get(character)
    if kind is None and not (character.isascii() and character.isprintable()):
        return Token("error", f"unrecognized character in action: {_point(character)}", at)
    return Token(kind or "other", character, at)


def _literal(text: str, at: int, quote: str) -> Token:
    if quote == "`":
        end = text.find("`", at + 1)
        return Token("string", text[at : end + 1], at) if end > 0 else Token("error", "unterminated raw quoted string", at)
    match = (_QUOTED if quote == '"' else _CHARACTER).match(text, at)
    if match is None:
        return Token("error", "unterminated quoted string" if quote == '"' else "unterminated character constant", at)
    return Token("string" if quote == '"' else "character", match[0], at)


def _number(text: str, at: int) -> Token:
    match = _NUMBER.match(text, at)
    said = match[0] if match else text[at]
    after = text[at + len(said) : at + len(said) + 1]
    if after == "_" or after.isalnum():
        from cluster.model.go_format import quoted

        return Token("error", f"bad number syntax: {quoted(said + after)}", at)
    return Token("number", said, at)


def _named(text: str, at: int, kind: str, alone: str) -> Token:
    """A field or a variable: a sign with a name behind it."""
    match = _WORD.match(text, at + 1)
    name = match[0] if match else ""
    wrong = _after(text, at + 1 + len(name))
    return wrong or Token(kind if name else alone, text[at] + name, at)


def _word(text: str, at: int) -> Token:
    match = _WORD.match(text, at)
    word = match[0] if match else ""
    wrong = _after(text, at + len(word))
    kind = "bool" if word in ("true", "false") else "keyword" if word in KEYWORDS else "word"
    return wrong or Token(kind, word, at)


def _after(text: str, at: int) -> Token | None:
    """An error where a name ends with what can't follow one."""
    following = text[at : at + 1]
    if not following or following in _FOLLOWERS or text.startswith(RIGHT, at):
        return None
    return Token("error", f"bad character {_point(following)}", at)


def _point(character: str) -> str:
    return f"U+{ord(character):04X}" + (f" '{character}'" if character.isprintable() else "")
