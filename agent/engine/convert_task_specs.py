"""TaskSpec (the API's TaskTemplate) between JSON and our values, both ways. Pure.

Inwards a field that the user left out stays None or empty; outwards an empty one is left out, so that a spec comes back as it was given.
Source: the Engine API's TaskSpec, version 1.51; sentences of moby's daemon/cluster/convert.
"""

from __future__ import annotations

import base64
from typing import Final

from agent.engine.convert import Json, Present, filled, mapping, ordered
from agent.engine.convert_dependencies import files_json, files_of
from agent.engine.convert_generic import generic_json, generic_of
from agent.engine.convert_mounts import mount_json, mount_of
from agent.engine.convert_networks import node_network, node_network_id
from agent.engine.fields import Fields
from cluster.model.errors import InvalidArgument
from cluster.model.specs import (
    NODE_NETWORKS,
    ContainerSpec,
    HealthCheck,
    NetworkAttachmentConfig,
    Placement,
    Platform,
    Privileges,
    Resources,
    RestartCondition,
    RestartPolicy,
    TaskSpec,
    Ulimit,
)


def task_spec_of(fields: Fields) -> TaskSpec:
    """Raises InvalidArgument for wrong types, unknown enumeration values, and what is not served (plugins)."""
    runtime = fields.text("Runtime") or "container"
    if runtime != "container" or fields.has("PluginSpec") or fields.has("NetworkAttachmentSpec"):
        raise InvalidArgument(f"invalid task runtime {runtime!r}: only containers are served")
    resources, log = fields.section("Resources"), fields.section("LogDriver")
    return TaskSpec(
        container=container_spec_of(fields.section("ContainerSpec")),
        limits=_resources_of(resources.object("Limits")),
        reservations=_resources_of(resources.object("Reservations")),
        restart=_restart_of(fields.object("RestartPolicy")),
        placement=_placement_of(fields.object("Placement")),
        networks=attachments_of(fields, "Networks"),
        force_update=fields.natural("ForceUpdate"),
        log_driver=log.text("Name"),
        log_options=log.pairs("Options"),
        runtime=runtime,
    )


def container_spec_of(fields: Fields) -> ContainerSpec:
    dns = fields.section("DNSConfig")
    return ContainerSpec(
        image=fields.text("Image"),
        command=fields.strings("Command"),
        args=fields.strings("Args"),
        hostname=fields.text("Hostname"),
        env=fields.strings("Env"),
        dir=fields.text("Dir"),
        user=fields.text("User"),
        groups=fields.strings("Groups"),
        labels=fields.pairs("Labels"),
        tty=fields.flag("TTY"),
        open_stdin=fields.flag("OpenStdin"),
        read_only=fields.flag("ReadOnly"),
        init=fields.optional_flag("Init"),
        stop_signal=fields.text("StopSignal"),
        stop_grace_ns=fields.optional_integer("StopGracePeriod"),
        mounts=tuple(mount_of(item, 'invalid MountType: "{}"') for item in fields.objects("Mounts")),
        hosts=fields.strings("Hosts"),
        dns_nameservers=dns.strings("Nameservers"),
        dns_search=dns.strings("Search"),
        dns_options=dns.strings("Options"),
        health=health_of(fields.object("HealthCheck")),
        sysctls=fields.pairs("Sysctls"),
        cap_add=fields.strings("CapabilityAdd"),
        cap_drop=fields.strings("CapabilityDrop"),
        ulimits=ulimits_of(fields, "Ulimits"),
        isolation=fields.text("Isolation") or "default",
        oom_score_adj=fields.integer("OomScoreAdj"),
        privileges=_privileges_of(fields.object("Privileges")),
        secrets=files_of(fields, "Secret"),
        configs=files_of(fields, "Config"),
    )


def _privileges_of(fields: Fields | None) -> Privileges | None:
    if fields is None:
        return None
    if fields.truthy("CredentialSpec"):
        raise InvalidArgument("credential specs are for Windows containers: they can't be kept here")
    selinux = fields.section("SELinuxContext")
    selinux.flag("Disable")  # is what there is
    if any(selinux.truthy(name) for name in ("User", "Role", "Type", "Level")):
        raise InvalidArgument("SELinux labels are not served: only a disabled SELinuxContext")
    seccomp, apparmor = fields.section("Seccomp"), fields.section("AppArmor")
    mode, profile = seccomp.text("Mode"), seccomp.text("Profile")
    if mode not in ("", "default", "unconfined", "custom"):
        raise InvalidArgument(f'invalid SeccompMode: "{mode}"')
    if (mode == "custom") != bool(profile):
        raise InvalidArgument("seccomp profile must be set, and only set, when the mode is custom")
    if apparmor.text("Mode") not in ("", "default", "disabled"):
        raise InvalidArgument(f'invalid AppArmorMode: "{apparmor.text("Mode")}"')
    return Privileges(mode, _text_of(profile), apparmor.text("Mode"), fields.flag("NoNewPrivileges"))


def _text_of(profile: str) -> str:
    try:
        return base64.b64decode(profile, validate=True).decode()
    except ValueError as e:
        raise InvalidArgument("the seccomp profile must be base64 of JSON text") from e


def _privileges_json(privileges: Privileges | None) -> Json | None:
    if privileges is None:
        return None
    profile = base64.b64encode(privileges.seccomp_profile.encode()).decode()
    rules = filled({"Seccomp": filled({"Mode": privileges.seccomp, "Profile": profile}), "AppArmor": filled({"Mode": privileges.apparmor})})
    return {"CredentialSpec": None, "SELinuxContext": None, **rules, "NoNewPrivileges": privileges.no_new_privileges}


def health_of(fields: Fields | None) -> HealthCheck | None:
    if fields is None:
        return None
    return HealthCheck(
        test=fields.strings_or_text("Test"),
        interval_ns=fields.integer("Interval"),
        timeout_ns=fields.integer("Timeout"),
        start_period_ns=fields.integer("StartPeriod"),
        retries=fields.integer("Retries"),
        start_interval_ns=fields.integer("StartInterval"),
    )


def health_json(health: HealthCheck | None) -> Json | None:
    if health is None:
        return None
    return filled(
        {
            "Test": list(health.test),
            "Interval": health.interval_ns,
            "Timeout": health.timeout_ns,
            "StartPeriod": health.start_period_ns,
            "StartInterval": health.start_interval_ns,
            "Retries": health.retries,
        }
    )


def ulimits_of(fields: Fields, name: str) -> tuple[Ulimit, ...]:
    return tuple(Ulimit(item.text("Name"), item.integer("Soft"), item.integer("Hard")) for item in fields.objects(name))


def ulimits_json(ulimits: tuple[Ulimit, ...]) -> list[Json]:
    return [{"Name": limit.name, "Hard": limit.hard, "Soft": limit.soft} for limit in ulimits]


def attachments_of(fields: Fields, name: str) -> tuple[NetworkAttachmentConfig, ...]:
    return tuple(
        NetworkAttachmentConfig(node_network(item.text("Target")), item.strings("Aliases"), item.pairs("DriverOpts")) for item in fields.objects(name)
    )


def attachments_json(networks: tuple[NetworkAttachmentConfig, ...]) -> list[Json]:
    """The nodes' own networks by what they have for an id here."""
    targets = (node_network_id(n.target) if n.target in NODE_NETWORKS else n.target for n in networks)
    return [filled({"Target": target, "Aliases": list(n.aliases), "DriverOpts": mapping(n.driver_opts)}) for n, target in zip(networks, targets, strict=True)]


def _resources_of(fields: Fields | None) -> Resources | None:
    if fields is None:
        return None
    return Resources(fields.integer("NanoCPUs"), fields.integer("MemoryBytes"), fields.integer("Pids"), generic_of(fields))


def _restart_of(fields: Fields | None) -> RestartPolicy | None:
    if fields is None:
        return None
    condition = fields.text("Condition") or RestartCondition.ANY.value
    if condition not in list(RestartCondition):
        raise InvalidArgument(f'invalid RestartCondition: "{condition}"')
    return RestartPolicy(
        condition=RestartCondition(condition),
        delay_ns=fields.optional_integer("Delay"),
        max_attempts=fields.natural("MaxAttempts"),
        window_ns=fields.optional_integer("Window"),
    )


def _placement_of(fields: Fields | None) -> Placement | None:
    if fields is None:
        return None
    spread = [item.section("Spread").text("SpreadDescriptor") for item in fields.objects("Preferences")]
    platforms = [Platform(item.text("Architecture"), item.text("OS")) for item in fields.objects("Platforms")]
    return Placement(
        constraints=fields.strings("Constraints"),
        spread=tuple(spread),
        max_replicas=fields.natural("MaxReplicas"),
        platforms=tuple(platforms),
    )


def task_spec_json(spec: TaskSpec) -> Json:
    """A task's own; a service's template names its runtime, too."""
    resources = None
    if spec.limits is not None or spec.reservations is not None:
        resources = filled({"Limits": _resources_json(spec.limits), "Reservations": _resources_json(spec.reservations)})
    log = filled({"Name": spec.log_driver, "Options": mapping(spec.log_options)})
    return filled(
        {
            "ContainerSpec": Present(container_spec_json(spec.container)),
            "Resources": None if resources is None else Present(resources),
            "RestartPolicy": _restart_json(spec.restart),
            "Placement": _placement_json(spec.placement),
            "Networks": attachments_json(spec.networks),
            "LogDriver": log,
        }
    ) | {"ForceUpdate": spec.force_update}


CONTAINER_ORDER: Final = (
    "Image", "Labels", "Command", "Args", "Hostname", "Env", "Dir", "User", "Groups", "Privileges", "Init", "StopSignal", "TTY", "OpenStdin", "ReadOnly",
    "Mounts", "StopGracePeriod", "Healthcheck", "Hosts", "DNSConfig", "Secrets", "Configs", "Isolation", "Sysctls", "CapabilityAdd", "CapabilityDrop",
    "Ulimits", "OomScoreAdj",
)  # fmt: skip


def container_spec_json(spec: ContainerSpec) -> Json:
    dns = {"Nameservers": list(spec.dns_nameservers), "Search": list(spec.dns_search), "Options": list(spec.dns_options)}
    health = health_json(spec.health)
    out = filled(
        {
            "Image": spec.image,
            "Labels": mapping(spec.labels),
            "Command": list(spec.command),
            "Args": list(spec.args),
            "Hostname": spec.hostname,
            "Env": list(spec.env),
            "Dir": spec.dir,
            "User": spec.user,
            "Groups": list(spec.groups),
            "Privileges": _privileges_json(spec.privileges),
            "StopSignal": spec.stop_signal,
            "TTY": spec.tty,
            "OpenStdin": spec.open_stdin,
            "ReadOnly": spec.read_only,
            "Mounts": [mount_json(mount) for mount in spec.mounts],
            "Healthcheck": None if health is None else Present(health),
            "Hosts": list(spec.hosts),
            "DNSConfig": filled(dns),
            "Secrets": files_json(spec.secrets, "Secret"),
            "Configs": files_json(spec.configs, "Config"),
            "Isolation": spec.isolation or "default",
            "Sysctls": mapping(spec.sysctls),
            "CapabilityAdd": list(spec.cap_add),
            "CapabilityDrop": list(spec.cap_drop),
            "Ulimits": ulimits_json(spec.ulimits),
            "OomScoreAdj": spec.oom_score_adj,
        }
    )
    if spec.init is not None:
        out["Init"] = spec.init
    if spec.stop_grace_ns is not None:
        out["StopGracePeriod"] = spec.stop_grace_ns
    return ordered(out, CONTAINER_ORDER)


def _resources_json(resources: Resources | None) -> Json | None:
    if resources is None:
        return None
    numbers = {"NanoCPUs": resources.nano_cpus, "MemoryBytes": resources.memory_bytes, "Pids": resources.pids}
    return Present(filled(numbers | {"GenericResources": generic_json(resources.generic)}))


def _restart_json(restart: RestartPolicy | None) -> Json | None:
    if restart is None:
        return None
    given = {
        "Condition": (restart.condition or RestartCondition.ANY).value,
        "Delay": restart.delay_ns,
        "MaxAttempts": restart.max_attempts or 0,
        "Window": restart.window_ns,
    }
    return Present({name: value for name, value in given.items() if value is not None})


def _placement_json(placement: Placement | None) -> Json | None:
    if placement is None:
        return None
    return Present(
        filled(
            {
                "Constraints": list(placement.constraints),
                "Preferences": [{"Spread": {"SpreadDescriptor": descriptor}} for descriptor in placement.spread],
                "MaxReplicas": placement.max_replicas,
                "Platforms": [filled({"Architecture": p.architecture, "OS": p.os}) for p in placement.platforms],
            }
        )
    )
