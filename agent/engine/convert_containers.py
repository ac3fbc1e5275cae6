"""Containers -> the API's JSON: the line of `docker ps`, the object of `docker inspect`, the exec. Pure: the time comes in.

Source: the Engine API's ContainerSummary and ContainerInspectResponse, version 1.51; moby's container/state.go and docker/go-units for the words of the status.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from agent.container_spec import publishing
from agent.engine.convert import SECOND_NS, Json, filled, mapping, time_text
from agent.engine.convert_host import exposed_json, host_config_json, port_map_json
from agent.engine.convert_mounts import mount_points_json
from agent.engine.convert_task_specs import health_json
from agent.records import Attachment, Config, ExecRecord, Health, HostConfig, PortBinding, Record, State
from cluster.model.decimals import is_natural

_HEALTH: Final = {"starting": "health: starting"}
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR


def human_duration(seconds: int) -> str:
    """`About a minute`, `3 weeks`: go-units' HumanDuration."""
    if seconds < 1:
        return "Less than a second"
    if seconds == 1:
        return "1 second"
    if seconds < _MINUTE:
        return f"{seconds} seconds"
    minutes, hours = seconds // _MINUTE, int(seconds / _HOUR + 0.5)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    for limit, size, name in ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks"), (24 * 730, 24 * 30, "months")):
        if hours < limit:
            return f"{hours // size} {name}"
    return f"{seconds // _DAY // 365} years"


def status_text(state: State, now_ns: int) -> str:
    """`Up 2 minutes`, `Exited (0) 3 seconds ago`, `Created`."""

    def since(time_ns: int) -> str:
        return human_duration(max(0, now_ns - time_ns) // SECOND_NS)

    if state.status in ("running", "paused"):
        health = f" ({_HEALTH.get(state.health.status, state.health.status)})" if state.health else ""
        return f"Up {since(state.started_at_ns)}" + (" (Paused)" if state.status == "paused" else health)
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {since(state.finished_at_ns)} ago"
    if state.status in ("removing", "dead"):
        return "Removal In Progress" if state.status == "removing" else "Dead"
    if not state.started_at_ns:
        return "Created"
    return f"Exited ({state.exit_code}) {since(state.finished_at_ns)} ago" if state.finished_at_ns else ""


def command_text(record: Record) -> str:
    """The command in one line; arguments with spaces in quotes."""
    return " ".join((record.path, *(f"'{arg}'" if " " in arg else arg for arg in record.args)))


def summary_json(record: Record, now_ns: int, volumes_root: str, linked_as: Iterable[str] = (), *, named: bool = True) -> Json:
    """`linked_as`: what others call it ("/parent/alias"). `named`: the name by which it asked for its image still means that one."""
    return {
        "Id": record.id,
        "Names": [f"/{record.name}", *linked_as],
        "Image": record.config.image if named else record.image_id,
        "ImageID": record.image_id,
        "Command": command_text(record),
        "Created": record.created_at_ns // SECOND_NS,
        "Ports": _summary_ports(record),
        "Labels": mapping(record.config.labels),
        "State": record.state.status,
        "Status": status_text(record.state, now_ns),
        "HostConfig": {"NetworkMode": record.host.network_mode} | filled({"Annotations": mapping(record.host.annotations)}),
        "NetworkSettings": {"Networks": _networks_json(record)},
        "Mounts": [m for m in mount_points_json(record.mount_points, volumes_root) if m["Type"] != "tmpfs"],
    }


def _summary_ports(record: Record) -> list[Json]:
    if record.state.status not in ("running", "paused"):
        return []
    bound = [_summary_port(binding) for binding in record.ports]
    numbers = {(binding.container_port, binding.protocol) for binding in record.ports}
    for exposed in record.config.exposed_ports:
        port, _, protocol = exposed.partition("/")
        if is_natural(port) and (int(port), protocol or "tcp") not in numbers:
            bound.append({"PrivatePort": int(port), "Type": protocol or "tcp"})
    return bound


def _summary_port(binding: PortBinding) -> Json:
    out: Json = {"IP": binding.host_ip or "0.0.0.0"} if binding.host_port else {}  # noqa: S104
    return out | {"PrivatePort": binding.container_port} | filled({"PublicPort": binding.host_port}) | {"Type": binding.protocol}


def _networks_json(record: Record) -> dict[str, Json]:
    names = [record.name, record.id[:12]] if record.state.started_at_ns else []
    own = (record.config.hostname,) if names and record.config.hostname not in ("", record.id[:12]) else ()
    return {a.network_name: endpoint_json(a, names, own) for a in record.attachments if not a.hidden}


def endpoint_json(attachment: Attachment, names: list[str], hostname: tuple[str, ...] = ()) -> Json:
    """`names`: none before the first start. `hostname`: one that the user has chosen."""
    address, _, prefix = attachment.address.partition("/")
    address6, _, prefix6 = attachment.address6.partition("/")
    asked = attachment.asked
    ipam: Json | None = None
    if attachment.task_id:  # the address is the cluster's, where it has a gateway the node's
        ipam = {"IPv4Address": attachment.address.partition("/")[0]} if not attachment.gateway else {}
    if asked is not None:
        ipam = ipam if ipam is not None else {} if asked.has_ipam else None
        own, own6 = (cidr.partition("/")[0] for cidr in ((ipam or {}).get("IPv4Address") or asked.address, asked.address6))
        if given := filled({"IPv4Address": own, "IPv6Address": own6, "LinkLocalIPs": list(asked.link_local)}):
            ipam = (ipam or {}) | given
    named = [*names[:1], *attachment.aliases, *names[1:], *hostname] if attachment.network_name not in ("bridge", "host", "none") and names else []
    return {
        "IPAMConfig": ipam,
        "Links": (list(asked.links) or None) if asked is not None else None,
        "Aliases": list(attachment.aliases) or ([] if ipam is not None else None),
        "MacAddress": attachment.mac,
        "DriverOpts": mapping(asked.driver_opts) if asked is not None and asked.driver_opts is not None else None,
        "GwPriority": asked.gateway_priority if asked is not None else 0,
        "NetworkID": attachment.network_id if names else "",
        "EndpointID": attachment.endpoint_id,
        "Gateway": attachment.gateway,
        "IPAddress": address,
        "IPPrefixLen": int(prefix or 0),
        "IPv6Gateway": attachment.gateway6,
        "GlobalIPv6Address": address6,
        "GlobalIPv6PrefixLen": int(prefix6 or 0),
        "DNSNames": list(dict.fromkeys(named)) or None,
    }


def inspect_json(record: Record, *, folder: str, layers: tuple[str, ...], sandbox: str, exec_ids: tuple[str, ...], volumes_root: str,
                 linked: Iterable[str] = ()) -> Json:  # fmt: skip
    """`linked`: the containers that it is linked to ("/child:/parent/alias").

    `folder`: the container's own; `layers`: its overlay's folders, top first (none when its image is gone); `sandbox`: path of its network namespace.
    """
    files = folder if record.state.started_at_ns else ""  # they are made by the first start
    driver: Json = {"LowerDir": ":".join(layers[1:]), "UpperDir": f"{folder}/upper", "WorkDir": f"{folder}/work", "MergedDir": f"{folder}/merged"}
    return {
        "Id": record.id,
        "Created": time_text(record.created_at_ns),
        "Path": record.path,
        "Args": list(record.args),
        "State": state_json(record.state),
        "Image": record.image_id,
        "ResolvConfPath": files and f"{files}/resolv.conf",
        "HostnamePath": files and f"{files}/hostname",
        "HostsPath": files and f"{files}/hosts",
        "LogPath": f"{files}/log" if files and record.host.log_driver == "json-file" else "",  # as in Docker: the other format is nobody's business
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(exec_ids) or None,
        "HostConfig": host_config_json(record.host) | {"Links": list(linked) or None} | (_unasked_dns(record.host) if record.task_id else {}),
        "GraphDriver": {"Name": "overlay2", "Data": driver},
        "Mounts": mount_points_json(record.mount_points, volumes_root),
        "Config": config_json(record.config) | filled({"MacAddress": _asked_mac(record)}),
        "NetworkSettings": _network_settings(record, sandbox),
    }


def _asked_mac(record: Record) -> str:
    """Of the network that it was made with: once it was one of the container as a whole, and programs still look for it there."""
    asked = record.attachments[0].asked if record.attachments else None
    return asked.mac if asked is not None else ""


def _unasked_dns(host: HostConfig) -> Json:
    """A task whose spec says nothing of these has none, where a person's client sends empty lists."""
    return {name: None for name, given in (("Dns", host.dns), ("DnsOptions", host.dns_options), ("DnsSearch", host.dns_search)) if not given}


def port_map(record: Record) -> Json:
    """What of its ports is bound, and which are only exposed: only while it runs where anything can reach it."""
    live = record.state.status in ("running", "paused") and publishing(record) is not None
    return port_map_json(record.ports, record.config.exposed_ports) if live else {}


def _network_settings(record: Record, sandbox: str) -> Json:
    own = bool(record.state.started_at_ns) and not record.host.network_mode.startswith("container:")  # kept when it ends, as Docker keeps it
    own = own and not record.config.network_disabled
    bridge = next((a for a in record.attachments if a.network_name == "bridge" and not a.hidden), None)
    shown = endpoint_json(bridge, []) if bridge is not None else {}
    top: dict[str, Any] = {"EndpointID": "", "Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0}
    top |= {"IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": ""}
    return (
        {
            "Bridge": "",
            "SandboxID": record.id if own else "",
            "SandboxKey": sandbox if own else "",
            "Ports": port_map(record),
            "HairpinMode": False,
            "LinkLocalIPv6Address": "",
            "LinkLocalIPv6PrefixLen": 0,
            "SecondaryIPAddresses": None,
            "SecondaryIPv6Addresses": None,
        }
        | {name: shown.get(name, empty) for name, empty in top.items()}
        | {"Networks": _networks_json(record)}
    )


def state_json(state: State) -> Json:
    return {
        "Status": state.status,
        "Running": state.status in ("running", "paused", "restarting"),
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time_text(state.started_at_ns),
        "FinishedAt": time_text(state.finished_at_ns),
    } | ({"Health": health_state_json(state.health)} if state.health else {})


def health_state_json(health: Health) -> Json:
    log = [{"Start": time_text(r.start_ns), "End": time_text(r.end_ns), "ExitCode": r.exit_code, "Output": r.output} for r in health.log]
    return {"Status": health.status, "FailingStreak": health.failing_streak, "Log": log}


def config_json(config: Config) -> Json:
    out: Json = {
        "Hostname": config.hostname,
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": config.attach_stdin,
        "AttachStdout": config.attach_stdout,
        "AttachStderr": config.attach_stderr,
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.stdin_once,
        "Env": list(config.env) or None,
        "Cmd": _words(config.cmd),
        "Image": config.image,
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": _words(config.entrypoint),
        "OnBuild": None,
        "Labels": mapping(config.labels),
    }
    if config.exposed_ports:
        out["ExposedPorts"] = exposed_json(config.exposed_ports)
    if config.health is not None:
        out["Healthcheck"] = health_json(config.health)
    if config.stop_timeout_s is not None:
        out["StopTimeout"] = config.stop_timeout_s
    return out | filled({"StopSignal": config.stop_signal, "NetworkDisabled": config.network_disabled})


def _words(given: tuple[str, ...] | None) -> list[str] | None:
    return None if given is None else list(given)


def exec_json(record: ExecRecord) -> Json:
    config = record.config
    return {
        "ID": record.id,
        "Running": record.running,
        "ExitCode": record.exit_code,  # null before the end, as from Docker: docker-py looks for it at once
        "ProcessConfig": {
            "tty": config.tty,
            "entrypoint": config.cmd[0] if config.cmd else "",
            "arguments": list(config.cmd[1:]),
            "privileged": config.privileged,
        }
        | filled({"user": config.user}),
        "OpenStdin": config.attach_stdin,
        "OpenStderr": config.attach_stderr,
        "OpenStdout": config.attach_stdout,
        "CanRemove": False,
        "ContainerID": config.container_id,
        "DetachKeys": config.detach_keys,
        "Pid": record.pid,
    }
