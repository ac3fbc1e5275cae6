"""Three nodes on one machine for tests of the fabric: a namespace each, joined by a bridge in another one, and a
client beside them.

Everything is made by the fabric's own netlink room and held by descriptors, so that it goes when they are closed;
only the sandboxes that a Fabric names are mounts, in a folder of the test, and close() removes those. Servers and
clients are sockets of this process made in the right namespace.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
import trio

from netfabric.apply import Fabric, open_fabric
from netfabric.links.bridge import new_bridge
from netfabric.links.veth import new_veth
from netfabric.netlink import messages, netns, sysctls
from netfabric.netlink.exchange import NetlinkError
from netfabric.netlink.ipvs import get_family
from netfabric.netlink.socket import SyncNetlink
from netfabric.view import Backend, Balancer, Bridge, Interface, Overlay, PublishedPort, Remote, Sandbox, View

NODES = (1, 2, 3)
OUTSIDE = "192.0.2.254"
CLIENT = "192.0.2.100"
GATEWAY_BRIDGE = Bridge("docker_gwbridge", "172.18.0.0/16", "172.18.0.1/16", isolate=True)
INGRESS_ID = "ingressingressingressingr"
MYNET_ID = "mynetmynetmynetmynetmynet"
WEB = PublishedPort("tcp", 8080, 80)
WEB_MARK = 0x100


def vtep(node: int) -> str:
    return f"192.0.2.{node}"


@dataclass(frozen=True)
class Task:
    """A task of the web service: on ingress, mynet and the gateway bridge, as the seed's is."""

    id: str
    node: int
    number: int

    @property
    def on_ingress(self) -> str:
        return f"10.0.0.{10 + self.number}"

    @property
    def on_mynet(self) -> str:
        return f"10.0.1.{10 + self.number}"

    def sandbox(self) -> Sandbox:
        interfaces = (
            Interface("eth0", INGRESS_ID, f"{self.on_ingress}/24"),
            Interface("eth1", "docker_gwbridge", f"172.18.0.{10 + self.number}/16", "172.18.0.1"),
            Interface("eth2", MYNET_ID, f"{self.on_mynet}/24"),
        )
        return Sandbox(self.id, interfaces, (WEB,))


def view(node: int, tasks: Sequence[Task], *, draining: Sequence[str] = (), published: bool = True) -> View:
    """What node number `node` has to serve when these tasks run."""
    ingress_backends = tuple(Backend(t.on_ingress, 0 if t.id in draining else 1) for t in tasks)
    mynet_backends = tuple(Backend(t.on_mynet, 0 if t.id in draining else 1) for t in tasks)
    others = [other for other in NODES if other != node]
    ingress_remotes = [Remote(f"10.0.0.{1 + other}", vtep(other), balancer=True) for other in others]
    mynet_remotes = [Remote(f"10.0.1.{1 + other}", vtep(other), balancer=True) for other in others]
    for task in tasks:
        if task.node != node:
            ingress_remotes.append(Remote(task.on_ingress, vtep(task.node)))
            mynet_remotes.append(Remote(task.on_mynet, vtep(task.node)))
    ports = (WEB,) if published else ()
    on_ingress = (Balancer("web", "10.0.0.5", WEB_MARK, ingress_backends, ports),) if tasks else ()
    on_mynet = (Balancer("web", "10.0.1.5", WEB_MARK, mynet_backends),) if tasks else ()
    return View(
        vtep=vtep(node),
        gateway_bridge=GATEWAY_BRIDGE,
        overlays=(
            Overlay(
                INGRESS_ID,
                "ingress",
                4096,
                "10.0.0.0/24",
                "10.0.0.1",
                f"10.0.0.{1 + node}/24",
                ingress=True,
                remotes=tuple(ingress_remotes),
                balancers=on_ingress,
            ),
            Overlay(
                MYNET_ID,
                "mynet",
                4097,
                "10.0.1.0/24",
                "10.0.1.1",
                f"10.0.1.{1 + node}/24",
                remotes=tuple(mynet_remotes),
                balancers=on_mynet,
            ),
        ),
        sandboxes=tuple(task.sandbox() for task in tasks if task.node == node),
    )


SUBNET6 = "fd00:1::/64"


def twin(address: str) -> str:
    """The IPv6 address of mynet that goes with "10.0.1.8" or "10.0.1.8/24"."""
    plain, slash, _ = address.partition("/")
    return f"fd00:1::{int(plain.rpartition('.')[2]):x}{'/64' if slash else ''}"


def with_ipv6(view: View) -> View:
    """The same with IPv6 on mynet, as the cluster gives it: every endpoint has both."""

    def balancer(one: Balancer) -> Balancer:
        backends = tuple(replace(b, address6=twin(b.address)) for b in one.backends)
        return replace(one, virtual_ip6=twin(one.virtual_ip), backends=backends)

    def overlay(one: Overlay) -> Overlay:
        if one.id != MYNET_ID:
            return one
        remotes = tuple(replace(r, address6=twin(r.address)) for r in one.remotes)
        balancers = tuple(map(balancer, one.balancers))
        own = twin(one.lb_address)
        return replace(one, subnet6=SUBNET6, gateway6="fd00:1::1", lb_address6=own, remotes=remotes, balancers=balancers)

    def sandbox(one: Sandbox) -> Sandbox:
        interfaces = (replace(i, address6=twin(i.address)) if i.network == MYNET_ID else i for i in one.interfaces)
        return replace(one, interfaces=tuple(interfaces))

    return replace(view, overlays=tuple(map(overlay, view.overlays)), sandboxes=tuple(map(sandbox, view.sandboxes)))


@dataclass
class World:
    """Descriptors of the underlay, the nodes and the client, and the nodes' fabrics while they are open."""

    folder: str
    underlay: int
    nodes: dict[int, int]
    client: int
    backend: str = "nft"
    fabrics: dict[int, Fabric] = field(default_factory=dict)

    def run_dir(self, node: int) -> str:
        return os.path.join(self.folder, str(node))

    def set_bridge_netfilter(self, node: int, value: str) -> None:
        """Whether bridged packets of a node pass its IP rules; skips the test where the kernel can't."""
        with netns.in_namespace(self.nodes[node]):
            try:
                sysctls.write("net.bridge.bridge-nf-call-iptables", value)
            except FileNotFoundError:
                if value == "1":
                    pytest.skip("this kernel has no br_netfilter")

    @contextlib.contextmanager
    def sandbox(self, node: int, name: str) -> Iterator[int]:
        """A descriptor of a named namespace of a node."""
        descriptor = netns.open_named(os.path.join(self.run_dir(node), "netns", name))
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.asynccontextmanager
    async def open(self, *nodes: int, backend: str = "") -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for node in nodes or NODES:
                opened = open_fabric(self.run_dir(node), backend=backend or self.backend, namespace=self.nodes[node])
                self.fabrics[node] = await stack.enter_async_context(opened)
            try:
                yield
            finally:
                self.fabrics.clear()

    async def reconcile(self, tasks: Sequence[Task], *, draining: Sequence[str] = (), published: bool = True) -> None:
        for node, fabric in self.fabrics.items():
            await fabric.reconcile(view(node, tasks, draining=draining, published=published))

    def close(self) -> None:
        for node in NODES:
            folder = os.path.join(self.run_dir(node), "netns")
            for name in netns.names(folder):
                netns.remove(os.path.join(folder, name))
        for descriptor in (self.underlay, self.client, *self.nodes.values()):
            os.close(descriptor)
        shutil.rmtree(self.folder)


def build() -> World:
    """The underlay with its nodes; no fabric is open yet."""
    world = World(
        tempfile.mkdtemp(prefix="netfabric-"),
        netns.create_anonymous(),
        {node: netns.create_anonymous() for node in NODES},
        netns.create_anonymous(),
    )
    with SyncNetlink(world.underlay) as underlay:
        underlay.request(
            messages.set_link(1, up=True),
            new_bridge("under0", index=2),
            messages.add_address(2, f"{OUTSIDE}/24"),
        )
        hosts = [(node, vtep(node), descriptor) for node, descriptor in world.nodes.items()]
        for number, address, descriptor in [*hosts, (9, CLIENT, world.client)]:
            underlay.request(new_veth(f"n{number}", "eth0", descriptor, index=10 + number, peer_index=2, master=2))
            with SyncNetlink(descriptor) as host:
                host.request(
                    messages.set_link(1, up=True),
                    messages.set_link(2, up=True),
                    messages.add_address(2, f"{address}/24"),
                    messages.add_route("default", gateway=OUTSIDE, index=2),
                )
    return world


def has_ipvs() -> bool:
    """Whether this kernel has IPVS, or a module that it loads now."""
    with SyncNetlink(None, messages.NETLINK_GENERIC) as generic:
        try:
            generic.request(get_family())
        except NetlinkError:
            return False
    return True


def has_sctp() -> bool:
    """Whether this kernel has SCTP, or a module that it loads now."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        return False
    return True


def stream_socket(namespace: int, *, ipv6: bool = False, protocol: int = 0) -> trio.socket.SocketType:
    with netns.in_namespace(namespace):
        return trio.socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM, protocol)


def datagram_socket(namespace: int) -> trio.socket.SocketType:
    with netns.in_namespace(namespace):
        return trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


async def serve(namespace: int, port: int, name: str, address: str = "0.0.0.0", protocol: int = 0, *, task_status: trio.TaskStatus[None]) -> None:
    """Answers every connection to `port` in the namespace with its name and the client's address."""
    with stream_socket(namespace, ipv6=":" in address, protocol=protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await listener.bind((address, port))
        listener.listen()
        task_status.started()
        while True:
            connection, peer = await listener.accept()
            with connection:
                await connection.send(f"{name} {peer[0]}".encode())


async def ask(namespace: int, address: str, port: int, *, within_s: float = 5, source: str = "", protocol: int = 0) -> tuple[str, str]:
    """(name of the answering task, address that it saw). Raises OSError, or TooSlowError after that many seconds."""
    sock = stream_socket(namespace, ipv6=":" in address, protocol=protocol)
    with trio.fail_after(within_s), sock:
        if source:
            await sock.bind((source, 0))
        await sock.connect((address, port))
        answer = b""
        while part := await sock.recv(200):
            answer += part
    name, _, seen = answer.decode().partition(" ")
    return name, seen


async def ping(namespace: int, address: str) -> bool:
    argv = ["nsenter", f"--net=/proc/self/fd/{namespace}", "ping", "-c", "1", "-W", "2", address]
    done = await trio.run_process(argv, check=False, capture_stdout=True, capture_stderr=True, pass_fds=(namespace,))
    return done.returncode == 0


async def output(namespace: int, *argv: str) -> str:
    """What a program prints in a namespace."""
    done = await trio.run_process(["nsenter", f"--net=/proc/self/fd/{namespace}", *argv], capture_stdout=True, pass_fds=(namespace,))
    return bytes(done.stdout).decode()
