"""A process of its own for work on files that users control: `worker.py REQUEST ANSWERS`.

It does one request (requests.py): puts the tree together, makes it its root, gives up its rights, and only then looks at a
path or an archive (but for an archive's first bytes, which say whose library it takes). Standard input and output carry archives,
the descriptor ANSWERS says how it went, one JSON object a line. It is killed with the process that started it. It imports what its
request takes and no more: that is most of a small request's time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

from runtime.errors import BadImage
from runtime.kernel import constants as k
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call
from runtime.storage import places, requests
from runtime.storage.requests import Answer, Done, Extract, Failed, Pack, Populate, Request, Stat, Unpack
from runtime.storage.tree import NotRunning, confine, open_tree


def main(argv: list[str]) -> int:
    """`argv[1]` is the request, `argv[2]` the descriptor of the answers."""
    call(Call.PRCTL, k.PR_SET_PDEATHSIG, signal.SIGKILL)
    request, answers = requests.read_request(argv[1]), int(argv[2])

    def say(answer: Answer) -> None:
        os.write(answers, requests.written(answer).encode() + b"\n")

    try:
        work = _work(request, say)
        root, user = open_tree(request.tree)
        confine(root, user)
        say(work(root))
    except places.Problem as problem:
        say(problem.failed)
    except BadImage as error:
        say(Failed("bad", str(error)))
    except NotRunning:
        say(Failed("stopped", "the container has just stopped"))
    except BrokenPipeError:
        return 1  # whoever read the archive has gone
    except OSError as error:
        say(Failed("failed", f"{error.filename or ''}: {error.strerror}".lstrip(": ")))
    return 0


def _work(request: Request, say: Callable[[Answer], None]) -> Callable[[int], Answer]:
    """What is to be done in the tree, given its descriptor; with all that it takes of the host, which is out of reach then."""
    match request:
        case Stat(path=path):
            return partial(places.described, path=path)
        case Pack(path=path):
            from runtime.storage import pack

            return partial(pack.to_output, path=path, describe=say)
        case Extract():
            from runtime.images import compression
            from runtime.storage import extract

            return partial(extract.into, request=request, read=compression.reader(_read_input))
        case Populate(path=path):
            from runtime.storage import pack

            volume = os.open(request.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return partial(pack.populate, path=path, volume=volume)
        case Unpack():
            from runtime.images import compression, layers

            limits = layers.Limits(request.layer_bytes, request.entries)
            read = compression.reader(_read_input)
            return lambda _: Done(*layers.unpack(read, _opened_root(), base=request.base, limits=limits, ahead=True))


def _opened_root() -> int:
    """The tree's root for reading its facts and changing them: the descriptor that it was entered by does neither."""
    return os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _read_input(count: int) -> bytes:
    return os.read(0, count)
