"""A fresh Debian for guests: made by debootstrap once, kept in the cache as an ext4 image, copied for each guest.

Owns the image and the few files that make it boot here; never what is installed on it. A copy has no name in the host's file
system: it ends with the last descriptor of it. Source: debootstrap(8), mke2fs(8) on -d, systemd.network(5).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vm import kernel
from vm.errors import VmError
from vm.machine import Settings

RELEASE = "bookworm"
PACKAGES = ("systemd-sysv", "dbus", "udev", "ca-certificates", "iproute2", "kmod", "procps", "python3")
FURTHER = ("cloud-init",)
"""Beside debootstrap's minimum: what Debian's own cloud images have of it. debootstrap itself can't configure the further ones in a right order."""

DISK_MIB = 4096
MEMORY_MIB = 2048
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}

NETWORK = """\
[Match]
Name=eth0
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
"""
BOOT_FILES: Mapping[str, bytes] = {
    "etc/systemd/network/80-guest.network": NETWORK.encode(),
    "etc/resolv.conf": b"nameserver 10.0.2.3\n",
    "etc/pip.conf": f"[global]\ncert = {CERTIFICATES}\n".encode(),
}
"""Addresses are those of QEMU's own network."""


def missing() -> list[str]:
    """The programs that the image needs and this host has not."""
    return [name for name in ("debootstrap", "mke2fs") if not shutil.which(name)]


@contextmanager
def fresh(files: Mapping[str, bytes], *, name: str = "debian", cpus: int = 2) -> Iterator[Settings]:
    """A guest on a disk that nobody has used, with `files` on it (by path without a leading slash); started again with the same value,
    it has rebooted. Raises VmError."""
    image = _image()
    disk = os.open(kernel.cache(), os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        _run("cp", "--sparse=always", str(image), f"/proc/self/fd/{disk}", passed=disk)
        ours = {**BOOT_FILES, str(CERTIFICATES).lstrip("/"): CERTIFICATES.read_bytes(), "etc/hostname": f"{name}\n".encode()}
        yield Settings(name=name, memory_mib=MEMORY_MIB, cpus=cpus, disk=disk, files={**ours, **files})
    finally:
        os.close(disk)


def _image() -> Path:
    """In the cache, made there when it is not. Two at a time wait for each other."""
    chosen = kernel.ready()
    image = kernel.cache() / f"{RELEASE}-{chosen.version}.img"
    with (kernel.cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if image.exists():
            return image
        for old in kernel.cache().glob(f"{RELEASE}-*.img"):
            old.unlink()
        scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=kernel.cache()))
        try:
            root = scratch / "root"
            _run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", RELEASE, str(root))
            _run("chroot", str(root), "apt-get", "-qq", "update")
            _run("chroot", str(root), "apt-get", "-qq", "-y", "--no-install-recommends", "install", *FURTHER)
            _run("chroot", str(root), "apt-get", "clean")
            modules = root / "lib/modules" / chosen.version
            shutil.copytree(chosen.modules, modules, symlinks=True)
            wants = root / "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
            wants.symlink_to("/lib/systemd/system/systemd-networkd.service")
            made = scratch / "image"
            _run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(made), f"{DISK_MIB}M")
            made.rename(image)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return image


def _run(*command: str, passed: int | None = None) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT, pass_fds=() if passed is None else (passed,))
    except FileNotFoundError:
        raise VmError(f"{command[0]} is missing") from None
    except subprocess.CalledProcessError as error:
        raise VmError(f"{command[0]} failed: {(error.stderr or error.stdout).strip()[-500:]}") from None
