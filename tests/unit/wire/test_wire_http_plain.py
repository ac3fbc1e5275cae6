"""The plain exchange against h11: what it takes is what h11 reads of the same bytes, and its answers are read as they were meant."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.wire.http_answer import ClientSide
from cluster.wire.http_codec import ServerSide
from cluster.wire.http_events import RequestHead, ResponseHead, Signal
from cluster.wire.http_plain import Plain, read

HEAD = b"GET /v1.51/info?a=b%20c HTTP/1.1\r\nHost: x\r\nUser-Agent: Docker-Client/28.2.2 (linux)\r\n\r\n"
NAMES = ("Host", "host", "Accept", "X-Registry-Auth", "Connection", "Content-Length", "Transfer-Encoding", "Expect", "Upgrade", "A b", "")
VALUES = ("x", "", " ", "keep-alive", "close", "0", "5", "chunked", "100-continue", "tcp", "a\tb", "\x7f", "\xe9")


@given(
    st.sampled_from(["GET", "HEAD", "POST", "get", "OPTIONS"]),
    st.sampled_from(["/", "/a?b=c", "/a b", "*", "/\xe9", "http://x/"]),
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0"]),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=4),
    st.sampled_from(["", "\r\n", "x", "GET / HTTP/1.1\r\n"]),
)
def test_what_is_plain_is_what_h11_reads(method: str, target: str, version: str, headers: list[tuple[str, str]], more: str) -> None:
    lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in headers), "", more]
    raw = "\r\n".join(lines).encode("latin-1")
    found = read(raw)
    if found is None:
        return
    other = h11.Connection(h11.SERVER)
    other.receive_data(raw)
    event = other.next_event()
    assert isinstance(event, h11.Request)
    assert found == RequestHead(
        event.method.decode(), event.target.decode(), tuple((name.decode(), value.decode()) for name, value in event.headers), event.http_version.decode()
    )
    assert isinstance(other.next_event(), h11.EndOfMessage)


@pytest.mark.parametrize(
    "raw",
    [
        HEAD[:-2],
        HEAD + b"G",
        HEAD.replace(b"GET", b"POST"),
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        HEAD.replace(b"Host: x", b"Host: x\r\nHost: y"),
        HEAD.replace(b"Host", b"Hist"),
        HEAD.replace(b"Host: x", b"Host: x\r\nContent-Length: 0"),
        HEAD.replace(b"Host: x", b"Host: x\r\nConnection: close"),
        HEAD.replace(b"Host: x", b"Host: x\r\n folded: y"),
        HEAD.replace(b"Host: x", b"Host: \xff"),
        HEAD.replace(b"\r\n", b"\n"),
        HEAD.replace(b"x\r\n", b"x" * 70_000 + b"\r\n"),
    ],
)
def test_what_is_not_plain_is_left_to_h11(raw: bytes) -> None:
    assert read(HEAD) is not None
    assert read(raw) is None


@pytest.mark.parametrize(("method", "status", "headers", "body"), [
    ("GET", 200, (("Content-Length", "5"),), b"hello"),
    ("HEAD", 200, (("Content-Length", "5"),), b""),
    ("GET", 200, (), b"hello"),
    ("HEAD", 200, (), b""),
    ("GET", 204, (), b""),
    ("GET", 304, (), b""),
])  # fmt: skip
def test_an_answer_is_read_as_it_was_meant(method: str, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
    server, client = ServerSide(), ClientSide()
    server.receive(client.request(method, "/", (("Host", "x"),)))
    assert isinstance(server.next(), RequestHead)
    assert [server.next(), server.next()] == [Signal.END, Signal.PAUSED]
    assert server.may_respond
    said = server.respond(status, headers) + (server.data(body) if body else b"") + server.end()
    assert not server.may_respond
    client.receive(said)
    answer = client.next()
    assert isinstance(answer, ResponseHead)
    assert answer.status == status
    heard = b""
    while isinstance(piece := client.next(), bytes):
        heard += piece
    assert (heard, piece, client.leftover()) == (body, Signal.END, b"")


def test_what_comes_early_belongs_to_the_next_exchange_whatever_that_is() -> None:
    side = ServerSide()
    assert side.next() is Signal.NEED_DATA
    side.receive(HEAD)
    side.receive(HEAD)
    assert side.leftover() == HEAD
    side.receive(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok")
    for _ in range(2):
        assert side.next() == (RequestHead("GET", "/v1.51/info?a=b%20c", (("host", "x"), ("user-agent", "Docker-Client/28.2.2 (linux)")), "1.1"))
        assert side.next() is Signal.END
        side.respond(200, (("Content-Length", "0"),))
        side.end()
        assert side.next_exchange()
    head = side.next()
    assert isinstance(head, RequestHead)
    assert (head.method, side.next(), side.next()) == ("POST", b"ok", Signal.END)


def test_a_header_with_an_end_of_line_does_not_go_out() -> None:
    head = read(HEAD)
    assert head is not None
    with pytest.raises(AssertionError, match="control characters"):
        Plain(head).respond(200, "OK", (("A", "b\r\nC: d"),))
