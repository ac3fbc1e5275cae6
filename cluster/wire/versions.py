"""Which versions of what is said on the managers' port understand each other: neighbours do, so a cluster is upgraded node by node. Pure.

Owns the number and the rule. A version is one more than the last when something is said that the last would take for an error; what only
adds fields (at the end, with defaults) needs none. Each side says its own in its hello (calls.OpenSession, Follow, JoinManagers), and
the one that is asked refuses.

    1  the first
    2  a manager that comes back is told what its log is known to hold (MessageKind.HELD); there are secrets and configs
"""

from __future__ import annotations

from typing import Final

from cluster.model.errors import FailedPrecondition

VERSION: Final = 2
FIRST: Final = 1
HELD: Final = 2


def check(own: int, theirs: int, who: str) -> None:
    """Raises FailedPrecondition when the two do not understand each other; `who`: the other side, in words."""
    if abs(own - theirs) > 1:
        raise FailedPrecondition(
            f"{who} speaks version {theirs} of the managers' protocol and this manager version {own}: "
            "only neighbours understand each other, so upgrade node by node, one version at a time"
        )
