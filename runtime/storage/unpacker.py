"""Unpacking a layer by a process of its own. Synchronous: callers use threads.

Owns that process from start to end; a caller that is interrupted kills it. Getting the layer to the disk is the store's
(images/blobs.py, `settle`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from runtime.errors import BadImage
from runtime.images import layers
from runtime.storage.requests import MAX_ANSWER_BYTES, Answer, Done, Failed, Tree, Unpack

WORKER = (sys.executable, "-I", "-m", "runtime.storage.worker")


def unpack(blob: BinaryIO, folder: Path, *, base: bool, limits: layers.Limits) -> layers.Unpacked:
    """Unpack the layer (compressed or not; read from the descriptor's place) into the empty folder. Raises BadImage,
    OSError when the disk refuses.
    """
    request = Unpack(Tree(folder=str(folder)), base, limits.layer_bytes, limits.entries)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb") as answers:
        try:
            process = subprocess.Popen(
                [*WORKER, msgspec.json.encode(request).decode(), str(writer)], stdin=blob, stdout=subprocess.DEVNULL, pass_fds=(writer,)
            )
        finally:
            os.close(writer)
        with process:
            try:
                said = answers.read(MAX_ANSWER_BYTES)
            finally:
                process.kill()  # it has answered, or we are on our way out
    if not said.endswith(b"\n"):
        raise OSError(f"the process that unpacks layers ended with status {process.returncode} and without an answer")
    answer = msgspec.json.decode(said.splitlines()[-1], type=Answer)
    if isinstance(answer, Failed):
        raise BadImage(answer.message) if answer.kind == "bad" else OSError(answer.message)
    assert isinstance(answer, Done)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        layers.mark_opaque(fd, answer.opaque)
    finally:
        os.close(fd)
    return layers.Unpacked(answer.diff_id, answer.size_bytes, answer.entries, answer.opaque)
