"""Festoon on a fresh Debian 12 that systemd boots: installed by vm/install.sh and by cloud-init, working, there again after a reboot, gone without a trace.

Each story takes many minutes in a translated machine: `./check --long` runs them. They need debootstrap, and Debian's and Python's packages.
"""

from __future__ import annotations

import dataclasses
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import images
from vm import channel, debian, machine
from vm.machine import Settings

ROOT = Path(__file__).parents[2]
STORY_TIMEOUT_S = 3600.0
BOOT_TIMEOUT_S = 600.0
ENVIRONMENT = {"PATH": debian.PATH, "HOME": "/root", "LANG": "C.UTF-8"}
ARCHIVE = "root/festoon.tar.gz"

absent = [*machine.missing(), *debian.missing()]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(absent), reason=f"no fresh Debian: {', '.join(absent)} missing")]


class Guest:
    """A booted machine, and what its commands say."""

    def __init__(self, channel_: channel.Channel) -> None:
        self._channel = channel_

    def status(self, script: str) -> tuple[int, str]:
        said: list[bytes] = []
        status = channel.run(self._channel, ["/bin/sh", "-c", script], env=ENVIRONMENT, cwd="/root", output=lambda _, data: said.append(data))
        return status, b"".join(said).decode(errors="replace")

    def run(self, script: str) -> str:
        status, said = self.status(script)
        assert status == 0, f"{script}: status {status}\n{said}"
        return said.strip()


@contextmanager
def booted(settings: Settings) -> Iterator[Guest]:
    with machine.start(settings) as running:
        limit = threading.Timer(STORY_TIMEOUT_S, running.end)
        limit.start()
        try:
            guest = Guest(channel.wait_ready(running, BOOT_TIMEOUT_S))
            yield guest
        finally:
            limit.cancel()


def reboot(guest: Guest) -> None:
    """Down in good order; the same disk can be booted afterwards."""
    with pytest.raises(channel.Ended):
        guest.run("systemctl reboot && sleep infinity")


def rebooted(settings: Settings) -> Settings:
    return dataclasses.replace(settings, files={})


def source() -> bytes:
    """The checkout as it is, as an archive with one folder in it."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True).stdout
    pack = ["tar", "-cz", "--null", "-T", "-", "--transform", "s,^,festoon/,"]
    return subprocess.run(pack, cwd=ROOT, input=names, capture_output=True, check=True).stdout


def files() -> Mapping[str, bytes]:
    return {ARCHIVE: source(), **{f"root/images/{number}.tar": data for number, data in enumerate(images.archives().values())}}


def until(condition: str) -> str:
    """A script that succeeds when `condition` does, and fails when it has not for a long time."""
    return f"for again in $(seq 200); do {condition} && exit 0; sleep 1; done; festoon service ps web; exit 1"


ANSWERS = until("python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:8080/\", timeout=30).read().decode())'")
TRACES = """
exec 2>/dev/null
ls -d /opt/festoon /var/lib/festoon /run/festoon /run/festoon-oci /etc/systemd/system/festoon* /usr/local/bin/festoon*
getent group festoon
ps -eo pid=,args= | grep -v "^ *$$ " | grep -E '[f]estoon|[r]untime\\.(stem|supervisor)|[m] (agent|manager)'
ip -o link | grep -vE ': (lo|eth0)'
nft list tables | grep festoon
grep festoon /proc/self/mounts
find /sys/fs/cgroup -name '*festoon*'
ss -ltnu | grep -E ':(2377|4789|8080)\\b'
exit 0
"""


def test_install_use_reboot_and_uninstall() -> None:
    with debian.fresh(files()) as settings:
        with booted(settings) as guest:
            assert guest.run("systemctl is-system-running --wait") == "running"
            assert guest.run(TRACES) == ""
            guest.run("tar -xzf festoon.tar.gz && sh festoon/vm/install.sh")
            use(guest, "festoon swarm init")
            reboot(guest)
        with booted(rebooted(settings)) as guest:
            there_again(guest)
            guest.run("sh festoon/vm/install.sh --uninstall")
            assert guest.run(TRACES) == ""


BARE = b"locale: false\nssh_genkeytypes: []\n"
"""Told to cloud-init: this machine has neither locales nor ssh, as those of providers have; what it can't set up there it would call an error."""


def test_cloud_init_makes_a_manager() -> None:
    told = (ROOT / "vm/cloud-init/manager.yaml").read_text().replace("SOURCE", f"/{ARCHIVE}")
    seed = {"user-data": told.encode(), "meta-data": b"instance-id: one\n"}
    seeded = {f"var/lib/cloud/seed/nocloud/{name}": data for name, data in seed.items()} | {"etc/cloud/cloud.cfg.d/99-bare.cfg": BARE}
    with debian.fresh({**files(), **seeded}) as settings:
        with booted(settings) as guest:
            for file in ("manager", "worker"):
                guest.run(f"tar -xzOf festoon.tar.gz festoon/vm/cloud-init/{file}.yaml >{file}.yaml && cloud-init schema --config-file {file}.yaml")
            assert "status: done" in guest.run("cloud-init status --wait --long || (cat /var/log/cloud-init-output.log; exit 1)")
            assert guest.run("hostname") == "swarm-manager"
            use(guest, "true")
            reboot(guest)
        with booted(rebooted(settings)) as guest:
            there_again(guest)
            guest.run("/opt/festoon/bin/festoon system uninstall --force && rm -rf /opt/festoon")
            assert guest.run(TRACES) == ""


def use(guest: Guest, before: str) -> None:
    """A swarm of one with a service that answers on its port."""
    assert guest.run("systemctl is-active festoond festoon-stem").split() == ["active", "active"]
    guest.run(f"{before} && for image in images/*; do festoon load -i $image; done")
    guest.run("festoon service create --name web --replicas 2 -p 8080:80 containous/whoami")
    assert "Hostname: " in guest.run(ANSWERS)


def there_again(guest: Guest) -> None:
    """After a reboot nobody has to do anything."""
    guest.run("systemctl is-system-running --wait")
    guest.run(until("[ \"$(festoon service ls --format '{{.Replicas}}')\" = 2/2 ]"))
    assert "Hostname: " in guest.run(ANSWERS)
