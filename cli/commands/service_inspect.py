"""`festoon service inspect [--pretty]`. Source of the pretty form: docker/cli's service/formatter.go, tab for tab."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli.api import Api, reference
from cli.commands.system import FORMAT_HELP, inspect_all
from cli.configuration import format_of
from cli.failures import FAILED, ApiFailure, CliFailure
from cli.flags import option, switch
from cli.units import binary_size, human_age
from cli.usage import command
from cluster.model.go_clock import duration_text
from cluster.model.go_values import go_text

Values = Mapping[str, Any]


@command(
    "inspect",
    "SERVICE [SERVICE...]",
    summary="Display detailed information on one or more services",
    least=1,
    most=None,
)
@option("--format", "-f", help=FORMAT_HELP, default="")
@switch("--pretty", help="Print the information in a human friendly format")
def inspect(api: Api, arguments: tuple[str, ...], format: str, pretty: bool | None) -> int:
    if (pretty and format) or (format.startswith("pretty") and format != "pretty"):
        raise CliFailure("--format is incompatible with human friendly format")
    form = format if pretty else format_of(api.settings, "serviceInspectFormat", format)
    pretty = pretty or form == "pretty"

    def get(name: str) -> Any:
        try:
            return api.get(f"/services/{reference(name, 'service')}", insertDefaults="true")
        except ApiFailure as e:
            if e.http_status == 404:
                raise CliFailure(f"Error: no such service: {name}") from e
            raise

    if not pretty:
        return inspect_all(arguments, lambda name: (get(name), "swarm.Service"), form, unreadable=FAILED, or_raw=False)
    import time

    texts = []
    for name in arguments:
        found = get(name)
        names = [_network(api, n["Target"]) for n in found["Spec"]["TaskTemplate"].get("Networks") or ()]
        texts.append("".join(f"{line}\n" for line in _lines(found, names, time.time())))
    print("".join(f"\n{text}\n" for text in texts), end="")
    return 0


def _network(api: Api, network_id: str) -> str:
    found = api.find(f"/networks/{network_id}")
    return str(found["Name"]) if found else network_id


def _lines(s: Values, networks: Sequence[str], now: float) -> Iterator[str]:
    spec = s["Spec"]
    task = spec["TaskTemplate"]
    yield f"ID:\t\t{s['ID']}"
    yield f"Name:\t\t{spec['Name']}"
    if spec.get("Labels"):
        yield "Labels:"
        yield from (f" {key}={value}" if value else f" {key}" for key, value in sorted(spec["Labels"].items()))
    yield from _mode(spec.get("Mode") or {})
    yield from _update_status(s.get("UpdateStatus") or {}, now)
    yield "Placement:"
    placement = task.get("Placement") or {}
    if placement.get("Constraints"):
        yield f" Constraints:\t{go_text(placement['Constraints'])}"
    if placement.get("Preferences"):
        spread = [f"spread={(p.get('Spread') or {}).get('SpreadDescriptor', '')}" for p in placement["Preferences"]]
        yield f" Preferences:   {go_text(spread)}"
    if placement.get("MaxReplicas"):
        yield f" Max Replicas Per Node:   {placement['MaxReplicas']}"
    yield from _policy("UpdateConfig", "Update order:      ", spec.get("UpdateConfig"))
    yield from _policy("RollbackConfig", "Rollback order:    ", spec.get("RollbackConfig"))
    yield from _container(task.get("ContainerSpec") or {})
    yield from _dependencies(task.get("ContainerSpec") or {})
    driver = task.get("LogDriver") or {}
    if driver.get("Name"):
        yield f"Log Driver:\n Name:\t\t{driver['Name']}"
        if driver.get("Options"):
            yield " LogOpts:"
            yield from (f"  {key}:       {value}" if value else f"  {key}" for key, value in sorted(driver["Options"].items()))
        yield ""
    yield from _resources(task.get("Resources") or {})
    if networks:
        yield f"Networks: {' '.join(networks)} "
    yield from _endpoint(s)
    yield from _healthcheck((task.get("ContainerSpec") or {}).get("Healthcheck"))


def _dependencies(container: Values) -> Iterator[str]:
    for title, word in (("Configs", "Config"), ("Secrets", "Secret")):
        if container.get(title):
            yield f"{title}:"
            for one in container[title]:
                yield f" Target:\t{one['File']['Name']}\n  Source:\t{one[f'{word}Name']}"


def _mode(mode: Values) -> Iterator[str]:
    if mode.get("Global") is not None:
        yield "Service Mode:\tGlobal"
    elif mode.get("Replicated") is not None:
        yield "Service Mode:\tReplicated"
        if mode["Replicated"].get("Replicas") is not None:
            yield f" Replicas:\t{mode['Replicated']['Replicas']}"
    elif mode.get("ReplicatedJob") is not None:
        yield "Service Mode:\tReplicated Job"
        yield f" Max Concurrent:\t{mode['ReplicatedJob'].get('MaxConcurrent', 0)}"
        yield f" Total Completions:\t{mode['ReplicatedJob'].get('TotalCompletions', 0)}"
    else:
        yield "Service Mode:\tGlobal Job"


def _update_status(status: Values, now: float) -> Iterator[str]:
    if not status.get("State"):
        return
    yield "UpdateStatus:"
    yield f" State:\t\t{status['State']}"
    if status.get("StartedAt"):
        yield f" Started:\t{human_age(status['StartedAt'], now).lower()}"
    if status["State"] == "completed":
        yield f" Completed:\t{human_age(status.get('CompletedAt', ''), now).lower()}"
    yield f" Message:\t{status.get('Message', '')}"


def _policy(title: str, order: str, policy: Values | None) -> Iterator[str]:
    if not policy:
        return
    yield f"{title}:"
    yield f" Parallelism:\t{policy.get('Parallelism', 0)}"
    if policy.get("Delay"):
        yield f" Delay:\t\t{duration_text(policy['Delay'])}"
    yield f" On failure:\t{policy.get('FailureAction', '')}"
    if policy.get("Monitor"):
        yield f" Monitoring Period: {duration_text(policy['Monitor'])}"
    yield f" Max failure ratio: {policy.get('MaxFailureRatio', 0):g}"
    yield f" {order}{policy.get('Order', '')}"


def _container(c: Values) -> Iterator[str]:
    yield "ContainerSpec:"
    yield f" Image:\t\t{c.get('Image', '')}"
    if c.get("Args"):
        yield f" Args:\t\t{''.join(f'{a} ' for a in c['Args'])}"
    if c.get("Env"):
        yield f" Env:\t\t{''.join(f'{e} ' for e in c['Env'])}"
    if c.get("Dir"):
        yield f" Dir:\t\t{c['Dir']}"
    if c.get("Init") is not None:
        yield f" Init:\t\t{go_text(c['Init'])}"
    if c.get("User"):
        yield f" User: {c['User']}"
    if c.get("CapabilityAdd") or c.get("CapabilityDrop"):
        yield "Capabilities:"
        if c.get("CapabilityAdd"):
            yield f" Add: {', '.join(c['CapabilityAdd'])}"
        if c.get("CapabilityDrop"):
            yield f" Drop: {', '.join(c['CapabilityDrop'])}"
    if c.get("Sysctls"):
        yield "SysCtls:"
        yield from (f" {key}: {value}" if value else f" {key}" for key, value in sorted(c["Sysctls"].items()))
    if c.get("Ulimits"):
        yield "Ulimits:"
    for limit in c.get("Ulimits") or ():
        yield f" {limit['Name']}: {limit.get('Soft', 0)}:{limit.get('Hard', 0)}"
    if c.get("Mounts"):
        yield "Mounts:"
    for mount in c.get("Mounts") or ():
        yield f" Target:\t{mount.get('Target', '')}"
        yield f"  Source:\t{mount.get('Source', '')}"
        yield f"  ReadOnly:\t{go_text(bool(mount.get('ReadOnly')))}"
        yield f"  Type:\t\t{mount.get('Type', '')}"


def _resources(resources: Values) -> Iterator[str]:
    parts = [(name, resources.get(name) or {}) for name in ("Reservations", "Limits")]
    if not resources:
        return
    yield "Resources:"
    for name, part in parts:
        if not any(part.get(what) for what in ("NanoCPUs", "MemoryBytes", "Pids")):
            continue
        yield f" {name}:"
        if part.get("NanoCPUs"):
            yield f"  CPU:\t\t{part['NanoCPUs'] / 1e9:g}"
        if part.get("MemoryBytes"):
            yield f"  Memory:\t{binary_size(part['MemoryBytes'])}"
        if part.get("Pids"):
            yield f"  PIDs:\t\t{part['Pids']}"


def _endpoint(s: Values) -> Iterator[str]:
    endpoint = s["Spec"].get("EndpointSpec") or {}
    yield f"Endpoint Mode:\t{endpoint.get('Mode', '')}"
    ports: Sequence[Values] = (s.get("Endpoint") or {}).get("Ports") or ()
    if ports:
        yield "Ports:"
    for port in ports:
        yield f" PublishedPort = {port.get('PublishedPort', 0)}"
        yield f"  Protocol = {port.get('Protocol', 'tcp')}"
        yield f"  TargetPort = {port.get('TargetPort', 0)}"
        yield f"  PublishMode = {port.get('PublishMode', 'ingress')}{' ' * (port is ports[-1])}"


def _healthcheck(health: Values | None) -> Iterator[str]:
    if health is None:
        return
    yield " Healthcheck:"
    yield f"  Interval = {duration_text(health.get('Interval', 0))}"
    yield f"  Retries = {health.get('Retries', 0)}"
    yield f"  StartPeriod =\t{duration_text(health.get('StartPeriod', 0))}"
    yield f"  Timeout =\t{duration_text(health.get('Timeout', 0))}"
    if tests := health.get("Test"):
        yield "  Tests:"
        yield from (f"\t Test = {test}{' ' * (number == len(tests))}" for number, test in enumerate(tests, 1))
