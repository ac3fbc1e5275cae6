"""Debian's kernel for guests: fetched by apt, unpacked into a cache outside of the tree, never installed on this host.

Owns the cache: `kernel-VERSION/` with `vmlinux` (uncompressed, because decompression in a translated machine costs 9 s),
`base.cpio` (busybox and the modules that reach the shared root) and `lib/modules/VERSION`. Source: the kernel's
Documentation/x86/boot.rst (the payload of a bzImage), modprobe(8).
"""

from __future__ import annotations

import fcntl
import gzip
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vm import cpio
from vm.errors import VmError

PACKAGE = "linux-image-cloud-amd64"
BUSYBOX = Path("/bin/busybox")
BOOT_MODULES = ("virtio_pci", "virtio_console", "virtiofs", "overlay", "virtio_net", "virtio_blk", "ext4")
"""What a guest needs before it sees the shared root, which has the others."""

_PAYLOAD_FIELDS_AT = 0x248  # payload_offset, payload_length
_SETUP_SECTORS_AT = 0x1F1
_ELF = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Kernel:
    version: str
    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "vmlinux"

    @property
    def base(self) -> Path:
        """The initial file system's part that all guests share."""
        return self.folder / "base.cpio"

    @property
    def modules(self) -> Path:
        return self.folder / "lib/modules" / self.version


def cache() -> Path:
    return Path(os.environ.get("FESTOON_VM_CACHE") or "/var/cache/festoon-vm")


def ready() -> Kernel:
    """The newest kernel of the cache; fetched when there is none. Raises VmError. Two at a time wait for each other."""
    found = _newest()
    if found:
        return found
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _newest() or _fetch()


def _newest() -> Kernel | None:
    folders = [folder for folder in cache().glob("kernel-*") if folder.is_dir()]
    if not folders:
        return None
    folder = max(folders, key=lambda f: [int(n) for n in re.findall(r"\d+", f.name)])
    return Kernel(folder.name.removeprefix("kernel-"), folder)


def _fetch() -> Kernel:
    depends = _output("apt-cache", "depends", "--important", PACKAGE)
    match = re.search(r"Depends: (linux-image-(\d\S*))", depends)
    if not match:
        raise VmError(f"apt offers no {PACKAGE}: a guest needs Debian's kernel (is this Debian, and has `apt-get update` run?)")
    package, version = match[1], match[2]
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=cache()))
    try:
        _output("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, cwd=scratch)
        (archive,) = scratch.glob("*.deb")
        _output("dpkg-deb", "-x", str(archive), str(scratch / "package"))
        folder = scratch / "kernel"
        modules = folder / "lib/modules" / version
        modules.parent.mkdir(parents=True)
        inside = next(path for path in (scratch / "package/lib/modules", scratch / "package/usr/lib/modules") if path.is_dir())
        (inside / version).rename(modules)
        _output("depmod", "--basedir", str(folder), version)
        (folder / "vmlinux").write_bytes(uncompressed((scratch / f"package/boot/vmlinuz-{version}").read_bytes()))
        (folder / "base.cpio").write_bytes(_base(folder, version))
        final = cache() / f"kernel-{version}"
        folder.rename(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Kernel(version, final)


def _base(folder: Path, version: str) -> bytes:
    files = {"bin/busybox": BUSYBOX.read_bytes()}
    order: list[str] = []
    for module in BOOT_MODULES:
        for line in _output("modprobe", "--dirname", str(folder), "--set-version", version, "--show-depends", module).splitlines():
            word, _, rest = line.partition(" ")
            path = Path(rest.split(" ")[0])
            name = path.name.removesuffix(".xz").removesuffix(".zst")
            if word == "insmod" and name not in order:
                order.append(name)
                files[f"modules/{name}"] = _module(path)
    files["modules/order"] = "\n".join(order).encode() + b"\n"
    return cpio.archive(files, folders=("dev", "proc", "sys", "lower", "upper", "new"), programs=frozenset({"bin/busybox"}))


def _module(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else _unzstd(data) if path.suffix == ".zst" else data


def uncompressed(image: bytes) -> bytes:
    """The ELF kernel in a bzImage. Raises VmError for a compression that is not known here."""
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_FIELDS_AT)
    start = ((image[_SETUP_SECTORS_AT] or 4) + 1) * 512 + offset
    payload = image[start : start + length]
    if payload.startswith(b"\xfd7zXZ"):
        elf = lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(payload)
    elif payload.startswith(b"\x1f\x8b"):
        elf = gzip.decompress(payload[:-4])
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        elf = _unzstd(payload)
    elif payload.startswith(b"\x02\x21\x4c\x18"):
        elf = subprocess.run(["lz4", "-dc"], input=payload[:-4], capture_output=True, check=False).stdout  # -4: the kernel appends the size
    else:
        elf = b""
    if not elf.startswith(_ELF):
        raise VmError(f"the kernel's payload is compressed in a way that is not known here ({payload[:6].hex()})")
    return elf


def _unzstd(data: bytes) -> bytes:
    import zstandard  # only kernels of Debian 13 and later need it

    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def _output(*command: str, cwd: Path | None = None) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd).stdout
    except FileNotFoundError:
        raise VmError(f"{command[0]} is missing: `.ci/install` installs what guests need") from None
    except subprocess.CalledProcessError as error:
        raise VmError(f"{command[0]} failed: {error.stderr.strip() or error.returncode}") from None
