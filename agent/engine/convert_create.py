"""The bodies of `POST /containers/create` and `POST /containers/ID/exec` -> our values. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from agent.engine import unread_fields
from agent.engine.convert_host import bindings_of, host_config_of, parse_port
from agent.engine.convert_task_specs import health_of
from agent.engine.fields import Fields
from agent.records import Config, ExecConfig, HostConfig, NetworkWish
from cluster.model.errors import InvalidArgument

_MAC: Final = re.compile(r"^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$")


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    config: Config
    host: HostConfig
    networks: tuple[NetworkWish, ...]


def container_request_of(fields: Fields) -> ContainerRequest:
    """Raises InvalidArgument. What the image gives is merged in by agent.containers."""
    host = fields.section("HostConfig")
    unread_fields.checked(fields, unread_fields.CONTAINER)
    unread_fields.checked(host, unread_fields.HOST)
    return ContainerRequest(config_of(fields), host_config_of(host), _networks_of(fields, host))


def config_of(fields: Fields) -> Config:
    exposed = {f"{number}/{protocol}": None for number, protocol in (parse_port(port, bound=False) for port in fields.keys("ExposedPorts"))}
    exposed |= {f"{b.container_port}/{b.protocol}": None for b in bindings_of(fields.section("HostConfig"))}
    return Config(
        image=fields.text("Image"),
        hostname=fields.text("Hostname"),
        domainname=fields.text("Domainname"),
        user=fields.text("User"),
        env=fields.strings("Env"),
        entrypoint=fields.optional_words("Entrypoint"),
        cmd=fields.optional_words("Cmd"),
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
        network_disabled=fields.flag("NetworkDisabled"),
    )


def _networks_of(fields: Fields, host: Fields) -> tuple[NetworkWish, ...]:
    """The endpoints that the user configured, that of NetworkMode first. A MAC address for the container as a whole is that one's."""
    mode = host.text("NetworkMode")
    if mode.startswith("container:"):
        return ()
    first = "bridge" if mode in ("", "default") else mode
    asked = (wish_of(name, endpoint) for name, endpoint in fields.section("NetworkingConfig").sections("EndpointsConfig"))
    wishes = {first: NetworkWish(network=first)} | {wish.network: wish for wish in asked}
    mac = _mac_of(fields.text("MacAddress"))
    if mac and not wishes[first].mac:
        wishes[first] = msgspec.structs.replace(wishes[first], mac=mac)
    return tuple(wishes.values())


def wish_of(network: str, endpoint: Fields) -> NetworkWish:
    """An EndpointSettings, as `docker run` and `docker network connect` send it. Raises InvalidArgument for a MAC address that is none."""
    ipam = endpoint.section("IPAMConfig")
    unread_fields.checked(endpoint, unread_fields.ENDPOINT)
    return NetworkWish(
        network="bridge" if network == "default" else network,
        aliases=endpoint.strings("Aliases"),
        address=ipam.text("IPv4Address"),
        address6=ipam.text("IPv6Address"),
        mac=_mac_of(endpoint.text("MacAddress")),
        links=endpoint.strings("Links"),
        link_local=ipam.strings("LinkLocalIPs"),
        driver_opts=endpoint.pairs("DriverOpts") if endpoint.has("DriverOpts") else None,
        gateway_priority=endpoint.integer("GwPriority"),
        has_ipam=endpoint.has("IPAMConfig"),
    )


def _mac_of(text: str) -> str:
    if text and not _MAC.match(text):
        raise InvalidArgument(f"invalid MAC address: {text}")
    return text.lower().replace("-", ":")


def exec_config_of(fields: Fields, container_id: str) -> ExecConfig:
    unread_fields.checked(fields, unread_fields.EXEC)
    return ExecConfig(
        container_id=container_id,
        cmd=fields.strings("Cmd"),
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
