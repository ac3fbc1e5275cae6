"""Attaching by WebSocket, as browsers do: a client library of its own on a node's socket."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import websocket

from cluster.wire.http_client import HttpClient
from lab import machines
from tests.driver import MANAGER, Lab, until

PATIENCE_S = 30
Connect = Callable[..., Any]
HANDSHAKE = (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))


@pytest.fixture
def connect(lab: Lab) -> Iterator[Connect]:
    opened: list[Any] = []

    def attached(container: str, version: str = "v1.51", **parameters: str) -> Any:
        plain = socket.socket(socket.AF_UNIX)
        plain.connect(str(machines.socket_of(lab.name, MANAGER)))
        path = f"/{version}/containers/{container}/attach/ws?{urlencode(parameters)}"
        opened.append(websocket.create_connection(f"ws://localhost{path}", socket=plain))
        plain.settimeout(PATIENCE_S)
        return opened[-1]

    yield attached
    for one in opened:
        one.shutdown()


@pytest.fixture
def started(lab: Lab) -> Iterator[Connect]:
    made: list[str] = []

    def start(*argv: str) -> str:
        made.append(lab.ok(MANAGER, "festoon", "run", "-d", *argv).strip())
        return made[-1]

    yield start
    for one in made:
        lab.on(MANAGER, "festoon", "rm", "-f", one)


def said(connection: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv()
    return data


def test_what_is_typed_gets_there_and_what_is_said_comes_back_without_frames(lab: Lab, started: Connect, connect: Connect) -> None:
    box = started("-i", "busybox", "sh", "-c", "while read line; do echo $line; echo $line >&2; done")
    first = connect(box, stdin="1", stdout="1", stderr="1", stream="1")
    first.send("text\n")
    assert sorted(said(first, 10).splitlines()) == [b"text", b"text"]
    first.send_binary(b"bytes\n")
    assert said(first, 12) == b"bytes\nbytes\n"
    first.ping("are you there")
    assert first.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, b"are you there")
    first.close()
    assert until(lambda: lab.ok(MANAGER, "festoon", "inspect", "-f", "{{.State.Running}}", box) == "true\n"), "who goes ends nothing"


def test_the_end_of_the_program_closes_it_and_logs_come_before(started: Connect, connect: Connect, lab: Lab) -> None:
    box = started("-i", "busybox", "sh", "-c", "echo earlier; read line; echo $line")
    assert until(lambda: lab.ok(MANAGER, "festoon", "logs", box) == "earlier\n")
    joined = connect(box, logs="1", stdin="1", stdout="1", stream="1")
    assert joined.recv() == b"earlier\n"
    joined.send("later\n")
    assert joined.recv() == b"later\n"
    assert joined.recv_data() == (websocket.ABNF.OPCODE_CLOSE, b"\x03\xe8")
    replayed = connect(box, version="v1.41", logs="1")
    assert said(replayed, 14) == b"earlier\nlater\n", "before 1.42 all streams were meant"
    assert connect(box, logs="1").recv_data()[0] == websocket.ABNF.OPCODE_CLOSE, "none was asked for"


@pytest.mark.parametrize(("headers", "status", "sentence"), [
    ((), 400, "a WebSocket handshake is needed"),
    (HANDSHAKE[:1], 400, "a WebSocket handshake is needed"),
    ((*HANDSHAKE[:2], ("Sec-WebSocket-Version", "8"), HANDSHAKE[3]), 400, "unsupported WebSocket version: 8 (it must be 13)"),
    ((*HANDSHAKE[:3], ("Sec-WebSocket-Key", "short")), 400, "invalid Sec-WebSocket-Key: short"),
])  # fmt: skip
def test_what_is_no_handshake_is_refused(lab: Lab, started: Connect, headers: tuple[tuple[str, str], ...], status: int, sentence: str) -> None:
    box = started("-i", "busybox", "cat")
    client = HttpClient(machines.socket_of(lab.name, MANAGER))
    answer = client.request("GET", f"/v1.51/containers/{box}/attach/ws?stream=1", headers=headers)
    assert (answer.status, sentence in answer.body.decode()) == (status, True), answer.body
    assert client.request("GET", "/v1.51/containers/nosuch/attach/ws", headers=HANDSHAKE).status == 404


def test_a_client_that_breaks_the_protocol_is_told_so_and_lets_go(lab: Lab, started: Connect, connect: Connect) -> None:
    box = started("-i", "busybox", "sh", "-c", "cat; sleep 1000")
    joined = connect(box, stdin="1", stdout="1", stream="1")
    joined.sock.sendall(b"\x82\x05plain")  # not masked
    opcode, why = joined.recv_data()
    assert (opcode, why[:2]) == (websocket.ABNF.OPCODE_CLOSE, b"\x03\xea")
    assert lab.ok(MANAGER, "festoon", "exec", box, "echo", "alive") == "alive\n"
