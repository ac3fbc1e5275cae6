"""What clients do with a node, from its images to the end of its swarm, so that each of the API's routes is asked and each field is answered: the real docker
client, docker-py, and a few requests of docker-py's connection for what neither of them has a word for."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import websocket

from tests.client import image_index
from tests.driver import MANAGER, OWN_SUBNET, WORKER1, Lab, client_home, until

DOCKER = shutil.which("docker") or ""
NODES = (MANAGER, WORKER1)
REGISTRY = f"{OWN_SUBNET}.1:5000"
PATIENCE_S = 60


@dataclass(frozen=True)
class World:
    """`sockets`: by node, with the recorder before them. `home`: of the docker client's configuration. `python`: docker-py's clients."""

    lab: Lab
    sockets: Mapping[str, Path]
    home: Path
    python: Mapping[str, Any]

    def docker(self, *argv: str, node: str = MANAGER, stdin: str = "", fails: bool = False) -> str:
        """Standard output of a command that must succeed, or must not."""
        environment = {**os.environ, "DOCKER_CONFIG": str(self.home)}
        done = subprocess.run(
            [DOCKER, "-H", f"unix://{self.sockets[node]}", *argv], input=stdin, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment
        )
        assert (done.returncode != 0) is fails, f"docker {' '.join(argv)} on {node}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, method: str, path: str, body: object = None, *, status: int = 200) -> None:
        """A request that no client makes, and what its answer must be."""
        api = self.python[MANAGER].api
        answer = api.request(method, f"{api.base_url}/v{api._version}{path}", json=body)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"

    def attach_by_websocket(self, container: str) -> None:
        plain = socket.socket(socket.AF_UNIX)
        plain.connect(str(self.sockets[MANAGER]))
        plain.settimeout(PATIENCE_S)
        joined = websocket.create_connection(f"ws://localhost/v1.51/containers/{container}/attach/ws?stdin=1&stdout=1&stream=1", socket=plain)
        joined.send("typed\n")
        assert joined.recv() == b"typed\n"
        joined.close()


def everything(world: World) -> None:
    engine(world)
    images(world)
    containers(world)
    files_and_execs(world)
    networks_and_volumes(world)
    swarm(world)
    services(world)
    jobs_and_secrets(world)
    the_end(world)


def engine(world: World) -> None:
    for command in (("version",), ("info",), ("system", "df", "-v")):
        world.docker(*command)
    assert world.python[MANAGER].ping()
    assert world.python[MANAGER].df()["Images"]
    for path in ("/build", "/session", "/plugins/pull?remote=x"):
        world.ask("POST", path, status=501)
    world.ask("GET", "/containers/x/attach/ws", status=404)


def images(world: World) -> None:
    py, name = world.python[MANAGER], f"{REGISTRY}/team/box:1"
    world.docker("images", "--digests")
    world.docker("image", "inspect", "busybox")
    world.docker("history", "busybox")
    world.docker("tag", "busybox", name)
    client_home(world.home)
    world.docker("login", "-u", "alice", "-p", "secret", REGISTRY)
    world.docker("push", name)
    world.docker("pull", name)
    assert py.images.get_registry_data(name).attrs["Descriptor"]
    with image_index.standing(world.lab) as index:
        world.docker("search", f"{index}/box")
    saved = b"".join(py.images.get("busybox").save(named="busybox:latest"))
    assert py.images.load(saved)
    world.docker("save", "-o", str(world.home / "both.tar"), "busybox", name)
    world.docker("load", "-i", str(world.home / "both.tar"))
    world.docker("import", "-c", "CMD sh", "-m", "made here", _root(world.home), "imported:1")
    dockerfile = (
        "ENV A=b", "USER 0", "WORKDIR /tmp", "EXPOSE 80/tcp", "VOLUME /v", "LABEL a=b", "ONBUILD ENV B=c",
        "HEALTHCHECK --interval=5s --timeout=2s --start-period=1s --retries=2 CMD true", 'ENTRYPOINT ["/bin/busybox"]', 'CMD ["true"]',
    )  # fmt: skip
    world.docker("create", "--name", "base", "busybox")
    world.docker("commit", *(word for line in dockerfile for word in ("-c", line)), "-a", "me", "-m", "why", "base", "committed:1")
    world.docker("image", "inspect", "committed:1")
    world.docker("load", "-i", _unusual(world.home))
    world.docker("image", "inspect", "unusual:1")
    world.docker("images", "-a")
    world.docker("rm", "base")
    world.docker("rmi", "committed:1", "imported:1", "unusual:1", name)
    world.docker("image", "prune", "-f", "-a", "--filter", "label=none")
    world.docker("logout", REGISTRY)


def _root(folder: Path) -> str:
    with tarfile.open(folder / "root.tar", "w") as tar:
        member = tarfile.TarInfo("tmp")
        member.type = tarfile.DIRTYPE
        tar.addfile(member, io.BytesIO())
    return str(folder / "root.tar")


def _unusual(folder: Path) -> str:
    """An archive of an image with what hardly any image has."""
    layer = (folder / "root.tar").read_bytes()
    config = {"Cmd": ["sh"], "Shell": ["/bin/sh", "-c"], "StopSignal": "SIGTERM"}
    whole = {"architecture": "amd64", "os": "linux", "os.version": "1", "variant": "v2", "config": config, "history": [{"created_by": "hand"}],
             "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}}  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": ["unusual:1"], "Layers": ["layer.tar"]}]
    with tarfile.open(folder / "unusual.tar", "w") as tar:
        for name, data in (("config.json", json.dumps(whole).encode()), ("manifest.json", json.dumps(manifest).encode()), ("layer.tar", layer)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(folder / "unusual.tar")


HEALTH = ("--health-cmd", "true", "--health-interval", "1s", "--health-timeout", "5s", "--health-retries", "2", "--health-start-period", "1s",
          "--health-start-interval", "1s")  # fmt: skip
LIMITS = (
    "--memory", "64m", "--memory-swap", "128m", "--memory-reservation", "32m", "--cpu-shares", "512", "--cpuset-cpus", "0", "--pids-limit", "100",
    "--ulimit", "nofile=100:200", "--device", "/dev/null:/dev/nothing:rw", "--device-cgroup-rule", "c 1:3 rwm", "--blkio-weight", "100",
    "--device-read-bps", "/dev/null:1mb", "--memory-swappiness", "60",
)  # fmt: skip


def containers(world: World) -> None:
    docker, py = world.docker, world.python[MANAGER]
    docker("network", "create", "--subnet", "10.77.0.0/24", "--ipv6", "--subnet", "fd77::/64", "-o", "a=b", "--label", "a=b", "own")
    docker("volume", "create", "--label", "a=b", "-o", "type=tmpfs", "-o", "device=tmpfs", "named")
    docker("run", "-d", "--name", "other", "-v", "deep:/v", "busybox", "sh", "-c", "mkdir /v/below; sleep 1000")
    docker(
        "run", "-d", "--name", "full", "--hostname", "h", "--domainname", "d", "--user", "0", "--env", "A=b", "--label", "a=b", "--expose", "81", "--init",
        "-p", "127.0.0.1:8080:80", "-v", "/anonymous", "-v", "named:/named", "-v", "/tmp:/bound:ro", "--tmpfs", "/scratch", "--volumes-from", "other",
        "--mount", "type=bind,source=/tmp,target=/more,bind-propagation=rprivate,readonly", "--mount", "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700",
        "--mount", "type=volume,source=plain,target=/plain,volume-label=a=b,volume-nocopy,volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs",
        "--mount", "type=volume,source=deep,target=/deep,volume-subpath=below",
        "--stop-signal", "SIGKILL", "--stop-timeout", "1", "--network",
        "name=own,ip=10.77.0.9,ip6=fd77::9,alias=known,link-local-ip=169.254.77.9,mac-address=02:42:0a:4d:00:09",
        "--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD", "--group-add", "7", "--sysctl", "net.ipv4.ip_forward=1", "--dns", "9.9.9.9", "--dns-search", "x.test",
        "--dns-option", "ndots:1", "--add-host", "there:10.0.0.1", "--annotation", "a=b", "--security-opt", "no-new-privileges", "--restart", "on-failure:3",
        *HEALTH, *LIMITS, "busybox", "sh", "-c", "echo out; echo err >&2; sleep 1000",
    )  # fmt: skip
    docker("run", "-d", "--name", "linked", "--link", "other:x", "-t", "busybox", "sleep", "1000")
    docker("network", "connect", "--link", "other:y", "--driver-opt", "a=b", "own", "linked")
    assert until(lambda: docker("inspect", "-f", "{{.State.Health.Status}}", "full").strip() == "healthy")
    for command in ("ps -a -s", "inspect -s full", "top full", "logs -t full", "diff full", "port full", "stats --no-stream full", "pause full", "unpause full",
                    "update --memory 96m full", "rename full renamed", "restart -t 0 renamed", "kill renamed", "wait renamed", "start renamed",
                    "stop -t 0 renamed", "inspect linked", "system df -v", "volume ls"):  # fmt: skip
        docker(*command.split())
    py.containers.get("linked").resize(24, 80)
    py.containers.create("busybox", network_disabled=True).remove()
    docker("export", "-o", str(world.home / "export.tar"), "linked")
    assert docker("run", "-i", "--name", "attached", "busybox", "cat", stdin="typed\n") == "typed\n"
    docker("run", "-d", "-i", "--name", "spoken", "busybox", "cat")
    world.attach_by_websocket("spoken")
    docker("ps", "-a")
    docker("rm", "-f", "-v", "renamed", "linked", "other", "spoken")
    docker("container", "prune", "-f")
    began = f"{time.time() - 60:.0f}"
    docker("events", "--since", began, "--until", f"{time.time():.0f}")


def files_and_execs(world: World) -> None:
    docker, py = world.docker, world.python[MANAGER]
    docker("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    (world.home / "here").write_text("1\n")
    docker("cp", str(world.home / "here"), "box:/tmp/there")
    docker("cp", "box:/tmp/there", str(world.home / "back"))
    assert (world.home / "back").read_text() == "1\n"
    docker("cp", str(world.home / "here"), "box:/tmp")
    docker("exec", "box", "true")
    made = py.api.exec_create("box", ["sleep", "1000"], tty=True, stdin=True, privileged=True, user="0")
    stream = py.api.exec_start(made["Id"], tty=True, socket=True)
    py.api.exec_resize(made["Id"], 24, 80)
    assert py.api.exec_inspect(made["Id"])["Running"]
    stream.close()
    stats = py.containers.get("box").stats(decode=True)
    assert [next(stats)["name"], next(stats)["name"]] == ["/box", "/box"]
    stats.close()
    docker("rm", "-f", "box")


def networks_and_volumes(world: World) -> None:
    docker = world.docker
    for command in ("volume ls", "volume inspect named", "volume rm named", "volume prune -f -a", "network ls"):
        docker(*command.split())
    docker("run", "-d", "--name", "member", "busybox", "sleep", "1000")
    for command in ("network connect own member", "network inspect own", "network disconnect own member", "network rm own", "rm -f member"):
        docker(*command.split())
    docker("network", "create", "--subnet", "10.79.0.0/24", "--gateway", "10.79.0.1", "--ip-range", "10.79.0.128/25", "--aux-address", "r=10.79.0.5", "spare")
    docker("network", "inspect", "spare")
    docker("network", "prune", "-f")
    world.ask("PUT", "/volumes/none?version=1", {}, status=503)


def swarm(world: World) -> None:
    docker = world.docker
    docker("swarm", "init", "--advertise-addr", f"{OWN_SUBNET}.10")
    token = docker("swarm", "join-token", "-q", "worker").strip()
    docker("swarm", "join", "--token", token, f"{OWN_SUBNET}.10:2377", node=WORKER1)
    for command in ("node ls", "node inspect self", f"node update --label-add a=b {WORKER1}", f"node inspect {WORKER1}", "info",
                    "swarm update --task-history-limit 4 --autolock", "swarm unlock-key"):  # fmt: skip
        docker(*command.split())
    assert re.match("SWMKEY-1-", docker("swarm", "unlock-key", "-q"))
    world.ask("POST", "/swarm/unlock", {"UnlockKey": "x"}, status=409)  # it is not locked (tests/cluster/test_autolock.py opens one that is)
    world.ask("GET", "/swarm")
    docker("swarm", "update", "--autolock=false")
    docker("info", node=WORKER1)
    shown = world.python[MANAGER].api.inspect_swarm()
    defaults = {"LogDriver": {"Name": "local", "Options": {"max-size": "1m"}}}
    world.ask("POST", f"/swarm/update?version={shown['Version']['Index']}", {**shown["Spec"], "TaskDefaults": defaults})
    docker("swarm", "ca", "--rotate", "-q")
    node = world.python[MANAGER].api.inspect_node(WORKER1)
    world.ask("POST", f"/nodes/{node['ID']}/update?version={node['Version']['Index']}", {**node["Spec"], "Name": "named"})
    docker("node", "inspect", node["ID"])


FULL_TASK = {
    "ContainerSpec": {
        "Image": "busybox:latest", "Command": ["sh"], "Args": ["-c", "echo out; sleep 1000"], "Hostname": "h", "Env": ["A=b"], "Dir": "/tmp", "User": "0",
        "Groups": ["7"], "TTY": False, "OpenStdin": True, "ReadOnly": True, "Labels": {"a": "b"}, "Init": True, "StopSignal": "SIGKILL",
        "StopGracePeriod": 1_000_000_000, "Isolation": "default", "Sysctls": {"net.ipv4.ip_forward": "1"}, "CapabilityAdd": ["CAP_NET_ADMIN"],
        "CapabilityDrop": ["CAP_MKNOD"], "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}], "Hosts": ["10.0.0.1 there"], "OomScoreAdj": 5,
        "HealthCheck": {"Test": ["CMD", "true"], "Interval": 10**9, "Timeout": 10**9, "Retries": 2, "StartPeriod": 10**9, "StartInterval": 10**9},
        "DNSConfig": {"Nameservers": ["9.9.9.9"], "Search": ["x.test"], "Options": ["ndots:1"]},
        "Privileges": {"NoNewPrivileges": True, "Seccomp": {"Mode": "default"}, "AppArmor": {"Mode": "default"},
                       "SELinuxContext": {"Disable": True}},
        "Mounts": [
            {"Type": "bind", "Source": "/tmp", "Target": "/bound", "ReadOnly": True,
             "BindOptions": {"Propagation": "rprivate", "NonRecursive": True, "CreateMountpoint": True, "ReadOnlyNonRecursive": True}},
            {"Type": "bind", "Source": "/tmp", "Target": "/bound2", "ReadOnly": True,
             "BindOptions": {"Propagation": "rprivate", "ReadOnlyForceRecursive": True}},
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o700, "Options": [["exec"]]}},
            {"Type": "volume", "Source": "kept", "Target": "/v", "Consistency": "default", "VolumeOptions": {
                "NoCopy": True, "Labels": {"a": "b"}, "Subpath": "", "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs"}}}},
        ],
    },
    "Resources": {"Limits": {"NanoCPUs": 10**9, "MemoryBytes": 64 << 20, "Pids": 100}, "Reservations": {"NanoCPUs": 10**6, "MemoryBytes": 8 << 20}},
    "RestartPolicy": {"Condition": "any", "Delay": 10**9, "MaxAttempts": 3, "Window": 10**9},
    "Placement": {"Constraints": ["node.role==manager"], "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.a"}}], "MaxReplicas": 2,
                  "Platforms": [{"OS": "linux"}]},
    "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m"}},
    "ForceUpdate": 1,
    "Runtime": "container",
}  # fmt: skip


def services(world: World) -> None:
    docker, py = world.docker, world.python[MANAGER]
    docker("network", "create", "-d", "overlay", "--attachable", "--subnet", "10.78.0.0/24", "--opt", "a=b", "far")
    network = docker("network", "inspect", "-f", "{{.Id}}", "far").strip()
    secret = docker("secret", "create", "-l", "a=b", "hidden", "-", stdin="secret").strip()
    config = docker("config", "create", "-l", "a=b", "open", "-", stdin="open").strip()
    task = json.loads(json.dumps(FULL_TASK))
    file = {"Name": "name", "UID": "0", "GID": "0", "Mode": 0o444}
    task["ContainerSpec"] |= {
        "Secrets": [{"SecretID": secret, "SecretName": "hidden", "File": file}],
        "Configs": [{"ConfigID": config, "ConfigName": "open", "File": file}],
    }
    order = {"Parallelism": 1, "Delay": 10**6, "FailureAction": "pause", "Monitor": 10**6, "MaxFailureRatio": 0.5, "Order": "stop-first"}
    spec = {
        "Name": "full", "Labels": {"a": "b"}, "TaskTemplate": task, "Mode": {"Replicated": {"Replicas": 1}}, "UpdateConfig": order, "RollbackConfig": order,
        "Networks": [{"Target": network, "Aliases": ["known"], "DriverOpts": {"a": "b"}}],
        "EndpointSpec": {"Mode": "vip", "Ports": [{"Name": "http", "Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8081, "PublishMode": "ingress"}]},
    }  # fmt: skip
    world.ask("POST", "/services/create", spec, status=201)
    docker("service", "create", "--name", "web", "--replicas", "2", "--network", "far", "-q", "--publish", "mode=host,target=80", "busybox", "sleep", "1000")
    docker("service", "update", "-q", "--env-add", "A=b", "web")
    custom = {"Seccomp": {"Mode": "custom", "Profile": base64.b64encode(b'{"defaultAction":"SCMP_ACT_ALLOW"}').decode()}}
    never = {"ContainerSpec": {"Image": "busybox", "Command": ["no-such-program"], "TTY": True, "Privileges": custom}, "RestartPolicy": {"Condition": "none"}}
    world.ask("POST", "/services/create", {"Name": "never", "TaskTemplate": never}, status=201)
    scarce = {"Reservations": {"GenericResources": [{"DiscreteResourceSpec": {"Kind": "gpu", "Value": 1}}]}}
    world.ask("POST", "/services/create", {"Name": "scarce", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}, "Resources": scarce}}, status=201)
    assert until(lambda: any(task["Status"].get("Err") for task in py.api.tasks(filters={"service": "never"})))
    docker("service", "inspect", "never", "scarce")
    assert until(lambda: docker("service", "ps", "full", "-q", "--filter", "desired-state=running"))
    docker("run", "-d", "--name", "guest", "--network", "far", "busybox", "sleep", "1000")
    for command in ("service ls", "service inspect web", "service inspect full", "service ps web full --no-trunc", "service logs --raw full",
                    "network inspect --verbose far", "network ls", f"node ps {WORKER1}", "service scale -d web=1"):  # fmt: skip
        docker(*command.split())
    tasks = py.api.tasks(filters={"service": "full"})
    assert py.api.inspect_task(tasks[0]["ID"])["ServiceID"]
    world.ask("GET", f"/tasks/{tasks[0]['ID']}/logs?stdout=1")
    world.ask("GET", "/services/web?insertDefaults=true")
    docker("service", "rollback", "-q", "web")
    docker("rm", "-f", "guest")
    docker("service", "rm", "web", "full", "never", "scarce")


def jobs_and_secrets(world: World) -> None:
    docker, py = world.docker, world.python[MANAGER]
    docker("service", "create", "-q", "--name", "job", "--mode", "replicated-job", "--replicas", "2", "--max-concurrent", "1", "busybox", "true")
    docker("service", "create", "-q", "-d", "--name", "everywhere", "--mode", "global-job", "busybox", "true")
    docker("service", "create", "-q", "-d", "--name", "all", "--mode", "global", "--endpoint-mode", "dnsrr", "busybox", "sleep", "1000")
    for command in ("service ls", "service inspect job everywhere all", "service ps job"):
        docker(*command.split())
    for kind in ("secret", "config"):
        docker(kind, "ls")
        shown = json.loads(docker(kind, "inspect", "hidden" if kind == "secret" else "open"))[0]
        path = f"/{kind}s/{shown['ID']}/update?version={shown['Version']['Index']}"
        world.ask("POST", path, {**shown["Spec"], "Labels": {"c": "d"}})
        docker(kind, "create", "--template-driver", "golang", "templated", "-", stdin="{{.Node.Hostname}}")
        docker(kind, "inspect", "templated")
        world.ask("POST", f"/{kind}s/create", {"Name": "chosen", "Data": "YQ==", "Templating": {"Name": "golang", "Options": {"a": "b"}}}, status=201)
        docker(kind, "inspect", "chosen")
    docker("service", "rm", "job", "everywhere", "all")
    assert until(lambda: not py.api.tasks())
    docker("secret", "rm", "hidden", "templated", "chosen")
    docker("config", "rm", "open", "templated", "chosen")
    docker("network", "rm", "far")


def the_end(world: World) -> None:
    docker = world.docker
    docker("swarm", "leave", node=WORKER1)
    assert until(lambda: "Down" in docker("node", "ls"))
    docker("node", "rm", WORKER1)
    docker("swarm", "leave", "--force")
    docker("ps", "-a")
