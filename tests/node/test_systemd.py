"""Installed on a machine whose init is systemd, in a guest: what may be restarted, killed and booted without containers noticing, and
that nothing is left after the uninstallation.

systemd is the first process of namespaces of its own in the guest, with the few units that it needs. A boot ends with `poweroff` and the
next begins with another boot id.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vm.machine import missing

CHECKOUT = Path(__file__).parent.parent.parent
SYSTEMD = Path("/lib/systemd/systemd")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(bool(missing()), reason="guests can't run here"),
    pytest.mark.skipif(not SYSTEMD.exists(), reason="needs systemd's files"),
]

SCRIPT = r"""
set -eu
umount /var/lib/festoon
mount -t tmpfs none /var/lib
export SYSTEMD_UNIT_PATH=/etc/systemd/system PATH="$BIN:/usr/local/bin:$PATH"
mount -t tmpfs none /etc/systemd/system
for unit in basic sysinit shutdown final umount local-fs network-online multi-user; do
    printf '[Unit]\nDefaultDependencies=no\n' >/etc/systemd/system/$unit.target
done
printf '[Unit]\nDefaultDependencies=no\nRequires=basic.target sysinit.target\n' >/etc/systemd/system/multi-user.target
cp /lib/systemd/system/poweroff.target /lib/systemd/system/systemd-poweroff.service /etc/systemd/system/
cat >/var/tmp/enter <<'X'
mount --make-rprivate /
mount -t proc proc /proc
cat /proc/sys/kernel/random/uuid >/var/tmp/boot_id
mount --bind /var/tmp/boot_id /proc/sys/kernel/random/boot_id
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
ip link add eth0 type dummy
ip addr add 192.168.99.5/24 dev eth0
ip link set eth0 up
exec env container=test /lib/systemd/systemd --system --unit=multi-user.target --log-target=console --log-level=warning --show-status=no
X
until_true() { for _ in $(seq 3000); do if "$@"; then return 0; fi; sleep 0.1; done; echo "waited in vain for: $*"; return 1; }
quietly() { "$@" >/dev/null 2>&1; }
child() { init=$(cat "/proc/$outer/task/$outer/children"); init=${init%% *}; [ -n "$init" ] && [ "$(cat /proc/$init/comm)" = systemd ]; }
on() { nsenter -t "$init" -m -p -n -- "$@"; }
boot() {
    unshare --pid --mount --net --fork --kill-child sh /var/tmp/enter &
    outer=$!
    until_true child
    until_true quietly on systemctl is-active multi-user.target
}
power_off() { kill -s RTMIN+4 "$init"; wait "$outer" || true; } # systemd(1): as poweroff.target
runs() { [ "$(on festoon inspect --format '{{.State.Status}}' "$1" 2>/dev/null)" = running ]; }
pid() { on festoon inspect --format '{{.State.Pid}}' "$1"; }
of() { on pgrep -f -- "-m runtime.$1 --run /run/festoon"; }
other() { [ "$(of stem | wc -l) $(of supervisor | wc -l)" = '1 1' ] && [ "$(of stem)" != "$1" ]; }

boot
on festoon system install
on stat -c 'socket: %G %a' /run/festoon/festoon.sock
on sh -c 'tar -C / -c bin/busybox | festoon import - bb:1 >/dev/null'
on festoon run -d --name always --restart always bb:1 /bin/busybox sh -c 'trap "exit 3" TERM; while :; do /bin/busybox sleep 0.2; done' >/dev/null
before=$(pid always)
echo "group: $(on sed -n 's/^0::\(.*\)festoon.*/\1/p' "/proc/$before/cgroup")"
on systemctl restart festoond
[ "$(pid always)" = "$before" ] && echo 'restarted: the same'
stem=$(of stem)
on kill -9 "$stem"
until_true other "$stem"
[ "$(pid always)" = "$before" ] && echo 'stem killed: the same'
on systemctl stop festoond
on kill -9 $(of stem) $(of supervisor)
on systemctl start festoond
until_true runs always
[ "$(pid always)" = "$before" ] && echo 'both killed: the same'
# begun after the kills: of what was orphaned by them, init may take the status before the supervisor sees it (255 then: unknown)
on festoon run -d --name plain bb:1 /bin/busybox sh -c 'trap "exit 3" TERM; while :; do /bin/busybox sleep 0.2; done' >/dev/null
echo "stem in: $(on sed -n 's/^0:://p' "/proc/$(of stem)/cgroup" | cut -d/ -f1-3)"
power_off
boot
until_true runs always
echo "plain: $(on festoon inspect --format '{{.State.Status}} {{.State.ExitCode}}' plain)"
on festoon system uninstall --force
processes=$(on pgrep -fc -- '-m (agent|manager|runtime)|[f]estoond' || true)
files=$(on find /run /var/lib /etc/systemd/system /usr/local/bin /sys/fs/cgroup -name '*festoon*')
echo "left: $processes $(echo $files | wc -w)" \
    "$(on ip -o link | grep -c -v -e ' lo:' -e eth0) $(on nft list tables | wc -l) $(grep -c festoon /etc/group)"
power_off
"""


def test_systemd_starts_restarts_and_forgets_a_node(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    script = f"BIN={Path(sys.executable).parent}\n{SCRIPT}"
    command = [sys.executable, "-m", "vm", "run", "--memory", "2048", "--cpus", "2", "--", "bash", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "festoond runs; members of the group `festoon` may use it, which is as good as root.",
        "socket: festoon 660",
        "group: /system.slice/festoon-stem.service/",
        "restarted: the same",
        "stem killed: the same",
        "both killed: the same",
        "stem in: /system.slice/festoon-stem.service",
        "plain: exited 3",
        "left: 0 0 0 0 0",
    ]
