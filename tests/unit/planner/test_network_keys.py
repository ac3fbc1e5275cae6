"""The ring of keys for encrypted overlays: when there is one, when it turns, what it keeps."""

from __future__ import annotations

from random import SystemRandom

from cluster.model.ids import ClusterId, NetworkId
from cluster.model.objects import Cluster, Network
from cluster.model.specs import NetworkSpec
from manager.network_keys import KEY_BYTES, ROTATION_NS, turn

OPEN = Network(NetworkId("open"), NetworkSpec("open"))
SECRET = Network(NetworkId("secret"), NetworkSpec("secret", driver_opts=(("encrypted", ""),)))
NOW = 1_700_000_000_000_000_000


def turned(cluster: Cluster, now_ns: int) -> Cluster:
    changes, _ = turn(cluster, (SECRET,), now_ns, SystemRandom())
    (change,) = changes
    assert isinstance(change.after, Cluster)
    return change.after


def test_without_an_encrypted_network_there_are_no_keys() -> None:
    assert turn(Cluster(ClusterId("k")), (OPEN,), NOW, SystemRandom()) == ((), None)


def test_the_ring_turns_every_twelve_hours_and_keeps_three() -> None:
    cluster = turned(Cluster(ClusterId("k")), NOW)
    for step in range(1, 5):
        due = NOW + step * ROTATION_NS
        assert turn(cluster, (SECRET,), due - 1, SystemRandom()) == ((), due)
        cluster = turned(cluster, due)
    assert [key.tag for key in cluster.network_keys] == [5, 4, 3]
    assert len({key.secret for key in cluster.network_keys}) == 3
    assert all(len(key.secret) == KEY_BYTES for key in cluster.network_keys)
