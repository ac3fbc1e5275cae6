"""A bundle's config.json, checked and turned into values. Pure: reads no file and opens nothing.

What this runtime can't keep is refused, never passed over. Source: the OCI runtime specification 1.0 to 1.2, config.md and config-linux.md.
"""

from __future__ import annotations

import posixpath

from runtime.child.faults import Refused
from runtime.child.identity import RLIMITS
from runtime.kernel.userns import Mapping, Mappings
from runtime.oci import fields, options
from runtime.oci.values import Bundle, BundleDevice, BundleMount, CapabilitySets, Hook, Json, Namespace, Process, ResourceLimit

VERSION = "1.2.0"
KINDS = ("pid", "network", "mount", "ipc", "uts", "cgroup", "user")
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
DEVICE_TYPES = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
MOUNTS_MAX = 10_000
MAPPINGS_MAX = 340
"""As many as the kernel takes."""

_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def parse(config: Json, bundle_path: str) -> Bundle:
    """`bundle_path`: absolute folder of the bundle. Raises Refused, one sentence for the first mistake."""
    _check_version(fields.text(config, "ociVersion", ""))
    linux = fields.part(config, "linux", "")
    _refuse_unsupported(config, linux)
    root = fields.part(config, "root", "")
    path = fields.text(root, "path", "root.")
    if not path:
        raise Refused("config.json: root.path is missing")
    namespaces = _namespaces(linux)
    bundle = Bundle(
        version=fields.text(config, "ociVersion", ""),
        root=posixpath.normpath(posixpath.join(bundle_path, path)),
        read_only=fields.flag(root, "readonly", "root."),
        process=parse_process(fields.part(config, "process", ""), "process."),
        hostname=fields.text(config, "hostname", ""),
        domainname=fields.text(config, "domainname", ""),
        namespaces=namespaces,
        mounts=tuple(_mount(mount, f"mounts[{index}].", bundle_path) for index, mount in enumerate(fields.parts(config, "mounts", ""))),
        devices=tuple(_device(device, f"linux.devices[{index}].") for index, device in enumerate(fields.parts(linux, "devices", "linux."))),
        masked=_absolute(fields.texts(linux, "maskedPaths", "linux."), "linux.maskedPaths"),
        read_only_paths=_absolute(fields.texts(linux, "readonlyPaths", "linux."), "linux.readonlyPaths"),
        sysctls=tuple(fields.pairs(linux, "sysctl", "linux.").items()),
        root_propagation=_root_propagation(fields.text(linux, "rootfsPropagation", "linux.")),
        cgroups_path=fields.text(linux, "cgroupsPath", "linux."),
        resources=fields.part(linux, "resources", "linux."),
        seccomp=fields.part(linux, "seccomp", "linux."),
        hooks=_hooks(fields.part(config, "hooks", "")),
        annotations=fields.pairs(config, "annotations", ""),
        uids=_mappings(linux, "uidMappings"),
        gids=_mappings(linux, "gidMappings"),
    )
    _check_ownership(bundle)
    return bundle


def parse_process(source: Json, where: str) -> Process:
    """The `process` object, also that of `exec --process`. Raises Refused."""
    argv = fields.texts(source, "args", where)
    if not argv or not argv[0]:
        raise Refused(f"config.json: {where}args must not be empty")
    cwd = fields.text(source, "cwd", where)
    if not cwd.startswith("/"):
        raise Refused(f"config.json: {where}cwd must be an absolute path, not {cwd!r}")
    for name in ("scheduler", "ioPriority", "execCPUAffinity"):
        if source.get(name):
            raise Refused(f"config.json: {where}{name} is not supported by this runtime")
    if fields.text(source, "selinuxLabel", where):
        raise Refused(f"config.json: {where}selinuxLabel is not supported by this runtime")
    user = fields.part(source, "user", where)
    size = fields.part(source, "consoleSize", where)
    sets = fields.part(source, "capabilities", where)
    return Process(
        argv=argv,
        env=fields.texts(source, "env", where),
        cwd=cwd,
        terminal=fields.flag(source, "terminal", where),
        rows=fields.number(size, "height", where + "consoleSize."),
        columns=fields.number(size, "width", where + "consoleSize."),
        uid=_identity(user, "uid", where),
        gid=_identity(user, "gid", where),
        groups=fields.numbers(user, "additionalGids", where + "user."),
        umask=fields.optional_number(user, "umask", where + "user."),
        capabilities=CapabilitySets(*(fields.texts(sets, name, where + "capabilities.") for name in _SETS)),
        rlimits=_rlimits(fields.parts(source, "rlimits", where), where),
        no_new_privileges=fields.flag(source, "noNewPrivileges", where),
        oom_score_adj=fields.optional_number(source, "oomScoreAdj", where),
        apparmor_profile=fields.text(source, "apparmorProfile", where),
    )


def _identity(user: Json, name: str, where: str) -> int:
    value = fields.number(user, name, where + "user.")
    if not 0 <= value < 2**32 - 1:
        raise Refused(f"config.json: {where}user.{name} {value} is out of range")
    return value


def _check_version(version: str) -> None:
    if version.split(".", maxsplit=1)[0] != "1":
        raise Refused(f"config.json: ociVersion {version!r} is not supported: this runtime knows 1.x")


def _refuse_unsupported(config: Json, linux: Json) -> None:
    for platform in ("windows", "solaris", "vm", "zos", "freebsd"):
        if config.get(platform):
            raise Refused(f"config.json: {platform} containers are not supported")
    for name in ("intelRdt", "mountLabel", "timeOffsets", "netDevices", "memoryPolicy"):
        if linux.get(name):
            raise Refused(f"config.json: linux.{name} is not supported by this runtime")
    domain = fields.text(fields.part(linux, "personality", "linux."), "domain", "linux.personality.", "LINUX")
    if domain != "LINUX":
        raise Refused(f"config.json: linux.personality {domain} is not supported by this runtime")


def _mappings(source: Json, name: str, above: str = "linux.") -> Mappings:
    found = []
    for index, entry in enumerate(fields.parts(source, name, above)):
        where = f"{above}{name}[{index}]."
        numbers = [fields.number(entry, key, where) for key in ("containerID", "hostID", "size")]
        if not all(0 <= value < 2**32 for value in numbers) or not 0 < numbers[2] <= 2**32 - 1 - max(numbers[:2]):
            raise Refused(f"config.json: {where[:-1]} is no range of ids")
        found.append(Mapping(*numbers))
    if len(found) > MAPPINGS_MAX:
        raise Refused(f"config.json: {above}{name}: the kernel takes {MAPPINGS_MAX} mappings at most")
    return tuple(found)


def _namespaces(linux: Json) -> tuple[Namespace, ...]:
    found: list[Namespace] = []
    for entry in fields.parts(linux, "namespaces", "linux."):
        kind = fields.text(entry, "type", "linux.namespaces.")
        if kind not in KINDS:
            raise Refused(f"config.json: {kind} namespaces are not supported by this runtime")
        if any(other.kind == kind for other in found):
            raise Refused(f"config.json: the {kind} namespace is listed twice")
        path = fields.text(entry, "path", "linux.namespaces.")
        if path and not path.startswith("/"):
            raise Refused(f"config.json: the path {path} of the {kind} namespace must be absolute")
        found.append(Namespace(kind, path))
    if not any(namespace.kind == "mount" for namespace in found):
        raise Refused("config.json: a container without its own mount namespace is refused: its mounts would be the host's")
    return tuple(found)


def _mount(source: Json, where: str, bundle_path: str) -> BundleMount:
    destination = fields.text(source, "destination", where)
    if not destination:
        raise Refused(f"config.json: {where}destination is missing")
    destination = posixpath.normpath("/" + destination.lstrip("/"))
    kind = fields.text(source, "type", where)
    found, unsupported = options.parse(fields.texts(source, "options", where))
    if unsupported:
        raise Refused(f"config.json: the option {unsupported} of the mount on {destination} is not supported by this runtime")
    if kind == "bind" or found.bind:
        path = fields.text(source, "source", where)
        if not path:
            raise Refused(f"config.json: the bind mount on {destination} has no source")
        if kind == "bind" and not found.bind:
            found = found._replace(bind=True, recursive=True)
        uids, gids = (_mappings(source, name, where) for name in ("uidMappings", "gidMappings"))
        if bool(uids) != bool(gids):
            raise Refused(f"config.json: the mount on {destination} needs both uidMappings and gidMappings")
        return BundleMount(destination, "bind", posixpath.join(bundle_path, path), found, uids, gids)
    if source.get("uidMappings") or source.get("gidMappings") or found.id_mapped:
        raise Refused(f"config.json: the mount on {destination} can't be id-mapped: only binds can")
    if found.copy_up and kind != "tmpfs":
        raise Refused(f"config.json: the mount on {destination}: tmpcopyup is for a tmpfs")
    if not kind:
        raise Refused(f"config.json: the mount on {destination} has no type")
    return BundleMount(destination, kind, fields.text(source, "source", where), found)


def _device(source: Json, where: str) -> BundleDevice:
    path = fields.text(source, "path", where)
    kind = fields.text(source, "type", where)
    if not path.startswith("/") or path.endswith("/"):
        raise Refused(f"config.json: {where}path must be absolute, not {path!r}")
    if kind not in DEVICE_TYPES:
        raise Refused(f"config.json: {where}type {kind!r} is none of c, b, u, p")
    mode = fields.number(source, "fileMode", where, 0o666)
    return BundleDevice(
        posixpath.normpath(path),
        DEVICE_TYPES[kind] | (mode & 0o7777),
        fields.number(source, "major", where),
        fields.number(source, "minor", where),
        fields.number(source, "uid", where),
        fields.number(source, "gid", where),
    )


def _absolute(paths: tuple[str, ...], where: str) -> tuple[str, ...]:
    for path in paths:
        if not path.startswith("/"):
            raise Refused(f"config.json: {where}: {path!r} must be an absolute path")
    return tuple(posixpath.normpath(path) for path in paths)


def _root_propagation(word: str) -> str:
    if word and word not in options.PROPAGATIONS:
        raise Refused(f"config.json: linux.rootfsPropagation {word!r} is not known")
    return word


def _rlimits(entries: list[Json], where: str) -> tuple[ResourceLimit, ...]:
    found: list[ResourceLimit] = []
    for entry in entries:
        name = fields.text(entry, "type", where + "rlimits.")
        if name.lower().removeprefix("rlimit_") not in RLIMITS or not name.startswith("RLIMIT_"):
            raise Refused(f"config.json: {where}rlimits: {name!r} is not known")
        if any(other.name == name for other in found):
            raise Refused(f"config.json: {where}rlimits: {name} is listed twice")
        found.append(ResourceLimit(name, fields.number(entry, "soft", where + "rlimits."), fields.number(entry, "hard", where + "rlimits.")))
    return tuple(found)


def _hooks(source: Json) -> dict[str, tuple[Hook, ...]]:
    found: dict[str, tuple[Hook, ...]] = {}
    for name in HOOKS:
        entries: list[Hook] = []
        for entry in fields.parts(source, name, "hooks."):
            where = f"hooks.{name}."
            path = fields.text(entry, "path", where)
            if not path.startswith("/"):
                raise Refused(f"config.json: {where}path must be absolute, not {path!r}")
            timeout = fields.optional_number(entry, "timeout", where)
            if timeout is not None and timeout <= 0:
                raise Refused(f"config.json: {where}timeout must be greater than zero")
            argv = fields.texts(entry, "args", where) or (path,)
            entries.append(Hook(path, argv, fields.texts(entry, "env", where), timeout or 0))
        if entries:
            found[name] = tuple(entries)
    return found


def _check_ownership(bundle: Bundle) -> None:
    """What changes a namespace is refused where the container would change the host's."""
    if len(bundle.mounts) > MOUNTS_MAX:
        raise Refused(f"config.json: more than {MOUNTS_MAX} mounts")
    user = bundle.namespace("user")
    if user is None and (bundle.uids or bundle.gids):
        raise Refused("user namespace mappings specified, but user namespace isn't enabled in the config")
    if user is not None and not user.path and not (bundle.uids and bundle.gids):
        raise Refused("user namespaces enabled, but no uid or gid mappings found")
    if (bundle.hostname or bundle.domainname) and bundle.namespace("uts") is None:
        raise Refused("config.json: hostname can't be set without a uts namespace: it would be the host's")
    for name, _ in bundle.sysctls:
        path = name.replace("/", ".")
        if path.startswith("net."):
            needed = "network"
        elif path.startswith(("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.")):
            needed = "ipc"
        elif path in ("kernel.domainname", "kernel.hostname"):
            needed = "uts"
        else:
            raise Refused(f'config.json: sysctl "{name}" is not in a separate kernel namespace')
        if bundle.namespace(needed) is None:
            raise Refused(f'config.json: sysctl "{name}" is not allowed without a {needed} namespace: it would be the host\'s')
