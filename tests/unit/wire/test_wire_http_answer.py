"""The client's half of HTTP/1.1, with h11 as the oracle: the same bytes mean the same, however they are cut."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.wire.http_answer import MAX_CHUNK_LINE_BYTES, ClientSide
from cluster.wire.http_events import MAX_HEADER_BYTES, HttpError, ResponseHead, Signal

ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: a b \r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end\r\n\r\n",
    b"HTTP/1.1 500 \r\nContent-Length: 4\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Le",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabcd\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"garbage\r\n\r\n",
    b"",
)


def _ours(pieces: list[bytes], method: str) -> object:
    """(status and body of the last head, whether it came to its end), or "error"."""
    side = ClientSide()
    side.request(method, "/", (("Host", "x"),))
    status, body = 0, b""
    waiting = [*pieces, b""]
    try:
        while True:
            event = side.next()
            if event is Signal.NEED_DATA:
                side.receive(waiting.pop(0))
            elif isinstance(event, ResponseHead):
                status = event.status
            elif isinstance(event, bytes):
                body += event
            else:
                return status, body, event is Signal.END
    except HttpError:
        return "error"


def _h11(pieces: list[bytes], method: str) -> object:
    side = h11.Connection(h11.CLIENT)
    side.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    side.send(h11.EndOfMessage())
    status, body = 0, b""
    waiting = [*pieces, b""]
    try:
        while True:
            event = side.next_event()
            if event is h11.NEED_DATA:
                side.receive_data(waiting.pop(0))
            elif isinstance(event, (h11.Response, h11.InformationalResponse)):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                return status, body, isinstance(event, h11.EndOfMessage)
    except h11.RemoteProtocolError:
        return "error"


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 120), max_size=6), st.sampled_from(("GET", "HEAD", "POST")))
def test_an_answer_means_what_h11_says_however_it_is_cut(answer: bytes, cuts: list[int], method: str) -> None:
    places = sorted({cut for cut in cuts if 0 < cut < len(answer)})
    pieces = [answer[a:b] for a, b in zip([0, *places], [*places, len(answer)], strict=True) if b > a]
    assert _ours(pieces, method) == _h11(pieces, method)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_a_chunked_request_is_read_by_h11_as_it_was_meant(body: list[bytes]) -> None:
    side, server = ClientSide(), h11.Connection(h11.SERVER)
    server.receive_data(side.request("POST", "/x?y=z", (("Host", "x"), ("Transfer-Encoding", "chunked"))))
    server.receive_data(b"".join(map(side.data, body)) + side.end())
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert request.target == b"/x?y=z"
    read = b""
    while isinstance(event := server.next_event(), h11.Data):
        read += bytes(event.data)
    assert (read, isinstance(event, h11.EndOfMessage)) == (b"".join(body), True)


def test_what_follows_an_upgrade_is_left_over() -> None:
    side = ClientSide()
    side.receive(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nraw bytes")
    head = side.next()
    assert isinstance(head, ResponseHead)
    assert (head.status, head.header("upgrade"), side.leftover()) == (101, "tcp", b"raw bytes")


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (MAX_HEADER_BYTES + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * (MAX_CHUNK_LINE_BYTES + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 40 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n",
    ],
)
def test_a_head_or_a_line_without_end_is_refused(sent: bytes) -> None:
    side = ClientSide()
    side.receive(sent)

    def events() -> None:
        while side.next() is not Signal.NEED_DATA:
            pass

    with pytest.raises(HttpError):
        events()


@pytest.mark.parametrize("target", ["/x\r\nHost: y", "/x\n", "/\0"])
def test_a_target_never_becomes_a_header(target: str) -> None:
    with pytest.raises(HttpError):
        ClientSide().request("GET", target, ())
