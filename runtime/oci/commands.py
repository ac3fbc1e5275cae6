"""The commands of festoon-oci, one function each. Each returns the exit status; what goes wrong is raised."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from runtime.child.faults import Refused
from runtime.errors import NoSuchContainer, RuntimeFault, StartFailed
from runtime.oci import state
from runtime.oci.arguments import Line, number

if TYPE_CHECKING:
    from runtime.oci.launch import Wishes

DEFAULT_ROOT = "/run/festoon-oci"


def root_of(line: Line) -> str:
    return line.settings.get("root") or DEFAULT_ROOT


def _one(line: Line) -> str:
    if not line.arguments:
        raise Refused(f"{line.command}: a container ID is needed")
    if len(line.arguments) > 1:
        raise Refused(f"{line.command}: exactly 1 argument is needed, {len(line.arguments)} were given")
    return line.arguments[0]


def create(line: Line) -> int:
    from runtime.oci import launch

    launch.create(root_of(line), _one(line), _wishes(line, detached=True))
    return 0


def _wishes(line: Line, *, detached: bool) -> Wishes:
    from runtime.oci.launch import Wishes

    return Wishes(
        bundle=line.text("bundle", "."),
        console_socket=line.text("console-socket"),
        pid_file=line.text("pid-file"),
        preserved=_preserved(line),
        pivot=not line.flag("no-pivot"),
        new_keyring=not line.flag("no-new-keyring"),
        detached=detached,
    )


def _preserved(line: Line) -> int:
    """Descriptors after standard error, with systemd's socket activation counted in."""
    wanted = number(line, "preserve-fds") + int(os.environ.get("LISTEN_FDS") or 0)
    for descriptor in range(3, 3 + wanted):
        try:
            os.set_inheritable(descriptor, True)
        except OSError as error:
            raise Refused(f"--preserve-fds: descriptor {descriptor} is not open: {error.strerror}") from error
    return wanted


def start(line: Line) -> int:
    from runtime.oci import launch

    launch.start(root_of(line), _one(line))
    return 0


def run(line: Line) -> int:
    from runtime.oci import foreground, launch

    detached = line.flag("detach")
    container_id, root = _one(line), root_of(line)
    made = launch.create(root, container_id, _wishes(line, detached=detached))
    try:
        launch.start(root, container_id)
    except (RuntimeFault, Refused, OSError):
        _delete(root, container_id, force=True)
        raise
    if detached:
        return 0
    status = foreground.wait(made.saved.pid, made.master)
    if not line.flag("keep"):
        _delete(root, container_id, force=True)
    return status


def show(line: Line) -> int:
    """state"""
    saved = state.read(root_of(line), _one(line))
    current = state.status(root_of(line), saved)
    shown = {**state.shown(saved, current), "rootfs": saved.root, "created": saved.created, "owner": _name(saved.owner)}
    print(json.dumps(shown, indent=2))
    return 0


def _name(uid: int) -> str:
    return "root" if uid == 0 else str(uid)


def kill(line: Line) -> int:
    if not line.arguments:
        raise Refused("kill: a container ID is needed")
    arguments = [word for word in line.arguments if word not in ("--all", "-a")]
    everybody = line.flag("all") or len(arguments) != len(line.arguments)
    chosen = _signal(arguments[1] if len(arguments) > 1 else "SIGTERM")
    root = root_of(line)
    saved = state.read(root, arguments[0])
    if everybody:
        from runtime.oci import freezing

        freezing.signal_all(saved.groups, chosen)
        return 0
    try:
        pidfd = os.pidfd_open(saved.pid) if saved.pid > 0 else -1
    except ProcessLookupError:
        pidfd = -1
    if pidfd < 0 or not state.alive(saved):
        raise RuntimeFault("container not running")
    try:
        signal.pidfd_send_signal(pidfd, chosen)
    except ProcessLookupError as error:
        raise RuntimeFault("container not running") from error
    finally:
        os.close(pidfd)
    if chosen == signal.SIGKILL:
        from runtime.cgroups import freezer

        freezer.thaw(saved.groups)
    return 0


def _signal(word: str) -> int:
    """A number, or a name with or without SIG."""
    if word.isdigit():
        value = int(word)
    else:
        name = "SIG" + word.upper().removeprefix("SIG")
        value = getattr(signal, name, 0)
    if not 0 < value < 65:
        raise Refused(f"unknown signal {word!r}")
    return int(value)


def delete(line: Line) -> int:
    try:
        _delete(root_of(line), _one(line), force=line.flag("force"))
    except NoSuchContainer:
        if not line.flag("force"):
            raise
    return 0


def _delete(root: str, container_id: str, *, force: bool) -> None:
    """The processes first, then the groups, then the folder, then poststop hooks: interrupted anywhere, the next delete goes on."""
    from runtime.oci import bundle, freezing, hooks, placing

    folder = state.folder_of(root, container_id)
    held = state.lock(folder)
    try:
        try:
            saved = state.read(root, container_id)
        except NoSuchContainer:  # a create that was killed before it wrote anything
            state.remove(folder)
            return
        current = state.status(root, saved)
        if current in ("running", "paused") and not force:
            raise RuntimeFault(f"cannot delete container {container_id} that is not stopped: {current}")
        if current == "creating" and saved.pid == 0 and not force:
            raise RuntimeFault(f"cannot delete container {container_id} that is not stopped: {current}")
        if state.alive(saved):
            os.kill(saved.pid, signal.SIGKILL)
        freezing.kill_all(saved.groups)
        freezing.remove_groups(saved.groups)
        placing.remove_default_parents(saved.groups)
        after = bundle.parse(state.read_config(folder), saved.bundle).hooks.get("poststop", ())
        state.remove(folder)
    finally:
        os.close(held)
    for hook in after:
        try:
            hooks.run_all("poststop", (hook,), state.encode(saved, "stopped"))
        except (StartFailed, OSError) as error:  # the container is gone: the others are run all the same
            print(f"festoon-oci: warning: {error}", file=sys.stderr)


def join(line: Line) -> int:
    """exec"""
    from runtime.oci import foreground, joining

    if not line.arguments:
        raise Refused("exec: a container ID is needed")
    detached = line.flag("detach")
    pid, master = joining.join(
        root_of(line),
        line.arguments[0],
        joining.Asked(
            process_file=line.text("process"),
            argv=tuple(line.arguments[1:]),
            cwd=line.text("cwd"),
            env=tuple(line.lists.get("env", ())),
            user=line.text("user"),
            groups=tuple(int(word) for word in line.lists.get("additional-gids", ()) if word.isdigit()),
            capabilities=tuple(line.lists.get("cap", ())),
            terminal=line.flag("tty"),
            no_new_privileges=line.flag("no-new-privs"),
            apparmor=line.text("apparmor"),
            console_socket=line.text("console-socket"),
            pid_file=line.text("pid-file"),
            preserved=_preserved(line),
            detached=detached,
            paused_too=line.flag("ignore-paused"),
        ),
    )
    return 0 if detached else foreground.wait(pid, master)
