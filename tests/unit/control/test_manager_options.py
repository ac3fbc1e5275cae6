"""What a manager may be started with, and the identity that it keeps."""

from __future__ import annotations

import datetime as dt
import stat
from pathlib import Path
from random import Random

import msgspec
import pytest

from cluster.identity import certificates, keys, tokens
from cluster.identity.folder import Credentials
from cluster.model.changes import Op
from cluster.model.errors import FailedPrecondition, InvalidArgument
from cluster.model.objects import Cluster, Network, Node
from cluster.model.specs import Availability, ClusterSpec, Role
from manager import identity_files
from manager.bootstrap import first_state
from manager.identity_files import Identity
from manager.options import BootstrapOptions, Options, check, decode_bootstrap

WHERE = Path("nowhere")


def options(listen: str = "0.0.0.0:2377", advertise: str = "192.0.2.1:2377", **more: object) -> Options:
    wanted = msgspec.convert(more, BootstrapOptions)
    return Options(WHERE, WHERE, listen, advertise, 3, wanted)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"advertise": "0.0.0.0:2377"}, "advertise address must be a non-zero IP address"),
        ({"advertise": "nonsense:2377"}, "invalid advertise address nonsense:2377"),
        ({"advertise": "192.0.2.1"}, "invalid address '192.0.2.1'"),
        ({"default_address_pool": ["10.0.0.0/26"]}, "Subnet size is too small for pool: 24"),
        ({"default_address_pool": ["10.0.0.0/8"], "subnet_size": 30}, "Subnet size is too small for pool: 30"),
        ({"data_path_port": 80}, "invalid dataPathPort value: Datapath port 80"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        check(options(**given))  # type: ignore[arg-type]


def test_options_come_as_json_with_the_spec_as_an_array() -> None:
    spec = ClusterSpec(task_history_limit=2)
    data = msgspec.json.encode({"hostname": "one", "cluster_spec": spec, "availability": "drain", "subnet_size": 0})
    assert decode_bootstrap(data) == BootstrapOptions(hostname="one", cluster_spec=spec, availability=Availability.DRAIN)
    with pytest.raises(InvalidArgument, match="invalid bootstrap options"):
        decode_bootstrap(b'{"availability": "nonsense"}')


def test_the_first_state_is_a_cluster_a_manager_and_the_ingress_network() -> None:
    asked = options(hostname="one", default_address_pool=["10.20.0.0/16"], data_path_port=4790)
    assert asked.bootstrap is not None
    changes, identity, credentials = first_state(asked, asked.bootstrap, 1_700_000_000_000_000_000, Random(1))
    cluster, node, network = (c.after for c in changes)
    assert {c.op for c in changes} == {Op.CREATE}
    assert isinstance(cluster, Cluster)
    assert isinstance(node, Node)
    assert isinstance(network, Network)
    pools = (cluster.default_address_pool, cluster.subnet_size, cluster.data_path_port)
    assert pools == (("10.20.0.0/16",), 24, 4790)
    assert network.spec.ingress
    assert (identity.node_id, identity.cluster_id) == (node.id, cluster.id)
    assert certificates.subject_of(credentials.certificate_pem).node_id == node.id
    digest = certificates.root_digest(credentials.root_pem)
    assert tokens.parse(cluster.join_tokens.worker).digest == digest
    assert cluster.join_tokens.worker != cluster.join_tokens.manager


def test_an_identity_is_valid_with_its_last_file(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    identity = Identity(node_id="n", cluster_id="c", managers=("192.0.2.1:2377",))
    now = dt.datetime.now(dt.UTC)
    (root_pem, root_key), key_pem = certificates.new_root(now), keys.new_key()
    csr = certificates.make_csr(key_pem)
    certificate_pem = certificates.issue(root_pem, root_key, csr, "n", Role.MANAGER, "c", now, dt.timedelta(days=1))
    credentials = Credentials(certificate_pem, key_pem, root_pem)
    assert not identity_files.is_member(folder)
    identity_files.save(folder, identity, credentials)
    assert identity_files.is_member(folder)
    assert (identity_files.load(folder), identity_files.credentials(folder)) == (identity, credentials)
    assert stat.S_IMODE((folder / "node.key").stat().st_mode) == 0o600
    (folder / "identity.json").unlink()
    assert not identity_files.is_member(folder)
    with pytest.raises(FailedPrecondition, match="this node is in no swarm"):
        identity_files.load(folder)


def test_a_node_that_was_leaving_is_no_member(tmp_path: Path) -> None:
    identity_files.save(tmp_path, Identity(node_id="n", cluster_id="c", left=True), Credentials("", "", ""))
    assert not identity_files.is_member(tmp_path)
