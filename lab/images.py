"""The two images that the lab brings, made on this machine from Debian's busybox-static: `busybox` and a
`containous/whoami` of the same behaviour.

Owns their content. Archives are `docker save`'s, byte for byte the same each time for the same busybox (so their ids
are too). It never loads them: machines.py does.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
BUSYBOX_NAME = "busybox:latest"
WHOAMI_NAME = "containous/whoami:latest"
CREATED = "2024-01-01T00:00:00Z"
WHOAMI_PORT = 80
BACKLOG = 128  # connections waiting for a server; each `l` of busybox nc adds one
REQUEST_TIMEOUT_S = 10
MAX_HEADER_LINES = 200

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NSSWITCH = b"hosts: files dns\n"
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
_GROUP = b"root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n"

WHOAMI = f"""#!/bin/sh
# One connection: standard input and output are its socket. Answers who we are and what was asked, as containous/whoami does.
CR=$(printf '\\r')
asked="" length=0 lines=0
while [ $lines -lt {MAX_HEADER_LINES} ] && IFS= read -r -t {REQUEST_TIMEOUT_S} line; do
    line=${{line%"$CR"}}
    [ -z "$line" ] && break
    lines=$((lines + 1))
    asked="$asked$line$CR
"
    case "$line" in
        [Cc]ontent-[Ll]ength:*) length=${{line##*[!0-9]}} ;;
    esac
done
[ $lines -eq 0 ] && exit 0
[ "${{length:-0}}" -gt 0 ] && head -c "$length" >/dev/null
socket=$(readlink /proc/$$/fd/0)
socket=${{socket#socket:[}}
remote=$(awk -v inode="${{socket%]}}" '
    function byte(at) {{ return index("0123456789ABCDEF", substr($3, at, 1)) * 16 + index("0123456789ABCDEF", substr($3, at + 1, 1)) - 17 }}
    $10 == inode {{
        at = index($3, ":") - 8
        printf "%d.%d.%d.%d:%d", byte(at + 6), byte(at + 4), byte(at + 2), byte(at), byte(at + 9) * 256 + byte(at + 11)
        exit
    }}' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
read -r name </proc/sys/kernel/hostname
body="Hostname: $name
$(ip -o -4 addr show | awk '{{ sub("/.*", "", $4); print "IP: " $4 }}')
RemoteAddr: $remote
$asked$CR
"
size=$(printf %s "$body" | wc -c)
printf 'HTTP/1.1 200 OK\\r\\nContent-Type: text/plain; charset=utf-8\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n%s' "$size" "$body"
""".encode()


def archives() -> dict[str, bytes]:
    """The archives by image name. Raises FileNotFoundError without busybox-static, ValueError when it is not a static
    program.
    """
    program = BUSYBOX.read_bytes()
    if _is_dynamic(program):
        raise ValueError(f"{BUSYBOX} is not static: install the package busybox-static")
    base = _layer(_busybox_files(program))
    top = _layer(iter([_file("whoami", WHOAMI, 0o755)]))
    serve = ["/bin/busybox", "nc", "-" + "l" * BACKLOG, "-p", str(WHOAMI_PORT), "-e", "/whoami"]
    return {
        BUSYBOX_NAME: _archive(BUSYBOX_NAME, [base], {"Cmd": ["sh"], "Env": [_PATH]}),
        WHOAMI_NAME: _archive(WHOAMI_NAME, [base, top], {"Entrypoint": serve, "Env": [_PATH], "ExposedPorts": {f"{WHOAMI_PORT}/tcp": {}}}),
    }


Member = tuple[tarfile.TarInfo, bytes]


def _busybox_files(program: bytes) -> Iterator[Member]:
    for folder, mode in (
        ("bin", 0o755), ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("proc", 0o755), ("root", 0o700), ("sys", 0o755), ("tmp", 0o1777),
        ("usr", 0o755), ("usr/bin", 0o755), ("usr/sbin", 0o755), ("sbin", 0o755), ("var", 0o755),
    ):  # fmt: skip
        info = tarfile.TarInfo(folder)
        info.type, info.mode = tarfile.DIRTYPE, mode
        yield info, b""
    yield _file("bin/busybox", program, 0o755)
    for applet in _applets():
        link = tarfile.TarInfo(f"bin/{applet}")
        link.type, link.linkname, link.mode = tarfile.LNKTYPE, "bin/busybox", 0o755
        yield link, b""
    link = tarfile.TarInfo("usr/bin/env")
    link.type, link.linkname = tarfile.SYMTYPE, "../../bin/env"
    yield link, b""
    yield _file("etc/passwd", _PASSWD, 0o644)
    yield _file("etc/group", _GROUP, 0o644)
    yield _file("etc/nsswitch.conf", _NSSWITCH, 0o644)


def _applets() -> list[str]:
    listed = subprocess.run([str(BUSYBOX), "--list"], capture_output=True, check=True, text=True).stdout
    return [name for name in listed.split() if name != "busybox" and "/" not in name]


def _file(name: str, content: bytes, mode: int) -> Member:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    return info, content


def _layer(members: Iterator[Member]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _archive(name: str, layers: list[bytes], run: dict[str, object]) -> bytes:
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(os.uname().machine, os.uname().machine),
            "config": run,
            "created": CREATED,
            "history": [{"created": CREATED, "created_by": "festoon lab"} for _ in layers],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{d}" for d in digests]},
        },
        sort_keys=True,
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layer_names = [f"{d}/layer.tar" for d in digests]
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": layer_names}]).encode()
    members = [_file(config_name, config, 0o644), *(_file(n, x, 0o644) for n, x in zip(layer_names, layers, strict=True))]
    return _layer(iter([*members, _file("manifest.json", manifest, 0o644)]))


def _is_dynamic(program: bytes) -> bool:
    """Whether an ELF program asks for an interpreter (a PT_INTERP header)."""
    if program[:4] != b"\x7fELF" or program[4] != 2 or program[5] != 1:
        return program[:4] != b"\x7fELF"
    start = int.from_bytes(program[32:40], "little")
    size, count = int.from_bytes(program[54:56], "little"), int.from_bytes(program[56:58], "little")
    return any(int.from_bytes(program[start + n * size : start + n * size + 4], "little") == 3 for n in range(count))
