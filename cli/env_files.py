"""--env-file and --label-file: one `NAME=value` a line. Source: docker/cli's pkg/kvfile."""

from __future__ import annotations

from collections.abc import Iterable

from cli.failures import CliFailure


def env_lines(paths: Iterable[str]) -> list[str]:
    """The lines of all files, without comments and empty ones. Raises CliFailure."""
    try:
        return [_checked(path, line) for path in paths for text in _lines(path) if (line := text.lstrip()) and not line.startswith("#")]
    except UnicodeDecodeError as e:
        raise CliFailure("env file contains invalid utf8 bytes") from e
    except OSError as e:
        raise CliFailure(f"open {e.filename}: {(e.strerror or '').lower()}") from e


def _checked(path: str, line: str) -> str:
    name = line.partition("=")[0]
    if not name:
        raise CliFailure(f"invalid env file ({path}): no variable name on line '{line}'")
    if any(character.isspace() for character in name):
        raise CliFailure(f"invalid env file ({path}): variable '{name}' contains whitespaces")
    return line


def _lines(path: str) -> list[str]:
    with open(path) as file:
        return file.read().splitlines()
