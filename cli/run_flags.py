"""The flags that `run` and `create` share, and those of `run` alone: a table that decorates a command. Owns names, types and help texts (docker/cli's);
never interprets a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cli import run_fields as fields
from cli import service_fields
from cli.flags import BYTES, DECIMAL, DURATION, INT, MAP, UINT, UINT16, Decorator, FlagType, option, options, switch
from cli.mount_fields import parse_mount
from cli.run_networks import parse_network

DEVICE_RULE: Final = FlagType("list", fields.parse_device_rule)
THROTTLE: Final = FlagType("list", fields.parse_throttle)
OPERATIONS: Final = FlagType("list", fields.parse_operations)
SWAP: Final = FlagType("bytes", fields.parse_swap)
HOST: Final = FlagType("list", fields.parse_extra_host)
ENVIRONMENT: Final = FlagType("list", service_fields.parse_environment)
LABEL: Final = FlagType("list", service_fields.parse_label)
SYSCTL: Final = FlagType("map", fields.parse_sysctl, shown_default="map[]")
DOMAIN: Final = FlagType("list", fields.parse_domain)
LINK: Final = FlagType("list", fields.parse_link)
NETWORK: Final = FlagType("network", parse_network)
STREAM: Final = FlagType("list", fields.parse_attach)
ADDRESS: Final = FlagType("list", service_fields.parse_address)
MOUNT: Final = FlagType("mount", parse_mount)
WEIGHT: Final = FlagType("list", fields.parse_weight)
GPUS: Final = FlagType("gpu-request", fields.parse_gpus)
ULIMIT: Final = FlagType("ulimit", service_fields.parse_ulimit)
CGROUPNS_HELP: Final = (
    "Cgroup namespace to use (host|private)\n"
    "'host':    Run the container in the Docker host's cgroup namespace\n"
    "'private': Run the container in its own private cgroup namespace\n"
    "'':        Use the cgroup namespace as configured by the\n"
    "           default-cgroupns-mode option on the daemon (default)"
)

SHARED: Final[tuple[Decorator, ...]] = (
    options("--add-host", help="Add a custom host-to-IP mapping (host:ip)", type=HOST),
    options("--annotation", help="Add an annotation to the container (passed through to the OCI runtime)", type=MAP, since="1.43"),
    options("--attach", "-a", help="Attach to STDIN, STDOUT or STDERR", type=STREAM),
    options("--blkio-weight-device", help="Block IO weight (relative device weight) (default [])", type=WEIGHT),
    option("--blkio-weight", help="Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)", type=UINT16),
    options("--cap-add", help="Add Linux capabilities"),
    options("--cap-drop", help="Drop Linux capabilities"),
    option("--cgroup-parent", help="Optional parent cgroup for the container", default=""),
    option("--cgroupns", help=CGROUPNS_HELP, default=""),
    option("--cidfile", help="Write the container ID to the file", default=""),
    option("--cpu-count", help="CPU count (Windows only)", type=INT),
    option("--cpu-percent", help="CPU percent (Windows only)", type=INT),
    option("--cpu-period", help="Limit CPU CFS (Completely Fair Scheduler) period", type=INT),
    option("--cpu-quota", help="Limit CPU CFS (Completely Fair Scheduler) quota", type=INT),
    option("--cpu-rt-period", help="Limit CPU real-time period in microseconds", type=INT),
    option("--cpu-rt-runtime", help="Limit CPU real-time runtime in microseconds", type=INT),
    option("--cpu-shares", "-c", help="CPU shares (relative weight)", type=INT),
    option("--cpus", help="Number of CPUs", type=DECIMAL),
    option("--cpuset-cpus", help="CPUs in which to allow execution (0-3, 0,1)", default=""),
    option("--cpuset-mems", help="MEMs in which to allow execution (0-3, 0,1)", default=""),
    options("--device", help="Add a host device to the container"),
    options("--device-cgroup-rule", help="Add a rule to the cgroup allowed devices list", type=DEVICE_RULE),
    options("--device-read-bps", help="Limit read rate (bytes per second) from a device (default [])", type=THROTTLE),
    options("--device-read-iops", help="Limit read rate (IO per second) from a device (default [])", type=OPERATIONS),
    options("--device-write-bps", help="Limit write rate (bytes per second) to a device (default [])", type=THROTTLE),
    options("--device-write-iops", help="Limit write rate (IO per second) to a device (default [])", type=OPERATIONS),
    switch("--disable-content-trust", help="Skip image verification (default true)"),
    options("--dns", help="Set custom DNS servers", type=ADDRESS),
    options("--dns-option", "--dns-opt", help="Set DNS options"),
    options("--dns-search", help="Set custom DNS search domains", type=DOMAIN),
    option("--domainname", help="Container NIS domain name", default=""),
    option("--entrypoint", help="Overwrite the default ENTRYPOINT of the image"),
    options("--env", "-e", help="Set environment variables", type=ENVIRONMENT),
    options("--env-file", help="Read in a file of environment variables"),
    options("--expose", help="Expose a port or a range of ports"),
    option("--gpus", help="GPU devices to add to the container ('all' to pass all GPUs)", type=GPUS),
    options("--group-add", help="Add additional groups to join"),
    option("--health-cmd", help="Command to run to check health"),
    option("--health-interval", help="Time between running the check (ms|s|m|h) (default 0s)", type=DURATION),
    option("--health-retries", help="Consecutive failures needed to report unhealthy", type=INT),
    option("--health-start-interval", help="Time between running the check during the start period (ms|s|m|h) (default 0s)", type=DURATION, since="1.44"),
    option("--health-start-period", type=DURATION,
           help="Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)"),
    option("--health-timeout", help="Maximum time to allow one check to run (ms|s|m|h) (default 0s)", type=DURATION),
    option("--hostname", "-h", help="Container host name", default=""),
    switch("--init", help="Run an init inside the container that forwards signals and reaps processes"),
    switch("--interactive", "-i", help="Keep STDIN open even if not attached"),
    option("--io-maxbandwidth", help="Maximum IO bandwidth limit for the system drive (Windows only)", type=BYTES),
    option("--io-maxiops", help="Maximum IOps limit for the system drive (Windows only)", type=UINT),
    option("--isolation", help="Container isolation technology", default=""),
    option("--kernel-memory", help="Kernel memory limit", type=BYTES),
    option("--ip", help="IPv4 address (e.g., 172.30.100.104)", default=""),
    option("--ip6", help="IPv6 address (e.g., 2001:db8::33)", default=""),
    option("--ipc", help="IPC mode to use", default=""),
    options("--label", "-l", help="Set meta data on a container", type=LABEL),
    options("--label-file", help="Read in a line delimited file of labels"),
    option("--log-driver", help="Logging driver for the container", default=""),
    options("--log-opt", help="Log driver options"),
    option("--memory", "-m", help="Memory limit", type=BYTES),
    option("--memory-reservation", help="Memory soft limit", type=BYTES),
    option("--memory-swap", help="Swap limit equal to memory plus swap: '-1' to enable unlimited swap", type=SWAP),
    option("--memory-swappiness", help="Tune container memory swappiness (0 to 100) (default -1)", type=INT),
    options("--mount", help="Attach a filesystem mount to the container", type=MOUNT),
    option("--name", help="Assign a name to the container", default=""),
    options("--network", "--net", help="Connect a container to a network", type=NETWORK),
    options("--link", help="Add link to another container", type=LINK),
    options("--link-local-ip", help="Container IPv4/IPv6 link-local addresses"),
    option("--mac-address", help="Container MAC address (e.g., 92:d0:c6:0a:29:33)", default=""),
    options("--network-alias", "--net-alias", help="Add network-scoped alias for the container"),
    switch("--no-healthcheck", help="Disable any container-specified HEALTHCHECK"),
    switch("--oom-kill-disable", help="Disable OOM Killer"),
    option("--oom-score-adj", help="Tune host's OOM preferences (-1000 to 1000)", type=INT),
    option("--pid", help="PID namespace to use", default=""),
    option("--pids-limit", help="Tune container pids limit (set -1 for unlimited)", type=INT),
    option("--platform", help="Set platform if server is multi-platform capable", default=""),
    switch("--privileged", help="Give extended privileges to this container"),
    options("--publish", "-p", help="Publish a container's port(s) to the host"),
    switch("--publish-all", "-P", help="Publish all exposed ports to random ports"),
    switch("--quiet", "-q", help="Suppress the pull output"),
    switch("--read-only", help="Mount the container's root filesystem as read only"),
    option("--restart", help='Restart policy to apply when a container exits (default "no")'),
    switch("--rm", help="Automatically remove the container and its associated anonymous volumes when it exits"),
    option("--runtime", help="Runtime to use for this container", default=""),
    options("--security-opt", help="Security Options"),
    option("--shm-size", help="Size of /dev/shm", type=BYTES),
    option("--stop-signal", help="Signal to stop the container", default=""),
    option("--stop-timeout", help="Timeout (in seconds) to stop a container", type=INT),
    options("--storage-opt", help="Storage driver options for the container"),
    options("--sysctl", help="Sysctl options", type=SYSCTL),
    options("--tmpfs", help="Mount a tmpfs directory"),
    switch("--tty", "-t", help="Allocate a pseudo-TTY"),
    options("--ulimit", help="Ulimit options (default [])", type=ULIMIT),
    switch("--use-api-socket", help="Bind mount Docker API socket and required auth"),
    option("--user", "-u", help="Username or UID (format: <name|uid>[:<group|gid>])", default=""),
    option("--userns", help="User namespace to use", default=""),
    option("--uts", help="UTS namespace to use", default=""),
    options("--volume", "-v", help="Bind mount a volume"),
    option("--volume-driver", help="Optional volume driver for the container", default=""),
    options("--volumes-from", help="Mount volumes from the specified container(s)"),
    option("--workdir", "-w", help="Working directory inside the container", default=""),
)
CREATE: Final[tuple[Decorator, ...]] = (option("--pull", help='Pull image before creating ("always", "missing", "never")', default="missing"),)
RUN: Final[tuple[Decorator, ...]] = (
    option("--pull", help='Pull image before running ("always", "missing", "never")', default="missing"),
    switch("--detach", "-d", help="Run container in background and print container ID"),
    option("--detach-keys", help="Override the key sequence for detaching a container", default=""),
    switch("--sig-proxy", help="Proxy received signals to the process (default true)"),
)


def flags(*groups: tuple[Decorator, ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """All of them on one command."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for group in reversed(groups):
            for flag in reversed(group):
                function = flag(function)
        return function

    return decorate
