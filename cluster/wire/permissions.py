"""Who may call what on the managers' port: the table's word (cluster/wire/calls/table.py) against the role in a certificate. Pure."""

from __future__ import annotations

from typing import Final

from cluster.model.errors import PermissionDenied
from cluster.model.specs import Role
from cluster.wire.calls import Call, Caller

RENEWAL: Final = "ca.issue"
"""The one call for which a connection is good whose certificate may have expired."""


def authorize(contract: Call, role: Role | None, *, late: bool = False) -> None:
    """Return when a caller of this role (None: without a certificate) may make the call. `late`: over a connection on which
    expired certificates are taken. Raises PermissionDenied."""
    if late and contract.name != RENEWAL:
        raise PermissionDenied(f"{contract.name}: this connection is for the renewal of a certificate only")
    needed = contract.caller
    if needed is Caller.ANYONE:
        return
    if role is None:
        raise PermissionDenied(f"{contract.name}: a certificate of this cluster is needed")
    if needed is Caller.MANAGER and role is not Role.MANAGER:
        raise PermissionDenied(f"{contract.name}: only managers may call this, not a {role}")
