"""When a service has converged, what is drawn meanwhile, and that nobody polls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.commands import image
from cli.progress import Line, Picture, verdict

ID = "a9cn3p0ovg5jcz30rzz89lyfz"
NODES = {"n1", "n2"}


def task(slot: int, state: str, desired: str = "running", node: str = "n1", err: str = "") -> dict[str, Any]:
    return {"Slot": slot, "NodeID": node, "DesiredState": desired, "Status": {"State": state, "Err": err}}


def replicated(count: int, **more: Any) -> dict[str, Any]:
    return {"ID": ID, "Spec": {"Mode": {"Replicated": {"Replicas": count}}}, **more}


def texts(lines: list[Line]) -> list[str]:
    return [line.show(bars=True) for line in lines]


def test_two_running_tasks_read_as_the_seed_reads() -> None:
    lines, converged = Picture().look(replicated(2), [task(1, "running"), task(2, "running")], NODES)
    full = "=" * 50
    assert texts(lines) == [
        "overall progress: 2 out of 2 tasks",
        f"1/2: running   [{full}>] ",
        f"2/2: running   [{full}>] ",
    ]
    assert converged


def test_a_task_on_its_way_shows_how_far_it_is() -> None:
    lines, converged = Picture().look(replicated(2), [task(1, "preparing")], NODES)
    assert texts(lines)[1] == f"1/2: preparing [{'=' * 33}>{' ' * 17}] "
    assert texts(lines)[2] == "2/2:  "
    assert not converged


def test_an_error_takes_the_place_of_the_bar() -> None:
    lines, _ = Picture().look(replicated(1), [task(1, "rejected", "shutdown", err="no such image")], NODES)
    assert texts(lines)[1] == "1/1: no such image"


def test_a_slots_live_task_counts_and_not_its_finished_one() -> None:
    tasks = [task(1, "failed", "shutdown"), task(1, "running"), task(1, "complete", "shutdown")]
    assert Picture().look(replicated(1), tasks, NODES)[1]
    assert not Picture().look(replicated(1), [task(1, "running", "shutdown")], NODES)[1]


def test_tasks_of_a_node_that_is_down_do_not_count() -> None:
    assert not Picture().look(replicated(1), [task(1, "running", node="gone")], NODES)[1]


def test_slots_keep_their_lines_while_numbers_come_and_go() -> None:
    picture = Picture()
    picture.look(replicated(2), [task(7, "new")], NODES)
    lines, _ = picture.look(replicated(2), [task(3, "new"), task(7, "running")], NODES)
    assert [line.text.strip() for line in lines[1:]] == ["running", "new"]


def test_many_tasks_have_one_line() -> None:
    lines, converged = Picture().look(replicated(50), [task(i, "running") for i in range(50)], NODES)
    assert texts(lines) == ["overall progress: 50 out of 50 tasks"]
    assert converged


def test_a_global_service_has_a_line_per_node() -> None:
    service = {"ID": ID, "Spec": {"Mode": {"Global": {}}}}
    lines, converged = Picture().look(service, [task(0, "running", node="n1"), task(0, "starting", node="n2")], NODES)
    assert [line.key for line in lines] == ["overall progress", "n1", "n2"]
    assert not converged
    assert not Picture().look(service, [], NODES)[1]


def test_no_replicas_at_all_is_converged() -> None:
    assert Picture().look(replicated(0), [], NODES)[1]


def test_paused_updates_end_the_wait_with_their_reason() -> None:
    paused = replicated(1, UpdateStatus={"State": "paused", "Message": "update paused due to failure"})
    assert verdict(paused) == "service update paused: update paused due to failure"
    assert verdict(replicated(1)) == ""


@pytest.fixture
def service(engine: Any) -> Any:
    """A service whose tasks are further at each look: new, starting, running."""
    states = ["new", "starting", "running"]
    engine.answers |= {
        **{("GET", f"/images/{image}/json"): {"RepoDigests": []} for image in ("busybox:latest", "busybox:1")},  # loaded: no registry is asked
        ("POST", "/services/create"): {"ID": ID},
        ("GET", f"/services/{ID}"): replicated(1, Version={"Index": 1}),
        ("GET", "/nodes"): [{"ID": "n1", "Status": {"State": "ready"}}],
        ("GET", "/tasks"): lambda count: [task(1, states[min(count, 3) - 1])],
    }
    return engine


def test_create_waits_for_commits_and_prints_lines_when_they_change(service: Any, festoon: Callable[..., Any]) -> None:
    service.commits = [b"{}\n", b"{}\n", b"{}\n"]
    result = festoon("service", "create", "--verify", "10ms", "busybox")
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0] == ID
    assert lines[1:3] == ["overall progress: 0 out of 1 tasks", "1/1:  "]
    assert lines[-1] == f"verify: Service {ID} converged"
    looks = sum(t.startswith("/tasks") for _, t, _ in service.seen)
    assert looks <= 5, "a look per commit, one more after the verification"


def test_quiet_prints_the_id_only(service: Any, festoon: Callable[..., Any]) -> None:
    service.commits = [b"{}\n", b"{}\n", b"{}\n", b"{}\n"]
    assert festoon("service", "create", "-q", "--verify", "1ms", "busybox").out == f"{ID}\n"


def test_a_manager_that_goes_ends_the_wait_with_its_reason(service: Any, festoon: Callable[..., Any]) -> None:
    service.commits = [b'{"message":"no leader"}\n']
    result = festoon("service", "create", "busybox")
    assert (result.status, result.err) == (1, "Error response from daemon: no leader\n")


@pytest.mark.parametrize("whole", [True, False])
def test_who_interrupts_an_upload_is_told_when_the_daemon_has_all_of_it(whole: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"x" * (3 * image.PIECE_BYTES))

    def upload() -> None:
        with image._uploading(str(archive)) as pieces:
            taken = iter(pieces)
            for _ in range(4 if whole else 2):
                next(taken, b"")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload()
    assert capsys.readouterr().err == (image.GOES_ON + "\n" if whole else "")
