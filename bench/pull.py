"""An image of eight layers pulled from a local registry (Debian's docker-registry over plain HTTP, its files on this disk), by Festoon and by
dockerd, in turn: from the request to the last line of progress. The image is removed after each pull.

The layers are those of bench/unpack.py with other contents; BENCH_PULL_FILES makes them smaller (files of 25 kB in each).
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.peers import Daemon, daemons, run
from bench.report import Report

LAYERS = 8
FILES = int(os.environ.get("BENCH_PULL_FILES", "8000"))
FILE_BYTES = 25_000
ADDRESS = "127.0.0.1:5000"
NAME = f"{ADDRESS}/bench/eight"
READY_S = 20.0


def measure(report: Report, runs: int) -> None:
    """Adds the figures. Needs root, docker-registry and skopeo; docker where it is installed."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="festoon-bench-") as folder, contextlib.ExitStack() as stack:
        layout, storage = Path(folder) / "layout", Path(folder) / "registry"
        _make_layout(layout)
        running = stack.enter_context(daemons())
        for number, daemon in enumerate(running.values()):
            stack.enter_context(_registry(daemon, storage))
            if not number:
                _inside(daemon, "skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:1", f"docker://{NAME}:1")
        for turn in range(runs + 1):
            for peer, daemon in running.items():
                took = _pull(daemon)
                if turn:  # the first one warms the page cache
                    report.add(f"pull of {LAYERS} layers of {FILES} files (s)", peer, took)


def _pull(daemon: Daemon) -> float:
    began = time.perf_counter()
    said = daemon.engine.request("POST", f"/images/create?fromImage={NAME}&tag=1")
    took = time.perf_counter() - began
    if b"error" in said:
        raise RuntimeError(said[-500:].decode(errors="replace"))
    daemon.engine.request("DELETE", f"/images/{NAME}:1")
    return took


def _inside(daemon: Daemon, *argv: str) -> None:
    run("nsenter", f"--net=/proc/{daemon.processes()[0]}/ns/net", *argv)


@contextlib.contextmanager
def _registry(daemon: Daemon, storage: Path) -> Iterator[None]:
    """At ADDRESS in the daemon's network namespace."""
    config = storage.with_suffix(".yml")
    files = {"filesystem": {"rootdirectory": str(storage)}}
    config.write_text(json.dumps({"version": 0.1, "log": {"level": "error"}, "storage": files, "http": {"addr": ADDRESS}}))
    argv = ["nsenter", f"--net=/proc/{daemon.processes()[0]}/ns/net", "docker-registry", "serve", str(config)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + READY_S
        while subprocess.run([*argv[:2], "bash", "-c", f"</dev/tcp/{ADDRESS.replace(':', '/')}"], capture_output=True, check=False).returncode:
            if time.monotonic() > end:
                raise RuntimeError("docker-registry does not answer")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def _make_layout(folder: Path) -> None:
    """An OCI layout with one image."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def keep(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    diffs, layers = [], []
    for number in range(LAYERS):
        tar = _layer(number)
        diffs.append("sha256:" + hashlib.sha256(tar).hexdigest())
        layers.append(keep(gzip.compress(tar, 6), "layer.v1.tar+gzip"))
    document = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs}}
    config = keep(json.dumps(document).encode(), "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}
    entry = keep(json.dumps(manifest).encode(), "manifest.v1+json") | {"annotations": {"org.opencontainers.image.ref.name": "1"}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _layer(number: int) -> bytes:
    """Half of each file repeats, half does not."""
    chance = random.Random(number)
    words = chance.randbytes(1024)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for file in range(FILES):
            half = FILE_BYTES // 2
            data = chance.randbytes(half) + (words * (half // len(words) + 1))[: FILE_BYTES - half]
            info = tarfile.TarInfo(f"usr/lib/{number}/{file % 200}/{file}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
