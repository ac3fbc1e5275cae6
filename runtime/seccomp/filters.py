"""Filters ready to be loaded, compiled once for each policy that is asked for. Owns the compiled ones, a bounded number of them.

The policy itself is in profile.py, what users write in document.py, the assembler in bpf.py.
"""

from __future__ import annotations

import os

from runtime.child.capabilities import NAMES, mask_of
from runtime.child.faults import Refused
from runtime.seccomp.bpf import assemble
from runtime.seccomp.document import PROFILE_MAX_BYTES, asks_nothing, policy_of
from runtime.seccomp.numbers import NATIVE
from runtime.seccomp.profile import default_policy

DEFAULT = "default"
UNCONFINED = "unconfined"
KEPT_MAX = 64
"""Filters of about 4 KB each."""


class Filters:
    """`machine`: as uname(2) names it. `last_capability`: the kernel's."""

    def __init__(self, machine: str, last_capability: int, kernel: tuple[int, int]) -> None:
        self._native = NATIVE.get(machine, ())
        self._machine = machine
        self._last = last_capability
        self._kernel = kernel
        self._compiled: dict[tuple[str, int], bytes] = {}

    def prepare(self, capabilities: tuple[str, ...]) -> None:
        """Compiles the default policy for what most containers have (3 ms)."""
        if self._native:
            self.find(DEFAULT, capabilities, False)

    def find(self, seccomp: str, capabilities: tuple[str, ...], privileged: bool) -> bytes:
        """The filter of a container, empty for none: unconfined, or privileged without a profile of its own (as Docker). Raises Refused."""
        if seccomp == UNCONFINED or (privileged and seccomp == DEFAULT):
            return b""
        mask = mask_of(("ALL",) if privileged else capabilities, self._last)
        found = self._compiled.get((seccomp, mask))
        if found is None:
            found = self._compile(seccomp, mask)
            if len(self._compiled) >= KEPT_MAX:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[seccomp, mask] = found
        return found

    def _compile(self, seccomp: str, mask: int) -> bytes:
        if not self._native:
            raise Refused(f"there is no seccomp policy for {self._machine}: only seccomp=unconfined is possible")
        names = frozenset(name for number, name in enumerate(NAMES) if mask >> number & 1)
        if seccomp == DEFAULT:
            return assemble(default_policy(names, self._native))
        if len(seccomp) > PROFILE_MAX_BYTES:
            raise Refused(f"the seccomp profile is larger than {PROFILE_MAX_BYTES} bytes")
        import json  # here: who brings no profile of their own does not pay for it

        try:
            document = json.loads(seccomp)
        except ValueError as error:
            raise Refused(f"Decoding seccomp profile failed: {error}") from error
        except RecursionError as error:
            raise Refused("Decoding seccomp profile failed: exceeded max depth") from error
        if asks_nothing(document):
            return b""
        return assemble(policy_of(document, names, self._native, self._kernel))


def filters_of_this_machine(last_capability: int) -> Filters:
    """Reads uname(2)."""
    facts = os.uname()
    numbers = facts.release.replace("-", ".").split(".")
    return Filters(facts.machine, last_capability, (int(numbers[0]), int(numbers[1])))
