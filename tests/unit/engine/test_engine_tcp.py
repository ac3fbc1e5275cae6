"""Listening on TCP: what is asked of the kernel for each connection."""

from __future__ import annotations

import socket

import trio

from agent.engine.tcp import TcpSettings, listen


def test_a_connection_asks_by_itself_whether_its_client_is_still_there() -> None:
    async def main() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (listener,) = await listen(TcpSettings((f"tcp://127.0.0.1:{port}",)))
        client = await trio.open_tcp_stream(*listener.socket.getsockname())
        served = await listener.accept()
        assert served.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert served.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
        for stream in (client, served, listener):
            await stream.aclose()

    trio.run(main)
