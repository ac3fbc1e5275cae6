"""A process of its own for work on files that users control: `python -I -m runtime.storage.worker REQUEST ANSWERS`.

It does one request (requests.py): puts the tree together, makes it its root, gives up its rights, and only then looks at a
path or an archive. Standard input and output carry archives, the descriptor ANSWERS says how it went, one JSON object a
line. It is killed with the process that started it.
"""

from __future__ import annotations

import os
import posixpath
import signal
import stat
import sys

import msgspec

from runtime.child.mounts import IN_ROOT
from runtime.errors import BadImage
from runtime.images import compression, layers, tar_writer
from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call
from runtime.storage import pack
from runtime.storage.extract import Extraction
from runtime.storage.requests import Answer, Done, Extract, Failed, Pack, PathStat, Populate, Request, Stat, Tree, Unpack
from runtime.storage.tree import NotRunning, confine, open_in_root, open_tree

PR_SET_PDEATHSIG = 1
OUT_BYTES = 1024 * 1024


class Problem(Exception):
    """Ends the request; `failed` is the answer."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.failed = Failed(kind, message)


def main(argv: list[str]) -> int:
    call(Call.PRCTL, PR_SET_PDEATHSIG, signal.SIGKILL)
    request = msgspec.json.decode(argv[1], type=Request)
    answers = int(argv[2])
    try:
        _perform(request, answers)
    except Problem as problem:
        say(answers, problem.failed)
    except (BadImage, pack.TooDeep) as error:
        say(answers, Failed("bad", str(error)))
    except NotRunning:
        say(answers, Failed("failed", "the container has just stopped"))
    except BrokenPipeError:
        return 1  # whoever read the archive has gone
    except OSError as error:
        say(answers, Failed("failed", f"{error.filename or ''}: {error.strerror}".lstrip(": ")))
    return 0


def say(answers: int, answer: Answer) -> None:
    os.write(answers, msgspec.json.encode(answer) + b"\n")


def _perform(request: Request, answers: int) -> None:
    volume = os.open(request.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if isinstance(request, Populate) else -1
    root, user = open_tree(request.tree)
    confine(root, user)
    match request:
        case Stat(path=path):
            say(answers, _stat(root, path))
        case Pack(path=path):
            _pack(root, path, answers)
        case Extract():
            _extract(root, request)
        case Populate(path=path):
            _populate(root, path, volume)
        case Unpack():
            say(answers, _unpack(request))
            return
    say(answers, Done())


def _split(path: str) -> tuple[str, str]:
    """(the folder with its links followed, the last component as it was written): a trailing slash or dot means the folder
    itself, as in Docker.
    """
    absolute = posixpath.join("/", path)
    folder, last = posixpath.split(absolute)
    return os.path.realpath(folder), last


def _located(root: int, path: str) -> tuple[int, str, os.stat_result]:
    """(descriptor of the folder, name, what is there); the name of a folder itself is a dot."""
    folder, last = _split(path)
    name = last or "."
    if name == "..":
        folder, name = os.path.realpath(posixpath.join(folder, "..")), "."
    try:
        parent = open_in_root(root, folder, k.O_RDONLY | k.O_DIRECTORY, IN_ROOT | k.RESOLVE_NO_SYMLINKS)
        return parent, name, os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        raise Problem("not-found", path) from None
    except NotADirectoryError:
        raise Problem("not-a-folder", path) from None


def _stat(root: int, path: str) -> PathStat:
    _, _, found = _located(root, path)
    absolute = posixpath.join("/", path)
    target = os.path.realpath(absolute) if stat.S_ISLNK(found.st_mode) else ""
    name = posixpath.basename(absolute.rstrip("/")) or "/"
    return PathStat(name, found.st_size, found.st_mode, found.st_mtime_ns, target)


def _pack(root: int, path: str, answers: int) -> None:
    with open(1, "wb", buffering=OUT_BYTES, closefd=False) as out:
        packer = pack.Packer(out.write)
        if not path:
            packer.add_all(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), "")
        else:
            described = _stat(root, path)
            parent, name, found = _located(root, path)
            say(answers, described)
            written = posixpath.split(posixpath.join("/", path))[1]
            shown = written or described.name
            if name == "." and stat.S_ISDIR(found.st_mode):
                shown = "./" if written == "." else shown.rstrip("/") + "/"
                out.write(tar_writer.header(shown, found))
                packer.add_all(parent, shown)
            else:
                packer.add(parent, name, shown)
        tar_writer.end(out.write)


def _extract(root: int, request: Extract) -> None:
    folder = os.path.realpath(posixpath.join("/", request.path))
    _refuse_read_only(request.tree, folder)
    try:
        os.close(open_in_root(root, folder, k.O_PATH | k.O_DIRECTORY, IN_ROOT | k.RESOLVE_NO_SYMLINKS))
    except FileNotFoundError:
        raise Problem("not-found", request.path) from None
    except NotADirectoryError:
        raise Problem("bad", "extraction point is not a directory") from None
    Extraction(root, folder, keep_kinds=request.keep_kinds, owner=request.owner).run(compression.reader(_read_input))


def _refuse_read_only(tree: Tree, folder: str) -> None:
    inside = [b for b in tree.binds if folder == b.target or folder.startswith(b.target.rstrip("/") + "/")]
    deepest = max(inside, key=lambda b: len(b.target), default=None)
    if deepest is not None and deepest.read_only:
        raise Problem("read-only", "mounted volume is marked read-only")
    if deepest is None and tree.read_only:
        raise Problem("read-only", "container rootfs is marked read-only")


def _populate(root: int, path: str, volume: int) -> None:
    try:
        source = open_in_root(root, path, k.O_RDONLY | k.O_DIRECTORY)
    except FileNotFoundError:
        return  # the image has nothing there
    except NotADirectoryError:
        raise Problem("bad", f"cannot mount volume over existing file, file exists {path}") from None
    if not os.listdir(volume):
        pack.copy_tree(source, volume)


def _unpack(request: Unpack) -> Done:
    folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    limits = layers.Limits(request.layer_bytes, request.entries)
    done = layers.unpack(compression.reader(_read_input), folder, base=request.base, limits=limits, ahead=True)
    return Done(done.diff_id, done.size_bytes, done.entries, done.opaque)


def _read_input(count: int) -> bytes:
    return os.read(0, count)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
