"""Where a process stands in the cgroup hierarchies, from the kernel's own text."""

from __future__ import annotations

from runtime.cgroups.detect import Hierarchy, Layout, detect

HYBRID_CGROUP = "4:memory:/lab/node\n3:cpuset:/\n2:cpu,cpuacct:/lab\n1:name=systemd:/\n0::/lab/node\n"
HYBRID_MOUNTS = """\
32 23 0:29 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
33 32 0:30 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory
34 32 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 32 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
36 32 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


def test_hybrid() -> None:
    layout = detect(HYBRID_CGROUP, HYBRID_MOUNTS)
    assert layout == Layout(
        (
            Hierarchy("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/lab/node", ("memory",)),
            Hierarchy("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/lab", ("cpu", "cpuacct")),
        ),
        Hierarchy("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/lab/node"),
    )
    assert not layout.unified


def test_unified_and_our_own_leaf_is_not_part_of_the_place() -> None:
    layout = detect("0::/system.slice/festoon.service/festoon.self\n", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n")
    assert layout.v2 == Hierarchy("/sys/fs/cgroup", "/sys/fs/cgroup/system.slice/festoon.service")
    assert layout.unified


def test_a_mount_of_a_part_of_the_hierarchy() -> None:
    inside = detect("0::/a/b\n", "30 23 0:26 /a /cg rw - cgroup2 cgroup2 rw\n")
    assert inside.v2 == Hierarchy("/cg", "/cg/b")
    outside = detect("0::/other\n", "30 23 0:26 /a /cg rw - cgroup2 cgroup2 rw\n")
    assert outside.v2 is None
    above = detect("0::/../x\n", "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n")
    assert above.v2 is None


def test_nothing_mounted() -> None:
    assert detect("", "") == Layout((), None)
