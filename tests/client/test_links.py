"""`--link` as Docker has it: on the default bridge variables and /etc/hosts, on a user's network a name that its container alone can ask for."""

from __future__ import annotations

from tests.driver import MANAGER, Lab


def test_a_link_on_the_default_bridge_gives_variables_and_a_line_of_etc_hosts_that_follows(lab: Lab, program: str) -> None:
    try:
        lab.ok(MANAGER, program, "run", "-d", "--name", "ln-db", "--expose", "5432", "-e", "PASS=x", "busybox", "sleep", "1000")
        lab.ok(MANAGER, program, "run", "-d", "--name", "ln-web", "--link", "ln-db:store", "busybox", "sleep", "1000")
        told = lab.ok(MANAGER, program, "exec", "ln-web", "env").splitlines()
        assert {"STORE_NAME=/ln-web/store", "STORE_ENV_PASS=x", "STORE_PORT_5432_TCP_PROTO=tcp"} <= set(told)
        assert lab.on(MANAGER, program, "exec", "ln-web", "ping", "-c", "1", "-W", "2", "store").returncode == 0
        assert lab.ok(MANAGER, program, "inspect", "-f", "{{json .HostConfig.Links}}", "ln-web").strip() == '["/ln-db:/ln-web/store"]'
        lab.ok(MANAGER, program, "stop", "-t", "0", "ln-db")
        refused = lab.on(MANAGER, program, "run", "--rm", "--name", "ln-late", "--link", "ln-db:x", "busybox", "true")
        assert (refused.returncode, "Cannot link to a non running container: /ln-db AS /ln-late/x" in refused.stderr) == (125, True)
        lab.ok(MANAGER, program, "run", "-d", "--name", "ln-taker", "busybox", "sleep", "1000")  # takes the address that was its
        lab.ok(MANAGER, program, "start", "ln-db")
        address = lab.ok(MANAGER, program, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "ln-db").strip()
        assert lab.ok(MANAGER, program, "exec", "ln-web", "grep", "store", "/etc/hosts").split()[0] == address
        lab.ok(MANAGER, program, "rm", "--link", "ln-web/store")
        assert lab.on(MANAGER, program, "exec", "ln-web", "grep", "store", "/etc/hosts").returncode == 1
        own = lab.on(MANAGER, program, "rm", "--link", "ln-web")
        assert (own.returncode, "Conflict, cannot remove the default link name of the container" in own.stderr) == (1, True)
        unknown = lab.on(MANAGER, program, "rm", "--link", "ln-web/store")
        assert "No such container: ln-web/store" in unknown.stderr
    finally:
        lab.on(MANAGER, program, "rm", "-f", "ln-web", "ln-db", "ln-taker", "ln-late")


def test_a_link_on_a_user_s_network_is_a_name_of_one_s_own(lab: Lab, program: str) -> None:
    for network in ("ln-net", "ln-net2"):
        lab.ok(MANAGER, program, "network", "create", network)
    try:
        lab.ok(MANAGER, program, "run", "-d", "--name", "ln-db", "--network", "ln-net", "busybox", "sleep", "1000")
        lab.ok(MANAGER, program, "run", "-d", "--name", "ln-web", "--network", "ln-net", "--link", "ln-db:store", "busybox", "sleep", "1000")
        for name in ("ln-db", "ln-web"):
            lab.ok(MANAGER, program, "network", "connect", "ln-net2", name)
        lab.ok(MANAGER, program, "run", "-d", "--name", "ln-other", "busybox", "sleep", "1000")
        lab.ok(MANAGER, program, "network", "connect", "--link", "ln-db:mine", "ln-net", "ln-other")
        assert lab.on(MANAGER, program, "exec", "ln-web", "ping", "-c", "1", "-W", "2", "store").returncode == 0
        assert lab.on(MANAGER, program, "exec", "ln-other", "ping", "-c", "1", "-W", "2", "mine").returncode == 0
        assert lab.on(MANAGER, program, "exec", "ln-db", "ping", "-c", "1", "-W", "2", "store").returncode == 1
        assert "STORE" not in lab.ok(MANAGER, program, "exec", "ln-web", "env")
        lab.ok(MANAGER, program, "network", "disconnect", "ln-net", "ln-db")
        assert lab.on(MANAGER, program, "exec", "ln-web", "ping", "-c", "1", "-W", "2", "ln-db").returncode == 0
        assert lab.on(MANAGER, program, "exec", "ln-web", "ping", "-c", "1", "-W", "2", "store").returncode == 1  # of the other network it is no name
    finally:
        lab.on(MANAGER, program, "rm", "-f", "ln-web", "ln-db", "ln-other")
        lab.on(MANAGER, program, "network", "rm", "ln-net", "ln-net2")


def test_what_shares_a_network_is_linked_by_it_and_shares_it_on(lab: Lab, program: str) -> None:
    try:
        lab.ok(MANAGER, program, "run", "-d", "--name", "ln-db", "busybox", "sleep", "1000")
        lab.ok(MANAGER, program, "run", "-d", "--name", "ln-beside", "--network", "container:ln-db", "busybox", "sleep", "1000")
        lab.ok(MANAGER, program, "run", "-d", "--name", "ln-third", "--network", "container:ln-beside", "busybox", "sleep", "1000")
        hostname = lab.ok(MANAGER, program, "exec", "ln-db", "cat", "/etc/hostname")
        assert lab.ok(MANAGER, program, "exec", "ln-third", "cat", "/etc/hostname") == hostname
        address = lab.ok(MANAGER, program, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "ln-db").strip()
        found = lab.ok(MANAGER, program, "run", "--rm", "--link", "ln-third:store", "busybox", "grep", "store", "/etc/hosts")
        assert found.split()[0] == address
    finally:
        lab.on(MANAGER, program, "rm", "-f", "ln-third", "ln-beside", "ln-db")
