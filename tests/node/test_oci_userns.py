"""festoon-oci: bundles with user namespaces, new and joined: who the program is, what it owns, its terminal, its limits, an exec."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node import oci_bundles

BASE, SIZE = 200_000, 65_536
KINDS = ("mount", "network", "uts", "pid", "ipc", "cgroup")

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not Path(oci_bundles.BUSYBOX).exists(), reason="needs root and busybox")


@pytest.fixture
def oci() -> Iterator[Any]:
    with oci_bundles.oci() as made:
        subprocess.run(["chown", "-hR", f"{BASE}:{BASE}", str(made.bundle / "rootfs")], check=True)
        yield made


def write(oci: Any, *argv: str, user: dict[str, str] | None = None, **changes: Any) -> None:
    oci.write(*argv, namespaces=[{"type": kind} for kind in KINDS] + [user or {"type": "user"}], **changes)
    path = oci.bundle / "config.json"
    config = json.loads(path.read_text())
    if user is None:
        mapping = [{"containerID": 0, "hostID": BASE, "size": SIZE}]
        config["linux"] |= {"uidMappings": mapping, "gidMappings": mapping}
    path.write_text(json.dumps(config))


def test_root_of_its_own_user_namespace(oci: Any) -> None:
    script = "cat /proc/self/uid_map; stat -c %u:%g / /dev/null /bin; ulimit -n; touch /new; mknod /node c 1 3 2>/dev/null || echo no nodes; ip addr show lo"
    write(oci, "sh", "-c", script, rlimits=[{"type": "RLIMIT_NOFILE", "soft": 2000, "hard": 3000}])
    done = oci("run", "one")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["0", str(BASE), str(SIZE)]
    assert lines[1:6] == ["0:0", "0:0", "0:0", "2000", "no nodes"]
    assert "127.0.0.1/8" in done.stdout, "its network belongs to it and its loopback is up"
    assert (oci.bundle / "rootfs/new").stat().st_uid == BASE
    assert os.listdir(oci.root) == []


def test_exec_enters_it_and_another_container_joins_it(oci: Any) -> None:
    write(oci, "sleep", "1000")
    assert oci("run", "-d", "one").returncode == 0
    pid = json.loads(oci("state", "one").stdout)["pid"]
    assert os.stat(f"/proc/{pid}").st_uid == BASE
    done = oci("exec", "-u", "33:34", "one", "sh", "-c", "id -u; id -g; cat /proc/self/uid_map")
    assert done.stdout.split() == ["33", "34", "0", str(BASE), str(SIZE)], done.stderr
    write(oci, "sh", "-c", "readlink /proc/self/ns/user; hostname", user={"type": "user", "path": f"/proc/{pid}/ns/user"})
    joined = oci("run", "two")
    assert joined.stdout.split() == [os.readlink(f"/proc/{pid}/ns/user"), "bundle"], joined.stderr
    assert oci("delete", "--force", "one").returncode == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"uidMappings": []}, "no uid or gid mappings found"),
        ({"uidMappings": [{"containerID": 5, "hostID": BASE, "size": 5}]}, "user and group 0 are not mapped"),
        ({"gidMappings": [{"containerID": 0, "hostID": BASE, "size": 0}]}, "linux.gidMappings[0] is no range of ids"),
        ({"namespaces": [{"type": "mount"}]}, "user namespace isn't enabled"),
    ],
)
def test_maps_that_can_not_be(oci: Any, change: dict[str, Any], words: str) -> None:
    write(oci, "true")
    path = oci.bundle / "config.json"
    config = json.loads(path.read_text())
    config["linux"] |= change
    path.write_text(json.dumps(config))
    done = oci("run", "one")
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert not oci.root.exists() or os.listdir(oci.root) == []


def test_a_tmpfs_that_begins_with_what_its_place_holds_and_an_id_mapped_bind(oci: Any, tmp_path: Path) -> None:
    place = oci.bundle / "rootfs/place"
    (place / "inner").mkdir(parents=True)
    (place / "inner/file").write_text("from the image\n")
    os.chown(place / "inner/file", 33, 34)
    (tmp_path / "mine").write_text("of 0\n")
    tmp_path.chmod(0o755)
    mapping = [{"containerID": 0, "hostID": 5000, "size": 10}]
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/place", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "mode=755"]},
        {"destination": "/mapped", "type": "bind", "source": str(tmp_path), "options": ["bind"], "uidMappings": mapping, "gidMappings": mapping},
    ]
    oci.write("sh", "-c", "cat /place/inner/file; stat -c %u:%g /place/inner/file /mapped/mine; echo more > /place/new; stat -f -c %T /place", mounts=mounts)
    done = oci("run", "one")
    assert done.stdout.splitlines() == ["from the image", "33:34", "5000:5000", "tmpfs"], done.stderr
    assert sorted(path.name for path in place.iterdir()) == ["inner"]
