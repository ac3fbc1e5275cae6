"""festoond and its command line on pure cgroup v2: limits, the kernel's kill for want of memory, stats, pause, and nothing of it left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = r"""
set -eu
export PATH="$BIN:$PATH" DOCKER_HOST="unix://$DIR/run/festoon.sock"
ip link set lo up
mkfifo "$DIR/ready"
festoond --root "$DIR/root" --run "$DIR/run" --ready-fd 9 9>"$DIR/ready" 2>"$DIR/log" &
node=$!
read -r line <"$DIR/ready"
tar -C / -c bin/busybox | festoon import - bb:1 >/dev/null
festoon info --format 'v{{.CgroupVersion}}'
status=0
festoon run --name eater --network none -m 16m --memory-swap 16m bb:1 /bin/busybox tail /dev/zero || status=$?
echo "eater: $status $(festoon inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' eater)"
festoon run -d --name box --network none -m 64m --cpus 0.5 --pids-limit 20 --cpuset-cpus 0 bb:1 /bin/busybox sh -c 'while :; do :; done' >/dev/null
pid=$(festoon inspect -f '{{.State.Pid}}' box)
group=/sys/fs/cgroup$(sed s/^0::// /proc/$pid/cgroup)
echo "limits: $(cd $group && cat memory.max memory.swap.max cpu.max pids.max cpuset.cpus | tr '\n' ' ')"
festoon stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.PIDs}} {{.CPUPerc}}' box
festoon pause box
echo "paused: $(cat $group/cgroup.freeze) $(festoon inspect -f '{{.State.Status}}' box)"
festoon update -m 80m --memory-swap 80m box >/dev/null
festoon unpause box >/dev/null
echo "updated: $(cat $group/cgroup.freeze $group/memory.max | tr '\n' ' ')"
festoon rm -f box eater >/dev/null
echo "events: $(festoon events --since 0 --until "$(date +%s)" --filter event=oom --format '{{.Action}} {{.Actor.Attributes.name}}')"
kill $node
wait $node
"""


def groups() -> set[Path]:
    """Festoon's, also those of other tests' supervisors in this guest."""
    return {group for own in Path("/sys/fs/cgroup").rglob("festoon") for group in (own, *(p for p in own.rglob("*") if p.is_dir()))}


def test_limits_kills_stats_and_pause_by_the_command_line(tmp_path: Path) -> None:
    before = groups()
    environment = {"BIN": str(Path(sys.executable).parent), "DIR": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(["unshare", "-n", "-m", "bash", "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=280, check=False)
    log = (tmp_path / "log").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log
    lines = [line.strip() for line in done.stdout.splitlines()]
    stats = lines.pop(3).split()
    assert lines == [
        "v2", "eater: 137 true 137", f"limits: {64 << 20} {64 << 20} 50000 100000 20 0", "box", "paused: 1 paused", f"updated: 0 {80 << 20}",
        "events: oom eater",
    ]  # fmt: skip
    assert (stats[0], stats[2:5]) == ("box", ["/", "64MiB", "1"])
    assert 0 < float(stats[5].removesuffix("%")) < 95, "it may use half of a processor and would use a whole one"
    assert "Traceback" not in log
    assert groups() <= before


IN_A_GROUP = r"""
set -eu
echo "+cpu +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
mkdir "$GROUP"
echo $$ >"$GROUP/cgroup.procs"
exec unshare -n -m -C bash -euc '
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
mkfifo "$DIR/ready"
festoond --root "$DIR/root" --run "$DIR/run" --ready-fd 9 9>"$DIR/ready" &
node=$!
read -r line <"$DIR/ready"
tar -C / -c bin/busybox | festoon import - bb:1 >/dev/null
festoon run -d --name box --network none -m 64m --pids-limit 20 bb:1 /bin/busybox sleep 1000 >/dev/null
group=/sys/fs/cgroup$(sed s/^0::// /proc/$(festoon inspect -f "{{.State.Pid}}" box)/cgroup)
echo "limits: $(cd $group && cat memory.max pids.max | tr "\n" " ")"
festoon rm -f box >/dev/null
kill $node
wait $node'
"""


def test_a_node_whose_root_group_only_looks_like_one_gives_containers_their_limits(tmp_path: Path) -> None:
    """In a cgroup namespace, as in a lab's machine or a container, processes in the group itself would keep controllers from its children."""
    group = Path("/sys/fs/cgroup/not-the-root")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"DIR": str(tmp_path), "GROUP": str(group), "PATH": path, "DOCKER_HOST": f"unix://{tmp_path}/run/festoon.sock"}
    try:
        done = subprocess.run(["bash", "-c", IN_A_GROUP], env=environment, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip() == f"limits: {64 << 20} 20"
    finally:
        for one in sorted(group.rglob("*"), reverse=True):
            if one.is_dir():
                (one / "cgroup.kill").write_text("1")
        (group / "cgroup.kill").write_text("1")
