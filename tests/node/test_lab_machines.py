"""Machines of a lab with a stand-in for the node's program: what each has of its own, revival, failures, and that
nothing is left behind.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lab import boot, groups, machines, records
from lab.layout import LabError, Layout, plan
from lab.machines import Program
from tests import leftovers
from tests.driver import FESTOON, OCTET, OWN_SUBNET

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not Path("/bin/busybox").exists(), reason="a lab needs root and Debian's busybox-static")

STAND_IN = """
import os, signal, sys
os.makedirs("/run/festoon", exist_ok=True)
with open("/var/lib/festoon/lives", "a") as file:
    file.write("x")
if os.path.exists("/var/lib/festoon/fail"):
    sys.exit("the disk is on fire")
os.write(int(sys.argv[1]), b"ready\\n")
os.close(int(sys.argv[1]))
print("ready on", os.uname().nodename, flush=True)
signal.pause()
"""
NAME = f"t-{OCTET}"
MARK = f"stand-in-of-{NAME}"
PROGRAM = Program((sys.executable, "-I", "-c", STAND_IN, "{ready}", MARK))


def layout(name: str) -> Layout:
    return plan(3, 1, f"{OWN_SUBNET}.0/24", name)


def traces() -> dict[str, list[str]]:
    """Everything on this machine that belongs to this run's labs: others may test the same at the same time."""
    names = re.compile(rf"festoon-lab[-/ ]{NAME}|fl-{NAME}|{MARK}")
    links = Path("/proc/net/dev").read_text().split()
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    found = {
        "links": [x for x in links if names.search(x)],
        "processes": [x for x in processes if names.search(x)],
        "mounts": [x for x in Path("/proc/self/mountinfo").read_text().splitlines() if names.search(x)],
        "groups": [str(p) for m in groups.hierarchies() for p in Path(m).glob(f"festoon-lab/{NAME}*")],
        "folders": [str(p) for p in records.ROOT.glob(f"{NAME}*")] if records.ROOT.exists() else [],
    }
    return {key: value for key, value in found.items() if value}


@pytest.fixture
def name() -> Iterator[str]:
    leftovers.note_lab(NAME)
    yield NAME
    machines.down(NAME)
    assert traces() == {}


def on(lab: str, node: str, *command: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from lab import enter; sys.exit(enter.main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-I", "-c", program, "--name", lab, node, "--", *command], capture_output=True, text=True, check=False)


def kill_everything(lab: str) -> None:
    groups.empty(lab)


def wait_for_end(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([fd], [], [], 10)[0]
    os.close(fd)


def test_each_machine_has_what_a_machine_has(name: str) -> None:
    assert machines.up(layout(name), program=PROGRAM) == ("swarm-manager", "swarm-worker1", "swarm-worker2")
    shown = on(name, "swarm-worker1", "sh", "-c", "hostname; ip -4 -br addr show eth0; ip route; cat /proc/self/cgroup").stdout
    assert shown.startswith("swarm-worker1\n")
    assert f"{OWN_SUBNET}.11/24" in shown
    assert f"default via {OWN_SUBNET}.1 dev eth0" in shown
    assert all(line.endswith(":/") for line in shown.splitlines() if re.match(r"\d+:", line))
    own = on(name, "swarm-worker1", "sh", "-c", "ls /run /var/lib/festoon /sys/class/net; readlink /run/docker.sock; cat /etc/hostname").stdout
    assert "festoon/festoon.sock" in own
    assert "lives" in own
    assert "fl-" not in own
    assert Path("/etc/hostname").read_text() in own
    assert os.uname().nodename != "swarm-worker1"
    for address in (*(f"{OWN_SUBNET}.{n}" for n in (10, 12, 1, 2)), "8.8.8.8"):
        assert on(name, "swarm-worker1", "ping", "-c1", "-W3", address).returncode == 0, address
    assert subprocess.run(["ping", "-c1", "-W3", f"{OWN_SUBNET}.12"], capture_output=True, check=False).returncode == 0
    for image in ("images.sqlite",):
        assert (records.machine_folder(name, "swarm-worker2") / "state" / "images" / image).exists()
    assert "ready on swarm-manager" in machines.log_of(name, "swarm-manager").read_text()


def test_a_lab_weighs_as_much_as_its_machines(name: str) -> None:
    machines.up(layout(name), program=PROGRAM)
    weights = [(file, one) for m in groups.hierarchies() for setting, one, _ in groups.WEIGHTS if (file := Path(m, groups.PARENT, name, setting)).exists()]
    assert weights, "no processor controller"
    for file, one in weights:
        assert int(file.read_text()) == one * len([folder for folder in file.parent.iterdir() if folder.is_dir()]) > 2 * one
        assert int((file.parents[1] / file.name).read_text()) >= int(file.read_text())


def test_mounts_of_a_machine_are_nobody_elses(name: str, tmp_path: Path) -> None:
    machines.up(layout(name), program=PROGRAM)
    assert on(name, "swarm-manager", "mount", "-t", "tmpfs", "none", str(tmp_path)).returncode == 0
    assert str(tmp_path) in on(name, "swarm-manager", "cat", "/proc/self/mounts").stdout
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert str(tmp_path) not in on(name, "swarm-worker1", "cat", "/proc/self/mounts").stdout


def test_exec_passes_input_status_and_folder(name: str, tmp_path: Path) -> None:
    machines.up(layout(name), program=PROGRAM)
    assert on(name, "swarm-manager", "sh", "-c", "exit 7").returncode == 7
    assert on(name, "swarm-manager", "pwd").stdout.strip() == os.getcwd()
    assert on(name, "swarm-manager", "sh", "-c", "command -v python3").stdout.strip() == str(Path(sys.executable).parent / "python3")
    missing = on(name, "swarm-manager", "no-such-program")
    assert (missing.returncode, missing.stderr) == (127, "festoon lab exec: no-such-program: executable file not found in $PATH\n")
    nobody = on(name, "swarm-manager9", "true")
    assert nobody.returncode == 125
    assert "there are swarm-manager, swarm-worker1, swarm-worker2" in nobody.stderr


def test_a_second_up_starts_the_program_that_died_and_touches_nothing_else(name: str) -> None:
    lab = layout(name)
    machines.up(lab, program=PROGRAM)
    folder = records.machine_folder(name, "swarm-worker1")
    holder, program = records.read_process(folder, "holder"), records.read_process(folder, "festoond")
    assert holder is not None
    assert program is not None
    os.kill(program.pid, signal.SIGKILL)
    wait_for_end(program.pid)
    assert [s.state for s in machines.status(name)] == ["up", "festoond stopped", "up"]
    assert machines.up(lab, program=PROGRAM) == ("swarm-worker1",)
    assert records.read_process(folder, "holder") == holder
    assert (folder / "state" / "lives").read_text() == "xx"
    assert machines.up(lab, program=PROGRAM) == ()


def test_a_lab_in_which_everything_was_killed_comes_back_with_its_state(name: str) -> None:
    lab = layout(name)
    machines.up(lab, program=PROGRAM)
    on(name, "swarm-worker2", "sh", "-c", "echo kept > /var/lib/festoon/note")
    kill_everything(name)
    assert [s.state for s in machines.status(name)] == ["down"] * 3
    assert "swarm-worker2 is down" in on(name, "swarm-worker2", "true").stderr
    assert len(machines.up(lab, program=PROGRAM)) == 3
    assert on(name, "swarm-worker2", "cat", "/var/lib/festoon/note").stdout == "kept\n"
    assert on(name, "swarm-worker2", "ping", "-c1", "-W3", "8.8.8.8").returncode == 0


def test_one_machine_comes_back_alone(name: str) -> None:
    lab = layout(name)
    machines.up(lab, program=PROGRAM)
    groups.empty(name, "swarm-worker1")
    assert machines.up(lab, program=PROGRAM) == ("swarm-worker1",)
    assert on(name, "swarm-manager", "ping", "-c1", "-W3", f"{OWN_SUBNET}.11").returncode == 0


def test_down_takes_everything_also_what_was_daemonised_and_frozen(name: str) -> None:
    machines.up(layout(name), program=PROGRAM)
    on(name, "swarm-manager", "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & mkdir -p /sys/fs/cgroup/freezer/deep/er; exit 0")
    script = "echo $$ > /sys/fs/cgroup/freezer/deep/er/cgroup.procs; echo FROZEN > /sys/fs/cgroup/freezer/deep/er/freezer.state & sleep 1000"
    if Path("/sys/fs/cgroup/freezer").exists():
        on(name, "swarm-manager", "sh", "-c", f"(setsid sh -c '{script}' >/dev/null 2>&1 &)")
    assert machines.down(name)
    assert traces() == {}
    assert not machines.down(name)


def test_down_after_everything_was_killed_leaves_nothing(name: str) -> None:
    machines.up(layout(name), program=PROGRAM)
    kill_everything(name)
    assert machines.down(name)
    assert traces() == {}


def test_a_program_that_fails_is_told_with_its_last_words_and_a_new_lab_is_taken_away(name: str) -> None:
    failing = Program((sys.executable, "-I", "-c", "import sys; sys.exit('the disk is on fire')", "{ready}"))
    with pytest.raises(LabError, match=r"festoond ended before it was ready\n  the disk is on fire"):
        machines.up(layout(name), program=failing)
    assert traces() == {}


def test_an_old_lab_stays_when_one_of_its_programs_fails(name: str) -> None:
    machines.up(layout(name), program=PROGRAM)
    groups.empty(name, "swarm-worker1")
    (records.machine_folder(name, "swarm-worker1") / "state" / "fail").touch()
    with pytest.raises(LabError, match="swarm-worker1: festoond ended"):
        machines.up(layout(name), program=PROGRAM)
    ended = (records.machine_folder(name, "swarm-worker1") / "festoond").read_text()
    wait_for_end(int(ended.split()[0]))
    assert [s.state for s in machines.status(name)] == ["up", "festoond stopped", "up"]


def test_a_subnet_that_this_host_routes_is_refused_by_name(name: str) -> None:
    with pytest.raises(LabError, match=r"this host already routes 127\.|choose another with --subnet"):
        machines.up(plan(1, 1, _own_subnet(), name), program=PROGRAM)
    assert traces() == {}


def _own_subnet() -> str:
    shown = subprocess.run(["ip", "-4", "route", "show", "proto", "kernel"], capture_output=True, text=True, check=True).stdout
    for line in shown.splitlines():
        subnet = line.split()[0]
        if "/" in subnet and int(subnet.rpartition("/")[2]) <= 27:
            return subnet
    pytest.skip("this host has no routed subnet of its own")


UP = """
import os, signal, sys
from lab import machines
from lab.layout import plan
steps = int(sys.argv[2])
def count(event, args):
    global steps
    if event in ("os.rename", "os.mkdir", "subprocess.Popen", "socket.__new__", "os.remove"):
        steps -= 1
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
machines.up(plan(1, 1, sys.argv[3], sys.argv[1]), program=machines.Program(tuple(sys.argv[4:])))
"""


@pytest.mark.parametrize("steps", [1, 2, 4, 7, 11, 16, 22, 30])
def test_an_up_that_was_killed_is_finished_by_the_next_or_taken_away(name: str, steps: int) -> None:
    done = subprocess.run([sys.executable, "-I", "-c", UP, name, str(steps), f"{OWN_SUBNET}.0/24", *PROGRAM.argv], check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    lab = plan(1, 1, f"{OWN_SUBNET}.0/24", name)
    machines.up(lab, program=PROGRAM)
    assert [s.state for s in machines.status(name)] == ["up"]
    assert on(name, "swarm-manager", "ping", "-c1", "-W3", f"{OWN_SUBNET}.1").returncode == 0
    assert boot.LOG in os.listdir(records.machine_folder(name, "swarm-manager"))


UPLINK = """
import subprocess, sys
from pathlib import Path
from lab import machines
from lab.layout import plan
forwarding = Path("/proc/sys/net/ipv4/ip_forward")
forwarding.write_text("0")
def rules():
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
subprocess.run("ip link set lo up; ip addr add 203.0.113.1/32 dev lo", shell=True, check=True)
print(len(machines.up(plan(1, 1, "192.168.217.0/24", sys.argv[1]), uplink=True, program=machines.Program(tuple(sys.argv[2:])))))
print(forwarding.read_text().strip(), "masquerade" in rules())
enter = "import sys; from lab import enter; sys.exit(enter.main(sys.argv[1:]))"
ping = ["--name", sys.argv[1], "swarm-manager", "--", "ping", "-c1", "-W3"]
print(*(subprocess.run([sys.executable, "-I", "-c", enter, *ping, to], capture_output=True, check=False).returncode
        for to in ("203.0.113.1", "8.8.8.8")))
second = plan(1, 1, "192.168.216.0/24", sys.argv[1] + "b")
machines.up(second, uplink=True, program=machines.Program(tuple(sys.argv[2:])))
machines.down(sys.argv[1])
print(forwarding.read_text().strip(), sys.argv[1] + "b" in rules())
machines.down(second.name)
print(forwarding.read_text().strip(), "masquerade" in rules())
"""


@pytest.mark.skipif(not Path("/usr/sbin/nft").exists(), reason="needs nft to read the rules")
def test_an_uplink_leads_out_through_the_host_and_is_put_back(name: str) -> None:
    """In a network namespace that plays the host, so that this machine's own forwarding is left alone."""
    command = ["unshare", "--net", sys.executable, "-I", "-c", UPLINK, name, *PROGRAM.argv]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1", "1 True", "0 1", "1 True", "0 False"], "the last lab with an uplink puts the forwarding back"


def test_each_step_of_a_machine_that_is_started_is_told(name: str) -> None:
    told: list[tuple[str, machines.Step]] = []
    machines.up(layout(name), program=PROGRAM, told=lambda machine, step: told.append((machine, step)))
    for machine in ("swarm-manager", "swarm-worker1", "swarm-worker2"):
        assert [step for one, step in told if one == machine] == list(machines.Step)
    again: list[str] = []
    machines.up(layout(name), program=PROGRAM, told=lambda machine, _step: again.append(machine))
    assert again == []


def test_ctrl_c_takes_a_lab_away_again_and_leaves_a_clean_screen(name: str) -> None:
    master, slave = pty.openpty()
    own_terminal = ["env", "--default-signal=INT", "setsid", "--ctty", "--wait"]  # who runs the tests in the background ignores the signal, and they would, too
    command = [*own_terminal, FESTOON, "lab", "up", "--name", name, "--subnet", f"{OWN_SUBNET}.0/24", "--nodes", "9"]  # which takes a while
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen = ""
    try:
        while "made" not in seen:  # the first of them
            seen += os.read(master, 4096).decode()
        os.write(master, b"\x03")
        with suppress(OSError):  # the other end is closed
            while piece := os.read(master, 4096):
                seen += piece.decode()
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert "Traceback" not in seen
    assert seen.rpartition("\x1b[J")[2].strip() == f"Nothing of the lab {name} is left."
    assert traces() == {}
