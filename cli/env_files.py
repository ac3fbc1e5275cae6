"""--env-file and --label-file: one `NAME=value` a line. Source: docker/cli's pkg/kvfile."""

from __future__ import annotations

from collections.abc import Iterable

from cli.failures import CliFailure


def env_lines(paths: Iterable[str]) -> list[str]:
    """The lines of all files, without comments and empty ones. Raises CliFailure."""
    return [line for path in paths for line in lines_of(path, _read(path))]


def lines_of(path: str, data: bytes) -> list[str]:
    """The lines of one file. Raises CliFailure."""
    try:
        texts = data.decode().splitlines()
    except UnicodeDecodeError as e:
        raise CliFailure("env file contains invalid utf8 bytes") from e
    return [_checked(path, line) for text in texts if (line := text.lstrip()) and not line.startswith("#")]


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
        raise CliFailure(f"open {e.filename}: {(e.strerror or '').lower()}") from e
