"""linux.resources of a bundle (and of `update`) as control files of cgroup v1 and v2, and the device rules. Pure: writes nothing.

Source: the OCI runtime specification, config-linux.md ("Control groups"); the kernel's admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from __future__ import annotations

from runtime.cgroups.limits import DEFAULT_DEVICES, Setting, cpu_weight
from runtime.child.faults import Refused
from runtime.oci import fields
from runtime.oci.values import Json

DEFAULT_PERIOD_US = 100_000
_WHERE = "linux.resources."
_BLKIO = (("throttleReadBpsDevice", "read_bps", "rbps"), ("throttleWriteBpsDevice", "write_bps", "wbps"),
          ("throttleReadIOPSDevice", "read_iops", "riops"), ("throttleWriteIOPSDevice", "write_iops", "wiops"))  # fmt: skip


def settings(resources: Json, *, unified: bool) -> tuple[Setting, ...]:
    """In the order in which they must be written. Raises Refused."""
    found = [*_memory(resources, unified), *_cpu(resources, unified), *_pids(resources), *_block_io(resources, unified), *_huge_pages(resources, unified)]
    found += _network(resources, unified)
    extra = fields.pairs(resources, "unified", _WHERE)
    if extra and not unified:
        raise Refused("config.json: linux.resources.unified needs a host with cgroup v2 only")
    for name, value in extra.items():
        if "/" in name or "." not in name:
            raise Refused(f"config.json: linux.resources.unified: {name!r} is no control file")
        found.append(Setting(name.partition(".")[0], name, value, name))
    return tuple(found)


def _limit(value: int) -> str:
    return "max" if value < 0 else str(value)


def _memory(resources: Json, unified: bool) -> list[Setting]:
    memory = fields.part(resources, "memory", _WHERE)
    where = _WHERE + "memory."
    limit, swap, reservation = (fields.number(memory, name, where) for name in ("limit", "swap", "reservation"))
    swappiness = fields.optional_number(memory, "swappiness", where)
    found: list[Setting] = []
    if fields.flag(memory, "checkBeforeUpdate", where):
        raise Refused("config.json: linux.resources.memory.checkBeforeUpdate is not supported by this runtime")
    if unified:
        if swap:
            alone = "max" if swap < 0 else str(max(0, swap - max(limit, 0)))
            found.append(Setting("memory", "memory.swap.max", alone, "swap limit", optional=True))
        if limit:
            found.append(Setting("memory", "memory.max", _limit(limit), "memory limit"))
        if reservation:
            found.append(Setting("memory", "memory.low", str(max(0, reservation)), "memory reservation"))
        return found
    pair = []
    if limit:
        pair.append(Setting("memory", "memory.limit_in_bytes", str(limit), "memory limit"))
    if swap:
        pair.append(Setting("memory", "memory.memsw.limit_in_bytes", str(swap), "swap limit", optional=True))
    found += reversed(pair) if swap < 0 else pair
    if reservation:
        found.append(Setting("memory", "memory.soft_limit_in_bytes", str(reservation), "memory reservation"))
    if swappiness is not None:
        found.append(Setting("memory", "memory.swappiness", str(swappiness), "memory swappiness", optional=True))
    if fields.flag(memory, "disableOOMKiller", where):
        found.append(Setting("memory", "memory.oom_control", "1", "OOM setting"))
    return found


def _cpu(resources: Json, unified: bool) -> list[Setting]:
    cpu = fields.part(resources, "cpu", _WHERE)
    where = _WHERE + "cpu."
    shares, quota, period, burst = (fields.number(cpu, name, where) for name in ("shares", "quota", "period", "burst"))
    runtime, runtime_period = (fields.number(cpu, name, where) for name in ("realtimeRuntime", "realtimePeriod"))
    idle = fields.optional_number(cpu, "idle", where)
    cpus, mems = fields.text(cpu, "cpus", where), fields.text(cpu, "mems", where)
    found: list[Setting] = []
    if unified:
        if shares:
            found.append(Setting("cpu", "cpu.weight", str(cpu_weight(shares)), "CPU shares"))
        if quota or period:
            found.append(Setting("cpu", "cpu.max", f"{quota if quota > 0 else 'max'} {period or DEFAULT_PERIOD_US}", "CPU limit"))
    else:
        if shares:
            found.append(Setting("cpu", "cpu.shares", str(shares), "CPU shares"))
        if period:
            found.append(Setting("cpu", "cpu.cfs_period_us", str(period), "CPU period"))
        if quota:
            found.append(Setting("cpu", "cpu.cfs_quota_us", str(quota), "CPU limit"))
        if runtime_period:
            found.append(Setting("cpu", "cpu.rt_period_us", str(runtime_period), "real-time period"))
        if runtime:
            found.append(Setting("cpu", "cpu.rt_runtime_us", str(runtime), "real-time runtime"))
    if burst:
        found.append(Setting("cpu", "cpu.max.burst" if unified else "cpu.cfs_burst_us", str(burst), "CPU burst"))
    if idle is not None:
        found.append(Setting("cpu", "cpu.idle", str(idle), "CPU idle"))
    if cpus:
        found.append(Setting("cpuset", "cpuset.cpus", cpus, "cpuset"))
    if mems:
        found.append(Setting("cpuset", "cpuset.mems", mems, "cpuset of memory nodes"))
    return found


def _pids(resources: Json) -> list[Setting]:
    limit = fields.number(fields.part(resources, "pids", _WHERE), "limit", _WHERE + "pids.")
    return [Setting("pids", "pids.max", _limit(limit), "pids limit")] if limit else []


def _block_io(resources: Json, unified: bool) -> list[Setting]:
    block = fields.part(resources, "blockIO", _WHERE)
    where = _WHERE + "blockIO."
    controller = "io" if unified else "blkio"
    found: list[Setting] = []
    weight = fields.number(block, "weight", where)
    if weight:
        found.append(Setting(controller, f"{controller}.bfq.weight", str(weight), "block IO weight", optional=True))
    for device in fields.parts(block, "weightDevice", where):
        value = f"{_device_number(device)} {fields.number(device, 'weight', where)}"
        found.append(Setting(controller, f"{controller}.bfq.weight" + ("" if unified else "_device"), value, "block IO weight", optional=True))
    for name, v1, v2 in _BLKIO:
        for device in fields.parts(block, name, where):
            rate = fields.number(device, "rate", where)
            if unified:
                found.append(Setting("io", "io.max", f"{_device_number(device)} {v2}={rate or 'max'}", "block IO limit"))
            else:
                way, _, unit = v1.partition("_")
                found.append(Setting("blkio", f"blkio.throttle.{way}_{unit}_device", f"{_device_number(device)} {rate}", "block IO limit"))
    return found


def _device_number(device: Json) -> str:
    return f"{fields.number(device, 'major', _WHERE)}:{fields.number(device, 'minor', _WHERE)}"


def _huge_pages(resources: Json, unified: bool) -> list[Setting]:
    found: list[Setting] = []
    for entry in fields.parts(resources, "hugepageLimits", _WHERE):
        size = fields.text(entry, "pageSize", _WHERE)
        file = f"hugetlb.{size}.max" if unified else f"hugetlb.{size}.limit_in_bytes"
        found.append(Setting("hugetlb", file, str(fields.number(entry, "limit", _WHERE)), "huge page limit"))
    return found


def _network(resources: Json, unified: bool) -> list[Setting]:
    """v2 has no such controllers: nothing is written there, as runc does."""
    network = fields.part(resources, "network", _WHERE)
    if unified or not network:
        return []
    found: list[Setting] = []
    number = fields.number(network, "classID", _WHERE + "network.")
    if number:
        found.append(Setting("net_cls", "net_cls.classid", str(number), "network class"))
    for entry in fields.parts(network, "priorities", _WHERE + "network."):
        value = f"{fields.text(entry, 'name', _WHERE)} {fields.number(entry, 'priority', _WHERE)}"
        found.append(Setting("net_prio", "net_prio.ifpriomap", value, "network priority"))
    return found


def device_rules(resources: Json) -> tuple[tuple[bool, str], ...]:
    """(allowed, rule of cgroup v1) in order; nothing where the bundle has no rules. After a rule that denies all, the default devices are allowed,
    as runc does: without them no container could open /dev/null."""
    rules: list[tuple[bool, str]] = []
    denied_all = False
    for entry in fields.parts(resources, "devices", _WHERE):
        allow = fields.flag(entry, "allow", _WHERE + "devices.")
        kind = fields.text(entry, "type", _WHERE + "devices.", "a") or "a"
        if kind not in ("a", "b", "c"):
            raise Refused(f"config.json: linux.resources.devices: type {kind!r} is none of a, b, c")
        major, minor = (fields.optional_number(entry, name, _WHERE + "devices.") for name in ("major", "minor"))
        access = fields.text(entry, "access", _WHERE + "devices.", "rwm") or "rwm"
        if set(access) - set("rwm"):
            raise Refused(f"config.json: linux.resources.devices: access {access!r} is not made of r, w, m")
        if kind == "a":
            if set(access) != set("rwm") or major not in (None, -1) or minor not in (None, -1):
                raise Refused("config.json: linux.resources.devices: a rule for all types must be for all devices and rwm")
            denied_all = not allow
            rules.append((allow, "a"))
            continue
        numbers = ":".join("*" if number in (None, -1) else str(number) for number in (major, minor))
        rules.append((allow, f"{kind} {numbers} {access}"))
    if denied_all:
        rules += [(True, rule) for rule in DEFAULT_DEVICES]
    return tuple(rules)


def allowed_devices(rules: tuple[tuple[bool, str], ...]) -> tuple[str, ...]:
    """The rules as cgroup v2's filter wants them: what is allowed and nothing else. Raises Refused for exceptions from what is allowed."""
    allowed: list[str] = []
    for allow, rule in rules:
        if rule == "a":
            allowed = ["a"] if allow else []
        elif allow:
            allowed.append(rule)
        elif allowed:
            raise Refused(f"config.json: linux.resources.devices: {rule} can't be excepted from what was allowed before on cgroup v2")
    return tuple(allowed)
