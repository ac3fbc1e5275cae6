"""config.json to values: what is read, and what is refused with which sentence."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.child.faults import Refused
from runtime.oci.bundle import parse


def config(**changes: object) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 1, "gid": 2}},
        "linux": {"namespaces": [{"type": "mount"}]},
    }
    made.update(changes)
    return made


def test_paths_are_relative_to_the_bundle() -> None:
    mounts = [{"destination": "data/", "source": "here", "options": ["rbind", "ro", "rslave"]}]
    bundle = parse(config(mounts=mounts), "/b")
    assert bundle.root == "/b/rootfs"
    mount = bundle.mounts[0]
    assert (mount.destination, mount.kind, mount.source, mount.options.recursive) == ("/data", "bind", "/b/here", True)


def test_the_process() -> None:
    process = parse(config(), "/b").process
    assert (process.argv, process.uid, process.gid, process.umask, process.oom_score_adj) == (("sh",), 1, 2, None, None)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ociVersion": "2.0"}, "ociVersion"),
        ({"root": {}}, "root.path is missing"),
        ({"process": {"args": [], "cwd": "/"}}, "args must not be empty"),
        ({"process": {"args": ["sh"], "cwd": "here"}}, "cwd must be an absolute path"),
        ({"process": {"args": ["sh"], "cwd": "/", "selinuxLabel": "x"}}, "selinuxLabel is not supported"),
        ({"process": {"args": ["sh"], "cwd": "/", "rlimits": [{"type": "RLIMIT_NO"}]}}, "RLIMIT_NO"),
        ({"linux": {"namespaces": [{"type": "pid"}]}}, "without its own mount namespace is refused"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]}}, "no uid or gid mappings found"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "mount"}]}}, "listed twice"),
        ({"hostname": "x"}, "without a uts namespace"),
        ({"linux": {"namespaces": [{"type": "mount"}], "sysctl": {"net.ipv4.ip_forward": "1"}}}, "without a network namespace"),
        ({"linux": {"namespaces": [{"type": "mount"}], "sysctl": {"vm.swappiness": "1"}}}, "not in a separate kernel namespace"),
        ({"mounts": [{"destination": "/x", "type": "bind", "options": []}]}, "has no source"),
        ({"mounts": [{"destination": "/x", "type": "tmpfs", "options": ["remount"]}]}, "remount"),
        ({"hooks": {"prestart": [{"path": "relative"}]}}, "must be absolute"),
        ({"process": {"args": "sh", "cwd": "/"}}, "list of strings"),
        ({"annotations": {"a": 1}}, "annotations.a must be a string"),
    ],
)
def test_what_can_not_be_kept_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        parse(config(**changes), "/b")
