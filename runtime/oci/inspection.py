"""The commands that look at a container or change its limits: ps, list, pause, resume, update, events, features. Each returns the exit status."""

from __future__ import annotations

import json
import os
import sys

from runtime.child.faults import Refused
from runtime.errors import NoSuchContainer, RuntimeFault
from runtime.oci import state
from runtime.oci.arguments import Line, number
from runtime.oci.commands import root_of
from runtime.oci.values import Json

RESOURCES_MAX_BYTES = 1024 * 1024
_FORMATS = ("table", "json")


def _saved(line: Line) -> state.Saved:
    if not line.arguments:
        raise Refused(f"{line.command}: a container ID is needed")
    return state.read(root_of(line), line.arguments[0])


def _format(line: Line) -> str:
    chosen = line.text("format", "table")
    if chosen not in _FORMATS:
        raise Refused(f"invalid format option {chosen!r}: table and json are possible")
    return chosen


def ps(line: Line) -> int:
    from runtime.cgroups.members import pids

    found = sorted(pids(_saved(line).groups))
    if _format(line) == "json":
        print(json.dumps(found))
        return 0
    import subprocess

    options = line.arguments[1:] or ["-ef"]
    shown = subprocess.run(["ps", *options], stdout=subprocess.PIPE, text=True, check=False)
    lines = shown.stdout.splitlines()
    if shown.returncode or not lines or "PID" not in lines[0].split():
        raise RuntimeFault("ps did not list processes with their PID")
    column = lines[0].split().index("PID")
    print(lines[0])
    for entry in lines[1:]:
        fields = entry.split()
        if len(fields) > column and fields[column].isdigit() and int(fields[column]) in found:
            print(entry)
    return 0


def list_(line: Line) -> int:
    root = root_of(line)
    names = sorted(os.listdir(root)) if os.path.isdir(root) else []
    rows: list[tuple[state.Saved, str]] = []
    for name in names:
        try:
            saved = state.read(root, name)
        except (NoSuchContainer, Refused):
            continue
        rows.append((saved, state.status(root, saved)))
    if line.flag("quiet"):
        for saved, _ in rows:
            print(saved.id)
    elif _format(line) == "json":
        found = [{**state.shown(saved, current), "rootfs": saved.root, "created": saved.created, "owner": "root"} for saved, current in rows]
        print(json.dumps(found or None))
    else:
        width = max([len("ID"), *(len(saved.id) for saved, _ in rows)])
        print(f"{'ID':{width}} {'PID':<11} {'STATUS':<11} {'BUNDLE':<40} {'CREATED':<30} OWNER")
        for saved, current in rows:
            print(f"{saved.id:{width}} {saved.pid if current != 'stopped' else 0:<11} {current:<11} {saved.bundle:<40} {saved.created:<30} root")
    return 0


def pause(line: Line) -> int:
    from runtime.oci import freezing

    saved = _saved(line)
    if state.status(root_of(line), saved) not in ("running", "created"):
        raise RuntimeFault("container not running")
    freezing.pause(saved.groups)
    return 0


def resume(line: Line) -> int:
    from runtime.cgroups import freezer

    saved = _saved(line)
    if state.status(root_of(line), saved) != "paused" and not freezer.is_frozen(saved.groups):
        raise RuntimeFault("container not paused")
    freezer.thaw(saved.groups)
    return 0


def update(line: Line) -> int:
    from runtime.cgroups.groups import apply_limits, read_layout
    from runtime.oci import placing, resources

    saved = _saved(line)
    if state.status(root_of(line), saved) == "stopped":
        raise RuntimeFault("container not running")
    wanted = _resources(line)
    unified = read_layout().unified
    if unified and wanted.get("devices"):
        raise Refused("update: device rules can't be changed on cgroup v2 once the container is made")
    apply_limits(saved.groups, resources.settings(wanted, unified=unified))
    placing.restrict_devices(saved.groups, resources.device_rules(wanted))
    return 0


def _resources(line: Line) -> Json:
    """--resources FILE (- is standard input), or runc's single options."""
    path = line.text("resources")
    if path:
        if path == "-":
            data = sys.stdin.buffer.read(RESOURCES_MAX_BYTES)
        else:
            with open(path, "rb") as file:
                data = file.read(RESOURCES_MAX_BYTES)
        try:
            found = json.loads(data)
        except ValueError as error:
            raise Refused(f"--resources: no JSON: {error}") from error
        if not isinstance(found, dict):
            raise Refused("--resources must be an object")
        return found
    memory = {"limit": number(line, "memory"), "reservation": number(line, "memory-reservation"), "swap": number(line, "memory-swap")}
    cpu: Json = {"shares": number(line, "cpu-share"), "quota": number(line, "cpu-quota"), "period": number(line, "cpu-period"),
                 "burst": number(line, "cpu-burst"), "realtimePeriod": number(line, "cpu-rt-period"), "realtimeRuntime": number(line, "cpu-rt-runtime"),
                 "cpus": line.text("cpuset-cpus"), "mems": line.text("cpuset-mems")}  # fmt: skip
    if line.text("cpu-idle"):
        cpu["idle"] = number(line, "cpu-idle")
    return {"memory": memory, "cpu": cpu, "pids": {"limit": number(line, "pids-limit")}, "blockIO": {"weight": number(line, "blkio-weight")}}


def events(line: Line) -> int:
    """One reading with --stats; else readings at an interval and what happens in between, until the container ends."""
    from runtime.oci import watching

    saved = _saved(line)
    if state.status(root_of(line), saved) == "stopped":
        raise RuntimeFault(f"container with id {saved.id} is not running")
    if line.flag("stats"):
        print(watching.reading(saved))
    else:
        watching.follow(saved, watching.seconds(line.text("interval", "5s")))
    return 0


def features(_line: Line) -> int:
    from runtime.child.capabilities import NAMES
    from runtime.oci import bundle, options

    names = ["bind", "rbind", "tmpcopyup", "idmap", *options.ATTRIBUTE_WORDS, *(f"r{word}" for word in options.ATTRIBUTE_WORDS), *options.PROPAGATIONS]
    shown = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": bundle.VERSION,
        "hooks": list(bundle.HOOKS),
        "mountOptions": sorted(set(names)),
        "linux": {
            "namespaces": sorted(bundle.KINDS),
            "capabilities": [f"CAP_{name}" for name in NAMES],
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": False},
            "seccomp": {"enabled": True, "archs": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"]},
            "apparmor": {"enabled": True},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {},
    }
    print(json.dumps(shown, indent=2))
    return 0
