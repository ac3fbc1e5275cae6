"""`docker top`: ps's table cut down to one container."""

from __future__ import annotations

import pytest

from agent.engine.top import select
from cluster.model.errors import InvalidArgument

LISTING = """UID          PID    PPID  CMD
root           7       1  sleep 1000
root          77       1  sh -c echo 7
nobody         8       7  cat
"""


def test_only_the_containers_processes_remain_and_the_command_keeps_its_spaces() -> None:
    titles, rows = select(LISTING, frozenset({7, 8}))
    assert titles == ["UID", "PID", "PPID", "CMD"]
    assert rows == [["root", "7", "1", "sleep 1000"], ["nobody", "8", "7", "cat"]]


def test_threads_follow_their_process() -> None:
    listing = "PID SPID CMD\n7 - a\n- 7 -\n- 9 -\n8 - b\n- 8 -\n"
    assert select(listing, frozenset({7}))[1] == [["7", "-", "a"], ["-", "7", "-"], ["-", "9", "-"]]


@pytest.mark.parametrize("listing", ["", "CMD\nsleep\n"])
def test_a_table_without_pids_is_refused(listing: str) -> None:
    with pytest.raises(InvalidArgument, match="Couldn't find PID field"):
        select(listing, frozenset({1}))
