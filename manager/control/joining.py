"""A node's way in: which of the authority's two doors a request for a certificate takes. Pure.

A join token opens the first (a new node), the node's own certificate the second (renewal).
"""

from __future__ import annotations

from random import Random

from cluster.model.changes import Kind
from cluster.wire.calls import IssueCertificate
from manager.ca import authority
from manager.ca.authority import Issued
from manager.store import Store


def issue(store: Store, request: IssueCertificate, caller_id: str, shown_pem: str, now_ns: int, rng: Random) -> Issued:
    """The node's object with its new certificate. `caller_id`: the node that asks, by the certificate `shown_pem`; both empty
    when it has none.

    Raises what the authority raises.
    """
    cluster = store.all(Kind.CLUSTER)[0]
    if caller_id and not request.token:
        return authority.renew(cluster, store.get(Kind.NODE, caller_id), request, shown_pem, now_ns)
    return authority.join(cluster, request, now_ns, rng)
