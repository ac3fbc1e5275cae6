"""The flags that `service create` and `service update` share, and those of each alone: a table that decorates a
command.

Owns names, types and help texts (docker/cli's); never interprets a value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cli import dependency_fields, patience, run_fields
from cli import service_fields as fields
from cli.flags import BYTES, DECIMAL, DURATION, FLOAT, INT, POSITIVE_DURATION, UINT, Decorator, FlagType, option, options, switch
from cli.mount_fields import parse_mount

PORT: Final = FlagType("port", fields.parse_port)
REMOVED_PORT: Final = FlagType("port", fields.parse_removed_port)
MOUNT: Final = FlagType("mount", parse_mount)
NETWORK: Final = FlagType("network", fields.parse_network)
ENVIRONMENT: Final = FlagType("list", fields.parse_environment)
LABEL: Final = FlagType("list", fields.parse_label)
HOST: Final = FlagType("list", fields.parse_host)
ADDRESS: Final = FlagType("list", fields.parse_address)
ULIMIT: Final = FlagType("ulimit", fields.parse_ulimit)
DEVICE: Final = FlagType("list", run_fields.parse_device)
PREFERENCE: Final = FlagType("pref", fields.parse_preference)
COMMAND: Final = FlagType("command", fields.parse_words)
CREDENTIAL_SPEC: Final = FlagType("credential-spec", str)
SECRET: Final = FlagType("secret", dependency_fields.parse_secret)
CONFIG: Final = FlagType("config", dependency_fields.parse_config)
DOMAIN: Final = FlagType("list", run_fields.parse_domain)
RESOURCE: Final = FlagType("list", fields.parse_generic_resource)


def _policy(kind: str, verb: str, article: str, done: str, actions: str, defaults: bool) -> list[Decorator]:
    """The flags of an update or rollback policy. `defaults`: whether help names what Docker takes where nothing is said."""

    def default(text: str) -> str:
        return f" (default {text})" if defaults else ""

    action, order = default('"pause"'), default('"stop-first"')
    ratio = f"Failure rate to tolerate during {article} {kind}{default('0')}"
    monitor = f"Duration after each task {kind} to monitor for failure (ns|us|ms|s|m|h){default('5s')}"
    parallelism = f"Maximum number of tasks {done} simultaneously (0 to {verb} all at once){default('1')}"
    return [
        option(f"--{kind}-delay", help=f"Delay between {'updates' if kind == 'update' else 'task rollbacks'} (ns|us|ms|s|m|h){default('0s')}", type=DURATION),
        option(f"--{kind}-failure-action", help=f"Action on {kind} failure ({actions}){action}"),
        option(f"--{kind}-max-failure-ratio", help=ratio, type=FLOAT),
        option(f"--{kind}-monitor", help=monitor, type=DURATION),
        option(f"--{kind}-order", help=f'{kind.capitalize()} order ("start-first", "stop-first"){order}'),
        option(f"--{kind}-parallelism", help=parallelism, type=UINT),
    ]


def _policies(defaults: bool) -> tuple[Decorator, ...]:
    return (
        *_policy("rollback", "roll back", "a", "rolled back", '"pause", "continue"', defaults),
        *_policy("update", "update", "an", "updated", '"pause", "continue", "rollback"', defaults),
    )


SHARED: Final[tuple[Decorator, ...]] = (
    option("--credential-spec", help="Credential spec for managed service account (Windows only)", type=CREDENTIAL_SPEC),
    switch("--detach", "-d", help="Exit immediately instead of waiting for the service to converge"),
    switch("--dry-run", help="Show what would be placed where and what would be stopped, and change nothing"),
    option("--entrypoint", help="Overwrite the default ENTRYPOINT of the image", type=COMMAND),
    option("--health-cmd", help="Command to run to check health"),
    option("--health-interval", help="Time between running the check (ms|s|m|h)", type=POSITIVE_DURATION),
    option("--health-retries", help="Consecutive failures needed to report unhealthy", type=INT),
    option("--health-start-interval", help="Time between running the check during the start period (ms|s|m|h)", type=POSITIVE_DURATION, since="1.44"),
    option("--health-start-period", type=POSITIVE_DURATION,
           help="Start period for the container to initialize before counting retries towards unstable (ms|s|m|h)"),
    option("--health-timeout", help="Maximum time to allow one check to run (ms|s|m|h)", type=POSITIVE_DURATION),
    option("--hostname", help="Container hostname"),
    switch("--init", help="Use an init inside each service container to forward signals and reap processes"),
    option("--isolation", help="Service container isolation mode"),
    option("--limit-cpu", help="Limit CPUs", type=DECIMAL),
    option("--limit-memory", help="Limit Memory", type=BYTES),
    option("--limit-pids", help="Limit maximum number of processes (default 0 = unlimited)", type=INT),
    option("--log-driver", help="Logging driver for service"),
    options("--log-opt", help="Logging driver options", type=ENVIRONMENT),
    option("--max-concurrent", help="Number of job tasks to run concurrently (default equal to --replicas)", type=UINT),
    switch("--no-healthcheck", help="Disable any container-specified HEALTHCHECK"),
    switch("--no-resolve-image", help="Do not query the registry to resolve image digest and supported platforms"),
    option("--oom-score-adj", help="Tune host's OOM preferences (-1000 to 1000)", type=INT, since="1.46"),
    option("--placement-strategy", help="Use as many nodes as there are, or fill one after the other (spread, pack; label festoon.placement-strategy)"),
    option("--priority", help="Priority: tasks that fit nowhere evict those of lower ones (default 0; label festoon.priority)", type=INT),
    switch("--quiet", "-q", help="Suppress progress output"),
    option("--rebalance", help="Move tasks when nodes come, within the rules of updates (auto, off; label festoon.rebalance)"),
    switch("--read-only", help="Mount the container's root filesystem as read only"),
    switch("--privileged", help="Give extended privileges to the service's containers (label festoon.privileged)"),
    option("--replicas", help="Number of tasks", type=UINT),
    option("--replicas-max-per-node", help="Maximum number of tasks per node (default 0 = unlimited)", type=UINT),
    option("--reserve-cpu", help="Reserve CPUs", type=DECIMAL),
    option("--reserve-memory", help="Reserve Memory", type=BYTES),
    option("--restart-max-attempts", help="Maximum number of restarts before giving up", type=UINT),
    option("--restart-window", help="Window used to evaluate the restart policy (ns|us|ms|s|m|h)", type=DURATION),
    options("--security-opt", help="Security options: no-new-privileges, seccomp=unconfined|builtin|FILE, apparmor=unconfined"),
    option("--schedule", help="Run the job at these times, as in crontab and in UTC; of runs that were missed one is made up for (label festoon.schedule)"),
    option("--shm-size", help="Size of /dev/shm (label festoon.shm-size)", type=BYTES),
    option("--stop-signal", help="Signal to stop the container"),
    option("--timeout", help=patience.TIMEOUT_HELP, type=DURATION),
    switch("--tty", "-t", help="Allocate a pseudo-TTY"),
    option("--user", "-u", help="Username or UID (format: <name|uid>[:<group|gid>])"),
    option("--verify", help="How long tasks must stay up to count as converged", type=DURATION, default=10**9),
    switch("--wait", help=patience.HELP),
    switch("--with-registry-auth", help="Send registry authentication details to swarm agents"),
    option("--workdir", "-w", help="Working directory inside the container"),
)

CREATE: Final[tuple[Decorator, ...]] = (
    *_policies(defaults=True),
    option("--stop-grace-period", help="Time to wait before force killing a container (ns|us|ms|s|m|h) (default 10s)", type=DURATION),
    option("--restart-delay", help="Delay between restart attempts (ns|us|ms|s|m|h) (default 5s)", type=DURATION),
    option("--restart-condition", help='Restart when condition is met ("none", "on-failure", "any") (default "any")'),
    option("--endpoint-mode", help='Endpoint mode (vip or dnsrr) (default "vip")'),
    options("--generic-resource", help="User defined resources", type=RESOURCE),
    options("--cap-add", help="Add Linux capabilities"),
    options("--cap-drop", help="Drop Linux capabilities"),
    options("--config", help="Specify configurations to expose to the service", type=CONFIG),
    options("--constraint", help="Placement constraints"),
    options("--container-label", help="Container labels", type=LABEL),
    options("--device", help="Add a device of the node (label festoon.device.TARGET)", type=DEVICE),
    options("--device-cgroup-rule", help="Add a rule to the allowed devices (label festoon.device-cgroup-rule.N)"),
    options("--dns", help="Set custom DNS servers", type=ADDRESS),
    options("--dns-option", help="Set DNS options"),
    options("--dns-search", help="Set custom DNS search domains", type=DOMAIN),
    options("--env", "-e", help="Set environment variables", type=ENVIRONMENT),
    options("--env-file", help="Read in a file of environment variables"),
    options("--group", help="Set one or more supplementary user groups for the container"),
    options("--host", help="Set one or more custom host-to-IP mappings (host:ip)", type=HOST),
    options("--label", "-l", help="Service labels", type=LABEL),
    option("--mode", help='Service mode ("replicated", "global", "replicated-job", "global-job")', default="replicated"),
    options("--mount", help="Attach a filesystem mount to the service", type=MOUNT),
    option("--name", help="Service name", default=""),
    options("--network", help="Network attachments", type=NETWORK),
    options("--placement-pref", help="Add a placement preference", type=PREFERENCE),
    options("--publish", "-p", help="Publish a port as a node port", type=PORT),
    options("--secret", help="Specify secrets to expose to the service", type=SECRET),
    options("--sysctl", help="Sysctl options"),
    options("--ulimit", help="Ulimit options (default [])", type=ULIMIT),
)

UPDATE: Final[tuple[Decorator, ...]] = (
    *_policies(defaults=False),
    option("--stop-grace-period", help="Time to wait before force killing a container (ns|us|ms|s|m|h)", type=DURATION),
    option("--restart-delay", help="Delay between restart attempts (ns|us|ms|s|m|h)", type=DURATION),
    option("--restart-condition", help='Restart when condition is met ("none", "on-failure", "any")'),
    option("--endpoint-mode", help="Endpoint mode (vip or dnsrr)"),
    options("--generic-resource-add", help="Add a Generic resource", type=RESOURCE),
    options("--generic-resource-rm", help="Remove a Generic resource"),
    option("--args", help="Service command args", type=COMMAND),
    options("--cap-add", help="Add Linux capabilities"),
    options("--cap-drop", help="Drop Linux capabilities"),
    options("--config-add", help="Add or update a config file on a service", type=CONFIG),
    options("--config-rm", help="Remove a configuration file"),
    options("--constraint-add", help="Add or update a placement constraint"),
    options("--constraint-rm", help="Remove a constraint"),
    options("--container-label-add", help="Add or update a container label", type=LABEL),
    options("--container-label-rm", help="Remove a container label by its key"),
    options("--device-add", help="Add or update a device of the node", type=DEVICE),
    options("--device-rm", help="Remove a device by its path in the container"),
    options("--dns-add", help="Add or update a custom DNS server", type=ADDRESS),
    options("--dns-rm", help="Remove a custom DNS server"),
    options("--dns-option-add", help="Add or update a DNS option"),
    options("--dns-option-rm", help="Remove a DNS option"),
    options("--dns-search-add", help="Add or update a custom DNS search domain", type=DOMAIN),
    options("--dns-search-rm", help="Remove a DNS search domain"),
    options("--env-add", help="Add or update an environment variable"),
    options("--env-rm", help="Remove an environment variable"),
    switch("--force", help="Force update even if no changes require it"),
    options("--group-add", help="Add an additional supplementary user group to the container"),
    options("--group-rm", help="Remove a previously added supplementary user group from the container"),
    options("--host-add", help='Add a custom host-to-IP mapping ("host:ip")', type=HOST),
    options("--host-rm", help='Remove a custom host-to-IP mapping ("host:ip")'),
    option("--image", help="Service image tag"),
    options("--label-add", help="Add or update a service label", type=LABEL),
    options("--label-rm", help="Remove a label by its key"),
    options("--mount-add", help="Add or update a mount on a service", type=MOUNT),
    options("--mount-rm", help="Remove a mount by its target path"),
    options("--network-add", help="Add a network", type=NETWORK),
    options("--network-rm", help="Remove a network"),
    options("--placement-pref-add", help="Add a placement preference", type=PREFERENCE),
    options("--placement-pref-rm", help="Remove a placement preference", type=PREFERENCE),
    options("--publish-add", help="Add or update a published port", type=PORT),
    options("--publish-rm", help="Remove a published port by its target port", type=REMOVED_PORT),
    switch("--rollback", help="Rollback to previous specification"),
    options("--secret-add", help="Add or update a secret on a service", type=SECRET),
    options("--secret-rm", help="Remove a secret"),
    options("--sysctl-add", help="Add or update a Sysctl option"),
    options("--sysctl-rm", help="Remove a Sysctl option"),
    options("--ulimit-add", help="Add or update a ulimit option (default [])", type=ULIMIT),
    options("--ulimit-rm", help="Remove a ulimit option"),
)


def flagged(*tables: tuple[Decorator, ...]) -> Decorator:
    """A decorator that gives a function all flags of the tables."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for table in tables:
            for one in reversed(table):
                function = one(function)
        return function

    return decorate
