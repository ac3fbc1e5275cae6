"""Networks of a node by the real client and by festoon: connected and disconnected while containers run, both families, addresses that stay."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.test_survival import pids
from tests.driver import ADDRESS, FESTOON, MANAGER, WORKER1, Lab, until


@pytest.fixture
def named(lab: Lab, program: str) -> Iterator[Callable[[str], str]]:
    """Names of containers and networks (`net-…`) that are removed afterwards."""
    made: list[str] = []

    def name(base: str) -> str:
        made.append(f"{base}-{program}")
        return made[-1]

    yield name
    for each in made:
        lab.on(MANAGER, program, "rm", "-f", each)
    for each in made:
        lab.on(MANAGER, program, "network", "rm", each)


def test_a_running_container_is_connected_and_disconnected(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    first, second, box, other = (named(n) for n in ("net-first", "net-a", "box", "other"))
    for network in (first, second):
        lab.ok(MANAGER, program, "network", "create", network)
    lab.ok(MANAGER, program, "run", "-d", "--name", box, "--network", first, "busybox", "sleep", "1000")
    lab.ok(MANAGER, program, "network", "connect", "--alias", "nick", second, box)
    assert lab.ok(MANAGER, program, "exec", box, "ls", "/sys/class/net").split() == ["eth0", "eth1", "lo"]
    lab.ok(MANAGER, program, "run", "-d", "--name", other, "--network", second, "busybox", "sleep", "1000")
    lab.ok(MANAGER, program, "exec", other, "ping", "-c", "1", "-W", "2", "nick")
    again = lab.on(MANAGER, program, "network", "connect", second, box)
    assert (again.returncode, again.stderr) == (1, f"Error response from daemon: endpoint with name {box} already exists in network {second}\n")
    lab.ok(MANAGER, program, "network", "disconnect", second, box)
    assert lab.ok(MANAGER, program, "exec", box, "ls", "/sys/class/net").split() == ["eth0", "lo"]
    assert lab.on(MANAGER, program, "exec", other, "ping", "-c", "1", "-W", "1", "nick").returncode != 0
    lab.ok(MANAGER, program, "network", "disconnect", first, box)
    lab.ok(MANAGER, program, "network", "connect", first, box)
    assert lab.ok(MANAGER, program, "exec", box, "ls", "/sys/class/net").split() == ["eth2", "lo"]


@pytest.mark.parametrize("action", ["connect", "disconnect"])
def test_networks_that_change_while_a_container_is_started_are_changed(lab: Lab, program: str, named: Callable[[str], str], action: str) -> None:
    """The start stands still after it has wired the networks that it knew of."""
    first, second, box = named("net-first"), named("net-second"), named("box")
    for network in (first, second):
        lab.ok(MANAGER, program, "network", "create", network)
    made = lab.ok(MANAGER, program, "create", "--name", box, "--network", first, "busybox", "sleep", "1000").strip()
    if action == "disconnect":
        lab.ok(MANAGER, program, "network", "connect", second, box)
    supervisors = pids(lab, MANAGER, "supervisor")
    with contextlib.ExitStack() as stack:
        for pid in supervisors:
            os.kill(pid, signal.SIGSTOP)
            stack.callback(os.kill, pid, signal.SIGCONT)
        start = [FESTOON, "lab", "exec", "--name", lab.name, MANAGER, "--", program, "start", box]
        change = [*start[:-2], "network", action, second, box]
        starting = stack.enter_context(subprocess.Popen(start))
        assert until(lambda: lab.on(MANAGER, "test", "-e", f"/run/festoon/netns/{made[:12]}").returncode == 0)
        changing = stack.enter_context(subprocess.Popen(change))
        with contextlib.suppress(subprocess.TimeoutExpired):
            changing.wait(2)  # what does not wait for the start is done with by then
        for pid in supervisors:
            os.kill(pid, signal.SIGCONT)
        assert (starting.wait(30), changing.wait(30)) == (0, 0)
    links = ["eth0", "eth1", "lo"] if action == "connect" else ["eth0", "lo"]
    assert lab.ok(MANAGER, program, "exec", box, "ls", "/sys/class/net").split() == links
    networks = lab.ok(MANAGER, program, "inspect", "-f", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}", box).split()
    assert networks == sorted([first, second] if action == "connect" else [first])


def test_a_container_without_any_network_gets_one_while_it_runs(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    network, box = named("net-late"), named("box")
    lab.ok(MANAGER, program, "network", "create", network)
    lab.ok(MANAGER, program, "run", "-d", "--name", box, "--network", "none", "busybox", "sleep", "1000")
    refused = lab.on(MANAGER, program, "network", "connect", network, box)
    assert "private (none) mode" in refused.stderr
    lab.ok(MANAGER, program, "network", "disconnect", "none", box)
    lab.ok(MANAGER, program, "network", "connect", network, box)
    assert "default via" in lab.ok(MANAGER, program, "exec", box, "ip", "route")


def test_an_address_of_ones_own_stays_over_a_restart(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    network, box = named("net-own"), named("box")
    subnet = "10.201.1" if program == "docker" else "10.201.2"
    lab.ok(MANAGER, program, "network", "create", "--subnet", f"{subnet}.0/24", "--ip-range", f"{subnet}.128/25", network)
    lab.ok(MANAGER, program, "run", "-d", "--name", box, "--network", network, "--ip", f"{subnet}.9", "busybox", "sleep", "1000")
    lab.ok(MANAGER, program, "restart", "-t", "0", box)
    assert f"{subnet}.9/24" in lab.ok(MANAGER, program, "exec", box, "ip", "-o", "-4", "addr")
    taken = lab.on(MANAGER, program, "run", "--rm", "--network", network, "--ip", f"{subnet}.9", "busybox", "true")
    assert taken.returncode == 125
    assert "Address already in use" in taken.stderr
    assert f"{subnet}.129/24" in lab.ok(MANAGER, program, "run", "--rm", "--network", network, "busybox", "ip", "-o", "-4", "addr")


def test_ipv6_between_containers_and_to_a_published_port(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    network, box, plain = named("net-six"), named("box"), named("plain")
    prefix, port = ("fd00:201::", 18201) if program == "docker" else ("fd00:202::", 18203)
    page = "echo body > /tmp/index.html; exec httpd -f -p 80 -h /tmp"
    lab.ok(MANAGER, program, "network", "create", "--ipv6", "--subnet", f"{prefix}/64", network)
    lab.ok(MANAGER, program, "run", "-d", "--name", box, "--network", network, "-p", f"{port}:80", "busybox", "sh", "-c", page)
    lab.ok(MANAGER, program, "run", "-d", "--name", plain, "-p", f"{port + 1}:80", "busybox", "sh", "-c", page)
    lab.ok(MANAGER, program, "run", "--rm", "--network", network, "busybox", "ping", "-6", "-c", "1", "-W", "2", box)  # by its name: AAAA
    assert f"{prefix}2" in lab.ok(MANAGER, program, "run", "--rm", "--network", network, "busybox", "nslookup", "-type=aaaa", box)
    assert box in lab.ok(MANAGER, program, "run", "--rm", "--network", network, "busybox", "nslookup", f"{prefix}2")
    fetch = "import urllib.request as u, sys; print(u.urlopen(sys.argv[1], timeout=5).read().decode().strip())"
    for url in (f"http://[::1]:{port}/", f"http://[::1]:{port + 1}/", f"http://127.0.0.1:{port}/"):
        assert lab.ok(MANAGER, "python3", "-c", fetch, url) == "body\n", url


def test_the_way_out_is_by_the_network_with_the_highest_priority(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    first, second, third, box = named("net-a"), named("net-b"), named("net-c"), named("box")
    for network in (first, second, third):
        lab.ok(MANAGER, program, "network", "create", network)

    def way_out(name: str) -> str:
        return re.findall(r"^default via \S+ dev (\S+)", lab.ok(MANAGER, program, "exec", name, "ip", "route"), re.MULTILINE)[0]

    wished = ("--network", f"name={first},gw-priority=-1", "--network", f"name={second}")
    lab.ok(MANAGER, program, "run", "-d", "--name", box, *wished, "busybox", "sleep", "1000")
    assert way_out(box) == "eth1"
    lab.ok(MANAGER, program, "network", "connect", "--gw-priority", "7", third, box)
    assert way_out(box) == "eth2"
    shown = lab.ok(MANAGER, program, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.GwPriority}} {{end}}", box).split()
    assert shown == ["-1", "0", "7"]
    lab.ok(MANAGER, program, "network", "disconnect", third, box)
    assert way_out(box) == "eth1"


def test_ipv6_has_a_default_subnet_on_a_bridge(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    networks = named("net-six-a"), named("net-six-b")
    shown = []
    for network in networks:
        lab.ok(MANAGER, program, "network", "create", "--ipv6", network)
        shown += lab.ok(MANAGER, program, "network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}} {{end}}", network).split()[1:]
    assert len(set(shown)) == 2
    assert all(subnet.startswith("fd") and subnet.endswith("/64") for subnet in shown)
    assert f"inet6 {shown[0][:4]}" in lab.ok(MANAGER, program, "run", "--rm", "--network", networks[0], "busybox", "ip", "addr")
    old = ("env", "DOCKER_API_VERSION=1.41", program, "network", "create", "--ipv6", "net-six-c")
    assert "could not find an available, non-overlapping IPv6 address pool among the defaults" in lab.on(MANAGER, *old).stderr


def test_a_bridge_may_be_without_the_gateway_s_address(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    network, link = named("net-bare"), f"bare-{program}"
    subnet = "10.203.1" if program == "docker" else "10.203.2"
    bare = ("-o", "com.docker.network.bridge.inhibit_ipv4=true", "-o", f"com.docker.network.bridge.name={link}")
    lab.ok(MANAGER, program, "network", "create", "--subnet", f"{subnet}.0/24", *bare, network)
    assert "inet " not in lab.ok(MANAGER, "ip", "addr", "show", link)
    assert f"default via {subnet}.1" in lab.ok(MANAGER, program, "run", "--rm", "--network", network, "busybox", "ip", "route")
    lab.ok(MANAGER, "ip", "addr", "add", f"{subnet}.1/24", "dev", link)  # of somebody else's
    lab.ok(MANAGER, program, "run", "--rm", "--network", network, "busybox", "ping", "-c", "1", "-W", "2", f"{subnet}.1")


def test_a_network_may_leave_the_node_behind_an_address_of_choice(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    network, option = named("behind"), "com.docker.network.host_ipv4"
    seen = "import socket; s = socket.create_server(('', 7077)); print('there'); print(s.accept()[1][0])"
    chosen = ADDRESS[MANAGER].rpartition(".")[0] + ".77"
    lab.ok(MANAGER, "ip", "address", "add", f"{chosen}/24", "dev", "eth0")
    try:
        lab.ok(MANAGER, program, "network", "create", "-o", f"{option}={chosen}", network)
        words = [FESTOON, "lab", "exec", "--name", lab.name, WORKER1, "--", "python3", "-u", "-c", seen]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as listener:
            assert listener.stdout is not None
            assert listener.stdout.readline() == "there\n"
            lab.on(MANAGER, program, "run", "--rm", "--network", network, "busybox", "nc", "-w", "2", ADDRESS[WORKER1], "7077")
            assert listener.stdout.readline().strip() == chosen
        wrong = lab.on(MANAGER, program, "network", "create", "-o", f"{option}=x", named("no"))
        assert (wrong.returncode, f"failed to parse {option} value: x (nil ip)" in wrong.stderr) == (1, True)
    finally:
        lab.on(MANAGER, "ip", "address", "del", f"{chosen}/24", "dev", "eth0")


def test_a_configuration_says_nothing_of_drivers(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    network = named("net-words")
    lab.ok(MANAGER, program, "network", "create", "--config-only", "-d", "nosuch", network)
    assert lab.ok(MANAGER, program, "network", "inspect", "-f", "{{.Driver}} {{.Scope}}", network) == "null local\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((" ",), "invalid name:"),
        (("--ipv4=false", "x"), "IPv4 can't be switched off: every network here has it"),
        (("-o", "com.docker.network.driver.mtu=-5", "x"), "invalid MTU number: -5"),
        (("-o", "com.docker.network.bridge.inhibit_ipv4=x", "x"), 'failed to parse com.docker.network.bridge.inhibit_ipv4 value: x (strconv.ParseBool'),
        (("-o", "com.docker.network.bridge.name=lo", "x"), "existing interface lo is not a bridge"),
        (("-o", "com.docker.network.bridge.gateway_mode_ipv4=x", "x"), "unknown gateway mode x"),
        (("-o", "com.docker.network.bridge.gateway_mode_ipv4=routed", "x"), "gateway mode routed is not served: it is nat or isolated"),
        (("-o", "com.docker.network.bridge.gateway_mode_ipv6=isolated", "x"), "gateway mode 'isolated' can only be used for an internal network"),
        (("--subnet", "nonsense", "x"), "Invalid subnet nonsense : invalid CIDR address: nonsense"),
        (("--subnet", "172.17.5.0/24", "x"), "Pool overlaps with other one on this address space"),
        (("-d", "nosuch", "x"), 'plugin "nosuch" not found'),
        (("-o", "com.docker.network.driver.mtu=abc", "x"), "failed to parse com.docker.network.driver.mtu value: abc"),
        (("bridge",), "operation is not permitted on predefined bridge network"),
        (("--subnet", "10.202.0.0/31", "x"), "failed to allocate gateway (): No available addresses on this pool"),
        (("--subnet", "10.202.1.0/24", "--gateway", "10.202.1.255", "x"), "failed to allocate gateway (10.202.1.255): Address already in use"),
        (("--subnet", "10.202.1.0/24", "--gateway", "10.202.1.1", "--aux-address", "a=10.202.1.1", "x"),
         "failed to allocate secondary ip address (a:10.202.1.1): Address already in use"),
        (("--subnet", "10.202.1.0/24", "--aux-address", "a=10.202.1.1", "x"), "failed to allocate secondary ip address (a:10.202.1.1): Address already in use"),
        (("--subnet", "10.202.1.0/24", "--aux-address", "a=10.202.1.2", "--aux-address", "b=10.202.1.2", "x"), ":10.202.1.2): Address already in use"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_dockers_words_and_leaves_nothing(lab: Lab, program: str, words: tuple[str, ...], complaint: str) -> None:
    before = lab.ok(MANAGER, program, "network", "ls", "-q")
    done = lab.on(MANAGER, program, "network", "create", *words)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert lab.ok(MANAGER, program, "network", "ls", "-q") == before


def test_what_is_no_link_local_address_is_refused_and_the_node_goes_on(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    network, box = named("net-local"), named("box")
    lab.ok(MANAGER, program, "network", "create", "--subnet", "10.77.9.0/24", network)
    lab.ok(MANAGER, program, "create", "--name", box, "busybox", "sleep", "1000")
    lab.ok(MANAGER, program, "start", box)
    for given, words in (("x", "Invalid link-local IP address: [x]"), ("10.1.2.3", "invalid link local IP address: 10.1.2.3")):
        refused = lab.on(MANAGER, program, "network", "connect", "--link-local-ip", given, network, box)
        assert (refused.returncode, refused.stderr) == (1, f"Error response from daemon: {words}\n")
    lab.ok(MANAGER, program, "network", "connect", "--link-local-ip", "169.254.3.4", network, box)
    assert "169.254.3.4/16" in lab.ok(MANAGER, program, "exec", box, "ip", "-o", "-4", "addr")


def test_the_default_network_is_the_first_interface_of_the_next_start(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    network, box = named("net-first"), named("box")
    lab.ok(MANAGER, program, "network", "create", "--subnet", "10.203.0.0/24", network)
    lab.ok(MANAGER, program, "run", "-d", "--name", box, "--network", network, "busybox", "sleep", "1000")
    lab.ok(MANAGER, program, "network", "connect", "bridge", box)
    assert "10.203.0." in lab.ok(MANAGER, program, "exec", box, "ip", "-o", "-4", "addr", "show", "eth0")
    lab.ok(MANAGER, program, "restart", "-t", "0", box)
    assert "172.17." in lab.ok(MANAGER, program, "exec", box, "ip", "-o", "-4", "addr", "show", "eth0")


def test_ports_are_published_when_a_way_out_is_connected(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    inner, outer, box, taker = named("net-inner"), named("net-outer"), named("box"), named("taker")
    port = "18330" if program == "docker" else "18331"
    lab.ok(MANAGER, program, "network", "create", "--internal", inner)
    lab.ok(MANAGER, program, "network", "create", outer)
    lab.ok(MANAGER, program, "run", "-d", "--name", box, "--network", inner, "-p", f"{port}:80", "busybox", "sleep", "1000")
    assert lab.ok(MANAGER, program, "port", box) == ""
    lab.ok(MANAGER, program, "run", "-d", "--name", taker, "-p", f"{port}:80", "busybox", "sleep", "1000")
    refused = lab.on(MANAGER, program, "network", "connect", outer, box)
    assert (refused.returncode, "port is already allocated" in refused.stderr) == (1, True), refused.stderr
    assert lab.ok(MANAGER, program, "exec", box, "ls", "/sys/class/net").split() == ["eth0", "lo"]
    lab.ok(MANAGER, program, "rm", "-f", taker)
    lab.ok(MANAGER, program, "network", "connect", outer, box)
    assert f"0.0.0.0:{port}" in lab.ok(MANAGER, program, "port", box)
    lab.ok(MANAGER, program, "network", "disconnect", outer, box)
    assert lab.ok(MANAGER, program, "port", box) == ""


def test_a_line_of_ones_own_in_etc_hosts_outlives_a_change_of_networks(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    network, box = named("net-hosts"), named("box")
    lab.ok(MANAGER, program, "network", "create", network)
    lab.ok(MANAGER, program, "run", "-d", "--name", box, "busybox", "sleep", "1000")
    lab.ok(MANAGER, program, "exec", box, "sh", "-c", "echo 7.7.7.7 mine >>/etc/hosts")
    lab.ok(MANAGER, program, "network", "connect", network, box)
    lines = lab.ok(MANAGER, program, "exec", box, "cat", "/etc/hosts").splitlines()
    assert "7.7.7.7 mine" in lines
    assert sum(line.endswith(lab.ok(MANAGER, program, "exec", box, "hostname").strip()) for line in lines) == 2


def test_events_of_networks_tell_who_comes_and_goes(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    network, box = named("net-told"), named("box")
    lab.ok(MANAGER, program, "network", "create", network)
    lab.ok(MANAGER, program, "run", "-d", "--name", box, "--network", network, "busybox", "sleep", "1000")
    lab.ok(MANAGER, program, "restart", "-t", "0", box)
    lab.ok(MANAGER, program, "rm", "-f", box)
    lab.ok(MANAGER, program, "network", "rm", network)
    told = lab.ok(MANAGER, program, "events", "--since", "1m", "--until", "0s", "--filter", f"network={network}", "--format", "{{.Action}}")
    assert told.split() == ["create", "connect", "disconnect", "connect", "disconnect", "destroy"]


def test_the_next_default_subnet_is_not_the_one_just_given_back(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    network, subnets = named("net-again"), []
    for _ in range(2):
        lab.ok(MANAGER, program, "network", "create", network)
        subnets.append(lab.ok(MANAGER, program, "network", "inspect", network, "--format", "{{range .IPAM.Config}}{{.Subnet}}{{end}}"))
        lab.ok(MANAGER, program, "network", "rm", network)
    assert subnets[0] != subnets[1]


def test_a_start_that_its_networks_refuse_keeps_the_last_exit_status(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    box, taker = named("box"), named("taker")
    port = "18340" if program == "docker" else "18341"
    lab.on(MANAGER, program, "run", "--name", box, "-p", f"{port}:80", "busybox", "sh", "-c", "exit 7")
    lab.ok(MANAGER, program, "run", "-d", "--name", taker, "-p", f"{port}:80", "busybox", "sleep", "1000")
    assert lab.on(MANAGER, program, "start", box).returncode == 1
    assert lab.ok(MANAGER, program, "inspect", box, "--format", "{{.State.ExitCode}}").strip() == "7"
    refused = lab.on(MANAGER, program, "restart", box)
    assert refused.stderr.startswith(f"Error response from daemon: Cannot restart container {box}: driver failed programming external connectivity")


def test_prune_takes_what_is_old_enough_and_no_configuration(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    young, kept = named("net-young"), named("net-config")
    lab.ok(MANAGER, program, "network", "create", "--label", f"of={program}", young)
    lab.ok(MANAGER, program, "network", "create", "--config-only", "--label", f"of={program}", kept)
    mine = ("--filter", f"label=of={program}")
    assert lab.ok(MANAGER, program, "network", "prune", "-f", *mine, "--filter", "until=1h") == ""
    refused = lab.on(MANAGER, program, "network", "prune", "-f", *mine, "--filter", "until=garbage")
    assert (refused.returncode, "garbage" in refused.stderr) == (1, True)
    assert lab.ok(MANAGER, program, "network", "prune", "-f", *mine).split()[-1] == young
    lab.ok(MANAGER, program, "network", "inspect", kept)


def test_behind_systemd_resolveds_stub_containers_get_the_servers_that_it_asks(lab: Lab, program: str) -> None:
    """As on Ubuntu: 127.0.0.53 is the node's own, and nobody's in a container."""
    prepare = (
        "mkdir -p /run/systemd/resolve && echo nameserver 192.0.2.53 >/run/systemd/resolve/resolv.conf && "
        "echo nameserver 127.0.0.53 >/run/stub.conf && mount --bind /run/stub.conf /etc/resolv.conf"
    )
    lab.ok(MANAGER, "sh", "-c", prepare)
    try:
        for network in ("bridge", "host"):
            told = lab.ok(MANAGER, program, "run", "--rm", "--network", network, "busybox", "cat", "/etc/resolv.conf")
            assert told == "nameserver 192.0.2.53\n", network
    finally:
        lab.ok(MANAGER, "umount", "/etc/resolv.conf")
        lab.ok(MANAGER, "rm", "-r", "/run/systemd", "/run/stub.conf")


def test_events_of_the_cluster_are_told_by_every_manager_with_what_changed(lab: Lab, program: str, named: Callable[[str], str]) -> None:
    network, service = named("told"), f"teller-{program}"
    lab.ok(MANAGER, program, "network", "create", "-d", "overlay", network)
    create = ("service", "create", "-d", "--no-resolve-image", "--name", service, "--replicas", "0", "--network", network)
    lab.ok(MANAGER, program, *create, "busybox", "sleep", "1000")
    try:
        lab.ok(MANAGER, program, "service", "scale", "-d", f"{service}=1")
        assert until(lambda: len(lab.running(program, service)) == 1), lab.on(MANAGER, program, "service", "ps", "--no-trunc", service).stdout
        lab.ok(MANAGER, program, "node", "update", "--label-add", f"told={program}", WORKER1)
    finally:
        lab.ok(MANAGER, program, "service", "rm", service)
    words = ("events", "--since", "1m", "--until", "0s", "--format", "{{.Type}} {{.Action}} {{.Scope}} {{json .Actor.Attributes}}")
    of_service = (*words, "--filter", f"service={service}", "--filter", "type=service")  # those of its container, too, where that was on this node
    told = lab.ok(MANAGER, program, *of_service).splitlines()
    assert told[0] == f'service create swarm {{"name":"{service}"}}'
    assert f'service update swarm {{"name":"{service}","replicas.new":"1","replicas.old":"0"}}' in told
    assert until(lambda: lab.ok(MANAGER, program, *of_service).splitlines()[-1] == f'service remove swarm {{"name":"{service}"}}')
    assert f'network create swarm {{"name":"{network}"}}' in lab.ok(MANAGER, program, *words, "--filter", f"network={network}").splitlines()
    assert f'node update swarm {{"name":"{WORKER1}"}}' in lab.ok(MANAGER, program, *words, "--filter", "type=node").splitlines()
    assert "swarm" not in lab.ok(WORKER1, program, *words, "--filter", "type=service"), "a worker is not told"
