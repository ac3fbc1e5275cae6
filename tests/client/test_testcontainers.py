"""testcontainers on a node's socket: another program's tests start their containers here, find their ports, read their logs and leave nothing.

Its reaper is off: that container's image is not to be had without the network.
"""

from __future__ import annotations

import importlib.util
import sys

import pytest

from tests.driver import MANAGER, Lab

pytestmark = pytest.mark.skipif(importlib.util.find_spec("testcontainers") is None, reason="needs the PyPI package testcontainers: ./check installs it")

PROGRAM = """
import os, urllib.request
os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy
serve = "sh -c 'echo served >/tmp/index.html; echo up; exec httpd -f -p 80 -h /tmp'"
with Network() as network:
    web = DockerContainer("busybox").with_command(serve).with_exposed_ports(80).with_env("WHO", "me").with_network(network)
    with web.with_network_aliases("web").waiting_for(LogMessageWaitStrategy("up")):
        url = f"http://{web.get_container_host_ip()}:{web.get_exposed_port(80)}/"
        print(urllib.request.urlopen(url).read().decode().strip())
        print("WHO=me" in web.exec("env").output.decode(), web.get_logs())
        with DockerContainer("busybox").with_command("sleep 1000").with_network(network) as other:
            print(other.exec(["wget", "-q", "-O-", "http://web/"]).output.decode().strip())
"""


def test_containers_and_networks_of_other_peoples_tests(lab: Lab) -> None:
    before = lab.ok(MANAGER, "festoon", "ps", "-aq"), lab.ok(MANAGER, "festoon", "network", "ls", "-q")
    assert lab.ok(MANAGER, sys.executable, "-c", PROGRAM, timeout_s=120).splitlines() == ["served", "True (b'up\\n', b'')", "served"]
    assert (lab.ok(MANAGER, "festoon", "ps", "-aq"), lab.ok(MANAGER, "festoon", "network", "ls", "-q")) == before
