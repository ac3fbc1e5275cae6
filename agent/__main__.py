"""`festoond`: the node's program. Owns the command line, the log's form and the exit status."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from pathlib import Path

import trio

from agent import generic_resources
from agent.daemon import Settings, run_daemon
from agent.engine.tcp import TcpSettings
from agent.local_networks import BridgeNames
from cluster.log import configure
from cluster.model.errors import ClusterError, InvalidArgument
from cluster.version import VERSION
from cluster.wire import versions
from netfabric.errors import FabricError
from runtime.errors import RuntimeFault
from runtime.images.endpoints import BadSetting, checked


def main() -> int:
    """Parse, serve, and say in one sentence what went wrong."""
    parser = argparse.ArgumentParser(prog="festoond", description="One node of a Festoon swarm: containers, networks and the Engine API.")
    parser.add_argument("--root", type=Path, default=Path("/var/lib/festoon"), help="state (default: %(default)s)")
    parser.add_argument("--run", type=Path, default=Path("/run/festoon"), help="sockets and network namespaces (default: %(default)s)")
    parser.add_argument("--balancing", choices=("auto", "ipvs", "nft"), default="auto", help="how the ingress mesh balances (default: what the kernel has)")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="a label of this engine")
    parser.add_argument(
        "--node-generic-resource", action="append", default=[], metavar="KIND=NAME|COUNT",
        help="what services may reserve of this node: gpu=2, or gpu=UUID1 for each",
    )
    parser.add_argument("--registry-mirror", action="append", default=[], metavar="URL", help="ask this registry first for the images of Docker Hub")
    parser.add_argument("--insecure-registry", action="append", default=[], metavar="REGISTRY", help="a registry (HOST, HOST:PORT or CIDR) without checked TLS")
    parser.add_argument(
        "--registry-certs", default="/etc/docker/certs.d", metavar="DIR", help="certificates by registry: DIR/HOST:PORT/*.crt (default: %(default)s)",
    )
    parser.add_argument("--userns-remap", default="", metavar="default|USER|BASE:COUNT", help="containers run in user namespaces with these ids of the host")
    parser.add_argument("--group", "-G", default="festoon", help="the group that may use the socket, if this machine has it (default: %(default)s)")
    parser.add_argument("--bridge", default="docker0", metavar="INTERFACE", help="the default bridge, where another program has docker0 (default: %(default)s)")
    parser.add_argument("--gateway-bridge", default="docker_gwbridge", metavar="INTERFACE", help="the same of docker_gwbridge (default: %(default)s)")
    parser.add_argument("--host", "-H", action="append", default=[], metavar="tcp://HOST:PORT", help="serve the Engine API there, too, with mutual TLS")
    parser.add_argument("--tlscacert", default="", metavar="FILE", help="with --host: the authority that signs its clients' certificates")
    parser.add_argument("--tlscert", default="", metavar="FILE", help="with --host: this daemon's certificate")
    parser.add_argument("--tlskey", default="", metavar="FILE", help="with --host: its key")
    parser.add_argument("--insecure-tcp", action="store_true", help="with --host: without TLS, on loopback only; whoever connects is root here")
    parser.add_argument("--metrics-addr", default="", metavar="HOST:PORT", help="serve /metrics there, too, to whoever asks (default: on the socket only)")
    parser.add_argument("--stem-unit", default="", metavar="UNIT", help="the unit of systemd that starts the containers' parent (default: started here)")
    parser.add_argument(
        "--speak", type=int, default=os.environ.get("FESTOON_SPEAK", versions.VERSION), metavar="VERSION",
        help="speak this version of the managers' protocol, to try or to take back an upgrade (default: %(default)s, or FESTOON_SPEAK)",
    )
    parser.add_argument("--ready-fd", type=int, help="a descriptor that gets the line `ready` when the socket answers")
    parser.add_argument("--debug", action="store_true", help="log more")
    parser.add_argument("--version", action="version", version=f"festoond {VERSION}")
    options = parser.parse_args()
    configure(logging.DEBUG if options.debug else logging.INFO)
    labels = tuple((key, value) for key, _, value in (entry.partition("=") for entry in options.label))
    try:
        generic = generic_resources.parse(options.node_generic_resource)
        registries = checked(options.registry_mirror, options.insecure_registry, options.registry_certs)
    except (BadSetting, InvalidArgument) as error:
        parser.error(str(error))
    settings = Settings(
        root=options.root, run=options.run, backend=options.balancing, ready_fd=options.ready_fd, group=options.group, stem_unit=options.stem_unit,
        labels=labels, generic=generic, registries=registries, userns_remap=options.userns_remap, metrics_address=options.metrics_addr, speak=options.speak,
        bridges=BridgeNames(options.bridge, options.gateway_bridge),
        tcp=TcpSettings(tuple(options.host), options.tlscacert, options.tlscert, options.tlskey, options.insecure_tcp),
    )  # fmt: skip
    gc.freeze()
    status = 0
    try:
        trio.run(run_daemon, settings)
    except* (ClusterError, RuntimeFault, FabricError) as group:
        print(f"festoond: {_first(group)}", file=sys.stderr)
        status = 1
    return status


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner


if __name__ == "__main__":
    sys.exit(main())
