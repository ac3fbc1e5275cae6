"""How a storage worker is started, and what it says, read by those who started it. A worker has seen what users gave: nothing that
it says is believed before its shape has been checked.
"""

from __future__ import annotations

import json
import os
import sys

import _cffi_backend
import isal
import msgspec

from runtime.storage import requests
from runtime.storage.requests import Answer, Done, Failed, PathStat, Request

MAX_ANSWER_BYTES = 1024 * 1024
_SHAPES: dict[str, type[Answer]] = {kind.__name__: kind for kind in (PathStat, Failed, Done)}
_PROGRAM = "import sys; sys.path += sys.argv.pop(1).split(':'); from runtime.storage.worker import main; sys.exit(main(sys.argv))"


def worker(request: Request, descriptor: int) -> list[str]:
    """The command that does the request and answers on the descriptor. Without `site`, which costs more than most requests."""
    places = (__file__.removesuffix("/runtime/storage/answers.py"), os.path.dirname(_cffi_backend.__file__), os.path.dirname(os.path.dirname(isal.__file__)))
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, ":".join(dict.fromkeys(places)), requests.written(request), str(descriptor)]


def read(line: bytes) -> Answer:
    """One line of a worker's; what is no answer is a failure."""
    try:
        kind, fields = json.loads(line)
        answer: Answer = msgspec.convert(fields, type=_SHAPES[kind])
    except (ValueError, KeyError, TypeError, RecursionError):
        return Failed("failed", "the process that handles files gave an answer that can't be read")
    return answer
