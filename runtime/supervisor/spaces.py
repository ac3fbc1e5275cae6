"""Which namespaces a new container joins: other containers', the fabric's, and those of its own that must belong to its user namespace. Opens
them; whoever asked closes them."""

from __future__ import annotations

import os

from runtime.child.namespaces import CONTAINER_PREFIX, HOST, HOST_NETWORK, NO_OTHER, OWNED, new_namespaces
from runtime.errors import RuntimeFault, StartFailed
from runtime.kernel import constants as k
from runtime.kernel import userns
from runtime.spec import ContainerSpec, IdRange
from runtime.supervisor.context import Context
from runtime.supervisor.reaper import Process
from runtime.supervisor.spawn import close_all
from runtime.supervisor.states import Phase


def new_network(ids: IdRange) -> int:
    """A network namespace of a user namespace with these ids, for a container that is going to be wired. Raises OSError."""
    made = userns.new_user_namespace(_map(ids), _map(ids), k.CLONE_NEWNET)
    os.close(made[k.CLONE_NEWUSER])
    return made[k.CLONE_NEWNET]


def _map(ids: IdRange) -> userns.Mappings:
    return (userns.Mapping(0, ids.base, ids.count),)


def open_namespaces(context: Context, spec: ContainerSpec) -> dict[int, int]:
    """What the child joins, by CLONE_ flag: others' namespaces, and, with a user namespace, those of its own that belong to it. Raises OSError,
    StartFailed; nothing stays open then."""
    opened: dict[int, int] = {}
    try:
        if spec.network_namespace not in ("", HOST_NETWORK):
            opened[k.CLONE_NEWNET] = _open_network(context, spec)
        for flag, mode, what in ((k.CLONE_NEWIPC, spec.ipc_mode, "ipc"), (k.CLONE_NEWUTS, spec.uts_mode, "uts")):
            if mode not in NO_OTHER:
                opened[flag] = _open_other(context, mode, what)
        if spec.ids is not None:
            own = new_namespaces(spec) & OWNED
            joined = _user_of_others(context, spec, opened)
            if joined >= 0:
                opened[k.CLONE_NEWUSER] = joined
                opened |= userns.new_namespaces_in(joined, own) if own else {}
            else:
                opened |= userns.new_user_namespace(_map(spec.ids), _map(spec.ids), own)
    except (OSError, RuntimeFault):
        close_all(tuple(opened.values()))
        raise
    return opened


def _user_of_others(context: Context, spec: ContainerSpec, opened: dict[int, int]) -> int:
    """Who shares a network, a pid or an ipc namespace must share the user namespace that it belongs to; so must who gets a network made for it. -1:
    none is given. Raises StartFailed for one that belongs to the host."""
    others = [mode for mode in (spec.network_namespace.removeprefix(CONTAINER_PREFIX), spec.pid_mode, spec.ipc_mode) if mode in context.containers]
    if others:
        user = os.open(f"/proc/{_other(context, others[0], 'user').pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        if not userns.is_own(user):
            return user
        os.close(user)
        raise StartFailed(f"cannot share namespaces with container {others[0]}: it is not in a user namespace")
    if k.CLONE_NEWNET in opened:
        user = userns.owner_of(opened[k.CLONE_NEWNET])
        if not userns.is_own(user):
            return user
        os.close(user)
    return -1


def pid_namespace(context: Context, spec: ContainerSpec) -> int:
    """For spawn: what the child is born in; -1 a new one."""
    if spec.pid_mode in NO_OTHER:
        return context.home if spec.pid_mode == HOST else -1
    return _other(context, spec.pid_mode, "pid").pidfd


def _other(context: Context, container_id: str, what: str) -> Process:
    """The first process of a container whose namespace is joined. Raises StartFailed."""
    other = context.containers.get(container_id)
    if other is None or other.process is None or other.phase is not Phase.RUNNING:
        raise StartFailed(f"cannot join {what} namespace of a non running container: {container_id}")
    return other.process


def _open_other(context: Context, container_id: str, what: str) -> int:
    return os.dup(_other(context, container_id, what).pidfd)


def _open_network(context: Context, spec: ContainerSpec) -> int:
    if spec.network_namespace.startswith(CONTAINER_PREFIX):
        return _open_other(context, spec.network_namespace.removeprefix(CONTAINER_PREFIX), "network")
    try:
        return os.open(spec.network_namespace, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise StartFailed(f"the network namespace {spec.network_namespace} does not exist") from error
