"""`--userns=remap`, driven from outside: who a container's root is, whose files are whose, what is refused, its ports, execs, copies and images."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.driver import ADDRESS, MANAGER, Lab, until

NAME, VOLUME, PORT = "shifted", "vol-shifted", 18_080


@pytest.fixture
def box(lab: Lab) -> Iterator[str]:
    """A web server in a user namespace, with a volume and a published port."""
    script = "echo one > /data/f; chown 7:8 /data/f; touch /made; chown 9:9 /made; mkdir /www; echo web > /www/index.html; httpd -f -p 80 -h /www"
    lab.ok(MANAGER, "festoon", "run", "-d", "--name", NAME, "--userns=remap", "-v", f"{VOLUME}:/data", "-p", f"{PORT}:80", "busybox", "sh", "-c", script)
    lab.ok(MANAGER, "festoon", "exec", NAME, "sh", "-c", "while [ ! -e /www/index.html ]; do :; done")
    try:
        yield NAME
    finally:
        lab.on(MANAGER, "festoon", "rm", "-fv", NAME)
        lab.on(MANAGER, "festoon", "volume", "rm", VOLUME)


def outside(lab: Lab, box: str) -> int:
    """The user that the container's first process is on the machine."""
    pid = lab.ok(MANAGER, "festoon", "inspect", "-f", "{{.State.Pid}}", box).strip()
    return Path(f"/proc/{pid}/status").stat().st_uid if pid != "0" else -1


def test_root_is_another_outside_and_its_files_are_roots_wherever_they_are_seen(lab: Lab, box: str, tmp_path: Path) -> None:
    assert outside(lab, box) >= 1 << 20
    first, base, size = (int(word) for word in lab.ok(MANAGER, "festoon", "exec", box, "cat", "/proc/self/uid_map").split())
    assert (first, base, size) == (0, outside(lab, box), 65_536)
    assert lab.ok(MANAGER, "festoon", "exec", box, "stat", "-c", "%u:%g", "/", "/etc/hosts", "/made", "/data/f").split() == ["0:0", "0:0", "9:9", "7:8"]
    assert lab.ok(MANAGER, "festoon", "exec", "-u", "1000:50", box, "sh", "-c", "id -u; id -g").split() == ["1000", "50"]
    assert lab.ok(MANAGER, "festoon", "run", "--rm", "-v", f"{VOLUME}:/d", "busybox", "stat", "-c", "%u:%g", "/d/f") == "7:8\n"
    (tmp_path / "in").write_text("in\n")
    lab.ok(MANAGER, "festoon", "cp", str(tmp_path / "in"), f"{box}:/root/in")
    assert lab.ok(MANAGER, "festoon", "exec", box, "stat", "-c", "%u", "/root/in") == "0\n"
    lab.ok(MANAGER, "festoon", "export", "-o", str(tmp_path / "tree.tar"), box)
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "tree.tar").read_bytes())) as tree:
        assert [(tree.getmember(name).uid, tree.getmember(name).gid) for name in ("made", "www")] == [(9, 9), (0, 0)]
    lab.ok(MANAGER, "festoon", "commit", box, "shifted:1")
    try:
        assert lab.ok(MANAGER, "festoon", "run", "--rm", "shifted:1", "stat", "-c", "%u", "/made") == "9\n"
    finally:
        lab.on(MANAGER, "festoon", "rmi", "shifted:1")
    lab.ok(MANAGER, "festoon", "restart", "-t", "0", box)
    assert lab.ok(MANAGER, "festoon", "exec", box, "stat", "-c", "%u", "/made") == "9\n"


def test_files_of_the_machines_root_stay_closed(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of root\n")
    (tmp_path / "secret").chmod(0o600)
    tmp_path.chmod(0o755)
    script = "stat -c %u /x/secret; cat /x/secret || touch /x/new || echo closed"
    run = ("run", "--rm", "-v", f"{tmp_path}:/x", "busybox", "sh", "-c", script)
    assert lab.ok(MANAGER, "festoon", *run).split("\n")[:2] == ["0", "of root"]
    assert lab.ok(MANAGER, "festoon", run[0], "--userns=remap", *run[1:]).split() == ["65534", "closed"]
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_its_network_is_its_own_and_its_port_is_reached(lab: Lab, box: str) -> None:
    with urlopen(f"http://{ADDRESS[MANAGER]}:{PORT}/", timeout=20) as answer:
        assert answer.read() == b"web\n"
    joined = ("run", "--rm", "--userns=remap", "--network", f"container:{box}", "busybox")
    assert lab.ok(MANAGER, "festoon", *joined, "wget", "-q", "-O", "-", "http://127.0.0.1/") == "web\n"
    able = ("run", "--rm", "--userns=remap", "--cap-add", "NET_ADMIN", "busybox", "ip", "link", "set", "lo", "mtu", "1400")
    lab.ok(MANAGER, "festoon", *able)
    assert "127.0.0.1/8" in lab.ok(MANAGER, "festoon", "run", "--rm", "--userns=remap", "--network", "none", "busybox", "ip", "addr")


def test_what_is_the_hosts_can_not_be_had(lab: Lab) -> None:
    before = set(lab.ok(MANAGER, "festoon", "ps", "-aq").split())
    for flags, words in (
        (("--privileged",), "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running "
                            "privileged mode"),
        (("--network", "host"), "cannot share the host's network namespace when user namespaces are enabled"),
        (("--pid", "host"), "cannot share the host PID namespace when user namespaces are enabled"),
    ):  # fmt: skip
        done = lab.on(MANAGER, "festoon", "run", "--rm", "--userns=remap", *flags, "busybox", "true")
        assert done.returncode == 125
        assert words in done.stderr
    refused = lab.on(MANAGER, "festoon", "run", "--rm", "--userns=mine", "busybox", "true")
    assert (refused.returncode, "--userns: invalid USER mode" in refused.stderr) == (125, True)
    lab.ok(MANAGER, "docker", "run", "--rm", "--userns=host", "--privileged", "busybox", "true")
    assert until(lambda: set(lab.ok(MANAGER, "festoon", "ps", "-aq").split()) <= before)
