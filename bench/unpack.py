"""A layer of 8,000 files and 200 MB: unpacked as by a pull (a confined process, both digests), and by
`tar -xzf`; on this disk and in memory. Neither syncs: a pull does once for all its layers.

Before each turn the disk has nothing left to write, the page cache is given back and the layer read anew; who goes first changes from run to run. A machine
that is itself a guest waits for its host whenever it touches memory that it has not touched for a while: cached pages of earlier turns cost whoever came next
up to four seconds of the kernel's time.

Owns the layer, the same for all runs, and the folders; they are gone afterwards.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.report import Report
from runtime.images.layers import DEFAULT_LIMITS
from runtime.storage.unpacker import unpack

FILES = 8000
LAYER_BYTES = 200_000_000
FOLDERS = {"disk": "/var/tmp", "memory": "/dev/shm"}
WORD_BYTES = 64


def measure(report: Report, runs: int) -> None:
    for where, base in FOLDERS.items():
        with tempfile.TemporaryDirectory(dir=base, prefix="festoon-bench-") as folder:
            layer = Path(folder) / "layer.tar.gz"
            _make(layer)
            peers = [("festoon", _ours), ("tar -xzf", _tar)]
            for run in range(runs + 1):
                for peer, work in peers:
                    target = Path(folder) / "out"
                    target.mkdir()
                    _settle(layer)
                    took = _timed(work, layer, target)
                    shutil.rmtree(target)
                    if run:  # the first one warms up
                        report.add(f"unpack a layer, {where} (s)", peer, took)
                peers.reverse()


def _make(path: Path) -> None:
    """Half of each file is words that repeat, half is not: it becomes half as large."""
    chance = random.Random(1)
    words = chance.randbytes(WORD_BYTES * 16)
    with tarfile.open(path, "w:gz", compresslevel=6) as archive:
        for number in range(FILES):
            size = LAYER_BYTES // FILES
            data = chance.randbytes(size // 2) + (words * (size // len(words) + 1))[: size - size // 2]
            info = tarfile.TarInfo(f"usr/lib/{number % 200}/{number}")
            info.size = size
            archive.addfile(info, io.BytesIO(data))


def _settle(layer: Path) -> None:
    """Source: Linux's Documentation/admin-guide/sysctl/vm.rst, drop_caches."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    layer.read_bytes()


def _timed(work: Callable[[Path, Path], None], layer: Path, target: Path) -> float:
    began = time.perf_counter()
    work(layer, target)
    return time.perf_counter() - began


def _ours(layer: Path, target: Path) -> None:
    with layer.open("rb") as blob:
        hashlib.file_digest(blob, "sha256")
        blob.seek(0)
        unpack(blob, target, base=True, limits=DEFAULT_LIMITS)


def _tar(layer: Path, target: Path) -> None:
    subprocess.run(["tar", "-xzf", layer, "-C", target], check=True)

