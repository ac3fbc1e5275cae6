"""What both clients show of the same objects is the same, byte by byte."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.driver import MANAGER, Lab

ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
SERVICES = {
    "plain": (),
    "ports": ("--publish", "18471:80", "--publish", "mode=host,target=90,published=18472,protocol=udp"),
    "rich": (
        "--label", "a", "--label", "b=c", "--env", "A=1", "--hostname", "h", "--user", "u", "--workdir", "/w", "--init", "--read-only", "--stop-signal", "INT",
        "--sysctl", "net.ipv4.ip_forward=1", "--ulimit", "nofile=100:200", "--cap-add", "NET_ADMIN", "--cap-drop", "CHOWN", "--limit-memory", "50M",
        "--limit-cpu", "1.5", "--limit-pids", "5", "--reserve-cpu", ".1", "--restart-delay", "3s", "--update-delay", "2s", "--rollback-monitor", "3s",
        "--log-driver", "json-file", "--log-opt", "max-size=1m", "--dns", "192.0.2.1", "--host", "x:192.0.2.2", "--endpoint-mode", "dnsrr",
        "--placement-pref", "spread=node.labels.x", "--replicas-max-per-node", "3", "--constraint", "node.role==manager", "--health-cmd", "true",
        "--health-interval", "5s", "--mount", "type=volume,source=v,target=/v", "--mount", "type=tmpfs,target=/t", "--container-label", "d=e",
    ),
    "everywhere": ("--mode", "global"),
}  # fmt: skip


@pytest.fixture(scope="module")
def services(lab: Lab) -> Iterator[tuple[str, ...]]:
    for name, flags in SERVICES.items():
        replicas = () if "global" in flags else ("--replicas", "0")
        lab.ok(MANAGER, "docker", "service", "create", "-d", "--name", f"same-{name}", *replicas, *flags, "busybox", "sleep", "1000")
    names = tuple(f"same-{name}" for name in SERVICES)
    try:
        yield names
    finally:
        lab.on(MANAGER, "festoon", "service", "rm", *names)


@pytest.mark.parametrize(
    "command",
    [
        ("service", "inspect", "--pretty"), ("service", "inspect"), ("node", "inspect", "--pretty", "self"), ("node", "inspect", "self"),
        ("network", "inspect", "ingress"), ("image", "inspect", "busybox"), ("inspect", "busybox"), ("history", "busybox"), ("images", "--digests"),
        ("system", "df"), ("network", "ls"), ("volume", "ls"), ("service", "ls"), ("swarm", "ca"), ("swarm", "join-token", "worker"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_both_clients_show_the_same(lab: Lab, services: tuple[str, ...], command: tuple[str, ...]) -> None:
    words = (*command, *services) if command[:2] == ("service", "inspect") else command
    ours = lab.ok(MANAGER, "festoon", *words).replace("festoon swarm", "docker swarm")
    theirs = lab.ok(MANAGER, "docker", *words)
    assert ours == theirs


TEMPLATES = {
    "container inspect same-values": (
        "{{.}}", "{{json .}}", "{{.State}}", "{{.HostConfig}}", "{{json .HostConfig}}", "{{.Config}}", "{{.NetworkSettings.Ports}}", "{{.Mounts}}",
        '{{range $p, $at := .NetworkSettings.Ports}}{{$p}}{{range $at}} {{.HostIp}} {{.HostPort}}{{end}}{{end}}', '{{printf "%+v" .HostConfig.RestartPolicy}}',
        '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', '{{join .Config.Cmd ","}} {{.Config.Labels.k}} {{index .Config.Labels "x"}}',
        '{{printf "%T %v %d" .State .State.Pid .State.Pid}} {{.HostConfig.Ulimits}}', "{{.State.Nope}}", "{{.State.Running.X}}", "{{.Nope.X}}",
    ),
    "image inspect busybox": ("{{.}}", "{{json .}}", "{{.RootFS}} {{.Config}} {{.RepoTags}}", "{{.Config.Nope}}"),
    "network inspect ingress": ("{{.}}", "{{json .}}", "{{.IPAM}} {{.Containers}} {{.Created}}", "{{.IPAM.Nope}}"),
    "volume inspect same-values": ("{{.}}", "{{json .}}", "{{.Options}} {{.CreatedAt}}", "{{.Nope}}"),
    "service inspect same-rich": (
        "{{.}}", "{{json .}}", "{{.Spec}}", "{{.Spec.TaskTemplate.ContainerSpec}}", '{{printf "%+v" .Spec.TaskTemplate}}', "{{.Endpoint}}", "{{.CreatedAt}}",
        "{{.Spec.UpdateConfig}} {{.Spec.UpdateConfig.Delay.Seconds}}", "{{.UpdateStatus.State}}", "{{.Spec.Nope}}", "{{.Spec.Name.X}}",
    ),
    "node inspect self": ("{{.}}", "{{json .}}", "{{.Description}}", "{{.ManagerStatus}} {{.Version}}", "{{.ManagerStatus.Nope}}"),
    "info -f": ("{{.Swarm}}", "{{.RegistryConfig}}", "{{json .RegistryConfig}}", "{{.Plugins.Network}}", "{{.Swarm.Nope}}", "{{.Driver}}{{.Nope}}"),
    "secret ls --format": ('{{.Name}} {{.Label "a"}} {{.Labels}}', "{{.Nope}}"),
    "config ls --format": ('{{.Name}} {{.Label "a"}}', "{{.Name.X}}"),
    "node ls --format": ("table {{.Hostname}} {{.Self}}", "{{.Nope}}"),
    "ps -a --format": ('table {{.Names}}\\t{{.Label "k"}}', "{{json .Platform}} {{.Platform}}", "table {{.Nope}}", "{{range .Names}}{{end}}", "{{.Names 5}}"),
    "images --digests --format": ("table {{.Repository}}", "{{.Digest}}"),
    "system df --format": ("{{.Type}} {{.Nope}}",),
    "system df -v --format": ("{{range .Images}}{{.Repository}} {{end}}{{.Nope}}", "{{range .Images}}{{.Nope}}{{end}}"),
    "context ls --format": ("table {{.Name}} {{.Current}}", "{{.Nope}}"),
    "version -f": ("{{.Server}}", "{{json .Server}}", "{{.Server.Platform.Name}}", "{{.Server.Os}}{{.Server.Nope}}", "{{.Server"),
}  # fmt: skip


@pytest.fixture(scope="module")
def values(lab: Lab) -> Iterator[None]:
    lab.ok(MANAGER, "docker", "volume", "create", "--label", "a=b", "same-values")
    lab.ok(MANAGER, "docker", "run", "-d", "--name", "same-values", "-p", "18473:80", "-v", "same-values:/v", "--label", "k=v", "--restart", "on-failure:3",
           "--memory", "64m", "--ulimit", "nofile=100:200", "--health-cmd", "true", "--health-interval", "1h", "busybox", "sleep", "1000")  # fmt: skip
    for kind in ("secret", "config"):
        lab.ok(MANAGER, "sh", "-c", f"echo x | docker {kind} create -l a=b same-values -")
    try:
        yield
    finally:
        lab.on(MANAGER, "festoon", "rm", "-f", "same-values")
        for kind in ("secret", "config"):
            lab.on(MANAGER, "festoon", kind, "rm", "same-values")
        lab.on(MANAGER, "festoon", "volume", "rm", "same-values")


@pytest.mark.parametrize("command", TEMPLATES)
def test_both_clients_print_the_same_of_a_template(lab: Lab, services: tuple[str, ...], values: None, command: str) -> None:
    """Its words and its status too, where it does not fit; an address is what differs by nature."""
    words = command.split() if command.endswith((" -f", " --format")) else [*command.split(), "-f"]
    for template in TEMPLATES[command]:
        ours, theirs = (lab.on(MANAGER, client, *words, template) for client in ("festoon", "docker"))
        assert (ours.returncode, *(ADDRESS.sub("0xc…", text) for text in (ours.stdout, ours.stderr))) == (
            theirs.returncode, *(ADDRESS.sub("0xc…", text) for text in (theirs.stdout, theirs.stderr))
        ), template  # fmt: skip
