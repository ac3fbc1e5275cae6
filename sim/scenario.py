"""A run as a value: its seed, its size, and every operation and fault with its time. Owns the file's form.

A fault carries its own end (`for_ms`), so that any step can be left out and the rest still makes sense: that is what
shrinking does.
"""

from __future__ import annotations

import enum
from typing import Annotated, Final

import msgspec

FORMAT: Final = 1

Count = Annotated[int, msgspec.Meta(ge=0)]


class What(enum.StrEnum):
    # faults of machines
    CRASH = "crash"  # power loss
    KILL = "kill"  # the process only
    CRASH_AT_DISK = "crash-at-disk"  # at the `amount`th operation from now
    CRASH_AT_COMMIT = "crash-at-commit"  # whoever next commits as leader within `amount` ms, before anybody hears of it
    PAUSE = "pause"
    JUMP = "clock-jump"  # wall clock, `amount` ms
    DRIFT = "clock-drift"  # durations, `amount` permille
    # faults of disks
    SYNC_FAILS = "sync-fails"
    DISK_FULL = "disk-full"
    DISK_SLOW = "disk-slow"  # `amount` ms for each write
    BIT_FLIP = "bit-flip"
    # faults of the network
    CUT = "cut"  # `who` from all others, both ways
    CUT_ONE_WAY = "cut-one-way"  # what `who` says is not heard
    CUT_IN = "cut-in"  # `who` hears nothing
    CUT_AT_ELECTION = "cut-at-election"  # whoever next becomes leader within `amount` ms, from the other managers, both ways
    LOSS = "loss"  # `amount` permille
    DOUBLE = "duplication"
    LATE = "delay"  # up to `amount` ms, for every fifth message
    # the group of managers
    ADD = "manager-joins"
    REMOVE = "manager-removed"
    TRANSFER = "leadership-handed-over"
    REJOIN = "manager-rejoins"  # without its state
    # clients
    WRITE = "write"
    READ = "read"
    # users of the cluster
    SERVICE = "service-create"
    UPDATE = "service-update"
    SCALE = "service-scale"
    REMOVE_SERVICE = "service-remove"
    AVAILABILITY = "node-availability"
    REMOVE_NODE = "node-remove"
    # agents and their tasks
    AGENT_CRASH = "agent-crash"
    AGENT_PAUSE = "agent-pause"
    AGENT_CUT = "agent-cut"
    AGENT_LIES = "agent-reports-late"
    AGENT_FLAPS = "agent-flaps"  # `amount` times
    CERTIFICATE = "certificate-expires"
    TASK_FAILS = "task-fails"


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is done to the world."""

    at_ms: Count
    what: What
    who: str = ""
    amount: int = 0
    for_ms: Count = 0
    text: str = ""

    def __str__(self) -> str:
        words = [self.what.value, self.who, self.text, str(self.amount) if self.amount else "", f"for {self.for_ms} ms" if self.for_ms else ""]
        return " ".join(word for word in words if word)


class Shape(msgspec.Struct, frozen=True, omit_defaults=True):
    """How large the world is, and what may go wrong in it (names of families in strategies.py)."""

    managers: Annotated[int, msgspec.Meta(ge=1)] = 3
    agents: Count = 0
    services: Count = 0
    replicas: Count = 3
    jobs: Count = 0  # services whose tasks end by themselves
    seconds: Count = 60
    clients: Count = 2
    faults: tuple[str, ...] = ("network", "crash", "disk", "clock")
    mutant: str = ""
    policy: str = ""
    invariants: tuple[str, ...] = ()
    snapshot_interval: int = 0  # entries; 0: the seed draws it


class Scenario(msgspec.Struct, frozen=True, omit_defaults=True):
    seed: int
    shape: Shape = Shape()
    steps: tuple[Step, ...] = ()
    format: int = FORMAT
    found: str = ""  # what it breaks, when it is a counterexample


def encode(scenario: Scenario) -> bytes:
    return msgspec.json.format(msgspec.json.encode(scenario), indent=1) + b"\n"


def decode(data: bytes) -> Scenario:
    """Raises ValueError for what is no scenario of this format."""
    try:
        scenario = msgspec.json.decode(data, type=Scenario)
    except msgspec.MsgspecError as error:
        raise ValueError(f"this is no scenario: {error}") from error
    if scenario.format != FORMAT:
        raise ValueError(f"the scenario has format {scenario.format}, this version reads {FORMAT}")
    return scenario


def found(scenario: Scenario, failure: str) -> Scenario:
    """The scenario as a counterexample to what `failure` says."""
    return msgspec.structs.replace(scenario, found=failure)
