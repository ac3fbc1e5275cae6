"""--env-file and --label-file: one `NAME=value` a line. Source: docker/cli's pkg/kvfile."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Final

from cli.failures import CliFailure

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def env_lines(paths: Iterable[str], own: Mapping[str, str]) -> list[str]:
    """`NAME=value` of all files. A NAME alone takes its value from our `own` environment; one that has none there is left out. Raises CliFailure."""
    lines = (line for path in paths for line in lines_of(path, _read(path)))
    return [line if "=" in line else f"{line}={own[line]}" for line in lines if "=" in line or line in own]


def label_lines(paths: Iterable[str]) -> list[str]:
    """The same, but that a label can't be taken from the environment."""
    return env_lines(paths, {})


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
