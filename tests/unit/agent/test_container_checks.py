"""What a container may not be asked for, in Docker's words."""

import re
from typing import Any

import msgspec
import pytest

from agent import container_checks, security_options
from agent.machine import NodeResources
from agent.records import Config, HostConfig, PortBinding
from cluster.model.errors import ClusterError, InvalidArgument
from cluster.model.specs import HealthCheck

NODE = NodeResources(2, "0-1", "0")
MB = 1 << 20


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ({"memory_bytes": MB}, "Minimum memory limit allowed is 6MB"),
        ({"memory_bytes": 64 * MB, "memory_swap_bytes": 32 * MB}, "Minimum memoryswap limit should be larger than memory limit, see usage"),
        ({"memory_swap_bytes": 64 * MB}, "You should always set the Memory limit when using Memoryswap limit, see usage"),
        ({"memory_bytes": 64 * MB, "memory_reservation_bytes": 65 * MB}, "Minimum memory limit can not be less than memory reservation limit, see usage"),
        ({"nano_cpus": 3_000_000_000}, "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        ({"nano_cpus": 1, "cpu_quota_us": 5000}, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
        ({"cpu_period_us": 50}, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
        ({"cpuset_cpus": "9"}, "Requested CPUs are not available - requested 9, available: 0-1"),
        ({"cpuset_cpus": "abc"}, "Invalid value abc for cpuset cpus: invalid format: abc"),
        ({"oom_score_adj": 2000}, "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
        ({"restart": "nosuch"}, "invalid restart policy 'nosuch'"),
        ({"restart": "always", "restart_max": 3}, "maximum retry count cannot be used with restart policy 'always'"),
        ({"restart": "always", "auto_remove": True}, "can't create 'AutoRemove' container with restart policy"),
        ({"ipc_mode": "bogus"}, "Invalid IPC mode: bogus"),
        ({"log_driver": "nosuch"}, 'error looking up logging plugin nosuch: plugin "nosuch" not found'),
        ({"log_options": (("bogus", "1"),), "log_driver": "json-file"}, "unknown log opt 'bogus' for json-file log driver"),
        ({"network_mode": "container:x", "dns": ("1.1.1.1",)}, "conflicting options: dns and the network mode"),
        ({"network_mode": "container:x", "port_bindings": (PortBinding(container_port=1),)},
         "conflicting options: port publishing and the container type network mode"),
    ],
)  # fmt: skip
def test_a_host_config_that_cannot_be_is_refused(host: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ClusterError, match=re.escape(sentence)):
        container_checks.check(Config(image="i"), HostConfig(**host), NODE)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"working_dir": "relative"}, "the working directory 'relative' is invalid, it needs to be an absolute path"),
        ({"stop_signal": "NOSUCH"}, "Invalid signal: NOSUCH"),
        ({"health": HealthCheck(("CMD", "x"), interval_ns=1000)}, "Interval in Healthcheck cannot be less than 1ms"),
    ],
)
def test_a_config_that_cannot_be_is_refused(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(sentence)):
        container_checks.check(msgspec.structs.replace(Config(image="i"), **config), HostConfig(), NODE)


def test_search_domains_go_with_another_containers_network() -> None:
    """Its servers only are what may not be given: they are in the other one's file."""
    container_checks.check(Config(image="i"), HostConfig(network_mode="container:x", dns_search=("a.b",), dns_options=("rotate",)), NODE)


def test_a_domain_name_needs_a_uts_namespace_of_its_own() -> None:
    container_checks.check_start(Config(image="i", domainname="a.b"), HostConfig())
    with pytest.raises(ClusterError, match="is not in a separate kernel namespace"):
        container_checks.check_start(Config(image="i", domainname="a.b"), HostConfig(uts_mode="host"))


def test_security_options() -> None:
    found = security_options.parse(("no-new-privileges", "seccomp=unconfined", "label=disable", "apparmor=unconfined"))
    assert (found.no_new_privileges, found.seccomp) == (True, "unconfined")
    assert not security_options.parse(("no-new-privileges:false",)).no_new_privileges
    for option, sentence in (("bogus=1", 'invalid --security-opt 2: "bogus=1"'), ("apparmor=p", "AppArmor profiles are not served")):
        with pytest.raises(InvalidArgument, match=re.escape(sentence)):
            security_options.parse((option,))
