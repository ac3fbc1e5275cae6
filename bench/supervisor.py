"""A stem and a supervisor of their own, and a synchronous client that adds next to nothing to what is measured."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from runtime.spec import ContainerSpec, ExecSpec
from runtime.supervisor import datagrams, messages
from runtime.supervisor.places import Places


class RuntimeClient:
    """One connection; raises RuntimeError with what the supervisor says."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._number = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.connect(places.socket)
        self.pid = self.ask(messages.Hello()).pid

    def another(self) -> RuntimeClient:
        return RuntimeClient(self._places)

    def ask(self, call: messages.Call) -> Any:
        self._number += 1
        self._socket.sendmsg([datagrams.pack(msgspec.msgpack.encode(messages.Request(self._number, call)))[0]])
        data, control, flags, _ = self._socket.recvmsg(datagrams.RECEIVE_BYTES, datagrams.ANCILLARY_BYTES)
        message, descriptors = datagrams.unpack(data, control, flags)
        for descriptor in descriptors:
            os.close(descriptor)
        answer = msgspec.msgpack.decode(message, type=messages.Reply).answer
        if isinstance(answer, messages.Failed):
            raise RuntimeError(answer.text)
        return answer

    def create(self, spec: ContainerSpec) -> None:
        self.ask(messages.Create(spec))

    def start(self, container_id: str) -> None:
        self.ask(messages.Start(container_id, secrets.token_hex(8)))

    def wait(self, container_id: str) -> None:
        self.ask(messages.Wait(container_id))

    def remove(self, container_id: str) -> None:
        self.ask(messages.Remove(container_id))

    def exec(self, spec: ExecSpec) -> None:
        self.ask(messages.Exec(spec))
        self.ask(messages.ExecWait(spec.container_id, spec.exec_id))

    def pss_bytes(self) -> int:
        """The supervisor with the children that it keeps in reserve."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        total = 0
        for pid in (self.pid, *children):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def supervisor(base: Path) -> Iterator[RuntimeClient]:
    """Started below `base`; shut down with every container afterwards."""
    places = Places(str(base / "run"), str(base / "state"))
    subprocess.run([sys.executable, "-I", "-m", "runtime.stem", "--run", places.run, "--state", places.state], check=True, stdout=subprocess.DEVNULL)
    client = RuntimeClient(places)
    try:
        yield client
    finally:
        client.ask(messages.Shutdown())
        client.close()
