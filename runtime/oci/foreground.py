"""run and exec in the foreground: waits for the program, hands signals on, carries its terminal. Owns the caller's terminal settings meanwhile."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

from runtime.kernel.detached import resize_terminal
from runtime.kernel.processes import exit_status_of

PIECE_BYTES = 64 * 1024
_NOT_HANDED_ON = frozenset({signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG, signal.SIGPIPE})


def wait(pid: int, master: int) -> int:
    """The exit status, 128 + n for a signal. `master`: of the program's terminal, or -1. The caller's signals reach the program."""
    taken = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, taken)
    wake, wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    handled = {number: signal.signal(number, lambda *_: None) for number in taken if number not in (32, 33) and number < signal.SIGRTMIN}
    previous = signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    pidfd = os.pidfd_open(pid)
    restore = _go_raw(master)
    try:
        return _serve(pidfd, wake, master)
    finally:
        restore()
        signal.set_wakeup_fd(previous)
        for number, handler in handled.items():
            signal.signal(number, handler)
        for descriptor in (pidfd, wake, wake_writer):
            os.close(descriptor)


def _go_raw(master: int) -> Callable[[], None]:
    """Returns what puts the caller's terminal back."""
    if master < 0:
        return lambda: None
    _resize(master)
    if not os.isatty(0):
        return lambda: None
    import termios
    import tty

    settings = termios.tcgetattr(0)
    tty.setraw(0)
    return lambda: termios.tcsetattr(0, termios.TCSADRAIN, settings)


def _resize(master: int) -> None:
    for descriptor in range(3):
        if os.isatty(descriptor):
            size = os.get_terminal_size(descriptor)
            resize_terminal(master, size.lines, size.columns)
            return


def _serve(pidfd: int, wake: int, master: int) -> int:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(wake, select.POLLIN)
    if master >= 0:
        poll.register(master, select.POLLIN)
        poll.register(0, select.POLLIN)
    while True:
        ready = {number for number, _ in poll.poll()}
        if wake in ready:
            for number in os.read(wake, PIECE_BYTES):
                if number == signal.SIGWINCH and master >= 0:
                    _resize(master)
                elif number not in _NOT_HANDED_ON:
                    _hand_on(pidfd, number)
        if master >= 0 and master in ready and not _carry(master, 1):
            poll.unregister(master)
        if master >= 0 and 0 in ready and not _carry(0, master):
            poll.unregister(0)
        if pidfd in ready:
            while master >= 0 and _pending(master) and _carry(master, 1):
                continue
            waited = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            assert waited is not None
            return exit_status_of(waited)


def _hand_on(pidfd: int, number: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return


def _pending(master: int) -> bool:
    poll = select.poll()
    poll.register(master, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))


def _carry(source: int, target: int) -> bool:
    """One piece; False when the source has ended."""
    try:
        data = os.read(source, PIECE_BYTES)
    except OSError:  # EIO: the terminal's other side is closed
        return False
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return bool(data)
