"""`exec -it` is a working terminal: echo, size and its changes, signals from keys, the exit status; by both programs."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.driver import FESTOON, MANAGER, Lab


class Terminal:
    """A program on a pseudo-terminal of a given size."""

    def __init__(self, argv: list[str], rows: int, columns: int) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(["setsid", "--ctty", "--wait", *argv], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        """The kernel tells the foreground group by SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, pattern: str, seconds: float = 15) -> re.Match[str]:
        """Read until the pattern has been seen since the last match; fails with all that came instead."""
        end = time.monotonic() + seconds
        os.set_blocking(self.master, False)
        while time.monotonic() < end:
            if match := re.search(pattern, self.seen):
                self.seen = self.seen[match.end() :]
                return match
            try:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                break  # the other end is closed
        raise AssertionError(f"{pattern!r} did not come; saw {self.seen!r}")

    def wait(self) -> int:
        return self.process.wait(15)

    def close(self) -> None:
        """Hang up, and end what is still there."""
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal() -> Iterator[Callable[[list[str], int, int], Terminal]]:
    opened: list[Terminal] = []

    def make(argv: list[str], rows: int, columns: int) -> Terminal:
        opened.append(Terminal(argv, rows, columns))
        return opened[-1]

    try:
        yield make
    finally:
        for one in opened:
            one.close()


@pytest.fixture
def box(lab: Lab) -> Iterator[str]:
    lab.ok(MANAGER, "docker", "run", "-d", "--name", "terminal", "busybox", "sleep", "100000")
    try:
        yield "terminal"
    finally:
        lab.on(MANAGER, "festoon", "rm", "-f", "terminal")


def test_a_shell_in_a_container(lab: Lab, program: str, box: str, terminal: Callable[[list[str], int, int], Terminal]) -> None:
    argv = [FESTOON, "lab", "exec", "--name", lab.name, MANAGER, "--", program, "exec", "-it", box, "sh"]
    shell = terminal(argv, 40, 100)
    shell.expect(r"/ # ")
    shell.type("echo $((6*7)); stty size\n")
    shell.expect(r"\b42\r\n")
    shell.expect(r"\b40 100\r\n")
    shell.resize(30, 90)
    shell.type("sleep 0.2; stty size\n")
    shell.expect(r"\b30 90\r\n")
    shell.type("sh -c 'echo begun; sleep 100'\n")
    shell.expect(r"begun\r\n")
    shell.type("\x03")
    shell.expect(r"/ # ")
    shell.type("exit 3\n")
    shell.expect("exit 3")
    assert shell.wait() == 3


def test_a_program_finds_its_terminal_of_the_users_size(
    lab: Lab, program: str, box: str, terminal: Callable[[list[str], int, int], Terminal]
) -> None:
    """From the start: it asks once."""
    for words in (("run", "--rm", "-it", "busybox"), ("exec", "-it", box)):
        one = terminal([FESTOON, "lab", "exec", "--name", lab.name, MANAGER, "--", program, *words, "stty", "size"], 33, 44)
        one.expect(r"33 44\r\n")
        assert one.wait() == 0


def test_what_was_copied_is_said_on_a_terminal(
    lab: Lab, program: str, box: str, tmp_path: Path, terminal: Callable[[list[str], int, int], Terminal]
) -> None:
    for words, shown in (
        ((f"{box}:/etc/passwd", f"{tmp_path}/p"), f"2.05kB to {tmp_path}/p"), ((f"{tmp_path}/p", f"{box}:/tmp/"), f"2.05kB to {box}:/tmp/")
    ):  # fmt: skip
        one = terminal([FESTOON, "lab", "exec", "--name", lab.name, MANAGER, "--", program, "cp", *words], 33, 150)
        one.expect(f"Successfully copied {shown}\r\n")
        assert one.wait() == 0
    assert lab.on(MANAGER, program, "cp", f"{box}:/etc/passwd", f"{tmp_path}/p").stderr == ""


def test_input_is_piped_in_without_a_terminal(lab: Lab, program: str, box: str) -> None:
    done = lab.on(MANAGER, program, "exec", "-i", box, "wc", "-c", stdin="x" * 200_000)
    assert (done.returncode, done.stdout.strip()) == (0, "200000")


def test_both_streams_stay_apart(lab: Lab, program: str, box: str) -> None:
    done = lab.on(MANAGER, program, "exec", box, "sh", "-c", "echo out; echo err >&2; exit 5")
    assert (done.returncode, done.stdout, done.stderr) == (5, "out\n", "err\n")


def test_a_terminal_is_refused_where_there_is_none(lab: Lab, program: str, box: str) -> None:
    done = lab.on(MANAGER, program, "exec", "-it", box, "true")
    assert done.returncode == 1
    assert "the input device is not a TTY" in done.stderr


def test_the_detach_keys_leave_a_container_running_that_can_be_attached_again(
    lab: Lab, program: str, terminal: Callable[[list[str], int, int], Terminal]
) -> None:
    on = [FESTOON, "lab", "exec", "--name", lab.name, MANAGER, "--", program]
    try:
        shell = terminal([*on, "run", "-it", "--name", "detached", "busybox", "sh"], 24, 80)
        shell.expect(r"/ # ")
        shell.type("\x10x\x10\x11")
        assert shell.wait() == 0
        assert lab.on(MANAGER, program, "inspect", "-f", "{{.State.Running}}", "detached").stdout == "true\n"
        again = terminal([*on, "attach", "--detach-keys", "ctrl-a,q", "detached"], 24, 80)
        again.expect(r"/ # ")  # drawn again, for whoever comes later
        again.type("\x08\x08echo $((6*7))\n")
        again.expect(r"\b42\r\n")
        again.type("\x01q")
        again.expect("read escape sequence")
        assert again.wait() == 1
        third = terminal([*on, "start", "-ai", "detached"], 24, 80)
        third.type("exit 6\n")
        assert third.wait() == 6
    finally:
        lab.on(MANAGER, "festoon", "rm", "-f", "detached")


def test_a_terminal_is_put_back_when_the_client_is_ended(lab: Lab, box: str, terminal: Callable[[list[str], int, int], Terminal]) -> None:
    shell = terminal([FESTOON, "lab", "exec", "--name", lab.name, MANAGER, "--", "festoon", "exec", "-it", box, "sh"], 24, 80)
    before = termios.tcgetattr(shell.master)
    shell.expect(r"/ # ")
    assert termios.tcgetattr(shell.master) != before
    shell.process.terminate()
    assert shell.wait() == 143
    assert termios.tcgetattr(shell.master) == before


@pytest.mark.parametrize("command", [("run", "--name", "deaf", "busybox"), ("run", "--name", "deaf", "--sig-proxy=false", "busybox")])
def test_the_third_ctrl_c_ends_the_client_whatever_the_container_makes_of_it(
    lab: Lab, program: str, command: tuple[str, ...], terminal: Callable[[list[str], int, int], Terminal]
) -> None:
    try:
        client = terminal([FESTOON, "lab", "exec", "--name", lab.name, MANAGER, "--", program, *command, "sh", "-c", "echo up; sleep 1000; true"], 24, 80)
        client.expect("up")
        typed = 0
        while client.process.poll() is None and typed < 50:  # those that come while one is pending are one
            client.type("\x03")
            typed += 1
            time.sleep(0.1)
        assert typed >= 3
        client.expect("got 3 SIGTERM/SIGINTs, forcefully exiting")
        assert client.wait() == 1
        assert lab.on(MANAGER, program, "inspect", "-f", "{{.State.Running}}", "deaf").stdout == "true\n"
    finally:
        lab.on(MANAGER, "festoon", "rm", "-f", "deaf")


def test_a_terminal_without_input_passes_ctrl_c_on(lab: Lab, program: str, terminal: Callable[[list[str], int, int], Terminal]) -> None:
    """Nothing reads the keys, so they are signals."""
    try:
        script = "trap 'echo heard; exit 5' INT; echo up; while :; do sleep 0.1; done"
        command = [program, "run", "-t", "--name", "keys", "busybox", "sh", "-c", script]
        client = terminal([FESTOON, "lab", "exec", "--name", lab.name, MANAGER, "--", *command], 24, 80)
        client.expect("up")
        client.type("\x03")
        client.expect("heard")
        assert client.wait() == 5
    finally:
        lab.on(MANAGER, "festoon", "rm", "-f", "keys")


def test_a_secret_that_is_typed_ends_with_one_ctrl_d(lab: Lab, terminal: Callable[[list[str], int, int], Terminal]) -> None:
    try:
        client = terminal([FESTOON, "lab", "exec", "--name", lab.name, MANAGER, "--", "festoon", "secret", "create", "typed", "-"], 24, 80)
        client.type("hush\n\x04")
        client.expect(r"[a-z0-9]{25}")
        assert client.wait() == 0
    finally:
        lab.on(MANAGER, "festoon", "secret", "rm", "typed")


def test_start_gives_the_signals_and_the_status_of_what_it_started(lab: Lab, terminal: Callable[[list[str], int, int], Terminal]) -> None:
    try:
        script = "trap 'echo heard; exit 5' INT; echo up; while :; do sleep 0.1; done"
        lab.ok(MANAGER, "festoon", "create", "--name", "hears", "--rm", "busybox", "sh", "-c", script)
        client = terminal([FESTOON, "lab", "exec", "--name", lab.name, MANAGER, "--", "festoon", "start", "-a", "hears"], 24, 80)
        client.expect("up")
        client.type("\x03")
        client.expect("heard")
        assert client.wait() == 5
    finally:
        lab.on(MANAGER, "festoon", "rm", "-f", "hears")


def test_a_load_shows_its_layers_on_a_terminal_and_only_what_came_of_it_elsewhere(
    lab: Lab, program: str, tmp_path: Path, terminal: Callable[[list[str], int, int], Terminal]
) -> None:
    tmp_path.chmod(0o755)
    archive = tmp_path / "image.tar"
    on = [FESTOON, "lab", "exec", "--name", lab.name, MANAGER, "--", program]
    lab.ok(MANAGER, "sh", "-c", f"tar c -C /etc hostname | {program} import - loaded:1 && {program} save -o {archive} loaded:1")
    try:
        lab.ok(MANAGER, program, "rmi", "loaded:1")
        shown = terminal([*on, "load", "-i", str(archive)], 24, 120)
        shown.expect(r"[0-9a-f]{12}: Loading layer \[=+>\]")
        shown.expect("Loaded image: loaded:1")
        assert shown.wait() == 0
        lab.ok(MANAGER, program, "rmi", "loaded:1")
        assert lab.ok(MANAGER, program, "load", "-i", str(archive)) == "Loaded image: loaded:1\n"
    finally:
        lab.on(MANAGER, "festoon", "rmi", "loaded:1")
