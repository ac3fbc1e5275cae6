"""The cluster itself between the API's JSON and our values: ClusterSpec both ways, Swarm and ClusterInfo outwards. Pure.

Source: the Engine API's SwarmSpec and ClusterInfo, version 1.51; X.690 and RFC 5280 for the two fields of TLSInfo that are read from the root certificate.
"""

from __future__ import annotations

import base64
import ssl
from hashlib import sha256
from typing import Final

import msgspec

from agent.engine.convert import Json, filled, mapping, meta_json
from agent.engine.fields import Fields
from cluster.model.objects import Cluster, Node
from cluster.model.specs import ClusterSpec

DEFAULT_POOL: Final = ("10.0.0.0/8",)
"""As in Docker, a swarm that was given none shows none."""

_EXPLICIT_VERSION: Final = 0xA0


def cluster_spec_of(fields: Fields, base: ClusterSpec) -> ClusterSpec:
    """`base` with what the request gives: zero and absent keep the base's value, as moby's MergeSwarmSpecToGRPC does."""
    raft, orchestration, authority = fields.section("Raft"), fields.section("Orchestration"), fields.section("CAConfig")
    log = fields.section("TaskDefaults").section("LogDriver")
    history, keep = orchestration.optional_integer("TaskHistoryRetentionLimit"), raft.optional_natural("KeepOldSnapshots")
    autolock = fields.section("EncryptionConfig").optional_flag("AutoLockManagers")
    return msgspec.structs.replace(
        base,
        name=fields.text("Name") or base.name,
        labels=fields.pairs("Labels") if fields.has("Labels") else base.labels,
        task_history_limit=base.task_history_limit if history is None else history,
        snapshot_interval=raft.natural("SnapshotInterval") or base.snapshot_interval,
        keep_old_snapshots=base.keep_old_snapshots if keep is None else keep,
        log_entries_for_slow_followers=raft.natural("LogEntriesForSlowFollowers") or base.log_entries_for_slow_followers,
        heartbeat_tick=raft.natural("HeartbeatTick") or base.heartbeat_tick,
        election_tick=raft.natural("ElectionTick") or base.election_tick,
        dispatcher_heartbeat_ns=fields.section("Dispatcher").integer("HeartbeatPeriod") or base.dispatcher_heartbeat_ns,
        node_cert_expiry_ns=authority.integer("NodeCertExpiry") or base.node_cert_expiry_ns,
        autolock=base.autolock if autolock is None else autolock,
        force_rotate=authority.natural("ForceRotate") or base.force_rotate,
        log_driver=log.text("Name"),
        log_options=log.pairs("Options"),
    )


def cluster_spec_json(spec: ClusterSpec) -> Json:
    log = filled({"Name": spec.log_driver, "Options": mapping(spec.log_options)})
    return {
        "Name": spec.name,
        "Labels": mapping(spec.labels),
        "Orchestration": {"TaskHistoryRetentionLimit": spec.task_history_limit},
        "Raft": {
            "SnapshotInterval": spec.snapshot_interval,
            "KeepOldSnapshots": spec.keep_old_snapshots,
            "LogEntriesForSlowFollowers": spec.log_entries_for_slow_followers,
            "ElectionTick": spec.election_tick,
            "HeartbeatTick": spec.heartbeat_tick,
        },
        "Dispatcher": {"HeartbeatPeriod": spec.dispatcher_heartbeat_ns},
        "CAConfig": {"NodeCertExpiry": spec.node_cert_expiry_ns} | filled({"ForceRotate": spec.force_rotate}),
        "TaskDefaults": {"LogDriver": log} if log else {},
        "EncryptionConfig": {"AutoLockManagers": spec.autolock},
    }


def cluster_info_json(cluster: Cluster) -> Json:
    return (
        {"ID": cluster.id}
        | meta_json(cluster.meta)
        | {
            "Spec": cluster_spec_json(cluster.spec),
            "TLSInfo": tls_info_json(cluster.root_ca_pem, issuer_pem=cluster.rotation.root_ca_pem if cluster.rotation is not None else ""),
            "RootRotationInProgress": cluster.rotation is not None,
            "DefaultAddrPool": None if cluster.default_address_pool == DEFAULT_POOL else list(cluster.default_address_pool),
            "SubnetSize": cluster.subnet_size,
            "DataPathPort": cluster.data_path_port,
        }
    )


def swarm_json(cluster: Cluster) -> Json:
    """`GET /swarm`: with the join tokens, never with a key."""
    return cluster_info_json(cluster) | {"JoinTokens": {"Worker": cluster.join_tokens.worker, "Manager": cluster.join_tokens.manager}}


def node_tls_json(node: Node, cluster: Cluster) -> Json:
    """What the node uses, as far as it has said so; of one that trusts an older root, which nobody keeps, no root is shown."""
    used, rotation = node.tls, cluster.rotation
    if used is None or not cluster.root_ca_pem:
        return tls_info_json(cluster.root_ca_pem)
    new = rotation is not None and used.issuer == rotation.issuer
    info = tls_info_json(cluster.root_ca_pem, issuer_pem=rotation.root_ca_pem if rotation is not None and new else "")
    trusts = used.root == sha256(ssl.PEM_cert_to_DER_cert(cluster.root_ca_pem)).hexdigest()
    return info if trusts else info | {"TrustRoot": ""}


def tls_info_json(root_ca_pem: str, *, issuer_pem: str = "") -> Json:
    """Empty where there is no root certificate yet. `issuer_pem`: who signs certificates, where that is another one."""
    if not root_ca_pem:
        return {}
    subject, public_key = _subject_and_key(ssl.PEM_cert_to_DER_cert(issuer_pem or root_ca_pem))
    return {
        "TrustRoot": root_ca_pem,
        "CertIssuerSubject": base64.b64encode(subject).decode(),
        "CertIssuerPublicKey": base64.b64encode(public_key).decode(),
    }


def _subject_and_key(certificate: bytes) -> tuple[bytes, bytes]:
    """The DER of a certificate's subject and of its SubjectPublicKeyInfo (RFC 5280, 4.1)."""
    start, _ = _content(certificate, 0)  # Certificate
    position, _ = _content(certificate, start)  # TBSCertificate
    fields: list[bytes] = []
    while len(fields) < 6:  # serial, signature, issuer, validity, subject, key
        _, end = _content(certificate, position)
        if certificate[position] != _EXPLICIT_VERSION:
            fields.append(certificate[position:end])
        position = end
    return fields[4], fields[5]


def _content(data: bytes, position: int) -> tuple[int, int]:
    """Where the content of the DER element at `position` begins and ends."""
    length, start = data[position + 1], position + 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    return start, start + length
