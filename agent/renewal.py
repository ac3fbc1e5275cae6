"""The renewal of this node's certificate while it runs: when it is due, and the asking.

Owns the timing and the one call (ca.issue), made over a connection of its own that names the renewal's protocol: managers take on
it a certificate that has expired, too. Whether that is forgiven is the authority's decision. The new certificate is on disk before
anybody uses it. A clock that jumps, as after a suspension, is noticed within LOOK_S, and at once when a manager refuses the session.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from time import time
from typing import Final

import trio

from agent.node_key import NodeKey
from cluster.identity import certificates
from cluster.identity.contexts import Contexts
from cluster.identity.sealed_key import KeySealed
from cluster.model.assignments import SessionState
from cluster.model.errors import ClusterError, PermissionDenied, Unavailable
from cluster.model.objects import NodeTls
from cluster.wire.calls import InUse, IssueCertificate, IssuedCertificate
from cluster.wire.peer import connect
from cluster.wire.redirect import ask_leader

EARLIEST: Final = 0.5
LATEST: Final = 0.8
"""Of a certificate's life, as in SwarmKit: nodes that joined together do not all come back together."""

LOOK_S: Final = 30.0
RETRY_FIRST_S: Final = 1.0
RETRY_LAST_S: Final = 60.0

log = logging.getLogger("festoon.renewal")


def due(certificate_pem: str, part: float) -> dt.datetime:
    """When a certificate is to be renewed whose life shall be used by this part (EARLIEST to LATEST). Raises InvalidArgument."""
    begin, end = certificates.validity(certificate_pem)
    issued = min(begin + certificates.BACKDATED, end)
    return issued + (end - issued) * part


class Renewal:
    """`addresses` says where managers are reached now, the leader first; `renewed` is told of every new certificate."""

    def __init__(self, where: NodeKey, contexts: Contexts, addresses: Callable[[], Sequence[str]], renewed: Callable[[], None]) -> None:
        self._where, self._contexts, self._addresses, self._renewed = where, contexts, addresses, renewed
        self._asked = trio.Event()
        self._told = trio.Event()  # something of `heed` is to be done, but for a renewal
        self._state: SessionState | None = None
        self._root_pem = ""  # what is to be trusted, where that has changed
        self._at = self._choose()

    def ask(self) -> None:
        """Renew now, whatever the present certificate's age: its role, its root or its expiry is not what it should be."""
        self._asked.set()

    @property
    def role(self) -> str:
        """What the present certificate says that this node is."""
        return certificates.subject_of(self._contexts.credentials.certificate_pem).role.value

    def heed(self, state: SessionState) -> None:
        """Renew now if the certificate is not what the managers say that it should be; trust what they say; tell them where they know
        otherwise."""
        self._state = state
        if state.role != self.role:
            self.ask()
        if state.issuer and state.issuer != self.in_use.issuer:
            self.ask()
        elif state.root_ca_pem and state.root_ca_pem != self._contexts.credentials.root_pem:
            self._root_pem = state.root_ca_pem
            self._told.set()
        else:
            self._tell_if_unknown()

    def _tell_if_unknown(self) -> None:
        known = self._state
        if known is not None and (known.issuer or known.tls is not None) and known.tls != self.in_use:
            self._told.set()

    @property
    def in_use(self) -> NodeTls:
        """Who signed the certificate, and what this node trusts."""
        known = self._contexts.credentials
        return NodeTls(certificates.issuer_id(known.certificate_pem), certificates.root_digest(known.root_pem).hex())

    def after_loss(self) -> None:
        """The session was lost or refused: an expired certificate may be why."""
        self.reread()
        if dt.datetime.now(dt.UTC) >= self._expiry():
            self.ask()

    def reread(self) -> None:
        """Somebody else may have renewed it: the node's own manager, when both slept past its expiry. While that is locked nobody has, and this process
        goes on with what it knows."""
        try:
            known = self._where.load()
        except KeySealed:
            return
        if known != self._contexts.credentials:
            self._contexts.take(known)
            self._at = self._choose()

    async def run(self) -> None:
        """Renew whenever it is due, and follow rotations of the root, for ever. Cancelled in the middle of a renewal, the next one begins where it was."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_root)
            await self._renew_when_due()

    async def _follow_root(self) -> None:
        """Trust what the managers say, and tell them what is in use here. What fails is said again by the next session."""
        while True:
            await self._told.wait()
            self._told = trio.Event()
            try:
                if root_pem := self._root_pem:
                    self._root_pem = ""
                    await self._trust(root_pem)
                await ask_leader(self._addresses(), self._say_in_use)
            except ClusterError as error:
                log.info("not told to the managers", extra={"fields": {"error": error.message}})

    async def _trust(self, root_pem: str) -> None:
        self._contexts.take(await trio.to_thread.run_sync(self._where.trust, root_pem))
        log.warning("the swarm has another root", extra={"fields": {"digest": self.in_use.root}})
        self._renewed()

    async def _say_in_use(self, address: str) -> None:
        async with connect(address, self._contexts.client) as peer:
            await peer.call("ca.in_use", InUse(self.in_use.root))

    async def _renew_when_due(self) -> None:
        delay = RETRY_FIRST_S
        while True:
            await self._wait()
            self._asked = trio.Event()
            try:
                await self._renew()
                delay = RETRY_FIRST_S
            except ClusterError as error:
                log.warning("the certificate could not be renewed", extra={"fields": {"error": error.message, "expires": str(self._expiry())}})
                self._asked.set()
                await trio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  jitter
                delay = min(delay * 2, RETRY_LAST_S)

    async def _wait(self) -> None:
        """Until a renewal is due or asked for, by the wall clock: trio's own stands still while a machine is suspended."""
        while not self._asked.is_set() and (left_s := self._at.timestamp() - time()) > 0:
            with trio.move_on_after(min(left_s, LOOK_S)):
                await self._asked.wait()

    async def _renew(self) -> None:
        key_pem = await trio.to_thread.run_sync(self._where.next_key)
        request = IssueCertificate(certificates.make_csr(key_pem))
        issued = await self._ask_managers(request)
        credentials = await trio.to_thread.run_sync(self._where.take, issued.certificate_pem, issued.root_ca_pem)
        self._contexts.take(credentials)
        self._at = self._choose()
        log.info("the certificate was renewed", extra={"fields": {"expires": str(self._expiry()), "role": issued.role}})
        self._renewed()
        self._tell_if_unknown()

    async def _ask_managers(self, request: IssueCertificate) -> IssuedCertificate:
        problem: ClusterError = Unavailable("no manager is known")
        for address in self._addresses():
            try:
                return await ask_leader([address], partial(self._ask, request))
            except (Unavailable, PermissionDenied) as error:
                problem = error
        raise problem

    async def _ask(self, request: IssueCertificate, address: str) -> IssuedCertificate:
        async with connect(address, self._contexts.renewal) as peer:
            issued: IssuedCertificate = await peer.call("ca.issue", request)
        return issued

    def _choose(self) -> dt.datetime:
        part = random.uniform(EARLIEST, LATEST)  # noqa: S311  spread, not secrecy
        return due(self._contexts.credentials.certificate_pem, part)

    def _expiry(self) -> dt.datetime:
        return certificates.validity(self._contexts.credentials.certificate_pem)[1]
