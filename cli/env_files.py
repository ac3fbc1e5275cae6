"""--env-file and --label-file: one `NAME=value` a line. Source: docker/cli's pkg/kvfile."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Final

from cli.failures import CliFailure

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def env_lines(paths: Iterable[str]) -> list[str]:
    """The lines of all files, without comments, empty ones and names that our own environment has no value for. Raises CliFailure."""
    return [line for path in paths for line in lines_of(path, _read(path)) if "=" in line or line in os.environ]


def label_lines(paths: Iterable[str]) -> list[str]:
    """The same, without those that give no value: a label can't be taken from the environment."""
    return [line for line in env_lines(paths) if "=" in line]


def lines_of(path: str, data: bytes) -> list[str]:
    """The lines of one file. Raises CliFailure."""
    rows = data.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    texts = [_text(path, number, row.removesuffix(b"\r")) for number, row in enumerate(rows, 1)]
    return [_checked(path, line) for text in texts if (line := text.lstrip()) and not line.startswith("#")]


def _text(path: str, number: int, row: bytes) -> str:
    try:
        return row.decode()
    except UnicodeDecodeError as e:
        raise CliFailure(f"invalid env file ({path}): invalid utf8 bytes at line {number}: [{' '.join(map(str, row))}]") from e


def _checked(path: str, line: str) -> str:
    name = line.partition("=")[0]
    if not name:
        raise CliFailure(f"invalid env file ({path}): no variable name on line '{line}'")
    if any(character.isspace() for character in name):
        raise CliFailure(f"invalid env file ({path}): variable '{name}' contains whitespaces")
    return line


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as e:
        reason = (e.strerror or "").lower()
        raise CliFailure(f"invalid env file ({path}): read {path}: {reason}" if e.errno == errno.EISDIR else f"open {path}: {reason}") from e
