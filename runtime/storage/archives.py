"""The files of containers, read and written through a worker process (worker.py): facts about a path, tars out and in.

Owns the worker from start to end: cancellation, and a reader that goes away, kill it. Raises TreeFault for what the worker
refuses.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager

import trio

from runtime.errors import TreeFault
from runtime.storage import answers
from runtime.storage.requests import Answer, Done, Extract, Failed, Pack, PathStat, Populate, Request, Stat, Tree

PIECE_BYTES = 256 * 1024


async def stat(tree: Tree, path: str) -> PathStat:
    """What stands at a path; a link at its end is not followed."""
    async with _worker(Stat(tree, path)) as worker:
        answer = await worker.answer()
        assert isinstance(answer, PathStat)
        return answer


@asynccontextmanager
async def packed(tree: Tree, path: str) -> AsyncIterator[tuple[PathStat | None, AsyncIterator[bytes]]]:
    """A tar of a path and what stands there; an empty path means the whole tree. Breaking off in the middle is seen as
    TreeFault at the end of the pieces.
    """
    async with _worker(Pack(tree, path)) as worker:
        described = await worker.answer() if path else None
        assert described is None or isinstance(described, PathStat)
        yield described, worker.output()


async def extract(tree: Tree, path: str, pieces: AsyncIterable[bytes], *, keep_kinds: bool = False, owner: tuple[int, int] | None = None) -> None:
    """Unpack a tar, compressed or not, into the folder at `path`. What was unpacked before a failure stays, as in Docker."""
    async with _worker(Extract(tree, path, keep_kinds, owner)) as worker:
        await worker.feed(pieces)
        await worker.finish()


async def populate(tree: Tree, path: str, folder: str) -> None:
    """Copy what the tree has at `path` into the folder of a volume, when that is empty."""
    async with _worker(Populate(tree, path, folder)) as worker:
        await worker.finish()


class _Worker:
    def __init__(self, process: trio.Process, answers: trio.lowlevel.FdStream) -> None:
        self._process, self._answers = process, answers
        self._said = b""

    async def answer(self) -> Answer:
        """The next line. Raises TreeFault for a refusal, and when the worker has gone without a word."""
        while b"\n" not in self._said:
            piece = await self._answers.receive_some(answers.MAX_ANSWER_BYTES)
            if not piece or len(self._said) > answers.MAX_ANSWER_BYTES:
                raise TreeFault("failed", "the process that handles files ended without an answer")
            self._said += piece
        line, _, self._said = self._said.partition(b"\n")
        answer = answers.read(line)
        if isinstance(answer, Failed):
            raise TreeFault(answer.kind, answer.message)
        return answer

    async def finish(self) -> None:
        assert isinstance(await self.answer(), Done)

    async def output(self) -> AsyncIterator[bytes]:
        assert self._process.stdout is not None
        while piece := await self._process.stdout.receive_some(PIECE_BYTES):
            yield bytes(piece)
        await self.finish()

    async def feed(self, pieces: AsyncIterable[bytes]) -> None:
        """Write until the worker has had enough: why is in its answer."""
        assert self._process.stdin is not None
        try:
            async for piece in pieces:
                await self._process.stdin.send_all(piece)
        except trio.BrokenResourceError:
            return
        await self._process.stdin.aclose()


@asynccontextmanager
async def _worker(request: Request) -> AsyncIterator[_Worker]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    answered = trio.lowlevel.FdStream(reader)
    try:
        try:
            process = await trio.lowlevel.open_process(
                answers.worker(request, writer), stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(writer,)
            )
        finally:
            os.close(writer)
        try:
            yield _Worker(process, answered)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for stream in (process.stdin, process.stdout):
                    if stream is not None:
                        await stream.aclose()
    finally:
        with trio.CancelScope(shield=True):
            await answered.aclose()
