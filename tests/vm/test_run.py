"""`python -m vm run`: what it promises to whoever calls it, and that nothing stays of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.driver import until
from vm.machine import QEMU, VIRTIOFSD, missing

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"no guest: {', '.join(missing())} missing, and ./check could not install it")


def vm(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "vm", *argv], cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=120, check=False)


def guests_of(parent: int) -> set[int]:
    """The processes that a driver has started, by pid."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent_of = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                program = os.readlink(entry / "exe")
            except (OSError, ValueError):
                continue
            if parent_of == parent and (program.endswith(QEMU) or program in {os.path.realpath(path) for path in VIRTIOFSD}):
                found.add(int(entry.name))
    return found


def test_a_command_has_its_input_output_and_exit_status() -> None:
    done = vm("run", "--", "sh", "-c", "cat; echo aside >&2; pwd; exit 7", stdin="from outside\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, f"from outside\n{ROOT}\n", "aside\n")


def test_a_program_that_is_not_there_is_named() -> None:
    done = vm("run", "--", "no-such-program")
    assert done.returncode == 127
    assert "no-such-program: executable file not found in $PATH" in done.stderr


def test_the_guest_writes_nothing_on_the_host() -> None:
    target = ROOT / "written-in-a-guest"
    done = vm("run", "--", "sh", "-c", f"echo x >{target} && cat {target}")
    assert (done.returncode, done.stdout) == (0, "x\n")
    assert not target.exists()


def test_a_counted_clock_gives_the_same_work_the_same_time() -> None:
    work = "import time\nfor _ in range(3): a = time.perf_counter(); sum(range(300000)); print(time.perf_counter() - a)"
    done = vm("run", "--counted", "--", "python3", "-c", work)
    first, *others = map(float, done.stdout.split())
    assert len(others) == 2, done.stderr
    assert all(abs(one / first - 1) < 0.05 for one in others), done.stdout


@pytest.mark.parametrize(("layout", "shown"), [
    ("v2", "cgroup2 /sys/fs/cgroup"),
    ("v1", "cgroup /sys/fs/cgroup/memory"),
    ("hybrid", "cgroup2 /sys/fs/cgroup/unified"),
])  # fmt: skip
def test_cgroups_are_as_asked_for(layout: str, shown: str) -> None:
    done = vm("run", "--cgroup", layout, "--memory", "512", "--", "awk", '$3 ~ /^cgroup/ { print $3, $2 }', "/proc/mounts")
    assert shown in done.stdout.splitlines()
    assert (layout == "v2") == ("cgroup2 /sys/fs/cgroup" in done.stdout.splitlines())


ON_A_HYBRID_HOST = r"""
set -eu
export DIR=/var/tmp/hybrid PATH="$BIN:$PATH" DOCKER_HOST=unix:///var/tmp/hybrid/run/festoon.sock
mkdir "$DIR"
ip link set lo up
mkfifo "$DIR/ready"
festoond --root "$DIR/root" --run "$DIR/run" --ready-fd 9 9>"$DIR/ready" 2>"$DIR/log" &
node=$!
read -r line <"$DIR/ready"
tar -C / -c bin/busybox | festoon import - bb:1 >/dev/null
status=0
festoon run --name eater --network none -m 16m --memory-swap 16m bb:1 /bin/busybox tail /dev/zero || status=$?
echo "eater: $status $(festoon inspect -f '{{.State.OOMKilled}}' eater)"
festoon run -d --name box --network none -m 64m --cpus 0.5 --pids-limit 20 bb:1 /bin/busybox sleep 1000 >/dev/null
pid=$(festoon inspect -f '{{.State.Pid}}' box)
group=$(sed -n s/^.*:memory://p /proc/$pid/cgroup)
test "$(sed -n s/^0:://p /proc/$pid/cgroup)" = "$group"
cd /sys/fs/cgroup
echo "limits: $(cat memory$group/memory.limit_in_bytes pids$group/pids.max cpu$group/cpu.cfs_quota_us | tr '\n' ' ')"
festoon pause box >/dev/null
echo "paused: $(cat unified$group/cgroup.freeze) $(grep frozen unified$group/cgroup.events)"
festoon unpause box >/dev/null
echo "stats: $(festoon stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' box | cut -d/ -f2)"
festoon rm -f box eater >/dev/null
kill $node
wait $node
echo "left: $(find /sys/fs/cgroup -path '*festoon*' -type d)"
"""


def test_on_a_hybrid_host_limits_are_cgroup_v1_s_and_nothing_of_them_stays() -> None:
    """Cgroup v1 with its controllers, and cgroup v2 beside it without any."""
    done = vm("run", "--cgroup", "hybrid", "--", "env", f"BIN={Path(sys.executable).parent}", "bash", "-c", ON_A_HYBRID_HOST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.strip() for line in done.stdout.splitlines()] == [
        "eater: 137 true", f"limits: {64 << 20} 20 50000", "paused: 1 frozen 1", "stats:  64MiB 1", "left:",
    ]  # fmt: skip


def test_a_killed_driver_leaves_nothing_behind() -> None:
    driver = subprocess.Popen([sys.executable, "-m", "vm", "run", "--", "sleep", "1000"], cwd=ROOT, stdin=subprocess.DEVNULL)
    children = until(lambda: len(found := guests_of(driver.pid)) == 2 and found)
    assert children
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
