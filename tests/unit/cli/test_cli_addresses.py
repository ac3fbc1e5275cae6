"""Addresses on the command line, as Docker's client takes them."""

from __future__ import annotations

from socket import create_server, socket
from threading import Thread

import pytest

from cli.address_flags import LISTEN_ADDRESS, SUBNETS
from cli.api import Api
from cli.daemon_address import daemon_address
from cli.failures import CliFailure


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", "0.0.0.0:2377"), ("eth0", "eth0:2377"), ("eth0:", "eth0:2377"), (":2400", "0.0.0.0:2400"), ("tcp://192.0.2.1:1", "192.0.2.1:1"),
        ("[::1]", "[::1]:2377"), ("[::1]:4", "[::1]:4"),
    ],
)  # fmt: skip
def test_what_a_listen_address_leaves_out_is_added(text: str, read: str) -> None:
    assert LISTEN_ADDRESS.parse(text) == read


@pytest.mark.parametrize("text", ["udp://a", "a:b", "::1", "1:2:3"])
def test_what_is_no_listen_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid"):
        LISTEN_ADDRESS.parse(text)


def test_pools_are_subnets() -> None:
    assert SUBNETS.parse("10.0.0.0/8,10.9.0.0/16") == "10.0.0.0/8,10.9.0.0/16"
    for text in ("nonsense", "10.0.0.1", "10.0.0.0/8,x"):
        with pytest.raises(ValueError, match="invalid string being converted to CIDR"):
            SUBNETS.parse(text)


@pytest.mark.parametrize(
    ("given", "tls", "address"),
    [
        ("h", False, "tcp://h:2375"), ("h:1", False, "tcp://h:1"), (":1", False, "tcp://localhost:1"), ("tcp://h", True, "tcp://h:2376"),
        ("tcp://", False, "tcp://localhost:2375"), ("tcp://[::1]:5", False, "tcp://[::1]:5"), ("tcp://[::1]", False, "tcp://[::1]:2375"),
        ("unix:///a", False, "unix:///a"), ("unix://", False, "unix:///usual"), ("/a", False, "/a"), ("ssh://u@h:3", False, "ssh://u@h:3"),
    ],
)  # fmt: skip
def test_what_the_daemons_address_leaves_out_is_added(given: str, tls: bool, address: str) -> None:
    assert daemon_address(given, default="unix:///usual", tls=tls) == address


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tcp://x:y", 'unable to resolve docker endpoint: parse "tcp://x:y": invalid port ":y" after host'),
        ("h:x", 'unable to resolve docker endpoint: parse "tcp://h:x": invalid port ":x" after host'),
        ("tcp://[::1", "unable to resolve docker endpoint: parse \"tcp://[::1\": missing ']' in host"),
        ("http://h:1", "unable to resolve docker endpoint: invalid bind address format: http://h:1"),
        ("fd://", "unable to parse docker host `fd://`"), ("npipe://x", "protocol not available"),
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_daemon_is_refused_in_dockers_words(given: str, words: str) -> None:
    with pytest.raises(CliFailure) as refused:
        daemon_address(given, default="", tls=False)
    assert refused.value.message == f"Failed to initialize: {words}"


def test_a_daemon_behind_a_path_is_asked_below_it() -> None:
    """As one behind a proxy is; and what comes instead of an answer is said with the address that was asked."""
    asked: list[bytes] = []

    def serve(listener: socket) -> None:
        for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"", b"\x16\x03"):
            connected, _ = listener.accept()
            with connected:
                asked.append(connected.recv(65536).partition(b"\r\n")[0])
                connected.sendall(answer)

    with create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve, args=(listener,))
        thread.start()
        authority = f"127.0.0.1:{listener.getsockname()[1]}"
        assert Api(f"tcp://{authority}/engine/").get("/info") == {}
        for _ in range(2):
            with pytest.raises(CliFailure, match=f'^error during connect: Post "http://{authority}/v1.51/prune": .'):
                Api(f"tcp://{authority}").post("/prune")
        thread.join()
    assert asked[0] == b"GET /engine/v1.51/info HTTP/1.1"
