"""One guest: QEMU, and virtiofsd with the host's root read-only, or a disk of the guest's own.

Owns both processes. They are killed by the kernel when the thread that started them ends (PR_SET_PDEATHSIG, by setpriv), and
they are joined by sockets without names, so that nothing is left even after SIGKILL. Source: qemu(1), virtiofsd(1), the
vhost-user and PVH boot protocols.
"""

from __future__ import annotations

import compileall
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vm import cpio, kernel
from vm.errors import VmError
from vm.kernel import Kernel

QEMU = "qemu-system-x86_64"
VIRTIOFSD = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd")
"""Where Debian 13, Debian 12 and Ubuntu have it."""

PROCESSOR = "Nehalem,-vme"
CONSOLE_BYTES_KEPT = 1 << 15
INSTRUCTION_SHIFT = 2
"""Where time is counted an instruction takes 2**2 ns, about what it takes here."""
COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 reboot=t mitigations=off nokaslr no_timer_check tsc=reliable lpj=4000000 random.trust_cpu=on"
    " cryptomgr.notests apparmor=0 audit=0"
)
"""Everything that costs boot time in a translated machine and protects nothing there is off."""

SHARE_OPTIONS = ("-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot", "-o", "xattr")
DISK_COMMAND_LINE = f"{COMMAND_LINE} systemd.wants=guest-agent.service net.ifnames=0"
FRESH = ("/var/lib/festoon", "/var/lib/festoon-lab", "/var/tmp", "/tmp")  # noqa: S108 (the guest's)

_GUEST = Path(__file__).parent / "guest"


class Cgroup(StrEnum):
    V1 = "v1"
    V2 = "v2"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True)
class Link:
    """eth0 of a guest. `tap` exists already, in this process's network namespace."""

    tap: str
    mac: str
    address: str
    """With its prefix length."""
    gateway: str


@dataclass(frozen=True, slots=True)
class Settings:
    name: str = "guest"
    memory_mib: int = 1024
    cpus: int = 1
    counted: bool = False
    """Its clock counts instructions: what else the host does changes no figure that is measured in it. All its processors share one thread."""
    cgroup: Cgroup = Cgroup.V2
    link: Link | None = None
    disk: int | None = None
    """A descriptor of an ext4 file system with a Debian that boots by systemd (debian.py): the guest's root, which it writes to. It gets nothing of
    the host's files, a network of its own that leads outside by QEMU, and all the cgroups that systemd makes."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """What is put on the disk before it boots, by path without a leading slash."""


class Machine:
    """A guest that runs. `port` is the host's end of the agent's port; a context manager that ends it."""

    def __init__(self, settings: Settings, processes: Sequence[subprocess.Popen[bytes]], port: socket.socket, console: socket.socket) -> None:
        self.settings = settings
        self.port = port
        self._processes = processes
        self._console = b""
        self._console_reader = threading.Thread(target=self._read_console, args=(console,), daemon=True)
        self._console_reader.start()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """At once: nothing in it is worth a shutdown. Waits for both processes."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self.port.close()
        self._console_reader.join()

    def console(self) -> str:
        """The end of what the kernel and QEMU have said."""
        return self._console.decode(errors="replace")

    def _read_console(self, console: socket.socket) -> None:
        with console:
            while data := console.recv(CONSOLE_BYTES_KEPT):
                self._console = (self._console + data)[-CONSOLE_BYTES_KEPT:]


def missing() -> list[str]:
    """The programs that guests need and this host has not; empty when guests can run."""
    absent = [name for name in (QEMU, "modprobe", "depmod", "setpriv") if not shutil.which(name)]
    if not _virtiofsd():
        absent.append("virtiofsd")
    if not kernel.BUSYBOX.exists():
        absent.append("busybox (static)")
    return absent


def start(settings: Settings) -> Machine:
    """Start a guest and return at once: it says READY on its port when it has booted. Raises VmError."""
    absent = missing()
    if absent:
        raise VmError(f"guests need {', '.join(absent)}: `.ci/install` installs them on Debian and Ubuntu")
    chosen = kernel.ready()
    ours: list[socket.socket] = []
    with ExitStack() as stack:  # what only the children need
        ends: list[int] = []
        for _ in range(2):
            here, there = socket.socketpair()
            ours.append(here)
            ends.append(stack.enter_context(there).fileno())
        port, console = ends
        initrd = os.memfd_create("initrd")
        stack.callback(os.close, initrd)
        _write_all(initrd, chosen.base.read_bytes() + _own_files(settings, chosen))
        command, passed, served = _qemu(settings, chosen, initrd, port, console), [port, console, initrd], []
        if settings.disk is None:
            _compile()
            share, to_share = _listening(stack)
            served.append(_spawn([_virtiofsd(), f"--fd={share}", *SHARE_OPTIONS], [share], console))
            command += ["-chardev", f"socket,id=share,fd={to_share}", "-device", "vhost-user-fs-pci,chardev=share,tag=root"]
            passed.append(to_share)
        else:
            command += ["-drive", f"file=/proc/self/fd/{settings.disk},format=raw,if=virtio,cache=unsafe"]
            command += ["-netdev", "user,id=link", "-device", "virtio-net-pci,netdev=link"]
            passed.append(settings.disk)
        qemu = _spawn(command, passed, console)
    return Machine(settings, (qemu, *served), ours[0], ours[1])


def _listening(stack: ExitStack) -> tuple[int, int]:
    """virtiofsd's listening socket, which has no name in the file system, and QEMU's connection to it."""
    share = stack.enter_context(socket.socket(socket.AF_UNIX))
    share.bind("")  # Linux chooses an abstract name
    share.listen(1)
    to_share = stack.enter_context(socket.socket(socket.AF_UNIX))
    to_share.connect(share.getsockname())
    return share.fileno(), to_share.fileno()


def _virtiofsd() -> str:
    return next((path for path in VIRTIOFSD if os.access(path, os.X_OK)), "")


def _compile() -> None:
    """The checkout's bytecode, up to date: compiling in a guest takes ten times as long, in each guest again."""
    for entry in os.scandir(_GUEST.parents[1]):
        if entry.is_dir() and not entry.name.startswith("."):
            compileall.compile_dir(entry.path, quiet=2)


def _spawn(command: list[str], descriptors: list[int], errors: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *command],
        stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, pass_fds=descriptors, start_new_session=True,
    )  # fmt: skip


def _own_files(settings: Settings, chosen: Kernel) -> bytes:
    """The guest's own part of the initial file system: our programs, and the answers that they ask for."""
    link = settings.link
    answers = {
        "hostname": settings.name,
        "cgroup": settings.cgroup,
        "modules": str(chosen.modules),
        "fresh": " ".join(_fresh()),
        "python": os.path.realpath(sys.executable),
        "address": link.address if link else "",
        "gateway": link.gateway if link else "",
        "disk": "" if settings.disk is None else "/dev/vda",
    }
    files = {
        "init": (_GUEST / "init").read_bytes(),
        "guest/boot": (_GUEST / "boot").read_bytes(),
        "guest/agent.py": (_GUEST / "agent.py").read_bytes(),
        "guest/agent.service": (_GUEST / "agent.service").read_bytes(),
        "guest/settings": "".join(f"{key}={shlex.quote(value)}\n" for key, value in answers.items()).encode(),
        **{f"guest/files/{path}": data for path, data in settings.files.items()},
    }
    return cpio.archive(files, programs=frozenset({"init"}))


def _fresh() -> list[str]:
    """Folders that are tmpfs of the guest's own, but for one that the checkout or this Python is in."""
    needed = (os.path.realpath(Path(__file__).parent), os.path.realpath(sys.prefix))
    return [folder for folder in FRESH if not any(path.startswith(f"{folder}/") for path in needed)]


def _qemu(settings: Settings, chosen: Kernel, initrd: int, port: int, console: int) -> list[str]:
    memory = f"{settings.memory_mib}M"
    words = COMMAND_LINE if settings.disk is None else DISK_COMMAND_LINE
    command = [
        QEMU, "-name", settings.name, "-machine", "q35,accel=tcg,smm=off,vmport=off", "-cpu", PROCESSOR, "-smp", str(settings.cpus), "-m", memory,
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-kernel", str(chosen.image), "-initrd", f"/proc/self/fd/{initrd}", "-append", words,
        "-object", f"memory-backend-memfd,id=memory,size={memory},share=on", "-numa", "node,memdev=memory",
        "-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console",
        "-chardev", f"socket,id=port,fd={port}", "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=port,nr=1",
    ]  # fmt: skip
    if settings.counted:
        command += ["-icount", f"shift={INSTRUCTION_SHIFT}"]
    if settings.link:
        command += ["-netdev", f"tap,id=link,ifname={settings.link.tap},script=no,downscript=no"]
        command += ["-device", f"virtio-net-pci,netdev=link,mac={settings.link.mac}"]
    return command


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
