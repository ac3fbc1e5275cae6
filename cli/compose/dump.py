"""Plain values as YAML text, letter for letter as docker's `stack config` writes them. Pure.

Source: Go's yaml.v3 (emitterc.go, encode.go) with an indentation of two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from cli.compose.longforms import Bytes, Value, text_of
from cli.compose.source import scalar
from cli.compose.stack import Stack
from cluster.model.go_values import Duration

_OLD_BOOLEAN: Final = re.compile(r"y|Y|yes|Yes|YES|on|On|ON|n|N|no|No|NO|off|Off|OFF")
_SPECIAL_FLOAT: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_SIXTIES: Final = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9:]+(?:\.[0-9]*)?[ \t]*(?:Z|[-+][0-9:]+)?)?")
_DIGITS: Final = re.compile(r"[-+]?0[0-9]+")
_ESCAPES: Final = {character: "\\" + letter for character, letter in zip('\0\a\b\t\n\v\f\r\x1b"\\', '0abtnvfre"\\', strict=True)}
_ESCAPES_ABOVE: Final = {"\x85": "\\N", "\u2028": "\\L", "\u2029": "\\P"}


def stack_text(stack: Stack) -> str:
    """The whole stack."""
    made: Value = {"version": stack.version, "services": dict(stack.services)}
    for name in ("networks", "volumes", "secrets", "configs"):
        if section := getattr(stack, name):
            made[name] = dict(section)
    return dump(made | {key: _sorted(value) for key, value in stack.extras.items()})


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in sorted(value.items())}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def dump(value: Mapping[str, Any]) -> str:
    """A mapping as a document. Raises nothing: any text can be written."""
    return "".join(line + "\n" for line in _mapping(value, 0)) if value else "{}\n"


def _mapping(value: Mapping[str, Any], indent: int) -> list[str]:
    lines: list[str] = []
    for key, item in value.items():
        lines += _entry(" " * indent + _text(str(key), indent + 2, key=True) + ":", item, indent)
    return lines


def _entry(head: str, item: Any, indent: int) -> list[str]:
    """A value after its key."""
    if isinstance(item, dict) and item:
        return [head, *_mapping(item, indent + 2)]
    if isinstance(item, list) and item:
        return [head, *_list(item, indent + 2)]
    return [f"{head} {_leaf(item, indent + 2)}"]


def _list(value: list[Any], indent: int) -> list[str]:
    lines: list[str] = []
    dash = " " * indent + "- "
    for item in value:
        if isinstance(item, (dict, list)) and item:
            nested = _mapping(item, indent + 2) if isinstance(item, dict) else _list(item, indent + 2)
            lines += [dash + nested[0][indent + 2 :], *nested[1:]]
        else:
            lines.append(dash + _leaf(item, indent + 2))
    return lines


def _leaf(value: Any, indent: int) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return text_of(value)
    if isinstance(value, Duration):
        return _text(str(value), indent)
    if isinstance(value, Bytes):
        return f'"{int(value)}"'
    if isinstance(value, (int, float)):
        return text_of(value)
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    return _text(value, indent)


def _text(text: str, indent: int, *, key: bool = False) -> str:
    if not text or _reads_otherwise(text):
        return f'"{text}"'
    if any(not _printable(character) for character in text):
        return '"' + "".join(_escaped(character) for character in text) + '"'
    if "\n" in text:
        return '"' + "".join(_escaped(character) for character in text) + '"' if key else _block(text, indent)
    if _needs_quotes(text):
        return "'" + text.replace("'", "''") + "'"
    return text


def _reads_otherwise(text: str) -> bool:
    """Whether the word alone would be no text to some reader of YAML."""
    return not isinstance(scalar(text), str) or any(p.fullmatch(text) for p in (_OLD_BOOLEAN, _SPECIAL_FLOAT, _SIXTIES, _DATE, _DIGITS))


def _printable(character: str) -> bool:
    code = ord(character)
    return character == "\n" or 0x20 <= code <= 0x7E or (0xA0 <= code <= 0xFFFD and not 0xD800 <= code <= 0xDFFF and character != "\ufeff")


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if _printable(character):
        return character
    code = ord(character)
    return _ESCAPES_ABOVE.get(character) or (f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}")


def _block(text: str, indent: int) -> str:
    """A literal block: `|`, with the indentation where the first line has its own, and how it ends."""
    hint = "2" if text[0] in " \n" else ""
    chomp = "-" if not text.endswith("\n") else "+" if text.endswith("\n\n") or text == "\n" else ""
    lines = text.removesuffix("\n").split("\n")
    return "\n".join([f"|{hint}{chomp}", *(" " * indent + line if line else "" for line in lines)])


def _needs_quotes(text: str) -> bool:
    if text[0] in " #,[]{}&*!|>'\"%@`" or text[-1] == " " or text.startswith(("---", "...")):
        return True
    if text[0] in "-?:" and (len(text) == 1 or text[1] == " "):
        return True
    return ": " in text or text.endswith(":") or " #" in text
