"""`festoon swarm …`: init, join, join-token, leave, update. The lock is swarm_lock.py's, the root swarm_ca.py's."""

from __future__ import annotations

from typing import Any, Final

from cli import service_fields
from cli.address_flags import LISTEN_ADDRESS, SUBNETS
from cli.api import Api
from cli.commands.swarm_lock import show_key
from cli.failures import CliFailure
from cli.flags import DURATION, EXTERNAL_CA, INT, UINT, UINT32, FlagType, option, options, switch
from cli.usage import Group, HelpWanted, command
from cluster.model import reserved_labels

NO_EXTERNAL_CA: Final = "external certificate authorities are not supported: Festoon's managers sign certificates themselves"
DATA_PATH_PORT_HELP: Final = "Port number to use for data path traffic (1024 - 49151). If no value is set or is set to 0, the default port (4789) is used."
DEFAULT_LISTEN: Final = "0.0.0.0:2377"
LABEL: Final = FlagType("list", service_fields.parse_label)
_HOURS_NS: Final = 3600 * 10**9

swarm = Group(
    "swarm",
    summary="Manage Swarm",
    lazy={
        "ca": ("cli.commands.swarm_ca:ca", "Display and rotate the root CA"),
        "init": ("cli.commands.swarm:init", "Initialize a swarm"),
        "join": ("cli.commands.swarm:join", "Join a swarm as a node and/or manager"),
        "join-token": ("cli.commands.swarm:join_token", "Manage join tokens"),
        "leave": ("cli.commands.swarm:leave", "Leave the swarm"),
        "unlock": ("cli.commands.swarm_lock:unlock", "Unlock swarm"),
        "unlock-key": ("cli.commands.swarm_lock:unlock_key", "Manage the unlock key"),
        "update": ("cli.commands.swarm:update", "Update the swarm"),
    },
)


@command("init", summary="Initialize a swarm")
@option("--advertise-addr", help='Advertised address (format: "<ip|interface>[:port]")', default="")
@switch("--autolock", help="Enable manager autolocking (requiring an unlock key to start a stopped manager)")
@option("--availability", help='Availability of the node ("active", "pause", "drain")', default="active")
@option("--cert-expiry", help="Validity period for node certificates (ns|us|ms|s|m|h) (default 2160h0m0s)", type=DURATION)
@option("--data-path-addr", help='Address or interface to use for data path traffic (format: "<ip|interface>")', default="")
@option("--data-path-port", help=DATA_PATH_PORT_HELP, type=UINT32, default=0)
@options("--default-addr-pool", help="default address pool in CIDR format (default [])", type=SUBNETS)
@option("--default-addr-pool-mask-length", help="default address pool subnet mask length", type=UINT32, default=24)
@option("--dispatcher-heartbeat", help="Dispatcher heartbeat period (ns|us|ms|s|m|h) (default 5s)", type=DURATION)
@options("--external-ca", help="Specifications of one or more certificate signing endpoints", type=EXTERNAL_CA)
@switch("--force-new-cluster", help="Force create a new cluster from current state")
@option("--listen-addr", help='Listen address (format: "<ip|interface>[:port]") (default 0.0.0.0:2377)', type=LISTEN_ADDRESS, default=DEFAULT_LISTEN)
@option("--max-snapshots", help="Number of additional Raft snapshots to retain", type=UINT)
@option("--snapshot-interval", help="Number of log entries between Raft snapshots (default 10000)", type=UINT)
@option("--task-history-limit", help="Task history retention limit (default 5)", type=INT)
def init(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    _refuse_external(flags)
    body: dict[str, Any] = {
        "ListenAddr": flags["listen_addr"],
        "AdvertiseAddr": flags["advertise_addr"],
        "DataPathAddr": flags["data_path_addr"],
        "DataPathPort": flags["data_path_port"],
        "ForceNewCluster": bool(flags["force_new_cluster"]),
        "Spec": _spec(flags, _defaults()),
        "AutoLockManagers": bool(flags["autolock"]),
        "Availability": _availability(flags["availability"]),
        "DefaultAddrPool": [one.strip() for text in flags["default_addr_pool"] for one in text.split(",")],
        "SubnetSize": flags["default_addr_pool_mask_length"],
    }
    try:
        node_id = api.post("/swarm/init", body)
    except CliFailure as e:
        if "could not choose an IP address to advertise" in e.message:
            raise CliFailure(f"{e.message} - specify one with --advertise-addr") from e
        raise
    print(f"Swarm initialized: current node ({node_id}) is now a manager.\n")
    _print_join(api, str(node_id), "worker", hint=True)
    if flags["autolock"]:
        show_key(api)
    return 0


@command("join", "HOST:PORT", summary="Join a swarm as a node and/or manager", least=1, most=1)
@option("--advertise-addr", help='Advertised address (format: "<ip|interface>[:port]")', default="")
@option("--availability", help='Availability of the node ("active", "pause", "drain")', default="active")
@option("--data-path-addr", help='Address or interface to use for data path traffic (format: "<ip|interface>")', default="")
@options("--label", help="Labels that the node begins with (key=value)", type=LABEL)
@option("--listen-addr", help='Listen address (format: "<ip|interface>[:port]") (default 0.0.0.0:2377)', type=LISTEN_ADDRESS, default=DEFAULT_LISTEN)
@option("--token", help="Token for entry into the swarm", default="")
def join(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    api.post(
        "/swarm/join",
        {
            "ListenAddr": flags["listen_addr"],
            "AdvertiseAddr": flags["advertise_addr"],
            "DataPathAddr": flags["data_path_addr"],
            "RemoteAddrs": [arguments[0]],
            "JoinToken": flags["token"],
            "Availability": _availability(flags["availability"]),
            **({"Labels": service_fields.pairs(flags["label"])} if flags["label"] else {}),
        },
    )
    manager = api.get("/info").get("Swarm", {}).get("ControlAvailable")
    print(f"This node joined a swarm as a {'manager' if manager else 'worker'}.")
    return 0


@command("join-token", "(worker|manager)", summary="Manage join tokens", least=1, most=1)
@switch("--quiet", "-q", help="Only display token")
@switch("--rotate", help="Rotate join token")
def join_token(api: Api, arguments: tuple[str, ...], quiet: bool | None, rotate: bool | None) -> int:
    role = arguments[0]
    if role not in {"worker", "manager"}:
        raise CliFailure(f"unknown role {role}")
    if rotate:
        found = api.get("/swarm")
        which: dict[str, Any] = {"rotateWorkerToken" if role == "worker" else "rotateManagerToken": "true"}
        api.post("/swarm/update", found["Spec"], version=found["Version"]["Index"], **which)
        if not quiet:
            print(f"Successfully rotated {role} join token.\n")
    if quiet:
        print(api.get("/swarm")["JoinTokens"][role.capitalize()])
        return 0
    node_id = api.get("/info").get("Swarm", {}).get("NodeID", "")
    _print_join(api, node_id, role)
    return 0


@command("leave", summary="Leave the swarm")
@switch("--force", "-f", help="Force this node to leave the swarm, ignoring warnings")
def leave(api: Api, arguments: tuple[str, ...], force: bool | None) -> int:
    api.post("/swarm/leave", force=bool(force))
    print("Node left the swarm.")
    return 0


@command("update", summary="Update the swarm")
@switch("--autolock", help="Change manager autolocking setting (true|false)")
@option("--cert-grace", help="How long after its expiry a node's certificate can still be renewed, 0 for not at all (ns|us|ms|s|m|h)", type=DURATION)
@option("--cert-expiry", help="Validity period for node certificates (ns|us|ms|s|m|h) (default 2160h0m0s)", type=DURATION)
@option("--dispatcher-heartbeat", help="Dispatcher heartbeat period (ns|us|ms|s|m|h) (default 5s)", type=DURATION)
@options("--external-ca", help="Specifications of one or more certificate signing endpoints", type=EXTERNAL_CA)
@option("--max-snapshots", help="Number of additional Raft snapshots to retain", type=UINT)
@option("--snapshot-interval", help="Number of log entries between Raft snapshots (default 10000)", type=UINT)
@option("--task-history-limit", help="Task history retention limit (default 5)", type=INT)
def update(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    _refuse_external(flags)
    if all(value is None or value == () for value in flags.values()):
        raise HelpWanted
    found = api.get("/swarm")
    locked_before = found["Spec"]["EncryptionConfig"]["AutoLockManagers"]
    spec = _spec(flags, found["Spec"])
    api.post("/swarm/update", spec, version=found["Version"]["Index"])
    print("Swarm updated.")
    if spec["EncryptionConfig"]["AutoLockManagers"] and not locked_before:
        show_key(api)
    return 0


def _print_join(api: Api, node_id: str, role: str, *, hint: bool = False) -> None:
    token = api.get("/swarm")["JoinTokens"][role.capitalize()]
    address = (api.get(f"/nodes/{node_id}").get("ManagerStatus") or {}).get("Addr", "")
    print(f"To add a {role} to this swarm, run the following command:\n")
    print(f"    {api.program} swarm join --token {token} {address}\n")
    if hint:
        print(f"To add a manager to this swarm, run '{api.program} swarm join-token manager' and follow the instructions.")


def _refuse_external(flags: dict[str, Any]) -> None:
    if flags["external_ca"]:
        raise CliFailure(NO_EXTERNAL_CA)


def _availability(text: str) -> str:
    if text.lower() not in {"active", "pause", "drain"}:
        raise CliFailure(f'invalid availability "{text}", only active, pause and drain are supported')
    return text.lower()


def _defaults() -> dict[str, Any]:
    return {
        "Labels": None,
        "Orchestration": {"TaskHistoryRetentionLimit": 5},
        "Raft": {"SnapshotInterval": 10000, "KeepOldSnapshots": 0, "ElectionTick": 0, "HeartbeatTick": 0},
        "Dispatcher": {"HeartbeatPeriod": 5 * 10**9},
        "CAConfig": {"NodeCertExpiry": 2160 * _HOURS_NS},
        "EncryptionConfig": {"AutoLockManagers": False},
    }


def _grace_s(grace_ns: int) -> int:
    """The label that keeps it knows whole seconds, and 0 turns it off: less than one must not come to that by chance."""
    seconds = grace_ns // 10**9
    if not (grace_ns == 0 or 1 <= seconds <= reserved_labels.MAX_CERT_GRACE_S):
        raise CliFailure(f"invalid --cert-grace: must be 0, or from 1s to {reserved_labels.MAX_CERT_GRACE_S // 3600}h")
    return seconds


def _spec(flags: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """The cluster's spec with the flags that were given."""
    for flag, section, name in (
        ("task_history_limit", "Orchestration", "TaskHistoryRetentionLimit"),
        ("dispatcher_heartbeat", "Dispatcher", "HeartbeatPeriod"),
        ("cert_expiry", "CAConfig", "NodeCertExpiry"),
        ("snapshot_interval", "Raft", "SnapshotInterval"),
        ("max_snapshots", "Raft", "KeepOldSnapshots"),
        ("autolock", "EncryptionConfig", "AutoLockManagers"),
    ):
        if flags.get(flag) is not None:
            spec.setdefault(section, {})[name] = flags[flag]
    if flags.get("cert_grace") is not None:
        spec["Labels"] = {**(spec.get("Labels") or {}), reserved_labels.CERT_GRACE: str(_grace_s(flags["cert_grace"]))}
    return spec
