"""`docker logs` by both programs, on logs of both drivers: streams, bounds in lines and time, following through rotations, lines without end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.driver import MANAGER, Lab, until

PIECE = 16 * 1024
LONG = 40_000  # longer than a record of json-file, 16 KiB


@pytest.fixture(params=["local", "json-file"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def box(lab: Lab, program: str, driver: str) -> Iterator[Callable[..., str]]:
    """box(script, flags...) runs it in the background; the container's name."""
    name = f"logs-{program}-{driver}"

    def run(script: str, *flags: str) -> str:
        lab.ok(MANAGER, program, "run", "-d", "--name", name, "--log-driver", driver, *flags, "busybox", "sh", "-c", script)
        return name

    yield run
    lab.on(MANAGER, program, "rm", "-f", name)


def test_streams_bounds_and_times(lab: Lab, program: str, box: Callable[..., str]) -> None:
    name = box("for n in 1 2 3 4 5; do echo out $n; sleep 0.3; echo err $n >&2; sleep 0.3; done; printf rest")
    assert lab.ok(MANAGER, program, "wait", name) == "0\n"
    both = lab.on(MANAGER, program, "logs", name)
    assert both.stdout.splitlines() == [*(f"out {n}" for n in range(1, 6)), "rest"]
    assert both.stderr.splitlines() == [f"err {n}" for n in range(1, 6)]

    def shown(*flags: str) -> list[str]:
        return lab.ok(MANAGER, "sh", "-c", f"{program} logs {' '.join(flags)} {name} 2>&1").splitlines()

    timed = [line.split(" ", 1) for line in shown("-t")]
    assert sorted(text for _, text in timed) == sorted([*both.stdout.splitlines(), *both.stderr.splitlines()])
    times = {text: time for time, text in timed}
    order = sorted(times, key=lambda text: times[text])
    assert order == [*(f"{stream} {n}" for n in range(1, 6) for stream in ("out", "err")), "rest"]
    assert sorted(shown("--tail", "3")) == sorted(order[-3:])
    assert shown("--tail", "0") == []
    assert sorted(shown("--since", times["out 4"])) == sorted(order[6:])
    assert sorted(shown("--until", times["out 2"])) == sorted(order[:3])
    assert sorted(shown("--since", times["out 2"], "--until", times["out 4"])) == sorted(order[2:7])
    assert sorted(shown("--since", times["out 2"], "--tail", "2")) == sorted(order[-2:])
    assert shown("--since", "1m", "--tail", "1") == ["rest"]
    assert shown("-f") == shown(), "it has ended"


def test_the_first_word_of_each_run_is_not_older_than_its_start(lab: Lab, program: str, box: Callable[..., str]) -> None:
    """Who waits for a line since the start (testcontainers after a restart) would miss it."""
    name = box("echo ready; sleep 1000")
    for _ in range(8):
        since = lab.ok(MANAGER, program, "inspect", "-f", "{{.State.StartedAt}}", name).strip()
        assert until(lambda: lab.ok(MANAGER, program, "logs", "--since", since, name) == "ready\n"), since  # noqa: B023  asked for here
        lab.ok(MANAGER, program, "restart", "-t", "0", name)


def test_followed_to_the_end_through_rotations_with_lines_of_any_length(lab: Lab, program: str, box: Callable[..., str]) -> None:
    """What was rotated away before anybody followed is gone; from then on no line is missing."""
    script = f"while [ ! -e /go ]; do sleep 0.02; done; for n in $(seq 300); do echo line $n; done; head -c {LONG} /dev/zero | tr '\\0' x; echo; printf end"
    name = box(script, "--log-opt", "max-size=100k", "--log-opt", "max-file=3")
    follow = f"{program} logs -f {name} & {program} exec {name} touch /go && wait $!"
    seen = lab.ok(MANAGER, "sh", "-c", follow).split("\n")
    assert seen[:300] == [f"line {n}" for n in range(1, 301)]
    assert seen[300:] == ["x" * LONG, "end"]
    for tail, shown in ((2, "x" * (LONG % PIECE)), (LONG // PIECE + 2, "x" * LONG)):
        assert lab.ok(MANAGER, program, "logs", "--tail", str(tail), name).split("\n") == [shown, "end"], "counted in pieces, as Docker keeps them"


def test_old_files_are_dropped_and_what_is_left_is_whole_lines(lab: Lab, program: str, box: Callable[..., str]) -> None:
    name = box("seq 20000", "--log-opt", "max-size=32k", "--log-opt", "max-file=2")
    assert lab.ok(MANAGER, program, "wait", name) == "0\n"
    numbers = [int(line) for line in lab.ok(MANAGER, program, "logs", name).splitlines()]
    assert 100 < len(numbers) < 20_000
    assert numbers == list(range(20_001 - len(numbers), 20_001))


def test_what_can_not_be_read_is_said(lab: Lab, program: str) -> None:
    done = lab.on(MANAGER, program, "logs", "no-such-container")
    assert (done.returncode, "o such container: no-such-container" in done.stderr) == (1, True)
    name = f"logs-none-{program}"
    lab.ok(MANAGER, program, "run", "--name", name, "--log-driver", "none", "busybox", "echo", "heard")
    try:
        done = lab.on(MANAGER, program, "logs", name)
        assert done.returncode == 1
        assert "configured logging driver does not support reading" in done.stderr
    finally:
        lab.on(MANAGER, program, "rm", "-f", name)
    for flags in (("--since", "nonsense"), ("--tail", "few")):
        assert lab.on(MANAGER, program, "logs", *flags, name).returncode != 0
