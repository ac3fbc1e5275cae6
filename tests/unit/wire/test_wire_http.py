"""The server on a unix socket, asked by the synchronous client and by hand."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from cluster.model.errors import Conflict, NotFound
from cluster.wire import http
from cluster.wire.http import Request, Response, json_response, serve_unix
from cluster.wire.http_client import ConnectionFailed, HttpClient, Whole


class Events:
    """What the application saw, for the tests' own thread."""

    def __init__(self) -> None:
        self.stream_closed = threading.Event()
        self.client_gone = threading.Event()
        self.hijack_over = threading.Event()
        self.hijacked: list[bytes] = []


async def application(events: Events, request: Request) -> Response:
    if request.path == "/echo":
        text = (await request.body(1000)).decode()
        return json_response({"method": request.method, "query": dict(request.query), "body": text})
    if request.path == "/count":
        return json_response(sum([len(piece) async for piece in request.stream()]))
    if request.path == "/unread":
        return json_response("refused", 409)
    if request.path == "/items":
        return Response(stream=_items(events))
    if request.path == "/broken":
        return Response(stream=_broken())
    if request.path in {"/hijack", "/bodiless"}:
        if request.path == "/hijack":
            await request.body()
        return Response(hijack=partial(_shout, events), headers=(("Content-Type", "application/x-raw"),))
    if request.path == "/late":
        await trio.to_thread.run_sync(events.client_gone.wait)
        return Response(hijack=partial(_hold, events))
    raise NotFound("page not found")


async def _hold(events: Events, stream: http.Stream) -> None:
    try:
        await stream.send_all(b"x")
    finally:
        events.hijack_over.set()


async def _items(events: Events) -> AsyncIterator[bytes]:
    try:
        yield b"first\n"
        await trio.sleep_forever()
    finally:
        events.stream_closed.set()


async def _broken() -> AsyncIterator[bytes]:
    yield b"begun\n"
    raise NotFound("gone")


async def _shout(events: Events, stream: http.Stream) -> None:
    async for data in stream:
        events.hijacked.append(bytes(data))
        await stream.send_all(data.upper())
    await stream.send_all(b"END")
    await stream.send_eof()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Events]]:
    """A server in a thread of its own; the socket's path."""
    path, events = str(tmp_path / "s.sock"), Events()
    started = threading.Event()
    stop: list[Callable[[], None]] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_unix, path, partial(application, events)))
            token = trio.lowlevel.current_trio_token()
            stop.append(lambda: token.run_sync_soon(nursery.cancel_scope.cancel))
            started.set()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert started.wait(10)
    yield path, events
    stop[0]()
    thread.join(10)
    assert not os.path.exists(path)


def by_hand(path: str, data: bytes) -> bytes:
    """Everything that the server says to these bytes, when nothing more comes, until it closes."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.settimeout(30)
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        said = b""
        while piece := s.recv(65536):
            said += piece
        return said


def test_query_and_body_reach_the_application(served: tuple[str, Events]) -> None:
    client = HttpClient(served[0])
    answer = client.request("POST", "/echo?a=1&a=2&empty=", body=b"hello")
    assert answer == Whole(200, answer.headers, b'{"method":"POST","query":{"a":["1","2"],"empty":[""]},"body":"hello"}\n')
    assert dict(answer.headers)["content-type"] == "application/json"


def test_head_has_the_length_and_no_body(served: tuple[str, Events]) -> None:
    answer = HttpClient(served[0]).request("HEAD", "/echo")
    assert answer.body == b""
    assert int(dict(answer.headers)["content-length"]) > 0


def test_a_cluster_error_becomes_its_status_and_message(served: tuple[str, Events]) -> None:
    answer = HttpClient(served[0]).request("GET", "/nowhere")
    assert (answer.status, answer.body) == (404, b'{"message":"page not found"}\n')


def test_a_body_beyond_the_limit_is_413(served: tuple[str, Events]) -> None:
    answer = HttpClient(served[0]).request("POST", "/echo", body=b"x" * 1001)
    assert answer.status == 413
    assert b"longer than 1000 bytes" in answer.body


def test_a_long_body_streams_in_chunks(served: tuple[str, Events]) -> None:
    answer = HttpClient(served[0]).request("POST", "/count", body=(b"x" * 65536 for _ in range(160)))
    assert answer.body == b"10485760\n"


def test_a_body_that_nobody_reads_gets_its_answer_all_the_same(served: tuple[str, Events]) -> None:
    for size in (10, 2_000_000):
        assert HttpClient(served[0]).request("POST", "/unread", body=bytes(size)).status == 409


def test_a_client_that_still_sends_its_body_can_read_the_answer(served: tuple[str, Events]) -> None:
    """docker does both at once: the connection that broke while it sent took the answer with it, at times."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(served[0])
        client.sendall(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + bytes(http.DRAINED_BYTES + 1))
        client.settimeout(5)
        heard = b""
        while piece := client.recv(4096):  # to its end, and not ConnectionResetError
            heard += piece
        client.sendall(b"more")
        assert heard.endswith(b'"refused"\n')
    assert HttpClient(served[0]).request("POST", "/echo", body=b"x").status == 200


def test_items_are_sent_as_they_come_and_a_client_that_goes_ends_the_stream(served: tuple[str, Events]) -> None:
    path, events = served
    with HttpClient(path).stream("GET", "/items") as answer:
        assert answer.wait_lines(5) == [b"first"]
        assert answer.wait_lines(0.05) == []
        assert not events.stream_closed.is_set()
    assert events.stream_closed.wait(5)


@pytest.mark.parametrize(("length", "more"), [(2, b"{}"), (9, b"{}"), (0, b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")])
def test_a_client_that_says_more_than_anybody_reads_ends_the_stream_by_going(served: tuple[str, Events], length: int, more: bytes) -> None:
    path, events = served
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"POST /items HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length)
        data = b""
        while b"first\n" not in data:
            data += client.recv(4096)
        client.sendall(more)
        assert not events.stream_closed.is_set()
    assert events.stream_closed.wait(10)


def test_a_hijack_is_told_of_a_client_that_has_gone_before_its_head(served: tuple[str, Events]) -> None:
    path, events = served
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"POST /late HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
    events.client_gone.set()
    assert events.hijack_over.wait(10)


def test_a_stream_that_fails_breaks_off_and_the_server_goes_on(served: tuple[str, Events]) -> None:
    client = HttpClient(served[0])
    with client.stream("GET", "/broken") as answer, pytest.raises(ConnectionFailed, match="broke off"):
        list(answer.lines())
    assert client.request("GET", "/echo").status == 200


def test_a_hijacked_connection_is_raw_both_ways_and_may_be_half_closed(served: tuple[str, Events]) -> None:
    path, events = served
    with HttpClient(path).hijack("POST", "/hijack", body=b"{}") as got:
        assert not isinstance(got, Whole)
        connected, early = got
        connected.sendall(b"abc")
        assert early + connected.recv(10) == b"ABC"
        connected.shutdown(socket.SHUT_WR)
        assert connected.recv(10) == b"END"
        assert connected.recv(10) == b""
    assert events.hijacked == [b"abc"]


def test_a_hijack_that_is_refused_is_an_answer(served: tuple[str, Events]) -> None:
    with HttpClient(served[0]).hijack("POST", "/nowhere") as got:
        assert isinstance(got, Whole)
        assert got.status == 404


def test_hijacking_answers_101_with_upgrade_and_200_without(served: tuple[str, Events]) -> None:
    plain = b"POST /hijack HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
    upgraded = by_hand(served[0], plain + b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly")
    assert upgraded.startswith(b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/x-raw\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
    assert upgraded.endswith(b"EARLYEND")
    assert by_hand(served[0], plain + b"\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "framed", [b"Content-Length: 13\r\n\r\n{\"a\": \"body\"}early", b"Transfer-Encoding: chunked\r\n\r\nd\r\n{\"a\": \"body\"}\r\n0\r\n\r\nearly"]
)
def test_a_body_that_a_hijack_does_not_read_is_none_of_the_connection_s_data(served: tuple[str, Events], framed: bytes) -> None:
    """As dockerode sends one with attach."""
    head = b"POST /bodiless HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    assert by_hand(served[0], head + framed).endswith(b"\r\n\r\nEARLYEND")


def test_the_rest_of_such_a_body_is_passed_over_as_it_comes(served: tuple[str, Events]) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(served[0])
        client.sendall(b"POST /bodiless HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 13\r\n\r\n{\"a\"")
        assert client.recv(4096).startswith(b"HTTP/1.1 101")
        client.sendall(b': "body"}')
        client.sendall(b"after")
        assert client.recv(5, socket.MSG_WAITALL) == b"AFTER"


def test_a_client_that_holds_a_chunked_body_back_until_it_is_answered_is(served: tuple[str, Events]) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(served[0])
        client.sendall(b"POST /bodiless HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 101")
        client.sendall(b"raw")
        assert client.recv(3, socket.MSG_WAITALL) == b"RAW"


def test_a_client_that_writes_on_reads_the_end_of_a_hijacked_connection(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")

    async def hijack(stream: http.Stream) -> None:
        await stream.send_all(b"over")

    async def brief(request: Request) -> Response:
        return Response(hijack=hijack)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_unix, path, brief))
            stream = await trio.open_unix_socket(path)
            await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nUpgrade: tcp\r\n\r\n")
            received = await stream.receive_some(4096)
            await stream.send_all(b"typed on")
            while piece := await stream.receive_some(4096):  # a connection that is reset raises
                received += piece
            assert received.endswith(b"over")
            await stream.aclose()
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_nothing_comes_along_with_the_head_of_a_hijacked_connection(tmp_path: Path) -> None:
    """docker-py reads the head through a buffer, and past it afterwards."""
    path = str(tmp_path / "s.sock")

    async def hijack(stream: http.Stream) -> None:
        await stream.send_all(b"at once")
        await stream.send_eof()

    async def greeting(request: Request) -> Response:
        return Response(hijack=hijack)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_unix, path, greeting))
            stream = await trio.open_unix_socket(path)
            await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nUpgrade: tcp\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked()
            head = await stream.receive_some(4096)
            assert head.startswith(b"HTTP/1.1 101 ")
            assert head.endswith(b"\r\n\r\n")
            assert await stream.receive_some(4096) == b"at once"
            assert await stream.receive_some(4096) == b""
            await stream.aclose()
            gone = await trio.open_unix_socket(path)
            await gone.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked()
            await gone.aclose()  # without having read anything: its server goes on to its end
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_who_has_gone_with_something_unread_is_not_waited_for() -> None:
    async def main() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        client = await trio.open_tcp_stream(*listener.socket.getsockname())
        server = await listener.accept()
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(server.socket.fileno(), bytes(1 << 16))  # until neither side has room for more
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await client.aclose()
        with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
            await http.RawStream(server, b"").send_all(b"x")
        await server.aclose()
        await listener.aclose()

    trio.run(main)


def test_requests_follow_each_other_on_one_connection(served: tuple[str, Events]) -> None:
    one = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
    assert by_hand(served[0], one * 3).count(b"HTTP/1.1 200 OK") == 3


def test_a_client_that_waits_for_100_gets_it(served: tuple[str, Events]) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(served[0])
        s.sendall(head)
        assert s.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n")
        s.sendall(b"ok")
        assert b'"body":"ok"' in s.recv(1000)


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 70000])
def test_what_is_not_http_gets_400_and_the_door(served: tuple[str, Events], data: bytes) -> None:
    said = by_hand(served[0], data)
    assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
    assert b"Connection: close" in said


def test_a_body_framed_as_none_may_be_gets_400_and_one_that_ends_early_is_no_bug(served: tuple[str, Events], caplog: pytest.LogCaptureFixture) -> None:
    chunked = b"HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for path in (b"/echo", b"/count", b"/unread"):
        said = by_hand(served[0], b"POST " + path + b" " + chunked + b"no length\r\n")
        assert said.startswith(b"HTTP/1.1 409" if path == b"/unread" else b"HTTP/1.1 400")
        assert said.count(b"HTTP/1.1") == 1
        by_hand(served[0], b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
    assert "by a bug" not in caplog.text


def test_the_socket_is_for_root_and_its_group(served: tuple[str, Events]) -> None:
    assert stat.S_IMODE(os.stat(served[0]).st_mode) == 0o660


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)

    async def app(request: Request) -> Response:
        return Response()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_unix, path, app))
            with pytest.raises(Conflict, match="another program listens"):
                await serve_unix(path, app)
            (tmp_path / "file").write_text("")
            with pytest.raises(Conflict, match="not a socket"):
                await serve_unix(tmp_path / "file", app)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert os.listdir(tmp_path) == ["file"]


def test_nobody_there_is_a_failed_connection(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed):
        HttpClient(f"unix://{tmp_path}/none").request("GET", "/")
    with pytest.raises(ConnectionFailed, match="unable to parse docker host"):
        HttpClient("ftp://x").request("GET", "/")
