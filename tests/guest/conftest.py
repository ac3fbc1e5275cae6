"""Tests of this folder run in a guest with Debian's kernel: IPVS, pure cgroup v2, IPsec, no systemd.

They are ordinary tests; here, on the host, each is handed to one guest that lives as long as the session. Where there
can be no guest they skip, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guest import remote
from vm.errors import VmError
from vm.machine import missing

HERE = Path(__file__).parent
_guest = pytest.StashKey[remote.Guest]()


def _is_ours(item: pytest.Item | None) -> bool:
    return item is not None and HERE in item.path.parents


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if remote.inside() or not _is_ours(item):
        return None
    following = nextitem.nodeid if nextitem is not None and _is_ours(nextitem) else None
    with _reported(item):
        absent = missing()
        if absent:
            _report(item, "skipped", f"no guest: {', '.join(absent)} missing, and ./check could not install it")
            return True
        try:
            for data in _running(item).run(item.nodeid, following):
                report = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
                item.ihook.pytest_runtest_logreport(report=report)
        except VmError as error:
            _end(item.config)
            _report(item, "failed", str(error))
    return True


def pytest_unconfigure(config: pytest.Config) -> None:
    _end(config)


def _running(item: pytest.Item) -> remote.Guest:
    stash = item.config.stash
    if _guest not in stash:
        files = sorted({str(other.path.relative_to(item.config.rootpath)) for other in item.session.items if _is_ours(other)})
        stash[_guest] = remote.Guest(files, str(item.config.rootpath))
    return stash[_guest]


def _end(config: pytest.Config) -> None:
    guest = config.stash.get(_guest, None)
    if guest is not None:
        del config.stash[_guest]
        guest.end()


@contextmanager
def _reported(item: pytest.Item) -> Iterator[None]:
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    yield
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _report(item: pytest.Item, outcome: str, words: str) -> None:
    """A report of the host's own, about a test that the guest could not tell of."""
    skipped = outcome == "skipped"
    report = pytest.TestReport(
        nodeid=item.nodeid, location=item.location, keywords={}, outcome="skipped" if skipped else "failed",
        longrepr=(str(item.path), 0, words) if skipped else words, when="setup" if skipped else "call",
    )  # fmt: skip
    item.ihook.pytest_runtest_logreport(report=report)
