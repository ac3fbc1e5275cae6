"""`festoon stats`: a frame asks each container once, and outlives those that go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cli.commands import container_stats
from cluster.wire.http import Response, json_response


def sample(name: str, used_ns: int, passed_ns: int) -> dict[str, Any]:
    return {
        "id": name * 32, "name": f"/{name}", "cpu_stats": {"cpu_usage": {"total_usage": used_ns}, "system_cpu_usage": passed_ns, "online_cpus": 2},
        "memory_stats": {"usage": 3 << 20, "limit": 12 << 20, "stats": {"inactive_file": 1 << 20}}, "networks": {"eth0": {"rx_bytes": 1500, "tx_bytes": 20}},
        "pids_stats": {"current": 3},
    }  # fmt: skip


GONE: Response = json_response({"message": "No such container: b1"}, 404)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_stats, "PERIOD_S", 0.01)


def test_a_share_is_of_the_time_between_two_frames(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["GET", "/containers/json"] = [{"Id": "a1" * 32}]
    engine.answers["GET", "/containers/a1a1a1a1a1a1/stats"] = lambda number: sample("a1", 50 * number, 100 * number)
    said = festoon("stats", "--no-stream", "--format", "{{.Container}} {{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.MemPerc}} {{.NetIO}} {{.PIDs}}")
    assert (said.status, said.out) == (0, "a1a1a1a1a1a1 a1 100.00% 2MiB / 12MiB 16.67% 1.5kB / 20B 3\n")


def test_a_frame_outlives_what_goes_and_names_it(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["GET", "/containers/a1/stats"] = lambda number: sample("a1", 0, 100 * number)
    engine.answers["GET", "/containers/b1/stats"] = lambda number: sample("b1", 0, 100) if number == 1 else GONE
    said = festoon("stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}}", "a1", "b1")
    assert (said.status, said.out) == (0, "a1 0.00% 2MiB / 12MiB\nb1 -- -- / --\n")


def test_of_all_that_run_one_that_goes_is_left_out(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["GET", "/containers/json"] = [{"Id": "a1" * 32}, {"Id": "b1" * 32}]
    engine.answers["GET", "/containers/a1a1a1a1a1a1/stats"] = lambda number: sample("a1", 0, 100 * number)
    engine.answers["GET", "/containers/b1b1b1b1b1b1/stats"] = GONE
    assert festoon("stats", "--no-stream", "--format", "{{.Name}}").out == "a1\n"


def test_each_name_that_is_no_containers_is_said(festoon: Callable[..., Any], engine: Any) -> None:
    engine.answers["GET", "/containers/b1/stats"] = GONE
    engine.answers["GET", "/containers/c1/stats"] = json_response({"message": "No such container: c1"}, 404)
    said = festoon("stats", "b1", "c1")
    assert (said.status, said.out) == (1, "")
    assert said.err.splitlines()[:2] == ["Error response from daemon: No such container: b1", "Error response from daemon: No such container: c1"]
