"""A Dockerfile's words: cut at white space outside of quotes, then without their quotes and with variables put in. Pure.

Source: Docker's Dockerfile reference ("Environment replacement"); `dockerfile/shell` for the corner cases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from runtime.errors import BadImage

MAX_DEPTH: Final = 50
"""Of variables in each other's defaults."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]|[@*#]", re.ASCII)


def split(text: str) -> list[str]:
    """With their quotes and backslashes, which `expand` takes away."""
    found: list[str] = []
    word, quote, at = "", "", 0
    while at < len(text):
        letter = text[at]
        if letter == "\\" and quote != "'" and at + 1 < len(text):
            word += text[at : at + 2]
            at += 2
            continue
        if letter.isspace() and not quote:
            if word:
                found.append(word)
            word = ""
        else:
            if letter in "'\"" and quote in ("", letter):
                quote = "" if quote else letter
            word += letter
        at += 1
    return [*found, word] if word else found


def expand(word: str, env: Mapping[str, str]) -> str:
    """What it says. Raises BadImage."""
    return _Reader(word, env).until("")


class _Reader:
    """The position in one word."""

    def __init__(self, word: str, env: Mapping[str, str]) -> None:
        self._word, self._env, self._at, self._depth = word, env, 0, 0

    def until(self, end: str) -> str:
        """Up to a letter outside of quotes, which is left; empty: to the word's end."""
        out = ""
        while letter := self._peek():
            if letter == end:
                return out
            self._at += 1
            if letter == "'":
                out += self._quoted()
            elif letter == '"':
                out += self._double_quoted()
            elif letter == "$":
                out += self._variable()
            elif letter == "\\":
                out += self._take()
            else:
                out += letter
        if end:
            raise BadImage("syntax error: missing '}'")
        return out

    def _peek(self) -> str:
        return self._word[self._at : self._at + 1]

    def _take(self) -> str:
        letter = self._peek()
        self._at += 1
        return letter

    def _quoted(self) -> str:
        end = self._word.find("'", self._at)
        if end < 0:
            raise BadImage("unexpected end of statement while looking for matching single-quote")
        inside, self._at = self._word[self._at : end], end + 1
        return inside

    def _double_quoted(self) -> str:
        out = ""
        while letter := self._take():
            if letter == '"':
                return out
            if letter == "$":
                out += self._variable()
            elif letter == "\\" and self._peek() in ('"', "$", "\\"):
                out += self._take()
            else:
                out += letter
        raise BadImage("unexpected end of statement while looking for matching double-quote")

    def _variable(self) -> str:
        if self._peek() != "{":
            name = self._name()
            return self._env.get(name, "") if name else "$"
        self._at += 1
        name = self._name()
        if not name:
            raise BadImage("syntax error: bad substitution")
        value, letter = self._env.get(name), self._take()
        if letter == "}":
            return value or ""
        modifier = self._take() if letter == ":" else ""
        if modifier not in ("+", "-", "?"):
            raise BadImage(f"unsupported modifier ({modifier or letter}) in substitution")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadImage(f"syntax error: more than {MAX_DEPTH} substitutions in each other")
        other = self.until("}")
        self._at += 1
        self._depth -= 1
        if modifier == "+":
            return other if value else ""
        if modifier == "?" and not value:
            raise BadImage(f"{name}: {other or 'not allowed to be empty'}")
        return value or other

    def _name(self) -> str:
        found = _NAME.match(self._word, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]
