"""`festoon cp`, `diff`, `export` and `commit`: the files of containers from the command line.

What a container sends is unpacked below the destination by descriptors: no link in it leads anywhere else.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from cli import copy_paths
from cli.api import Api, reference
from cli.commands.image import target
from cli.commands.image_archive import check_output, refuse_terminal, write_out
from cli.failures import ApiFailure, CliFailure
from cli.flags import option, options, switch
from cli.units import human_size
from cli.usage import command
from cluster.model.reference import InvalidReference

PIECE_BYTES: Final = 1024 * 1024
_TAR: Final = (("Content-Type", "application/x-tar"),)
_KINDS: Final = {0: "C", 1: "A", 2: "D"}
_GO_DIR, _GO_LINK = 1 << 31, 1 << 27


def split(text: str) -> tuple[str, str]:
    """(container, path); the container is empty for a path of this machine."""
    if text.startswith(("/", ".")) or ":" not in text:
        return "", text
    container, _, path = text.partition(":")
    return container, path


CP_DETAILS: Final = """\
Use '-' as the source to read a tar archive from stdin
and extract it to a directory destination in a container.
Use '-' as the destination to stream a tar archive of a
container source to stdout."""


@command("cp", "CONTAINER:SRC_PATH DEST_PATH|-\n\t{top} cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH", least=2, most=2,
         summary="Copy files/folders between a container and the local filesystem", details=CP_DETAILS, aliases=["container cp", "cp"])  # fmt: skip
@switch("--archive", "-a", help="Archive mode (copy all uid/gid information)")
@switch("--follow-link", "-L", help="Always follow symbol link in SRC_PATH")
@switch("--quiet", "-q", help="Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached")
def cp(api: Api, arguments: tuple[str, ...], archive: bool | None, follow_link: bool | None, quiet: bool | None) -> int:
    for place, given in zip(("source", "destination"), arguments, strict=True):
        if not given:
            raise CliFailure(f"{place} can not be empty")
    (source_container, source), (target_container, target) = split(arguments[0]), split(arguments[1])
    if source_container and target_container:
        raise CliFailure("copying between containers is not supported")
    if not source_container and not target_container:
        raise CliFailure("must specify at least one container source")
    if source_container:
        count, shown = _out(api, source_container, source, target, follow=bool(follow_link), archive=bool(archive)), os.path.abspath(target)
    else:
        count, shown = _in(api, source, target_container, target, follow=bool(follow_link), archive=bool(archive)), f"{target_container}:{target}"
    if target != "-" and not (quiet if quiet is not None else not sys.stdout.isatty()):
        print(f"Successfully copied {human_size(count)} to {shown}", file=sys.stderr)
    return 0


def _path(container: str) -> str:
    return f"/containers/{reference(container, 'container')}/archive"


def _stat(api: Api, container: str, path: str) -> dict[str, Any]:
    with api.stream("GET", _path(container), path=path) as answer:
        return dict(json.loads(base64.b64decode(answer.header("x-docker-container-path-stat"))))


def _out(api: Api, container: str, source: str, target: str, *, follow: bool, archive: bool) -> int:
    """The bytes of the archive."""
    name = os.path.basename(source)
    if follow and (found := _found(api, container, source)) is not None and found["mode"] & _GO_LINK:
        source = found["linkTarget"]
    with api.stream("GET", _path(container), path=source) as answer:
        if target == "-":
            refuse_terminal("")
            write_out(answer, "")
            return 0
        found = json.loads(base64.b64decode(answer.header("x-docker-container-path-stat")))
        contents = copy_paths.is_contents(source)
        folder, top = copy_paths.destination(target, is_folder=bool(found["mode"] & _GO_DIR), contents=contents)
        if top is None and not contents and os.path.basename(source) != name:
            top = name  # it is called as it was asked for
        return _unpack(answer.pieces(), folder, top, archive=archive)


def _unpack(pieces: Iterator[bytes], folder: str, top: str | None, *, archive: bool) -> int:
    """The bytes that came."""
    from runtime.errors import BadImage
    from runtime.storage.extract import Extraction

    owner = None if archive else (os.getuid(), os.getgid())
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    count = 0

    def counted() -> Iterator[bytes]:
        nonlocal count
        for piece in pieces:
            count += len(piece)
            yield piece

    rest = counted()
    try:
        Extraction(root, "/", keep_kinds=True, owner=owner, top=top).run(_reader(rest))
        for _ in rest:
            pass  # what fills the archive up
        return count
    except BadImage as e:
        raise CliFailure(str(e)) from e
    except OSError as e:
        raise CliFailure(f"{e.filename or folder}: {(e.strerror or str(e)).lower()}") from e
    finally:
        os.close(root)


def _reader(pieces: Iterator[bytes]) -> Any:
    rest = b""

    def read(count: int) -> bytes:
        nonlocal rest
        while not rest:
            piece = next(pieces, None)
            if piece is None:
                return b""
            rest = piece
        out, rest = rest[:count], rest[count:]
        return out

    return read


def _in(api: Api, source: str, container: str, target: str, *, follow: bool, archive: bool) -> int:
    """The bytes of the archive that was made; none of one that was given."""
    if not target:
        raise CliFailure("no such directory")
    found = _found(api, container, target)
    if found is not None and found["mode"] & _GO_LINK:
        target = found["linkTarget"]
        found = _found(api, container, target)
    is_folder = found is not None and bool(found["mode"] & _GO_DIR)
    if source == "-":
        if not is_folder:
            raise CliFailure(f'destination "{container}:{target}" must be a directory')
        _send(api, container, target, sys.stdin.buffer, archive=archive)
        return 0
    path, facts = copy_paths.source(source, follow=follow)
    if is_folder:
        shown = "." if copy_paths.is_contents(source) else os.path.basename(os.path.abspath(source))
    else:
        if found is not None and stat.S_ISDIR(facts.st_mode):
            raise CliFailure("cannot copy directory")
        if found is None and target.endswith("/") and not stat.S_ISDIR(facts.st_mode):
            raise CliFailure("no such directory")
        target, shown = os.path.split(target.rstrip("/") or "/")
    with tempfile.TemporaryFile() as file:
        _pack(path, shown, file)
        count = file.tell()
        file.seek(0)
        _send(api, container, target or "/", file, archive=archive)
    return count


def _found(api: Api, container: str, path: str) -> dict[str, Any] | None:
    """What stands there; whatever is wrong shows when it is written to."""
    try:
        return _stat(api, container, path)
    except ApiFailure:
        return None


def _pack(path: str, shown: str, file: BinaryIO) -> None:
    from runtime.images import tar_writer
    from runtime.storage.pack import Packer

    packer = Packer(file.write)
    if shown == ".":
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        packer.add_all(folder, "./")
    else:
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        packer.add(folder, os.path.basename(path), shown)
    os.close(folder)
    tar_writer.end(file.write)


def _send(api: Api, container: str, folder: str, file: BinaryIO, *, archive: bool) -> None:
    pieces = iter(lambda: file.read(PIECE_BYTES), b"")
    with api.stream("PUT", _path(container), pieces, _TAR, path=folder, noOverwriteDirNonDir="true", copyUIDGID=archive) as answer:
        answer.read()


@command("diff", "CONTAINER", summary="Inspect changes to files or directories on a container's filesystem", least=1, most=1,
         aliases=["container diff", "diff"])  # fmt: skip
def diff(api: Api, arguments: tuple[str, ...]) -> int:
    if not arguments[0]:
        raise CliFailure("Container name cannot be empty")
    for change in api.get(f"/containers/{reference(arguments[0], 'container')}/changes") or ():
        print(f"{_KINDS[change['Kind']]} {change['Path']}")
    return 0


@command("export", "CONTAINER", summary="Export a container's filesystem as a tar archive", least=1, most=1, aliases=["container export", "export"])
@option("--output", "-o", help="Write to a file, instead of STDOUT", default="")
def export(api: Api, arguments: tuple[str, ...], output: str) -> int:
    refuse_terminal(output)
    check_output(output, "failed to export container: ")
    with api.stream("GET", f"/containers/{reference(arguments[0], 'container')}/export") as answer:
        write_out(answer, output)
    return 0


@command("commit", "CONTAINER [REPOSITORY[:TAG]]", summary="Create a new image from a container's changes", least=1, most=2,
         aliases=["container commit", "commit"])  # fmt: skip
@option("--author", "-a", help='Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', default="")
@options("--change", "-c", help="Apply Dockerfile instruction to the created image")
@option("--message", "-m", help="Commit message", default="")
@switch("--pause", "-p", help="Pause container during commit (default true)")
def commit(api: Api, arguments: tuple[str, ...], author: str, change: tuple[str, ...], message: str, pause: bool | None) -> int:
    try:
        name = target(arguments[1]) if len(arguments) > 1 and arguments[1] else None
    except InvalidReference as e:
        raise CliFailure(str(e)) from e
    named = {"repo": name.familiar_repository, "tag": name.tag} if name is not None else {}
    reference(arguments[0], "container")
    query: dict[str, Any] = {"container": arguments[0], **named, "author": author, "comment": message}
    query |= {"changes": list(change), "pause": "0" if pause is False else "1"}
    print(api.post("/commit", {}, **query)["Id"])
    return 0
