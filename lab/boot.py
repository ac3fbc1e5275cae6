"""`python -I -m lab.boot`: the short-lived program that makes one machine, starts what runs on it, and ends.

Owns a machine's own view of the host: cgroups first, then namespaces, then mounts, then the process that holds it all
together, then the node's program. Started by machines.py with a network namespace (a new machine) or without (an old
one whose program has died). Everything that it mounts is in the machine's own mount namespace.
"""

from __future__ import annotations

import os
import sys

from lab import enter, mounts
from netfabric.netlink import libc

HOLDER = "/bin/cat"
"""Waits in read(2) on a pipe that nobody but itself can write to: the smallest program that is everywhere and waits for
ever.
"""

CGROUP_ROOT = "/sys/fs/cgroup"
RUN_OPTIONS = "mode=755,size=25%"
LOG = "festoond.log"
_HOLDER_DESCRIPTOR = 10
_ENVIRONMENT_KEPT = ("LANG", "LC_ALL", "TZ", "TERM", "FESTOON_SPEAK")


def main(arguments: list[str]) -> int:
    """Arguments: folder, lab, machine, network namespace's descriptor or -1, ready descriptor, then the program. Errors
    are one line on stderr.
    """
    folder, lab, machine, network, ready = arguments[:5]
    try:
        if network == "-1":
            enter.machine(lab, machine)
        else:
            _build(folder, machine, int(network))
            _record(folder, "holder", _spawn_holder(f"festoon-lab {lab} {machine}", int(ready)))
        _record(folder, "festoond", _spawn_program(folder, arguments[5:]))
    except (OSError, enter.NotThere) as error:
        print(f"{machine}: {error}", file=sys.stderr)
        return 1
    return 0


def _build(folder: str, machine: str, network: int) -> None:
    groups = enter.groups(folder)
    depth = len(folder.removeprefix(enter.ROOT).strip("/").split("/")) + 1  # festoon-lab/<lab>/<machine>
    for group in groups:
        enter.enter_group(group)
    libc.setns(network)
    os.close(network)
    libc.unshare(enter.CLONE_NEWNS | enter.CLONE_NEWUTS | enter.CLONE_NEWCGROUP)
    mounts.make_private()
    opened = [(group, os.open(group, os.O_PATH | os.O_CLOEXEC)) for group in groups]  # in our own mount namespace
    _mount_sys([("/".join(group.split("/")[:-depth]), fd) for group, fd in opened])
    _mount_run()
    mounts.bind(f"{folder}/state", "/var/lib/festoon")
    with open("/proc/sys/kernel/hostname", "w", encoding="utf-8") as file:
        file.write(machine)


def _mount_sys(groups: list[tuple[str, int]]) -> None:
    """sysfs of our own network namespace, and each cgroup hierarchy from the machine's group on. `groups`: (mount point
    on the host, group's descriptor).
    """
    links = [(e.name, os.readlink(e.path)) for e in os.scandir(CGROUP_ROOT) if e.is_symlink()]
    mounts.new_sysfs("/sys")
    if [mount for mount, _ in groups] != [CGROUP_ROOT]:
        mounts.new_tmpfs(CGROUP_ROOT, "mode=755")
    for mount, fd in groups:
        if mount.startswith(CGROUP_ROOT):
            os.makedirs(mount, exist_ok=True)
            mounts.bind(f"/proc/self/fd/{fd}", mount)
        os.close(fd)
    for name, target in links:
        os.symlink(target, f"{CGROUP_ROOT}/{name}")


def _mount_run() -> None:
    """An empty /run, but for what a node needs there: the Docker client's socket, and the resolver's file where /etc
    points to one.
    """
    resolver = os.path.realpath("/etc/resolv.conf")
    content = b""
    if resolver.startswith("/run/") and os.path.exists(resolver):
        with open(resolver, "rb") as file:
            content = file.read()
    mounts.new_tmpfs("/run", RUN_OPTIONS)
    os.mkdir("/run/lock", 0o755)
    os.symlink("festoon/festoon.sock", "/run/docker.sock")
    if content:
        os.makedirs(os.path.dirname(resolver), exist_ok=True)
        with open(resolver, "wb") as file:
            file.write(content)


def _spawn_holder(name: str, ready: int) -> int:
    reader, writer = os.pipe()
    actions = [
        (os.POSIX_SPAWN_CLOSE, ready),
        (os.POSIX_SPAWN_DUP2, reader, 0),
        (os.POSIX_SPAWN_DUP2, writer, _HOLDER_DESCRIPTOR),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
    ]
    os.chdir("/")
    pid = os.posix_spawn(HOLDER, [name], {}, file_actions=actions, setsid=True)
    os.close(reader)
    os.close(writer)
    return pid


def _spawn_program(folder: str, program: list[str]) -> int:
    environment = {key: os.environ[key] for key in _ENVIRONMENT_KEPT if key in os.environ}
    own = os.path.dirname(sys.executable)
    environment["PATH"] = f"{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment["HOME"] = "/root"
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, f"{folder}/{LOG}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    os.chdir("/")
    return os.posix_spawn(program[0], program, environment, file_actions=actions, setsid=True)


def _record(folder: str, name: str, pid: int) -> None:
    """`pid start-time`, which nobody can mistake for another process later."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        started = file.read().rpartition(")")[2].split()[19]
    with open(f"{folder}/.{name}.tmp", "w", encoding="utf-8") as file:
        file.write(f"{pid} {started}\n")
    os.replace(f"{folder}/.{name}.tmp", f"{folder}/{name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
