"""Container logs through the engine's conversion: streams, times, frames, and the end of following."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from agent.engine.container_logs import container_logs
from agent.engine.framing import frame
from agent.records import HostConfig
from cluster.model.errors import InvalidArgument
from runtime import logs

LINES = (logs.Record("stdout", 1_700_000_000_000_000_000, b"out\n"), logs.Record("stderr", 1_700_000_000_000_000_001, b"err\n"))


def answer(monkeypatch: pytest.MonkeyPatch, query: dict[str, str], *, tty: bool = False, running: bool = False) -> tuple[bytes, dict[str, Any]]:
    seen: dict[str, Any] = {}

    def read(path: str, **bounds: Any) -> Any:
        seen.update(bounds, path=path)
        return iter(LINES)

    async def follow(path: str, **bounds: Any) -> Any:
        seen.update(bounds, path=path, followed=True)
        yield LINES

    monkeypatch.setattr(logs, "read", read)
    monkeypatch.setattr(logs, "follow", follow)
    record = SimpleNamespace(id="c", config=SimpleNamespace(tty=tty), host=HostConfig())
    containers = SimpleNamespace(find=lambda _: record, log_path=lambda _: str(Path("/x/log")), is_running=lambda _: running)

    class Query:
        query: dict[str, list[str]] = {}  # noqa: RUF012

        def argument(self, name: str, default: str = "") -> str:
            return query.get(name, default)

    asked = Query()
    asked.query = {name: [value] for name, value in query.items()}
    from agent.engine.call import Call

    async def main() -> bytes:
        async with trio.open_nursery() as nursery:
            call = Call(cast("Any", SimpleNamespace(containers=containers)), cast("Any", asked), {"id": "c"}, (1, 51), nursery)
            response = await container_logs(call)
            assert response.stream is not None
            return b"".join([piece async for piece in response.stream])

    return trio.run(main), seen


def test_both_streams_are_framed(monkeypatch: pytest.MonkeyPatch) -> None:
    text, seen = answer(monkeypatch, {"stdout": "1", "stderr": "1", "tail": "all"})
    assert text == frame(1, b"out\n") + frame(2, b"err\n")
    assert seen["tail"] is None


def test_one_stream_with_times_and_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    text, seen = answer(monkeypatch, {"stderr": "true", "timestamps": "1", "tail": "5", "since": "1.5", "until": "9"})
    assert text == frame(2, b"2023-11-14T22:13:20.000000001Z err\n")
    assert (seen["tail"], seen["since_ns"], seen["until_ns"]) == (5, 1_500_000_000, 9_000_000_000)


def test_a_terminals_log_is_raw(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(monkeypatch, {"stdout": "1"}, tty=True)[0] == b"out\n"


@pytest.mark.parametrize("running", [True, False])
def test_only_a_running_container_is_followed(monkeypatch: pytest.MonkeyPatch, running: bool) -> None:
    text, seen = answer(monkeypatch, {"stdout": "1", "follow": "1"}, running=running)
    assert text == frame(1, b"out\n")
    assert seen.get("followed", False) is running


def test_no_stream_at_all_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        answer(monkeypatch, {"tail": "1"})
    assert raised.group_contains(InvalidArgument, match="you must choose at least one stream")


def test_a_follower_takes_little_of_the_loops_time_at_once() -> None:
    lines = [logs.Record("stdout", 0, b"x" * 99 + b"\n")] * 1000
    found = list(logs.batches(lines))
    assert [record for batch in found for record in batch] == lines
    assert max(sum(len(record.data) for record in batch) for batch in found) < 20_000
