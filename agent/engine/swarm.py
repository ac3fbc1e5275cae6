"""`/swarm`: this node's way into a swarm and out of it, and the swarm's own settings."""

from __future__ import annotations

from typing import Final

from agent.engine import lookup
from agent.engine.answers import json_answer
from agent.engine.call import Call
from agent.engine.convert_nodes import availability_of
from agent.engine.convert_swarm import DEFAULT_POOL, cluster_spec_of, swarm_json
from agent.engine.fields import Fields
from agent.engine.services import version_of
from agent.entry import InitOptions, JoinOptions
from cluster.model.errors import InvalidArgument
from cluster.model.specs import ClusterSpec
from cluster.wire.calls import ClusterWrite
from cluster.wire.http import Response

LISTEN: Final = "0.0.0.0:2377"  # noqa: S104  Docker's default for --listen-addr
NO_EXTERNAL_CA: Final = "external certificate authorities are not supported: Festoon's managers sign certificates themselves"
DATA_PATH_PORT: Final = 4789
SUBNET_SIZE: Final = 24
CLUSTER_NAME: Final = ClusterSpec().name


async def inspect(call: Call) -> Response:
    return json_answer(swarm_json(await lookup.cluster(call.node)))


async def init(call: Call) -> Response:
    return json_answer(await call.node.swarm.init(init_options_of(await call.fields())))


def init_options_of(fields: Fields) -> InitOptions:
    """Pure. Raises InvalidArgument for what can't be; addresses and what Docker looks at after them are the membership's business."""
    base = ClusterSpec(autolock=fields.flag("AutoLockManagers"))
    return InitOptions(
        listen_address=_listen_address(fields),
        advertise_address=fields.text("AdvertiseAddr"),
        data_path_address=fields.text("DataPathAddr"),
        force_new_cluster=fields.flag("ForceNewCluster"),
        spec=cluster_spec_of(fields.section("Spec"), base),
        availability=availability_of(fields.text("Availability") or "active").value,
        default_address_pool=fields.strings("DefaultAddrPool") or DEFAULT_POOL,
        subnet_size=fields.natural("SubnetSize") or SUBNET_SIZE,
        data_path_port=fields.natural("DataPathPort") or DATA_PATH_PORT,
    )


def _listen_address(fields: Fields) -> str:
    """Every client names one. Raises InvalidArgument."""
    address = fields.text("ListenAddr")
    if not address:
        raise InvalidArgument('invalid ListenAddr "": invalid empty address')
    return address


async def join(call: Call) -> Response:
    fields = await call.fields()
    await call.node.swarm.join(
        JoinOptions(
            token=fields.text("JoinToken"),
            remote_addresses=fields.strings("RemoteAddrs"),
            listen_address=_listen_address(fields),
            advertise_address=fields.text("AdvertiseAddr"),
            data_path_address=fields.text("DataPathAddr"),
            availability=availability_of(fields.text("Availability") or "active").value,
            labels=fields.pairs("Labels"),
        )
    )
    return Response(200)


async def leave(call: Call) -> Response:
    await call.node.swarm.leave(force=call.flag("force"))
    return Response(200)


async def update(call: Call) -> Response:
    """What the request leaves out goes back to its default, as in Docker, whose clients send the whole; but for that the root would be exchanged."""
    fields = await call.fields()
    version = version_of(call, "swarm")
    worker, manager, key = (_rotates(call, name) for name in ("rotateWorkerToken", "rotateManagerToken", "rotateManagerUnlockKey"))
    cluster = await lookup.cluster(call.node)
    if fields.text("Name") not in ("", CLUSTER_NAME):
        raise InvalidArgument(f'swarm spec must be named "{CLUSTER_NAME}"')
    authority = fields.section("CAConfig")
    if authority.truthy("ExternalCAs"):
        raise InvalidArgument(NO_EXTERNAL_CA)
    request = ClusterWrite(
        version=version,
        spec=cluster_spec_of(fields, ClusterSpec(force_rotate=cluster.spec.force_rotate)),
        rotate_worker_token=worker,
        rotate_manager_token=manager,
        rotate_unlock_key=key,
        signing_ca_pem=authority.text("SigningCACert"),
        signing_key_pem=authority.text("SigningCAKey"),
    )
    await call.node.swarm.call("control.cluster_update", request)
    return Response(200)


def _rotates(call: Call, name: str) -> bool:
    """Raises InvalidArgument, which does not say why here."""
    try:
        return call.strict_flag(name)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid value for {name}: {call.text(name)}") from error


async def unlock_key(call: Call) -> Response:
    cluster = await lookup.cluster(call.node)
    return json_answer({"UnlockKey": cluster.unlock_key if cluster.spec.autolock else ""})


async def unlock(call: Call) -> Response:
    await call.node.swarm.unlock((await call.fields()).text("UnlockKey"))
    return Response(200)
