"""Unpacking a layer by a process of its own. Synchronous: callers use threads.

Owns that process from start to end; a caller that is interrupted kills it. Getting the layer to the disk is the store's
(images/blobs.py, `settle`).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import BinaryIO

from runtime.errors import UnpackFailed
from runtime.images import layers
from runtime.storage import answers
from runtime.storage.requests import Done, Failed, Tree, Unpack


def unpack(blob: BinaryIO, folder: Path, *, base: bool, limits: layers.Limits) -> layers.Unpacked:
    """Unpack the layer (compressed or not; read from the descriptor's place) into the empty folder. Raises BadImage,
    OSError when the disk refuses.
    """
    request = Unpack(Tree(folder=str(folder)), base, limits.layer_bytes, limits.entries)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb") as answered:
        try:
            process = subprocess.Popen(
                answers.worker(request, writer),
                stdin=blob,
                stdout=subprocess.DEVNULL,
                pass_fds=(writer,),
                process_group=0,  # a terminal's Ctrl-C is for whoever asked, who kills it
            )
        finally:
            os.close(writer)
        with process:
            try:
                said = answered.read(answers.MAX_ANSWER_BYTES)
            finally:
                process.kill()  # it has answered, or we are on our way out
    if not said.endswith(b"\n"):
        raise OSError(f"the process that unpacks layers ended with status {process.returncode} and without an answer")
    answer = answers.read(said.splitlines()[-1])
    if isinstance(answer, Failed):
        raise UnpackFailed(answer.message) if answer.kind == "bad" else OSError(answer.message)
    assert isinstance(answer, Done)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        layers.mark_opaque(fd, answer.opaque)
    finally:
        os.close(fd)
    return layers.Unpacked(answer.diff_id, answer.size_bytes, answer.entries, answer.opaque)
