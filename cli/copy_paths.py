"""What `festoon cp` means by a path of this machine: which links are followed, and what is refused before anything is copied.

Reads file names, never content. Source: docker/cli's `cp`, moby's pkg/archive/copy.go.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from cli.failures import CliFailure

MAX_LINKS: Final = 10  # at the end of one path, as Docker


def asserts_folder(path: str) -> bool:
    """Whether it says itself that it is a folder, whose links at the end are followed then."""
    return path.endswith(("/", "/.")) or path == "."


def is_contents(path: str) -> bool:
    """Whether what is in the folder is meant, and not the folder."""
    return path.endswith("/.") or path == "." or not path.strip("/")


def source(path: str, *, follow: bool) -> tuple[str, os.stat_result]:
    """The path without links on the way, with `follow` also at its end. Raises CliFailure for one that leads nowhere."""
    whole = os.path.abspath(path)
    folder, name = os.path.split(whole)
    resolved = os.path.realpath(whole) if follow or asserts_folder(path) else f"{os.path.realpath(folder)}/{name}"
    try:
        found = os.lstat(resolved)
    except OSError as e:
        raise CliFailure(f"lstat {_first_missing(resolved)}: {(e.strerror or str(e)).lower()}") from e
    if asserts_folder(path) and not stat.S_ISDIR(found.st_mode):
        raise CliFailure("not a directory")
    return resolved, found


def _first_missing(path: str) -> str:
    parts = [part for part in path.split("/") if part]
    ways = ("/" + "/".join(parts[:end]) for end in range(1, len(parts)))
    return next((way for way in ways if not os.path.lexists(way)), path)


def destination(path: str, *, is_folder: bool, contents: bool) -> tuple[str, str | None]:
    """(folder to unpack in, what takes the place of the archive's first name; None: it keeps its own), for a folder or a file.

    Raises CliFailure.
    """
    whole = os.path.abspath(path)
    _refuse_odd_ones(whole)
    target = _end_of_links(whole)
    if os.path.isdir(target):
        return target, None
    asked = f"{whole}/" if path.endswith("/") else whole
    try:
        os.lstat(asked)
    except NotADirectoryError as e:
        raise CliFailure(f"stat {asked}: not a directory") from e
    except OSError:
        if path.endswith("/") and not is_folder:
            raise CliFailure("no such directory") from None
    if os.path.lexists(target) and is_folder:
        raise CliFailure("cannot copy directory")
    if not os.path.isdir(os.path.dirname(target)):  # where a link leads
        raise CliFailure("no such directory")
    if contents and is_folder:  # whose names begin with a dot
        os.mkdir(target)
        return target, None
    return os.path.split(target)


def _refuse_odd_ones(whole: str) -> None:
    folder = os.path.dirname(whole)
    if not os.path.exists(folder):
        raise CliFailure(f'invalid output path: directory "{folder}" does not exist')
    try:
        mode = os.stat(whole).st_mode
    except OSError:
        return  # what is missing is made
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        kind = "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "an irregular file"
        raise CliFailure(f'invalid output path: "{whole}" must be a directory or a regular file: got {kind}')


def _end_of_links(path: str) -> str:
    for _ in range(MAX_LINKS):
        if not os.path.islink(path):
            return path
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    raise CliFailure(f"too many symlinks in {path}")
