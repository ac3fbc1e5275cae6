"""An engine that answers from a table, on a real unix socket, and a way to run the command line against it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from cli.root import run
from cluster.wire.http import Request, Response, json_response, serve_unix


@dataclass
class Engine:
    """`answers`: (method, path without version) -> JSON, a Response, or a function of the request's number. `seen`:
    (method, target, body)."""

    address: str = ""
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    commits: list[bytes] = field(default_factory=list)  # lines of /festoon/watch; more may be appended while it is open

    async def __call__(self, request: Request) -> Response:
        path = request.path.removeprefix("/v1.51")
        self.seen.append((request.method, request.target.removeprefix("/v1.51"), await request.body()))
        if path == "/festoon/watch":
            return Response(stream=self._watch())
        answer = self.answers.get((request.method, path))
        if answer is None:
            return json_response({"message": f"no such thing: {path}"}, 404)
        if callable(answer):
            answer = answer(sum(m == request.method and t.partition("?")[0] == path for m, t, _ in self.seen))
        return answer if isinstance(answer, Response) else json_response(answer)

    async def _watch(self) -> AsyncIterator[bytes]:
        for line in self.commits:
            yield line
        await trio.sleep_forever()

    def bodies(self, method: str, path: str) -> list[bytes]:
        return [b for m, t, b in self.seen if m == method and t.partition("?")[0] == path]


@dataclass
class Result:
    status: int
    out: str
    err: str


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(f"unix://{tmp_path}/engine.sock")
    started = threading.Event()
    stop: list[Callable[[], None]] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_unix, f"{tmp_path}/engine.sock", made))
            token = trio.lowlevel.current_trio_token()
            stop.append(lambda: token.run_sync_soon(nursery.cancel_scope.cancel))
            started.set()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert started.wait(10)
    yield made
    stop[0]()
    thread.join(10)


@pytest.fixture
def festoon(engine: Engine, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run `festoon ARGUMENTS...` against the engine, in this process."""

    def go(*arguments: str) -> Result:
        capfd.readouterr()
        status = run("festoon", ["-H", engine.address, *arguments])
        captured = capfd.readouterr()
        return Result(status, captured.out, captured.err)

    return go
