"""A container's standard streams before, during and after a run: FIFOs in the run folder or a terminal of its own
devpts. Owns their making.

A FIFO is opened for reading and writing on both sides: the container never gets SIGPIPE, and after a crash of
supervisor and stem the next supervisor opens it by its path. The stem holds duplicates of our ends: what a container
writes before it ends, while no supervisor runs, stays in the FIFO; a terminal's master and the end that keeps input
open can't be found by path at all.
"""

from __future__ import annotations

import os

from runtime.kernel.detached import TTY_GID, mount_devpts, open_terminal, resize_terminal
from runtime.kernel.libc import call
from runtime.kernel.syscalls import Call
from runtime.spec import ContainerSpec
from runtime.supervisor.context import Context
from runtime.supervisor.frames import STDERR, STDOUT
from runtime.supervisor.logfile import LogWriter
from runtime.supervisor.output import Output
from runtime.supervisor.spawn import close_all
from runtime.supervisor.states import Container, Phase

_FIFO = os.O_RDWR | os.O_CLOEXEC
_READER = _FIFO | os.O_NONBLOCK
_OUTPUTS = ((STDOUT, "stdout"), (STDERR, "stderr"))


def prepare(context: Context, container: Container) -> None:
    """Makes the streams of the next run, once: at its first attach or at its start. Raises OSError."""
    if container.output is not None:
        _give_to_user(context, container)
        return
    container.output = _new_output(context, container)
    try:
        container.output.begin()
        _make(context, container, container.output)
    except OSError:
        finish(context, container)
        raise


def _make(context: Context, container: Container, output: Output) -> None:
    spec = container.spec
    if spec.tty:
        container.devpts = mount_devpts(spec.outside(TTY_GID))
        ptmx = call(Call.OPENAT, container.devpts, b"ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        _use_terminal(container, output, ptmx)
        if spec.rows and spec.columns:
            resize_terminal(ptmx, spec.rows, spec.columns)
        context.keeper.keep({f"{spec.id}/master": ptmx})
        _give_to_user(context, container)
        return
    for name in _fifos(container):
        _make_fifo(context, container, name)
    kept = {f"{spec.id}/{name}": _read_fifo(context, container, output, stream, name) for stream, name in _OUTPUTS}
    if spec.open_stdin:
        container.stdin_keeper = os.open(context.places.stream(spec.id, "stdin"), _FIFO)
        kept[f"{spec.id}/stdin"] = container.stdin_keeper
    context.keeper.keep(kept)


def _fifos(container: Container) -> tuple[str, ...]:
    if container.spec.tty:
        return ()
    return ("stdout", "stderr", "stdin") if container.spec.open_stdin else ("stdout", "stderr")


def same_shape(one: ContainerSpec, other: ContainerSpec) -> bool:
    """Whether streams that were made for one specification serve the other."""
    return (one.tty, one.open_stdin, one.log_path, one.log_driver) == (other.tty, other.open_stdin, other.log_path, other.log_driver)


def _give_to_user(context: Context, container: Container) -> None:
    """The user may have been another when somebody attached first."""
    spec = container.spec
    if spec.tty:
        os.fchown(container.slave, spec.outside(spec.user.uid), spec.outside(TTY_GID))
        return
    for name in _fifos(container):
        os.chown(context.places.stream(spec.id, name), spec.outside(spec.user.uid), spec.outside(spec.user.gid))


def take_over(context: Context, container: Container) -> None:
    """The streams of a container that an earlier supervisor started. Raises OSError when a FIFO is gone."""
    stream, data = context.chunks.left_for(container.spec.id, container.spec.log_path)
    output = _new_output(context, container)
    output.go_on(stream, data)
    if container.spec.tty:
        ptmx = context.keeper.claim(f"{container.spec.id}/master")
        if ptmx >= 0:
            _use_terminal(container, output, ptmx)
    else:
        for stream, name in _OUTPUTS:
            reader = context.keeper.claim(f"{container.spec.id}/{name}")
            if reader >= 0:
                output.add_source(stream, reader)
            else:
                context.keeper.keep({f"{container.spec.id}/{name}": _read_fifo(context, container, output, stream, name)})
        container.stdin_keeper = context.keeper.claim(f"{container.spec.id}/stdin")
    container.output = output


def _new_output(context: Context, container: Container) -> Output:
    spec = container.spec
    packer = context.packer if spec.log_compress else None
    log = LogWriter(spec.log_path, spec.log_max_bytes, spec.log_max_files, spec.log_driver, packer) if spec.log_path else None
    return Output(context.loop, log, context.chunks, spec.id)


def _use_terminal(container: Container, output: Output, ptmx: int) -> None:
    container.master = ptmx
    container.slave = open_terminal(ptmx)
    os.set_blocking(ptmx, False)
    output.add_source(STDOUT, os.dup(ptmx))


def _make_fifo(context: Context, container: Container, name: str) -> None:
    """Fresh for each run, owned by the container's user, who may open /dev/stdout again."""
    path, spec = context.places.stream(container.spec.id, name), container.spec
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        os.unlink(path)
        os.mkfifo(path, 0o600)
    os.chown(path, spec.outside(spec.user.uid), spec.outside(spec.user.gid))


def _read_fifo(context: Context, container: Container, output: Output, stream: int, name: str) -> int:
    reader = os.open(context.places.stream(container.spec.id, name), _READER)
    output.add_source(stream, reader)
    return reader


def open_for_child(context: Context, container: Container) -> dict[str, int]:
    """The container's ends, by the names of child.host.Opened; the caller closes them after the fork. Raises
    OSError."""
    if container.spec.tty:
        return {"terminal": os.dup(container.slave), "devpts": os.dup(container.devpts)}
    opened: dict[str, int] = {}
    try:
        for name in ("stdout", "stderr"):
            opened[name] = os.open(context.places.stream(container.spec.id, name), _FIFO)
        if container.spec.open_stdin:
            opened["stdin"] = os.open(context.places.stream(container.spec.id, "stdin"), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            os.set_blocking(opened["stdin"], True)
    except OSError:
        close_all(tuple(opened.values()))
        raise
    return opened


def attach(context: Context, container: Container) -> dict[str, int]:
    """stdin, stdout, stderr descriptors for a client, which owns them; those that exist. Raises OSError."""
    prepare(context, container)
    assert container.output is not None
    names: dict[str, int] = {}
    try:
        if container.spec.tty:
            if container.master >= 0:
                names["stdin"] = os.dup(container.master)
        elif container.stdin_keeper >= 0:
            path = context.places.stream(container.spec.id, "stdin")
            names["stdin"] = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        readers = container.output.attach(*((STDOUT,) if container.spec.tty else (STDOUT, STDERR)))
        names |= {name: readers[stream] for stream, name in _OUTPUTS if stream in readers}
    except OSError:
        close_all(tuple(names.values()))
        raise
    return names


def end_stdin(context: Context, container: Container, *, started: bool) -> None:
    """Lets go of the container's input: at once, or, so that what is in it is not lost, when the container has opened it."""
    container.stdin_ended = True
    if started:
        close_stdin(context, container)


def close_stdin(context: Context, container: Container) -> None:
    if container.stdin_keeper >= 0:
        os.close(container.stdin_keeper)
        container.stdin_keeper = -1
        context.keeper.drop((f"{container.spec.id}/stdin",))


def finish(context: Context, container: Container) -> None:
    """After the run: output drained to the log, everything closed, the FIFOs removed. Nothing to do when there has been
    no run."""
    if container.output is not None:
        container.output.close()
        container.output = None
        for name in _fifos(container):
            try:
                os.unlink(context.places.stream(container.spec.id, name))
            except FileNotFoundError:
                continue
        names = ("master",) if container.spec.tty else tuple(name for _, name in _OUTPUTS)
        context.keeper.drop(tuple(f"{container.spec.id}/{name}" for name in names))
    close_stdin(context, container)
    container.stdin_ended = False
    close_all((container.master, container.slave, container.devpts))
    container.master = container.slave = container.devpts = -1


def sweep(context: Context) -> None:
    """Removes the FIFOs that no run uses: an end or a removal was interrupted."""
    for name in os.listdir(context.places.streams):
        container = context.containers.get(name.partition(".")[0])
        if container is None or container.phase is not Phase.RUNNING:
            os.unlink(os.path.join(context.places.streams, name))
