"""The bodies of `POST /containers/create` and `POST /containers/ID/exec` -> our values. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agent.engine.convert_host import bindings_of, host_config_of, parse_port
from agent.engine.convert_task_specs import health_of
from agent.engine.fields import Fields
from agent.records import Config, ExecConfig, HostConfig
from cluster.model.errors import InvalidArgument

NetworkWish = tuple[str, tuple[str, ...], str]
"""(network, aliases, address)."""


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    config: Config
    host: HostConfig
    networks: tuple[NetworkWish, ...]


def container_request_of(fields: Fields) -> ContainerRequest:
    """Raises InvalidArgument. What the image gives is merged in by agent.containers."""
    host = fields.section("HostConfig")
    if fields.text("MacAddress"):
        raise InvalidArgument("a MAC address of one's own can't be given: it follows from the IPv4 address (02:42 and its four bytes)")
    return ContainerRequest(config_of(fields), host_config_of(host), _networks_of(fields, host))


def config_of(fields: Fields) -> Config:
    exposed = {f"{number}/{protocol}": None for number, protocol in map(parse_port, fields.keys("ExposedPorts"))}
    exposed |= {f"{b.container_port}/{b.protocol}": None for b in bindings_of(fields.section("HostConfig"))}
    return Config(
        image=fields.text("Image"),
        hostname=fields.text("Hostname"),
        domainname=fields.text("Domainname"),
        user=fields.text("User"),
        env=fields.strings("Env"),
        entrypoint=fields.strings_or_text("Entrypoint"),
        cmd=fields.strings_or_text("Cmd"),
        working_dir=fields.text("WorkingDir"),
        labels=fields.pairs("Labels"),
        tty=fields.flag("Tty"),
        open_stdin=fields.flag("OpenStdin"),
        stdin_once=fields.flag("StdinOnce"),
        attach_stdin=fields.flag("AttachStdin"),
        attach_stdout=fields.flag("AttachStdout"),
        attach_stderr=fields.flag("AttachStderr"),
        exposed_ports=tuple(exposed),
        volumes=fields.keys("Volumes"),
        stop_signal=fields.text("StopSignal"),
        stop_timeout_s=fields.optional_integer("StopTimeout"),
        health=health_of(fields.object("Healthcheck")),
    )


def _networks_of(fields: Fields, host: Fields) -> tuple[NetworkWish, ...]:
    """The endpoints that the user configured; without any, the network that NetworkMode names is the container's own business."""
    wishes = []
    for name, endpoint in fields.section("NetworkingConfig").sections("EndpointsConfig"):
        wishes.append((name, endpoint.strings("Aliases"), endpoint.section("IPAMConfig").text("IPv4Address")))
    mode = host.text("NetworkMode")
    wishes = [(("bridge" if name == "default" else name), aliases, address) for name, aliases, address in wishes]
    wishes = [wish for wish in wishes if wish[0] not in ("none", "host")]
    if wishes or mode in ("", "default", "none", "host", "bridge") or mode.startswith("container:"):
        return tuple(wishes)
    return ((mode, (), ""),)


def exec_config_of(fields: Fields, container_id: str) -> ExecConfig:
    return ExecConfig(
        container_id=container_id,
        cmd=fields.strings_or_text("Cmd"),
        env=fields.strings("Env"),
        user=fields.text("User"),
        working_dir=fields.text("WorkingDir"),
        tty=fields.flag("Tty"),
        attach_stdin=fields.flag("AttachStdin"),
        attach_stdout=fields.flag("AttachStdout"),
        attach_stderr=fields.flag("AttachStderr"),
        privileged=fields.flag("Privileged"),
        detach_keys=fields.text("DetachKeys"),
    )
